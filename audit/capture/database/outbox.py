"""Writing into the outbox, in the application's own transaction.

A row is committed or rolled back with the change it tells of, and savepoints drop just their part.
Write it after the change's own statement: the row's id is then drawn while the change's row lock is
held, and ids of one key stand in the order in which the changes happened (see `relay`).
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple
from uuid import uuid4

from sqlalchemy import ARRAY, Connection, Table, bindparam, func, insert, select

from audit.capture.context import current
from audit.capture.database.connect import POSTGRESQL, SQLITE
from audit.capture.database.tables import OUTBOX, tables_of
from audit.event.normal import key_text, normalize_fields
from audit.event.row import PATCH
from audit.event.valuejson import dumps
from audit.store import clock_us

ROWS_AT_ONCE = 5_000
"""Rows given to the driver in one call."""


class Row(NamedTuple):
    """One row of the outbox, as text already; `row` makes one of values and the context.

    `before`, `after`: JSON in the typed form of `audit.event.valuejson`. `image`: patch or full.
    `origin`: orm, core, trigger, snapshot or code. Times are microseconds since the epoch.
    """

    op: str
    entity_type: str | None
    entity_key: str | None
    before: str | None
    after: str | None
    image: str
    origin: str
    event_id: str
    actor: str | None
    reason: str | None
    request_id: str | None
    trace_id: str | None
    transaction_id: str | None
    occurred_us: int | None


_COUNTED = "event_id"
"""Always an array: it says how many rows there are."""
INSERT_SQLITE = (
    f"INSERT INTO {OUTBOX} ({', '.join(Row._fields)}) VALUES ({', '.join('?' * len(Row._fields))})"
)
"""As text, since SQLAlchemy would take longer over each row than SQLite does."""


def row(
    op: str,
    entity_type: str | None,
    key: Any = None,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    image: str = PATCH,
    origin: str = "code",
    transaction_id: str | None = None,
    event_id: str | None = None,
    occurred_us: int | None = None,
) -> Row:
    """A row of values, with what `audit.context` says filled in.

    `key` is a string, an integer or a list of them; None where it is about no single row.
    `transaction_id` is the database transaction's; the context's own wins. Raises InvalidInput,
    LimitExceeded for values that cannot be kept exactly.
    """
    actor, reason, transaction, request_id, trace_id, valid_us, _ = current()
    if occurred_us is None:
        occurred_us = clock_us() if valid_us is None else valid_us
    return Row(
        op,
        entity_type,
        None if key is None else key_text(key),
        None if before is None else dumps(normalize_fields(before)),
        None if after is None else dumps(normalize_fields(after)),
        image,
        origin,
        str(uuid4()) if event_id is None else event_id,
        actor,
        reason,
        request_id,
        trace_id,
        transaction_id if transaction is None else transaction,
        occurred_us,
    )


def write(
    connection: Connection, rows: Iterable[tuple[Any, ...]], schema: str | None = None
) -> int:
    """Insert rows in the connection's transaction; how many. They are committed with the change.

    A row is a `Row`, or a plain tuple of the same values.

    From an async connection: `await connection.run_sync(outbox.write, rows)`. What the database
    refuses it raises itself, as for any other statement: the change must then fail too.
    """
    table = tables_of(connection, schema).outbox
    stream = iter(rows)
    count = 0
    while part := list(islice(stream, ROWS_AT_ONCE)):
        if len(part) > 1 and connection.dialect.name == POSTGRESQL:
            columns = zip(Row._fields, zip(*part, strict=True), strict=True)
            given = {
                name: list(values) if name == _COUNTED or not _is_one(values) else values[0]
                for name, values in columns
            }
            is_array = frozenset(name for name in given if type(given[name]) is list)
            connection.execute(_insert_arrays(table, is_array), given)
        elif connection.dialect.paramstyle == "qmark" and connection.dialect.name == SQLITE:
            connection.exec_driver_sql(INSERT_SQLITE, part)
        else:
            connection.execute(
                _insert_one(table), [dict(zip(Row._fields, each, strict=True)) for each in part]
            )
        count += len(part)
    return count


def _is_one(values: tuple[Any, ...]) -> bool:
    """True when all rows have one value: it is then sent once."""
    return values.count(values[0]) == len(values)


@lru_cache(maxsize=64)
def _insert_one(table: Table) -> Any:
    """Without RETURNING: nobody asks for the id."""
    return insert(table).inline()


@lru_cache(maxsize=256)
def _insert_arrays(table: Table, is_array: frozenset[str]) -> Any:
    """Many rows in one statement, given as one array for each column: one round trip."""
    names = [name for name in Row._fields if name in is_array]
    arrays = [bindparam(name, type_=ARRAY(table.c[name].type)) for name in names]
    rows = func.unnest(*arrays).table_valued(*names).render_derived()
    found = [
        rows.c[name] if name in names else bindparam(name, type_=table.c[name].type)
        for name in Row._fields
    ]
    return insert(table).from_select(list(Row._fields), select(*found))

"""The log of a dataset compared with its live table: missing, extra and different keys.

At which moment. (1) The sizes of the logs are read; (2) then one transaction of the database fixes
what is seen of table and outbox; (3) then the sizes are read again, and the dataset is folded at
these. The relay takes a row out of the outbox only after its event is sealed, so every change that
the table shows at (2) is either in the logs at (3), or its row is in the outbox at (2): its key is
`pending`. The other way round, an event below the sizes of (1) was committed before it was sealed,
so the table shows it at (2); only entries recorded between (1) and (3) may tell of changes that the
table does not show yet: their keys are pending too. Each key's events are sealed in the order of
its changes. So a key that is not pending has the same changes on both sides: what differs there is
a write that capture missed. When nothing is under way nothing is pending.

Reading twice is for details alone: first all rows become digests, in any order; only when some do
not fit are both sides read again for their keys and fields.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from audit.capture.database.connect import shown
from audit.capture.database.leases import now_us
from audit.capture.database.reconcile_details import Details, Misfits
from audit.capture.database.reconcile_sides import Progress, Sides
from audit.capture.database.reconcile_table import (
    LiveTable,
    as_captured,
    keep,
    must_keep,
    snapshot,
)
from audit.capture.database.reconcile_waiting import (
    FAILED,
    SENT,
    SINCE,
    Changing,
    outbox_tables,
    sealed_by_now,
    waiting,
)
from audit.capture.database.tables import Tables
from audit.capture.reconcile_digests import (
    ROWS_IN_MEMORY,
    Digester,
    Digests,
    compare,
    digests_of,
)
from audit.capture.reconciled import Reconciled
from audit.errors import InvalidInput
from audit.event.types import DATA_TYPES
from audit.lineage.again.verdict_record import log_points
from audit.replay.citation import cut_of_sizes
from audit.replay.points import Cut
from audit.replay.refs import parse_entity
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

KEYS_LISTED = 100
MAX_KEYS_LISTED = 100_000


class Asked(NamedTuple):
    """What is to be compared.

    `table`: default the one with triggers for this entity type, else its name. `leave_out`: columns
    that capture leaves out, beside those that its triggers leave out; `columns`: only these.
    `values`: say in which values keys differ, too. `limit`: keys listed of each kind.
    `outbox_schema`: default the table's, else the connection's own.
    """

    entity_type: str
    table: str | None = None
    schema: str | None = None
    outbox_schema: str | None = None
    leave_out: Sequence[str] = ()
    columns: Sequence[str] | None = None
    values: bool = False
    limit: int = KEYS_LISTED
    rows_in_memory: int = ROWS_IN_MEMORY


def reconcile(
    reader: Reader,
    engine: Engine,
    asked: Asked,
    cut: Cut | None = None,
    progress: Progress | None = None,
) -> Reconciled:
    """Compare a dataset with a live table; nothing is written.

    `cut`: the dataset at a point of the past, where the database is a copy of then; None: now, as
    told at the top. Raises InvalidInput, Unavailable (the database, or too much is under way).
    """
    entity = parse_entity(asked.entity_type)
    if not isinstance(engine, Engine):
        raise InvalidInput(
            "a database is its URL or an SQLAlchemy Engine (of an async engine: its sync_engine)"
        )
    if not 0 <= asked.limit <= MAX_KEYS_LISTED:
        raise InvalidInput(f"at most {MAX_KEYS_LISTED:,} keys of each kind are listed")
    before = _sizes(reader) if cut is None else cut.sizes
    with snapshot(engine) as connection:
        snapshot_us = now_us(connection)
        at = cut_of_sizes(reader, _sizes(reader)) if cut is None else cut
        digester = Digester()
        schema = asked.schema or None
        name, aside = as_captured(connection, entity, asked.table, schema)
        present = [column for column in aside if column not in asked.leave_out]
        table = LiveTable(connection, entity, name, schema, (*asked.leave_out, *present))
        schemas = (schema, None) if asked.outbox_schema is None else (asked.outbox_schema,)
        outbox = outbox_tables(connection, schemas)
        changing = Changing()
        if outbox is not None:
            waiting(connection, outbox, entity, digester, changing)
        if must_keep(connection):
            outbox = keep(connection, table, outbox)
        _since(reader, entity, before, at, digester, changing)
        sides = Sides(reader, table, at, digester, asked.columns, progress)
        misfits, counts = _compared(sides, connection, outbox, changing, asked.rows_in_memory)
        lists = Details(sides, misfits, asked.limit, asked.values).read()
    if outbox is None:
        sides.remarks.append(
            "this database has no outbox: a change that is under way counts as a difference"
        )
    if changing.whole == FAILED or FAILED in misfits.why.values():
        sides.remarks.append("rows were set aside by the relay: see `audit relay --failed`")
    captured = table.captured
    return Reconciled(
        captured.entity_type,
        captured.table,
        captured.schema,
        shown(engine),
        snapshot_us,
        {**counts, **misfits.counts},
        *lists,
        sides.columns,
        tuple(name for name in sides.unrecorded if name in sides.held),
        sides.gone,
        tuple(c.name for c in table.table.columns if c.name not in captured.columns),
        outbox is not None,
        tuple(log_points(reader, at)),
        tuple(sides.remarks),
    )


def _sizes(reader: Reader) -> dict[int, int]:
    return {info.log: reader.size(info.log) for info in reader.logs()}


def _since(
    reader: Reader,
    entity: str,
    before: dict[int, int],
    at: Cut,
    digester: Digester,
    changing: Changing,
) -> None:
    """Note the keys of what was recorded while the snapshot was taken."""
    for log, size in at.sizes.items():
        for index, leaf in reader.entity(log, entity, None, size, before.get(log, 0)):
            event = trusted_record(log, index, leaf).event
            if event is None or event.type not in DATA_TYPES:
                continue
            key = event.entity_key
            changing.add(None if key is None else digester.key(key), SINCE)


def _compared(
    sides: Sides, connection: Connection, outbox: Tables | None, changing: Changing, most: int
) -> tuple[Misfits, dict[str, int]]:
    """Both sides read once: the keys that do not fit, and how many rows there are."""
    misfits, fit = Misfits(), 0
    with ExitStack() as stack:
        log, table = (stack.enter_context(Digests(most)) for _ in range(2))
        sides.digest_table(table)
        sides.digest_log(log)
        counts = {"log": log.count, "table": table.count}
        excuses = changing.excuses_sent
        for some in compare(log, table):
            kinds = {"extra": some[0], "missing": some[1], "different": some[2]}
            fit += some.fit
            # Rows that a broker has excuse a key only until their events are sealed.
            sent = {
                digest
                for keys in kinds.values()
                for digest in (digests_of(keys) if excuses else ())
                if changing.why(digest) == SENT
            }
            if sent and outbox is not None:
                sealed = sealed_by_now(
                    connection, outbox, sides.table.captured.entity_type, sent,
                    sides.reader, sides.cut, sides.digester,
                )  # fmt: skip
                changing.settle(sealed)
            for what, keys in kinds.items():
                misfits.take(keys, what, changing)
    return misfits, {**counts, "same": fit}

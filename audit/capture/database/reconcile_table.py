"""A live table as it is at one moment, with the changes that the ledger cannot know of yet.

One read-only transaction sees the table and the outbox at the same moment (PostgreSQL: REPEATABLE
READ; SQLite: one read transaction). It changes nothing. As long as it is open PostgreSQL keeps old
rows. On SQLite without WAL it would keep writers waiting: there the rows are copied into temporary
tables, which is quick, and it ends before they are compared (`keep`).
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import (
    CHAR,
    Connection,
    Engine,
    MetaData,
    Table,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table

from audit.capture.database import trigger_state
from audit.capture.database.captured import Captured, captured_tables
from audit.capture.database.cells import key_of
from audit.capture.database.connect import POSTGRESQL, dialect_of, reaching, shown
from audit.capture.database.reconcile_cells import reading
from audit.capture.database.tables import Tables, tables_of
from audit.errors import InvalidInput, NotFound
from audit.event.normal import key_text

ROWS_AT_ONCE = 5_000
"""Rows of the table that are in memory."""
MAX_TABLE_CHARS = 1_000

SETTINGS = {"DateStyle": "ISO, YMD", "TimeZone": "UTC", "IntervalStyle": "postgres"}
KEPT_ROWS, KEPT_SENT = "attestory_kept_rows", "attestory_kept_sent"
"""Temporary tables of SQLite."""


class Block(NamedTuple):
    """Some rows: the texts of their keys, and their cells column by column."""

    keys: list[str]
    columns: list[Sequence[Any]]


def must_keep(connection: Connection) -> bool:
    """Whether whoever reads here for long makes writers wait."""
    if connection.dialect.name == POSTGRESQL:
        return False
    return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar()).lower() != "wal"


def keep(connection: Connection, table: "LiveTable", outbox: Tables | None) -> Tables | None:
    """Copy what is still to be read, and let writers go on; the outbox to be asked from now on."""
    table.keep()
    if outbox is not None:
        rows = select(outbox.sent).where(outbox.sent.c.entity_type == table.captured.entity_type)
        outbox = outbox._replace(sent=_copied(connection, KEPT_SENT, rows))
    connection.exec_driver_sql("COMMIT")
    return outbox


def _copied(connection: Connection, name: str, query: Any) -> Any:
    literal = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS temp.{name}")
    connection.exec_driver_sql(f"CREATE TEMP TABLE {name} AS {literal}")
    return sql_table(name, *(sql_column(each.name) for each in query.selected_columns))


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that sees the database at one moment, fixed when the block begins.

    Raises InvalidInput for a standby server: it is behind by an unknown time. Unavailable.
    """
    postgresql = dialect_of(engine) == POSTGRESQL
    options: dict[str, Any] = {}
    if postgresql:
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with reaching(engine), engine.connect() as plain:
        connection = plain.execution_options(**options) if options else plain
        transaction = connection.begin()
        try:
            if postgresql:
                # The first statement fixes what is seen. Texts of times depend on these.
                for name, value in SETTINGS.items():
                    connection.execute(select(func.set_config(name, value, True)))
                if connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one():
                    raise InvalidInput(
                        f"{shown(engine)} is a standby, behind the primary by an unknown time\n"
                        "give the address of the primary"
                    )
            else:
                driver: Any = connection.connection.driver_connection
                if not driver.in_transaction:
                    connection.exec_driver_sql("BEGIN")
                connection.execute(text("SELECT count(*) FROM sqlite_master"))
            yield connection
        finally:
            transaction.rollback()
            if not postgresql:
                for name in (KEPT_ROWS, KEPT_SENT):
                    connection.exec_driver_sql(f"DROP TABLE IF EXISTS temp.{name}")
                connection.rollback()


class LiveTable:
    """One table in a snapshot. `captured`: what is kept of it; `table`: as it was reflected."""

    def __init__(
        self,
        connection: Connection,
        entity_type: str,
        name: str,
        schema: str | None,
        leave_out: Sequence[str] = (),
    ) -> None:
        """Reflect it. Raises InvalidInput (no such table, or none that can be captured)."""
        self._connection = connection
        self.captured: Captured = _captured(connection, entity_type, name, schema, leave_out)
        with warnings.catch_warnings():
            # Columns of types that SQLAlchemy does not know are read as the driver gives them.
            warnings.simplefilter("ignore")
            self.table = Table(
                name, MetaData(), schema=self.captured.schema, autoload_with=connection,
                resolve_fks=False,
            )  # fmt: skip
        self._source: Mapping[str, Any] = {
            name: self.table.c[name] for name in self.captured.columns
        }
        postgresql = connection.dialect.name == POSTGRESQL
        self._padded = frozenset(
            name for name, column in self._source.items()
            if postgresql and type(column.type) is CHAR
        )  # fmt: skip

    def comparable(self, name: str, values: Sequence[Any]) -> Sequence[Any]:
        """Cells of a column as they are compared: PostgreSQL pads a CHAR, and calls it the same."""
        if name not in self._padded:
            return values
        return [value.rstrip(" ") if isinstance(value, str) else value for value in values]

    def keep(self) -> None:
        """Copy the rows into a temporary table, and read them from there."""
        names = list(self._source)
        labelled = (self._source[name].label(f"c{n}") for n, name in enumerate(names))
        copy = _copied(self._connection, KEPT_ROWS, select(*labelled))
        self._source = {name: copy.c[f"c{n}"] for n, name in enumerate(names)}

    def blocks(self, columns: Sequence[str]) -> Iterator[Block]:
        """All rows, with the cells of these columns, in any order. Raises Unavailable.

        A value that no event can hold stands for itself: it equals nothing that is in a log.
        """
        captured = self.captured
        dialect = self._connection.dialect
        chosen = [self.table.c[name] for name in (*captured.key, *columns)]
        reads = [reading(column, self._source[column.name], dialect) for column in chosen]
        selected = [part for read in reads for part in read.selected]
        query = select(*(part.label(f"c{n}") for n, part in enumerate(selected)))
        stream = self._connection.execution_options(stream_results=True, yield_per=ROWS_AT_ONCE)
        with stream.execute(query) as result:
            for rows in result.partitions(ROWS_AT_ONCE):
                values = iter(zip(*rows, strict=True))
                cells = [
                    read.cells([next(values) for _ in read.selected], column)
                    for read, column in zip(reads, chosen, strict=True)
                ]
                width = len(captured.key)
                yield Block(_keys(cells[:width], captured), cells[width:])


def _captured(
    connection: Connection,
    entity_type: str,
    name: str,
    schema: str | None,
    leave_out: Sequence[str],
) -> Captured:
    tables_of(connection, schema)  # a schema that cannot be one is refused there
    if not name or "\x00" in name or len(name) > MAX_TABLE_CHARS:
        raise InvalidInput(f"a table's name has 1 to {MAX_TABLE_CHARS} characters, and no NUL")
    aside = {name: leave_out} if leave_out else None
    try:
        (found,) = captured_tables(
            connection, {name: entity_type}, leave_out=aside, schema=schema or None
        )
    except NotFound:
        raise InvalidInput(
            f"{shown(connection)} has no table {name!r:.80}\nsay which it is with --table, and "
            "its schema with --db-schema"
        ) from None
    return found


def as_captured(
    connection: Connection, entity_type: str, table: str | None, schema: str | None
) -> tuple[str, tuple[str, ...]]:
    """The table of a dataset, and its columns that capture by triggers was told to leave out.

    Columns that came later are not among these: nobody decided that they go uncaptured.
    """
    tables_of(connection, schema)
    _, states = trigger_state.load(connection, schema or None)
    fits = [
        known
        for name, known in states.items()
        if known.captured.entity_type == entity_type and table in (None, name)
    ]
    if len(fits) != 1:
        return table or entity_type, ()
    (known,) = fits
    name, seen = known.captured.table, inspect(connection)
    if not seen.has_table(name, schema or None):
        return name, ()
    present = {column["name"] for column in seen.get_columns(name, schema or None)}
    return name, tuple(present & (known.types.keys() - set(known.captured.columns)))


def _keys(cells: Sequence[Sequence[Any]], captured: Captured) -> list[str]:
    """The texts of keys, as events have them."""
    if len(cells) == 1 and set(map(type, cells[0])) <= {str}:
        return list(cells[0])
    if len(cells) == 1 and set(map(type, cells[0])) <= {int}:
        return list(map(str, cells[0]))
    return [_key(parts, captured) for parts in zip(*cells, strict=True)]


def _key(parts: Sequence[Any], captured: Captured) -> str:
    try:
        return key_text(key_of(dict(zip(captured.key, parts, strict=True)), captured))
    except InvalidInput:
        return repr(list(parts))  # no event can have this key: the row is missing in the log

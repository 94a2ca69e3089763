"""The tables of the outbox in the application's database, and making them.

    attestory_outbox  rows that wait; the application inserts, in the transaction of the change
    attestory_sent    rows that a broker acknowledged, until their events are found in a ledger
    attestory_failed  rows set aside with a reason, and those of the same key that wait behind them
    attestory_relay   leases of the relays

A row is in one of the first three, and moves between them in one transaction each time.
"""

import warnings
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    inspect,
    text,
)
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.types import UserDefinedType

from audit.capture.database.connect import POSTGRESQL, dialect_of, reaching
from audit.errors import InvalidInput

OUTBOX = "attestory_outbox"
SENT = "attestory_sent"
FAILED = "attestory_failed"
RELAY = "attestory_relay"

MAX_SCHEMA_BYTES = 63
"""PostgreSQL's own limit of a name."""
OLDEST_POSTGRESQL = 14
INSTALL_LOCK = 0x6174746573746F72
"""Number of the advisory lock under which the tables are made: "attestor" in ASCII."""


class Xid8(UserDefinedType[Any]):
    """PostgreSQL's xid8: the number of a transaction, never used twice."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """The name of the type."""
        return "xid8"


class Tables(NamedTuple):
    """The tables as SQLAlchemy Core has them."""

    outbox: Table
    sent: Table
    failed: Table
    relay: Table


ROW_COLUMNS = (
    *("id", "txid", "event_id", "origin", "op", "entity_type", "entity_key"),
    *("before", "after", "image", "actor", "reason", "request_id", "trace_id"),
    *("transaction_id", "occurred_us", "written_us"),
)
"""The columns that a row keeps wherever it moves."""


_NOW_US = {
    False: "(CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))",
    True: "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
}
"""When a row is written, by the database: its age, whatever time it says the change was true."""


def _row_columns(postgresql: bool, is_outbox: bool) -> list[Column[Any]]:
    number: Any = BigInteger().with_variant(Integer, "sqlite")
    txid: Column[Any] = Column("txid", BigInteger)
    if postgresql:
        default = text("pg_current_xact_id()") if is_outbox else None
        txid = Column("txid", Xid8(), server_default=default)
    # By default, not always: a row that is put back keeps its id, and with it its place.
    identity = [Identity(always=False)] if is_outbox and postgresql else []
    return [
        Column("id", number, *identity, primary_key=True, autoincrement=is_outbox),
        txid,
        Column("event_id", Text, nullable=False),
        Column("origin", Text),
        Column("op", Text, nullable=False),
        Column("entity_type", Text),
        Column("entity_key", Text),
        Column("before", Text),
        Column("after", Text),
        Column("image", Text),
        Column("actor", Text),
        Column("reason", Text),
        Column("request_id", Text),
        Column("trace_id", Text),
        Column("transaction_id", Text),
        Column("occurred_us", BigInteger),
        Column("written_us", BigInteger, server_default=text(_NOW_US[postgresql])),
    ]


@lru_cache(maxsize=64)
def tables(dialect: str, schema: str | None = None) -> Tables:
    """The tables on a dialect, in a schema of PostgreSQL (None: the connection's own)."""
    metadata = MetaData(schema=schema)
    postgresql = dialect == POSTGRESQL
    outbox = Table(OUTBOX, metadata, *_row_columns(postgresql, True), sqlite_autoincrement=True)
    sent = Table(
        SENT,
        metadata,
        *_row_columns(postgresql, False),
        Column("source", Text, nullable=False),
        Column("sent_us", BigInteger, nullable=False),
    )
    failed = Table(
        FAILED,
        metadata,
        *_row_columns(postgresql, False),
        # Null: nothing is wrong with this row, it waits behind an earlier one of its key.
        Column("failure", Text),
        Column("failed_us", BigInteger, nullable=False),
        Index("attestory_failed_entity", "entity_type", "entity_key", "id"),
    )
    relay = Table(
        RELAY,
        metadata,
        Column("name", Text, primary_key=True),
        Column("owner", Text),
        Column("epoch", BigInteger, nullable=False),
        Column("until_us", BigInteger, nullable=False),
        Column("shards", Integer, nullable=False),
    )
    return Tables(outbox, sent, failed, relay)


def tables_of(bind: Engine | Connection, schema: str | None = None) -> Tables:
    """The tables on a database. Raises InvalidInput for one that has no outbox."""
    return tables(dialect_of(bind), _schema(bind, schema))


def _schema(bind: Engine | Connection, schema: str | None) -> str | None:
    if schema is None or schema == "":
        return None
    if dialect_of(bind) != POSTGRESQL:
        raise InvalidInput("a schema is for PostgreSQL; SQLite has one place for tables")
    if "\x00" in schema or len(schema.encode(errors="replace")) > MAX_SCHEMA_BYTES:
        raise InvalidInput(f"a schema's name has at most {MAX_SCHEMA_BYTES} bytes, and no NUL")
    return schema


def install(bind: Engine | Connection, schema: str | None = None) -> list[str]:
    """Make the tables where they are missing; the names of those made now. Safe to repeat.

    In a connection it is part of that connection's transaction. Raises InvalidInput when tables are
    there that differ from these (nothing is changed then), Unavailable.
    """
    wanted = tables_of(bind, schema)
    if isinstance(bind, Engine):
        with reaching(bind), bind.begin() as connection:
            return install(connection, schema)
    with reaching(bind):
        if bind.dialect.name == POSTGRESQL:
            _require_version(bind)
            # Two that install at once: the second waits here, and then finds all made.
            bind.execute(text(f"SELECT pg_advisory_xact_lock({INSTALL_LOCK})"))
        differences = drift(bind, schema)
        if differences:
            raise InvalidInput(
                "the outbox is there and differs: " + "; ".join(differences)[:500] + "\nlet the "
                "relay empty it, drop or mend what differs, and install again"
            )
        found = _present(bind, wanted)
        made = [table for table in wanted if table.name not in found]
        for table in made:
            # Not even two that install at once fail on SQLite, where nothing locks a schema.
            bind.execute(CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                bind.execute(CreateIndex(index, if_not_exists=True))
    return [table.name for table in made]


def _require_version(connection: Connection) -> None:
    version: Any = getattr(connection.dialect, "server_version_info", None)
    if version and version[0] < OLDEST_POSTGRESQL:
        raise InvalidInput(f"the outbox needs PostgreSQL {OLDEST_POSTGRESQL} or newer")


def _present(bind: Engine | Connection, wanted: Tables) -> set[str]:
    seen = inspect(bind)
    return {table.name for table in wanted if seen.has_table(table.name, table.schema)}


def installed(bind: Engine | Connection, schema: str | None = None) -> bool:
    """True when all tables are there. Raises InvalidInput, Unavailable."""
    wanted = tables_of(bind, schema)
    with reaching(bind):
        return len(_present(bind, wanted)) == len(wanted)


def require_installed(bind: Engine | Connection, schema: str | None = None) -> Tables:
    """The tables. Raises InvalidInput when they are not there or differ, Unavailable."""
    wanted = tables_of(bind, schema)
    if not installed(bind, schema):
        raise InvalidInput(
            "there is no outbox in this database: make it with "
            "audit.capture.database.tables.install(engine)"
        )
    differences = drift(bind, schema)
    if differences:
        raise InvalidInput("the outbox differs from what it was: " + "; ".join(differences)[:500])
    return wanted


def drift(bind: Engine | Connection, schema: str | None = None) -> list[str]:
    """What of the tables that are there is not as `install` makes it, in words; missing ones aside.

    Columns that somebody added are no drift as long as an insert may leave them out.
    """
    wanted = tables_of(bind, schema)
    found: list[str] = []
    with reaching(bind), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Did not recognize type 'xid8'")
        seen = inspect(bind)
        for table in wanted:
            if seen.has_table(table.name, table.schema):
                columns = seen.get_columns(table.name, table.schema)
                keys = seen.get_pk_constraint(table.name, table.schema)["constrained_columns"]
                found += _differences(table, {c["name"]: c for c in columns}, list(keys))
    return found


def _differences(table: Table, present: dict[str, Any], keys: list[str]) -> list[str]:
    found = []
    for column in table.columns:
        if column.name not in present:
            found.append(f"{table.name} has no column {column.name}")
        elif not _same_kind(column.type, present[column.name]["type"]):
            found.append(f"{table.name}.{column.name} is {present[column.name]['type']}")
        elif column.nullable and not present[column.name]["nullable"]:
            found.append(f"{table.name}.{column.name} is NOT NULL")
    for name, column in present.items():
        needed = not column["nullable"] and column.get("default") is None
        if name not in table.columns and needed:
            found.append(f"{table.name}.{name[:64]} was added, and no insert may leave it out")
    if keys != [column.name for column in table.primary_key.columns]:
        found.append(f"{table.name} has another primary key")
    step = (present.get("id", {}).get("identity") or {}).get("cache", 1)
    if step != 1:
        # Ids that a session keeps back are drawn before it has its rows locked.
        found.append(f"{table.name}.id is drawn {step} at a time (CACHE must be 1)")
    return found


def _same_kind(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, Xid8):
        # SQLAlchemy does not know the type, and gives NullType for it.
        return not isinstance(theirs, Text | Integer)
    if isinstance(ours, Integer):
        return isinstance(theirs, Integer)
    return isinstance(theirs, Text)

"""The tables of a ledger, for every database: what is kept, and by what it is found.

Only `entries.leaf` and `checkpoints.note` are evidence. All other columns find them fast and are
computed again by a verifier. Texts that come from producers are byte columns: SQL text types have
limits (U+0000, collations) that an event does not have.
"""

from collections.abc import Iterator

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)

metadata = MetaData()

_INT = BigInteger().with_variant(Integer(), "sqlite")
_TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""Compared, and put in order, byte by byte: on a server too, whatever its language."""
_SPECIAL = "kind <> 0 OR type = 'schema'"
"""What applications did not say: few rows, indexed apart, so that counting them is cheap."""

SQLITE_ONLY = {"dialect": "sqlite"}
"""Of an index that only SQLite gets; PostgreSQL finds a time along the primary key."""
SINCE = "since"
"""Key in a table's info: the schema version that it came with, where that is not the first."""

entries = Table(
    "entries",
    metadata,
    Column("log", _INT, nullable=False),
    Column("index", _INT, nullable=False),
    Column("recorded_time_us", _INT, nullable=False),
    Column("kind", _INT, nullable=False),
    Column("type", _TEXT),
    Column("source", LargeBinary),
    Column("event_id", LargeBinary),
    Column("entity_type", _TEXT),
    Column("entity_key", LargeBinary),
    Column("signature", LargeBinary),
    Column("leaf", LargeBinary, nullable=False),
    PrimaryKeyConstraint("log", "index"),
    Index("entries_recorded", "log", "recorded_time_us", info=SQLITE_ONLY).ddl_if("sqlite"),
    Index(
        "entries_event_id",
        "event_id",
        "log",
        sqlite_where=text("event_id IS NOT NULL"),
    ),
    Index(
        "entries_entity",
        "log",
        "entity_type",
        "entity_key",
        "index",
        sqlite_where=text("entity_type IS NOT NULL"),
    ),
    Index(
        "entries_special",
        "log",
        "kind",
        "type",
        "index",
        sqlite_where=text(_SPECIAL),
    ),
    sqlite_strict=True,
)

tiles = Table(
    "tiles",
    metadata,
    Column("log", _INT, nullable=False),
    Column("level", _INT, nullable=False),
    Column("index", _INT, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False),
    PrimaryKeyConstraint("log", "level", "index"),
    sqlite_strict=True,
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("log", _INT, nullable=False),
    Column("size", _INT, nullable=False),
    Column("note", LargeBinary, nullable=False),
    PrimaryKeyConstraint("log", "size"),
    sqlite_strict=True,
)

logs = Table(
    "logs",
    metadata,
    Column("log", _INT, nullable=False, autoincrement=False),
    Column("origin", _TEXT, nullable=False),
    Column("vkey", _TEXT, nullable=False),
    PrimaryKeyConstraint("log"),
    Index("logs_origin", "origin", unique=True),
    sqlite_strict=True,
)

schema_versions = Table(
    "schema_versions",
    metadata,
    Column("version", _INT, nullable=False, autoincrement=False),
    Column("applied_us", _INT, nullable=False),
    PrimaryKeyConstraint("version"),
    sqlite_strict=True,
)

leases = Table(
    "leases",
    metadata,
    Column("log", _INT, nullable=False, autoincrement=False),
    Column("epoch", _INT, nullable=False),
    PrimaryKeyConstraint("log"),
    sqlite_strict=True,
    info={SINCE: 2},
)
"""The only rows that change, and no evidence: which writer may append to a log now. An append locks
its log's row and compares the epoch, so a writer that lost its partition cannot append."""

APPEND_ONLY = [entries, tiles, checkpoints, logs, schema_versions]

SPECIAL = text(f"({_SPECIAL})")


def partial_indexes() -> Iterator[Index]:
    """The indexes of some rows only, which SQLite is told of above: `sqlite_where`.

    To name PostgreSQL's option there would load its dialect, for a tenth of the time that a command
    takes to start.
    """
    for table in metadata.sorted_tables:
        for index in table.indexes:
            if index.dialect_options["sqlite"]["where"] is not None:
                yield index


SIGNED_RECORDS = """
CREATE VIEW signed_records AS
SELECT log, "index",
       CAST(source AS TEXT) AS source,
       CAST(event_id AS TEXT) AS event_id,
       NULLIF(lower(hex(substr(signature, 1, 4))), '') AS producer_key_id,
       substr(signature, 5) AS producer_signature,
       (SELECT MIN(c.size) FROM checkpoints c
         WHERE c.log = entries.log AND c.size > entries."index") AS checkpoint_size
  FROM entries WHERE kind <> 2
"""

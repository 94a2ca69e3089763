"""Whether a store is built as this release builds it: tables, indexes and views, and their pages.

A database file may lie in its very schema: a table that is a view without end, an index that leaves
rows out, a table without strict types. Whoever opens a ledger compares the schema with the one that
the migrations make; a verifier also has the database compare every index with its table.
"""

from functools import cache

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from audit.errors import StoreCorrupt
from audit.store import migrations, tables
from audit.store.database import Database

MAX_SCHEMA_ROWS = 10_000
TABLE_GONE = "there is no table "
_GONE = {"table": TABLE_GONE, "index": "there is no index ", "view": "there is no view "}
MAX_REPORTED = 10
"""Faults of one store that are worth a line each."""

_OBJECTS = (
    "SELECT type, name, tbl_name, sql FROM sqlite_master "
    f"WHERE type <> 'trigger' LIMIT {MAX_SCHEMA_ROWS}"
)
_Schema = dict[tuple[str, str], tuple[str, str | None]]


@cache
def _expected(version: int, database: Database) -> _Schema:
    """The schema of a new store of this version, as SQLite itself spells it."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.begin() as connection:
        for step in migrations.STEPS[:version]:
            step(connection, database)
        return _schema(connection)


def _schema(connection: Connection) -> _Schema:
    rows = connection.exec_driver_sql(_OBJECTS)
    return {(str(type_), str(name)): (str(table), sql) for type_, name, table, sql in rows}


def schema_faults(connection: Connection, database: Database) -> list[str]:
    """In what the schema is not the one that the migrations make; empty when it is. Cheap."""
    found = _schema(connection)
    if ("table", "schema_versions") not in found:
        return [f"{TABLE_GONE}schema_versions"]
    version = min(migrations.version_of(connection, database), len(migrations.STEPS))
    expected = _expected(version, database)
    faults = [f"{_GONE[type_]}{name}" for type_, name in sorted(expected.keys() - found.keys())]
    # Somebody's own view or table beside ours is his business; an index would be read by ours.
    faults += [
        f"the index {name} is not of a ledger"
        for type_, name in sorted(found.keys() - expected.keys())
        if type_ == "index" and found[type_, name][0] in tables.metadata.tables
    ]
    faults += [
        f"the {type_} {name} is not as it was made"
        for (type_, name), said in expected.items()
        if found.get((type_, name), said) != said
    ]
    return faults[:MAX_REPORTED]


def page_faults(connection: Connection) -> list[str]:
    """What the database says when it compares all pages, tables and indexes. Reads everything."""
    rows = connection.exec_driver_sql(f"PRAGMA integrity_check({MAX_REPORTED})")
    return [line for (line,) in rows if line != "ok"]


def defects(faults: list[str]) -> list[tuple[str, str]]:
    """See `contract.Reader.defects`: which code the faults of a schema have."""
    if any(fault.startswith(TABLE_GONE) for fault in faults):
        return [("table_replaced", fault) for fault in faults]
    return [("schema_changed", fault) for fault in faults]


def refuse(address: str, faults: list[str]) -> None:
    """Raise StoreCorrupt when there are faults: nothing is read from, or added to, such a store."""
    if faults:
        raise StoreCorrupt(
            f"{address} was changed: {faults[0]}; answers from it prove nothing\n"
            "run `audit verify` to see what is wrong"
        )

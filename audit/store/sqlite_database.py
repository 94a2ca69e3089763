"""SQLite as a `Database`: its guards and soundness, and the two statements that cost most.

SQLAlchemy's statements with bound values cost as much again as SQLite itself here; these two go
through its connection, and so its transaction, with plain tuples.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection

from audit.errors import StoreCorrupt
from audit.store import guards, soundness, tables
from audit.store.seam import fetched

MAX_IDS = 500
"""Ids in one query; SQLite allows 32,766 parameters, more of them make no query faster."""

_INSERT = (
    'INSERT INTO entries (log, "index", recorded_time_us, kind, type, source, event_id, '
    "entity_type, entity_key, signature, leaf) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FIND = 'SELECT source, event_id, "index" FROM entries WHERE log = ? AND event_id IN '
_NEWEST_AT = (
    'SELECT "index" FROM entries WHERE log = ? AND recorded_time_us <= ? '
    "ORDER BY recorded_time_us DESC LIMIT 1"
)
_LEAVES = 'SELECT "index", leaf FROM entries WHERE log = ? AND "index" IN '
_FIND_FULL = f"{_FIND}({', '.join('?' * MAX_IDS)})"


class SqliteDatabase:
    """See `database.Database`."""

    @property
    def asks_driver(self) -> bool:
        """See `Database.asks_driver`."""
        return True

    def has_ledger(self, connection: Connection) -> bool:
        """See `Database.has_ledger`."""
        query = "SELECT 1 FROM sqlite_master WHERE name = 'schema_versions' LIMIT 1"
        return connection.exec_driver_sql(query).first() is not None

    def lock_schema(self, connection: Connection) -> None:
        """Nothing to do: a writing transaction holds the one write lock of the file."""

    def create_view(self, connection: Connection) -> None:
        """See `Database.create_view`."""
        connection.exec_driver_sql(tables.SIGNED_RECORDS)

    def create_guards(self, connection: Connection) -> None:
        """See `Database.create_guards`."""
        guards.create_guards(connection)

    def grant_leases(self, connection: Connection) -> None:
        """Nothing to do: whoever may write the file may write all of it."""

    def check_guards(self, connection: Connection) -> list[tuple[str, str]]:
        """See `Database.check_guards`."""
        return guards.check_guards(connection)

    def schema_faults(self, connection: Connection) -> list[str]:
        """See `Database.schema_faults`."""
        return soundness.schema_faults(connection, self)

    def index_faults(self, connection: Connection) -> list[str]:
        """See `Database.index_faults`."""
        return soundness.page_faults(connection)

    def insert_entries(self, connection: Connection, rows: list[tuple[object, ...]]) -> None:
        """Insert rows of the entries table, their columns in the table's order."""
        stored = connection.exec_driver_sql(_INSERT, rows).rowcount
        if stored != len(rows):
            # A trigger that ignores rows; without this its batch would be acknowledged.
            raise StoreCorrupt(f"{len(rows) - stored} of {len(rows)} entries were not stored")

    def find_ids(
        self, connection: Connection, log: int, ids: Sequence[bytes]
    ) -> Iterator[tuple[bytes | None, bytes, int]]:
        """(source, event_id, index) of the log's entries with these values of event_id."""
        for at in range(0, len(ids), MAX_IDS):
            part = ids[at : at + MAX_IDS]
            full = len(part) == MAX_IDS
            query = _FIND_FULL if full else f"{_FIND}({', '.join('?' * len(part))})"
            yield from fetched(connection.exec_driver_sql(query, (log, *part)))

    def hold_still(self, connection: Connection) -> None:
        """See `Database.hold_still`: in WAL mode every transaction reads one state of the file."""
        connection.begin()

    def let_go(self, connection: Connection) -> None:
        """See `Database.let_go`: whoever closes the connection ends it."""

    def newest_at(self, connection: Connection, log: int, recorded_time_us: int) -> int | None:
        """See `Database.newest_at`."""
        found = connection.exec_driver_sql(_NEWEST_AT, (log, recorded_time_us)).first()
        return None if found is None else found[0]

    def leaves_at(
        self, connection: Connection, log: int, indexes: Sequence[int]
    ) -> Sequence[tuple[int, bytes]]:
        """See `Database.leaves_at`."""
        query = f'{_LEAVES}({", ".join("?" * len(indexes))}) ORDER BY "index"'
        return fetched(connection.exec_driver_sql(query, (log, *indexes)))

    def beside_key(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """See `Database.beside_key`: SQLite takes the index with more of its columns bound."""
        return column


SQLITE = SqliteDatabase()

"""The two statements of an append that cost most, on SQLite's own driver.

SQLAlchemy's statements with bound values cost as much again as SQLite itself here; these go through
its connection, and so its transaction, with plain tuples.
"""

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

MAX_IDS = 500
"""Ids in one query; SQLite allows 32,766 parameters, more of them make no query faster."""

_INSERT = (
    'INSERT INTO entries (log, "index", recorded_time_us, kind, type, source, event_id, '
    "entity_type, entity_key, signature, leaf) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FIND = 'SELECT source, event_id, "index" FROM entries WHERE log = ? AND event_id IN '
_FIND_FULL = f"{_FIND}({', '.join('?' * MAX_IDS)})"


class SqliteBulk:
    """See `sql_store.Bulk`."""

    def insert_entries(self, connection: Connection, rows: list[tuple[object, ...]]) -> None:
        """Insert rows of the entries table, their columns in the table's order."""
        connection.exec_driver_sql(_INSERT, rows)

    def find_ids(
        self, connection: Connection, log: int, ids: Sequence[bytes]
    ) -> Iterator[tuple[bytes | None, bytes, int]]:
        """(source, event_id, index) of the log's entries with these values of event_id."""
        for at in range(0, len(ids), MAX_IDS):
            part = ids[at : at + MAX_IDS]
            full = len(part) == MAX_IDS
            query = _FIND_FULL if full else f"{_FIND}({', '.join('?' * len(part))})"
            cursor = connection.exec_driver_sql(query, (log, *part)).cursor
            if cursor is not None:
                yield from cursor.fetchall()

"""PostgreSQL as a `Database`: its view, its lock, and the statements that cost most."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from sqlalchemy import ColumnElement, Connection

from audit.errors import StoreCorrupt
from audit.store import postgresql_guards, postgresql_indexes, postgresql_soundness, tables
from audit.store.postgresql import driver_of, quoted

_LOCK_CLASS = 0x41554454
"""First half of the advisory lock's key; the second stands for the schema."""

_INSERTERS = """
SELECT r.rolname::text
  FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) g JOIN pg_roles r ON r.oid = g.grantee
 WHERE c.oid = to_regclass(%s) AND g.privilege_type = 'INSERT' AND g.grantee <> c.relowner
"""

PROBES = 256
"""Entries looked at in one step of a search by time: ten million entries take three steps."""

_NAMES = ", ".join(f'"{column.name}"' for column in tables.entries.columns)
_TYPES = [
    "int8"
    if name in ("log", "index", "recorded_time_us", "kind")
    else "text"
    if name in ("type", "entity_type")
    else "bytea"
    for name in (column.name for column in tables.entries.columns)
]


@dataclass(frozen=True)
class PostgresqlDatabase:
    """See `database.Database`. One is for the tables of one schema."""

    schema: str

    def has_ledger(self, connection: Connection) -> bool:
        """See `Database.has_ledger`.

        From the catalog's rows: what `to_regclass` remembers may be older than this statement.
        """
        query = (
            "SELECT 1 FROM pg_class "
            "WHERE relname = 'schema_versions' AND relnamespace = to_regnamespace(%s)"
        )
        return connection.exec_driver_sql(query, (quoted(self.schema),)).first() is not None

    def lock_schema(self, connection: Connection) -> None:
        """See `Database.lock_schema`."""
        key = crc32(self.schema.encode()) - 2**31
        connection.exec_driver_sql(
            "SELECT pg_advisory_xact_lock(%s::int, %s::int)", (_LOCK_CLASS, key)
        )

    def create_view(self, connection: Connection) -> None:
        """See `Database.create_view`."""
        connection.exec_driver_sql(postgresql_soundness.signed_records(self.schema))

    def create_guards(self, connection: Connection) -> None:
        """See `Database.create_guards`."""
        postgresql_guards.create_guards(connection, self.schema)

    def grant_leases(self, connection: Connection) -> None:
        """See `Database.grant_leases`: the default privileges of the schema said who may insert.

        `SELECT .. FOR UPDATE`, by which an append locks its log, needs the right to UPDATE.
        """
        name = f"{quoted(self.schema)}.leases"
        roles = connection.exec_driver_sql(_INSERTERS, (name,)).all()
        for (role,) in roles:
            connection.exec_driver_sql(f"GRANT UPDATE ON {name} TO {quoted(role)}")

    def check_guards(self, connection: Connection) -> list[tuple[str, str]]:
        """See `Database.check_guards`."""
        return postgresql_guards.check_guards(connection, self.schema)

    def schema_faults(self, connection: Connection) -> list[str]:
        """See `Database.schema_faults`."""
        return postgresql_soundness.schema_faults(connection, self.schema)

    def index_faults(self, connection: Connection) -> list[str]:
        """See `Database.index_faults`."""
        return postgresql_indexes.index_faults(connection, self.schema)

    def insert_entries(self, connection: Connection, rows: list[tuple[object, ...]]) -> None:
        """Insert rows of the entries table, their columns in the table's order; by binary COPY."""
        statement = f"COPY {quoted(self.schema)}.entries ({_NAMES}) FROM STDIN (FORMAT BINARY)"
        with driver_of(connection) as driver, driver.cursor() as cursor:
            with cursor.copy(statement.encode()) as copy:
                copy.set_types(_TYPES)
                write_row = copy.write_row
                for row in rows:
                    write_row(row)
            stored = cursor.rowcount
        if stored != len(rows):
            # A trigger ate some. Nothing of the batch is committed, and nobody is told it was.
            raise StoreCorrupt(
                f"the database stored {stored:,} of {len(rows):,} entries; "
                "run `audit verify` and remove what acts on the table entries"
            )

    def find_ids(
        self, connection: Connection, log: int, ids: Sequence[bytes]
    ) -> Iterator[tuple[bytes | None, bytes, int]]:
        """(source, event_id, index) of the log's entries with these values of event_id.

        `log + 0`, so that no statistics, or none, make the planner walk the log instead.
        """
        query = (
            f'SELECT source, event_id, "index" FROM {quoted(self.schema)}.entries '
            "WHERE event_id = ANY(%b) AND log + 0 = %b"
        )
        cursor = connection.exec_driver_sql(query, (list(ids), log)).cursor
        if cursor is not None:
            yield from cursor.fetchall()

    def newest_at(self, connection: Connection, log: int, recorded_time_us: int) -> int | None:
        """See `Database.newest_at`. Searches along the primary key.

        Recorded time increases with the index, so an index on it would find no more than this
        does, and cost every append a tenth.
        """
        where = f"FROM {quoted(self.schema)}.entries WHERE log = %s"
        newest = connection.exec_driver_sql(f'SELECT max("index") {where}', (log,)).scalar()
        low, high = -1, 0 if newest is None else newest + 1
        while high - low > 1:
            step = (high - low + PROBES - 1) // PROBES
            probes = list(range(low + step, high, step))
            rows = self._at(connection, "recorded_time_us", log, probes)
            if not rows and step > 1:
                raise StoreCorrupt(f"entries of log {log} are missing; run `audit verify`")
            for index, time_us in rows:
                if time_us > recorded_time_us:
                    high = index
                    break
                low = index
            if step == 1:
                break
        return low if low >= 0 else None

    def leaves_at(
        self, connection: Connection, log: int, indexes: Sequence[int]
    ) -> Sequence[tuple[int, bytes]]:
        """See `Database.leaves_at`."""
        return self._at(connection, "leaf", log, indexes)

    def _at(
        self, connection: Connection, column: str, log: int, indexes: Sequence[int]
    ) -> list[tuple[int, Any]]:
        # Entry by entry along the whole key. With `index = ANY(..)` a planner without statistics
        # walks the whole log.
        query = (
            f"SELECT w.i, e.{column} FROM unnest(%b::int8[]) WITH ORDINALITY w(i, place), LATERAL "
            f"(SELECT {column} FROM {quoted(self.schema)}.entries "
            'WHERE log = %b AND "index" = w.i LIMIT 1) e ORDER BY w.place'
        )
        rows = connection.exec_driver_sql(query, (list(indexes), log))
        return [(index, value) for index, value in rows]

    def beside_key(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """See `Database.beside_key`: an expression, which the key's index cannot answer."""
        return column + 0

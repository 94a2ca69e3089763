"""PostgreSQL as a `Database`: its view, its lock, and the statements that cost most."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import psycopg
from sqlalchemy import ColumnElement, Connection

from audit.errors import StoreCorrupt
from audit.store import postgresql_guards, postgresql_indexes, postgresql_soundness, tables
from audit.store.postgresql import driver_of, quoted
from audit.store.seam import fetched

_LOCK_CLASS = 0x41554454
"""First half of the advisory lock's key; the second stands for the schema."""

_INSERTERS = """
SELECT r.rolname::text
  FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) g JOIN pg_roles r ON r.oid = g.grantee
 WHERE c.oid = to_regclass(%s) AND g.privilege_type = 'INSERT' AND g.grantee <> c.relowner
"""

MAX_HOLE = 256
"""So many entries in a row that are not there are no single loss, and nothing is said of a time."""

_STEADY = (
    "ISOLATION LEVEL REPEATABLE READ, READ ONLY; "
    # To plan a statement takes longer than to run it. Whatever the values, and whatever the
    # statistics say, the few that a short answer asks have one good plan: along their index.
    "SET LOCAL plan_cache_mode = force_generic_plan"
)

_NEWEST_AT = """
WITH RECURSIVE search(low, high, hole) AS (
  SELECT -1::int8, coalesce(max("index"), -1) + 1, false FROM {entries} WHERE log = %(log)s::int8
   UNION ALL
  SELECT CASE WHEN probe.at <= %(time)s::int8 THEN probe.i ELSE low END,
         CASE WHEN probe.at <= %(time)s::int8 THEN high ELSE middle END,
         hole OR (probe.i IS NULL AND high - middle >= %(hole)s::int8)
    FROM (SELECT low, high, hole, (low + high) / 2 AS middle FROM search) here
    LEFT JOIN LATERAL (
         SELECT "index" AS i, recorded_time_us AS at FROM {entries}
          WHERE log = %(log)s::int8 AND "index" >= middle AND "index" < high
          ORDER BY "index" LIMIT 1) probe ON true
   WHERE high - low > 1
)
SELECT low, hole FROM search WHERE high - low <= 1
"""

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

    @property
    def asks_driver(self) -> bool:
        """See `Database.asks_driver`."""
        return False

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
        yield from fetched(connection.exec_driver_sql(query, (list(ids), log)))

    def hold_still(self, connection: Connection) -> None:
        """See `Database.hold_still`."""
        with driver_of(connection) as driver, psycopg.Cursor(driver) as cursor:
            # Without autocommit the driver begins the transaction itself.
            begin = "BEGIN" if driver.autocommit else "SET TRANSACTION"
            # In one way to the server and back: as text, without values, it may be two statements.
            cursor.execute(f"{begin} {_STEADY}")

    def let_go(self, connection: Connection) -> None:
        """See `Database.let_go`. After a rollback the driver would drop what it has prepared."""
        with driver_of(connection) as driver:
            driver.commit()

    def newest_at(self, connection: Connection, log: int, recorded_time_us: int) -> int | None:
        """See `Database.newest_at`. Searches along the primary key, by halves, in one statement.

        Recorded time increases with the index, so an index on it would find no more than this
        does, and cost every append a tenth.
        """
        query = _NEWEST_AT.format(entries=f"{quoted(self.schema)}.entries")
        values = {"log": log, "time": recorded_time_us, "hole": MAX_HOLE}
        low, hole = connection.exec_driver_sql(query, values).one()
        if hole:
            raise StoreCorrupt(f"entries of log {log} are missing; run `audit verify`")
        return low if low >= 0 else None

    def leaves_at(
        self, connection: Connection, log: int, indexes: Sequence[int]
    ) -> Sequence[tuple[int, bytes]]:
        """See `Database.leaves_at`."""
        # Entry by entry along the whole key. With `index = ANY(..)` a planner without statistics
        # walks the whole log.
        query = (
            "SELECT w.i, e.leaf FROM unnest(%b::int8[]) WITH ORDINALITY w(i, place), LATERAL "
            f"(SELECT leaf FROM {quoted(self.schema)}.entries "
            'WHERE log = %b AND "index" = w.i LIMIT 1) e ORDER BY w.place'
        )
        rows = connection.exec_driver_sql(query, (list(indexes), log))
        return [(index, leaf) for index, leaf in rows]

    def beside_key(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """See `Database.beside_key`: an expression, which the key's index cannot answer."""
        return column + 0

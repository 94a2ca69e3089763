"""The databases that the contract suite runs on; a new one adds a class with these few methods."""

import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from sqlalchemy import Connection, event

from audit.event.build import data_event, schema_event
from audit.event.envelope import Event, encode_event
from audit.log.intake import Message
from audit.store import clock_us, open_reader, open_store
from audit.store.sql_reader import SqlReader
from audit.store.sql_store import SqlStore
from audit.tlog.keys import Ed25519Signer

ORIGIN = "example.com/contract"
SEED = bytes(range(32))


def signer_of(origin: str = ORIGIN, seed: bytes = SEED) -> Ed25519Signer:
    """A signing key with a fixed seed."""
    return Ed25519Signer.from_seed(origin, seed)


@contextmanager
def statements_of(store: Any) -> Iterator[list[tuple[str, Any]]]:
    """The statements that a store or reader runs meanwhile, with their values.

    SQLite tells them itself, the values in their text: some pass SQLAlchemy by.
    """
    seen: list[tuple[str, Any]] = []
    engine = store._engine

    def see(*call: Any) -> None:
        seen.append((call[2], call[3]))

    def trace(connection: Any, *_: Any) -> None:
        connection.set_trace_callback(lambda text: seen.append((text, ())))

    def untrace(connection: Any, *_: Any) -> None:
        connection.set_trace_callback(None)

    listening: list[tuple[str, Any]] = [("before_cursor_execute", see)]
    if engine.dialect.name == "sqlite":
        listening = [("checkout", trace), ("checkin", untrace)]
    for name, heard in listening:
        event.listen(engine, name, heard)
    try:
        yield seen
    finally:
        for name, heard in listening:
            event.remove(engine, name, heard)


class Backend(ABC):
    """A place for a ledger, and what tests do to it past the library."""

    name: str
    url: str
    refusal: type[Exception]
    """What the driver raises when a guard refuses."""

    def store(self, clock: Callable[[], int] = clock_us) -> SqlStore:
        """A store that may append; what is missing is made."""
        return open_store(self.url, create=True, clock=clock)

    def prepare(self) -> None:  # noqa: B027 - most need not
        """Make the tables as the migrations make them, where that is quicker than by these."""

    def new_ledger(self, origin: str = ORIGIN, clock: Callable[[], int] = clock_us) -> SqlStore:
        """A store in which a ledger was made just now: by hundreds of tests, so it is to be quick.

        Those that are about the making itself take `store`.
        """
        self.prepare()
        store = self.store(clock)
        store.create(origin, signer_of(origin))
        return store

    def reader(self) -> SqlReader:
        """A reader."""
        return open_reader(self.url)

    @abstractmethod
    def sql(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a statement past the library, as its owner could; SQLite's ? and x'00' for values."""

    @abstractmethod
    def drop_guards(self) -> None:
        """What an attacker does first."""

    @abstractmethod
    def restorable(self) -> Callable[[], None]:
        """Keep the ledger as it is now; gives what puts it back, as an older copy would."""

    @abstractmethod
    @contextmanager
    def unguarded(self) -> Iterator[None]:
        """No guard stops anything meanwhile, and afterwards none is missing."""

    @abstractmethod
    def explain(self, store: SqlStore, statement: str, values: Any) -> list[tuple[str, str]]:
        """(index, condition on it) of each scan of `entries` in the plan that `store` would get."""

    @abstractmethod
    def tables(self) -> set[str]:
        """The names of all tables."""

    @abstractmethod
    def columns(self, table: str) -> list[str]:
        """The names of a table's columns."""


class SqliteBackend(Backend):
    """One SQLite file in a temporary folder."""

    name = "sqlite"
    refusal = sqlite3.IntegrityError

    _made: ClassVar[dict[tuple[str, int | None], bytes]] = {}
    """Files of ledgers that nothing was written into yet, each made once in a run of the tests."""

    def __init__(self, folder: Path) -> None:
        """Nothing is created yet."""
        self.path = folder / "audit.db"
        self.url = f"sqlite:///{self.path}"

    def new_ledger(self, origin: str = ORIGIN, clock: Callable[[], int] = clock_us) -> SqlStore:
        # One that says of itself that it was made at the same time; now is whenever it was made.
        kind = (origin, None if clock is clock_us else clock())
        if kind not in self._made:
            super().new_ledger(origin, clock).close()
            assert [path.name for path in self.path.parent.glob("audit.db*")] == ["audit.db"]
            self._made[kind] = self.path.read_bytes()
        else:
            self.path.write_bytes(self._made[kind])
        return self.store(clock)

    def sql(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.path)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def drop_guards(self) -> None:
        for (name,) in self.sql("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            self.sql(f"DROP TRIGGER {name}")

    def restorable(self) -> Callable[[], None]:
        self.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        kept = self.path.read_bytes()

        def restore() -> None:
            for path in self.path.parent.glob("audit.db*"):
                path.unlink()
            self.path.write_bytes(kept)

        return restore

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        guards = self.sql("SELECT sql FROM sqlite_master WHERE type = 'trigger'")
        self.drop_guards()
        yield
        for (text,) in guards:
            self.sql(text)

    def explain(self, store: SqlStore, statement: str, values: Any) -> list[tuple[str, str]]:
        found = []
        for row in self.sql(f"EXPLAIN QUERY PLAN {statement}", values):
            if " entries " in row[3]:
                index = re.search(r"INDEX (\w+)", row[3])
                name = index[1] if index and row[3].startswith("SEARCH") else ""
                key = name.startswith("sqlite_autoindex")
                found.append(("primary key" if key else name, row[3]))
        return found

    def tables(self) -> set[str]:
        return {name for (name,) in self.sql("SELECT name FROM sqlite_master WHERE type='table'")}

    def columns(self, table: str) -> list[str]:
        return [row[1] for row in self.sql(f"PRAGMA table_info({table})")]


class PostgresqlBackend(Backend):
    """One schema of a PostgreSQL server, alone on the search path of its URL."""

    name = "postgresql"
    refusal = psycopg.errors.IntegrityConstraintViolation

    _script = ""
    """What the migrations did to the schema SCHEMA, once in a run of the tests."""

    def __init__(self, url: str) -> None:
        """The schema is empty."""
        self.url = url
        self.schema = url.rpartition("search_path%3D")[2]
        self._connection: psycopg.Connection | None = None

    def prepare(self) -> None:
        if not self._script:
            type(self)._script = self._recorded()
        script = self._script.replace("SCHEMA", self.schema).encode()
        self._warm(self.url.partition("?")[0]).execute(script)

    _warmed: ClassVar[dict[str, psycopg.Connection]] = {}
    """The last server's connection for making tables: what it knows of the catalog is half."""

    @classmethod
    def _warm(cls, server: str) -> psycopg.Connection:
        connection = cls._warmed.get(server)
        if connection is None or connection.closed:
            for other in cls._warmed.values():
                other.close()
            cls._warmed.clear()
            connection = cls._warmed[server] = psycopg.connect(server, autocommit=True)
        return connection

    def copy(self, schema: str) -> None:
        """Make a copy of the ledger in another schema of the server."""
        self.prepare()
        names = sorted(self.tables() - {"schema_versions"})
        rows = "; ".join(f"INSERT INTO {n} SELECT * FROM {schema}.{n}" for n in names)
        self.sql(rows)

    def _recorded(self) -> str:
        """A ledger is made and dropped again, for the statements that make its tables."""
        seen: list[str] = []
        with self.store() as store:
            event.listen(store._engine, "before_cursor_execute", lambda *call: seen.append(call[2]))
            store.create(ORIGIN, signer_of())
            made = [text for text in seen if text.lstrip().startswith(("CREATE", "ALTER"))]
        made += [
            f"INSERT INTO {self.schema}.schema_versions VALUES ({version}, 0)"
            for (version,) in self.sql("SELECT version FROM schema_versions")
        ]
        self.sql(f"DROP SCHEMA {self.schema} CASCADE")
        self.sql(f"CREATE SCHEMA {self.schema}")
        return "; ".join(made).replace(self.schema, "SCHEMA")

    @property
    def connection(self) -> psycopg.Connection:
        """The connection of whoever owns the database."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.url, autocommit=True)
        return self._connection

    def sql(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        statement = re.sub(r"\bx'([0-9a-f]*)'", r"'\\x\1'::bytea", statement)
        statement = statement.replace("AS BLOB", "AS bytea")
        if values:
            statement = statement.replace("%", "%%").replace("?", "%s")
        cursor = self.connection.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    def guards(self) -> list[tuple[Any, ...]]:
        """The name and the table of each trigger."""
        return self.sql(
            "SELECT t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "WHERE c.relnamespace = current_schema()::regnamespace"
        )

    def drop_guards(self) -> None:
        self.sql("; ".join(f"DROP TRIGGER {name} ON {table}" for name, table in self.guards()))

    def restorable(self) -> Callable[[], None]:
        rows = {name: self.sql(f"SELECT * FROM {name}") for name in self.tables()}

        def restore() -> None:
            with self.unguarded():
                for name, kept in rows.items():
                    self.sql(f"DELETE FROM {name}")
                    for row in kept:
                        self.sql(f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", row)

        return restore

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        guards = self.guards()
        for name, table in guards:
            self.sql(f"ALTER TABLE {table} DISABLE TRIGGER {name}")
        yield
        for name, table in guards:
            self.sql(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")

    def explain(self, store: SqlStore, statement: str, values: Any) -> list[tuple[str, str]]:
        found = []

        def visit(node: dict[str, Any]) -> None:
            of = node.get("Relation Name", node.get("Index Name", ""))
            if "Scan" in node["Node Type"] and of.startswith("entries"):
                condition = node.get("Index Cond", "")
                if node.get("Scan Direction") == "Backward":
                    condition += " and the last by index"
                if node["Node Type"] == "Seq Scan":
                    found.append(("", ""))
                elif node["Node Type"] != "Bitmap Heap Scan":
                    name = node["Index Name"]
                    key = name == "entries_pkey"
                    found.append(("primary key" if key else name, condition))
            for below in node.get("Plans", ()):
                visit(below)

        with store._engine.connect() as connection:
            query = f"EXPLAIN (FORMAT JSON) {statement}"
            ((plans,),) = connection.exec_driver_sql(query, values)
            plans += self._planned_for_any(connection, statement, values)
        for plan in plans:
            visit(plan["Plan"])
        return found

    @staticmethod
    def _planned_for_any(connection: Connection, statement: str, values: Any) -> list[Any]:
        """The plan that is made once for all values, as for the questions of a short answer."""
        if not statement.lstrip().startswith(("SELECT", "WITH")):
            return []
        named = dict(values) if isinstance(values, dict) else dict(enumerate(values))
        places = list(named)
        parts = re.split(r"%(?:\((\w+)\))?[sb]", statement)
        text = parts[0]
        for given, (name, after) in enumerate(zip(parts[1::2], parts[2::2], strict=True)):
            text += f"${places.index(given if name is None else name) + 1}{after}"
        run = connection.connection.driver_connection
        assert isinstance(run, psycopg.Connection)
        literals = [psycopg.sql.Literal(value).as_string(run) for value in named.values()]
        run.execute(f"PREPARE any_values AS {text}".encode())
        run.execute("SET plan_cache_mode = force_generic_plan")
        call = f"any_values({', '.join(literals)})" if literals else "any_values"
        ((plans,),) = run.execute(f"EXPLAIN (FORMAT JSON) EXECUTE {call}".encode())
        run.execute("SET plan_cache_mode = force_custom_plan")
        run.execute("DEALLOCATE any_values")
        return list(plans)

    def tables(self) -> set[str]:
        query = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        return {name for (name,) in self.sql(query)}

    def columns(self, table: str) -> list[str]:
        query = "SELECT attname FROM pg_attribute WHERE attrelid = ?::regclass AND attnum > 0"
        return [name for (name,) in self.sql(query, [table])]

    def close(self) -> None:
        """Close the own connection."""
        if self._connection is not None:
            self._connection.close()


def user_url(url: str, user: str, password: str = "") -> str:
    """A server's URL with another user."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{user}{':' if password else ''}{password}@{rest.partition('@')[2]}"


BACKENDS = (PostgresqlBackend.name, SqliteBackend.name)


def new_backend(name: str, request: pytest.FixtureRequest, folder: Path) -> Backend:
    """A place for a store on the backend of this name; asks for a server only if it needs one."""
    if name == SqliteBackend.name:
        return SqliteBackend(folder)
    server = request.getfixturevalue("postgres_server")
    backend = PostgresqlBackend(server.new_database())
    request.addfinalizer(backend.close)
    return backend


def event_of(
    number: int, *, key: object = None, source: str = "test", row: dict[str, object] | None = None
) -> Event:
    """A create event of the dataset `thing` with a fixed id."""
    event, _ = data_event(
        "create",
        "thing",
        number if key is None else key,
        event_id=f"event-{number}",
        source=source,
        after={"n": number} if row is None else row,
        image="full",
    )
    return event


def message_of(number: int, **options: object) -> Message:
    """`event_of` as a message."""
    return Message(encode_event(event_of(number, **options)))  # type: ignore[arg-type]


def messages(start: int, stop: int) -> list[Message]:
    """Messages with the given numbers."""
    return [message_of(number) for number in range(start, stop)]


def schema_messages() -> list[Message]:
    """The schema events that `event_of` needs."""
    _, schemas = data_event(
        "create", "thing", 1, event_id="x", source="test", after={}, image="full"
    )
    return [Message(encode_event(schema_event(text))) for text in schemas]

"""PostgreSQL: how its URL is read, how its server is reached, and how every session begins.

Nothing that a role, a database or another schema is set to changes what a session does: tables are
named with their schema in every statement and `search_path` holds the catalog alone, so nobody's
table, function or operator stands in for another. Durability: `synchronous_commit` is never off or
local for a writer, so a commit that returned survives a crash of the server. Writers of one log
take turns by a row lock and read the head after it, under READ COMMITTED; who waits for longer than
LOCK_TIMEOUT_MS is told that the store is busy. A server that was restarted is reached again by the
next call: every connection is tried before it is used.
"""

import re
import select
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

import psycopg
from psycopg import conninfo
from psycopg.pq import Format
from psycopg.types.string import BytesBinaryDumper
from sqlalchemy import Connection, Engine, event
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool

from audit.errors import AuditError, InvalidInput, StoreMissing, Unavailable
from audit.store.compiled import COMPILED
from audit.store.seam import translate

DEFAULT_SCHEMA = "public"
MAX_URL_CHARS = 8_192
MAX_SCHEMA_BYTES = 63
"""PostgreSQL's own limit of a name."""
OLDEST_VERSION = 14
"""Major version; older ones are no longer mended by their makers."""

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_MS = 60_000
"""How long a writer waits for its turn; a batch takes milliseconds."""
STATEMENT_TIMEOUT_MS = 600_000
"""How long one statement of a writer may take."""
IDLE_TIMEOUT_MS = 30_000
"""A writer that was stopped in the middle of a transaction loses it, and its lock, after this:
before whoever waits for the lock gives up."""
DEAD_PEER_MS = 30_000
"""How long a server that does not answer is waited for."""

_DEFAULTS: dict[str, Any] = {
    "application_name": "attestory",
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": DEAD_PEER_MS // 1_000,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": DEAD_PEER_MS,
}
_SECRETS = (
    "password",
    "sslpassword",
    "scram_client_key",
    "scram_server_key",
    "oauth_client_secret",
)

_SESSION = {
    "standard_conforming_strings": "on",
    "search_path": "pg_catalog, pg_temp",
    # Rows that row-level security would hide are an error, not an empty answer.
    "row_security": "off",
    "constraint_exclusion": "off",
    # Every question has its index (see `tables`), so a new table without statistics must not tempt
    # the planner to read all of it; plans are made for the table as it is now, not as it once was.
    "enable_seqscan": "off",
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}
_WRITER = {
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
    "idle_in_transaction_session_timeout": str(IDLE_TIMEOUT_MS),
}
_READER = {"default_transaction_read_only": "on"}

_SEARCH_PATH = re.compile(r"(?:^|\s)(?:-c\s*|--)search[_-]path=((?:\\.|\S)*)")
_PLAIN_NAME = re.compile(r"[^\W\d][\w$]*")

_REFUSED = (
    "does not exist",
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "not permitted to log in",
    "permission denied",
)
_NO_DATABASE = re.compile(r'database ".*" does not exist')


class PostgresqlAddress(NamedTuple):
    """A store on a server: the URL as it was given, the schema of its tables, and what is shown."""

    url: str
    schema: str
    shown: str
    """The URL without any secret."""


def parse_address(url: str) -> PostgresqlAddress:
    """Read a `postgresql://` URL, as libpq does. Raises InvalidInput, in which no secret is.

    `?options=-csearch_path%3DNAME` names the schema of the tables; without it that is `public`.
    """
    scheme, _, rest = url.partition("://")
    before, at, after = rest.rpartition("@")
    # What is not written as a URL must be could show a part of the password as host or database.
    if len(url) > MAX_URL_CHARS or "@" in before or (at and re.search(r"[/?\[\s]", before)):
        raise InvalidInput(
            "not a PostgreSQL URL; use postgresql://user@host:port/database, and write @ / ? : of "
            "a password as %40 %2F %3F %3A"
        )
    try:
        # libpq would take a URL to end at U+0000.
        if "\x00" in url:
            raise UnicodeError
        given = conninfo.conninfo_to_dict(url)
    except (psycopg.Error, UnicodeError):
        raise InvalidInput(
            f"not a PostgreSQL URL: {scheme}://...; use postgresql://user@host:port/database"
        ) from None
    user = before.partition(":")[0] + at
    place, mark, query = after.partition("?")
    kept = [part for part in query.split("&") if part and not _is_secret(part)]
    shown = f"{scheme}://{user}{place}{mark if kept else ''}{'&'.join(kept)}"
    return PostgresqlAddress(url, _schema_of(str(given.get("options") or "")), shown)


def _is_secret(part: str) -> bool:
    """Whether a part of a query is not to be shown; its name as libpq reads it."""
    return unquote(part.partition("=")[0]).strip().lower() in _SECRETS


def _schema_of(options: str) -> str:
    named = _SEARCH_PATH.findall(options)
    if not named:
        return DEFAULT_SCHEMA
    text = re.sub(r"\\(.)", r"\1", named[-1])
    if len(text) > 2 and text[0] == text[-1] == '"' and '"' not in text[1:-1]:
        name = text[1:-1]
    elif _PLAIN_NAME.fullmatch(text):
        name = text.lower()
    else:
        raise InvalidInput(f"the URL's search_path must name one schema, not {text:.100}")
    # A driver takes % in a statement for the place of a value.
    if len(name.encode()) > MAX_SCHEMA_BYTES or name.startswith("pg_") or {"\0", "%"} & set(name):
        raise InvalidInput(f"{name:.100} cannot be the schema of a ledger")
    return name


def quoted(name: str) -> str:
    """A name as SQL's delimited identifier."""
    return '"' + name.replace('"', '""') + '"'


class _BinaryCursor(psycopg.Cursor[Any]):
    """Takes results in binary form: half the bytes for a leaf, and nothing to decode."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.format = Format.BINARY


@contextmanager
def driver_of(connection: Connection) -> Iterator[psycopg.Connection[Any]]:
    """The driver's connection, in the transaction; its errors come as SQLAlchemy gives them."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    try:
        yield driver
    except psycopg.Error as error:
        lost = driver.closed or driver.broken
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            None,
            None,
            error,
            psycopg.Error,
            connection_invalidated=lost,
            dialect=connection.dialect,
        ) from error


def engine_for(address: PostgresqlAddress, writing: bool, create: bool) -> Engine:
    """An engine that can append, or only read. With `create` the tables may be missing.

    Raises StoreMissing, Unavailable, or InvalidInput when the server refuses the user.
    """

    def connect() -> DBAPIConnection:
        return cast(DBAPIConnection, _connect(address, writing))

    # One dialect for all: what is compiled is kept by dialect.
    dialect = _dialect()
    engine = Engine(
        QueuePool(connect, dialect=dialect),
        dialect,
        URL.create("postgresql+psycopg"),
        execution_options={
            "schema_translate_map": {None: address.schema},
            "compiled_cache": COMPILED,
        },
    )
    event.listen(engine, "checkout", _require_alive)
    try:
        _require_place(engine, address, create)
    except BaseException:
        engine.dispose()
        raise
    return engine


@cache
def _dialect() -> PGDialect_psycopg:
    """What SQLAlchemy knows of all servers, without asking each in four ways to it and back.

    It would ask for the version, which `_require_place` does, and for settings that `_connect`
    makes: the schema, how transactions are isolated, and that a backslash in a text is just that.
    """
    dialect = PGDialect_psycopg(  # type: ignore[no-untyped-call]
        dbapi=psycopg, use_native_hstore=False
    )
    dialect._backslash_escapes = False
    return dialect


def _require_place(engine: Engine, address: PostgresqlAddress, create: bool) -> None:
    query = (
        "SELECT to_regnamespace(%s) IS NULL, to_regclass(%s) IS NULL, "
        "current_setting('server_version_num')::int / 10000, current_setting('server_encoding')"
    )
    schema = quoted(address.schema)
    with translate(address.shown), engine.connect() as connection:
        row = connection.exec_driver_sql(query, (schema, f"{schema}.schema_versions")).one()
    no_schema, no_tables, version, encoding = row
    if version < OLDEST_VERSION:
        raise InvalidInput(
            f"{address.shown} is PostgreSQL {version}; a ledger needs {OLDEST_VERSION} or newer"
        )
    if encoding != "UTF8":
        raise InvalidInput(
            f"the database {address.shown} is encoded in {encoding}; "
            "make one with ENCODING 'UTF8' TEMPLATE template0"
        )
    if no_schema:
        raise StoreMissing(
            f"no schema {address.schema} in {address.shown}; CREATE SCHEMA {schema} makes it"
        )
    if no_tables and not create:
        raise StoreMissing(
            f"no ledger at {address.shown}; `audit init` or the first emit creates one"
        )


def _connect(address: PostgresqlAddress, writing: bool) -> psycopg.Connection[Any]:
    parameters = {
        **_DEFAULTS,
        **conninfo.conninfo_to_dict(address.url),
        "client_encoding": "UTF8",
    }
    try:
        connection = psycopg.connect(**parameters, autocommit=True, cursor_factory=_BinaryCursor)
    except psycopg.Error as error:
        raise _refusal(address, str(error)) from None
    try:
        settings = _SESSION | (_WRITER if writing else _READER)
        calls = ", ".join(
            f"pg_catalog.set_config('{name}', '{value}', false)" for name, value in settings.items()
        )
        if writing:
            calls += (
                ", pg_catalog.set_config('synchronous_commit', "
                "CASE pg_catalog.current_setting('synchronous_commit') "
                "WHEN 'off' THEN 'on' WHEN 'local' THEN 'on' "
                "ELSE pg_catalog.current_setting('synchronous_commit') END, false)"
            )
        connection.execute(f"SELECT {calls}".encode())
        # COPY finds it by the type's number; otherwise it takes a slow one, for another class.
        connection.adapters.register_dumper(bytes, BytesBinaryDumper)
        if writing:
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        # A reader's every question is a transaction of its own.
        connection.autocommit = not writing
    except BaseException as error:
        connection.close()
        if isinstance(error, psycopg.Error):
            raise _refusal(address, str(error)) from None
        raise
    return connection


def _require_alive(
    connection: DBAPIConnection, _: ConnectionPoolEntry, __: PoolProxiedConnection
) -> None:
    """Have the pool connect anew when the server ended this connection while it lay idle.

    A server says so, and closes it: there is something to read where nothing was asked. That costs
    no way to the server and back, as asking it would.
    """
    assert isinstance(connection, psycopg.Connection)
    try:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        if poll.poll(0):
            # Or it said something else. Only an answer tells.
            before = connection.autocommit
            connection.autocommit = True
            connection.execute("SELECT 1")
            connection.autocommit = before
    except psycopg.Error as error:
        raise InvalidatePoolError(str(error)) from None


def _refusal(address: PostgresqlAddress, message: str) -> AuditError:
    """What it means that a connection failed; libpq gives words alone, no code."""
    reason = message.split("\n", 1)[0].strip()
    reason = reason.rpartition("FATAL:")[2].strip() or reason
    if _NO_DATABASE.search(reason):
        return StoreMissing(f"no database at {address.shown}; CREATE DATABASE makes it")
    if any(words in reason for words in _REFUSED):
        return InvalidInput(f"{address.shown} refuses this user: {reason:.300}")
    return Unavailable(f"cannot reach {address.shown}: {reason:.300}")

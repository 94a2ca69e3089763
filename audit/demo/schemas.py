"""The demo's schemas in PostgreSQL: one for its ledger, and one for each copy of it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from audit.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    import psycopg

    from audit.store.postgresql import PostgresqlAddress

COPIES = ("edited", "deleted", "rewritten")
"""The copies of the ledger that the story makes; a schema of one is called after it."""
MAX_SCHEMA_BYTES = 50
"""Longest name of the ledger's schema: the names of its copies must fit PostgreSQL's 63 bytes."""
CONNECT_TIMEOUT_S = 10

_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_SEARCH_PATH = re.compile(r"(?:-c\s*|--)search[_-]path=(?:\\.|\S)*\s*")


def find_schema(url: str, own: str) -> "PostgresqlAddress":
    """The ledger's place in a database: the schema that the URL names, without one `own`.

    Nothing is made. Raises InvalidInput when the URL is wrong, a ledger or an older copy is there
    or the role may not make schemas, Unavailable.
    """
    if find_spec("psycopg") is None:
        raise Unavailable("PostgreSQL needs its driver: pip install 'attestory[postgresql]'")
    from psycopg import conninfo

    from audit.store.postgresql import parse_address

    address = parse_address(url)
    options = str(conninfo.conninfo_to_dict(url).get("options") or "")
    address = in_schema(address, address.schema if _SEARCH_PATH.search(options) else own)
    if len(address.schema.encode()) > MAX_SCHEMA_BYTES:
        raise InvalidInput(f"the demo's schema has a name of at most {MAX_SCHEMA_BYTES} bytes")
    with connected(address) as connection:
        _require_free(connection, address)
    return address


def _require_free(connection: "psycopg.Connection[Any]", address: "PostgresqlAddress") -> None:
    from audit.store.postgresql import quoted

    versions = f"{quoted(address.schema)}.schema_versions"
    copies = [copy_name(address, name) for name in COPIES]
    row = connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL, "
        "has_database_privilege(current_database(), 'CREATE'), "
        "ARRAY(SELECT nspname::text FROM pg_namespace WHERE nspname = ANY(%s))",
        (versions, copies),
    ).fetchone()
    has_ledger, may_create, there = row or (False, False, [])
    if has_ledger or there:
        found = f"a ledger is in {address.schema}" if has_ledger else f"{there[0]} is there"
        raise InvalidInput(
            f"{found} already, and the demo touches nothing of it\n"
            "name another schema, or none: the demo makes one of its own"
        )
    if not may_create:
        raise InvalidInput(
            f"the demo makes schemas in {address.shown}, and this role may not\n"
            "GRANT CREATE ON DATABASE lets it; or name a database of its own"
        )


def make_schema(address: "PostgresqlAddress") -> None:
    """Make the schema unless it is there. Raises InvalidInput, Unavailable."""
    from audit.store.postgresql import quoted

    with connected(address) as connection:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(address.schema)}".encode())


def copy_schema(address: "PostgresqlAddress", name: str) -> "PostgresqlAddress":
    """A copy of the ledger in a schema beside it, built as a ledger is. Raises Unavailable."""
    from audit.store import clock_us, tables
    from audit.store.migrations import migrate
    from audit.store.postgresql import engine_for, quoted
    from audit.store.postgresql_database import PostgresqlDatabase

    copy = in_schema(address, copy_name(address, name))
    make_schema(copy)
    engine = engine_for(copy, writing=True, create=True)
    try:
        with engine.connect() as connection, connection.begin():
            migrate(connection, PostgresqlDatabase(copy.schema), clock_us())
    finally:
        engine.dispose()
    with connected(copy) as raw, raw.transaction():
        for table in tables.metadata.tables.keys() - {tables.schema_versions.name}:
            source = f"{quoted(address.schema)}.{table}"
            statement = f"INSERT INTO {quoted(copy.schema)}.{table} SELECT * FROM {source}"
            raw.execute(statement.encode())
    return copy


def schemas_of(url: str) -> list[str]:
    """The schemas of the ledger at a URL and of its copies."""
    from audit.store.postgresql import parse_address

    address = parse_address(url)
    return [address.schema, *(copy_name(address, name) for name in COPIES)]


def copy_name(address: "PostgresqlAddress", name: str) -> str:
    """The schema of a copy."""
    return f"{address.schema}_{name}"


def in_schema(address: "PostgresqlAddress", schema: str) -> "PostgresqlAddress":
    """The same database, with another schema for the tables."""
    from psycopg import conninfo

    from audit.store.postgresql import parse_address

    if not _PLAIN_NAME.fullmatch(schema):
        raise InvalidInput(f"the demo's schema is a plain name in small letters, not {schema:.60}")
    place, _, query = address.url.partition("?")
    options = str(conninfo.conninfo_to_dict(address.url).get("options") or "")
    options = f"{_SEARCH_PATH.sub('', options).strip()} -csearch_path={schema}".strip()
    parts = [part for part in query.split("&") if part and not part.startswith("options=")]
    parts.append(f"options={quote(options, safe='')}")
    return parse_address(f"{place}?{'&'.join(parts)}")


@contextmanager
def connected(address: "PostgresqlAddress") -> "Iterator[psycopg.Connection[Any]]":
    """A connection of the database's own driver, each statement committed by itself.

    Raises Unavailable for whatever the server says to it.
    """
    import psycopg

    parameters = {"connect_timeout": CONNECT_TIMEOUT_S, "autocommit": True}
    try:
        with psycopg.connect(address.url, **parameters) as connection:  # type: ignore[arg-type]
            yield connection
    except psycopg.Error as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise Unavailable(f"cannot use {address.shown}: {reason:.300}") from None

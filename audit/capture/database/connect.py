"""The application's database: opening it by its URL, and what its driver says as our errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from audit.errors import InvalidInput, StoreBusy, Unavailable

POSTGRESQL = "postgresql"
SQLITE = "sqlite"
MAX_URL_CHARS = 8_192
CONNECT_TIMEOUT_S = 10
DEAD_PEER_S = 30
"""How long a server that does not answer is waited for."""
BUSY_TIMEOUT_S = 5
"""How long SQLite waits for the application's transaction to end before it says that it is busy."""
MAX_REASON_CHARS = 300

_CONNECTION: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": DEAD_PEER_S,
    "tcp_user_timeout": DEAD_PEER_S * 1_000,
}
_DRIVERS = {POSTGRESQL: "postgresql+psycopg", SQLITE: "sqlite"}

# Any bytes can stand in a TEXT cell of SQLite; as lone surrogates they are refused row by row.
_as_text = partial(str, encoding="utf-8", errors="surrogateescape")


def open_database(url: str) -> Engine:
    """An engine for the application's database, whatever driver its URL names.

    Nothing is connected yet. Raises InvalidInput, and Unavailable for an SQLite file that is not
    there: a relay must not make one by a typing error.
    """
    if not isinstance(url, str) or len(url) > MAX_URL_CHARS:
        raise InvalidInput(f"a database is a URL of at most {MAX_URL_CHARS} characters")
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError):
        raise InvalidInput(
            "not a database: use sqlite:///path/app.db or postgresql://user@host/database"
        ) from None
    if backend not in _DRIVERS:
        raise InvalidInput(f"an outbox is in SQLite or PostgreSQL, not in {backend[:40]!r}")
    parsed = parsed.set(drivername=_DRIVERS[backend])
    if backend == SQLITE:
        return _sqlite(parsed)
    options = {name: value for name, value in _CONNECTION.items() if name not in parsed.query}
    try:
        return create_engine(parsed, pool_pre_ping=True, connect_args=options)
    except (ImportError, NoSuchModuleError):
        raise Unavailable(
            "PostgreSQL needs its driver: pip install 'attestory[postgresql]'"
        ) from None


def _sqlite(url: URL) -> Engine:
    from pathlib import Path

    path = url.database or ""
    if not path or path.startswith((":memory:", "file:")) or "\x00" in path:
        raise InvalidInput("the application's database is a file: sqlite:///path/app.db")
    if not Path(path).exists():
        raise Unavailable(f"there is no database {path}")
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def _any_text(connection: Any, _: Any) -> None:
        connection.text_factory = _as_text
        connection.create_function("attestory_shard", 2, shard_of, deterministic=True)

    return engine


def shard_of(entity_type: object, shards: int) -> int:
    """The shard of a dataset, for databases that cannot compute it (see `leases.in_shard`)."""
    raw = (
        entity_type
        if isinstance(entity_type, bytes)
        else str(entity_type or "").encode(errors="surrogateescape")
    )
    return sha256(raw).digest()[0] % shards


def shown(bind: Engine | Connection) -> str:
    """The database's address for messages: holds no password."""
    return bind.engine.url.render_as_string(hide_password=True)


def dialect_of(bind: Engine | Connection) -> str:
    """`sqlite` or `postgresql`. Raises InvalidInput for any other database."""
    name = bind.dialect.name
    if name not in _DRIVERS:
        raise InvalidInput(f"an outbox is in SQLite or PostgreSQL, not in {name[:40]!r}")
    return name


@contextmanager
def reaching(bind: Engine | Connection) -> Iterator[None]:
    """What SQLAlchemy and the driver raise inside, as Unavailable (busy: StoreBusy)."""
    try:
        yield
    except DBAPIError as error:
        text = str(error.orig).strip().partition("\n")[0][:MAX_REASON_CHARS]
        kind = StoreBusy if "database is locked" in text else Unavailable
        raise kind(f"{shown(bind)}: {text or type(error).__name__}") from error
    except SQLAlchemyError as error:
        text = str(error).partition("\n")[0][:MAX_REASON_CHARS]
        raise Unavailable(f"{shown(bind)}: {text}") from error

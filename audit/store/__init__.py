"""Where a ledger is kept: open it for reading or for appending by its URL.

`sqlite:///relative/path.db`, `sqlite:////absolute/path.db` and `postgresql://user@host:port/db` are
known. SQLAlchemy, and a driver, are imported only when a store is opened.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from audit.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from audit.store.database import Database
    from audit.store.sql_reader import SqlReader
    from audit.store.sql_store import SqlStore

_SQLITE = "sqlite:///"
_POSTGRESQL = "postgresql://"


def clock_us() -> int:
    """Microseconds since the epoch, now."""
    return time.time_ns() // 1_000


def sqlite_path(url: str) -> Path:
    """The file of an SQLite store URL. Raises InvalidInput for any other URL."""
    path = url.removeprefix(_SQLITE)
    if path == url or not path or "\x00" in path or path.startswith(":memory:"):
        raise InvalidInput(
            f"not a store: {without_password(url)!r}; "
            "use sqlite:///path/audit.db or postgresql://user@host/database"
        )
    return Path(path)


def store_folder(url: str) -> Path:
    """Where the files beside a store are: its key, policy, spool and blobs.

    The SQLite file's folder; for a database server the current one. Raises InvalidInput.
    """
    return Path() if is_served(url) else sqlite_path(url).parent


def is_served(url: str) -> bool:
    """True for a store on a database server, which is no file here."""
    return url.startswith(_POSTGRESQL)


def open_reader(url: str, sound: bool = False) -> "SqlReader":
    """Open a ledger for reading only. Raises StoreMissing, Unavailable, InvalidInput.

    With `sound`, also StoreCorrupt when its tables, indexes and views are not as they were made: a
    verifier does without, to say what is wrong; whoever wants answers does not.
    """
    place = _opened(url, writing=False, create=False)
    from audit.store.sql_reader import SqlReader

    reader = SqlReader(*place)
    if sound:
        try:
            reader.require_sound()
        except BaseException:
            reader.close()
            raise
    return reader


def open_store(url: str, create: bool = False, clock: Callable[[], int] = clock_us) -> "SqlStore":
    """Open a ledger for appending. `clock` gives microseconds since the epoch.

    With `create` a missing file is made; `SqlStore.create` then makes the ledger in it. A database
    on a server must be there. Raises StoreMissing, Unavailable, InvalidInput.
    """
    place = _opened(url, writing=True, create=create)
    from audit.store.sql_store import SqlStore

    return SqlStore(*place, clock)


def without_password(url: str) -> str:
    """A URL for messages: without what stands before its last @, or names a password after it."""
    scheme, separator, rest = url.partition("://")
    place, mark, query = rest.rpartition("@")[2].partition("?")
    return scheme + separator + place + ("" if "password" in query else mark + query)


class _Place(NamedTuple):
    """A database that is ready, its address for messages, and what it does its own way."""

    engine: "Engine"
    address: str
    database: "Database"


def _opened(url: str, writing: bool, create: bool) -> _Place:
    if is_served(url):
        return _postgresql(url, writing, create)
    path = sqlite_path(url)
    from audit.store.sqlite import engine_for_reading, engine_for_writing
    from audit.store.sqlite_database import SQLITE

    engine = engine_for_writing(path, create) if writing else engine_for_reading(path)
    return _Place(engine, url, SQLITE)


def _postgresql(url: str, writing: bool, create: bool) -> _Place:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise Unavailable(
            "PostgreSQL needs its driver: pip install 'attestory[postgresql]'"
        ) from None
    from audit.store.postgresql import engine_for, parse_address
    from audit.store.postgresql_database import PostgresqlDatabase

    address = parse_address(url)
    engine = engine_for(address, writing, create)
    return _Place(engine, address.shown, PostgresqlDatabase(address.schema))

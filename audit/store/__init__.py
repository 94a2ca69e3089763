"""Where a ledger is kept: open it for reading or for appending by its URL.

`sqlite:///relative/path.db` and `sqlite:////absolute/path.db` are known now. SQLAlchemy is imported
only when a store is opened.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import InvalidInput

if TYPE_CHECKING:
    from audit.store.sql_reader import SqlReader
    from audit.store.sql_store import SqlStore

_SQLITE = "sqlite:///"


def clock_us() -> int:
    """Microseconds since the epoch, now."""
    return time.time_ns() // 1_000


def sqlite_path(url: str) -> Path:
    """The file of an SQLite store URL. Raises InvalidInput for any other URL."""
    path = url.removeprefix(_SQLITE)
    if path == url or not path or "\x00" in path or path.startswith(":memory:"):
        raise InvalidInput(f"not a store: {_without_password(url)!r}; use sqlite:///path/audit.db")
    return Path(path)


def open_reader(url: str, sound: bool = False) -> "SqlReader":
    """Open a ledger for reading only. Raises StoreMissing, Unavailable, InvalidInput.

    With `sound`, also StoreCorrupt when its tables, indexes and views are not as they were made: a
    verifier does without, to say what is wrong; whoever wants answers does not.
    """
    path = sqlite_path(url)
    from audit.store.sql_reader import SqlReader
    from audit.store.sqlite import engine_for_reading
    from audit.store.sqlite_database import SQLITE

    reader = SqlReader(engine_for_reading(path), url, SQLITE)
    if sound:
        try:
            reader.require_sound()
        except BaseException:
            reader.close()
            raise
    return reader


def open_store(url: str, create: bool = False, clock: Callable[[], int] = clock_us) -> "SqlStore":
    """Open a ledger for appending. `clock` gives microseconds since the epoch.

    With `create` a missing file is made; `SqlStore.create` then makes the ledger in it.
    Raises StoreMissing, Unavailable, InvalidInput.
    """
    path = sqlite_path(url)
    from audit.store.sql_store import SqlStore
    from audit.store.sqlite import engine_for_writing
    from audit.store.sqlite_database import SQLITE

    return SqlStore(engine_for_writing(path, create), url, SQLITE, clock)


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]

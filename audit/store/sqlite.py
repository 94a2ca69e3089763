"""SQLite: how its file is opened, and what its errors mean.

Durability: WAL with `synchronous=FULL`, so a commit that returned survives a power cut. Writers of
several processes take turns: every write begins with BEGIN IMMEDIATE and waits for its turn up to
BUSY_TIMEOUT_MS. Readers open the file read-only and never create one.
"""

import os
import sqlite3
from functools import cache
from pathlib import Path
from typing import cast
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool, StaticPool

from audit.errors import InvalidInput, StoreMissing, Unavailable
from audit.store.compiled import COMPILED

BUSY_TIMEOUT_MS = 60_000
"""How long a writer waits for its turn; a batch takes milliseconds."""

MAX_VALUE_BYTES = 2_000_000
"""Largest row: a leaf has at most 65,535 bytes, a checkpoint 1,000,000."""

_HEADER = b"SQLite format 3\x00"


def engine_for_reading(path: Path) -> Engine:
    """An engine that can only read. Raises StoreMissing when there is no such file."""
    if not path.is_file():
        raise StoreMissing(f"no ledger at {path}; `audit init` or the first emit creates one")
    _require_header(path)
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    if not os.access(path.parent, os.W_OK) and not _wal(path).exists():
        # Without the right to create the -shm file beside it, SQLite opens a WAL database only
        # when told that nobody writes; without a -wal file nobody does.
        uri += "&immutable=1"
    return _engine(uri, create=False)


def engine_for_writing(path: Path, create: bool) -> Engine:
    """An engine that can append. Raises StoreMissing, or Unavailable when it cannot be written."""
    if not path.exists():
        if not create:
            raise StoreMissing(f"no ledger at {path}; `audit init` creates one")
        if not path.parent.is_dir():
            raise Unavailable(f"cannot create {path}: there is no folder {path.parent}")
    elif path.stat().st_size:
        _require_header(path)
    return _engine(f"file:{quote(str(path.absolute()))}?mode={'rwc' if create else 'rw'}", create)


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _require_header(path: Path) -> None:
    if _wal(path).exists():
        # Somebody may have it open, perhaps this process: to close a file drops all locks that the
        # process has on it (POSIX), SQLite's too, and then another process may remove the WAL.
        return
    try:
        with path.open("rb") as file:
            head = file.read(len(_HEADER))
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from None
    if head != _HEADER:
        raise InvalidInput(f"{path} is not a ledger: it is not an SQLite file")


def _engine(uri: str, create: bool) -> Engine:
    def connect() -> DBAPIConnection:
        connection = sqlite3.connect(
            uri,
            uri=True,
            timeout=BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,  # transactions are begun by `_begin`, not by the driver
            check_same_thread=False,
        )
        return cast(DBAPIConnection, connection)

    # One dialect for all: what is compiled is kept by dialect.
    model = _model()
    pool = QueuePool(connect, dialect=model.dialect)
    engine = Engine(pool, model.dialect, model.url, execution_options={"compiled_cache": COMPILED})
    event.listen(engine, "connect", _prepare_create if create else _prepare)
    event.listen(engine, "begin", _begin)
    return engine


@cache
def _model() -> Engine:
    """An engine of no file: what all have in common, which SQLAlchemy finds out by connecting."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with engine.connect():
        return engine


def _prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # A view or an expression in a hostile file could make a value of any size.
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA recursive_triggers = ON")
    cursor.execute("PRAGMA trusted_schema = OFF")
    cursor.execute("PRAGMA cell_size_check = ON")
    cursor.close()


def _prepare_create(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.close()
    _prepare(connection, entry)


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("writing"):
        # Take the write lock now: a transaction that first reads the head and then writes could
        # otherwise find that another process moved it in between.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        # Past SQLAlchemy, for every question asked: it looks at no file, so it cannot fail.
        driver = cast(sqlite3.Connection, connection.connection.driver_connection)
        driver.execute("BEGIN")

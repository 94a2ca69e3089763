"""The one place where a database's errors, and values of wrong types, become ours."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from sqlalchemy import CursorResult, PoolProxiedConnection
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from audit.errors import (
    AuditError,
    InvalidInput,
    StoreBusy,
    StoreCorrupt,
    StoreMissing,
    Unavailable,
)

_UNAVAILABLE = (
    ("readonly", "it may not be written"),
    ("read-only", "it may not be written"),
    ("disk is full", "the disk is full; nothing of this batch was written"),
    ("disk i/o error", "the disk reports an error"),
    ("unable to open", "it cannot be opened"),
)
"""What SQLite's messages hold, which has no codes that its driver gives for all of them."""

_LOST = "the connection was lost; the next call connects again"

_BY_SQLSTATE: dict[str, tuple[type[AuditError], str]] = {
    "55P03": (StoreBusy, "{address} is locked by another writer; try again"),
    "40P01": (StoreBusy, "{address} is locked by another writer; try again"),
    "40001": (StoreBusy, "{address} is being written by another; try again"),
    "57014": (Unavailable, "cannot use {address}: the statement took too long, or was cancelled"),
    "25006": (Unavailable, "cannot use {address}: it may not be written"),
    "53100": (
        Unavailable,
        "cannot use {address}: the disk is full; nothing of this batch was written",
    ),
    "58030": (Unavailable, "cannot use {address}: the disk reports an error"),
    "25P03": (Unavailable, f"cannot use {{address}}: {_LOST}"),
    "3D000": (StoreMissing, "no ledger at {address}: {reason}"),
    "3F000": (StoreMissing, "no ledger at {address}: {reason}"),
    "42501": (InvalidInput, "this user may not do that in {address}: {reason}"),
    "42P01": (StoreCorrupt, "{address} is not a ledger, or a broken one: {reason}"),
    "42703": (StoreCorrupt, "{address} is not a ledger, or a broken one: {reason}"),
    "22021": (InvalidInput, "what is asked for cannot be in {address}: {reason}"),
    # By class
    "08": (Unavailable, f"cannot use {{address}}: {_LOST}"),
    "28": (InvalidInput, "{address} refuses this user: {reason}"),
    "53": (Unavailable, "cannot use {address}: {reason}"),
    "57": (Unavailable, f"cannot use {{address}}: {{reason}}; {_LOST}"),
    "XX": (StoreCorrupt, "{address} is broken: {reason}"),
}
"""What PostgreSQL's SQLSTATE codes mean: the code, else its class."""
_OTHER = (StoreCorrupt, "{address} cannot be read: {reason}")


def fetched(result: CursorResult[Any]) -> list[tuple[Any, ...]]:
    """All rows of a result as the driver's tuples; SQLAlchemy's rows would cost as much again.

    What the driver raises is wrapped as SQLAlchemy wraps what a statement raises: a damaged file
    may be found out only now.
    """
    cursor = result.cursor
    driver: Any = result.dialect.loaded_dbapi
    try:
        return [] if cursor is None else list(cursor.fetchall())
    except driver.Error as error:
        raise DBAPIError.instance(None, None, error, driver.Error) from error


def asked(
    connect: Callable[[], PoolProxiedConnection], text: str, given: Any, give_back: bool = True
) -> list[tuple[Any, ...]]:
    """All rows of an SQLite question, asked of a connection of the pool, past SQLAlchemy.

    Outside a transaction it is one of its own. Errors are wrapped as by `fetched`.
    """
    try:
        pooled = connect()
        try:
            driver = cast(sqlite3.Connection, pooled.driver_connection)
            return driver.execute(text, given).fetchall()
        finally:
            if give_back:
                pooled.close()
    except sqlite3.Error as error:
        raise DBAPIError.instance(None, None, error, sqlite3.Error) from error


@contextmanager
def translate(address: str) -> Iterator[None]:
    """Turn driver errors raised inside into ours: StoreBusy, Unavailable, StoreCorrupt and others.

    After any of them the transaction is rolled back: nothing of it was written.
    """
    try:
        yield
    except IntegrityError as error:
        raise StoreCorrupt(f"{address} refuses the entries: {_reason(error)}") from error
    except DBAPIError as error:
        raise _translated(address, error) from error
    except SQLAlchemyError as error:
        raise Unavailable(f"cannot use {address}: {_first_line(error)}") from error
    except OverflowError as error:
        raise Unavailable(f"cannot use {address}: a number is over 64 bits") from error
    except (UnicodeError, MemoryError) as error:
        # The driver's own, on text or sizes that no ledger writes.
        raise StoreCorrupt(f"{address} is broken: {type(error).__name__}") from error


def _translated(address: str, error: DBAPIError) -> AuditError:
    reason = _reason(error)
    state = getattr(error.orig, "sqlstate", None)
    if isinstance(state, str):
        class_, words = _BY_SQLSTATE.get(state) or _BY_SQLSTATE.get(state[:2]) or _OTHER
        return class_(words.format(address=address, reason=reason))
    if error.connection_invalidated:
        return Unavailable(f"cannot use {address}: {_LOST}")
    lower = reason.lower()
    if "locked" in lower or "busy" in lower:
        return StoreBusy(f"{address} is locked by another writer; try again")
    for mark, words in _UNAVAILABLE:
        if mark in lower:
            return Unavailable(f"cannot use {address}: {words}")
    if "no such table" in lower or "no such column" in lower:
        return StoreCorrupt(f"{address} is not a ledger, or a broken one: {reason}")
    if "malformed" in lower or "not a database" in lower or "corrupt" in lower:
        return StoreCorrupt(f"{address} is broken: {reason}")
    class_, words = _OTHER
    return class_(words.format(address=address, reason=reason))


def _reason(error: DBAPIError) -> str:
    return _first_line(error.orig if error.orig is not None else error)


def _first_line(error: BaseException) -> str:
    return (str(error).split("\n", 1)[0] or type(error).__name__)[:300]


def byte_column(value: object) -> bytes:
    """A byte column's value. bytes() of a number that stands there would be that many zeros."""
    if type(value) is not bytes:
        raise StoreCorrupt(f"a byte column holds {type(value).__name__}; run `audit verify`")
    return value


def storable(text: str) -> bool:
    """False for what no text column holds, so that no row has it: not UTF-8, or with U+0000."""
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)

"""Whether what lies at the ledger's address is still what was opened there.

A file may be put in the place of another, which shows by its number; or be written over in place
(`cp other.db audit.db`), which SQLite does not notice: it goes on with the pages that it has in
memory, and takes the others from the new file. Each look at the file is cheap; only when it was
written to since, by whomever, are the logs compared with what they were.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from audit.errors import AuditError, StoreMissing, Unavailable
from audit.ledger.open import BUNDLE_SCHEME, bundle_path, open_any_reader, store_file
from audit.store.contract import Reader
from audit.tlog.merkle import tree_root

SETTLED_NS = 50_000_000
"""A file that was written to within this time may be so again without its time showing it."""


class Place(NamedTuple):
    """The file at an address. `stamp`: another one after each writing; None: not settled yet."""

    file: tuple[int, int]
    stamp: tuple[int, int] | None


class Head(NamedTuple):
    """What a log was: its name, and the root of its first `size` entries."""

    origin: str
    size: int
    root: bytes


Heads = Mapping[int, Head]


class Address:
    """The address of a store or a bundle."""

    def __init__(self, url: str) -> None:
        """Nothing is looked at yet."""
        self._url = url
        self.may_grow = not url.startswith(BUNDLE_SCHEME)
        self._file = store_file(url) if self.may_grow else bundle_path(url)

    def look(self) -> Place | None:
        """What lies there now; None: on a server, always the same. Raises StoreMissing."""
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError as error:
            # The name of the folder is for who runs this, not for who looks.
            reason = error.strerror or type(error).__name__
            raise StoreMissing(f"{self._file.name} cannot be reached now: {reason}") from None
        is_settled = time.time_ns() - found.st_ctime_ns > SETTLED_NS
        stamp = (found.st_ctime_ns, found.st_size) if is_settled else None
        # Not another file's by chance: while we have it open its number is not given again.
        return Place((found.st_dev, found.st_ino), stamp)

    def heads(self, known: Heads | None = None) -> Heads | None:
        """What the logs are now, asked anew of the file; None where that cannot be told.

        None, too, where they are others than those known, or less.
        """
        if not self.may_grow or self._file is None:
            return None
        try:
            with open_any_reader(self._url, sound=False) as reader, reader.steady():
                found = _heads(reader)
                is_same = all(_holds(reader, found, *one) for one in (known or {}).items())
        except AuditError:
            return None
        return found if is_same else None

    def require_alone(self) -> None:
        """After it was written over: raise Unavailable while SQLite would mix it with the old.

        What the old one's write-ahead log holds would be laid over the pages of the new one.
        """
        if self._file is None or not self.may_grow:
            return
        beside = Path(f"{self._file}-wal")
        with suppress(OSError):
            if beside.stat().st_size:
                raise Unavailable(
                    f"{self._file.name} was written over while it was in use, and {beside.name} is "
                    "still of what it was: end all that has it open, this server too; remove "
                    f"{beside.name} and {self._file.name}-shm, and put the ledger there again"
                )


def _heads(reader: Reader) -> Heads:
    names = {info.log: info.origin for info in reader.logs()}
    return {
        log: Head(names.get(log, ""), size, _root(reader, log, size))
        for log, size in reader.sizes().items()
    }


def _holds(reader: Reader, found: Heads, log: int, known: Head) -> bool:
    """Whether a log is still the one that was known, or has only grown."""
    now = found.get(log)
    if now is None or now.origin != known.origin or now.size < known.size:
        return False
    return now == known or _root(reader, log, known.size) == known.root


def _root(reader: Reader, log: int, size: int) -> bytes:
    return tree_root(reader.hashes(log, size), size)

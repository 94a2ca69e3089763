"""The seam between a hostile store and the steps: whatever a reader raises becomes an AuditError.

A tampered store may hold a text where bytes belong, or numbers that no index has. A reader stumbles
over that in its own ways; here each becomes StoreCorrupt, and the steps turn that into a finding.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from audit.errors import AuditError, StoreCorrupt
from audit.store.contract import (
    LogInfo,
    Reader,
    StoredCheckpoint,
    StoredEntry,
    StoredTile,
)
from audit.tlog.merkle import HashSource

T = TypeVar("T")


class GuardedReader:
    """The part of `contract.Reader` that verification uses; raises nothing but AuditError."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.address = reader.address
        self.complete = reader.complete

    def logs(self) -> list[LogInfo]:
        """See `contract.Reader.logs`."""
        return self._call(lambda: self._reader.logs())

    def size(self, log: int) -> int:
        """See `contract.Reader.size`."""
        return self._call(lambda: self._reader.size(log))

    def leaf(self, log: int, index: int) -> bytes:
        """See `contract.Reader.leaf`."""
        leaf = self._call(lambda: self._reader.leaf(log, index))
        if type(leaf) is not bytes:
            raise StoreCorrupt(f"the leaf stored at index {index} is not bytes")
        return leaf

    def stored_entries(
        self, log: int, start: int, stop: int | None
    ) -> Iterator[Sequence[StoredEntry]]:
        """See `contract.Reader.stored_entries`."""
        return self._iterate(lambda: self._reader.stored_entries(log, start, stop))

    def defects(self) -> list[tuple[str, str]]:
        """See `contract.Reader.defects`."""
        return self._call(self._reader.defects)

    def index_defects(self) -> list[tuple[str, str]]:
        """See `contract.Reader.index_defects`."""
        return self._call(self._reader.index_defects)

    def newest_checkpoint(self, log: int) -> StoredCheckpoint | None:
        """See `contract.Reader.newest_checkpoint`."""
        return self._call(lambda: self._reader.newest_checkpoint(log))

    def covering_checkpoint(self, log: int, size: int) -> StoredCheckpoint | None:
        """See `contract.Reader.covering_checkpoint`."""
        return self._call(lambda: self._reader.covering_checkpoint(log, size))

    def checkpoints(self, log: int, start_size: int = 0) -> Iterator[StoredCheckpoint]:
        """See `contract.Reader.checkpoints`."""
        return self._iterate(lambda: self._reader.checkpoints(log, start_size))

    def tile(self, log: int, level: int, index: int) -> bytes | None:
        """See `contract.Reader.tile`."""
        return self._call(lambda: self._reader.tile(log, level, index))

    def tiles(self, log: int) -> Iterator[StoredTile]:
        """See `contract.Reader.tiles`."""
        return self._iterate(lambda: self._reader.tiles(log))

    def hashes(self, log: int, size: int) -> HashSource:
        """See `contract.Reader.hashes`."""
        source = self._call(lambda: self._reader.hashes(log, size))
        return _GuardedHashes(source, self._call)

    def warnings(self) -> list[tuple[str, str]]:
        """See `contract.Reader.warnings`."""
        return self._call(lambda: self._reader.warnings())

    def _call(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except AuditError:
            raise
        except Exception as error:
            raise self._translated(error) from error

    def _iterate(self, read: Callable[[], Iterator[T]]) -> Iterator[T]:
        # Only what the reader raises passes here; errors of whoever consumes it do not.
        try:
            yield from read()
        except AuditError:
            raise
        except Exception as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> StoreCorrupt:
        return StoreCorrupt(f"{self.address} holds what cannot be read: {error!s:.200}")


class _GuardedHashes:
    """Node hashes through the same seam."""

    def __init__(self, source: HashSource, call: Callable[[Callable[[], bytes]], bytes]) -> None:
        self._source = source
        self._call = call

    def node(self, level: int, index: int) -> bytes:
        """See `merkle.HashSource.node`."""
        return self._call(lambda: self._source.node(level, index))

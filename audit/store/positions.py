"""Where the source of a log is read on, told by the log's own newest entries."""

from bisect import bisect_left
from collections.abc import Sequence

from sqlalchemy import Connection

from audit.errors import FormatError, StoreCorrupt
from audit.log.intake import Incoming
from audit.log.source import Position, newest_position
from audit.store.contract import Reader
from audit.store.heads import leaves_of


def source_position(reader: Reader, log: int, size: int | None = None) -> Position | None:
    """Where the source of a log's first `size` entries (default: all) is read on; None: no source.

    Raises FormatError on a leaf that is none.
    """

    def read(start: int, stop: int) -> list[bytes]:
        return [leaf for _, leaf in reader.leaves(log, start, stop)]

    return newest_position(read, reader.size(log) if size is None else size)


def position_in(connection: Connection, log: int, size: int) -> Position | None:
    """The same within a transaction that holds the log's lock. Raises StoreCorrupt."""
    try:
        return newest_position(lambda a, b: leaves_of(connection, log, a, b), size)
    except FormatError as error:
        raise StoreCorrupt(f"log {log} is broken: {error}; run `audit verify`") from None


def from_offset(incoming: Sequence[Incoming], offset: int) -> Sequence[Incoming]:
    """Of messages in order of offset, those at or after one."""
    return incoming[bisect_left(incoming, offset, key=_offset) :]


def _offset(item: Incoming) -> int:
    return -1 if item.draft.source is None else item.draft.source.offset

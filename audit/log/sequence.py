"""The one append step, pure: a tree head, a batch and the clock give entries and a new tree head.

Everything that a log decides is decided here and nowhere else: the index, the recorded time, the
hash of the entry before, the tree. Nothing is opened, no clock is read; a store runs this inside
its transaction and writes what comes out.
"""

from collections.abc import Sequence
from typing import NamedTuple

from audit.errors import StoreCorrupt
from audit.event.wire import encode_run
from audit.log.entry import (
    LEAF_PREFIX,
    NO_HASH,
    Entry,
    Kind,
    SourceSpan,
    decode_entry,
    encode_tail,
)
from audit.tlog.hashing import leaf_hash
from audit.tlog.merkle import FullTile, TreeEdge

_new = tuple.__new__
"""A named tuple without the call of its own constructor, which takes longer than the tuple."""


class Draft(NamedTuple):
    """An entry before it has a place: all fields of a leaf that the message decides."""

    kind: Kind
    schema_hash: bytes | None
    source: SourceSpan | None
    reason: str | None
    signature: bytes | None
    event: bytes


class Sealed(NamedTuple):
    """An entry with its place: the leaf and its hash."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    recorded_time_us: int
    leaf: bytes
    leaf_hash: bytes


class Head(NamedTuple):
    """Where a log ends: the newest entry's recorded time and leaf hash, and the tree's edge."""

    recorded_time_us: int
    last_hash: bytes
    edge: TreeEdge

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.edge.size


class Step(NamedTuple):
    """What an append made: the entries in order, the new head, the tiles that became full."""

    sealed: list[Sealed]
    head: Head
    tiles: list[FullTile]


def empty_head() -> Head:
    """The head of a log that has no entry yet."""
    return Head(0, NO_HASH, TreeEdge.empty())


def append(head: Head, drafts: Sequence[Draft], now_us: int) -> Step:
    """Give every draft its place after `head`.

    The recorded time is `max(now_us, previous + 1)`: it strictly increases even when the clock
    stands still or runs backwards. Raises LimitExceeded when a draft does not fit a leaf.
    """
    if not drafts:
        return Step([], head, [])
    first, count = head.size, len(drafts)
    first_us = max(now_us, head.recorded_time_us + 1)
    last_hash = head.last_hash
    sealed = []
    hashes = []
    places = zip(
        range(first, first + count),
        range(first_us, first_us + count),
        encode_run(first, count),
        encode_run(first_us, count),
        drafts,
        strict=True,
    )
    for index, recorded_time_us, index_bytes, time_bytes, draft in places:
        start = LEAF_PREFIX + index_bytes + time_bytes + last_hash
        leaf = start + encode_tail(*draft)
        last_hash = leaf_hash(leaf)
        hashes.append(last_hash)
        sealed.append(_new(Sealed, (index, recorded_time_us, leaf, last_hash)))
    edge, tiles = head.edge.extend(hashes)
    return Step(sealed, Head(first_us + count - 1, last_hash, edge), tiles)


def follow(head: Head, leaves: Sequence[bytes]) -> Head:
    """The head after leaves that somebody else appended, with their chain and order checked.

    Raises StoreCorrupt naming the first index that does not continue the log.
    """
    if not leaves:
        return head
    index, recorded_time_us, last_hash = head.size, head.recorded_time_us, head.last_hash
    hashes = []
    for leaf in leaves:
        entry = decode_entry(leaf)
        check_next(entry, index, recorded_time_us, last_hash)
        recorded_time_us = entry.recorded_time_us
        last_hash = leaf_hash(leaf)
        hashes.append(last_hash)
        index += 1
    edge, _ = head.edge.extend(hashes)
    return Head(recorded_time_us, last_hash, edge)


def check_next(entry: Entry, index: int, recorded_time_us: int, last_hash: bytes) -> None:
    """Raise StoreCorrupt unless `entry` may stand at `index` after the given time and hash."""
    if entry.index != index:
        raise StoreCorrupt(f"the entry stored at index {index} says it is {entry.index}")
    if entry.prev_hash != last_hash:
        raise StoreCorrupt(f"the entry at index {index} does not continue the hash chain")
    if entry.recorded_time_us <= recorded_time_us and index:
        raise StoreCorrupt(f"recorded time runs backwards at index {index}")

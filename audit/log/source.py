"""Every offset of a source accounted for: by its entry, or by a `source.skipped` entry.

An entry that came from a source holds its offset and the next one. What a batch leaves out -
repeats that were dropped, offsets that hold no message - stands in CONTROL entries at its end:

    topic, partition   the source
    ranges             [[first, next], ...], half-open, growing
    reasons            one for each range: DUPLICATE, EXPIRED or NO_MESSAGE
    first_copies       one for each range: of a DUPLICATE the index of the first copy of its first
                       offset (offset first + k repeats index + k), else null
    producers          [[producer id, sequence], ...] of repeats that another emitter sent: so that
                       they are not missed in his numbers
    next_offset        where the source is read on

So where to read on is always told by the log's own newest entries (`newest_position`), and a crash
needs no other record of it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from audit.errors import FormatError, InvalidInput
from audit.event.book import SchemaBook
from audit.event.build import record_event
from audit.event.envelope import decode_event, encode_event
from audit.event.payload import decode_payload
from audit.event.schema import builtin
from audit.log.entry import Entry, Kind, decode_entry
from audit.log.intake import LEDGER_SOURCE, Incoming

SKIPPED_TYPE = "source.skipped"
DUPLICATE = "DUPLICATE"
EXPIRED = "EXPIRED"
NO_MESSAGE = "NO_MESSAGE"

MAX_RANGES = 400
MAX_PRODUCERS = 200
"""Ranges, and numbers of producers, in one `source.skipped` entry. So many fit an event even when
each number has 19 digits and each producer's id its 128 bytes."""
LOOK_BACK = (1, 64, 4_096)
"""How many entries are read at once when looking back for the newest one of a source."""


_Item = TypeVar("_Item")


class SourceBatch(NamedTuple):
    """What was read of one partition.

    `incoming`: in order of offset, each with the SourceSpan of its one offset. `next_offset`: what
    to read next once they are sealed. `first_kept`: the first offset that the source still holds;
    what is missing below it has expired, any other gap holds no message: transaction markers,
    aborted or compacted messages.
    """

    topic: str
    partition: int
    first_kept: int
    incoming: Sequence[Incoming]
    next_offset: int


class Position(NamedTuple):
    """Where a source is read on, as the log says."""

    topic: str
    partition: int
    next_offset: int


class Skip(NamedTuple):
    """Offsets first <= offset < next that have no entry of their own."""

    first: int
    next: int
    reason: str
    first_copy: int | None = None


class Accounts:
    """Follows the offsets of one batch from where the log stands, and keeps what has no entry."""

    def __init__(self, next_offset: int, first_kept: int) -> None:
        """`next_offset` is the log's own position."""
        self.next_offset = next_offset
        self.skips: list[Skip] = []
        self.producers: list[tuple[str, int]] = []
        self._first_kept = first_kept

    def reach(self, offset: int) -> None:
        """Nothing was read before this offset: what lies between has expired or is no message."""
        first = self.next_offset
        if first < offset and first < self._first_kept:
            kept = min(offset, self._first_kept)
            self.skips.append(Skip(first, kept, EXPIRED))
            first = kept
        if first < offset:
            self.skips.append(Skip(first, offset, NO_MESSAGE))
        self.next_offset = max(self.next_offset, offset)

    def entry(self, offset: int) -> None:
        """This offset has an entry."""
        if offset != self.next_offset:
            self._reach_next(offset)
        self.next_offset = offset + 1

    def _reach_next(self, offset: int) -> None:
        """Reach an offset that must not lie behind. Raises InvalidInput."""
        if offset < self.next_offset:
            raise InvalidInput(
                f"offset {offset} comes after offset {self.next_offset - 1}: the messages of a "
                "partition are not in order; nothing of this batch is sealed"
            )
        self.reach(offset)

    def duplicate(self, offset: int, first_copy: int) -> None:
        """This offset repeats the entry at an index."""
        if offset != self.next_offset:
            self._reach_next(offset)
        self.next_offset = offset + 1
        last = self.skips[-1] if self.skips else None
        if (
            last is not None
            and last.reason is DUPLICATE
            and last.next == offset
            and last.first_copy is not None
            and last.first_copy + (offset - last.first) == first_copy
        ):
            self.skips[-1] = last._replace(next=offset + 1)
        else:
            self.skips.append(Skip(offset, offset + 1, DUPLICATE, first_copy))

    @property
    def skipped(self) -> int:
        """How many offsets have no entry of their own."""
        return sum(skip.next - skip.first for skip in self.skips)

    def events(self, topic: str, partition: int) -> list[bytes]:
        """The `source.skipped` events, encoded; none when every offset has an entry."""
        if not self.skips:
            return []
        ranges = _parts(self.skips, MAX_RANGES)
        # Repeats of neighbouring offsets are one range, so there may be far more producers' numbers
        # than ranges; entries that carry only those say where to read on as the last one does.
        producers = _parts(self.producers, MAX_PRODUCERS)
        found = []
        for at in range(max(len(ranges), len(producers))):
            some = ranges[at] if at < len(ranges) else []
            last = at >= len(ranges) - 1
            found.append(
                _event(
                    topic,
                    partition,
                    at,
                    some,
                    producers[at] if at < len(producers) else [],
                    self.next_offset if last else some[-1].next,
                )
            )
        return found


def _parts(items: list[_Item], size: int) -> list[list[_Item]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def _event(
    topic: str,
    partition: int,
    part: int,
    skips: Sequence[Skip],
    producers: Sequence[tuple[str, int]],
    next_offset: int,
) -> bytes:
    data = {
        "topic": topic,
        "partition": partition,
        "ranges": [[skip.first, skip.next] for skip in skips],
        "reasons": [skip.reason for skip in skips],
        "first_copies": [skip.first_copy for skip in skips],
        "producers": [list(producer) for producer in producers],
        "next_offset": next_offset,
    }
    # Each offset is left out once, so no other entry of this log begins with it.
    first = skips[0].first if skips else f"{next_offset}+{part}"
    event_id = f"{SKIPPED_TYPE}:{partition}:{first}"
    return encode_event(
        record_event(SKIPPED_TYPE, data, event_id=event_id, source=LEDGER_SOURCE).event
    )


def skipped_schemas() -> tuple[bytes, ...]:
    """The schemas that `source.skipped` entries are written in."""
    return (builtin("record.v1"),)


def newest_position(read: Callable[[int, int], Iterable[bytes]], size: int) -> Position | None:
    """Where the source of a log of `size` entries is read on; None when it holds none of it yet.

    `read` gives the leaves from an index up to another. Raises FormatError on a leaf that is none.
    """
    stop = size
    step = 0
    while stop > 0:
        start = max(0, stop - LOOK_BACK[min(step, len(LOOK_BACK) - 1)])
        for leaf in reversed(list(read(start, stop))):
            position = _position(decode_entry(leaf))
            if position is not None:
                return position
        stop = start
        step += 1
    return None


def _position(entry: Entry) -> Position | None:
    if entry.source is not None:
        topic, partition, _, next_offset = entry.source
        return Position(topic, partition, next_offset)
    if entry.kind is not Kind.CONTROL:
        return None
    event = decode_event(entry.event)
    if event.type != SKIPPED_TYPE:
        return None
    match decode_payload(event, SchemaBook.with_builtins()):
        case {"topic": str(topic), "partition": int(partition), "next_offset": int(next_offset)}:
            return Position(topic, partition, next_offset)
    raise FormatError(f"the {SKIPPED_TYPE} entry {entry.index} does not say where to read on")

"""Step: every offset of a source is accounted for, by an entry or by a `source.skipped` entry.

An entry that came from a source holds its offset and the one to read next; the next entry of that
partition begins there. What lies between is accounted for by a CONTROL entry `source.skipped` (its
record is in `audit.log.source`); it comes at the end of the batch, so gaps are kept until the log
ends.
"""

from typing import NamedTuple

from audit.errors import FormatError, LimitExceeded
from audit.event.envelope import Event
from audit.event.payload import decode_payload
from audit.event.schema import SchemaBook
from audit.log.entry import SourceSpan
from audit.log.source import EXPIRED
from audit.verify.noted import Notes

MAX_PARTITIONS = 100_000
"""Partitions that are followed, of all topics together."""

MAX_OPEN_GAPS = 100_000
"""Gaps that are kept until they are accounted for; further ones are reported at once."""


class Skipped(NamedTuple):
    """What a `source.skipped` entry says: `ranges` are half-open, `reasons` one for each of them.

    `first_copies`: one for each range, an index where it repeats what is there. `expired`: how many
    of the offsets had expired. `producers`: (producer id, number) of repeats that others had sent.
    """

    topic: str
    partition: int
    ranges: list[tuple[int, int]]
    reasons: list[str]
    first_copies: list[int | None]
    producers: list[tuple[str, int]]

    @property
    def expired(self) -> int:
        """How many of the offsets had expired."""
        pairs = zip(self.ranges, self.reasons, strict=True)
        return sum(after - first for (first, after), reason in pairs if reason == EXPIRED)


class SourceWalk:
    """Follows the offsets of each partition of each topic through a log."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._next: dict[tuple[str, int], int] = {}
        self._gaps: dict[tuple[str, int], list[tuple[int, int, int]]] = {}
        self._open = 0
        self._book = SchemaBook.with_builtins()

    def take(self, index: int, source: SourceSpan) -> None:
        """Follow the source of one entry."""
        place = (source.topic, source.partition)
        if len(self._next) >= MAX_PARTITIONS and place not in self._next:
            self._notes.add(
                "unreadable",
                index,
                f"more than {MAX_PARTITIONS:,} partitions: the offsets of {source.topic!a:.100}/"
                f"{source.partition} were not followed",
            )
            return
        expected = self._next.get(place, source.offset)
        if source.offset < expected:
            self._notes.add(
                "source_overlap",
                index,
                f"entry {index} is of {source.topic}/{source.partition} offset {source.offset}, "
                f"which was recorded already: {expected} comes next",
            )
        elif source.offset > expected:
            self._gap(index, place, expected, source.offset)
        self._next[place] = max(expected, source.next_offset)

    def next_offset(self, topic: str, partition: int) -> int:
        """The offset that comes next; -1 for a partition of which nothing was seen."""
        return self._next.get((topic, partition), -1)

    def advance(self, topic: str, partition: int, next_offset: int) -> None:
        """Take the offsets up to another one: each has its entry."""
        self._next[topic, partition] = next_offset

    @property
    def seen(self) -> bool:
        """Whether anything came from a source."""
        return bool(self._next)

    def skipped(self, index: int, event: Event) -> Skipped | None:
        """Take what a `source.skipped` entry accounts for; None when it cannot be read."""
        try:
            said = read_skipped(decode_payload(event, self._book))
        except (FormatError, LimitExceeded) as error:
            self._notes.add("entry_malformed", index, f"entry {index} (source.skipped): {error}")
            return None
        place = (said.topic, said.partition)
        for first, after in said.ranges:
            if self._next.get(place) == first:
                self._next[place] = after
            self._close(place, first, after)
        return said

    def finish(self) -> None:
        """Report the gaps that nothing accounts for."""
        for (topic, partition), gaps in self._gaps.items():
            for first, after, index in gaps:
                self._report(topic, partition, first, after, index)

    def _gap(self, index: int, place: tuple[str, int], first: int, after: int) -> None:
        if self._open < MAX_OPEN_GAPS:
            self._gaps.setdefault(place, []).append((first, after, index))
            self._open += 1
        else:
            self._report(*place, first, after, index)

    def _close(self, place: tuple[str, int], first: int, after: int) -> None:
        """Cut [first, after) out of the open gaps of a partition."""
        left = []
        for begin, end, index in self._gaps.get(place, ()):
            if end <= first or after <= begin:
                left.append((begin, end, index))
                continue
            if begin < first:
                left.append((begin, first, index))
            if after < end:
                left.append((after, end, index))
        self._open += len(left) - len(self._gaps.get(place, ()))
        self._gaps[place] = left

    def _report(self, topic: str, partition: int, first: int, after: int, index: int) -> None:
        self._notes.add(
            "source_gap",
            index,
            f"offsets {first} to {after - 1} of {topic}/{partition} are not accounted for "
            f"before entry {index}",
        )


def read_skipped(record: object) -> Skipped:
    """The record of a `source.skipped` entry. Raises FormatError."""
    if not isinstance(record, dict):
        raise FormatError("it is not a record")
    topic, partition, ranges = (record.get(name) for name in ("topic", "partition", "ranges"))
    if type(topic) is not str or type(partition) is not int or type(ranges) is not list:
        raise FormatError("it does not say which offsets of which topic and partition")
    pairs: list[tuple[int, int]] = []
    for pair in ranges:
        match pair:
            case [int(first), int(after)] if first < after:
                pairs.append((first, after))
            case _:
                raise FormatError("a range of offsets is not two growing numbers")
    copies: list[int | None] = [
        index if type(index) is int and index >= 0 else None
        for index in _aligned(record, "first_copies", len(pairs))
    ]
    reasons = [str(reason) for reason in _aligned(record, "reasons", len(pairs))]
    producers: list[tuple[str, int]] = []
    listed = record.get("producers")
    for producer in listed if isinstance(listed, list) else ():
        match producer:
            case [str(producer_id), int(number)]:
                producers.append((producer_id, number))
            case _:
                raise FormatError("a producer's number is not named by its id and the number")
    return Skipped(topic, partition, pairs, reasons, copies, producers)


def _aligned(record: dict[str, object], name: str, count: int) -> list[object]:
    """A list with something for each range. Absent: of old entries, which say ranges alone."""
    found = record.get(name)
    if found is None:
        return [""] * count
    if not isinstance(found, list) or len(found) != count:
        raise FormatError(f"{name} are not one for each range")
    return found

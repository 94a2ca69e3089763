"""Step: every offset of a source is accounted for, by an entry or by a `source.skipped` entry.

An entry that came from a source holds its offset and the one to read next; the next entry of that
partition begins there. What lies between is accounted for by a CONTROL entry `source.skipped`. Its
record is {"topic": string, "partition": integer, "ranges": [[first, next], ...]} (half-open); it
comes at the end of the batch, so gaps are kept until the log ends.
"""

from audit.errors import FormatError, LimitExceeded
from audit.event.envelope import Event
from audit.event.payload import decode_payload
from audit.event.schema import SchemaBook
from audit.log.entry import SourceSpan
from audit.verify.findings import Notes

SKIPPED_TYPE = "source.skipped"

MAX_PARTITIONS = 100_000
"""Partitions that are followed, of all topics together."""

MAX_OPEN_GAPS = 100_000
"""Gaps that are kept until they are accounted for; further ones are reported at once."""


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

    def skipped(self, index: int, event: Event) -> None:
        """Take what a `source.skipped` entry accounts for."""
        try:
            topic, partition, ranges = _ranges(decode_payload(event, self._book))
        except (FormatError, LimitExceeded) as error:
            self._notes.add("entry_malformed", index, f"entry {index} (source.skipped): {error}")
            return
        place = (topic, partition)
        for first, after in ranges:
            if self._next.get(place) == first:
                self._next[place] = after
            self._close(place, first, after)

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


def _ranges(record: object) -> tuple[str, int, list[tuple[int, int]]]:
    if not isinstance(record, dict):
        raise FormatError("it is not a record")
    topic, partition, ranges = (record.get(name) for name in ("topic", "partition", "ranges"))
    if type(topic) is not str or type(partition) is not int or type(ranges) is not list:
        raise FormatError("it does not say which offsets of which topic and partition")
    pairs = []
    for pair in ranges:
        match pair:
            case [int(first), int(after)] if first < after:
                pairs.append((first, after))
            case _:
                raise FormatError("a range of offsets is not two growing numbers")
    return topic, partition, pairs

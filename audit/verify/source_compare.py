"""Comparing a log with the partition it was read from, offset by offset, in flat memory.

The messages come from the caller, in order of offset; here nothing is known of a broker. The log's
side is two streams in order of offset, merged: its entries that have a source, and the ranges of
its `source.skipped` entries. What only one side has, or both have differently, is a finding, unless
it has a reason that is no fault: the source may drop what is old, and does not hold markers.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import NamedTuple

from audit.errors import FormatError, InvalidInput, LimitExceeded, StoreCorrupt
from audit.event.envelope import decode_event, same_event
from audit.event.payload import decode_payload
from audit.event.schema import SchemaBook
from audit.log.entry import MAX_EVENT_IN_LEAF_BYTES, SIGNATURE_BYTES, Entry, Kind, decode_entry
from audit.log.oversize import oversize_event
from audit.log.source import DUPLICATE, EXPIRED, NO_MESSAGE, SKIPPED_TYPE, newest_position
from audit.store.contract import LogInfo, Reader
from audit.verify.noted import Notes
from audit.verify.source_report import PartitionReport
from audit.verify.steps.sources import read_skipped

SCAN_ENTRIES = 512
"""So many entries are read through rather than searched in halves."""
PROBE_ENTRIES = 64
"""Entries looked at for one that has a source, when searching in halves."""

Message = tuple[int, bytes | None, bytes | None, bytes | None]
"""Offset, key, value, signature."""

Messages = Callable[[int, int], Iterator[Message]]
"""Gives the messages from an offset up to another, in order."""

Unframe = Callable[[bytes], bytes | None]
"""Takes a registry's framing off a value; None when it cannot."""


class Held(NamedTuple):
    """An offset that has an entry, and the one to read next."""

    first: int
    next: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    entry: Entry


class Left(NamedTuple):
    """Offsets that a `source.skipped` entry accounts for."""

    first: int
    next: int
    reason: str
    first_copy: int | None


def next_offset_of(reader: Reader, info: LogInfo, topic: str, partition: int) -> int:
    """Where the log says that its source is read on. Raises StoreCorrupt, InvalidInput."""
    size = reader.size(info.log)

    def read(start: int, stop: int) -> list[bytes]:
        return [leaf for _, leaf in reader.leaves(info.log, start, stop)]

    try:
        position = newest_position(read, size)
    except FormatError as error:
        raise StoreCorrupt(f"log {info.log} is broken: {error}; run `audit verify`") from None
    if position is None:
        return 0
    if (position.topic, position.partition) != (topic, partition):
        raise InvalidInput(
            f"log {info.log} {info.origin} is of {position.topic}/{position.partition}, "
            f"not of {topic}/{partition}"
        )
    return position.next_offset


def without_log(report: PartitionReport) -> PartitionReport:
    """The report of a partition that the ledger has no log of yet."""
    report.waiting = report.end - report.first
    if report.waiting:
        warnings = Notes()
        warnings.add(
            "source_unread",
            None,
            f"{report.topic}/{report.partition} holds {report.waiting:,} offsets and has no log "
            "yet: start a consumer",
        )
        report.warnings = warnings.listed()
    return report


class SourceCompare:
    """One log and its partition. `first`, `end`: what the broker keeps."""

    def __init__(
        self,
        reader: Reader,
        info: LogInfo,
        report: PartitionReport,
        unframe: Unframe | None = None,
        tick: Callable[[int], None] | None = None,
    ) -> None:
        self._reader = reader
        self._log = info.log
        self._report = report
        self._unframe = unframe
        self._tick = tick
        self._notes = Notes(info.origin)
        self._warnings = Notes(info.origin)
        self._place = f"{report.topic}/{report.partition}"
        self._from = report.next_offset
        self._skipped_before = 0

    def run(self, messages: Messages) -> PartitionReport:
        """Compare what both have. Raises what the reader and the messages raise, StoreCorrupt."""
        report = self._report
        try:
            self._compare(messages)
        except (FormatError, LimitExceeded) as error:
            raise StoreCorrupt(f"log {self._log} is broken: {error}; run `audit verify`") from None
        if report.differing and not report.equal and not self._notes.has("source_recreated"):
            self.recreated("none of the messages there is the one that the log has")
        report.findings = self._notes.listed()
        report.warnings = self._warnings.listed()
        return report

    def _compare(self, messages: Messages) -> None:
        report = self._report
        start, stop = report.first, min(report.end, report.next_offset)
        if report.next_offset > report.end:
            self.recreated(
                f"the log has read it up to offset {report.next_offset:,}, the broker has it only "
                f"up to {report.end:,}"
            )
        streams: tuple[Iterator[Held | Left], ...] = (self._left(start), self._held(start))
        merged = heapq.merge(*streams, key=_first)
        found = messages(start, stop) if start < stop else iter(())
        message = next(found, None)
        for item in merged:
            if item.first >= stop:
                break
            while message is not None and message[0] < item.first:
                self._left_out(message[0], "the log has nothing of it")
                message = next(found, None)
            after = min(item.next, stop)
            within = _Within(found, message, after)
            if isinstance(item, Held):
                self._meet(item, within)
            else:
                self._meet_left(item._replace(first=max(item.first, start), next=after), within)
            message = within.message
            if self._tick is not None:
                self._tick(after - max(item.first, start))
        while message is not None:
            self._left_out(message[0], "the log has nothing of it")
            message = next(found, None)
        self._account_earlier(start)

    def _meet(self, held: Held, within: "_Within") -> None:
        message = within.take(held.first)
        if message is None:
            self._report.gone += 1
        else:
            self._judge(held, message)
        # What an entry's own span leaves out after its offset holds no message.
        self._report.without_message += within.after - held.first - 1
        for offset, *_ in within:
            self._left_out(offset, f"entry {held.index} says that there is none")

    def _judge(self, held: Held, message: Message) -> None:
        _, key, value, signature = message
        entry, report = held.entry, self._report
        if all(form != entry.event for form in self._forms(key, value)):
            self._differs(held, "does not hold the message's bytes")
        elif value is None and entry.kind is not Kind.QUARANTINED:
            self._differs(held, "takes a message without a value for an event")
        elif entry.signature is not None and entry.signature != signature:
            self._differs(held, "has another producer signature than the message")
        else:
            report.equal += 1
            if entry.signature is None and signature is not None:
                report.unsigned += len(signature) == SIGNATURE_BYTES

    def _forms(self, key: bytes | None, value: bytes | None) -> Iterator[bytes]:
        """What the event of an entry may be, for a message."""
        if value is None:
            yield _fitting(key or b"")
            return
        yield _fitting(value)
        event = self._unframe(value) if self._unframe is not None else None
        if event is not None and event != value:
            yield _fitting(event)

    def _differs(self, held: Held, how: str) -> None:
        self._report.differing += 1
        self._notes.add(
            "source_differs",
            held.index,
            f"entry {held.index}, of offset {held.first} of {self._place}, {how}",
        )

    def _meet_left(self, left: Left, within: "_Within") -> None:
        report = self._report
        if left.reason == DUPLICATE:
            self._meet_repeats(left, within)
            return
        count = 0
        for offset, *_ in within:
            count += 1
            said = "has expired" if left.reason == EXPIRED else "holds no message"
            self._left_out(offset, f"the log says that it {said}")
        if left.reason == NO_MESSAGE:
            report.without_message += left.next - left.first - count

    def _meet_repeats(self, left: Left, within: "_Within") -> None:
        report = self._report
        at = left.first_copy
        copies = self._copies(at, left.next - left.first) if at is not None else iter(())
        copy = next(copies, None)
        count = 0
        for offset, key, value, _ in within:
            count += 1
            index = -1 if at is None else at + offset - left.first
            while copy is not None and copy.index < index:
                copy = next(copies, None)
            same = copy is not None and copy.index == index
            if copy is None or not same:
                self._left_out(offset, "the log calls it a repeat, and names no first copy")
            elif any(same_event(copy.event, form) for form in self._forms(key, value)):
                report.repeats += 1
            else:
                self._left_out(
                    offset, f"the log calls it a repeat of entry {index}, which says something else"
                )
        report.gone += left.next - left.first - count

    def _copies(self, first: int, count: int) -> Iterator[Entry]:
        for _, leaf in self._reader.leaves(self._log, first, first + count):
            yield decode_entry(leaf)

    def _left_out(self, offset: int, why: str) -> None:
        self._report.left_out += 1
        self._notes.add(
            "source_missing", None, f"offset {offset} of {self._place} holds a message: {why}"
        )

    def recreated(self, why: str) -> None:
        """Note that the source is another one than the log was made from."""
        words = f"{self._place}: {why}: the topic was made anew, or lost data"
        self._notes.add("source_recreated", None, words)

    def _account_earlier(self, start: int) -> None:
        """Count what the log has from before the broker's first offset."""
        report = self._report
        earlier = max(0, min(start, report.next_offset) - self._from)
        report.no_longer_kept = max(0, earlier - self._skipped_before)
        report.waiting = max(0, report.end - max(report.next_offset, report.first))
        report.lost = max(0, report.first - report.next_offset)
        if report.expired or report.lost:
            self._warnings.add(
                "source_expired",
                None,
                f"{report.expired + report.lost:,} offsets of {self._place} expired before they "
                "were read: keep messages for longer than the consumer may be away",
            )

    # The log's side

    def _held(self, start: int) -> Iterator[Held]:
        size = self._reader.size(self._log)
        first = self._offset_near(0, size)
        self._from = min(self._from, self._from if first is None else first)
        for index, leaf in self._reader.leaves(self._log, self._index_before(start, size), size):
            entry = decode_entry(leaf)
            if entry.source is not None and entry.source.offset >= start:
                yield Held(entry.source.offset, entry.source.next_offset, index, entry)

    def _left(self, start: int) -> Iterator[Left]:
        book = SchemaBook.with_builtins()
        for _, leaf in self._reader.special(self._log, None, int(Kind.CONTROL)):
            event = decode_event(decode_entry(leaf).event)
            if event.type != SKIPPED_TYPE:
                continue
            said = read_skipped(decode_payload(event, book))
            for (first, after), reason, copy in zip(
                said.ranges, said.reasons, said.first_copies, strict=True
            ):
                self._from = min(self._from, first)
                if reason == EXPIRED:
                    self._report.expired += after - first
                    self._skipped_before += max(0, min(after, start) - first)
                if after > start:
                    begin = max(first, start)
                    shifted = None if copy is None else copy + begin - first
                    yield Left(begin, after, reason, shifted)

    def _index_before(self, offset: int, size: int) -> int:
        """An index with no entry before it whose offset is at least `offset`."""
        low, high = 0, size
        while high - low > SCAN_ENTRIES:
            middle = (low + high) // 2
            found = self._offset_near(middle, high)
            if found is not None and found < offset:
                low = middle
            else:
                high = middle
        return low

    def _offset_near(self, index: int, stop: int) -> int | None:
        """The offset of the next entry that has one."""
        while index < stop:
            after = min(stop, index + PROBE_ENTRIES)
            for _, leaf in self._reader.leaves(self._log, index, after):
                source = decode_entry(leaf).source
                if source is not None:
                    return source.offset
            index = after
        return None


class _Within:
    """The messages before an offset: iterate, or take one by its offset; `message` comes next."""

    def __init__(self, found: Iterator[Message], message: Message | None, after: int) -> None:
        self.message = message
        self.after = after
        self._found = found

    def take(self, offset: int) -> Message | None:
        message = self.message
        if message is None or message[0] != offset:
            return None
        self.message = next(self._found, None)
        return message

    def __iter__(self) -> Iterator[Message]:
        while self.message is not None and self.message[0] < self.after:
            message = self.message
            self.message = next(self._found, None)
            yield message


def _fitting(data: bytes) -> bytes:
    return data if len(data) <= MAX_EVENT_IN_LEAF_BYTES else oversize_event(data)


def _first(item: Held | Left) -> int:
    return item.first

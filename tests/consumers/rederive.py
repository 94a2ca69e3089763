"""Re-derives a whole ledger and compares it with its topic, read by plain kafka-python."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from audit.event.book import SchemaBook
from audit.event.envelope import decode_event
from audit.event.payload import decode_payload
from audit.ledger.open import policy_for
from audit.ledger.sources import with_source
from audit.log.entry import MAX_EVENT_IN_LEAF_BYTES, Entry, Kind, decode_entry
from audit.log.oversize import MARK as OVERSIZE_MARK
from audit.store import open_reader
from audit.store.blobs import BlobStore, default_blobs_url
from audit.tlog.keys import Verifier
from audit.verify.verifier import verify
from tests.consumers.faults import Place, reader_of
from tests.contract.check import check_log

STALL_POLLS = 100


class Kept(NamedTuple):
    """What the broker holds of a partition: offset -> (key, value)."""

    first: int
    end: int
    messages: dict[int, tuple[bytes | None, bytes | None]]


class Span(NamedTuple):
    """Offsets first <= offset < next, and how a log accounts for them."""

    first: int
    next: int
    reason: str
    index: int | None


def read_topic(place: Place) -> dict[int, Kept]:
    """Everything that the topic holds, committed messages only."""
    places = place.places()
    with closing(reader_of(place)) as consumer:
        consumer.assign(places)
        first = consumer.beginning_offsets(places)
        end = consumer.end_offsets(places)
        kept = {p.partition: Kept(first[p], end[p], {}) for p in places}
        for _ in range(STALL_POLLS):
            left = [p for p in places if consumer.position(p) < end[p]]
            if not left:
                return kept
            for p, records in consumer.poll(100).items():
                for record in records:
                    kept[p.partition].messages[record.offset] = (record.key, record.value)
    raise AssertionError(f"the topic could not be read up to {end}")


def rederive(place: Place) -> dict[int, list[Entry]]:
    """Assert that every log is whole and goes through its source without a hole; their entries.

    What was said is in them once and in order, as far as they got.
    """
    with open_reader(place.store) as reader:
        logs = {
            info.log: check_log(reader, Verifier.parse(info.vkey), info.log)
            for info in reader.logs()
        }
    entries = {log: [decode_entry(leaf) for leaf in leaves] for log, leaves in logs.items()}
    assert sorted(entries) == list(range(len(entries)))
    for log in set(entries) - {0}:
        _spans_of(place, log - 1, entries[log])
    _check_said(place, entries, complete=False)
    return entries


def check(place: Place, *, complete: bool = True) -> dict[int, list[Entry]]:
    """Assert that the ledger is whole, and holds the topic exactly; give the entries of all logs.

    `complete`: nothing of the topic, and of what was said, is missing.
    """
    entries = rederive(place)
    for partition, kept in read_topic(place).items():
        position = _check_source(place, partition, entries.get(partition + 1, []), kept)
        if complete:
            assert position == kept.end
    if complete:
        _check_said(place, entries, complete=True)
    with open_reader(place.store) as reader:
        # What `audit verify --source` does, but for its hints, which replay every dataset.
        report = with_source(verify(reader, policy_for(place.store)), reader, place.bus)
    assert report.exit_code == 0, report
    return entries


def _spans_of(place: Place, partition: int, entries: Sequence[Entry]) -> list[Span]:
    """How all offsets are accounted for: each once, and entries in their order."""
    spans = [span for entry in entries for span in _spans(place, partition, entry)]
    own = [span.first for span in spans if span.reason == "ENTRY"]
    assert own == sorted(own)
    next_offset = 0
    for span in sorted(spans):
        assert span.first == next_offset, "offsets left out, or accounted for twice"
        assert span.next > span.first
        next_offset = span.next
    return sorted(spans)


def _check_source(place: Place, partition: int, entries: Sequence[Entry], kept: Kept) -> int:
    """Every offset is what the topic has there; where the log reads on."""
    next_offset = 0
    for span in _spans_of(place, partition, entries):
        next_offset = span.next
        offsets = range(span.first, span.next)
        if span.reason == "EXPIRED":
            assert span.next <= kept.first
        elif span.reason == "NO_MESSAGE":
            assert not any(offset in kept.messages for offset in offsets)
        else:
            assert span.reason in ("ENTRY", "DUPLICATE")
            assert span.index is not None
            for offset in offsets:
                if offset >= kept.first:
                    entry = entries[span.index + offset - span.first]
                    _check_bytes(place, entry, *kept.messages[offset], span.reason)
    return next_offset


def _check_said(place: Place, entries: Mapping[int, Sequence[Entry]], complete: bool) -> None:
    """What `emit` took is sealed once, each key's in the order said, in one log."""
    sealed: dict[tuple[str, str], list[str]] = defaultdict(list)
    logs: dict[tuple[str, str], set[int]] = defaultdict(set)
    for log in sorted(set(entries) - {0}):
        for entry in entries[log]:
            if entry.kind is Kind.EVENT:
                event = decode_event(entry.event)
                if event.type != "schema":
                    thing = (event.source, str(event.entity_key))
                    sealed[thing].append(event.event_id)
                    logs[thing].add(log)
    said: dict[tuple[str, str], list[str]] = defaultdict(list)
    for source, events in place.truth.items():
        for event_id, key in events:
            said[source, key].append(event_id)
    assert all(len(where) == 1 for where in logs.values())
    if complete:
        assert sealed == said
    else:
        assert all(ids == said[thing][: len(ids)] for thing, ids in sealed.items())


def _spans(place: Place, partition: int, entry: Entry) -> list[Span]:
    if entry.source is not None:
        topic, number, offset, next_offset = entry.source
        assert (topic, number, next_offset) == (place.topic, partition, offset + 1)
        return [Span(offset, next_offset, "ENTRY", entry.index)]
    record = record_of(entry, "source.skipped")
    if record is None:
        return []
    assert (record["topic"], record["partition"]) == (place.topic, partition)
    assert record["next_offset"] >= record["ranges"][-1][1]
    return [
        Span(first, next_offset, reason, copy)
        for (first, next_offset), reason, copy in zip(
            record["ranges"], record["reasons"], record["first_copies"], strict=True
        )
    ]


def record_of(entry: Entry, type_: str) -> dict[str, Any] | None:
    """What a CONTROL entry of this type says."""
    if entry.kind is not Kind.CONTROL:
        return None
    event = decode_event(entry.event)
    data = decode_payload(event, SchemaBook.with_builtins()) if event.type == type_ else None
    assert data is None or isinstance(data, dict)
    return data


def records_of(entries: Sequence[Entry], type_: str) -> list[dict[str, Any]]:
    """What all of them say."""
    return [data for entry in entries if (data := record_of(entry, type_)) is not None]


def skips(entries: Sequence[Entry]) -> list[tuple[int, int, str]]:
    """(first, next, reason) of all offsets without an entry of their own."""
    return [
        (first, next_offset, reason)
        for record in records_of(entries, "source.skipped")
        for (first, next_offset), reason in zip(record["ranges"], record["reasons"], strict=True)
    ]


def quarantined(entries: Sequence[Entry]) -> list[tuple[int, str]]:
    """(offset, first word of the reason) of all QUARANTINED entries."""
    return [
        (entry.source.offset, (entry.reason or "").partition(":")[0])
        for entry in entries
        if entry.kind is Kind.QUARANTINED and entry.source is not None
    ]


def _check_bytes(
    place: Place, entry: Entry, key: bytes | None, value: bytes | None, how: str
) -> None:
    if value is None:
        assert entry.kind is Kind.QUARANTINED
        assert entry.event == (key or b"")
    elif len(value) > MAX_EVENT_IN_LEAF_BYTES:
        mark, line, start = entry.event.split(b"\n", 2)
        digest, _, size = line.decode().partition(" ")
        assert mark + b"\n" == OVERSIZE_MARK
        assert (int(size), start) == (len(value), value[:1_024])
        assert BlobStore(default_blobs_url(place.store)).get(digest) == value
    elif how == "DUPLICATE" and entry.kind is Kind.EVENT:
        # Another emitter may have sent it again, with its own count.
        one, other = decode_event(entry.event), decode_event(value)
        assert one._replace(producer_id=None, producer_sequence=None) == other._replace(
            producer_id=None, producer_sequence=None
        )
    else:
        assert entry.event == value

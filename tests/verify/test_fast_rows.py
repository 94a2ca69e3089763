"""The fast lane finds exactly what the plain form finds, whatever was done to a row."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.event.build import data_event, record_event
from audit.event.envelope import (
    EVENT_PREFIX,
    EVENT_SCHEMA_HASH,
    Encryption,
    Event,
    decode_event,
    encode_event,
)
from audit.event.signing import sign_event
from audit.event.wire import encode_long
from audit.log.columns import columns_of
from audit.log.entry import (
    Entry,
    Kind,
    SourceSpan,
    decode_entry,
    encode_entry,
    encode_head,
    encode_tail,
)
from audit.log.intake import Message, accept
from audit.log.sequence import append, empty_head
from audit.store import open_reader
from audit.store.contract import StoredEntry
from audit.tlog.hashing import leaf_hash
from audit.verify.evidence import Evidence
from audit.verify.noted import Notes
from audit.verify.steps.entries import BEGINNING, EntryWalk, Start
from audit.verify.steps.ids import SpilledIds
from audit.verify.steps.producers import ProducerWalk
from audit.verify.steps.sources import SourceWalk
from tests.verify.conftest import POLICY, PRODUCER, message

Row = tuple[Any, ...]


class Walked:
    """A walk over rows, and everything that it leaves behind."""

    def __init__(self, rows: Sequence[Row], fast: bool, start: Start = BEGINNING) -> None:
        self.notes, self.warnings, evidence = Notes(), Notes(), Evidence()
        producers = ProducerWalk(POLICY, "a.example", self.notes, self.warnings)
        self.ids = SpilledIds(1)
        walk = EntryWalk(
            start,
            self.notes,
            self.warnings,
            evidence,
            producers,
            SourceWalk(self.notes),
            self.ids,
            0,
        )
        lane = walk.fast
        if not fast:
            walk.fast = None
        assert lane is not None
        half = len(rows) // 2
        self.leaf_hashes = [h for block in (rows[:half], rows[half:]) for h in walk.take(block)]
        walk.end(len(rows))
        walk.report_breaks()
        self.fast_until = lane.index
        self.left = (
            self.notes.listed(),
            self.warnings.listed(),
            producers.counts(),
            self.leaf_hashes,
            walk.index,
            walk.lost,
            walk._prev_hash,
            walk._time_us,
            list(self.ids._hashes[0]),
            list(self.ids._places[0]),
        )


def both(rows: Sequence[Row]) -> Walked:
    fast, plain = Walked(rows, True), Walked(rows, False)
    assert fast.left == plain.left
    return fast


@pytest.fixture(scope="module")
def rows(ledger_file: Path) -> list[Row]:
    with open_reader(f"sqlite:///{ledger_file}") as reader:
        return [tuple(row) for block in reader.stored_entries(0) for row in block][:300]


@pytest.fixture(scope="module")
def few(rows: list[Row]) -> list[Row]:
    """The first of them, two of them signed: what hundreds of examples are walked with."""
    return rows[:120]


def test_an_untouched_log_goes_through_the_fast_lane(rows: list[Row]) -> None:
    walked = both(rows)
    assert not walked.notes
    assert walked.fast_until == len(rows)
    signed = [row for row in rows if row[9] is not None]
    assert len(signed) == 3


@settings(max_examples=60)
@given(data=st.data())
def test_any_value_in_any_column(few: list[Row], data: st.DataObject) -> None:
    at = data.draw(st.integers(60, len(few) - 1))
    column = data.draw(st.sampled_from(range(len(StoredEntry._fields))))
    other = data.draw(
        st.one_of(
            st.none(),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False),
            st.text(max_size=5),
            st.binary(max_size=70),
            st.sampled_from([row[column] for row in few[at - 3 : at + 3]]),
            st.just(float(few[at][column]) if isinstance(few[at][column], int) else "x"),
        )
    )
    row = list(few[at])
    row[column] = other
    both([*few[:at], tuple(row), *few[at + 1 :]])


@settings(max_examples=100)
@given(data=st.data())
def test_any_byte_of_a_leaf(few: list[Row], data: st.DataObject) -> None:
    at = data.draw(st.integers(60, len(few) - 1))
    leaf = few[at][1]
    place = data.draw(st.integers(0, len(leaf) - 1))
    byte = data.draw(st.integers(0, 255))
    how = data.draw(st.sampled_from(["replace", "insert", "delete"]))
    new = leaf[:place] + (b"" if how == "delete" else bytes((byte,)))
    new += leaf[place + (how != "insert") :]
    both([*few[:at], (few[at][0], new, *few[at][2:]), *few[at + 1 :]])


@settings(max_examples=200)
@given(data=st.data())
def test_any_byte_of_an_event_in_a_sound_leaf(few: list[Row], data: st.DataObject) -> None:
    """The leaf's own length fields fit, so that nothing but the event decides."""
    at = data.draw(st.integers(60, len(few) - 1))
    entry = decode_entry(few[at][1])
    event = bytearray(entry.event)
    for _ in range(data.draw(st.integers(1, 2))):
        # Most fields lie near the beginning or the end.
        place = data.draw(st.integers(-30, 60)) % len(event)
        if data.draw(st.booleans()):
            event[place] = data.draw(st.integers(0, 255))
        elif data.draw(st.booleans()):
            event.insert(place, data.draw(st.sampled_from([0, 1, 2, 3, 0x80, 0x81, 0xFF])))
        else:
            del event[place]
    both(resealed(few, at, entry._replace(event=bytes(event))))


def resealed(rows: list[Row], at: int, entry: Entry) -> list[Row]:
    """The rows with another entry at a place and nothing after it; its columns fit if they can."""
    head = encode_head(entry.index, entry.recorded_time_us, entry.prev_hash)
    leaf = head + encode_tail(
        entry.kind, entry.schema_hash, entry.source, entry.reason, entry.signature, entry.event
    )
    try:
        columns: Row = columns_of(entry, decode_event(entry.event))
    except ValueError:
        columns = rows[at][2:]
    return [*rows[:at], (rows[at][0], leaf, *columns)]


texts = st.one_of(st.none(), st.text(max_size=70), st.text("ab", max_size=130))
events = st.builds(
    Event,
    event_id=st.text(min_size=1, max_size=40),
    type=st.sampled_from(["data.update", "review", "prediction", "schema"]),
    source=st.sampled_from(["crm", "web", "büro"]),
    entity_type=st.sampled_from(["user", "account"]),
    entity_key=st.text(max_size=40),
    valid_time_us=st.one_of(st.none(), st.integers(-(2**55), 2**56)),
    actor=texts,
    reason=texts,
    transaction_id=texts,
    supersedes=st.one_of(st.none(), st.text("ab", max_size=100)),
    request_id=texts,
    trace_id=texts,
    payload_schema=st.one_of(st.none(), st.binary(min_size=32, max_size=32)),
    payload=st.one_of(st.binary(max_size=200), st.integers(0, 5000).map(bytes)),
    subject=texts,
    encryption=st.one_of(st.none(), st.just(Encryption("key", b"nonce"))),
    producer_id=st.one_of(st.none(), st.sampled_from(["emitter-1", "x" * 100, "é"])),
    producer_sequence=st.one_of(st.none(), st.integers(0, 2**63 - 1)),
)


@settings(max_examples=150)
@given(found=st.lists(events, min_size=1, max_size=4), signed=st.booleans())
def test_any_events(rows: list[Row], found: list[Event], signed: bool) -> None:
    """Several in a row, so that what the lane learned from one meets the next."""
    drafts = []
    for event in [*found, *found]:
        data = encode_event(event)
        signature = sign_event(data, PRODUCER) if signed else None
        drafts.append(accept(Message(data, signature)).draft)
    sealed_rows = [*rows[:70]]
    last = decode_entry(rows[69][1])
    index, time, prev_hash = last.index, last.recorded_time_us, leaf_hash(rows[69][1])
    for draft in drafts:
        index, time = index + 1, time + 1
        entry = Entry(index, time, prev_hash, *draft)
        leaf = encode_entry(entry)
        prev_hash = leaf_hash(leaf)
        sealed_rows.append((index, leaf, *columns_of(entry, decode_event(draft.event))))
    walked = both(sealed_rows)
    assert {finding.code for finding in walked.notes.listed()} <= {"schema_differs"}


def odd_length(event: bytes) -> bytes:
    """The payload's length as the same number made negative."""
    at = event.index(decode_event(event).payload) - 1
    at -= event[at] < 0x80 and event[at - 1] >= 0x80
    return event[:at] + bytes((event[at] | 1,)) + event[at + 1 :]


MALFORMED = {
    "a length in two bytes that fits one": lambda e: e.replace(b"\x16event-", b"\x96\x00event-", 1),
    "an odd payload length": lambda e: odd_length(e),
    "bytes after the end": lambda e: e + b"\x00",
    "the end missing": lambda e: e[:-1],
    "a sequence in a longer form": lambda e: e[:-1] + bytes((e[-1] | 0x80, 0)),
    "a negative sequence": lambda e: e[:-1] + bytes((e[-1] | 1,)),
    "the branch 1 of a sequence": lambda e: e[: e.rindex(b"emitter-1") + 9] + b"\x01",
    "another producer": lambda e: e.replace(b"emitter-1", b"emitter-\xff"),
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED.keys())
@pytest.mark.parametrize("at", [100, 250])
def test_malformed_ends(rows: list[Row], change: Any, at: int) -> None:
    entry = decode_entry(rows[at][1])
    both(resealed(rows, at, entry._replace(event=change(entry.event))))


def sized(data: bytes) -> bytes:
    return encode_long(len(data)) + data


RAW = {
    "event_id": sized(b"event-x"),
    "type": sized(b"data.update"),
    "source": sized(b"crm"),
    "entity_type": b"\x02" + sized(b"user"),
    "entity_key": b"\x02" + sized(b"5"),
    "valid_time": b"\x02" + encode_long(1_700_000_000_000_000),
    "actor": b"\x02" + sized(b"alice"),
    "texts": bytes(5),
    "payload_schema": b"\x02" + b"H" * 32,
    "payload": sized(b"p" * 100),
    "rest": bytes(4),
}
"""A well-formed event in pieces."""

BROKEN = {
    "id": {"event_id": sized(b"")},
    "id of 129 bytes": {"event_id": sized(b"x" * 129)},
    "id not UTF-8": {"event_id": sized(b"event\xff")},
    "id of negative length": {"event_id": b"\x0fevent-x"},
    "key of 1,025 bytes": {"entity_key": b"\x02" + sized(b"k" * 1025)},
    "key not UTF-8": {"entity_key": b"\x02" + sized(b"\xc3")},
    "key with branch 1": {"entity_key": b"\x01" + sized(b"5")},
    "no key": {"entity_key": b"\x00"},
    "valid time too early": {"valid_time": b"\x02" + encode_long(-(2**62))},
    "valid time in a longer form": {"valid_time": b"\x02" + b"\x80" * 7 + b"\x00"},
    "valid time with branch 4": {"valid_time": b"\x04" + encode_long(1_700_000_000_000_000)},
    "actor not UTF-8": {"actor": b"\x02" + sized(b"\xff")},
    "actor of negative length": {"actor": b"\x02\x0balice"},
    "actor with branch 1": {"actor": b"\x01" + sized(b"alice")},
    "actor in a longer form": {"actor": b"\x02\x8a\x00alice"},
    "supersedes of 129 bytes": {"texts": bytes(2) + b"\x02" + sized(b"s" * 129) + bytes(2)},
    "four texts": {"texts": bytes(4)},
    "six texts": {"texts": bytes(6)},
    "schema with branch 1": {"payload_schema": b"\x01" + b"H" * 32},
    "schema with branch 4": {"payload_schema": b"\x04"},
    "schema with branch 6": {"payload_schema": b"\x06" + b"H" * 96},
    "schema of 31 bytes": {"payload_schema": b"\x02" + b"H" * 31},
    "payload of negative length": {"payload": b"\xc9\x01" + b"p" * 100},
    "short payload of negative length": {"payload": b"\x15" + b"p" * 10},
    "payload in a longer form": {"payload": b"\x94\x00" + b"p" * 10},
    "payload in a form of three bytes": {"payload": b"\xc8\x81\x00" + b"p" * 100},
    "payload in the other form": {"payload": b"\xc8\x81" + b"p" * 100},
    "payload one byte short": {"payload": sized(b"p" * 100)[:-1]},
    "payload one byte long": {"payload": sized(b"p" * 100) + b"p"},
    "subject with branch 1": {"rest": b"\x01\x00\x00\x00"},
    "three nulls": {"rest": bytes(3)},
    "five nulls": {"rest": bytes(5)},
    "producer with branch 1": {"rest": b"\x00\x00\x01" + sized(b"emitter-1") + b"\x00"},
    "producer not UTF-8": {"rest": b"\x00\x00\x02" + sized(b"\xff") + b"\x00"},
    "negative sequence": {"rest": b"\x00\x00\x02" + sized(b"emitter-1") + b"\x02\x01"},
    "sequence twice": {"rest": b"\x00\x00\x02" + sized(b"emitter-1") + b"\x02\x02\x02"},
    "sequence missing": {"rest": b"\x00\x00\x02" + sized(b"emitter-1")},
    "long sequence": {"rest": b"\x00\x00\x02" + sized(b"emitter-1") + b"\x02\x80\x80\x00"},
    "sequence over 64 bits": {
        "rest": b"\x00\x00\x02" + sized(b"emitter-1") + b"\x02" + b"\x80" * 9 + b"\x02"
    },
}


def raw_row(previous: Row, pieces: dict[str, bytes]) -> Row:
    """A row after another one, from an event in pieces; the columns say what the pieces say."""
    before = decode_entry(previous[1])
    time, prev_hash = before.recorded_time_us + 1, leaf_hash(previous[1])
    event = EVENT_PREFIX + b"".join(pieces.values())
    head = encode_head(before.index + 1, time, prev_hash)
    leaf = head + encode_tail(Kind.EVENT, EVENT_SCHEMA_HASH, None, None, None, event)
    key = None if pieces["entity_key"] == b"\0" else unsized(pieces["entity_key"][1:])
    event_id = unsized(pieces["event_id"])
    row = (before.index + 1, leaf, time, 0, "data.update", b"crm", event_id, "user", key, None)
    return row


def unsized(data: bytes) -> bytes:
    return data[1 if data[0] < 0x80 else 2 :]


def test_the_event_in_pieces_is_taken(rows: list[Row]) -> None:
    walked = both([*rows[:100], raw_row(rows[99], RAW)])
    assert not walked.notes and walked.fast_until == 101


@pytest.mark.parametrize("pieces", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("warm", [True, False])
def test_no_broken_event_is_taken(rows: list[Row], pieces: dict[str, bytes], warm: bool) -> None:
    """Also right after a sound event of which the lane remembers most."""
    before = [*rows[:100], *([raw_row(rows[99], RAW)] if warm else [])]
    walked = both([*before, raw_row(before[-1], RAW | pieces)])
    assert [(f.code, f.index) for f in walked.notes.listed()] == [("entry_malformed", len(before))]


def test_what_is_remembered_of_a_cut_off_event_is_not_used(rows: list[Row]) -> None:
    """The first ends inside the payload schema; the second would go on there with a payload."""
    cut = dict.fromkeys(RAW, b"") | {name: RAW[name] for name in list(RAW)[:8]}
    cut["payload_schema"] = b"\x02" + b"H" * 20
    first = raw_row(rows[99], cut)
    second = raw_row(first, RAW | {"payload_schema": cut["payload_schema"]})
    walked = both([*rows[:100], first, second])
    assert [finding.index for finding in walked.notes.listed()] == [100, 101]


WRONG_ROWS = {
    "the index as a float": {0: 100.0},
    "the next index": {0: 101},
    "the index before": {0: 99},
    "the kind as a float": {3: 0.0},
    "the kind as a boolean": {3: False},
    "the kind of the log itself": {3: 1},
    "the kind -1": {3: -1},
    "another type": {4: "data.delete"},
    "the type as bytes": {4: b"data.update"},
    "another source": {5: b"web"},
    "the source as text": {5: "crm"},
    "another id": {6: b"event-y"},
    "the id as text": {6: "event-x"},
    "another entity type": {7: "account"},
    "another key": {8: b"6"},
    "the key as text": {8: "5"},
    "a signature": {9: bytes(68)},
    "an empty signature": {9: b""},
}


@pytest.mark.parametrize("columns", WRONG_ROWS.values(), ids=WRONG_ROWS.keys())
def test_no_wrong_column_is_taken(rows: list[Row], columns: dict[int, object]) -> None:
    row = list(raw_row(rows[99], RAW))
    for number, value in columns.items():
        row[number] = value
    walked = both([*rows[:100], tuple(row)])
    assert walked.notes


def test_the_time_as_a_float_and_the_time_before(rows: list[Row]) -> None:
    row = raw_row(rows[99], RAW)
    assert both([*rows[:100], (*row[:2], float(row[2]), *row[3:])]).notes
    entry = decode_entry(row[1])
    for time in (entry.recorded_time_us - 1, entry.recorded_time_us - 2):
        other = resealed([*rows[:100], row], 100, entry._replace(recorded_time_us=time))
        walked = both(other)
        assert [finding.code for finding in walked.notes.listed()] == ["recorded_time"]


def test_another_kind_schema_source_or_reason(rows: list[Row]) -> None:
    entry = decode_entry(rows[100][1])
    for other in (
        entry._replace(kind=Kind.CONTROL),
        entry._replace(kind=Kind.QUARANTINED, reason="why"),
        entry._replace(schema_hash=None),
        entry._replace(schema_hash=bytes(32)),
        entry._replace(reason="why"),
        entry._replace(source=SourceSpan("t", 0, 5, 6)),
        entry._replace(recorded_time_us=1),
        entry._replace(index=99),
        entry._replace(prev_hash=bytes(32)),
    ):
        both(resealed(rows, 100, other))


def test_the_first_entries_and_small_times_take_the_plain_form() -> None:
    """Numbers below 64 are encoded in one byte, which the lane does not know."""
    drafts = [accept(message(n)).draft for n in range(200)]
    step = append(empty_head(), drafts, 1)
    sealed = [
        (s.index, s.leaf, *columns_of(decode_entry(s.leaf), decode_event(d.event)))
        for s, d in zip(step.sealed, drafts, strict=True)
    ]
    assert sealed[100][2] == 101
    walked = both(sealed)
    assert not walked.notes and walked.fast_until == 200


def test_a_truncated_memory_of_links_is_never_used(rows: list[Row]) -> None:
    """A row that ends inside the payload schema must not teach the lane anything."""
    event, _ = data_event("update", "user", 1, event_id="e", source="crm", after={"n": 1})
    data = encode_event(event)
    entry = decode_entry(rows[100][1])
    for cut in range(1, 60):
        both(resealed(rows, 100, entry._replace(event=data[:-cut])))


def test_events_without_a_key(rows: list[Row]) -> None:
    found = [
        data_event("truncate", "user", None, event_id=f"t{n}", source="crm").event for n in range(3)
    ]
    found += [
        record_event("review", {"n": n}, event_id=f"r{n}", source="crm").event for n in range(3)
    ]
    sealed = [*rows[:100]]
    last = decode_entry(rows[99][1])
    index, time, prev_hash = last.index, last.recorded_time_us, leaf_hash(rows[99][1])
    for event in found:
        index, time = index + 1, time + 1
        entry = Entry(
            index,
            time,
            prev_hash,
            Kind.EVENT,
            EVENT_SCHEMA_HASH,
            None,
            None,
            None,
            encode_event(event),
        )
        leaf = encode_entry(entry)
        prev_hash = leaf_hash(leaf)
        sealed.append((index, leaf, *columns_of(entry, event)))
    walked = both(sealed)
    assert not walked.notes and walked.fast_until == len(sealed)


def test_numbers_have_one_form() -> None:
    assert encode_long(63) == b"\x7e" and encode_long(64) == b"\x80\x01"

"""A block read in columns says what its leaves say one by one, whatever they hold."""

import math
import random
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import InvalidInput, StoreCorrupt
from audit.event.build import data_event, record_event, schema_event
from audit.event.canonical import builtin
from audit.event.declared import declare
from audit.event.envelope import Encryption, Event, encode_event
from audit.log.entry import NO_HASH, Entry, Kind, SourceSpan, encode_entry
from audit.replay.columnar.decode.block import read_block
from audit.replay.columnar.decode.known_schemas import KnownSchemas
from audit.replay.columnar.kept.gathering import Gathering, Piece
from audit.replay.columnar.kept.keybook import no_keys
from audit.replay.rows import UNAVAILABLE
from tests.replay.columnar.reading import (
    events_in,
    events_of,
    firsts_of,
    held_by,
    records_of,
    said_of,
)

START_US = 1_767_225_600_000_000
DECLARED = declare(
    {
        "type": "record",
        "name": "Person",
        "fields": [
            {"name": "name", "type": "string"},
            {"name": "age", "type": ["null", "int"]},
            {"name": "born", "type": {"type": "int", "logicalType": "date"}},
            {"name": "tags", "type": {"type": "array", "items": "string"}},
        ],
    }
)
SCHEMAS = (builtin("row.v1"), builtin("record.v1"), DECLARED.change_canonical)

texts = st.one_of(st.text(max_size=8), st.sampled_from(["", "\0", "ä", UNAVAILABLE, "x" * 200]))
nested = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=3)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
).filter(lambda value: isinstance(value, list | dict))
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([0, 63, 64, 2**63 - 1, -(2**63)]),
    st.floats(allow_nan=True),
    st.sampled_from([-0.0, math.nan, math.inf]),
    texts,
    st.binary(max_size=8),
    st.sampled_from([UNAVAILABLE.encode()]),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).filter(
        lambda value: not (value.is_zero() and value.is_signed())
    ),
    st.sampled_from([Decimal("1e-1000"), Decimal("9" * 1000), Decimal("-1.50")]),
    st.dates(),
    st.sampled_from([date.min, date.max]),
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from([datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]),
    nested,
)
rows = st.dictionaries(st.sampled_from(["a", "b", "c", "größe", "", "a b"]), values, max_size=5)
people = st.fixed_dictionaries(
    {
        "name": st.text(max_size=4),
        "age": st.none() | st.integers(-5, 99),
        "born": st.dates(),
        "tags": st.lists(st.text(max_size=3), max_size=2),
    }
)
times = st.none() | st.sampled_from([-62_135_596_800_000_000, 253_402_300_799_999_999, 0, -1])


@st.composite
def events(draw: st.DrawFn) -> Event:
    kind = draw(st.integers(0, 11))
    options: dict[str, Any] = {
        "event_id": draw(st.text(min_size=1, max_size=4)),
        "source": draw(st.sampled_from(["s", "größe", "x" * 128])),
        "valid_time_us": draw(times),
        "actor": draw(st.none() | st.sampled_from(["ann", "bob", ""])),
        "reason": draw(st.none() | st.sampled_from(["why: so", "x" * 4096])),
        "transaction_id": draw(st.none() | st.text(max_size=3)),
        "supersedes": draw(st.sampled_from([None, None, None, "e1"])),
    }
    entity = draw(st.sampled_from(["user", "order"]))
    key = draw(st.sampled_from(["1", "2", "\0", "k" * 100]))
    if kind == 0:
        return record_event("note.taken", {"n": draw(values)}, **options)[0]
    if kind == 1:
        return record_event("note.taken", {"n": 1}, entity_type=entity, **options)[0]
    if kind == 2:
        return data_event("truncate", entity, None, **options)[0]
    op = draw(st.sampled_from(["create", "update", "update", "delete"]))
    if kind == 3:
        person = None if op == "delete" else draw(people)
        event = data_event(op, "person", key, after=person, declared=DECLARED, **options)[0]
    else:
        before = draw(st.none() | rows) if op != "create" else None
        after = None if op == "delete" else draw(rows)
        image = draw(st.sampled_from(["patch", "full"])) if op == "update" else None
        if image is not None:
            options["image"] = image
        event = data_event(op, entity, key, before=before, after=after, **options)[0]
    return _odd(draw(st.integers(0, 30)), event)


def _odd(number: int, event: Event) -> Event:
    """The same event, made unusual by some numbers."""
    if number == 0:
        return event._replace(encryption=Encryption("key", b"nonce"), subject="s/1")
    if number == 1:
        return event._replace(payload_schema=b"\x07" * 32)
    if number == 2:
        return event._replace(payload_schema=None)
    if number == 3:
        return event._replace(type="data.truncate")
    if number == 4:
        return event._replace(producer_id="p", producer_sequence=5, request_id="r", trace_id="t")
    if number == 5:
        return event._replace(type="data.other")
    if number == 6:
        return event._replace(payload=event.payload + b"\0")
    if number == 7:
        return event._replace(type="data.delete")
    return event


def leaf_of(index: int, event: bytes, kind: Kind = Kind.EVENT, **changed: Any) -> bytes:
    entry = Entry(index, START_US + index * 7, NO_HASH, kind, None, None, None, None, event)
    return encode_entry(entry._replace(**changed))


def leaves_of(said: Sequence[Event], late: bool = False) -> list[bytes]:
    """The schemas and then the events; or the schemas at the end."""
    schemas = [schema_event(schema) for schema in SCHEMAS]
    order = [*said, *schemas] if late else [*schemas, *said]
    leaves = []
    for index, event in enumerate(order):
        changed: dict[str, Any] = {}
        kind = Kind.EVENT
        if index % 5 == 3:
            changed["source"] = SourceSpan("topic", 1, index, index + 1)
            changed["signature"] = b"s" * 68
        if index % 11 == 7:
            kind, changed["reason"] = Kind.QUARANTINED, "UNDECODABLE: nobody knows"
        elif index % 13 == 9:
            kind = Kind.CONTROL
        leaves.append(leaf_of(index, encode_event(event), kind, **changed))
    return leaves


def piece_of(leaves: Sequence[bytes], at_once: int = 1 << 15) -> Piece:
    schemas = KnownSchemas()
    gathering = Gathering(0, 0)
    for at in range(0, len(leaves), at_once):
        gathering.take(read_block(leaves[at : at + at_once], 0, at, schemas))
    return gathering.finish(lambda name: no_keys())


def check(leaves: Sequence[bytes], at_once: int = 1 << 15) -> None:
    """Reading in columns and one by one gives the same, be it an error."""
    try:
        records = records_of(leaves)
    except StoreCorrupt as error:
        with pytest.raises(StoreCorrupt) as caught:
            piece_of(leaves, at_once)
        assert str(caught.value) == str(error)
        return
    piece = piece_of(leaves, at_once)
    assert held_by(piece.events) == [said_of(record) for record in records]
    for name in ("user", "order", "person"):
        expected = events_of(records, name)
        part = piece.datasets.get(name)
        if part is None:
            assert not expected
            continue
        keys = piece.new_keys[name].to_pylist()
        first_seen = dict.fromkeys(e.told["key"] for e in expected if e.told["key"] is not None)
        assert [key.decode() for key in keys] == list(first_seen)
        found = events_in(part, keys, [event.told["mentions"] for event in expected])
        later = False
        for event in expected:
            # Of a dataset it is told once from when on it is folded plainly.
            if event.told["key"] is None and event.told["careful"]:
                event.told["careful"], later = not later, True
        assert found == expected
        assert part.first == firsts_of(expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(events(), max_size=12), st.booleans(), st.sampled_from([1, 3, 100]))
def test_a_block_says_what_its_leaves_say(said: list[Event], late: bool, at_once: int) -> None:
    check(leaves_of(said, late), at_once)


def sample(count: int = 40) -> list[Event]:
    """Some events of all sorts, the same each time."""
    made = []
    for at in range(count):
        after = {"n": at, "t": f"text {at}", "f": at / 7, "d": date(2026, 1, 1 + at % 9)}
        options: dict[str, Any] = {"event_id": f"e{at}", "source": "s", "valid_time_us": at or None}
        op = "create" if at < 9 else ("update", "update", "delete")[at % 3]
        wanted = None if op == "delete" else after
        made.append(data_event(op, "user", str(at % 9), after=wanted, **options)[0])
    return made


def test_bytes_of_leaves_changed_at_random_are_refused_or_read_as_one_by_one() -> None:
    drawn = random.Random(11)
    leaves = leaves_of(sample())
    for _ in range(120):
        at = drawn.randrange(len(leaves))
        changed = [*leaves]
        changed[at] = _mutated(drawn, leaves[at])
        check(changed)


def test_bytes_of_payloads_changed_at_random_are_read_as_one_by_one() -> None:
    drawn = random.Random(13)
    for _ in range(120):
        said = sample()
        for at in drawn.sample(range(len(said)), 8):
            said[at] = said[at]._replace(payload=_mutated(drawn, said[at].payload))
        check(leaves_of(said))


def _mutated(drawn: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(drawn.choice((1, 1, 2))):
        if not out:
            break
        at = drawn.randrange(len(out))
        change = drawn.randrange(4)
        if change == 0:
            out[at] = drawn.choice((0, 1, 2, 4, 6, 8, 0x12, 0x80, 0xFF, drawn.randrange(256)))
        elif change == 1:
            out[at] ^= 1 << drawn.randrange(8)
        elif change == 2:
            del out[at]
        else:
            out.insert(at, drawn.choice((0, 0x80, 0xFF)))
    return bytes(out)


PAYLOADS = {
    "in blocks": b"\x00\x00\x02\x02\x02a\x04\x02\x02\x02b\x04\x04\x00",
    "block with its size": b"\x00\x00\x02\x01\x08\x02a\x04\x02\x00",
    "field twice": b"\x00\x00\x02\x04\x02a\x04\x02\x02a\x04\x04\x00",
    "field twice before": b"\x00\x02\x04\x02a\x04\x02\x02a\x04\x04\x00\x00",
    "no such branch": b"\x00\x00\x02\x02\x02a\x14\x02\x00",
    "name is no text": b"\x00\x00\x02\x02\x02\xff\x04\x02\x00",
    "text is no text": b"\x00\x00\x02\x02\x02a\x08\x02\xff\x00",
    "text before is no text": b"\x00\x02\x02\x02a\x08\x02\xff\x00\x00",
    "boolean 2": b"\x00\x00\x02\x02\x02a\x02\x02\x00",
    "nested is no JSON": b"\x00\x00\x02\x02\x02a\x12\x02{\x00",
    "nested is no list": b"\x00\x00\x02\x02\x02a\x12\x021\x00",
    "decimal without bytes": b"\x00\x00\x02\x02\x02a\x0c\x00\x00\x00",
    "decimal with spare bytes": b"\x00\x00\x02\x02\x02a\x0c\x04\x00\x01\x00\x00",
    "decimal of 416 bytes": b"\x00\x00\x02\x02\x02a\x0c\xc0\x06" + bytes(415) + b"\x05\x00\x00",
    "decimal with a scale": b"\x00\x00\x02\x02\x02a\x0c\x02\x05\xd2\x0f\x00",
    "date too late": b"\x00\x00\x02\x02\x02a\x0e\xfe\xff\xff\xff\x0f\x00",
    "time too early": b"\x00\x00\x02\x02\x02a\x10" + b"\xff" * 9 + b"\x01\x00",
    "nothing": b"",
    "image 1": b"\x01\x00\x00",
    "ends early": b"\x00\x00",
    "goes on": b"\x00\x00\x00\x00",
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_that_is_unusual_is_read_as_one_by_one(name: str) -> None:
    said = sample(20)
    said[12] = said[12]._replace(type="data.update", payload=PAYLOADS[name])
    check(leaves_of(said))


def test_a_row_with_very_many_fields_is_read_as_one_by_one() -> None:
    said = sample(12)
    wide = {f"column {at}": at for at in range(1_500)}
    said.append(data_event("create", "user", "wide", after=wide, event_id="w", source="s")[0])
    check(leaves_of(said))


def test_a_leaf_at_the_wrong_index_is_refused() -> None:
    leaves = leaves_of(sample(9))
    leaves[4], leaves[5] = leaves[5], leaves[4]
    with pytest.raises(StoreCorrupt, match="entry 0/4 says that it is entry 5"):
        piece_of(leaves)


def test_no_other_error_than_ours_is_raised_for_any_bytes() -> None:
    drawn = random.Random(17)
    for _ in range(40):
        leaves = [drawn.randbytes(drawn.randrange(80)) for _ in range(3)]
        with pytest.raises((StoreCorrupt, InvalidInput)):
            read_block(leaves, 0, 0, KnownSchemas())

"""Payloads under declared schemas read together say what each says when it is read alone."""

import math
import random
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import InvalidInput
from audit.event.book import PayloadSchema
from audit.event.build import data_event
from audit.event.declared import declare
from audit.event.envelope import Event
from audit.event.fields import encode_value
from audit.event.row import FULL, PATCH, Change
from audit.replay.columnar.decode.cellvalues import spelled
from audit.replay.columnar.decode.declared_changes import read_declared
from audit.replay.columnar.lockstep import Source
from audit.replay.rows import UNAVAILABLE, unchanged
from tests.replay.columnar.test_build_blocks import DECLARED, check, leaves_of

NUMBERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(max_size=6) | st.sampled_from(["", "ä", UNAVAILABLE, "x" * 100])
YEARS = st.datetimes(timezones=st.just(UTC))


def decimals(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**digits - 1
    return st.integers(-most, most).map(lambda n: Decimal(f"{n}E-{scale}"))


def logical(name: str, base: str, **more: Any) -> dict[str, Any]:
    return {"type": base, "logicalType": name, **more}


TYPES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "boolean": ("boolean", st.booleans()),
    "int": ("int", st.integers(-(2**31), 2**31 - 1)),
    "long": ("long", NUMBERS),
    "float": ("float", st.floats(width=32)),
    "double": ("double", st.floats()),
    "string": ("string", TEXTS),
    "bytes": ("bytes", st.binary(max_size=9) | st.just(UNAVAILABLE.encode())),
    "uuid": (logical("uuid", "string"), st.uuids().map(str)),
    "date": (logical("date", "int"), st.dates() | st.sampled_from([date.min, date.max])),
    "micros": (logical("timestamp-micros", "long"), YEARS),
    "millis": (
        logical("timestamp-millis", "long"),
        YEARS.map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)),
    ),
    "decimal": (logical("decimal", "bytes", precision=9, scale=2), decimals(9, 2)),
    "longest": (logical("decimal", "bytes", precision=18, scale=18), decimals(18, 18)),
    "wide": (logical("decimal", "bytes", precision=30, scale=3), decimals(30, 3)),
    "enum": (
        {"type": "enum", "name": "E", "symbols": ["a", "b", UNAVAILABLE]},
        st.sampled_from(["a", "b", UNAVAILABLE]),
    ),
    "fixed": ({"type": "fixed", "name": "F", "size": 3}, st.binary(min_size=3, max_size=3)),
    "fixed decimal": (
        {"type": "fixed", "name": "D", "size": 5, **logical("decimal", "fixed", precision=9)},
        decimals(9, 0),
    ),
    "wide fixed": (
        {"type": "fixed", "name": "G", "size": 16, **logical("decimal", "fixed", precision=20)},
        decimals(20, 0),
    ),
    "array": ({"type": "array", "items": "string"}, st.lists(TEXTS, max_size=2)),
    "map": ({"type": "map", "values": "long"}, st.dictionaries(TEXTS, NUMBERS, max_size=2)),
    "record": (
        {"type": "record", "name": "R", "fields": [{"name": "x", "type": "int"}]},
        st.fixed_dictionaries({"x": st.integers(0, 9)}),
    ),
}


@st.composite
def changes(draw: st.DrawFn) -> tuple[PayloadSchema, list[bytes]]:
    """A declared schema, and payloads of some changes; now and then one is damaged."""
    names = draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=5, unique=True))
    fields, values = [], {}
    for name in names:
        type_, strategy = TYPES[name]
        form = draw(st.sampled_from(["plain", "null first", "null last"]))
        if form != "plain":
            type_ = ["null", type_] if form == "null first" else [type_, "null"]
            strategy = st.none() | strategy
        fields.append({"name": name.replace(" ", "_"), "type": type_})
        values[name.replace(" ", "_")] = strategy
    declared = declare({"type": "record", "name": "T", "fields": fields})
    schema = PayloadSchema(declared.change_canonical)
    row = st.none() | st.fixed_dictionaries(values)
    payloads = []
    drawn = random.Random(draw(st.integers(0, 999)))
    for _ in range(draw(st.integers(1, 6))):
        change = Change(draw(st.sampled_from([FULL, PATCH])), draw(row), draw(row))
        payload = declared.encode_change(change)
        payloads.append(damaged(drawn, payload) if drawn.random() < 0.3 else payload)
    return schema, payloads


def damaged(drawn: random.Random, payload: bytes) -> bytes:
    out = bytearray(payload)
    at = drawn.randrange(len(out))
    match drawn.randrange(4):
        case 0:
            out[at] = drawn.choice((0, 1, 2, 0x7F, 0x80, 0xFF, drawn.randrange(256)))
        case 1:
            out.insert(at, drawn.choice((0, 0x80, 0xFF)))
        case 2:
            del out[at:]
        case 3:
            out += bytes((drawn.randrange(256),))
    return bytes(out)


def expected(schema: PayloadSchema, payload: bytes) -> Change | None:
    try:
        said = schema.decode(payload)
    except InvalidInput:
        return None
    assert isinstance(said, Change)
    return said


@settings(max_examples=80, deadline=None)
@given(changes())
def test_read_together_they_say_what_each_says_alone(made: tuple[PayloadSchema, list[bytes]]):
    schema, payloads = made
    assert schema.row is not None
    source = Source(payloads)
    found = read_declared(source, source.start, source.end, schema.row)
    rows: list[dict[str, Any]] = [{} for _ in payloads]
    for cells in found.after:
        spellings = spelled(cells.values).to_pylist()
        for at, spelling, hidden in zip(cells.row, spellings, cells.hidden, strict=True):
            rows[at][cells.name] = "hidden" if hidden else spelling
    for at, payload in enumerate(payloads):
        alone = expected(schema, payload)
        if not found.good[at]:
            # Read one by one then: right but unusual, or refused.
            assert alone is None or has_spare_decimal(payload, alone, schema)
            continue
        assert alone is not None
        assert found.full[at] == (alone.image == FULL)
        assert rows[at] == {name: told(value) for name, value in (alone.after or {}).items()}


def told(value: Any) -> bytes | str | None:
    if unchanged(value):
        return "hidden"
    return None if value is None else encode_value(value)


def has_spare_decimal(payload: bytes, said: Change, schema: PayloadSchema) -> bool:
    return schema.encode(said) != payload


def test_a_block_of_declared_rows_says_what_its_leaves_say() -> None:
    drawn = random.Random(3)
    said: list[Event] = []
    for at in range(60):
        op = "create" if at < 20 else drawn.choice(["update", "delete"])
        person = {
            "name": drawn.choice(["ann", "bob", UNAVAILABLE, ""]),
            "age": drawn.choice([None, at]),
            "born": date(1970, 1, 1 + at % 28),
            "tags": ["x"] * (at % 3),
        }
        after = None if op == "delete" else person
        options: dict[str, Any] = {"event_id": f"e{at}", "source": "s", "declared": DECLARED}
        event = data_event(op, "person", str(at % 20), after=after, **options)[0]
        if at % 9 == 4:
            event = event._replace(payload=damaged(drawn, event.payload or b"\0"))
        if at % 13 == 5:
            event = event._replace(type="data.delete")
        said.append(event)
    check(leaves_of(said))
    check(leaves_of(said, late=True))
    check(leaves_of(said), 9)


@pytest.mark.parametrize("value", [math.nan, -0.0, math.inf])
def test_floats_keep_what_they_are(value: float) -> None:
    fields = [{"name": "f", "type": "float"}, {"name": "d", "type": "double"}]
    declared = declare({"type": "record", "name": "T", "fields": fields})
    row = PayloadSchema(declared.change_canonical).row
    assert row is not None
    payload = declared.encode_change(Change(FULL, None, {"f": value, "d": value}))
    source = Source([payload])
    for cells in read_declared(source, source.start, source.end, row).after:
        found = cells.values.to_numpy()
        assert np.array_equal(found, [value], equal_nan=True)
        assert np.signbit(found[0]) == (math.copysign(1, value) < 0)


def test_times_at_the_ends_of_the_calendar_are_read() -> None:
    kinds = ["timestamp-micros", "timestamp-millis"]
    fields = [{"name": k[10:], "type": logical(k, "long")} for k in kinds]
    declared = declare({"type": "record", "name": "T", "fields": fields})
    row = PayloadSchema(declared.change_canonical).row
    assert row is not None
    ends = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC)]
    said = [declared.encode_change(Change(FULL, None, {"micros": t, "millis": t})) for t in ends]
    source = Source(said)
    found = read_declared(source, source.start, source.end, row)
    assert found.good.all()
    for cells in found.after:
        assert cells.values.to_pylist() == ends

"""Whatever the bytes: an event or a row, or FormatError or LimitExceeded, and nothing else."""

import random
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import FormatError, LimitExceeded
from audit.event.envelope import EVENT_PREFIX, decode_event, encode_event
from audit.event.payload import decode_payload
from audit.event.row import MAX_ROW_BYTES, Change, decode_row, encode_row
from audit.event.schema import SchemaBook, builtin
from audit.event.wire import decode_long, encode_long
from tests.event.exact import same
from tests.event.make_golden import CHANGES, EVENTS

BOOK = SchemaBook.with_builtins()
SEEDS = [encode_event(event) for event in EVENTS.values()]
ROWS = [encode_row(change) for change in CHANGES.values()]
INTERESTING = [0, 1, 2, 3, 4, 0x7E, 0x7F, 0x80, 0x81, 0xC3, 0xFE, 0xFF]
HUGE = [encode_long(n) for n in (2**31, 2**62, 2**63 - 1, -1, -(2**63), 64_001)] + [b"\x80" * 12]


def mutated(data: bytes, random_: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(out) + 1)
        how = random_.randrange(6)
        if how == 0 and at < len(out):
            out[at] = random_.choice(INTERESTING)
        elif how == 1 and at < len(out):
            out[at] ^= 1 << random_.randrange(8)
        elif how == 2:
            out[at:at] = random_.choice(HUGE)
        elif how == 3:
            del out[at : at + random_.randint(1, 9)]
        elif how == 4:
            out[at:at] = out[: random_.randint(1, 20)]
        elif how == 5:
            out[at:at] = bytes(random_.randrange(256) for _ in range(random_.randint(1, 9)))
    return bytes(out)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_events(seed: int) -> None:
    random_ = random.Random(seed)
    read = 0
    for _ in range(4_000):
        data = mutated(random_.choice(SEEDS)[10:], random_)
        try:
            event = decode_event(EVENT_PREFIX + data)
        except (FormatError, LimitExceeded):
            continue
        read += 1
        # An event has one encoding: what is read at all is written the same.
        assert encode_event(event) == EVENT_PREFIX + data
        with suppress(FormatError, LimitExceeded):
            decode_payload(event, BOOK)
    assert read > 50


@pytest.mark.parametrize("seed", range(4))
def test_mutated_rows(seed: int) -> None:
    random_ = random.Random(seed)
    read = 0
    for _ in range(4_000):
        data = mutated(random_.choice(ROWS), random_)
        try:
            change = decode_row(data)
        except (FormatError, LimitExceeded):
            continue
        read += 1
        # Blocks and nested JSON can be spelled in other ways, so the bytes may differ.
        assert same(decode_row(encode_row(change)), change)
    assert read > 50


@given(st.binary(max_size=300))
def test_junk(data: bytes) -> None:
    for prefix in (b"", b"\xc3\x01", EVENT_PREFIX):
        with pytest.raises((FormatError, LimitExceeded)):
            decode_event(prefix + data)
    with suppress(FormatError, LimitExceeded):
        assert isinstance(decode_row(data), Change)


@given(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=12))
def test_longs(value: int, rest: bytes) -> None:
    data = encode_long(value)
    assert decode_long(data + rest, 0) == (value, len(data))
    assert len(data) <= 10
    for size in range(len(data)):
        with pytest.raises(FormatError):
            decode_long(data[:size], 0)


@given(st.binary(max_size=14))
def test_a_long_has_one_encoding(data: bytes) -> None:
    try:
        value, end = decode_long(data, 0)
    except FormatError:
        return
    assert encode_long(value) == data[:end]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x02" + encode_long(31_000) + b"\x00\x00" * 31_000 + b"\x00",
        b"\x00\x00\x02" + b"\x02\x00\x00" * 21_000 + b"\x00",
        b"\x00\x00\x02" + b"\x01\x00" * 31_000 + b"\x00",
        b"\x00\x00\x02" + b"\x00" * 60_000,
        b"\x00\x00\x02" + encode_long(2**62) + b"\x00" * 60_000,
        b"\x00\x00\x02\x02\x02a\x12" + encode_long(60_000) + b"[" * 60_000 + b"\x00",
        b"\x00\x00\x02\x02\x02a\x12" + encode_long(60_000) + b"1" * 60_000 + b"\x00",
        b"\x00\x00\x02\x02\x02a\x12" + encode_long(60_000) + b'{"a":' * 12_000 + b"\x00",
        b"\x00\x00\x02\x02\x02a\x0c" + encode_long(60_000) + b"\x7f" * 60_000 + b"\x00\x00",
        b"\x00" * MAX_ROW_BYTES,
    ],
)
def test_hostile_rows_cost_little_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises((FormatError, LimitExceeded)):
            decode_row(data)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", [None, "text", 10**12, [1], 1.5, object()])
def test_what_is_no_bytes(data: Any) -> None:
    for decode in (decode_event, decode_row):
        with pytest.raises(FormatError, match="is bytes, not"):
            decode(data)


def test_other_buffers() -> None:
    for buffer in (bytearray, memoryview):
        assert same(decode_row(buffer(ROWS[3])), decode_row(ROWS[3]))  # type: ignore[arg-type]


def test_a_schema_that_is_deep_inside_our_own_types() -> None:
    deep = "[" * 400 + "]" * 400
    text = builtin("record.v1").decode().replace('"name":"Field"', f'"name":"Field","x":{deep}')
    known = BOOK.copy()
    found = known.get(known.add(text.encode()))
    assert found is not None
    assert found.problem is not None

"""Numbers and texts of many byte strings at once are those that reading one by one gives."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import FormatError
from audit.event.wire import MAX_INT64, MIN_INT64, decode_long, encode_long
from audit.replay.columnar.lockstep import Cursor, Source, not_utf8

EDGES = [
    *(0, 1, -1, 63, 64, -64, -65, 8_191, 8_192, 2**31, -(2**31), 2**48, 2**55 - 1, 2**55),
    *(2**56, -(2**56), 2**62 - 1, 2**62, -(2**62) - 1, MAX_INT64, MIN_INT64),
]


def cursor_over(strings: list[bytes]) -> Cursor:
    source = Source(strings)
    return Cursor(source, source.start, source.end)


def strict_long(data: bytes) -> int | None:
    try:
        value, after = decode_long(data, 0)
    except FormatError:
        return None
    return value if after == len(data) else None


@given(st.lists(st.one_of(st.sampled_from(EDGES), st.integers(MIN_INT64, MAX_INT64)), min_size=1))
def test_numbers_are_read_as_they_were_written(numbers: list[int]) -> None:
    cursor = cursor_over([encode_long(number) for number in numbers])
    assert cursor.long().tolist() == numbers
    assert cursor.finish().all()


def test_only_the_shortest_form_of_a_number_is_one() -> None:
    drawn = random.Random(7)
    bytes_ = (0, 1, 2, 0x7F, 0x80, 0x81, 0xFE, 0xFF)
    strings = [
        bytes(drawn.choice(bytes_) for _ in range(drawn.randrange(1, 13))) for _ in range(50_000)
    ]
    cursor = cursor_over(strings)
    values = cursor.long().tolist()
    good = cursor.finish().tolist()
    for string, value, is_good in zip(strings, values, good, strict=True):
        assert (value if is_good else None) == strict_long(string), string.hex()


def test_some_rows_go_on_while_the_others_stay() -> None:
    cursor = cursor_over([b"\x02\x08", b"\x00", b"\x02\x81\x01", b"\x04"])
    rows = cursor.optional()
    assert rows.tolist() == [0, 2]
    assert cursor.long(rows).tolist() == [4, -65]
    assert cursor.finish().tolist() == [True, True, True, False]


@pytest.mark.parametrize("strings", [[b"\x0aabc", b"\x06abc"], [b"\x06abc", b"\x0aabc"]])
def test_a_text_that_reaches_past_its_end_is_none(strings: list[bytes]) -> None:
    cursor = cursor_over(strings)
    cursor.sized(100)
    assert cursor.finish().tolist() == [string[0] == 6 for string in strings]


def test_a_size_over_its_limit_is_none() -> None:
    cursor = cursor_over([b"\x06abc", b"\x08abcd", b"\x07"])
    cursor.sized(3)
    assert cursor.finish().tolist() == [True, False, False]


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=20), min_size=1, max_size=30))
def test_spans_are_the_bytes_between_their_bounds(strings: list[bytes]) -> None:
    source = Source(strings)
    null = np.array([at % 3 == 2 for at in range(len(strings))])
    middle = source.start + (source.end - source.start) // 2
    found = source.spans(middle, source.end, null).to_pylist()
    halves = [string[len(string) // 2 :] for string in strings]
    assert found == [None if at % 3 == 2 else half for at, half in enumerate(halves)]


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=6), max_size=20))
def test_what_is_no_text_is_found(strings: list[bytes]) -> None:
    def is_text(data: bytes) -> bool:
        try:
            return data.decode() is not None
        except UnicodeDecodeError:
            return False

    strings = ["größe".encode(), b"\xed\xa0\x80", *strings]
    source = Source(strings)
    bad = not_utf8(source.spans(source.start, source.end)).tolist()
    assert bad == [at for at, data in enumerate(strings) if not is_text(data)]

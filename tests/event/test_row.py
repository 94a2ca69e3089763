"""row.v1: every type survives; the bytes are fastavro's; hostile bytes are refused."""

from datetime import UTC, datetime
from decimal import Decimal, localcontext
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.row import MAX_ROW_BYTES, Change, decode_row, encode_row
from audit.event.wire import encode_long
from tests.event.avro import parsed, read, row_from_avro, row_to_avro, write
from tests.event.exact import same
from tests.event.strategies import AWKWARD_VALUES, changes

ROW = parsed("row.v1")


@given(changes)
def test_bytes_are_fastavros_and_read_back(change: Change) -> None:
    data = encode_row(change)
    assert data == write(ROW, row_to_avro(change))
    assert same(decode_row(data), change)


@given(changes)
def test_fastavro_reads_what_we_write(change: Change) -> None:
    # Extreme times are beyond fastavro's own range checks in some zones; ours are all UTC.
    assert same(row_from_avro(read(ROW, encode_row(change))), change)


@pytest.mark.parametrize("value", AWKWARD_VALUES, ids=lambda value: repr(value)[:30])
def test_awkward_values_survive(value: Any) -> None:
    change = Change("full", {"before": value}, {"after": value, "nested": [value, {"in": value}]})
    assert same(decode_row(encode_row(change)), change)


def test_order_of_fields_is_kept() -> None:
    fields = {"z": 1, "a": 2, "m": 3}
    back = decode_row(encode_row(Change("patch", None, fields))).after
    assert back is not None
    assert list(back) == ["z", "a", "m"]


def test_null_absent_and_empty_differ() -> None:
    rows = [None, {}, {"a": None}, {"a": ""}, {"a": 0}, {"a": False}, {"a": 0.0}, {"": None}]
    assert len({encode_row(Change("patch", None, row)) for row in rows}) == len(rows)
    for row in rows:
        assert same(decode_row(encode_row(Change("patch", None, row))).after, row)


def test_decimals_do_not_depend_on_the_callers_context() -> None:
    value = Decimal("12345678901234567890.1234567890")
    with localcontext(prec=3):
        data = encode_row(Change("patch", None, {"d": value}))
        back = decode_row(data).after
    assert back is not None
    assert str(back["d"]) == "12345678901234567890.1234567890"


def test_subclasses_become_their_plain_types() -> None:
    class Colour(StrEnum):
        RED = "red"

    class Size(IntEnum):
        BIG = 5

    class Text(str):
        pass

    fields = {
        Text("a"): Text("x"),
        "b": Colour.RED,
        "c": Size.BIG,
        "d": (1, 2),
        "e": bytearray(b"x"),
    }
    back = decode_row(encode_row(Change("patch", None, fields))).after
    assert same(back, {"a": "x", "b": "red", "c": 5, "d": [1, 2], "e": b"x"})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (2**63, "does not fit 64 bits"),
        (-(2**63) - 1, "does not fit 64 bits"),
        (10**5000, "does not fit 64 bits"),
        (Decimal("NaN"), "is not a number"),
        (Decimal("sNaN"), "is not a number"),
        (Decimal("-Infinity"), "is not a number"),
        (Decimal("-0.00"), "negative zero"),
        (Decimal("1E+1001"), "exponent"),
        (Decimal("1" * 1001), "digits"),
        (datetime(2020, 1, 1), "naive datetime"),
        ("\ud800", "surrogate"),
        (["\ud800"], "surrogate"),
        ({"\ud800": 1}, "surrogate"),
        ({1: 2}, "name is a string"),
        (object(), "cannot be kept exactly"),
        (1j, "cannot be kept exactly"),
        ({1, 2}, "cannot be kept exactly"),
        ([[datetime(2020, 1, 1)]], "naive datetime"),
    ],
    ids=lambda value: repr(type(value))[:30],
)
def test_what_cannot_be_kept_is_refused_by_name(value: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        encode_row(Change("patch", None, {"ok": 1, "amount": value}))
    assert "amount" in str(caught.value) or value == "\ud800"
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", [5, None, ("a",), b"a", "\ud800"])
def test_names_that_are_no_text_are_refused(name: Any) -> None:
    with pytest.raises(InvalidInput):
        encode_row(Change("patch", None, {name: 1}))


@pytest.mark.parametrize("image", ["", "PATCH", None, 0, [], "full "])
def test_other_images_are_refused(image: Any) -> None:
    with pytest.raises(InvalidInput, match="image is"):
        encode_row(Change(image, None, {}))


def test_nesting() -> None:
    deep: Any = 1
    for _ in range(64):
        deep = [deep]
    change = Change("patch", None, {"deep": deep})
    assert same(decode_row(encode_row(change)), change)
    with pytest.raises(LimitExceeded, match="deeper than 64"):
        encode_row(Change("patch", None, {"deep": [deep]}))
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(LimitExceeded, match="deeper than 64"):
        encode_row(Change("patch", None, {"deep": endless}))
    wide: Any = "x"
    for _ in range(40):
        wide = [wide, wide]
    with pytest.raises(LimitExceeded, match="more than"):
        encode_row(Change("patch", None, {"wide": wide}))


def test_size() -> None:
    room = MAX_ROW_BYTES - len(encode_row(Change("patch", None, {"a": b"x" * 60_000}))) + 60_000
    change = Change("patch", None, {"a": b"x" * room})
    assert len(encode_row(change)) == MAX_ROW_BYTES
    assert decode_row(encode_row(change)) == change
    with pytest.raises(LimitExceeded):
        encode_row(Change("patch", None, {"a": b"x" * (room + 1)}))
    with pytest.raises(LimitExceeded):
        decode_row(bytes(MAX_ROW_BYTES + 1))


FIELD_A = b"\x02a\x04\x02"  # name "a", long 1


def test_blocks_as_other_writers_make_them_are_read() -> None:
    # Two blocks, the second with its size: Avro 1.11, "Arrays".
    block = b"\x02b\x04\x04"
    data = b"\x00\x00\x02" + b"\x02" + FIELD_A + b"\x01" + encode_long(len(block)) + block + b"\x00"
    assert decode_row(data) == Change("patch", None, {"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "does not begin with an image"),
        (b"\x04\x00\x00", "does not begin with an image"),
        (b"\x01\x00\x00", "does not begin with an image"),
        (b"\x00", "cut off"),
        (b"\x00\x00", "cut off"),
        (b"\x00\x04\x00", "no such branch"),
        (b"\x00\x00\x00\x00", "1 bytes after its end"),
        (b"\x00\x00\x02\x04" + FIELD_A + FIELD_A + b"\x00", "'a' is there twice"),
        (b"\x00\x00\x02\x02" + FIELD_A + b"\x02" + FIELD_A + b"\x00", "'a' is there twice"),
        (b"\x00\x00\x02" + encode_long(10**8) + FIELD_A, "do not fit into the bytes"),
        (b"\x00\x00\x02" + encode_long(-(10**8)) + b"\x00" + FIELD_A, "do not fit into"),
        (b"\x00\x00\x02" + encode_long(-(2**63)) + b"\x00" + FIELD_A, "do not fit into"),
        (b"\x00\x00\x02\x02" + FIELD_A, "end inside a number"),
        (b"\x00\x00\x02\x02\x03a\x04\x02\x00", "negative size"),
        (b"\x00\x00\x02\x02\x82\x00a\x04\x02\x00", "shortest form"),
        (b"\x00\x00\x02\x02\x02\xff\x04\x02\x00", "not UTF-8"),
        (b"\x00\x00\x02\x02\x02a\x08\x02\xff\x00", "not UTF-8"),
        (b"\x00\x00\x02\x02\x02a\x14\x00\x00", "no such type of value"),
        (b"\x00\x00\x02\x02\x02a\x01\x00\x00", "no such type of value"),
        (b"\x00\x00\x02\x02\x02a\x02\x02\x00", "neither 0 nor 1"),
        (b"\x00\x00\x02\x02\x02a\x06\x00\x00", "end inside"),
        (b"\x00\x00\x02\x02\x02a\x0c\x00\x00\x00", "decimal of 0 bytes"),
        (b"\x00\x00\x02\x02\x02a\x0c\x02\x01" + encode_long(10**6) + b"\x00", "scale"),
        (b"\x00\x00\x02\x02\x02a\x0e" + encode_long(10**9) + b"\x00", "outside the years"),
        (b"\x00\x00\x02\x02\x02a\x10" + encode_long(2**62) + b"\x00", "outside the years"),
        (b"\x00\x00\x02\x02\x02a\x12\x025\x00", "a list or an object"),
        (b"\x00\x00\x02\x02\x02a\x12\x02{\x00", "not JSON"),
        (b"\x00\x00\x02\x02\x02a\x12\x0a[NaN]\x00", "not JSON"),
        (b"\x00\x00\x02\x02\x02a\x12\x1a" + b'{"a":1,"a":2}' + b"\x00", "there twice"),
        (b"\x00\x00\x01", "no such branch"),
        (b"\x00\x00\x02\x01\x04" + FIELD_A + b"\x00", "not as long as it claims|reaches past"),
        (b"\x00\x00\x02\x01\x14" + FIELD_A + b"\x00", "not as long as it claims|reaches past"),
    ],
)
def test_hostile_bytes(data: bytes, said: str) -> None:
    with pytest.raises((FormatError, LimitExceeded), match=said):
        decode_row(data)


def test_every_cut_is_refused() -> None:
    fields = {str(at): value for at, value in enumerate(AWKWARD_VALUES)}
    data = encode_row(Change("full", {"a": 1}, fields))
    for size in range(len(data)):
        with pytest.raises(FormatError):
            decode_row(data[:size])


def test_nested_json_that_is_deep_is_refused() -> None:
    text = b"[" * 20_000 + b"]" * 20_000
    data = b"\x00\x00\x02\x02\x02a\x12" + encode_long(len(text)) + text + b"\x00"
    with pytest.raises((FormatError, LimitExceeded)):
        decode_row(data)


def test_dst_fold_instants_differ() -> None:
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("Europe/Berlin")
    first = datetime(2025, 10, 26, 2, 30, tzinfo=zone)
    second = first.replace(fold=1)
    back = decode_row(encode_row(Change("patch", None, {"a": first, "b": second}))).after
    assert back is not None
    assert back["a"] == datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    assert back["b"] == datetime(2025, 10, 26, 1, 30, tzinfo=UTC)

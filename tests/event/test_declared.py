"""Rows with a declared schema: fastavro's bytes, exact values, and refusal of what does not fit."""

import io
import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import fastavro
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import AuditError, FormatError, InvalidInput, LimitExceeded
from audit.event.declared import declare
from audit.event.row import Change
from audit.event.schema import SchemaBook
from audit.event.wire import encode_long
from tests.event.exact import same

ALL: dict[str, Any] = {
    "type": "record",
    "name": "loan",
    "namespace": "bank.loans",
    "fields": [
        {"name": "flag", "type": "boolean"},
        {"name": "small", "type": "int"},
        {"name": "big", "type": "long"},
        {"name": "single", "type": "float"},
        {"name": "double", "type": "double"},
        {"name": "text", "type": "string"},
        {"name": "raw", "type": "bytes"},
        {"name": "maybe", "type": ["null", "long"]},
        {"name": "maybe_last", "type": ["string", "null"]},
        {
            "name": "amount",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2},
        },
        {
            "name": "rate",
            "type": {
                "type": "fixed", "name": "Rate", "size": 5,
                "logicalType": "decimal", "precision": 9, "scale": 4,
            },
        },
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "at_ms", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "uid", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["OPEN", "CLOSED"]}},
        {"name": "sum", "type": {"type": "fixed", "name": "Sum", "size": 4}},
        {
            "name": "owner",
            "type": {
                "type": "record", "name": "Owner",
                "fields": [{"name": "id", "type": "string"}, {"name": "age", "type": "int"}],
            },
        },
        {"name": "owners", "type": {"type": "array", "items": "Owner"}},
        {"name": "tags", "type": {"type": "map", "values": ["null", "string"]}},
        {"name": "again", "type": ["null", "State"]},
    ],
}  # fmt: skip
LOAN = declare(ALL)
SCHEMA = fastavro.parse_schema(json.loads(LOAN.change_canonical))
BOOK = SchemaBook()
KNOWN = BOOK.get(BOOK.add(LOAN.change_canonical))
assert KNOWN is not None

int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
text = st.text(max_size=20)
owner = st.fixed_dictionaries({"id": text, "age": int32})
state = st.sampled_from(["OPEN", "CLOSED"])
when = st.datetimes(timezones=st.just(UTC))


def scaled(digits: int, scale: int) -> st.SearchStrategy[Decimal]:
    limit = 10**digits - 1
    return st.integers(-limit, limit).map(lambda n: Decimal(f"{n}E-{scale}"))


rows = st.fixed_dictionaries(
    {
        "flag": st.booleans(),
        "small": int32,
        "big": int64,
        "single": st.floats(width=32),
        "double": st.floats(),
        "text": text,
        "raw": st.binary(max_size=20),
        "maybe": st.none() | int64,
        "maybe_last": st.none() | text,
        "amount": scaled(12, 2),
        "rate": scaled(9, 4),
        "day": st.dates(),
        "at": when,
        "at_ms": when.map(lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000)),
        "uid": st.uuids().map(str),
        "state": state,
        "sum": st.binary(min_size=4, max_size=4),
        "owner": owner,
        "owners": st.lists(owner, max_size=3),
        "tags": st.dictionaries(text, st.none() | text, max_size=3),
        "again": st.none() | state,
    }
)
changes = st.builds(Change, st.just("full"), st.none() | rows, st.none() | rows)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def for_fastavro(row: dict[str, Any] | None) -> dict[str, Any] | None:
    """Instants as numbers and decimals as bytes: fastavro rounds the first and pads the others."""
    if row is None:
        return None
    out = dict(row)
    out["at"] = (row["at"] - EPOCH) // timedelta(microseconds=1)
    out["at_ms"] = (row["at_ms"] - EPOCH) // timedelta(milliseconds=1)
    unscaled = int(row["amount"].scaleb(2))
    out["amount"] = unscaled.to_bytes(
        (~unscaled if unscaled < 0 else unscaled).bit_length() // 8 + 1, "big", signed=True
    )
    out["rate"] = int(row["rate"].scaleb(4)).to_bytes(5, "big", signed=True)
    return out


@given(changes)
def test_bytes_are_fastavros_and_read_back(change: Change) -> None:
    data = LOAN.encode_change(change)
    out = io.BytesIO()
    record = {"image": change.image, "before": for_fastavro(change.before)}
    fastavro.schemaless_writer(out, SCHEMA, {**record, "after": for_fastavro(change.after)})
    assert data == out.getvalue()
    assert KNOWN is not None
    assert same(KNOWN.decode(data), change)


EXAMPLE: dict[str, Any] = {
    "flag": True,
    "small": -5,
    "big": 2**53 + 1,
    "single": 0.5,
    "double": 0.1,
    "text": "a\0\u2028",
    "raw": b"\0\xff",
    "maybe": None,
    "maybe_last": None,
    "amount": Decimal("1.50"),
    "rate": Decimal("-0.0001"),
    "day": date(1, 1, 1),
    "at": datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
    "at_ms": datetime(1, 1, 1, tzinfo=UTC),
    "uid": "018f3c2a-7b1e-7d4a-9c55-0a1b2c3d4e5f",
    "state": "OPEN",
    "sum": b"abcd",
    "owner": {"id": "x", "age": 3},
    "owners": [{"id": "y", "age": 4}],
    "tags": {"": None, "$a": "b"},
    "again": "CLOSED",
}


def change_of(**values: Any) -> Change:
    return Change("full", None, {**EXAMPLE, **values})


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("flag", 1, "int 1 is not a boolean"),
        ("flag", None, "null is not a boolean"),
        ("small", 2**31, "32 bits"),
        ("small", -(2**31) - 1, "32 bits"),
        ("small", 1.0, "float 1.0 is not an integer"),
        ("small", True, "bool True is not an integer"),
        ("small", "1", "is not an integer"),
        ("big", 2**63, "64 bits"),
        ("big", 1 << 20_000, "64 bits"),
        ("single", 0.1, "32 bits exactly"),
        ("single", 1e300, "does not fit a float"),
        ("single", 5e-324, "32 bits exactly"),
        ("single", 1, "is not a float"),
        ("double", 5, "is not a double: write 5.0"),
        ("double", Decimal("0.5"), "is not a double"),
        ("text", 5, "is not a string"),
        ("text", b"x", "is not a string"),
        ("text", "\ud800", "surrogate"),
        ("raw", "x", "is not bytes"),
        ("maybe", "x", "is not an integer"),
        ("maybe_last", 5, "is not a string"),
        ("amount", Decimal("1.5"), "scale 1, declared is 2"),
        ("amount", Decimal("1.500"), "scale 3, declared is 2"),
        ("amount", Decimal("12345678901.00"), "more than the declared 12 digits"),
        ("amount", Decimal("NaN"), "is not a number"),
        ("amount", Decimal("-0.00"), "negative zero"),
        ("amount", 1.5, "is not a decimal"),
        ("amount", 1, "is not a decimal"),
        ("rate", Decimal("100000.0000"), "more than the declared 9 digits"),
        ("day", datetime(2020, 1, 1, tzinfo=UTC), "is not a date"),
        ("day", "2020-01-01", "is not a date"),
        ("at", datetime(2020, 1, 1), "naive datetime"),
        ("at", date(2020, 1, 1), "is not a timestamp"),
        ("at_ms", datetime(2020, 1, 1, microsecond=1, tzinfo=UTC), "finer than the declared"),
        ("uid", "018f3c2a", "is not a UUID"),
        ("uid", EXAMPLE["uid"] + "\n", "is not a UUID"),
        ("state", "open", "none of the declared symbols"),
        ("state", 0, "is not a symbol"),
        ("sum", b"abc", "3 bytes where 4 are declared"),
        ("owner", {"id": "x"}, "'age' is missing"),
        ("owner", {"id": "x", "age": 1, "sex": "f"}, "'sex' is not declared"),
        ("owner", {"id": "x", "age": "1"}, "field 'age'"),
        ("owner", None, "null is not an object"),
        ("owners", {"id": "x", "age": 1}, "is not a list"),
        ("owners", [None], "null is not an object"),
        ("tags", {"a": 1}, "field 'a'"),
        ("tags", {1: "a"}, "name is a string"),
        ("again", "", "none of the declared symbols"),
        ("text", object(), "cannot be kept exactly"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:20],
)
def test_what_does_not_fit_is_refused_by_name(field: str, value: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        LOAN.encode_change(change_of(**{field: value}))
    assert f"after does not fit bank.loans.loan: field '{field}'" in str(caught.value)
    with pytest.raises(InvalidInput, match=said):
        LOAN.check_patch({field: value})


def test_the_example_fits() -> None:
    assert KNOWN is not None
    change = change_of()
    assert same(KNOWN.decode(LOAN.encode_change(change)), change)
    LOAN.check_patch({"small": 1, "tags": {}})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 0.5, 2.0**-149])
def test_floats_of_32_bits(value: float) -> None:
    assert KNOWN is not None
    back = KNOWN.decode(LOAN.encode_change(change_of(single=value)))
    assert isinstance(back, Change)
    assert back.after is not None
    assert same(back.after["single"], value)


def test_absent_is_not_null() -> None:
    row = {name: value for name, value in EXAMPLE.items() if name != "maybe"}
    with pytest.raises(InvalidInput, match=r"'maybe' is missing \(absent is not null\)"):
        LOAN.encode_change(Change("full", None, row))
    with pytest.raises(InvalidInput, match="'more' is not declared"):
        LOAN.encode_change(Change("full", None, {**EXAMPLE, "more": 1}))
    with pytest.raises(InvalidInput, match="'more' is not declared"):
        LOAN.check_patch({"more": 1})


def test_numpy_and_pandas_values_fit() -> None:
    assert KNOWN is not None
    change = change_of(
        flag=np.bool_(True),
        small=np.int8(-5),
        big=np.int64(2**53 + 1),
        single=np.float32(0.5),
        double=np.float64(0.1),
        maybe=pd.NA,
        maybe_last=None,
        at=pd.Timestamp("2020-01-01", tz="UTC"),
        owners=({"id": np.str_("y"), "age": np.int32(4)},),
    )
    back = KNOWN.decode(LOAN.encode_change(change))
    expected = change_of(at=datetime(2020, 1, 1, tzinfo=UTC))
    assert same(back, expected)


def test_size_is_limited() -> None:
    with pytest.raises(LimitExceeded):
        LOAN.encode_change(change_of(text="x" * 64_001))


DATA = LOAN.encode_change(change_of())


def test_every_cut_is_refused() -> None:
    assert KNOWN is not None
    for size in range(len(DATA)):
        with pytest.raises(FormatError):
            KNOWN.decode(DATA[:size])
    with pytest.raises(FormatError, match="after the end"):
        KNOWN.decode(DATA + b"\0")


def one(kind: Any) -> Any:
    """Decoder of a record with one field of this type."""
    declared = declare({"type": "record", "name": "r", "fields": [{"name": "a", "type": kind}]})
    book = SchemaBook()
    known = book.get(book.add(declared.change_canonical))
    assert known is not None
    return lambda data: known.decode(b"\x02\x00\x02" + data)


LONGS = {"type": "array", "items": "long"}


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        ("boolean", b"\x02", "neither 0 nor 1"),
        ("int", encode_long(2**31), "32 bits"),
        ("long", b"\xff" * 9 + b"\x02", "longer than 64 bits"),
        ("long", b"\x80" * 12, "longer than 64 bits"),
        ("long", b"\x80\x00", "shortest form"),
        ("float", b"\0\0\0", "end inside a float"),
        ("double", b"\0" * 7, "end inside a double"),
        ("string", b"\x02\xff", "not UTF-8"),
        ("string", b"\x01", "negative size"),
        ("bytes", encode_long(2**62), "reaches past the end"),
        (["null", "long"], b"\x04\x00", "no such union branch"),
        (["null", "long"], b"\x01\x00", "no such union branch"),
        (["long", "null"], b"\x03", "no such union branch"),
        ({"type": "enum", "name": "e", "symbols": ["a"]}, b"\x02", "no symbol number 1"),
        ({"type": "enum", "name": "e", "symbols": ["a"]}, b"\x01", "no symbol number -1"),
        ({"type": "fixed", "name": "f", "size": 4}, b"abc", "end inside"),
        ({"type": "int", "logicalType": "date"}, encode_long(10**9), "outside the years"),
        ({"type": "long", "logicalType": "timestamp-micros"}, encode_long(2**62), "outside"),
        ({"type": "long", "logicalType": "timestamp-millis"}, encode_long(2**62), "outside"),
        ({"type": "string", "logicalType": "uuid"}, b"\x02a", "not a UUID"),
        (ALL["fields"][9]["type"], b"\x00", "decimal of 0 bytes"),
        (ALL["fields"][9]["type"], b"\x0c\x7f" + b"\xff" * 5, "more than the declared"),
        (ALL["fields"][9]["type"], encode_long(500) + b"\x7f" + bytes(499), "decimal of 500"),
        (ALL["fields"][10]["type"], b"\x7f" + b"\xff" * 4, "more than the declared"),
        (LONGS, encode_long(10**8), "do not fit into the bytes"),
        (LONGS, encode_long(-(10**8)) + b"\x00", "do not fit into the bytes"),
        (LONGS, encode_long(-(2**63)) + b"\x00", "do not fit into the bytes"),
        (LONGS, b"\x02\x00", "end inside a number"),
        (LONGS, b"\x01\x04\x00\x00", "not as long|reaches past"),
        ({"type": "map", "values": "long"}, encode_long(10**8), "do not fit into the bytes"),
        ({"type": "map", "values": "long"}, b"\x04\x02a\x00\x02a\x00\x00", "there twice"),
        ({"type": "map", "values": "long"}, b"\x02\x02\xff\x00\x00", "not UTF-8"),
    ],
)
def test_hostile_bytes(kind: Any, data: bytes, said: str) -> None:
    with pytest.raises((FormatError, LimitExceeded), match=said):
        one(kind)(data)


@pytest.mark.parametrize("data", [b"", b"\x04\x00\x00", b"\x02\x04", b"\x02\x00", b"\x02\x00\x01"])
def test_hostile_heads(data: bytes) -> None:
    assert KNOWN is not None
    with pytest.raises(FormatError):
        KNOWN.decode(data)


def test_a_wide_fixed_decimal_is_mostly_sign() -> None:
    kind = {
        "type": "fixed", "name": "f", "size": 1_000,
        "logicalType": "decimal", "precision": 5, "scale": 2,
    }  # fmt: skip
    for unscaled in (-99999, -1, 0, 1, 99999):
        back = one(kind)(unscaled.to_bytes(1_000, "big", signed=True))
        assert back.after == {"a": Decimal(f"{unscaled}E-2")}
    with pytest.raises(FormatError):
        one(kind)(b"\x01" + bytes(999))


def test_blocks_as_other_writers_make_them_are_read() -> None:
    data = b"\x02\x02" + b"\x01\x02\x04" + b"\x00"
    assert one(LONGS)(data).after == {"a": [1, 2]}
    two = b"\x02\x02a\x02" + b"\x01\x06\x02b\x04" + b"\x00"
    assert one({"type": "map", "values": "long"})(two).after == {"a": {"a": 1, "b": 2}}


@given(st.data())
def test_mutated_bytes_are_read_or_refused(data: st.DataObject) -> None:
    broken = bytearray(DATA)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(broken) - 1))
        broken[at] = data.draw(st.integers(0, 255))
    assert KNOWN is not None
    try:
        change = KNOWN.decode(bytes(broken))
    except AuditError:
        return
    assert isinstance(change, Change)

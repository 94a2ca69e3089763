"""Values: their JSON both ways, what is refused on reading it, numpy's and pandas', and keys."""

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import AuditError, FormatError, InvalidInput, LimitExceeded
from audit.event.values import (
    MAX_NODES,
    dumps,
    fields_from_json,
    fields_to_json,
    from_json,
    key_text,
    loads,
    normalize,
    normalize_fields,
    to_json,
)
from tests.event.exact import same
from tests.event.strategies import AWKWARD_VALUES, fields, values, zones


@given(values)
def test_json_round_trip(value: Any) -> None:
    assert same(from_json(to_json(value)), value)
    assert same(loads(dumps(value)), value)
    assert same(loads(dumps(value).encode()), value)
    assert dumps(loads(dumps(value))) == dumps(value)


@given(fields)
def test_fields_round_trip(value: dict[str, Any]) -> None:
    assert same(fields_from_json(json.loads(json.dumps(fields_to_json(value)))), value)


@given(values)
def test_normalized_values_stay(value: Any) -> None:
    assert same(normalize(value), value)


@pytest.mark.parametrize(
    "value", AWKWARD_VALUES, ids=lambda value: repr(value).partition(" at 0x")[0][:30]
)
def test_awkward_values_survive_json(value: Any) -> None:
    assert same(loads(dumps(value)), value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (5e-324, "5e-324"),
        (1e16, "1e+16"),
        (math.nan, '{"$double":"NaN"}'),
        (math.inf, '{"$double":"Infinity"}'),
        (-math.inf, '{"$double":"-Infinity"}'),
        (Decimal("1.50"), '{"$decimal":"1.50"}'),
        (Decimal("1E+5"), '{"$decimal":"1E+5"}'),
        (b"ab", '{"$bytes":"YWI="}'),
        (date(1, 1, 1), '{"$date":"0001-01-01"}'),
        (datetime(2026, 1, 2, 3, 4, 5, 6, UTC), '{"$timestamp":"2026-01-02T03:04:05.000006Z"}'),
        ({"b": 1, "a": 2}, '{"a":2,"b":1}'),
        ({"$x": 1}, '{"$$x":1}'),
        ({"$$x": 1}, '{"$$$x":1}'),
        ({"$decimal": "1"}, '{"$$decimal":"1"}'),
        ("\u00e9\u2028\0", '"\u00e9\u2028\\u0000"'),
        ([None, True, False], "[null,true,false]"),
    ],
)
def test_spellings(value: Any, text: str) -> None:
    assert dumps(value) == text
    assert same(loads(text), value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("1 2", "not JSON"),
        ("\ufeff1", "not JSON"),
        ("'a'", "not JSON"),
        ("[1,]", "not JSON"),
        ("01", "not JSON"),
        ("NaN", "not JSON"),
        ("Infinity", "not JSON"),
        ("-Infinity", "not JSON"),
        ("1e999", "beyond the range"),
        ("9223372036854775808", "does not fit 64 bits"),
        ("-9223372036854775809", "does not fit 64 bits"),
        ("1" * 5000, "does not fit 64 bits"),
        ("1." + "1" * 2000, "at most"),
        ('{"a":1,"a":1}', "there twice"),
        ('{"$$a":1,"$$a":1}', "there twice"),
        ('"\\ud800"', "surrogate"),
        ('{"\\ud800":1}', "surrogate"),
        ("[" * 65 + "]" * 65, "deeper than 64"),
        ("[" * 100_000, "too deep|not JSON"),
        ('{"$decimal":"1,5"}', "not a decimal"),
        ('{"$decimal":"NaN"}', "not a decimal"),
        ('{"$decimal":" 1"}', "not a decimal"),
        ('{"$decimal":"1_0"}', "not a decimal"),
        ('{"$decimal":"\u0661"}', "not a decimal"),
        ('{"$decimal":"01"}', "not a decimal"),
        ('{"$decimal":"1."}', "not a decimal"),
        ('{"$decimal":"1\\n"}', "not a decimal"),
        ('{"$decimal":1.5}', "holds a string"),
        ('{"$decimal":"1e9999"}', "exponent"),
        ('{"$decimal":"-0"}', "negative zero"),
        ('{"$bytes":"YWI"}', "base64"),
        ('{"$bytes":"YW I="}', "base64"),
        ('{"$bytes":"YWI=\\n"}', "base64"),
        ('{"$bytes":"QR=="}', "canonical"),
        ('{"$bytes":"-_-_"}', "base64"),
        ('{"$date":"2020-1-1"}', "YYYY-MM-DD"),
        ('{"$date":"2021-02-29"}', "does not exist"),
        ('{"$date":"0000-01-01"}', "does not exist"),
        ('{"$timestamp":"2020-01-01T00:00:00"}', "not RFC 3339"),
        ('{"$timestamp":"2020-01-01T00:00:00.1234567Z"}', "finer than a microsecond"),
        ('{"$double":"nan"}', "is one of"),
        ('{"$double":1}', "holds a string"),
        ('{"$int":"1"}', "begins with"),
        ('{"$decimal":"1","$bytes":""}', "begins with"),
        ('{"$decimal":"1","x":1}', "begins with"),
        ('{"$":1}', "begins with"),
    ],
)
def test_what_is_refused_in_json(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        loads(text)


@pytest.mark.parametrize(
    "data", [b"\xff", b'"\xed\xa0\x80"', b'"\xc0\x80"', b"\xef\xbb\xbf1", b"\0"]
)
def test_json_bytes_that_are_no_text(data: bytes) -> None:
    with pytest.raises(FormatError):
        loads(data)


@pytest.mark.parametrize(
    "obj", [math.nan, math.inf, b"x", {1: 2}, (1,), 2**64, object(), Decimal(1)]
)
def test_from_json_takes_json_only(obj: Any) -> None:
    with pytest.raises(InvalidInput):
        from_json(obj)


def test_long_json_is_refused_unread() -> None:
    with pytest.raises(LimitExceeded):
        loads("[" + "1," * 10_000_000 + "1]")
    with pytest.raises(LimitExceeded, match="more than"):
        loads("[" + "1," * MAX_NODES + "1]")


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    try:
        value = loads(text)
    except AuditError:
        return
    assert same(loads(dumps(value)), value)


NUMPY = [
    (np.int64(5), 5),
    (np.uint8(255), 255),
    (np.int64(-(2**63)), -(2**63)),
    (np.float64(-0.0), -0.0),
    (np.float32(0.5), 0.5),
    (np.float16(0.1), 0.0999755859375),
    (np.bool_(True), True),
    (np.str_("a\0"), "a\0"),
    (np.bytes_(b"a\0"), b"a\0"),
    (np.datetime64("2020-01-01"), date(2020, 1, 1)),
    (np.datetime64("NaT"), None),
    (np.timedelta64("NaT"), None),
    (np.array([1, 2]), [1, 2]),
    (np.array([[0.5], [1.5]]), [[0.5], [1.5]]),
    (np.array(7), 7),
    (np.array([None, "x", pd.NA], dtype=object), [None, "x", None]),
    (pd.NA, None),
    (pd.NaT, None),
    (pd.Timestamp("2020-01-01T02:00:00.000001+02:00"), datetime(2020, 1, 1, 0, 0, 0, 1, UTC)),
]


@pytest.mark.parametrize(
    ("value", "plain"), NUMPY, ids=lambda value: repr(value).partition(" at 0x")[0][:30]
)
def test_numpy_and_pandas_are_unwrapped(value: Any, plain: Any) -> None:
    assert same(normalize(value), plain)
    assert same(normalize({"a": [value]}), {"a": [plain]})


class BadZone(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta | None:
        raise ValueError("no offset")


REFUSED = [
    np.uint64(2**63),
    np.longdouble(1),
    np.complex64(1),
    np.timedelta64(1, "s"),
    np.datetime64("2020-01-01T00:00:00"),
    np.datetime64(1, "ns"),
    np.array(["2020"], dtype="M8[ns]"),
    np.zeros(2, dtype=[("a", "i4")]),
    np.zeros(MAX_NODES + 1),
    pd.Timestamp("2020-01-01"),
    pd.Timestamp(1, tz="UTC"),
    pd.Timedelta(1),
    pd.Series([1]),
    pd.Period("2020"),
    datetime(2020, 1, 1),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    datetime(9999, 12, 31, 23, 30, tzinfo=timezone(timedelta(hours=-1))),
    datetime(2020, 1, 1, tzinfo=BadZone()),
    timedelta(1),
    range(3),
    {1: 2},
    {None: 2},
    object,
    lambda: 1,
]


@pytest.mark.parametrize(
    "value", REFUSED, ids=lambda value: repr(value).partition(" at 0x")[0][:30]
)
def test_what_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput):
        normalize(value)


def test_a_message_names_the_field() -> None:
    with pytest.raises(InvalidInput, match="field 'at'"):
        normalize_fields({"ok": 1, "at": datetime(2020, 1, 1)})
    with pytest.raises(InvalidInput, match="field 'at'"):
        fields_from_json({"ok": 1, "at": {"$timestamp": "x"}})
    with pytest.raises(InvalidInput, match="JSON object, not a list"):
        fields_from_json([1])
    with pytest.raises(InvalidInput, match="not list"):
        normalize_fields([1])


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)), zones)
def test_any_zone_is_its_instant(naive: datetime, zone: timezone) -> None:
    aware = naive.replace(tzinfo=zone)
    plain = normalize(aware)
    assert isinstance(plain, datetime)
    assert plain == aware
    assert plain.tzinfo is UTC


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (5, "5"),
        (-7, "-7"),
        (2**63 - 1, "9223372036854775807"),
        ("5", "5"),
        ("005", "005"),
        ("", ""),
        ("a\0b", "a\0b"),
        ("e\u0301", "e\u0301"),
        ("\u00e9", "\u00e9"),
        (["a", 5], '["a",5]'),
        (("a", 5), '["a",5]'),
        (['a\u2028\u00e9\n"', "\0"], '["a\u2028\u00e9\\n\\"","\\u0000"]'),
        ([""], '[""]'),
        (np.int64(5), "5"),
        (np.str_("x"), "x"),
        ([np.int32(1), "b"], '[1,"b"]'),
    ],
)
def test_key_text(key: Any, text: str) -> None:
    assert key_text(key) == text


@given(st.lists(st.text() | st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_composite_keys_read_back(parts: list[Any]) -> None:
    assert json.loads(key_text(parts)) == parts


@pytest.mark.parametrize(
    "key",
    [
        *(None, True, False, 1.0, math.nan, Decimal(1), b"x", [], [None], [1.5], [True], [["a"]]),
        *({}, 2**63, [2**63], "\ud800", ["\ud800"], np.float64(1), np.bool_(True), date.min),
        *(pd.NA, pd.NaT, object(), [b"x"], np.array([1.5])),
    ],
    ids=lambda key: repr(key).partition(" at 0x")[0][:30],
)
def test_other_keys_are_refused(key: Any) -> None:
    with pytest.raises(InvalidInput):
        key_text(key)

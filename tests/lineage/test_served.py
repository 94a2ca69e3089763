"""Objects as served: value and form make the very same object again, after a trip through JSON."""

import datetime as dt
import json
import struct
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.values import dumps, loads
from audit.lineage.content.forms import Form
from audit.lineage.content.served import describe, describe_fields, rebuild


def through_json(value: Any, form: Form) -> tuple[Any, Form]:
    return loads(dumps(value)), json.loads(json.dumps(form, allow_nan=False))


def again(thing: object) -> Any:
    return rebuild(*through_json(*describe(thing)))


def same_bits(left: Any, right: Any) -> bool:
    """Equal type and value, floats by their 64 bits, dictionaries with the order of their keys."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return struct.pack("<d", left) == struct.pack("<d", right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same_bits(left[k], right[k]) for k in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same_bits, left, right))
    return bool(left == right)


PLAIN = [
    None,
    True,
    False,
    0,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    0.1 + 0.2,
    -0.0,
    5e-324,
    1.7976931348623157e308,
    float("inf"),
    float("-inf"),
    "",
    "Ελένη \U0001f600 \u2028 \x00",
    b"\x00\xff",
    Decimal("1.50"),
    dt.date(1, 1, 1),
    dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC),
    [1, 1.0, True, "1", None],
    {"a": {"b": [1, {"c": -0.0}]}},
]


@pytest.mark.parametrize("thing", PLAIN, ids=lambda value: repr(value).partition(" at 0x")[0])
def test_plain_values_need_no_form(thing: object) -> None:
    assert describe(thing).form is None
    assert same_bits(again(thing), thing)


@pytest.mark.parametrize(
    "thing",
    [
        {"z": 1, "a": 2},
        {"z": (1, 2), "a": {"y": 1, "b": 2}},
        (1, (2.5, [3, (4,)])),
        [(), {}, []],
        dt.datetime(2026, 1, 2, 3, 4, 5),
        dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
        {"$double": "NaN", "$$": 1},
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_order_tuples_and_zones(thing: object) -> None:
    made = again(thing)
    assert same_bits(made, thing)
    if isinstance(thing, dt.datetime):
        assert (made.tzinfo, made.fold) == (thing.tzinfo, thing.fold)


def test_nan_stays_nan() -> None:
    assert np.isnan(again(float("nan")))
    assert np.isnan(again({"b": float("nan"), "a": 1})["b"])


@pytest.mark.parametrize(
    "scalar",
    [
        np.float64(0.1),
        np.float32(0.1),
        np.float16(0.1),
        np.float64(-0.0),
        np.int8(-5),
        np.uint64(2**63 - 1),
        np.bool_(True),
        np.str_("x"),
        np.datetime64("2026-01-02T03:04:05.123456789"),
        np.datetime64("NaT", "us"),
        np.timedelta64(5, "D"),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_numpy_scalars(scalar: np.generic) -> None:
    made = again(scalar)
    assert type(made) is type(scalar)
    assert made.dtype == scalar.dtype
    assert made.tobytes() == scalar.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        np.array([1.5, float("inf"), -0.0, 5e-324]),
        np.array([0.1, 0.2], dtype="f4"),
        np.array([1, 2, 3], dtype=">i2"),
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros((0, 3)),
        np.zeros((2, 0)),
        np.array(7.0),
        np.array(["a", "bcd"]),
        np.array([True, False]),
        np.array(["2026-01-01", "NaT"], dtype="M8[s]"),
        np.ones((2, 1, 2), dtype="u1"),
    ],
    ids=lambda a: f"{a.dtype.str}{a.shape}",
)
def test_numpy_arrays(array: Any) -> None:
    made = again(array)
    assert (made.dtype, made.shape) == (array.dtype, array.shape)
    assert made.tobytes() == array.tobytes()
    assert made.flags.c_contiguous == array.flags.c_contiguous


def test_object_arrays() -> None:
    array = np.array([[1, "a"], [None, np.float32(0.5)]], dtype=object)
    made = again(array)
    assert made.shape == (2, 2)
    assert same_bits(made.ravel().tolist(), array.ravel().tolist())


FRAMES = {
    "one row": pd.DataFrame({"z": [1.5], "a": ["x"], "n": [2**53 + 1]}),
    "types": pd.DataFrame(
        {
            "f4": np.array([0.1, np.nan], dtype="f4"),
            "i1": np.array([1, 2], dtype="i1"),
            "bool": [True, False],
            "text": ["a", None],
            "obj": pd.Series([Decimal("1.0"), (1, 2)], dtype=object),
            "Int": pd.array([2**62, None], dtype="Int64"),
            "Float": pd.array([0.1, None], dtype="Float64"),
            "flag": pd.array([True, None], dtype="boolean"),
            "cat": pd.Categorical(["b", "a"], categories=["b", "a", "c"], ordered=True),
            "str": pd.array(["x", None], dtype="string"),
            "time": pd.to_datetime(["2026-01-01", None]),
            "zoned": pd.to_datetime(["2026-01-01", None]).tz_localize("Europe/Berlin"),
        }
    ),
    "named index": pd.DataFrame({"a": [1]}, index=pd.Index(["key"], name="id")),
    "float index": pd.DataFrame({"a": [1, 2]}, index=[0.5, -0.0]),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="f8"), "b": pd.Series([], dtype=object)}),
    "object labels": pd.DataFrame([[1.0]], columns=pd.Index(["a"], dtype=object, name="feature")),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames(name: str) -> None:
    frame = FRAMES[name]
    made = again(frame)
    pd.testing.assert_frame_equal(made, frame, check_exact=True, check_freq=False)
    assert list(made.columns) == list(frame.columns)
    assert [str(t) for t in made.dtypes] == [str(t) for t in frame.dtypes]


def test_a_missing_cell_and_a_nan_are_two_things() -> None:
    array = pd.arrays.FloatingArray(np.array([np.nan, 0.0, 1.0]), np.array([False, True, False]))
    made = again(pd.DataFrame({"x": array}))["x"]
    assert made.isna().tolist() == pd.Series(array).isna().tolist()
    assert np.isnan(made.array._data[0])
    assert not made.array._mask[0]


@pytest.mark.parametrize(
    "series",
    [
        pd.Series({"age": 3.5, "income": 2.0}, name="003"),
        pd.Series([1, "a", None], index=["x", "y", "z"], dtype=object),
        pd.Series([1, 2]),
        pd.Series([1, 2], index=["same", "same"]),
    ],
    ids=["floats", "objects", "plain", "same labels"],
)
def test_series(series: Any) -> None:
    pd.testing.assert_series_equal(again(series), series, check_exact=True)


def test_pandas_scalars() -> None:
    assert again(pd.NA) is pd.NA
    assert again(pd.NaT) is pd.NaT
    stamp = pd.Timestamp("2026-01-02T03:04:05.123456789", tz="Europe/Berlin")
    assert again(stamp) == stamp
    assert again(stamp).tz is not None
    assert again(pd.Timestamp("2026-01-02")).unit == pd.Timestamp("2026-01-02").unit


@pytest.mark.parametrize(
    ("thing", "fields"),
    [
        ({"b": 1, "a": 2}, {"b": 1, "a": 2}),
        (np.array([1.0, 2.0]), {"x0": 1.0, "x1": 2.0}),
        (np.array([[1.0, 2.0]]), {"x0": 1.0, "x1": 2.0}),
        ([1, "a"], {"x0": 1, "x1": "a"}),
        (np.array([[1.0], [2.0]]), {"x0": [1.0], "x1": [2.0]}),
        (3.5, {"value": 3.5}),
        ("text", {"value": "text"}),
        (pd.DataFrame({"q": [1.0], "p": ["a"]}), {"q": 1.0, "p": "a"}),
    ],
    ids=str,
)
def test_features_have_names(thing: object, fields: dict[str, object]) -> None:
    value, form = describe_fields(thing)
    assert value == fields
    made = rebuild(*through_json(value, form))
    assert describe(made) == describe(thing)


@pytest.mark.parametrize(
    "thing",
    [
        object(),
        {1: 2},
        2**63,
        np.uint64(2**64 - 1),
        np.longdouble(1),
        np.complex128(1),
        np.zeros(2, dtype=[("a", "f8")]),
        {"a": {1, 2}},
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1]]),
        pd.DataFrame(index=range(3)),
        pd.DataFrame({"a": pd.period_range("2026", periods=1, freq="Y")}),
        "\ud800",
    ],
    ids=lambda t: repr(t).partition(" at 0x")[0][:30],
)
def test_what_cannot_be_kept_exactly_is_refused(thing: object) -> None:
    with pytest.raises(InvalidInput):
        describe(thing)


def test_depth_is_limited() -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    with pytest.raises(LimitExceeded):
        describe(deep)


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (1, {"is": "array", "dtype": "<f8", "shape": [10**12]}),
        ([1, 2], {"is": "array", "dtype": "<f8", "shape": [3]}),
        ([1], {"is": "array", "dtype": "|V1000000000", "shape": [1]}),
        (["x"], {"is": "array", "dtype": "<U1000000000", "shape": [1]}),
        ({"a": 1}, {"is": "dict", "keys": ["b"]}),
        ({"a": 1}, {"is": "dict"}),
        ({"a": 1}, {"is": "frame", "columns": [], "index": {"range": [0, 10**15, 1]}, "rows": 1}),
        ("x", {"is": "datetime", "zone": "../../etc/passwd", "fold": 0}),
        (1, {"is": "no such kind"}),
        (1, {}),
        ({"x0": 1}, {"is": "fields", "kept": "row", "size": 9, "form": None}),
    ],
    ids=lambda x: str(x).partition(" at 0x")[0][:40],
)
def test_a_form_that_does_not_fit_is_one_error(value: Any, form: Form) -> None:
    with pytest.raises(FormatError):
        rebuild(value, form)

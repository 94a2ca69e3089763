"""Profiles: exact counts, a sample by position, and bytes from outside that are refused."""

import contextlib
import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.lineage.content import profile as module
from audit.lineage.content.profile import Profile, profile_bytes, profile_of, read_profile


def profiled(data: Any) -> Profile:
    return read_profile(profile_bytes(profile_of(data)))


def column(data: Any, name: str = "x") -> Any:
    found = profiled(data).column(name)
    assert found is not None
    return found


def test_numbers() -> None:
    values = [0.0, -0.0, 1.5, math.nan, math.inf, -2.5]
    found = column(pd.DataFrame({"x": values}))
    assert (found.kind, found.type, found.dtype) == ("number", "double", "float64")
    assert (found.rows, found.missing, found.infinite, found.zeros) == (6, 1, 1, 2)
    assert (found.minimum, found.maximum, found.mean) == (-2.5, 1.5, -0.25)
    assert found.std == pytest.approx(np.std([0, 0, 1.5, -2.5]))
    assert found.sample == (0, 0, 1.5, -2.5)
    assert sum(found.categories.values()) == 4 and found.others == 0


@given(st.lists(st.floats(allow_nan=True, width=32), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_numbers_as_numpy_says(values: list[float]) -> None:
    found = column(np.array(values), "x0")
    finite = np.array([value for value in values if math.isfinite(value)])
    assert found.missing == sum(value != value for value in values)
    assert found.infinite == len(values) - found.missing - len(finite)
    if len(finite):
        assert found.mean == pytest.approx(finite.mean(), rel=1e-9, abs=1e-30)
        assert found.std == pytest.approx(finite.std(), rel=1e-6, abs=1e-6 * abs(finite).max())
        assert (found.minimum, found.maximum) == (finite.min(), finite.max())
        assert found.zeros == int((finite == 0).sum())


def test_many_blocks_and_exact_integers() -> None:
    values = np.arange(200_000, dtype="int64")
    values[-1] = 2**62 + 1
    found = column(pd.DataFrame({"x": values}))
    assert found.maximum == 2**62 + 1 and found.categories == {}
    assert len(found.sample) == module.MAX_SAMPLE and found.sample[-1] == 2**62 + 1
    assert found.mean == pytest.approx(values.astype("f8").mean())
    big = column(pd.DataFrame({"x": np.array([2**64 - 1, 0], dtype="uint64")}))
    assert big.maximum == float(2**64 - 1)
    huge = column(pd.DataFrame({"x": [1e308, 1e308]}))
    assert huge.mean is None and huge.maximum == 1e308


def test_every_kind_of_column() -> None:
    utc = dt.UTC
    frame = pd.DataFrame(
        {
            "text": ["a", "b", "a", None],
            "object": pd.Series(["a", 1, True, None], dtype=object),
            "flag": [True, False, True, True],
            "flags": pd.array([True, None, False, True], dtype="boolean"),
            "kind": pd.Categorical(["a", None, "b", "b"], categories=["a", "b", "never"]),
            "whole": pd.array([1, None, 0, 2], dtype="Int64"),
            "coded": pd.Categorical([1, 2, 2, None]),
            "money": pd.Series([Decimal("1.50"), None, Decimal("0"), 2], dtype=object),
            "big": pd.Series([2**70, 1, 2, 3], dtype=object),
            "when": pd.to_datetime(["2020-01-15", None, "2020-02-20", "2020-01-01"], utc=True),
            "naive": pd.Series([dt.datetime(2020, 1, d) for d in (1, 2, 3, 4)], dtype=object),
            "day": pd.Series([dt.date(2020, 1, 1), None, None, None], dtype=object),
            "both": pd.Series([dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=utc)] * 2,
                              dtype=object),
            "list": pd.Series([[1], {"a": 1}, None, b"x"], dtype=object),
            "none": pd.Series([None] * 4, dtype=object),
            "delta": pd.to_timedelta([1, 2, 3, 4], unit="s"),
            "period": pd.period_range("2020", periods=4, freq="D"),
            "numpy": pd.Series([np.float32(1), np.int8(2), 3, np.nan], dtype=object),
        }
    )  # fmt: skip
    found = {one.name: one for one in profiled(frame).columns}
    kinds = {name: (one.type, one.kind, one.missing) for name, one in found.items()}
    assert kinds == {
        "text": ("string", "category", 1), "object": ("string", "category", 1),
        "flag": ("boolean", "category", 0), "flags": ("boolean", "category", 1),
        "kind": ("string", "category", 1), "whole": ("integer", "number", 1),
        "coded": ("integer", "number", 1), "money": ("double", "number", 1),
        "big": ("integer", "number", 0), "when": ("timestamp", "time", 1),
        "naive": ("timestamp", "time", 0), "day": ("date", "time", 3),
        "both": ("timestamp", "time", 0), "list": ("other", "other", 1),
        "none": ("other", "other", 4), "delta": ("other", "other", 0),
        "period": ("other", "other", 0), "numpy": ("double", "number", 1),
    }  # fmt: skip
    assert found["text"].categories == {"a": 2, "b": 1}
    assert found["flag"].categories == {"true": 3, "false": 1}
    assert found["kind"].categories == {"b": 2, "a": 1}
    assert (found["whole"].zeros, found["whole"].mean, found["coded"].maximum) == (1, 1.0, 2)
    assert found["money"].minimum == 0 and found["big"].maximum == float(2**70)
    assert found["when"].minimum == "2020-01-01T00:00:00.000000Z"
    assert found["naive"].maximum == "2020-01-04T00:00:00.000000Z"
    assert found["day"].minimum == "2020-01-01" and found["both"].minimum is None


@pytest.mark.parametrize("type_", ["Int64", "Float64", "object", "int64[pyarrow]"])
@pytest.mark.parametrize("size", [0, 1, 100])
def test_numbers_that_numpy_does_not_hold(type_: str, size: int) -> None:
    frame = pd.DataFrame({"n": pd.Series(range(size), dtype=type_)})
    column = profile_of(frame)["columns"][0]
    assert column["rows"] == size and (column["categories"] == {}) == (size != 1)


def test_categories_are_exact_or_the_most_frequent() -> None:
    few = [f"c{i % 1_000}" for i in range(5_000)]
    assert len(column(pd.DataFrame({"x": few})).categories) == 1_000
    many = ["often"] * 6_000 + [f"c{i % 3_000}" for i in range(6_000)]
    found = column(pd.DataFrame({"x": many}))
    assert len(found.categories) == 1_000 and found.categories["often"] == 6_000
    assert found.others == 12_000 - sum(found.categories.values())


def test_names_of_rows_are_not_counted() -> None:
    frame = pd.DataFrame({"x": [f"customer {i}" for i in range(3_000)]})
    found = column(frame)
    assert (dict(found.categories), found.others) == ({}, 3_000)
    assert b"customer" not in profile_bytes(profile_of(frame))


def test_lists_of_dicts_arrays_and_series() -> None:
    rows = [{"late": 1, "type": "Mortgage"}, {"late": None}, {}, {"late": 3, "other": 1.5}]
    found = profiled(rows)
    assert found.rows == 4 and [one.name for one in found.columns] == ["late", "type", "other"]
    late = found.column("late")
    assert late is not None and (late.type, late.missing, late.maximum) == ("integer", 2, 3)
    matrix = profiled(np.arange(6).reshape(3, 2))
    assert [one.name for one in matrix.columns] == ["x0", "x1"]
    assert column(pd.Series([1, 2], name="x")).mean == 1.5
    for empty in ([], pd.DataFrame(), np.zeros((0, 2)), np.zeros(0), [{}]):
        profiled(empty)
    for wrong in ("text", 1, np.zeros((1, 1, 1)), [1, 2], None):
        with pytest.raises(InvalidInput):
            profile_of(wrong)


def test_many_columns_stay_within_bounds() -> None:
    frame = pd.DataFrame(np.random.default_rng(1).random((1_200, module.MAX_COLUMNS + 5)))
    found = profile_of(frame)
    assert found["left_out"] == 5 and len(found["columns"][0]["sample"]) == 150
    data = profile_bytes(found)
    assert len(data) < module.MAX_PROFILE_BYTES
    assert read_profile(data).left_out == 5
    texts = pd.DataFrame({f"c{c}": [f"{'é' * 90}{c} {r}" for r in range(40)] for c in range(300)})
    assert len(profile_bytes(profile_of(texts))) < module.MAX_PROFILE_BYTES


def test_the_same_data_has_the_same_profile() -> None:
    frame = pd.DataFrame({"x": np.random.default_rng(1).random(3_000), "y": list("ab") * 1_500})
    same = pd.concat([frame.iloc[:1_000], frame.iloc[1_000:]]).copy()
    assert profile_bytes(profile_of(frame)) == profile_bytes(profile_of(same))
    odd = [{"x\ud800": "a\ud800"}]
    assert profiled(odd).columns[0].categories == {"a\\ud800": 1}


GOOD = profile_of(pd.DataFrame({"x": [1.0, 2.0], "t": pd.to_datetime(["2020", "2021"])}))


def changed(**fields: Any) -> bytes:
    """A profile with a changed first column."""
    first, *rest = GOOD["columns"]
    return json.dumps({**GOOD, "columns": [{**first, **fields}, *rest]}).encode()


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"\x80\x04K\x01.",
    "no profile": b"[]",
    "another format": json.dumps({**GOOD, "format": "attestory profile v2"}).encode(),
    "deep": b'{"a":' + b"[" * 100_000,
    "columns are none": json.dumps({**GOOD, "columns": 1}).encode(),
    "a column is none": json.dumps({**GOOD, "columns": [1]}).encode(),
    "a column twice": json.dumps({**GOOD, "columns": GOOD["columns"][:1] * 2}).encode(),
    "rows below zero": json.dumps({**GOOD, "rows": -1}).encode(),
    "rows as a truth": json.dumps({**GOOD, "rows": True}).encode(),
    "a name is none": changed(name=1),
    "another kind": changed(kind="secret"),
    "NaN": changed(mean=math.nan),
    "a sample of texts": changed(sample=["1"]),
    "a sample beyond doubles": changed(sample=[1]).replace(b"[1]", b"[1e999]"),
    "categories as a list": changed(categories=[1]),
    "a category below zero": changed(categories={"a": -1}),
    "more than there are rows": changed(categories={"a": 3}),
    "more missing than rows": changed(missing=3),
    "a minimum of text": changed(min="1"),
    "a time as number": json.dumps(
        {**GOOD, "columns": [{**GOOD["columns"][1], "min": 1}]}
    ).encode(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes(name: str) -> None:
    with pytest.raises((FormatError, LimitExceeded)):
        read_profile(HOSTILE[name])


def test_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (
        b" " * (module.MAX_PROFILE_BYTES + 1),
        changed(sample=[1] * 1_001),
        changed(categories={str(i): 0 for i in range(1_001)}),
        json.dumps({**GOOD, "columns": [{}] * (module.MAX_COLUMNS + 1)}).encode(),
    ):
        with pytest.raises(LimitExceeded):
            read_profile(data)
    with pytest.raises(InvalidInput):
        profile_bytes({"a": math.nan})


@given(st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["format", "columns", "rows", "kind", "name", "sample", "a"]), inner),
).map(lambda thing: json.dumps(thing).encode()))  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_any_bytes(data: bytes) -> None:
    with contextlib.suppress(FormatError, LimitExceeded):
        read_profile(data)

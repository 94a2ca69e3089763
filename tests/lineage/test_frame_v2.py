"""frame-v2: equal frames have equal digests, other frames others; the format stays what it is."""

import datetime as dt
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import InvalidInput
from audit.lineage.content import frame_v2 as module
from audit.lineage.content.frame_v2 import array_v2, frame_v2, unique_names
from tests.lineage.frame_twin import Column, build, twin_column, twin_digest
from tests.lineage.make_frame_golden import GOLDEN, golden

TEXTS = st.one_of(st.none(), st.text(max_size=4))
WHOLE = st.integers(-(2**63), 2**63 - 1)
TIMES = st.one_of(st.none(), st.integers(-(2**62), 2**62))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int64": WHOLE,
    "int8": st.integers(-128, 127),
    "uint64": st.integers(0, 2**64 - 1),
    "float64": st.floats(),
    "float32": st.floats(width=32),
    "bool": st.booleans(),
    "Int64": st.one_of(st.none(), WHOLE),
    "Float64": st.one_of(st.none(), st.floats()),
    "boolean": st.one_of(st.none(), st.booleans()),
    "datetime64[us]": TIMES,
    "datetime64[ns, UTC]": TIMES,
    "timedelta64[s]": st.one_of(st.none(), st.integers(-(10**9), 10**9)),
    "str": TEXTS,
    "string": TEXTS,
    "category": st.one_of(st.none(), st.sampled_from("abc")),
    "ordered category": st.one_of(st.none(), st.sampled_from("abc")),
    "object": st.one_of(TEXTS, WHOLE, st.floats(), st.binary(max_size=3)),
}
NAMES = st.one_of(st.text(max_size=3), st.none(), st.integers(0, 3))


@st.composite
def contents(draw: st.DrawFn) -> tuple[Column, list[Column]]:
    """An index and columns, as lists."""
    rows = draw(st.integers(0, 5))
    index = Column(draw(NAMES), "int64", draw(st.lists(WHOLE, min_size=rows, max_size=rows)))
    columns = []
    for dtype in draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=4)):
        values = st.lists(VALUES[dtype], min_size=rows, max_size=rows)
        columns.append(Column(draw(NAMES), dtype, draw(values)))
    return index, columns


def _exact(content: tuple[Column, list[Column]]) -> object:
    """Equal exactly where two contents are."""
    index, columns = content
    return [(repr(c.name), c.dtype, [_exact_value(v) for v in c.values]) for c in (index, *columns)]


def _exact_value(value: Any) -> object:
    if isinstance(value, float):
        return "nan" if value != value else struct.pack("<d", value)
    return type(value).__name__, value


@given(contents())
@settings(max_examples=150, deadline=None)
def test_as_the_slow_twin(content: tuple[Column, list[Column]]) -> None:
    frame = build(*content)
    digest = frame_v2(frame)
    assert digest.digest == twin_digest(*content)
    assert len(digest.columns) == frame.shape[1]
    for shown, column in zip(digest.columns.values(), content[1], strict=True):
        assert shown == "sha256:" + twin_column(column.dtype, column.values).hex()


@given(contents(), contents())
@settings(max_examples=100, deadline=None)
def test_equal_digests_for_equal_content_only(
    a: tuple[Column, list[Column]], b: tuple[Column, list[Column]]
) -> None:
    assert (frame_v2(build(*a)).digest == frame_v2(build(*b)).digest) == (_exact(a) == _exact(b))


def test_the_format_stays() -> None:
    assert golden() == json.loads(GOLDEN.read_text())


def base() -> pd.DataFrame:
    data = {
        "amount": np.array([250000, 20000, 5000]),
        "rate": [0.1 + 0.2, -0.0, np.nan],
        "score": np.array([0.5, 1, 2], dtype="float32"),
        "late": [True, False, True],
        "type": pd.Series(["Mortgage", "Auto Loan", None], dtype=object),
        "text": pd.Series(["é", "", None], dtype="str"),
        "kind": pd.Categorical(["a", "b", "a"]),
        "paid": pd.array([1, None, 3], dtype="Int64"),
        "when": pd.to_datetime(["2020-01-15", "2020-02-20", None]).tz_localize("UTC"),
    }
    rows = pd.Index(["1001", "1002", "1003"], dtype="str", name="entity_key")
    series = {name: pd.Series(one, dtype=getattr(one, "dtype", None)) for name, one in data.items()}
    return pd.DataFrame({name: one.set_axis(rows) for name, one in series.items()})


def _swapped(frame: pd.DataFrame) -> pd.DataFrame:
    columns = {}
    for name, column in frame.items():
        array = column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array
        if isinstance(array, np.ndarray) and array.dtype.kind in "iuf":
            array = array.astype(array.dtype.newbyteorder(">"))
        columns[name] = pd.Series(array, index=frame.index, dtype=array.dtype)
    return pd.DataFrame(columns)


def _other_nan(frame: pd.DataFrame) -> pd.DataFrame:
    rate = frame["rate"].to_numpy().copy()
    rate.view("u8")[2] = 0xFFF8_0000_0000_0001
    return frame.assign(rate=rate)


SAME: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "a copy": lambda f: f.copy(),
    "column by column": lambda f: pd.concat([f[[c]] for c in f.columns], axis=1),
    "every other row of one": lambda f: pd.concat([f, f]).sort_index(kind="stable").iloc[::2],
    "in two parts": lambda f: pd.concat([f.iloc[:1], f.iloc[1:]]),
    "backwards twice": lambda f: f.iloc[::-1].iloc[::-1],
    "another byte order": _swapped,
    "another NaN": _other_nan,
    "strings of Python": lambda f: f.astype({"text": pd.StringDtype("python", np.nan)}),
    "strings of Arrow": lambda f: f.astype({"text": pd.StringDtype("pyarrow", np.nan)}),
    "categories in another order": lambda f: f.assign(
        kind=f["kind"].cat.set_categories(["z", "b", "a"])
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_content(name: str) -> None:
    made = SAME[name](base())
    made.attrs["audit"] = {"as_of": "2020"}
    assert frame_v2(made) == frame_v2(base())


OTHER: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], set[str]]] = {
    "the last bit": (lambda f: f.assign(rate=[0.3, -0.0, np.nan]), {"rate"}),
    "a sign of zero": (lambda f: f.assign(rate=[0.1 + 0.2, 0.0, np.nan]), {"rate"}),
    "dtype": (lambda f: f.astype({"amount": "int32"}), {"amount"}),
    "dtype alone": (lambda f: f.assign(late=f["late"].astype("uint8")), {"late"}),
    "string dtype": (lambda f: f.astype({"text": object}), {"text"}),
    "missing": (lambda f: f.assign(paid=pd.array([1, 0, 3], dtype="Int64")), {"paid"}),
    "empty or missing": (lambda f: f.fillna({"text": ""}), {"text"}),
    "a category": (lambda f: f.assign(kind=pd.Categorical(["a", "b", "b"])), {"kind"}),
    "an order of categories": (lambda f: f.assign(kind=f["kind"].cat.as_ordered()), {"kind"}),
    "a nanosecond": (lambda f: f.assign(when=f["when"] + pd.Timedelta(1, "ns")), {"when"}),
    "column order": (lambda f: f[list(f.columns)[::-1]], set()),
    "index name": (lambda f: f.rename_axis("id"), set()),
    "index value": (lambda f: f.rename({"1003": "1004"}), set()),
    "index dtype": (lambda f: f.set_axis(f.index.astype(object)), set()),
}


@pytest.mark.parametrize("name", OTHER)
def test_other_content_and_in_which_column(name: str) -> None:
    change, columns = OTHER[name]
    one, other = frame_v2(base()), frame_v2(change(base()))
    assert one.digest != other.digest
    assert {c for c in one.columns if one.columns[c] != other.columns[c]} == columns


def test_rows_columns_and_names() -> None:
    frames = [
        base(), base().iloc[::-1], base().iloc[:2], base().drop(columns="late"),
        base().rename(columns={"rate": "Rate"}), base().iloc[:0], pd.DataFrame(),
        pd.DataFrame({"x": pd.Series(["ab", "c"], dtype=object)}),
        pd.DataFrame({"x": pd.Series(["a", "bc"], dtype=object)}),
        pd.DataFrame({"x": pd.Series(["a", None], dtype=object)}),
        pd.DataFrame({"x": pd.Series(["a", pd.NA], dtype=object)}),
        pd.DataFrame({"x": pd.Series(["a", np.nan], dtype=object)}),
        pd.DataFrame({"x": pd.Series([Decimal("1.50"), dt.date(2020, 1, 1)], dtype=object)}),
        pd.DataFrame({"x": pd.Series([Decimal("1.5"), dt.date(2020, 1, 1)], dtype=object)}),
    ]  # fmt: skip
    assert len({frame_v2(frame).digest for frame in frames}) == len(frames)


def test_two_columns_of_one_name() -> None:
    names = ["x", "x", "x#2", "y\ud800"]
    frame = pd.DataFrame([[1, 2, 3, 4]], columns=pd.Index(names, dtype=object))
    columns = frame_v2(frame).columns
    assert list(columns) == ["x", "x#3", "x#2", "y\\ud800"] and len(set(columns.values())) == 4
    assert unique_names([1, "1", ("a", "b")]) == ["1", "1#2", "('a', 'b')"]
    assert len(unique_names(["n" * 5_000])[0]) == module.MAX_NAME_CHARS


def test_large_frames_go_through_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(200_000.0).reshape(-1, 4)
    values[40_000, 2] = np.nan
    frame = pd.DataFrame(values).assign(t=[f"é{i}" for i in range(len(values))])
    alone = frame_v2(frame)
    monkeypatch.setattr(module, "_POOL_BYTES", 0)
    assert frame_v2(frame) == alone
    monkeypatch.setattr(module, "_BLOCK_ROWS", 999)
    assert frame_v2(frame.copy(deep=True)) == alone
    frame.iloc[-1, 3] = 0.0
    assert frame_v2(frame).digest != alone.digest


def test_strings_of_arrow_with_bytes_under_nulls_and_offsets() -> None:
    import pyarrow as pa

    whole = pa.array(["xx", "a", "bc", None, "é"])
    under = pa.Array.from_buffers(
        pa.string(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(struct.pack("<3i", 0, 1, 3)),
                         pa.py_buffer(b"aZZ")],
    )  # fmt: skip
    dtype = pd.StringDtype("pyarrow", np.nan)
    made = pd.Series(pd.array(pa.chunked_array([whole.slice(1)]), dtype=dtype))
    plain = pd.Series(["a", "bc", None, "é"], dtype=pd.StringDtype("python", np.nan))
    assert frame_v2(made.to_frame("x")) == frame_v2(plain.to_frame("x"))
    hidden = pd.Series(pd.array(pa.chunked_array([under]), dtype=dtype))
    shown = pd.Series(["a", None], dtype=pd.StringDtype("python", np.nan))
    assert frame_v2(hidden.to_frame("x")) == frame_v2(shown.to_frame("x"))


def test_other_dtypes_of_pandas() -> None:
    sparse = pd.DataFrame({"x": pd.arrays.SparseArray([0.0, 1.0, np.nan])})
    arrow = pd.DataFrame({"x": pd.Series([1, None], dtype="int64[pyarrow]")})
    complexes = pd.DataFrame({"x": pd.Series([1j, complex("nan")])})
    periods = pd.DataFrame({"x": pd.period_range("2026", periods=2, freq="Y")})
    found = [frame_v2(frame) for frame in (sparse, arrow, complexes, periods)]
    assert len({one.digest for one in found}) == 4
    odd = np.array([1, 2], dtype="u1").view("bool")  # true, as other bytes than NumPy writes
    assert frame_v2(pd.DataFrame({"x": odd})) == frame_v2(pd.DataFrame({"x": [True, True]}))


def test_what_is_not_covered_is_refused() -> None:
    with pytest.raises(InvalidInput, match="float128"):
        frame_v2(pd.DataFrame({"x": np.array([1], dtype="longdouble")}))
    with pytest.raises(InvalidInput):
        frame_v2(pd.DataFrame({"x": pd.Series([object()], dtype=object)}))
    with pytest.raises(InvalidInput, match="not covered"):
        array_v2(np.zeros(2, dtype=[("a", "i4")]))


def test_a_series_is_a_frame_of_one_column() -> None:
    series = pd.Series([1.0, 2.0], name="x")
    assert frame_v2(series) == frame_v2(series.to_frame())


def test_arrays() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert array_v2(array).startswith("array-v2:sha256:")
    for same in (np.asfortranarray(array), array.astype(">f8"), array[:, ::-1][:, ::-1]):
        assert array_v2(same) == array_v2(array)
    others = [array.astype("f4"), array.reshape(3, 2), array + 1e-9, array.astype("i8"), -array]
    assert len({array_v2(a) for a in [array, *others]}) == 6
    assert array_v2(np.array(["a", "bc"])) != array_v2(np.array(["ab", "c"]))
    times = np.array(["2020-01-01"], dtype="M8[s]")
    assert array_v2(times) != array_v2(times.astype("M8[ms]"))


def test_what_other_digests_do_not_see() -> None:
    from tests.benchmarks.bench_digest import changes, misses

    missed = misses()
    assert missed["frame-v2"] == []
    assert missed["mltrace"] == list(changes())
    assert missed["MLflow"] == [
        "a late row", "a number's type", "a column of times", "a column of booleans",
    ]  # fmt: skip


def test_while_the_interpreter_ends() -> None:
    """A run that is closed at exit still hashes what it made."""
    script = (
        "import atexit, numpy, pandas\n"
        "from audit.lineage.content.frame_v2 import frame_v2\n"
        "frame = pandas.DataFrame(numpy.arange(2_000_000.0).reshape(-1, 4))\n"
        "first = frame_v2(frame)\n"
        "atexit.register(lambda: print(frame_v2(frame) == first))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True\n", "")

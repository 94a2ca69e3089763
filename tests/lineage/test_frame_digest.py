"""frame-v1: the same content gives the same digest, any other content another."""

import datetime as dt
import hashlib
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.errors import InvalidInput
from audit.lineage.content.frame_digest import array_digest, frame_digest


def base() -> pd.DataFrame:
    data = {
        "amount": [250000, 20000],
        "rate": [0.1 + 0.2, -0.0],
        "type": pd.Series(["Mortgage", "Auto Loan"], dtype=object),
        "paid": pd.array([1, None], dtype="Int64"),
        "when": pd.to_datetime(["2020-01-15", "2020-02-20"]).tz_localize("UTC"),
    }
    return pd.DataFrame(data, index=pd.Index(["1001", "1002"], name="entity_key"))


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def test_the_stream_is_as_documented() -> None:
    frame = pd.DataFrame({"x": [1.5, -0.0], "y": pd.Series(["a", None], dtype=object)})
    stream = b"attestory frame-v1\n" + struct.pack("<QQQ", 2, 1, 2)
    stream += b"n" + text("int64") + b"\x01" + struct.pack("<2q", 0, 1)
    stream += b"s" + text("x") + text("float64") + b"\x01" + struct.pack("<2d", 1.5, -0.0)
    stream += b"s" + text("y") + text("object") + b"\x02" + b"s" + text("a") + b"n"
    assert frame_digest(frame) == "sha256:" + hashlib.sha256(stream).hexdigest()


SAME: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "a copy": lambda f: f.copy(),
    "column by column": lambda f: pd.concat([f[[c]] for c in f.columns], axis=1),
    "attrs": lambda f: f.set_axis(f.index).assign(),
    "a slice of a larger one": lambda f: pd.concat([f, f]).iloc[:2],
    "pickled": lambda f: pd.read_pickle(_pickled(f)),
}


def _pickled(frame: pd.DataFrame) -> Any:
    import io

    buffer = io.BytesIO()
    frame.to_pickle(buffer)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("name", SAME)
def test_the_same_content(name: str) -> None:
    made = SAME[name](base())
    made.attrs["audit"] = {"as_of": "2020"}
    assert frame_digest(made) == frame_digest(base())


OTHER: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "one cell": lambda f: f.assign(amount=[250000, 20001]),
    "the last bit": lambda f: f.assign(rate=[0.3, -0.0]),
    "a sign": lambda f: f.assign(rate=[0.1 + 0.2, 0.0]),
    "row order": lambda f: f.iloc[::-1],
    "column order": lambda f: f[list(f.columns)[::-1]],
    "a name": lambda f: f.rename(columns={"rate": "Rate"}),
    "index name": lambda f: f.rename_axis("id"),
    "index value": lambda f: f.set_axis(pd.Index(["1001", "1003"], name="entity_key")),
    "dtype": lambda f: f.astype({"amount": "int32"}),
    "missing": lambda f: f.assign(paid=pd.array([1, 0], dtype="Int64")),
    "text that looks alike": lambda f: f.assign(
        type=pd.Series(["Mortgage", "Auto  Loan"], f.index)
    ),
    "null or absent": lambda f: f.assign(
        type=pd.Series(["Mortgage", pd.NA], f.index, dtype=object)
    ),
    "one row less": lambda f: f.iloc[:1],
    "one column less": lambda f: f.drop(columns="paid"),
    "a microsecond": lambda f: f.assign(when=f["when"] + pd.Timedelta(microseconds=1)),
}


def test_any_other_content() -> None:
    digests = {name: frame_digest(change(base())) for name, change in OTHER.items()}
    digests["the frame itself"] = frame_digest(base())
    assert len(set(digests.values())) == len(digests)


def test_cells_do_not_run_into_each_other() -> None:
    left = pd.DataFrame({"x": pd.Series(["ab", "c"], dtype=object)})
    right = pd.DataFrame({"x": pd.Series(["a", "bc"], dtype=object)})
    assert frame_digest(left) != frame_digest(right)


def test_every_type_of_cell() -> None:
    cells = [
        None, pd.NA, pd.NaT, True, 2**62, 2**100, 1.5, np.nan, "é\ud800", b"\0", Decimal("1.50"),
        dt.date(2020, 1, 1), dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        [1, 2], {"a": 1}, np.float32(0.5),
    ]  # fmt: skip
    frames = [pd.DataFrame({"x": pd.Series([cell], dtype=object)}) for cell in cells]
    assert len({frame_digest(frame) for frame in frames}) == len(cells)


def test_nan_payloads_do_not_count() -> None:
    other = np.array([0xFFF8_0000_0000_0001], dtype="u8").view("f8")
    assert frame_digest(pd.DataFrame({"x": other})) == frame_digest(pd.DataFrame({"x": [np.nan]}))


def test_categories_count_by_their_values() -> None:
    left = pd.Categorical(["a", "b"], categories=["a", "b"])
    right = pd.Categorical(["a", "b"], categories=["b", "a", "c"])
    assert frame_digest(pd.DataFrame({"x": left})) == frame_digest(pd.DataFrame({"x": right}))


def test_empty_frames() -> None:
    empty = pd.DataFrame({"x": pd.Series([], dtype="f8")})
    assert frame_digest(empty) != frame_digest(pd.DataFrame())
    assert frame_digest(empty) != frame_digest(empty.astype("i8"))


def test_what_is_not_covered_is_refused() -> None:
    frame = pd.DataFrame({"x": pd.period_range("2026", periods=2, freq="Y")})
    with pytest.raises(InvalidInput, match="'x' has dtype period"):
        frame_digest(frame)


def test_arrays() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert array_digest(array) == array_digest(np.asfortranarray(array))
    others = [array.astype("f4"), array.reshape(3, 2), array + 1e-9, array.astype("i8")]
    assert len({array_digest(a) for a in [array, *others]}) == 5
    assert array_digest(np.array(["a", "bc"])) != array_digest(np.array(["ab", "c"]))

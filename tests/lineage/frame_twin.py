"""frame-v2 once more, slow and plain: from lists of values, as the documentation of it says."""

import hashlib
import struct
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from audit.lineage.content.frame_digest import cell_bytes, text_bytes

LETTERS = {
    "int64": "q", "int8": "b", "uint64": "Q", "float64": "d", "float32": "f", "bool": "?",
    "Int64": "q", "Float64": "d", "boolean": "?", "datetime64[us]": "q", "timedelta64[s]": "q",
    "datetime64[ns, UTC]": "q",
}  # fmt: skip
MASKED = {"Int64", "Float64", "boolean"}
NO_TIME = -(2**63)


class Column(NamedTuple):
    """A column as a list: numbers (times as counts, None for NaT), texts, or any values."""

    name: Any
    dtype: str
    values: list[Any]


def twin_digest(index: Column, columns: list[Column]) -> str:
    """frame-v2 of a frame with these columns."""
    stream = b"attestory frame-v2\n" + struct.pack("<QQQ", len(index.values), 1, len(columns))
    for column in (index, *columns):
        stream += cell_bytes(column.name) + twin_column(column.dtype, column.values)
    return "frame-v2:sha256:" + hashlib.sha256(stream).hexdigest()


def twin_column(dtype: str, values: list[Any]) -> bytes:
    """The digest of one column."""
    stream = b"attestory column-v2\n" + text_bytes(dtype) + struct.pack("<Q", len(values))
    if dtype in LETTERS:
        stream += b"M" if dtype in MASKED else b"F"
        for value in values:
            stream += _number(dtype, value)
        if dtype in MASKED:
            stream += b"".join(b"\1" if value is None else b"\0" for value in values)
    elif dtype in ("category", "ordered category"):
        used: list[Any] = []
        for value in values:
            if value is not None and value not in used:
                used.append(value)
        if dtype != "category":
            used = sorted(used)
        codes = [-1 if value is None else used.index(value) for value in values]
        stream += b"K" + struct.pack(f"<{len(codes)}q", *codes) + twin_column("str", used)
    elif dtype in ("str", "string") or all(v is None or type(v) is str for v in values):
        data = [None if v is None else v.encode("utf-8", "surrogatepass") for v in values]
        stream += b"S" + b"".join(struct.pack("<q", -1 if d is None else len(d)) for d in data)
        stream += b"".join(d or b"" for d in data)
    else:
        stream += b"O" + b"".join(map(cell_bytes, values))
    return hashlib.sha256(stream).digest()


def _number(dtype: str, value: Any) -> bytes:
    letter = LETTERS[dtype]
    if value is None:
        value = NO_TIME if dtype[0] in "dt" else 0
    if letter in "df" and value != value:
        return struct.pack(f"<{letter}", float("nan"))
    return struct.pack(f"<{letter}", value)


def build(index: Column, columns: list[Column]) -> pd.DataFrame:
    """The frame of these columns."""
    rows = pd.Index(np.array(index.values, dtype="int64"), name=index.name)
    arrays = [_array(c.dtype, c.values) for c in columns]
    # Said again, or pandas makes its own string dtype of an object column of strings.
    parts = [pd.Series(array, index=rows, dtype=array.dtype) for array in arrays]
    if not parts:
        return pd.DataFrame(index=rows)
    frame = pd.concat(parts, axis=1)
    frame.columns = pd.Index([c.name for c in columns], dtype=object)
    return frame


def _array(dtype: str, values: list[Any]) -> Any:
    missing = np.array([value is None for value in values], dtype=bool)
    if dtype in MASKED:
        kind = {"Int64": "int64", "Float64": "float64", "boolean": "bool"}[dtype]
        filled = np.array([0 if value is None else value for value in values], dtype=kind)
        made = {
            "Int64": pd.arrays.IntegerArray,
            "Float64": pd.arrays.FloatingArray,
            "boolean": pd.arrays.BooleanArray,
        }[dtype]
        return made(filled, missing)
    if dtype[:8] in ("datetime", "timedelt"):
        counts = np.array([NO_TIME if value is None else value for value in values], dtype="int64")
        if dtype.endswith("UTC]"):
            return pd.DatetimeIndex(counts.view("M8[ns]")).tz_localize("UTC").array
        return counts.view("M8[us]" if dtype[0] == "d" else "m8[s]")
    if dtype == "category":
        return pd.Categorical(pd.Series(values, dtype="str"))
    if dtype == "ordered category":
        return pd.Categorical(pd.Series(values, dtype="str"), ordered=True)
    if dtype == "str":
        return pd.array(values, dtype=pd.StringDtype(na_value=np.nan))
    if dtype == "object":
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    return pd.array(values, dtype="string") if dtype == "string" else np.array(values, dtype=dtype)

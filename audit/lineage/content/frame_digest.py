"""Content digests as released first: ``frame-v1`` of a data frame, ``array-v1`` of an array.

What is recorded now has `audit.lineage.content.frame_v2`; this is how older records are compared.

frame-v1 is SHA-256 over a stream that depends on the content alone, not on memory layout, library
versions or how the frame came about. All integers are unsigned 64-bit little-endian; TEXT is the
number of UTF-8 bytes and the bytes::

    "attestory frame-v1\\n"  rows  index levels  columns
    then per index level and per column, in order:
        cell(name)  TEXT(dtype)  cells
    cells of a NumPy boolean, integer or float dtype:  0x01, then the cells little-endian one after
        the other; every NaN is the quiet one, -0.0 and 0.0 differ
    cells of datetime64 and timedelta64:               0x01, then signed 64-bit counts of the unit
    cells of every other dtype:                        0x02, then cell(value) one after the other
    cell: one letter for the type, then
        n null (None)   a missing (pandas.NA)   t NaT         nothing more
        b boolean       one byte                i integer     TEXT in decimal
        d double        8 bytes, one NaN        m decimal     TEXT as Python writes it
        s string        TEXT                    x bytes       length, bytes
        c date          TEXT ISO 8601           z instant     TEXT ISO 8601 in UTC
        l naive time    TEXT ISO 8601           j list, object    TEXT as canonical JSON of values

Row order, column order, names, dtypes and the index count. A categorical column counts by its
values. Sparse, period and interval columns are refused.
"""

import datetime as dt
import hashlib
import struct
from decimal import Decimal
from typing import Any

from audit.errors import InvalidInput
from audit.event.values import dumps, normalize

FRAME_ALGORITHM = "frame-v1"
ARRAY_ALGORITHM = "array-v1"
_NAN = struct.pack("<d", float("nan"))


def frame_digest(frame: Any) -> str:
    """frame-v1 of a pandas DataFrame: ``sha256:<hex>``. Raises InvalidInput."""
    levels = [frame.index.get_level_values(level) for level in range(frame.index.nlevels)]
    stream = hashlib.sha256(b"attestory frame-v1\n")
    stream.update(struct.pack("<QQQ", len(frame), len(levels), len(frame.columns)))
    for level in levels:
        _update(stream, level.name, level.to_series())
    for position, name in enumerate(frame.columns):
        _update(stream, name, frame.iloc[:, position])
    return "sha256:" + stream.hexdigest()


def array_digest(array: Any) -> str:
    """array-v1 of a NumPy array: SHA-256 over its dtype, shape and the cells as in frame-v1."""
    stream = hashlib.sha256(b"attestory array-v1\n")
    stream.update(text_bytes(array.dtype.str) + struct.pack("<Q", array.ndim))
    stream.update(struct.pack(f"<{array.ndim}Q", *array.shape))
    if array.dtype.kind in "biufMm" and array.dtype.itemsize <= 8:
        stream.update(_numbers(array))
    else:
        stream.update(_cells(array.ravel().tolist()))
    return "sha256:" + stream.hexdigest()


def _update(stream: Any, name: object, series: Any) -> None:
    import numpy
    import pandas

    dtype = series.dtype
    stream.update(cell_bytes(name) + text_bytes(_dtype_name(dtype)))
    if isinstance(dtype, numpy.dtype) and dtype.kind in "biufMm" and dtype.itemsize <= 8:
        stream.update(_numbers(series.to_numpy()))
    elif isinstance(dtype, pandas.DatetimeTZDtype):
        stream.update(_numbers(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()))
    elif isinstance(dtype, (pandas.PeriodDtype, pandas.IntervalDtype, pandas.SparseDtype)):
        raise InvalidInput(f"column {name!r:.80} has dtype {dtype}; convert it with astype() first")
    else:
        stream.update(_cells(series.astype(object).tolist()))


def _dtype_name(dtype: Any) -> str:
    """The dtype's name; of strings without their storage, of categories without the list."""
    name = str(dtype)
    return "str" if name in ("string", "string[python]", "string[pyarrow]") else name


def _numbers(array: Any) -> bytes:
    import numpy

    array = numpy.ascontiguousarray(array)
    if array.dtype.kind in "Mm":
        array = array.astype(array.dtype.newbyteorder("=")).view("i8")
    if array.dtype.kind == "f":
        array = array.copy()
        array[numpy.isnan(array)] = numpy.nan
    data: bytes = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return b"\x01" + data


def _cells(cells: list[object]) -> bytes:
    return b"\x02" + b"".join(map(cell_bytes, cells))


def text_bytes(text: str) -> bytes:
    """TEXT: the number of UTF-8 bytes, and the bytes."""
    data = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(data)) + data


def cell_bytes(value: Any) -> bytes:
    """One value with its type in front. Raises InvalidInput for what is no value."""
    kind = type(value)
    if kind is str:
        return b"s" + text_bytes(value)
    if value is None:
        return b"n"
    if kind is bool:
        return b"b\x01" if value else b"b\x00"
    if kind is int:
        return b"i" + text_bytes(str(value))
    if kind is float:
        return b"d" + (struct.pack("<d", value) if value == value else _NAN)
    if kind is Decimal:
        return b"m" + text_bytes(str(value))
    if kind is bytes:
        return b"x" + struct.pack("<Q", len(value)) + bytes(value)
    return _rare_cell(value)


def _rare_cell(value: Any) -> bytes:
    import numpy
    import pandas

    if value is pandas.NA:
        return b"a"
    if value is pandas.NaT:
        return b"t"
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            return b"l" + text_bytes(value.isoformat())
        return b"z" + text_bytes(value.astimezone(dt.UTC).isoformat())
    if isinstance(value, dt.date):
        return b"c" + text_bytes(value.isoformat())
    if isinstance(value, numpy.generic) and value.dtype.kind in "biufSU":
        return cell_bytes(value.item())
    return b"j" + text_bytes(dumps(normalize(value)))

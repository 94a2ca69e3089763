"""Rows -> a pandas DataFrame whose types are those that were recorded.

Index `entity_key`: strings, in byte order. Columns sorted by name. A column's dtype follows from
the values in it:

    all integers      Int64                 null and absent both <NA>; never turned into floats
    all doubles       Float64               NaN stays NaN (no value); null and absent both <NA>
    all booleans      boolean               null and absent both <NA>
    all timestamps    datetime64[us, UTC]   null and absent both NaT
    anything else     object                null is None, absent is pandas.NA; strings, bytes,
                                            decimals with their scale, dates, lists, dicts, and
                                            columns of several types or without any value

So in the typed columns null and absent look alike; the JSONL form and `replay_row` keep them apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from audit.event.values import Value
from audit.replay.fold import Row
from audit.replay.names import KEY_COLUMN, output_name

if TYPE_CHECKING:
    from pandas.core.arrays import ExtensionArray

ATTRS_KEY = "audit"
"""Where the citation is in `df.attrs`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INSTANT = pd.DatetimeTZDtype("us", UTC)
_NO_TIME = np.iinfo("int64").min


def build_frame(
    rows: Iterable[tuple[str, Row]], columns: Sequence[str], citation: Mapping[str, Any]
) -> pd.DataFrame:
    """A frame of (key, row) pairs with these fields as columns; `citation` goes into its attrs."""
    keys: list[str] = []
    cells: dict[str, list[Any]] = {name: [] for name in columns}
    missing = pd.NA
    for key, row in rows:
        keys.append(key)
        for name, column in cells.items():
            column.append(row.get(name, missing))
    named = {output_name(name): array_of_values(column) for name, column in cells.items()}
    return frame_of_arrays(keys, named, citation)


def frame_of_arrays(
    keys: "Sequence[str] | np.ndarray[Any, Any]",
    arrays: "Mapping[str, ExtensionArray | np.ndarray[Any, Any]]",
    citation: Mapping[str, Any],
) -> pd.DataFrame:
    """A frame of n keys and columns by the name they have in it, each n cells in its dtype.

    It takes the arrays over.
    """
    index = pd.Index(keys, dtype=object, name=KEY_COLUMN, copy=False)
    names = sorted(arrays)
    data = {name: _series(arrays[name], index) for name in names}
    frame = pd.DataFrame(data, index=index, columns=pd.Index(names, dtype=object), copy=False)
    frame.attrs[ATTRS_KEY] = dict(citation)
    return frame


def _series(array: "ExtensionArray | np.ndarray[Any, Any]", index: pd.Index) -> pd.Series:
    # Said again, or pandas makes its own string dtype of it, in which None and NA are one.
    return pd.Series(array, index=index, dtype=array.dtype, copy=False)


def array_of_values(column: list[Any]) -> "ExtensionArray | np.ndarray[Any, Any]":
    """The column as an array of its dtype; `column` holds values, None, and pandas.NA."""
    present = [value is not None and value is not pd.NA for value in column]
    kinds = {type(value) for value, there in zip(column, present, strict=True) if there}
    mask = ~np.array(present, dtype=bool)
    if kinds == {int}:
        return pd.arrays.IntegerArray(_filled(column, present, 0, "int64"), mask)
    if kinds == {float}:
        return pd.arrays.FloatingArray(_filled(column, present, 0.0, "float64"), mask)
    if kinds == {bool}:
        return pd.arrays.BooleanArray(_filled(column, present, False, "bool"), mask)
    if kinds == {datetime}:
        times = [_time_us(v) if t else 0 for v, t in zip(column, present, strict=True)]
        return array_of_times(np.array(times, dtype="int64"), mask)
    array = np.empty(len(column), dtype=object)
    array[:] = column
    return array


def array_of_times(
    times_us: "np.ndarray[Any, Any]", mask: "np.ndarray[Any, Any]"
) -> "ExtensionArray":
    """An array of instants from int64 microseconds, which it takes over; NaT where masked."""
    if mask.any():
        times_us[mask] = _NO_TIME
    return pd.array(times_us, dtype=_INSTANT, copy=False)


def _filled(
    column: list[Any], present: list[bool], filler: Value, dtype: str
) -> "np.ndarray[Any, Any]":
    values = [v if there else filler for v, there in zip(column, present, strict=True)]
    return np.array(values, dtype=dtype)


def _time_us(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND

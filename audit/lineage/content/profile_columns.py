"""The columns of a profile: counted in one pass over blocks of rows, all columns side by side."""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from audit.errors import InvalidInput
from audit.event.times import format_time, us_of_time

FEW_DIFFERENT = 50
"""A number whose sample shows no more different values than this has categories."""
NEARLY_ALL = 0.9
"""Part of the sample that must differ for a column to hold names of rows, not classes."""

_BLOCK_ROWS = 65_536
_MAX_INT64 = 2**63 - 1
_TYPES: dict[type, str] = {
    bool: "boolean", int: "integer", float: "double", Decimal: "decimal", str: "string",
    bytes: "bytes", date: "date", datetime: "timestamp", list: "list", dict: "object",
}  # fmt: skip
_NUMBERS = frozenset(("integer", "double", "decimal"))
_SCALARS = _NUMBERS | {"boolean", "string"}
_TIMES = frozenset(("date", "timestamp"))
_DTYPES = {"b": "boolean", "i": "integer", "u": "integer", "f": "double", "M": "timestamp"}

_Column = dict[str, Any]
_Name = Callable[[Any], str]


class Limits(NamedTuple):
    """How much of a column is kept: cells of the sample, categories, characters of these."""

    sample: int
    categories: int
    category_text: int


def column_profiles(frame: Any, count: int, limits: Limits, name_of: _Name) -> list[_Column]:
    """The profiles of the first columns of a frame, without their names.

    `name_of`: a value as the name of its class.
    """
    import numpy

    series = [frame.iloc[:, at] for at in range(count)]
    numeric = {at: one.to_numpy() for at, one in enumerate(series) if _is_numeric(one.dtype)}
    moments = _moments(list(numeric.values()))
    counted = dict(zip(numeric, moments, strict=True))
    rows = len(frame)
    at = numpy.unique(numpy.linspace(0, max(rows - 1, 0), min(rows, limits.sample)).astype("int64"))
    out = []
    for position, one in enumerate(series):
        if position in counted:
            column = _numeric(one, counted[position], at, limits, name_of)
        else:
            column = _other(one, at, limits, name_of)
        out.append({**_EMPTY, "dtype": str(one.dtype)[:200], "rows": rows, **column})
    return out


_EMPTY: _Column = {
    "missing": 0, "infinite": 0, "zeros": 0, "min": None, "max": None, "mean": None, "std": None,
    "sample": [], "categories": {}, "others": 0,
}  # fmt: skip


def _is_numeric(dtype: Any) -> bool:
    import numpy

    return isinstance(dtype, numpy.dtype) and dtype.kind in "iuf"


class _Moments:
    """Count, extremes, mean and spread of the finite numbers of a column, block by block."""

    def __init__(self) -> None:
        self.finite = self.nans = self.zeros = 0
        self.rows = 0
        self.mean = self.squares = 0.0
        self.least: Any = None
        self.most: Any = None

    def add(self, block: Any) -> None:
        import numpy

        self.rows += len(block)
        # One pass tells whether any is not finite: NaN and infinity stay in a sum.
        total = float(block.sum(dtype="float64"))
        if not math.isfinite(total):
            self.nans += int(numpy.isnan(block).sum()) if block.dtype.kind == "f" else 0
            block = block[numpy.isfinite(block)]
            total = float(block.sum(dtype="float64"))
        count = len(block)
        if not count:
            return
        least, most = block.min(), block.max()
        self.least = least if self.least is None else min(self.least, least)
        self.most = most if self.most is None else max(self.most, most)
        self.zeros += count - int(numpy.count_nonzero(block))
        # Chan, Golub and LeVeque 1979: the spread of two parts put together, without cancellation.
        mean = total / count
        apart = block.astype("float64") - mean
        squares = float(numpy.dot(apart, apart))
        delta, both = mean - self.mean, self.finite + count
        self.squares += squares + delta * delta * self.finite * count / both
        self.mean += delta * count / both
        self.finite = both

    def column(self) -> _Column:
        return {
            "missing": self.nans,
            "infinite": self.rows - self.nans - self.finite,
            "zeros": self.zeros,
            "min": None if self.least is None else _json_number(self.least.item()),
            "max": None if self.most is None else _json_number(self.most.item()),
            "mean": _json_number(self.mean) if self.finite else None,
            "std": _json_number(_root(self.squares / self.finite)) if self.finite else None,
        }


def _root(number: float) -> float:
    return math.sqrt(number) if number >= 0 else math.nan


def _json_number(number: float) -> float | int | None:
    """As JSON can hold it; what it cannot is left out."""
    if isinstance(number, int):
        return number if -_MAX_INT64 <= number <= _MAX_INT64 else float(number)
    return number if math.isfinite(number) else None


def _moments(arrays: list[Any]) -> list[_Moments]:
    import numpy

    found = [_Moments() for _ in arrays]
    rows = len(arrays[0]) if arrays else 0
    with numpy.errstate(all="ignore"):
        for at in range(0, rows, _BLOCK_ROWS):
            for one, array in zip(found, arrays, strict=True):
                one.add(numpy.ascontiguousarray(array[at : at + _BLOCK_ROWS]))
    return found


def _numeric(series: Any, moments: _Moments, at: Any, limits: Limits, name_of: _Name) -> _Column:
    import numpy

    kind = series.dtype.kind
    picked = series.to_numpy()[at]
    if kind == "f":
        picked = picked[numpy.isfinite(picked)]
    column = {
        "type": _DTYPES[kind],
        "kind": "number",
        **moments.column(),
        "sample": [_json_number(value) for value in picked.tolist()],
    }
    if 0 < len(numpy.unique(picked)) <= FEW_DIFFERENT:
        column |= _categories(_finite(series), limits, name_of)
    return column


def _finite(series: Any) -> Any:
    import numpy

    return series[numpy.isfinite(series.to_numpy())] if series.dtype.kind == "f" else series


def _other(series: Any, at: Any, limits: Limits, name_of: _Name) -> _Column:
    """A column that NumPy has no numbers of."""
    import numpy
    import pandas

    missing = series.isna().to_numpy()
    present = series[~missing] if missing.any() else series
    column: _Column = {"missing": int(missing.sum())}
    type_ = _type_of(series.dtype, present)
    if type_ in _NUMBERS:
        numbers = _as_numbers(present, type_)
        moments = _moments([numbers])[0]
        whole = numpy.empty(len(series), dtype=numbers.dtype)
        whole[~missing] = numbers
        picked = pandas.Series(whole[at][~missing[at]])
        every = numpy.arange(len(picked))
        found = _numeric(picked, moments, every, limits, name_of)
        found |= {"type": type_, "missing": column["missing"] + moments.nans}
        if found.get("categories"):
            found |= _categories(_finite(pandas.Series(numbers)), limits, name_of)
        return found
    if type_ in _TIMES:
        return {**column, "type": type_, "kind": "time", **_extremes(present)}
    if type_ in ("boolean", "string", "mixed"):
        column |= {"type": "string" if type_ == "mixed" else type_, "kind": "category"}
        picked = series.iloc[at].dropna()
        if len(picked) > FEW_DIFFERENT and _are_names(picked, len(series) > len(at)):
            return {**column, "others": len(present)}
        return column | _categories(present, limits, name_of)
    return {**column, "type": type_, "kind": "other"}


def _are_names(picked: Any, is_part: bool) -> bool:
    """Whether nearly all values of a sample differ; all of the data may well be different."""
    return is_part and len(set(map(str, picked.tolist()))) > NEARLY_ALL * len(picked)


def _type_of(dtype: Any, present: Any) -> str:
    """The type of a column's values, in the words of the ledger; mixed: scalars of several."""
    import pandas

    if isinstance(dtype, pandas.CategoricalDtype):
        categories = dtype.categories
        return _type_of(categories.dtype, categories.to_series())
    if isinstance(dtype, pandas.StringDtype):
        return "string"
    kind = getattr(dtype, "kind", "O")
    if kind in _DTYPES and str(dtype) != "object":
        return _DTYPES[kind]
    if kind != "O" and not isinstance(dtype, pandas.ArrowDtype):
        return "other"
    kinds = set(map(type, present.astype(object).tolist()))
    types = {_type(kind) for kind in kinds}
    if len(types) == 1:
        return types.pop()
    if types and types <= _NUMBERS:
        return "double"
    if types == _TIMES:
        return "timestamp"
    return "mixed" if types and types <= _SCALARS else "other"


def _type(kind: type) -> str:
    import numpy

    found = next((_TYPES[base] for base in kind.__mro__ if base in _TYPES), None)
    if kind is not bool and found is None and issubclass(kind, numpy.generic):
        return _DTYPES.get(numpy.dtype(kind).kind, "other")
    # A datetime is a date too, and a boolean an integer: the nearest base comes first in the order.
    return found or "other"


def _as_numbers(present: Any, type_: str) -> Any:
    import numpy
    import pandas

    if isinstance(present.dtype, pandas.CategoricalDtype):
        present = present.astype(present.dtype.categories.dtype)
    try:
        if type_ == "integer":
            return numpy.asarray(present.to_numpy(dtype="int64"))
        return numpy.asarray(present.to_numpy(dtype="float64"))
    except OverflowError:
        return numpy.array([float(str(value)) for value in present.tolist()], dtype="float64")


def _extremes(present: Any) -> _Column:
    if not len(present):
        return {}
    try:
        least, most = present.min(), present.max()
        return {"min": _time_text(least), "max": _time_text(most)}
    except (TypeError, ValueError):  # with and without a zone, or beyond the calendar
        return {}


def _time_text(value: Any) -> str | None:
    if isinstance(value, datetime):
        try:
            return format_time(us_of_time(value if value.tzinfo else value.replace(tzinfo=UTC)))
        except InvalidInput:
            return None
    return value.isoformat() if isinstance(value, date) else None


def _categories(present: Any, limits: Limits, name_of: _Name) -> _Column:
    """The classes of a column with how many rows each has, the most frequent ones of many."""
    counts = present.value_counts(sort=False)
    pairs = [(str(name_of(_plain(value))), int(rows)) for value, rows in counts.items() if rows]
    found: dict[str, int] = {}
    room = limits.category_text
    # Ties by name: the same data has the same profile whatever order pandas counts in.
    for name, rows in sorted(pairs, key=lambda pair: (-pair[1], pair[0])):
        name = name.encode(errors="backslashreplace").decode()
        room -= 0 if name in found else len(name)
        if name in found or (len(found) < limits.categories and room >= 0):
            found[name] = found.get(name, 0) + rows
    return {"categories": found, "others": int(counts.sum()) - sum(found.values())}


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return _json_number(value) if type(value) is int else value

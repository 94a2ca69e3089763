"""Profiles: how the columns of data are distributed, small enough to be kept beside every run.

A profile is JSON, canonical: sorted keys, no white space. Numbers that JSON lacks are left out::

    {"format": "attestory profile v1", "rows": N, "columns": [
        {"name", "dtype", "type": integer double decimal boolean string timestamp date ... other,
         "kind": number, category, time or other,
         "rows", "missing", "infinite", "zeros", "min", "max", "mean", "std",
         "sample": numbers, "categories": {value: rows}, "others": rows in no category}]}

Counts, min, max, mean and std are of all rows, the last four of the finite ones; missing is null,
NaN, NaT and NA. `min` and `max` of a time are RFC 3339 in UTC. The sample is what stands at evenly
spaced positions, what is missing left out: of the same data always the same. Categories are exact
up to MAX_CATEGORIES different values, else the most frequent ones; a number has them where its
sample shows few different values. Where nearly all values differ none are counted, for these are
names of rows, perhaps of people, and no classes.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.valuejson import MAX_JSON_BYTES, parse_json
from audit.lineage.content.distributions import CATEGORY, NUMBER, OTHER, TIME, category_text
from audit.lineage.content.frame_v2 import unique_names
from audit.lineage.content.profile_columns import Limits, column_profiles

PROFILE_FORMAT = "attestory profile v1"
MAX_PROFILE_BYTES = MAX_JSON_BYTES
MAX_COLUMNS = 2_000
"""Columns of a profile. Data with more is profiled by its first ones, and `left_out` says so."""
MAX_SAMPLE = 1_000
MAX_CATEGORIES = 1_000
MAX_SAMPLE_CELLS = 300_000
"""Cells of all samples together: with many columns each sample is smaller."""
MIN_SAMPLE = 100
MAX_CATEGORY_TEXT = 1_200_000
"""Characters of the categories of all columns together."""

_KINDS = (NUMBER, CATEGORY, TIME, OTHER)


class ColumnProfile(NamedTuple):
    """One column; see the module docstring. `minimum` and `maximum` of times are texts."""

    name: str
    dtype: str
    type: str
    kind: str
    rows: int
    missing: int
    infinite: int
    zeros: int
    minimum: float | int | str | None
    maximum: float | int | str | None
    mean: float | None
    std: float | None
    sample: tuple[float, ...]
    categories: Mapping[str, int]
    others: int


class Profile(NamedTuple):
    """The columns of some data. `left_out`: how many columns are not in it."""

    rows: int
    columns: tuple[ColumnProfile, ...]
    left_out: int

    def column(self, name: str) -> ColumnProfile | None:
        """The column of a name; None when there is none."""
        return next((one for one in self.columns if one.name == name), None)


def profile_of(data: Any) -> dict[str, Any]:
    """The profile of a pandas DataFrame or Series, a NumPy array (columns x0, x1 ...), or a list of
    dicts, such as the features of predictions. Raises InvalidInput for anything else.
    """
    frame = _frame(data)
    count = min(frame.shape[1], MAX_COLUMNS)
    sample = min(MAX_SAMPLE, max(MIN_SAMPLE, MAX_SAMPLE_CELLS // max(count, 1)))
    names = unique_names(list(frame.columns))[:count]
    limits = Limits(sample, MAX_CATEGORIES, MAX_CATEGORY_TEXT // max(count, 1))
    columns = column_profiles(frame, count, limits, category_text)
    return {
        "format": PROFILE_FORMAT,
        "rows": len(frame),
        "left_out": frame.shape[1] - count,
        "columns": [{"name": name, **column} for name, column in zip(names, columns, strict=True)],
    }


def profile_bytes(profile: Mapping[str, Any]) -> bytes:
    """A profile as its canonical JSON, in UTF-8. Raises InvalidInput for what is no JSON."""
    try:
        text = json.dumps(
            profile, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode()
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"this is no profile: {error!s:.200}") from error


def read_profile(data: bytes) -> Profile:
    """The profile in bytes from outside. Raises FormatError, LimitExceeded."""
    if len(data) > MAX_PROFILE_BYTES:
        raise LimitExceeded(f"a profile of {len(data)} bytes is over {MAX_PROFILE_BYTES}")
    document = parse_json(data)
    if not isinstance(document, dict) or document.get("format") != PROFILE_FORMAT:
        raise FormatError(f"this is no {PROFILE_FORMAT}")
    columns = document.get("columns")
    if not isinstance(columns, list):
        raise FormatError("a profile has a list of columns")
    if len(columns) > MAX_COLUMNS:
        raise LimitExceeded(f"a profile of {len(columns)} columns is over {MAX_COLUMNS}")
    read = tuple(map(_column, columns))
    if len({column.name for column in read}) != len(read):
        raise FormatError("a profile has two columns of one name")
    return Profile(_count(document, "rows"), read, _count(document, "left_out"))


def _frame(data: Any) -> Any:
    import numpy
    import pandas

    if isinstance(data, pandas.DataFrame):
        return data
    if isinstance(data, pandas.Series):
        return data.to_frame("x0" if data.name is None else data.name)
    if isinstance(data, numpy.ndarray) and data.ndim in (1, 2):
        data = data.reshape(len(data), -1) if len(data) else data.reshape(0, (*data.shape, 1)[1])
        return pandas.DataFrame(data, columns=[f"x{at}" for at in range(data.shape[1])], copy=False)
    if isinstance(data, Sequence) and all(isinstance(row, Mapping) for row in data):
        names = dict.fromkeys(name for row in data for name in row)
        # As objects: integers stay integers where some row lacks the field.
        columns = [_objects([row.get(name) for row in data]) for name in names]
        frame = pandas.DataFrame(dict(enumerate(columns)), index=range(len(data)))
        return frame.set_axis(pandas.Index(list(names), dtype=object), axis=1)
    raise InvalidInput(
        f"a {type(data).__qualname__} has no columns; "
        "give a DataFrame, an array of one or two dimensions, or a list of dicts"
    )


def _objects(cells: list[Any]) -> Any:
    import numpy
    import pandas

    array = numpy.empty(len(cells), dtype=object)
    array[:] = cells
    return pandas.Series(array, dtype=object)


def _column(data: object) -> ColumnProfile:
    if not isinstance(data, dict):
        raise FormatError("a column of a profile is an object")
    kind = _text(data, "kind")
    if kind not in _KINDS:
        raise FormatError(f"a column of a profile is of the kind {kind!r:.40}")
    rows, missing, infinite = (_count(data, name) for name in ("rows", "missing", "infinite"))
    sample, categories = data.get("sample", []), data.get("categories", {})
    if not isinstance(sample, list) or not isinstance(categories, dict):
        raise FormatError("a column of a profile has a list as sample, an object as categories")
    if len(sample) > MAX_SAMPLE or len(categories) > MAX_CATEGORIES:
        raise LimitExceeded(
            f"a column of a profile has at most {MAX_SAMPLE} samples, {MAX_CATEGORIES} categories"
        )
    limit: Callable[[str], Any] = (
        (lambda name: _text_or_none(data, name))
        if kind == TIME
        else (lambda name: _number_or_none(data, name))
    )
    others = _count(data, "others")
    counted = sum(_count(categories, value) for value in categories) + others
    if missing + infinite > rows or counted + missing > rows:
        raise FormatError("a column of a profile counts more than it has rows")
    return ColumnProfile(
        name=_text(data, "name"),
        dtype=_text(data, "dtype"),
        type=_text(data, "type"),
        kind=kind,
        rows=rows,
        missing=missing,
        infinite=infinite,
        zeros=_count(data, "zeros"),
        minimum=limit("min"),
        maximum=limit("max"),
        mean=_number_or_none(data, "mean"),
        std=_number_or_none(data, "std"),
        sample=tuple(_number(value) for value in sample),
        categories=categories,
        others=others,
    )


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str):
        raise FormatError(f"a profile has a text as {name}")
    return value


def _text_or_none(data: Mapping[str, Any], name: str) -> str | None:
    return None if data.get(name) is None else _text(data, name)


def _count(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name, 0)
    if type(value) is not int or value < 0:
        raise FormatError(f"a profile counts {name[:40]!r} as {value!r:.40}")
    return value


def _number(value: object) -> float | int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise FormatError(f"a profile has a number where {value!r:.40} is")
    return value


def _number_or_none(data: Mapping[str, Any], name: str) -> float | int | None:
    return None if data.get(name) is None else _number(data[name])

"""pandas objects as they were served: data frames, series and pandas' own scalars.

Forms (see audit.lineage.content.served)::

    {"is": "frame", "columns": [{"name", "dtype", "items"?, ...}], "index": axis, "rows": n,
     "labels": dtype of the column names, "label": name of that axis}
        value: an object of columns; cells alone when there is one row, else lists of cells
    {"is": "series", "column": {...}, "index": axis, "name": ...}
        value: an object by label when the labels are distinct strings, else a list of cells
    axis: {"range": [start, stop, step], "name"} or {"column": {...}, "cells": [...], "name"}
    {"is": "timestamp", "unit": "ns", "tz": null | name}   value: ISO 8601 text
    {"is": "NA"}, {"is": "NaT"}                            value: null

Column dtypes: every NumPy boolean, integer, float, datetime64 and timedelta64 type, object, str,
pandas' nullable integers, floats, booleans and strings, and categories. Others are refused.
"""

from typing import Any

from audit.errors import FormatError, InvalidInput
from audit.event.values import Value, normalize
from audit.lineage.content.forms import MAX_CELLS, Arrays, Served, with_items

_NULLABLE = frozenset(
    ["boolean", "Float32", "Float64"] + [f"{u}Int{w}" for u in ("", "U") for w in (8, 16, 32, 64)]
)
_NAMES = (str, int, type(None))


def describe(thing: object, depth: int, arrays: Arrays) -> Served | None:
    """The value and form of a pandas object; None when it is not one."""
    import pandas

    if thing is pandas.NA:
        return Served(None, {"is": "NA"})
    if thing is pandas.NaT:
        return Served(None, {"is": "NaT"})
    if isinstance(thing, pandas.Timestamp):
        zone = None if thing.tzinfo is None else str(thing.tzinfo)
        bare = thing.tz_convert("UTC").tz_localize(None) if zone else thing
        return Served(bare.isoformat(), {"is": "timestamp", "unit": thing.unit, "tz": zone})
    if type(thing) is pandas.Series:
        return _describe_series(thing, depth, arrays)
    if type(thing) is pandas.DataFrame:
        return _describe_frame(thing, depth, arrays)
    return None


def rebuild(value: Any, form: dict[str, Any], arrays: Arrays) -> Any:
    """The pandas object again. Raises FormatError on a form of another kind."""
    import pandas

    kind = form["is"]
    if kind == "NA":
        return pandas.NA
    if kind == "NaT":
        return pandas.NaT
    if kind == "timestamp":
        stamp = pandas.Timestamp(value).as_unit(form["unit"])
        return stamp if form["tz"] is None else stamp.tz_localize("UTC").tz_convert(form["tz"])
    if kind == "series":
        return _rebuild_series(value, form, arrays)
    if kind == "frame":
        return _rebuild_frame(value, form, arrays)
    raise FormatError(f"a form of the unknown kind {kind!r:.40}; a newer version wrote it")


def _describe_frame(frame: Any, depth: int, arrays: Arrays) -> Served:
    names = list(frame.columns)
    if not names or any(type(n) is not str for n in names) or len(set(names)) != len(names):
        raise InvalidInput("a frame of features needs columns with distinct names that are strings")
    if type(frame.columns.name) not in _NAMES:
        raise InvalidInput("the columns' own name must be a string or None")
    if frame.size > MAX_CELLS:
        raise InvalidInput(f"a frame of {frame.size} cells is too large for one prediction")
    value: dict[str, Value] = {}
    columns = []
    for position, name in enumerate(names):
        cells, column = _describe_column(frame.iloc[:, position], depth, arrays)
        value[name] = cells[0] if len(cells) == 1 else cells
        columns.append({"name": name, **column})
    axis = _describe_axis(frame.index, depth, arrays)
    labels = {"labels": str(frame.columns.dtype), "label": frame.columns.name}
    form = {"is": "frame", "columns": columns, "index": axis, "rows": len(frame), **labels}
    return Served(value, form)


def _rebuild_frame(value: Any, form: dict[str, Any], arrays: Arrays) -> Any:
    import pandas

    rows, columns = form["rows"], form["columns"]
    index = _rebuild_axis(form["index"], arrays)
    if sorted(c["name"] for c in columns) != sorted(value) or len(index) != rows:
        raise FormatError("the recorded form has other columns or rows than the recorded value")
    series = {}
    for column in columns:
        cells = value[column["name"]]
        made = _rebuild_column([cells] if rows == 1 else cells, column, arrays)
        # The dtype is given: pandas would make strings of an object column that holds only such.
        series[column["name"]] = pandas.Series(made, index=index, dtype=made.dtype)
    frame = pandas.DataFrame(series, index=index)
    names = [column["name"] for column in columns]
    frame.columns = pandas.Index(names, dtype=form["labels"], name=form["label"])
    return frame


def _describe_series(series: Any, depth: int, arrays: Arrays) -> Served:
    if type(series.name) not in _NAMES:
        raise InvalidInput(f"a series named {series.name!r:.80}; its name must be a string or None")
    cells, column = _describe_column(series, depth, arrays)
    form: dict[str, Any] = {"is": "series", "column": column, "name": series.name}
    form["index"] = _describe_axis(series.index, depth, arrays)
    labels = list(series.index)
    if all(type(label) is str for label in labels) and len(set(labels)) == len(labels):
        form["labelled"] = True
        return Served(dict(zip(labels, cells, strict=True)), form)
    return Served(cells, form)


def _rebuild_series(value: Any, form: dict[str, Any], arrays: Arrays) -> Any:
    import pandas

    index = _rebuild_axis(form["index"], arrays)
    cells = [value[label] for label in index] if form.get("labelled") else value
    made = _rebuild_column(cells, form["column"], arrays)
    return pandas.Series(made, index=index, name=form["name"], dtype=made.dtype)


def _describe_axis(index: Any, depth: int, arrays: Arrays) -> dict[str, Any]:
    import pandas

    if isinstance(index, pandas.MultiIndex) or type(index.name) not in _NAMES:
        raise InvalidInput("a frame of features needs a plain index; call reset_index() first")
    if isinstance(index, pandas.RangeIndex):
        return {"range": [index.start, index.stop, index.step], "name": index.name}
    cells, column = _describe_column(index.to_series(), depth, arrays)
    return {"column": column, "cells": cells_to_json(cells), "name": index.name}


def _rebuild_axis(axis: dict[str, Any], arrays: Arrays) -> Any:
    import pandas

    if "range" in axis:
        start, stop, step = axis["range"]
        if len(range(start, stop, step)) > MAX_CELLS:
            raise FormatError("the recorded form asks for too many rows")
        return pandas.RangeIndex(start, stop, step, name=axis["name"])
    made = _rebuild_column(cells_from_json(axis["cells"]), axis["column"], arrays)
    return pandas.Index(made, name=axis["name"], dtype=made.dtype)


def cells_to_json(cells: list[Value]) -> list[Any]:
    """Index cells stand inside the form, which is JSON."""
    from audit.event.values import to_json

    return [to_json(cell) for cell in cells]


def cells_from_json(cells: list[Any]) -> list[Value]:
    """The inverse of `cells_to_json`."""
    from audit.event.values import from_json

    return [from_json(cell) for cell in cells]


def _describe_column(series: Any, depth: int, arrays: Arrays) -> tuple[list[Value], dict[str, Any]]:
    """The plain cells of a column, and its dtype with what the cells alone do not say."""
    import numpy
    import pandas

    dtype = series.dtype
    if isinstance(dtype, pandas.CategoricalDtype):
        cells, inner = _describe_column(dtype.categories.to_series(), depth, arrays)
        form = {"dtype": "category", "ordered": dtype.ordered, "categories": cells_to_json(cells)}
        return normalize_cells(series.cat.codes.tolist()), {**form, "column": inner}
    if str(dtype) in _NULLABLE:
        missing = series.isna().tolist()
        values = series.array.to_numpy(dtype=object, na_value=None).tolist()
        cells = [None if gone else cell for cell, gone in zip(values, missing, strict=True)]
        return normalize_cells(cells), {"dtype": str(dtype)}
    if isinstance(dtype, pandas.StringDtype):
        missing = series.isna().tolist()
        cells = [None if g else str(c) for c, g in zip(series.tolist(), missing, strict=True)]
        kind = {"dtype": "string", "nan": dtype.na_value is not pandas.NA}
        return normalize_cells(cells), {**kind, "storage": dtype.storage}
    if isinstance(dtype, numpy.dtype):
        flat = arrays.describe(series.to_numpy().copy(), depth)
        assert flat.form is not None and isinstance(flat.value, list)
        form = {"dtype": flat.form["dtype"]}
        return flat.value, with_items(form, flat.form.get("items", {}))
    if isinstance(dtype, pandas.DatetimeTZDtype):
        counts = series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().view("i8")
        form = {"dtype": f"<M8[{dtype.unit}]", "tz": str(dtype.tz)}
        return normalize_cells(counts.tolist()), form
    raise InvalidInput(f"a column of dtype {dtype} cannot be recorded exactly; convert it first")


def _rebuild_column(cells: list[Any], column: dict[str, Any], arrays: Arrays) -> Any:
    import pandas

    dtype = column["dtype"]
    if dtype == "category":
        categories = _rebuild_column(
            cells_from_json(column["categories"]), column["column"], arrays
        )
        kind = pandas.CategoricalDtype(
            pandas.Index(categories, dtype=categories.dtype), ordered=column["ordered"]
        )
        return pandas.Categorical.from_codes(cells, dtype=kind)
    if dtype == "string":
        missing = float("nan") if column["nan"] else pandas.NA
        text = pandas.StringDtype(column["storage"], na_value=missing)
        return pandas.array([missing if c is None else c for c in cells], dtype=text)
    if dtype in _NULLABLE:
        return _rebuild_nullable(cells, dtype)
    form: dict[str, Any] = {"is": "array", "dtype": dtype, "shape": [len(cells)]}
    made = arrays.rebuild(cells, with_items(form, column.get("items", {})))
    if "tz" not in column:
        return made
    return pandas.DatetimeIndex(made).tz_localize("UTC").tz_convert(column["tz"]).array


def _rebuild_nullable(cells: list[Any], dtype: str) -> Any:
    """By values and mask: pandas would read a NaN among the cells as missing."""
    import numpy
    import pandas

    missing = numpy.array([cell is None for cell in cells], dtype=bool)
    kind = "bool" if dtype == "boolean" else dtype.lower()
    values = numpy.array([0 if cell is None else cell for cell in cells], dtype=kind)
    if dtype == "boolean":
        return pandas.arrays.BooleanArray(values, missing)
    if dtype.startswith("Float"):
        return pandas.arrays.FloatingArray(values, missing)
    return pandas.arrays.IntegerArray(values, missing)


def normalize_cells(cells: list[Any]) -> list[Value]:
    """Cells checked one by one: an integer beyond 64 bits and the like are refused."""
    return [normalize(cell) for cell in cells]

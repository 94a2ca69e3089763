"""The rows of a batch as plain values: taken from what was served, and put together again.

A frame's rows are objects, an array's or a list's whatever each row is. As features a row that is
a list has the names ``x0 x1 ...``, and one that is a single value the name ``value``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from audit.errors import FormatError
from audit.event.values import Value
from audit.lineage.content.forms import Form, Served


def row_values(value: Value, form: Form, rows: int) -> list[Value]:
    """One plain value for each row of something that was described."""
    if form is not None and form["is"] == "frame":
        assert isinstance(value, dict)
        names = [column["name"] for column in form["columns"]]
        columns: list[Any] = [[value[name]] if rows == 1 else value[name] for name in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    # A series whose labels are texts is an object by label, in the order of the rows.
    if isinstance(value, dict):
        return list(value.values())
    assert isinstance(value, list)
    return value


def row_fields(value: Value) -> dict[str, Value]:
    """A row as features."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return {f"x{index}": cell for index, cell in enumerate(value)}
    return {"value": value}


def put_together(rows: Sequence[Mapping[str, Value]], form: Form) -> Served:
    """What some rows' features were described from. Raises FormatError where they do not fit."""
    try:
        return _put_together(rows, form)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        words = "the form of the batch does not fit its rows"
        raise FormatError(f"{words}: {error!r:.200}") from None


def _put_together(rows: Sequence[Mapping[str, Value]], form: Form) -> Served:
    kind = None if form is None else form["is"]
    if form is not None and kind == "frame":
        value: dict[str, Value] = {}
        for column in form["columns"]:
            cells = [row[column["name"]] for row in rows]
            value[column["name"]] = cells[0] if len(cells) == 1 else cells
        return Served(value, form)
    if form is not None and kind == "array":
        forms = [_OF_ARRAY if len(form["shape"]) > 1 else None] * len(rows)
        return Served([_cell(row, one) for row, one in zip(rows, forms, strict=True)], form)
    items = form or {}
    if form is not None and kind == "series":
        items, form = form["column"], {**form, "labelled": False}
    given = items.get("items", {})
    return Served([_cell(row, given.get(str(index))) for index, row in enumerate(rows)], form)


_OF_ARRAY: Form = {"is": "list"}


def _cell(row: Mapping[str, Value], form: Form) -> Value:
    """The row itself: the names tell, where the form does not say that it was an object."""
    if form is None or form["is"] != "dict":
        if list(row) == ["value"]:
            return row["value"]
        names = [f"x{index}" for index in range(len(row))]
        if set(row) == set(names) and (form is not None or row):
            return [row[name] for name in names]
    return dict(row)


def sliced(thing: Any, start: int, stop: int) -> Any:
    """Some rows of a frame, series, array, list or tuple."""
    return (thing.iloc if hasattr(thing, "iloc") else thing)[start:stop]


def joined(parts: list[Any]) -> Any:
    """The rows of all parts, which are alike, as one."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return []
    if hasattr(parts[0], "iloc"):
        import pandas

        return pandas.concat(parts)
    if hasattr(parts[0], "dtype"):
        import numpy

        return numpy.concatenate(parts)
    whole = [row for part in parts for row in part]
    return tuple(whole) if isinstance(parts[0], tuple) else whole

"""Python objects as they were served: the values for people and queries, the form to rebuild them.

`describe` splits an object in two. The *value* is plain (null, boolean, integer, double, decimal,
string, bytes, date, timestamp, list, object): it is what a query finds and what csv prints. The
*form* is JSON and says what the value alone does not: the order of the keys, that a list was a
tuple or a NumPy array of which dtype and shape, that a dictionary was a one-row data frame.
`rebuild` makes of both an object of the same types and the same bits.

A form is None when the value says it all (then a dictionary's keys are in sorted order), else an
object with the member ``is``::

    {"is": "dict",  "keys": [...], "items": {key: form}}     items only where a form is not None
    {"is": "list",  "items": {"0": form}}                    also "tuple"
    {"is": "numpy", "dtype": "<f4"}                          a scalar; datetime64 as its count
    {"is": "array", "dtype": "<f8", "shape": [1, 3]}         value: nested lists; "order": "F"
    {"is": "datetime", "zone": null | "Europe/Berlin" | 3600}     not in UTC; value: ISO 8601 text
    {"is": "fields", "form": form}                           see `describe_fields`
    and what audit.lineage.content.served_frames adds: frame, series, timestamp, NA, NaT

Everything else is refused, never bent: it could not be replayed bit by bit.
"""

import datetime as dt
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.values import Value, normalize
from audit.lineage.content.forms import MAX_CELLS, MAX_DEPTH, Arrays, Form, Served, with_items

_PLAIN = (type(None), bool, int, float, str, bytes, Decimal)
_ARRAY_KINDS = "biufMmSU"


def describe(thing: object, depth: int = 0) -> Served:
    """Split an object into value and form. Raises InvalidInput on what cannot be kept exactly."""
    if depth > MAX_DEPTH:
        raise LimitExceeded(f"nested deeper than {MAX_DEPTH} levels; flatten it")
    kind = type(thing)
    if kind in _PLAIN:
        return Served(normalize(thing), None)
    if kind is dict:
        return _describe_dict(thing, depth)  # type: ignore[arg-type]
    if kind is list or kind is tuple:
        return _describe_sequence(thing, depth)  # type: ignore[arg-type]
    if kind is dt.datetime:
        return _describe_datetime(thing)  # type: ignore[arg-type]
    if kind is dt.date:
        return Served(normalize(thing), None)
    # What is not loaded cannot have made the object: no import is paid for by plain features.
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(thing, numpy.generic):
        return _describe_scalar(thing)
    if numpy is not None and kind is numpy.ndarray:
        return _describe_array(thing, depth)
    if "pandas" in sys.modules:
        from audit.lineage.content import served_frames

        found = served_frames.describe(thing, depth, _ARRAYS)
        if found is not None:
            return found
    raise InvalidInput(
        f"an object of type {kind.__module__}.{kind.__qualname__} cannot be recorded exactly; "
        "use a dictionary, list, NumPy array or data frame"
    )


def rebuild(value: Value, form: Form) -> Any:
    """The object again. Raises FormatError on a form that does not fit the value."""
    try:
        return _rebuild(value, form)
    except (FormatError, LimitExceeded):
        raise
    except Exception as error:  # a form is outside input: any misfit is one error
        raise FormatError(f"the recorded form does not fit the recorded value: {error}") from error


def describe_fields(thing: object) -> tuple[dict[str, Value], Form]:
    """As `describe`, but the value is always an object with named fields, as features are.

    A list, tuple or array of one row has the fields ``x0 x1 ...``; any other value that is not an
    object stands in the one field ``value``.
    """
    value, form = describe(thing)
    if isinstance(value, dict):
        return value, form
    row = value
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        row = value[0]
    if isinstance(row, list):
        fields = {f"x{index}": cell for index, cell in enumerate(row)}
        kept = "row" if row is value else "rows"
        return fields, {"is": "fields", "kept": kept, "size": len(row), "form": form}
    return {"value": value}, {"is": "fields", "kept": "value", "size": 1, "form": form}


def _rebuild(value: Any, form: Form) -> Any:
    if form is None:
        if isinstance(value, dict):
            return {key: _rebuild(value[key], None) for key in sorted(value)}
        if isinstance(value, list):
            return [_rebuild(item, None) for item in value]
        return value
    rebuilder = _REBUILDERS.get(form["is"])
    if rebuilder is not None:
        return rebuilder(value, form)
    from audit.lineage.content import served_frames

    return served_frames.rebuild(value, form, _ARRAYS)


def _describe_dict(thing: Mapping[object, object], depth: int) -> Served:
    value: dict[str, Value] = {}
    forms: dict[str, Form] = {}
    for key, item in thing.items():
        if type(key) is not str:
            raise InvalidInput(f"the key {key!r:.80} is not a string; features have string names")
        value[key], form = describe(item, depth + 1)
        if form is not None:
            forms[key] = form
    normalize(dict.fromkeys(value))
    keys = list(value)
    if not forms and keys == sorted(keys):
        return Served(value, None)
    return Served(value, with_items({"is": "dict", "keys": keys}, forms))


def _rebuild_dict(value: Any, form: dict[str, Any]) -> dict[str, Any]:
    keys, forms = form["keys"], form.get("items", {})
    if sorted(keys) != sorted(value):
        raise FormatError("the recorded form names other fields than the recorded value has")
    return {key: _rebuild(value[key], forms.get(key)) for key in keys}


def _describe_sequence(thing: list[object] | tuple[object, ...], depth: int) -> Served:
    items = [describe(item, depth + 1) for item in thing]
    forms = {str(i): item.form for i, item in enumerate(items) if item.form is not None}
    values: list[Value] = [item.value for item in items]
    if type(thing) is list and not forms:
        return Served(values, None)
    name = "list" if type(thing) is list else "tuple"
    return Served(values, with_items({"is": name}, forms))


def _rebuild_sequence(value: Any, form: dict[str, Any]) -> Any:
    forms = form.get("items", {})
    items = [_rebuild(item, forms.get(str(i))) for i, item in enumerate(value)]
    return tuple(items) if form["is"] == "tuple" else items


def _describe_datetime(thing: dt.datetime) -> Served:
    zone = thing.tzinfo
    if zone is dt.UTC:
        return Served(normalize(thing), None)
    if zone is None:
        return Served(thing.isoformat(), {"is": "datetime", "zone": None, "fold": thing.fold})
    if isinstance(zone, ZoneInfo) and zone.key:
        form = {"is": "datetime", "zone": zone.key, "fold": thing.fold}
        return Served(thing.replace(tzinfo=None).isoformat(), form)
    if isinstance(zone, dt.timezone):
        seconds = zone.utcoffset(None).total_seconds()
        form = {"is": "datetime", "zone": seconds, "fold": thing.fold}
        return Served(thing.replace(tzinfo=None).isoformat(), form)
    raise InvalidInput(f"a datetime with a {type(zone).__name__} zone; use zoneinfo or UTC")


def _rebuild_datetime(value: Any, form: dict[str, Any]) -> dt.datetime:
    zone = form["zone"]
    tzinfo: dt.tzinfo | None = None
    if isinstance(zone, str):
        tzinfo = ZoneInfo(zone)
    elif zone is not None:
        tzinfo = dt.timezone(dt.timedelta(seconds=zone))
    return dt.datetime.fromisoformat(value).replace(tzinfo=tzinfo, fold=form["fold"])


def _describe_scalar(thing: Any) -> Served:
    dtype = thing.dtype
    if not _keeps(dtype):
        raise InvalidInput(f"a NumPy scalar of dtype {dtype} cannot be recorded exactly")
    count = thing.view("i8") if dtype.kind in "Mm" else thing
    return Served(normalize(count.item()), {"is": "numpy", "dtype": dtype.str})


def _rebuild_scalar(value: Any, form: dict[str, Any]) -> Any:
    return _array([value], form["dtype"])[0]


def _describe_array(thing: Any, depth: int) -> Served:
    form: dict[str, Any] = {
        "is": "array",
        "dtype": thing.dtype.str,
        "shape": list(thing.shape),
    }
    # A model may add up in memory order, and then the order shows in the last bit.
    if thing.flags.f_contiguous and not thing.flags.c_contiguous:
        form["order"] = "F"
    if thing.dtype.kind == "O":
        flat = [describe(item, depth + 1) for item in thing.ravel().tolist()]
        forms = {str(i): item.form for i, item in enumerate(flat) if item.form is not None}
        return Served(_nest([item.value for item in flat], thing.shape), with_items(form, forms))
    if not _keeps(thing.dtype):
        raise InvalidInput(f"a NumPy array of dtype {thing.dtype} cannot be recorded exactly")
    cells = thing.view("i8") if thing.dtype.kind in "Mm" else thing
    return Served(normalize(cells.tolist()), form)


def _rebuild_array(value: Any, form: dict[str, Any]) -> Any:
    shape = tuple(form["shape"])
    flat = value
    for _ in shape[1:]:
        flat = [cell for row in flat for cell in row]
    if form["dtype"] == "|O":
        import numpy

        forms = form.get("items", {})
        array = numpy.empty(len(flat), dtype=object)
        for index, cell in enumerate(flat):
            array[index] = _rebuild(cell, forms.get(str(index)))
    else:
        array = _array(flat if shape else [value], form["dtype"])
    array = array.reshape(shape)
    return array.copy(order="F") if form.get("order") == "F" else array


def _keeps(dtype: Any) -> bool:
    """Whether every value of a NumPy dtype goes into a plain value and comes back the same."""
    return dtype.kind in _ARRAY_KINDS and dtype.names is None and dtype.str not in _TOO_WIDE


_TOO_WIDE = ("<f16", ">f16")


def _array(cells: list[Any], dtype_text: str) -> Any:
    """A one-dimensional array of cells that `tolist` made."""
    import numpy

    dtype = numpy.dtype(dtype_text)
    if not _keeps(dtype) or dtype.itemsize * len(cells) > MAX_CELLS * 16:
        raise FormatError(f"an array of {len(cells)} cells of dtype {dtype_text} is not rebuilt")
    if dtype.kind in "Mm":
        return numpy.array(cells, dtype="i8").astype(dtype.newbyteorder("=").str).astype(dtype)
    return numpy.array(cells, dtype=dtype)


def _nest(flat: list[Value], shape: tuple[int, ...]) -> Value:
    """A flat list of cells as nested lists of a shape."""
    if not shape:
        return flat[0]
    if len(shape) == 1:
        return flat
    step = len(flat) // shape[0] if shape[0] else 0
    return [_nest(flat[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]


def _rebuild_fields(value: Any, form: dict[str, Any]) -> Any:
    kept, inner = form["kept"], form["form"]
    if kept == "value":
        return _rebuild(value["value"], inner)
    if form["size"] != len(value):
        raise FormatError("the recorded form has another number of fields than the recorded value")
    row = [value[f"x{index}"] for index in range(len(value))]
    return _rebuild(row if kept == "row" else [row], inner)


_REBUILDERS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "array": _rebuild_array,
    "datetime": _rebuild_datetime,
    "dict": _rebuild_dict,
    "fields": _rebuild_fields,
    "list": _rebuild_sequence,
    "numpy": _rebuild_scalar,
    "tuple": _rebuild_sequence,
}
_ARRAYS = Arrays(_describe_array, _rebuild_array)

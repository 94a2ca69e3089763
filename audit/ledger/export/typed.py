"""Fields as typed columns: which type holds all values of a field exactly, and what it is called.

A kind is written down in an export's manifest: null, bool, int, double, string, bytes, date,
timestamp, decimal:SCALE, json. What no column type holds exactly - several types in one field,
nested values, decimals of different scale or more than MAX_DIGITS digits - is `json`: each value
as text in the spelling of `audit.event.values`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from audit.errors import FormatError
from audit.event.valuejson import dumps_bytes

MAX_DIGITS = 38
"""Widest decimal that DuckDB, Spark and Trino all have."""

_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "double",
    str: "string",
    bytes: "bytes",
    datetime: "timestamp",
    date: "date",
}
_TYPES = {
    "null": pa.string(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "double": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
    "timestamp": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
    "json": pa.string(),
}
_DECIMAL = re.compile(r"decimal:([0-9]|[12][0-9]|3[0-8])")


def kind_of(value: Any) -> str:
    """The kind of one value."""
    known = _KINDS.get(type(value))
    if known is not None:
        return known
    if isinstance(value, Decimal):
        _, digits, exponent = value.as_tuple()
        scale = -exponent if isinstance(exponent, int) else -1
        # All digits that the column's scale leaves room for, before the point and behind it.
        if 0 <= scale <= MAX_DIGITS and max(len(digits), scale) <= MAX_DIGITS:
            return f"decimal:{scale}"
    return "json"


def merged(left: str, right: str) -> str:
    """The kind that holds the values of both."""
    if left == right or right == "null":
        return left
    return right if left == "null" else "json"


def known_kind(kind: object) -> bool:
    """Whether a text from outside is a kind."""
    return isinstance(kind, str) and (kind in _TYPES or _DECIMAL.fullmatch(kind) is not None)


def arrow_type(kind: str) -> pa.DataType:
    """The type of a column of this kind."""
    if kind in _TYPES:
        return _TYPES[kind]
    return pa.decimal128(MAX_DIGITS, int(kind.removeprefix("decimal:")))


def kinds_of(rows: Iterable[Mapping[str, Any]], known: Mapping[str, str]) -> dict[str, str]:
    """Field -> kind over these rows, and what was known before."""
    kinds = dict(known)
    for row in rows:
        for name, value in row.items():
            kind = kind_of(value)
            old = kinds.get(name)
            if old is not kind:
                kinds[name] = kind if old is None else merged(old, kind)
    return kinds


def typed_array(cells: Sequence[Any], kind: str) -> pa.Array:
    """Values and None as a column. Raises FormatError for a value that the kind does not hold."""
    values: Sequence[Any] = cells
    if kind == "json":
        values = [None if cell is None else dumps_bytes(cell) for cell in cells]
    elif kind == "null" and any(cell is not None for cell in cells):
        raise FormatError("a column of nulls holds a value")
    try:
        return pa.array(values, arrow_type(kind))
    except (pa.ArrowException, OverflowError, UnicodeError, ValueError, TypeError) as error:
        raise FormatError(f"a value is no {kind}: {str(error)[:200]}") from None


def column_names(
    fields: Iterable[str], taken: Iterable[str], known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Field -> column: no two columns alike to an engine that does not mind upper and lower case.

    `taken`: columns that are there besides. `known`: names given earlier, which stay. A field's
    name is its column's, with `_` behind it as often as it takes; U+0000 (which ends a name in
    the engines) is shown as U+2400, and a field without a name is called `field`.
    """
    named = dict(known or {})
    used = {name.casefold() for name in (*taken, *named.values())}
    for field in sorted(set(fields) - named.keys()):
        column = field.replace("\0", "\u2400") or "field"
        while column.casefold() in used:
            column += "_"
        used.add(column.casefold())
        named[field] = column
    return named

"""Columns -> a pandas frame exactly as `audit.replay.frame` makes it of rows, or an Arrow table."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from audit.replay.columnar.column import VALUE, Column, branches
from audit.replay.columnar.pool import MAX_SMALL_BYTES, Kind, Objects
from audit.replay.columnar.threads import each
from audit.replay.frame import array_of_times, array_of_values, frame_of_arrays
from audit.replay.names import KEY_COLUMN, output_name
from audit.replay.rows_out import build_table

if TYPE_CHECKING:
    from pandas.core.arrays import ExtensionArray

_TYPED = {0x02, 0x04, 0x06, 0x10}
"""Branches of the value union that have a dtype of their own when they are alone in a column:
boolean, long, double, timestamp; as their first byte."""

_ARROW = {
    Kind.INT: pa.int64(),
    Kind.DOUBLE: pa.float64(),
    Kind.BOOL: pa.bool_(),
    Kind.TIME: pa.timestamp("us", "UTC"),
}

_SMALLER = {Kind.TEXT: pa.string(), Kind.BYTES: pa.binary()}


def frame_of(
    keys: Objects, columns: Sequence[tuple[str, Column]], citation: Mapping[str, Any]
) -> "pd.DataFrame":
    """A frame of n keys (texts, in byte order) and named columns of n cells.

    It takes over what it is given, but for arrays that may not be written. (Nobody can change an
    index, so that the keys may be another frame's, too.)
    """
    # Other frames may have the same keys.
    keys = keys.view()
    keys.flags.writeable = False
    named = _named(columns)
    arrays = each(_array, [column for _, column in named], len(keys))
    names = [name for name, _ in named]
    return frame_of_arrays(keys, dict(zip(names, arrays, strict=True)), citation)


def _named(columns: Sequence[tuple[str, Column]]) -> list[tuple[str, Column]]:
    """The columns as they are called in an output, sorted by that."""
    return sorted(((output_name(name), c) for name, c in columns), key=lambda pair: pair[0])


def _array(column: Column) -> "ExtensionArray | np.ndarray[Any, Any]":
    kind = column.kind
    if kind is Kind.MIXED and _is_typed(column):
        return array_of_values(column.objects(None, pd.NA).tolist())
    if kind not in _ARROW:
        return column.objects(None, pd.NA)
    mask = column.state != VALUE
    # What may not be written belongs to a snapshot.
    data = column.data if column.data.flags.writeable else column.data.copy()
    if kind is Kind.TIME:
        return array_of_times(data, mask)
    if mask.any():
        data[mask] = 0
    if kind is Kind.INT:
        return pd.arrays.IntegerArray(data, mask)
    if kind is Kind.DOUBLE:
        return pd.arrays.FloatingArray(data, mask)
    return pd.arrays.BooleanArray(data, mask)


def _is_typed(column: Column) -> bool:
    found = branches(column)
    return len(found) == 1 and found <= _TYPED


def table_of(keys: "Objects | pa.Array", columns: Sequence[tuple[str, Column]]) -> "pa.Table":
    """An Arrow table of n keys and named columns, as `audit.replay.rows_out.build_table` makes it.

    Null and absent are both null. Types: int64, double, bool, timestamp[us, UTC], string, binary,
    date32 (large_string and large_binary for more than 2 GiB of them); decimals of one scale are
    decimal128 or decimal256. What Arrow has no exact type for (several types in one column, nested
    values, decimals of several scales) is its JSON text, and the field's metadata says so
    (`audit.encoding` = `json`). A column without any value is of type string.
    """
    fields = [pa.field(KEY_COLUMN, pa.string(), nullable=False)]
    arrays = [keys if isinstance(keys, pa.Array) else pa.array(keys, pa.string())]
    ordered = sorted(columns, key=lambda pair: output_name(pair[0]))
    for field, array in each(_arrow, ordered, len(keys)):
        fields.append(field)
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _picked(values: "pa.Array", places: "pa.Array", kind: Kind) -> "pa.Array":
    """The values at some places, in the smaller type if it can hold them."""
    small = _SMALLER.get(kind)
    if small is None:
        return values.take(places)
    longest = pc.max(pc.binary_length(values)).as_py() or 0
    if len(places) * longest <= MAX_SMALL_BYTES >= values.nbytes:
        return values.cast(small).take(places)
    found = values.take(places)
    return found.cast(small) if found.nbytes <= MAX_SMALL_BYTES else found


def _arrow(named: tuple[str, Column]) -> tuple["pa.Field", "pa.Array"]:
    name, column = named
    there = column.state == VALUE
    mask = None if there.all() else ~there
    shown = output_name(name)
    if column.kind in _ARROW:
        type_ = _ARROW[column.kind]
        return pa.field(shown, type_), pa.array(column.data, mask=mask).cast(type_)
    if column.kind is Kind.NONE or column.pool is None:
        return pa.field(shown, pa.string()), pa.nulls(len(there), pa.string())
    if column.kind is not Kind.MIXED:
        values = _picked(column.pool.values, pa.array(column.data, mask=mask), column.kind)
        return pa.field(shown, values.type), values
    cells = column.objects(None, None).tolist()
    table = build_table([("", {name: cell}) for cell in cells], [name], None)
    return table.schema.field(0), table.column(0)

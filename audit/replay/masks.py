"""Conditions on whole columns of an Arrow table: the answers of `Condition.fits`, sooner.

Only for columns whose type says what each value is: a column that is spelled as JSON, decimals and
the like are left to `fits`. Comparisons of integers with fractions, and of doubles with numbers
that no double equals, are exact, as those of Python are.
"""

import math
from collections.abc import Callable, Collection
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit.event.times import days_of_date, us_of_time
from audit.event.wire import MAX_INT64, MIN_INT64
from audit.replay.conditions import IS_NOT_NULL, IS_NULL, Condition, Filters

Mask = npt.NDArray[np.bool_]

_OTHER = {"!=": "==", "not in": "in"}
_TEXT_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def mask_of(table: pa.Table, filters: Filters) -> Mask | None:
    """bool[n], the rows that fit; None where a column's values must be looked at one by one."""
    fitting = np.zeros(len(table), bool)
    for all_of in filters:
        own = np.ones(len(table), bool)
        for condition in all_of:
            held = _mask(table, condition)
            if held is None:
                return None
            own &= held
        fitting |= own
    return fitting


def _mask(table: pa.Table, condition: Condition) -> Mask | None:
    if condition.field not in table.column_names:
        return np.full(len(table), condition.op == IS_NULL)
    column = table.column(condition.field)
    there: Mask = column.is_valid().to_numpy()
    if condition.op in (IS_NULL, IS_NOT_NULL):
        return there if condition.op == IS_NOT_NULL else ~there
    if table.schema.field(condition.field).metadata:
        return None
    kind = _kind(column.type)
    if kind is None:
        return None
    wanted = condition.wanted.get(kind, ())
    op = _OTHER.get(condition.op, condition.op)
    orders = op in _ORDERS
    held = _ordered(column, kind, op, wanted) if orders else _one_of(column, kind, wanted)
    if held is None:
        return None
    return there & (held if op == condition.op else ~held)


def _kind(type_: pa.DataType) -> type | None:
    """The Python type of a column's values."""
    for fits, kind in (
        (pa.types.is_int64, int),
        (pa.types.is_float64, float),
        (pa.types.is_boolean, bool),
        (pa.types.is_string, str),
        (pa.types.is_large_string, str),
        (pa.types.is_binary, bytes),
        (pa.types.is_large_binary, bytes),
        (pa.types.is_date32, date),
        (pa.types.is_timestamp, datetime),
    ):
        if fits(type_):
            return kind
    return None


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """The values as numbers, 0 where there is none: days of a date, microseconds of a time."""
    if pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    elif pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    zero = False if pa.types.is_boolean(column.type) else 0
    numbers: npt.NDArray[Any] = pc.fill_null(column, zero).to_numpy()
    return numbers


def _plain(value: Any) -> Any:
    """A date as days, a time as microseconds, since 1970; a number as it is."""
    if isinstance(value, datetime):
        return us_of_time(value)
    return days_of_date(value) if isinstance(value, date) else value


def _one_of(column: pa.ChunkedArray, kind: type, wanted: Collection[Any]) -> Mask:
    if kind in (str, bytes):
        found: Mask = pc.is_in(column, value_set=pa.array(list(wanted), column.type)).to_numpy()
        return found
    numbers = _numbers(column)
    exact = [number for number in map(_plain, wanted) if _is_in_type(number, kind)]
    # Said again: an integer beyond 2^53 must not be compared as a double.
    return np.isin(numbers, np.array(exact, dtype=object).astype(numbers.dtype))


def _is_in_type(number: Any, kind: type) -> bool:
    """Whether some value of the column's type is this very number."""
    if kind is float:
        return bool(_nearest(number) == number)
    if kind is int:
        return bool(MIN_INT64 <= number <= MAX_INT64 and number == math.floor(number))
    return True


def _nearest(number: Any) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _ordered(column: pa.ChunkedArray, kind: type, op: str, wanted: Collection[Any]) -> Mask | None:
    if not wanted:
        return np.zeros(len(column), bool)
    (limit,) = wanted
    if kind in (str, bytes):
        # UTF-8 sorts by its bytes as text does by its characters.
        compared = _TEXT_ORDERS[op](column, pa.scalar(limit, column.type))
        found: Mask = pc.fill_null(compared, False).to_numpy()
        return found
    if kind is bool:
        return None
    if kind is float:
        op, limit = _as_double(op, limit)
    elif kind is int:
        whole = _as_integer(op, limit)
        if isinstance(whole, bool):
            return np.full(len(column), whole)
        limit = whole
    else:
        limit = _plain(limit)
    ordered: Mask = _ORDERS[op](_numbers(column), limit)
    return ordered


def _as_double(op: str, limit: Any) -> tuple[str, float]:
    """The same order among doubles, against the double nearest to the limit."""
    near = _nearest(limit)
    if near < limit:
        return {"<": "<=", ">=": ">"}.get(op, op), near
    if near > limit:
        return {"<=": "<", ">": ">="}.get(op, op), near
    return op, near


def _as_integer(op: str, limit: Any) -> int | bool:
    """The integer that orders integers as the limit does; or what holds for all of them."""
    if isinstance(limit, float) and math.isinf(limit):
        return op in ("<", "<=") if limit > 0 else op in (">", ">=")
    whole: int = math.ceil(limit) if op in ("<", ">=") else math.floor(limit)
    if whole > MAX_INT64:
        return op in ("<", "<=")
    if whole < MIN_INT64:
        return op in (">", ">=")
    return whole

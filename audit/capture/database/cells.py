"""What a value of a database becomes in an event: the same whichever way its change was seen.

What has no type in an event becomes text as PostgreSQL prints it. The triggers' SQL (`cells_sqlite`
and `cells_postgresql`) makes the same cells inside the database.
"""

import struct
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Boolean, Column, Float, Integer, Numeric, Table
from sqlalchemy import Enum as SqlEnum
from sqlalchemy.dialects.postgresql.ranges import MultiRange, Range

from audit.capture.database.captured import Captured
from audit.capture.key_part import key_part
from audit.errors import InvalidInput
from audit.event.normal import MAX_DECIMAL_DIGITS
from audit.event.shown import shown
from audit.event.wire import MAX_INT64, MIN_INT64

_AS_THEY_ARE = frozenset({str, bytes, type(None)})
_TEXTS = (
    *(UUID, IPv4Address, IPv4Interface, IPv4Network),
    *(IPv6Address, IPv6Interface, IPv6Network),
)
_EXACT = Context(prec=MAX_DECIMAL_DIGITS, rounding=ROUND_HALF_UP)
"""PostgreSQL rounds a half away from zero."""
_US = 1_000_000


def cell(value: Any, column: Column[Any] | None = None) -> Any:
    """The value of an event that a database value becomes.

    `column` says what the database makes of it: an int given for a NUMERIC(10, 2) is kept as 5.00.
    A naive datetime becomes text, never an instant. A decimal's NaN and infinities become doubles.
    Raises InvalidInput, naming the column, for an integer beyond 64 bits and unknown types.
    """
    if type(value) in _AS_THEY_ARE:
        return value
    kind: Any = None if column is None or isinstance(column.type, JSON) else column.type
    try:
        return _cell(value, kind)
    except InvalidInput as error:
        if column is None:
            raise
        name = column.name if column.table is None else f"{column.table.name}.{column.name}"
        raise InvalidInput(f"column {name[:130]!r}: {error}") from None


def row_cells(
    row: Mapping[str, Any], captured: Captured, table: Table | None = None
) -> dict[str, Any]:
    """The cells of a row, of those captured columns that the row has. Raises InvalidInput."""
    return {name: cell(row[name], _column(table, name)) for name in captured.columns if name in row}


def key_of(
    row: Mapping[str, Any], captured: Captured, table: Table | None = None
) -> str | int | list[str | int]:
    """The key of a row, as `audit.event.normal.key_text` takes it. Raises InvalidInput.

    Parts are integers and texts; what is neither is the text of its cell.
    """
    parts = [_part(row, name, table) for name in captured.key]
    return parts[0] if len(parts) == 1 else parts


def _part(row: Mapping[str, Any], name: str, table: Table | None) -> str | int:
    if name not in row:
        raise InvalidInput(f"the row has no {name[:64]!r}, which is of its key")
    value = cell(row[name], _column(table, name))
    return key_part(value, name)


def _column(table: Table | None, name: str) -> Column[Any] | None:
    return None if table is None else table.columns.get(name)


def _cell(value: Any, kind: Any) -> Any:
    if isinstance(value, Enum):
        value = _kept_enum(value, kind)
    if value is None or isinstance(value, str):
        return value if value is None else str.__str__(value)
    if isinstance(value, bool | int | float | Decimal):
        return _number(value, kind)
    if isinstance(value, datetime):
        return value if value.utcoffset() is not None else _naive(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, date):
        return value
    if isinstance(value, _TEXTS):
        return str(value)
    if isinstance(value, time):
        return _time(value)
    if isinstance(value, timedelta):
        return _interval(value)
    if isinstance(value, Mapping):
        return {_name(key): _cell(item, None) for key, item in value.items()}
    if isinstance(value, Range):
        return _range(value)
    if isinstance(value, MultiRange):
        return "{" + ",".join(map(_range, value)) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        items: Iterable[Any] = sorted(value) if isinstance(value, set | frozenset) else value
        inner = getattr(kind, "item_type", None)
        return [_cell(item, inner) for item in items]
    raise InvalidInput(f"a value of type {type(value).__name__} has no place in an event")


def _name(key: Any) -> str:
    if not isinstance(key, str):
        raise InvalidInput(f"a name is a text, not {shown(key)}")
    return key


def _kept_enum(value: Enum, kind: Any) -> Any:
    """What the database keeps of a member: SQLAlchemy's Enum its name, unless told otherwise."""
    if isinstance(kind, SqlEnum) and kind.enum_class is not None:
        members = list(kind.enum_class.__members__.values())
        if len(members) != len(kind.enums):
            members = list(kind.enum_class)
        for member, kept in zip(members, kind.enums, strict=False):
            if member is value:
                return kept
        return value.name
    return value.value


def _number(value: bool | int | float | Decimal, kind: Any) -> Any:
    if isinstance(kind, Boolean):
        return bool(value)
    if isinstance(kind, Float):
        return float(value)
    if isinstance(kind, Numeric):
        exact = value if isinstance(value, Decimal) else Decimal(str(+value))
        return _decimal(exact, kind.scale)
    if isinstance(value, bool):
        return int(value) if isinstance(kind, Integer) else value
    if isinstance(value, Decimal):
        return _decimal(value, None)
    if isinstance(value, float):
        return float(value)
    if MIN_INT64 <= value <= MAX_INT64:
        return int(value)
    if kind is None:
        # Inside a JSON value, where numbers have no limit.
        return Decimal(value)
    raise InvalidInput(f"an integer of {value.bit_length()} bits does not fit 64 bits")


def _decimal(value: Decimal, scale: int | None) -> Decimal | float:
    if not value.is_finite():
        return float(value)
    if scale is not None and -value.as_tuple().exponent != scale:  # type: ignore[operator]
        value = value.quantize(Decimal(1).scaleb(-scale), context=_EXACT)
    return value if value else value.copy_abs()


def _naive(value: datetime) -> str:
    """Without a zone it is no instant: the text that it has in the database."""
    return value.replace(tzinfo=None).isoformat()


def _time(value: time) -> str:
    text = value.replace(tzinfo=None).isoformat()
    text = text.rstrip("0") if "." in text else text
    offset = value.utcoffset()
    return text if offset is None else text + _offset(offset)


def _offset(offset: timedelta) -> str:
    seconds = round(offset.total_seconds())
    sign, seconds = ("-", -seconds) if seconds < 0 else ("+", seconds)
    hours, minutes = divmod(seconds // 60, 60)
    return f"{sign}{hours:02}" + (f":{minutes:02}" if minutes else "")


def _interval(value: timedelta) -> str:
    """As PostgreSQL prints `justify_hours` of it: "-1 days +02:00:00" and "32 days 03:00:00.5"."""
    rest_us = value // timedelta(microseconds=1)
    sign, rest_us = ("-", -rest_us) if rest_us < 0 else ("", rest_us)
    days, rest_us = divmod(rest_us, 86_400 * _US)
    seconds, us = divmod(rest_us, _US)
    clock = f"{seconds // 3_600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    clock += f".{us:06}".rstrip("0") if us else ""
    words = f"{sign}{days} day{'' if days == 1 and not sign else 's'}" if days else ""
    return " ".join(part for part in (words, sign + clock if rest_us or not days else "") if part)


def _range(value: Range[Any]) -> str:
    if value.isempty:
        return "empty"
    lower, upper = (_bound(each) for each in (value.lower, value.upper))
    opening = value.bounds[0] if lower else "("
    return f"{opening}{lower},{upper}{value.bounds[1] if upper else ')'}"


def _bound(value: Any) -> str:
    if value is None:
        return ""
    text = str(_cell(value, None))
    if isinstance(value, datetime):
        naive = value if value.tzinfo is None else value - (value.utcoffset() or timedelta())
        text = naive.replace(tzinfo=None).isoformat(" ")
        text = text.rstrip("0") if "." in text else text
        text = f'"{text}{"" if value.tzinfo is None else "+00"}"'
    return text


def short_float4(value: float) -> float:
    """The double whose text is the shortest that a 4-byte float has, as PostgreSQL prints a real.

    For values on their way into a column of type REAL on PostgreSQL.
    """
    (exact,) = struct.unpack("f", struct.pack("f", value))
    for digits in range(6, 10):
        short = float(f"{exact:.{digits}g}")
        if struct.unpack("f", struct.pack("f", short))[0] == exact:
            return short
    return float(exact)

"""Values with a meaning: what Kafka Connect and Debezium write as numbers, bytes and texts.

A time without a zone stays one: text, never an instant. What is beyond the years 0001 to 9999
(PostgreSQL's infinity comes as such a number) stays the number it is.
"""

import math
from collections.abc import Callable
from datetime import datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any

from audit.capture.database.cells import cell, short_float4
from audit.capture.debezium.json_text import MAX_TEXT_BYTES, parse, plain
from audit.capture.debezium.shape import (
    BOOLEAN,
    BYTES,
    DOUBLE,
    ENUM,
    FIXED,
    FLOAT,
    INT,
    STRING,
    Shape,
)
from audit.errors import FormatError, InvalidInput
from audit.event.normal import MAX_DECIMAL_DIGITS, MAX_DECIMAL_SCALE
from audit.event.shown import shown
from audit.event.times import (
    MAX_DATE_DAYS,
    MAX_TIME_US,
    MIN_DATE_DAYS,
    MIN_TIME_US,
    date_of_days,
    parse_rfc3339,
    time_of_us,
)
from audit.event.wire import MAX_INT64, MIN_INT64

MAX_DECIMAL_BYTES = 512
"""Longest unscaled value of a decimal."""
MAX_BITS = 65_536
MAX_FLOAT4 = 3.4028235677973366e38
"""The first number that a 4-byte float has no place for."""
_DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1)
_EXACT = Context(prec=MAX_DECIMAL_DIGITS)
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_PLAIN = {BOOLEAN: bool, INT: int, STRING: str, ENUM: str, BYTES: bytes, FIXED: bytes}


def finished(shape: Shape, raw: Any) -> Any:
    """The value that a raw one of this shape stands for; what is inside it is finished already.

    Raises FormatError when it does not fit the shape.
    """
    make = _MEANINGS.get(shape.name) if shape.name else None
    if make is not None:
        return make(shape, raw)
    if shape.kind in (FLOAT, DOUBLE):
        return _double(shape, raw)
    kind = _PLAIN.get(shape.kind)
    if kind is not None and type(raw) is not kind:
        raise _misfit(shape, raw)
    if kind is int and not MIN_INT64 <= raw <= MAX_INT64:
        raise FormatError(f"{shown(raw)} does not fit an integer of 64 bits")
    return raw


def _misfit(shape: Shape, raw: Any) -> FormatError:
    return FormatError(f"{shown(raw)} is no {shape.name[:64] or shape.kind}")


def _integer(shape: Shape, raw: Any) -> int:
    if type(raw) is not int or not MIN_INT64 <= raw <= MAX_INT64:
        raise _misfit(shape, raw)
    return raw


def _text(shape: Shape, raw: Any) -> str:
    if type(raw) is not str:
        raise _misfit(shape, raw)
    return raw


def _double(shape: Shape, raw: Any) -> float:
    if type(raw) is str and raw in _NOT_FINITE:
        return _NOT_FINITE[raw]
    if type(raw) not in (int, float, Decimal):
        raise _misfit(shape, raw)
    try:
        value = float(raw)
    except OverflowError:
        raise _misfit(shape, raw) from None
    if math.isinf(value) and type(raw) is not float:
        raise _misfit(shape, raw)
    is_short = shape.kind == FLOAT and abs(value) < MAX_FLOAT4
    return short_float4(value) if is_short else value


def _date(shape: Shape, raw: Any) -> Any:
    days = _integer(shape, raw)
    return date_of_days(days) if MIN_DATE_DAYS <= days <= MAX_DATE_DAYS else days


def _time(per_second: int) -> Callable[[Shape, Any], Any]:
    def make(shape: Shape, raw: Any) -> str:
        count = _integer(shape, raw)
        us, rest = divmod(abs(count) * 1_000_000, per_second)
        seconds, part_us = divmod(us, 1_000_000)
        hours, minutes = divmod(seconds // 60, 60)
        if count >= 0 and us < _DAY_US and not rest:
            return str(cell(time(hours, minutes, seconds % 60, part_us)))
        # MySQL counts hours beyond a day, and backwards.
        part = f"{part_us:06}{rest * 1_000 // per_second:03}".rstrip("0")
        text = f"{hours:02}:{minutes:02}:{seconds % 60:02}" + (f".{part}" if part else "")
        return "-" + text if count < 0 else text

    return make


def _naive(per_second: int) -> Callable[[Shape, Any], Any]:
    def make(shape: Shape, raw: Any) -> Any:
        count = _integer(shape, raw)
        us, rest = divmod(count * 1_000_000, per_second)
        if not MIN_TIME_US <= us <= MAX_TIME_US:
            return count
        moment = _EPOCH + timedelta(microseconds=us)
        if not rest:
            return moment.isoformat()
        return f"{moment.isoformat(timespec='microseconds')}{rest * 1_000 // per_second:03}"

    return make


def _zoned(shape: Shape, raw: Any) -> Any:
    text = _text(shape, raw)
    try:
        return time_of_us(parse_rfc3339(text))
    except InvalidInput:
        return text  # finer than a microsecond, or beyond the years: kept as it was said


def _interval(per_second: int) -> Callable[[Shape, Any], Any]:
    def make(shape: Shape, raw: Any) -> Any:
        count = _integer(shape, raw)
        us, rest = divmod(count * 1_000_000, per_second)
        return count if rest else cell(timedelta(microseconds=us))

    return make


def _json(shape: Shape, raw: Any) -> Any:
    text = _text(shape, raw)
    if len(text) > MAX_TEXT_BYTES:
        return text
    try:
        return plain(parse(text))
    except InvalidInput:
        return text  # PostgreSQL's json keeps repeated keys; here only its text can


def _decimal(shape: Shape, raw: Any) -> Decimal:
    scale = _scale(shape.parameters.get("scale", "0"))
    if type(raw) is bytes:
        return _scaled(raw, scale)
    if type(raw) is int:
        raw = Decimal(raw)
    if type(raw) is not Decimal:
        raise _misfit(shape, raw)
    # The converter's decimal.format=NUMERIC.
    try:
        scaled = raw.quantize(Decimal(1).scaleb(-scale), context=_EXACT)
    except ArithmeticError:
        raise _misfit(shape, raw) from None
    if scaled != raw:
        raise FormatError(f"{shown(raw)} has more digits than the scale {scale} of its column")
    return scaled if scaled else scaled.copy_abs()


def _variable_decimal(shape: Shape, raw: Any) -> Decimal:
    if type(raw) is not dict or type(raw.get("value")) is not bytes:
        raise _misfit(shape, raw)
    return _scaled(raw["value"], _scale(raw.get("scale")))


def _scale(scale: Any) -> int:
    if type(scale) is str and scale.removeprefix("-").isdecimal() and len(scale) < 8:
        scale = int(scale)
    if type(scale) is not int or abs(scale) > MAX_DECIMAL_SCALE:
        raise FormatError(f"a decimal's scale {shown(scale)}: at most {MAX_DECIMAL_SCALE}")
    return scale


def _scaled(raw: bytes, scale: int) -> Decimal:
    if not 0 < len(raw) <= MAX_DECIMAL_BYTES:
        raise FormatError(f"a decimal of {len(raw)} bytes: 1 to {MAX_DECIMAL_BYTES}")
    unscaled = int.from_bytes(raw, "big", signed=True)
    digits = tuple(map(int, str(abs(unscaled))))
    return Decimal((int(unscaled < 0), digits, -scale))


def _bits(shape: Shape, raw: Any) -> Any:
    if type(raw) is not bytes:
        raise _misfit(shape, raw)
    length = shape.parameters.get("length", "")
    count = int(length) if length.isdecimal() and len(length) < 8 else 0
    if not 0 < count <= MAX_BITS or len(raw) != (count + 7) // 8:
        return raw  # of varying length: nobody knows how many
    return format(int.from_bytes(raw, "little"), f"0{count}b")


_DEBEZIUM = "io.debezium.time."
_CONNECT = "org.apache.kafka.connect.data."
_MEANINGS: dict[str, Callable[[Shape, Any], Any]] = {
    _DEBEZIUM + "Date": _date,
    _CONNECT + "Date": _date,
    _DEBEZIUM + "Time": _time(1_000),
    _CONNECT + "Time": _time(1_000),
    _DEBEZIUM + "MicroTime": _time(1_000_000),
    _DEBEZIUM + "NanoTime": _time(1_000_000_000),
    _DEBEZIUM + "Timestamp": _naive(1_000),
    _CONNECT + "Timestamp": _naive(1_000),
    _DEBEZIUM + "MicroTimestamp": _naive(1_000_000),
    _DEBEZIUM + "NanoTimestamp": _naive(1_000_000_000),
    _DEBEZIUM + "ZonedTimestamp": _zoned,
    _DEBEZIUM + "MicroDuration": _interval(1_000_000),
    _DEBEZIUM + "NanoDuration": _interval(1_000_000_000),
    "io.debezium.data.Json": _json,
    "io.debezium.data.Bits": _bits,
    _CONNECT + "Decimal": _decimal,
    "io.debezium.data.VariableScaleDecimal": _variable_decimal,
}
"""All others (Uuid, Enum, Xml, Ltree, Year, ZonedTime, Interval ...) are what their type says."""

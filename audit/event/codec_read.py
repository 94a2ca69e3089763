"""Avro binary to Python values, for any checked type: declared rows and typed records.

A type is compiled once into a decoder. Hostile bytes cost no more than their length: counts are
checked before anything is made, and every value takes at least one byte.
"""

import struct
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from audit.errors import FormatError, InvalidInput
from audit.event.avrotype import UUID, AvroType
from audit.event.fields import (
    MAX_DECIMAL_BYTES,
    decimal_of,
    decode_boolean,
    decode_fields,
    decode_time,
    decode_unscaled,
    decode_value,
)
from audit.event.times import MAX_TIME_US, MIN_TIME_US, date_of_days
from audit.event.wire import (
    MAX_INT32,
    MIN_INT32,
    decode_bytes,
    decode_count,
    decode_long,
    decode_text,
)

Decoder = Callable[[bytes, int], tuple[Any, int]]

_float = struct.Struct("<f")
_double = struct.Struct("<d")


def decoder_of(kind: AvroType) -> Decoder:
    """The function (data, position) -> (value, position after it); it raises FormatError."""
    make = _DECODERS[kind.kind]
    return make(kind)


def _decode_int(data: bytes, pos: int) -> tuple[int, int]:
    value, pos = decode_long(data, pos)
    if not MIN_INT32 <= value <= MAX_INT32:
        raise FormatError(f"{value} does not fit an int of 32 bits")
    return value, pos


def _decode_float(data: bytes, pos: int) -> tuple[float, int]:
    if pos + 4 > len(data):
        raise FormatError("the bytes end inside a float")
    return _float.unpack_from(data, pos)[0], pos + 4


def _decode_double(data: bytes, pos: int) -> tuple[float, int]:
    if pos + 8 > len(data):
        raise FormatError("the bytes end inside a double")
    return _double.unpack_from(data, pos)[0], pos + 8


def _decode_date(data: bytes, pos: int) -> tuple[date, int]:
    days, pos = decode_long(data, pos)
    try:
        return date_of_days(days), pos
    except InvalidInput as error:
        raise FormatError(str(error)) from None


def _decode_micros(data: bytes, pos: int) -> tuple[datetime, int]:
    us, pos = decode_long(data, pos)
    return decode_time(us), pos


def _decode_millis(data: bytes, pos: int) -> tuple[datetime, int]:
    ms, pos = decode_long(data, pos)
    if not MIN_TIME_US <= ms * 1_000 <= MAX_TIME_US:
        raise FormatError(f"time {ms} ms since 1970 is outside the years 0001 to 9999")
    return decode_time(ms * 1_000), pos


def _decode_uuid(data: bytes, pos: int) -> tuple[str, int]:
    text, pos = decode_text(data, pos)
    if UUID.fullmatch(text) is None:
        raise FormatError(f"{text[:64]!r} is not a UUID")
    return text, pos


def _read_decimal(kind: AvroType) -> Decoder:
    def decode(data: bytes, pos: int) -> tuple[Decimal, int]:
        if kind.size is None:
            raw, pos = decode_bytes(data, pos)
        else:
            raw, pos = _cut(data, pos, kind.size)
            # Digits are limited by the precision; a wide fixed is mostly sign.
            sign = b"\xff" if raw[0] & 0x80 else b"\x00"
            raw = sign + raw[-(MAX_DECIMAL_BYTES - 1) :] if _is_sign(raw, sign) else raw
        unscaled = decode_unscaled(raw)
        value = decimal_of(unscaled, kind.scale)
        if len(value.as_tuple().digits) > kind.precision:
            raise FormatError(f"decimal has more than the declared {kind.precision} digits")
        return value, pos

    return decode


def _is_sign(raw: bytes, sign: bytes) -> bool:
    spare = len(raw) - (MAX_DECIMAL_BYTES - 1)
    return spare > 0 and raw[:spare] == sign * spare


def _cut(data: bytes, pos: int, size: int) -> tuple[bytes, int]:
    end = pos + size
    if end > len(data):
        raise FormatError(f"the bytes end inside a value of {size} bytes")
    return data[pos:end], end


def _read_fixed(kind: AvroType) -> Decoder:
    size = kind.size or 0

    def decode(data: bytes, pos: int) -> tuple[bytes, int]:
        return _cut(data, pos, size)

    return decode


def _read_enum(kind: AvroType) -> Decoder:
    symbols = kind.symbols

    def decode(data: bytes, pos: int) -> tuple[str, int]:
        at, pos = decode_long(data, pos)
        if not 0 <= at < len(symbols):
            raise FormatError(f"{kind.name} has no symbol number {at}")
        return symbols[at], pos

    return decode


def _read_nullable(kind: AvroType) -> Decoder:
    inner = decoder_of(kind.inner)
    null = 0 if kind.null_first else 2

    def decode(data: bytes, pos: int) -> tuple[Any, int]:
        branch = data[pos] if pos < len(data) else 0xFF
        if branch == null:
            return None, pos + 1
        if branch != 2 - null:
            raise FormatError(f"cut off, or no such union branch at byte {pos}")
        return inner(data, pos + 1)

    return decode


def _read_array(kind: AvroType) -> Decoder:
    item = kind.inner
    inner = decoder_of(item)

    def decode(data: bytes, pos: int) -> tuple[list[Any], int]:
        out: list[Any] = []
        while True:
            count, pos, end = decode_count(data, pos, item.min_bytes)
            for _ in range(count):
                value, pos = inner(data, pos)
                out.append(value)
            if end is not None and end != pos:
                raise FormatError("a block of an array is not as long as it claims")
            if count == 0:
                return out, pos

    return decode


def _read_map(kind: AvroType) -> Decoder:
    item = kind.inner
    inner = decoder_of(item)

    def decode(data: bytes, pos: int) -> tuple[dict[str, Any], int]:
        out: dict[str, Any] = {}
        while True:
            count, pos, end = decode_count(data, pos, item.min_bytes + 1)
            for _ in range(count):
                key, pos = decode_text(data, pos)
                if key in out:
                    raise FormatError(f"key {key[:64]!r} of a map is there twice")
                out[key], pos = inner(data, pos)
            if end is not None and end != pos:
                raise FormatError("a block of a map is not as long as it claims")
            if count == 0:
                return out, pos

    return decode


def _read_record(kind: AvroType) -> Decoder:
    fields = [(field.name, decoder_of(field.type)) for field in kind.fields]

    def decode(data: bytes, pos: int) -> tuple[dict[str, Any], int]:
        out: dict[str, Any] = {}
        for name, inner in fields:
            out[name], pos = inner(data, pos)
        return out, pos

    return decode


def _decode_output(data: bytes, pos: int) -> tuple[Any, int]:
    branch = data[pos] if pos < len(data) else 0xFF
    if branch == 0:
        return None, pos + 1
    if branch == 2:
        return decode_fields(data, pos + 1)
    if branch == 4:
        value, pos = decode_value(data, pos + 1)
        if value is None or isinstance(value, dict):
            raise FormatError("a single output is neither null nor an object")
        return value, pos
    raise FormatError(f"cut off, or no such union branch at byte {pos}")


_DECODERS: dict[str, Callable[[AvroType], Decoder]] = {
    "boolean": lambda kind: decode_boolean,
    "int": lambda kind: _decode_int,
    "long": lambda kind: decode_long,
    "float": lambda kind: _decode_float,
    "double": lambda kind: _decode_double,
    "string": lambda kind: decode_text,
    "bytes": lambda kind: decode_bytes,
    "date": lambda kind: _decode_date,
    "timestamp-micros": lambda kind: _decode_micros,
    "timestamp-millis": lambda kind: _decode_millis,
    "uuid": lambda kind: _decode_uuid,
    "fields": lambda kind: decode_fields,
    "output": lambda kind: _decode_output,
    "decimal": _read_decimal,
    "fixed": _read_fixed,
    "enum": _read_enum,
    "nullable": _read_nullable,
    "array": _read_array,
    "map": _read_map,
    "record": _read_record,
}


def decode_whole(decoder: Decoder, data: bytes) -> Any:
    """The value that the bytes hold, all of them. Raises FormatError, LimitExceeded."""
    value, pos = decoder(data, 0)
    if pos != len(data):
        raise FormatError(f"{len(data) - pos} bytes after the end of the value")
    return value

"""Avro binary from and to Python values, for any checked type: declared rows and typed records.

A type is compiled once into an encoder and a decoder. Encoding refuses what the type cannot hold
exactly: 5 is no double, 1.0 is no int, Decimal("1.5") has not scale 2, 0.1 is no 32-bit float.
Decoding hostile bytes costs no more than their length: counts are checked before anything is made,
and every value takes at least one byte. Errors of encoding name the field.
"""

import math
import re
import struct
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from audit.errors import FormatError, InvalidInput
from audit.event.avrotype import AvroType
from audit.event.fields import (
    MAX_DECIMAL_BYTES,
    decimal_bytes,
    decimal_of,
    decode_boolean,
    decode_fields,
    decode_time,
    decode_unscaled,
    decode_value,
    encode_fields,
    encode_value,
)
from audit.event.normal import check_decimal, check_name, check_text, named, normalize
from audit.event.times import MAX_TIME_US, MIN_TIME_US, date_of_days, days_of_date, us_of_time
from audit.event.wire import (
    MAX_INT32,
    MIN_INT32,
    decode_bytes,
    decode_count,
    decode_long,
    decode_text,
    encode_long,
    encode_size,
)

Encoder = Callable[[Any], bytes]
Decoder = Callable[[bytes, int], tuple[Any, int]]

_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_float = struct.Struct("<f")
_double = struct.Struct("<d")


def _exactly(kind: type, value: Any, what: str) -> Any:
    """The value as exactly this Python type. Raises InvalidInput."""
    if type(value) is not kind:
        value = normalize(value)
        if type(value) is not kind:
            found = "null" if value is None else f"{type(value).__name__} {value!r:.64}"
            raise InvalidInput(f"{found} is not {what}")
    return value


def encoder_of(kind: AvroType) -> Encoder:
    """The function that encodes values of a type; it raises InvalidInput and LimitExceeded."""
    make = _ENCODERS[kind.kind]
    return make(kind)


def decoder_of(kind: AvroType) -> Decoder:
    """The function (data, position) -> (value, position after it); it raises FormatError."""
    make = _DECODERS[kind.kind]
    return make(kind)


# Encoding: one maker for each kind of type.


def _encode_boolean(value: Any) -> bytes:
    return b"\x01" if _exactly(bool, value, "a boolean") else b"\x00"


def _encode_int(value: Any) -> bytes:
    value = _exactly(int, value, "an integer")
    if not MIN_INT32 <= value <= MAX_INT32:
        raise InvalidInput(f"{value} does not fit an int of 32 bits")
    return encode_long(value)


def _encode_long(value: Any) -> bytes:
    return encode_long(_exactly(int, value, "an integer"))


def _encode_double(value: Any) -> bytes:
    return _double.pack(_exactly(float, value, "a double: write 5.0, not 5"))


def _encode_float(value: Any) -> bytes:
    value = _exactly(float, value, "a float: write 5.0, not 5")
    try:
        raw = _float.pack(value)
    except OverflowError:
        raise InvalidInput(f"{value} does not fit a float of 32 bits") from None
    if _float.unpack(raw)[0] != value and not math.isnan(value):
        raise InvalidInput(f"{value} does not fit a float of 32 bits exactly: declare a double")
    return raw


def _encode_string(value: Any) -> bytes:
    raw = check_text(_exactly(str, value, "a string")).encode()
    return encode_size(len(raw)) + raw


def _encode_bytes(value: Any) -> bytes:
    value = _exactly(bytes, value, "bytes")
    return encode_size(len(value)) + value  # type: ignore[no-any-return]


def _encode_date(value: Any) -> bytes:
    return encode_long(days_of_date(_exactly(date, value, "a date")))


def _encode_micros(value: Any) -> bytes:
    return encode_long(us_of_time(_exactly(datetime, value, "a timestamp")))


def _encode_millis(value: Any) -> bytes:
    us = us_of_time(_exactly(datetime, value, "a timestamp"))
    if us % 1_000:
        raise InvalidInput(f"time {value} is finer than the declared milliseconds")
    return encode_long(us // 1_000)


def _encode_uuid(value: Any) -> bytes:
    value = _exactly(str, value, "a UUID as a string")
    if _UUID.fullmatch(value) is None:
        raise InvalidInput(f"{value[:64]!r} is not a UUID")
    return _encode_string(value)


def _make_decimal(kind: AvroType) -> Encoder:
    def encode(value: Any) -> bytes:
        value = _exactly(Decimal, value, f"a decimal with scale {kind.scale}")
        unscaled, scale = check_decimal(value)
        if scale != kind.scale:
            raise InvalidInput(f"decimal {value} has scale {scale}, declared is {kind.scale}")
        if len(str(abs(unscaled))) > kind.precision:
            raise InvalidInput(
                f"decimal {value} has more than the declared {kind.precision} digits"
            )
        if kind.size is None:
            raw = decimal_bytes(unscaled)
            return encode_size(len(raw)) + raw
        return unscaled.to_bytes(kind.size, "big", signed=True)

    return encode


def _make_fixed(kind: AvroType) -> Encoder:
    def encode(value: Any) -> bytes:
        value = _exactly(bytes, value, f"{kind.size} bytes")
        if len(value) != kind.size:
            raise InvalidInput(f"{len(value)} bytes where {kind.size} are declared")
        return value  # type: ignore[no-any-return]

    return encode


def _make_enum(kind: AvroType) -> Encoder:
    encoded = {symbol: encode_long(at) for at, symbol in enumerate(kind.symbols)}

    def encode(value: Any) -> bytes:
        value = _exactly(str, value, "a symbol")
        if value not in encoded:
            some = ", ".join(kind.symbols[:10])
            raise InvalidInput(f"{value[:64]!r} is none of the declared symbols ({some})")
        return encoded[value]

    return encode


def _item(kind: AvroType) -> AvroType:
    assert kind.item is not None  # holds for every nullable, array and map that was parsed
    return kind.item


def _make_nullable(kind: AvroType) -> Encoder:
    inner = encoder_of(_item(kind))
    null, some = (b"\x00", b"\x02") if kind.null_first else (b"\x02", b"\x00")

    def encode(value: Any) -> bytes:
        if value is None:
            return null
        try:
            return some + inner(value)
        except InvalidInput:
            # pandas' NA and NaT are nulls; they are not worth a look at every value.
            if type(value).__module__.startswith(("pandas", "numpy")) and normalize(value) is None:
                return null
            raise

    return encode


def _make_array(kind: AvroType) -> Encoder:
    inner = encoder_of(_item(kind))

    def encode(value: Any) -> bytes:
        if type(value) is not list:
            value = _exactly(list, value, "a list")
        items = [inner(item) for item in value]
        return encode_size(len(items)) + b"".join(items) + b"\x00" if items else b"\x00"

    return encode


def _make_map(kind: AvroType) -> Encoder:
    inner = encoder_of(_item(kind))

    def encode(value: Any) -> bytes:
        if type(value) is not dict:
            value = _exactly(dict, value, "an object")
        items = []
        for key, item in value.items():
            key = check_name(key)
            try:
                items.append(_encode_string(key) + inner(item))
            except InvalidInput as error:
                raise named(error, key) from None
        return encode_size(len(items)) + b"".join(items) + b"\x00" if items else b"\x00"

    return encode


def _make_record(kind: AvroType) -> Encoder:
    fields = [(field.name, encoder_of(field.type)) for field in kind.fields]
    names = frozenset(name for name, _ in fields)

    def encode(value: Any) -> bytes:
        if type(value) is not dict:
            value = _exactly(dict, value, f"an object with the fields of {kind.name}")
        out = []
        for name, inner in fields:
            if name not in value:
                raise InvalidInput(f"field {name!r} is missing (absent is not null)")
            try:
                out.append(inner(value[name]))
            except InvalidInput as error:
                raise named(error, name) from None
        if len(value) != len(fields):
            extra = next(name for name in value if name not in names)
            raise InvalidInput(f"field {extra!r:.64} is not declared")
        return b"".join(out)

    return encode


def _encode_output(value: Any) -> bytes:
    if value is None:
        return b"\x00"
    if type(value) is dict:
        return b"\x02" + encode_fields(value)
    encoded = encode_value(value)
    return b"\x00" if encoded == b"\x00" else b"\x04" + encoded


def _encode_fields(value: Any) -> bytes:
    return encode_fields(value if type(value) is dict else _exactly(dict, value, "an object"))


_ENCODERS: dict[str, Callable[[AvroType], Encoder]] = {
    "boolean": lambda kind: _encode_boolean,
    "int": lambda kind: _encode_int,
    "long": lambda kind: _encode_long,
    "float": lambda kind: _encode_float,
    "double": lambda kind: _encode_double,
    "string": lambda kind: _encode_string,
    "bytes": lambda kind: _encode_bytes,
    "date": lambda kind: _encode_date,
    "timestamp-micros": lambda kind: _encode_micros,
    "timestamp-millis": lambda kind: _encode_millis,
    "uuid": lambda kind: _encode_uuid,
    "fields": lambda kind: _encode_fields,
    "output": lambda kind: _encode_output,
    "decimal": _make_decimal,
    "fixed": _make_fixed,
    "enum": _make_enum,
    "nullable": _make_nullable,
    "array": _make_array,
    "map": _make_map,
    "record": _make_record,
}


# Decoding: the same kinds.


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
    if _UUID.fullmatch(text) is None:
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
    inner = decoder_of(_item(kind))
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
    item = _item(kind)
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
    item = _item(kind)
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

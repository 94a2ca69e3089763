"""Avro binary from Python values, for any checked type: declared rows and typed records.

A type is compiled once into an encoder. It refuses what the type cannot hold exactly: 5 is no
double, 1.0 is no int, Decimal("1.5") has not scale 2, 0.1 is no 32-bit float. Its errors
name the field.
"""

import math
import struct
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from audit.errors import InvalidInput
from audit.event.avrotype import UUID, AvroType
from audit.event.fields import decimal_bytes, encode_fields, encode_value
from audit.event.normal import check_decimal, check_name, check_text, named, normalize
from audit.event.shown import shown
from audit.event.times import days_of_date, us_of_time
from audit.event.wire import MAX_INT32, MIN_INT32, encode_long, encode_size

Encoder = Callable[[Any], bytes]

_float = struct.Struct("<f")
_double = struct.Struct("<d")


def encoder_of(kind: AvroType) -> Encoder:
    """The function that encodes values of a type; it raises InvalidInput and LimitExceeded."""
    make = _ENCODERS[kind.kind]
    return make(kind)


def _exactly(kind: type, value: Any, what: str) -> Any:
    """The value as exactly this Python type. Raises InvalidInput."""
    if type(value) is not kind:
        value = normalize(value)
        if type(value) is not kind:
            found = "null" if value is None else f"{type(value).__name__} {shown(value)}"
            raise InvalidInput(f"{found} is not {what}")
    return value


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
    if UUID.fullmatch(value) is None:
        raise InvalidInput(f"{value[:64]!r} is not a UUID")
    return _encode_string(value)


def _make_decimal(kind: AvroType) -> Encoder:
    def encode(value: Any) -> bytes:
        value = _exactly(Decimal, value, f"a decimal with scale {kind.scale}")
        unscaled, scale = check_decimal(value)
        if scale != kind.scale:
            raise InvalidInput(
                f"decimal {shown(value)} has scale {scale}, declared is {kind.scale}"
            )
        if len(str(abs(unscaled))) > kind.precision:
            raise InvalidInput(
                f"decimal {shown(value)} has more than the declared {kind.precision} digits"
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


def _make_nullable(kind: AvroType) -> Encoder:
    inner = encoder_of(kind.inner)
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
    inner = encoder_of(kind.inner)

    def encode(value: Any) -> bytes:
        if type(value) is not list:
            value = _exactly(list, value, "a list")
        items = [inner(item) for item in value]
        return encode_size(len(items)) + b"".join(items) + b"\x00" if items else b"\x00"

    return encode


def _make_map(kind: AvroType) -> Encoder:
    inner = encoder_of(kind.inner)

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
            raise InvalidInput(f"field {shown(extra)} is not declared")
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

"""The generic list of fields, `array<attestory.Field>`: how named values of any type are spelled.

    fields = array of Field       blocks as in Avro, one block when written here
    Field  = name string, value union
    value  = branch (long) and     0 null | 1 boolean | 2 long | 3 double | 4 string | 5 bytes
                                   6 Decimal {unscaled bytes, scale int} | 7 Date {days int}
                                   8 Timestamp {us long} | 9 Json {json bytes}

Written by hand because it is in the path of every event: figures beside fastavro:
tests/event/bench_event.py. A field's name stands once in a list. A nested value is the JSON text of
`valuejson`, so the schema is not recursive.
"""

import struct
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.normal import (
    MAX_DECIMAL_DIGITS,
    MAX_DECIMAL_SCALE,
    Value,
    check_decimal,
    check_name,
    check_text,
    named,
    normalize,
)
from audit.event.times import (
    EPOCH,
    MAX_TIME_US,
    MIN_TIME_US,
    date_of_days,
    days_of_date,
    us_of_time,
)
from audit.event.valuejson import dumps_bytes, loads
from audit.event.wire import (
    LENGTHS,
    decode_bytes,
    decode_count,
    decode_long,
    decode_size,
    encode_long,
    encode_size,
)

MAX_DECIMAL_BYTES = 416
"""1,000 digits are 3,322 bits."""
MIN_FIELD_BYTES = 2
"""The least that one field takes: an empty name and a null."""
MAX_CACHED_NAMES = 4_096

_pack_double = struct.Struct("<d").pack
_unpack_double = struct.Struct("<d").unpack_from
_SMALL = {n: b"\x04" + encode_long(n) for n in range(-64, 1024)}
_STRING = tuple(b"\x08" + size for size in LENGTHS[:64])
# Encoded names: the same few column names come again and again.
_names: dict[str, bytes] = {}
_texts: dict[bytes, str] = {}


def encode_fields(fields: Mapping[str, Any]) -> bytes:
    """The Avro bytes of a dict of fields. Raises InvalidInput naming the field, LimitExceeded."""
    out = [encode_size(len(fields))] if fields else []
    for name, value in fields.items():
        try:
            out.append(_names[name])
        except (KeyError, TypeError):
            name = check_name(name)
            out.append(_encoded_name(name))
        kind = type(value)
        if kind is str:
            try:
                raw = value.encode()
            except UnicodeEncodeError:
                check_text(value)
                raise
            size = len(raw)
            out.append(_STRING[size] if size < 64 else b"\x08" + encode_size(size))
            out.append(raw)
        elif kind is int and value in _SMALL:
            out.append(_SMALL[value])
        elif kind is float:
            out.append(b"\x06" + _pack_double(value))
        else:
            try:
                out.append(encode_value(value))
            except InvalidInput as error:
                raise named(error, name) from None
    out.append(b"\x00")
    return b"".join(out)


def _encoded_name(name: str) -> bytes:
    raw = name.encode()
    encoded = encode_size(len(raw)) + raw
    if len(_names) < MAX_CACHED_NAMES and len(raw) <= 128:
        _names[name] = encoded
    return encoded


def encode_value(value: Any) -> bytes:
    """The Avro bytes of one value: branch and content. Raises InvalidInput, LimitExceeded."""
    kind = type(value)
    encode = _ENCODERS.get(kind)
    if encode is None:
        value = normalize(value)
        encode = _ENCODERS[type(value)]
    return encode(value)  # type: ignore[no-any-return]


def _encode_text(value: str) -> bytes:
    raw = check_text(value).encode()
    return b"\x08" + encode_size(len(raw)) + raw


def _encode_decimal(value: Decimal) -> bytes:
    unscaled, scale = check_decimal(value)
    raw = decimal_bytes(unscaled)
    return b"\x0c" + encode_size(len(raw)) + raw + encode_long(scale)


def _encode_nested(value: Any) -> bytes:
    raw = dumps_bytes(normalize(value))
    return b"\x12" + encode_size(len(raw)) + raw


_ENCODERS: dict[type, Any] = {
    type(None): lambda value: b"\x00",
    bool: lambda value: b"\x02\x01" if value else b"\x02\x00",
    int: lambda value: b"\x04" + encode_long(value),
    float: lambda value: b"\x06" + _pack_double(value),
    str: _encode_text,
    bytes: lambda value: b"\x0a" + encode_size(len(value)) + value,
    Decimal: _encode_decimal,
    date: lambda value: b"\x0e" + encode_long(days_of_date(value)),
    datetime: lambda value: b"\x10" + encode_long(us_of_time(value)),
    list: _encode_nested,
    dict: _encode_nested,
}


def decimal_bytes(unscaled: int) -> bytes:
    """The shortest two's complement of an integer, big endian; at least one byte."""
    size = (unscaled if unscaled >= 0 else ~unscaled).bit_length() // 8 + 1
    return unscaled.to_bytes(size, "big", signed=True)


def decimal_of(unscaled: int, scale: int) -> Decimal:
    """unscaled * 10**-scale, exact whatever the decimal context. Raises LimitExceeded."""
    if not -MAX_DECIMAL_SCALE <= scale <= MAX_DECIMAL_SCALE:
        raise LimitExceeded(f"decimal with scale {scale}: at most {MAX_DECIMAL_SCALE}")
    # The text constructor is exact; arithmetic would round to the context's precision.
    digits = str(unscaled)
    if len(digits) > MAX_DECIMAL_DIGITS + (unscaled < 0):
        raise LimitExceeded(f"decimal of {len(digits)} digits: at most {MAX_DECIMAL_DIGITS}")
    return Decimal(f"{digits}E{-scale}")


def decode_fields(data: bytes, pos: int) -> tuple[dict[str, Value], int]:
    """A list of fields at `pos`: (dict, position after it). Raises FormatError, LimitExceeded."""
    out: dict[str, Value] = {}
    try:
        while True:
            count, pos, end = decode_count(data, pos, MIN_FIELD_BYTES)
            if count:
                pos = _decode_block(data, pos, count, out)
            if end is not None and end != pos:
                raise FormatError("a block of fields is not as long as it claims")
            if not count:
                return out, pos
    except (IndexError, struct.error):
        raise FormatError("the bytes end inside a field") from None
    except UnicodeDecodeError:
        raise FormatError("a field holds text that is not UTF-8") from None


def _decode_block(data: bytes, pos: int, count: int, out: dict[str, Value]) -> int:
    """Read `count` fields into `out`; returns the position after them.

    No slice is checked by itself: one that reaches past the end leaves `pos` there, and the next
    index fails, at the latest that of the number which ends the list.
    """
    known = _texts
    for _ in range(count):
        size = data[pos]
        if size & 0x81:
            size, pos = decode_size(data, pos)
        else:
            size >>= 1
            pos += 1
        end = pos + size
        raw = data[pos:end]
        name = known.get(raw)
        if name is None:
            name = _decoded_name(raw)
        if name in out:
            raise FormatError(f"field {name[:64]!r} is there twice")
        branch = data[end]
        pos = end + 1
        if branch == 8:
            size = data[pos]
            if size & 0x81:
                size, pos = decode_size(data, pos)
            else:
                size >>= 1
                pos += 1
            end = pos + size
            out[name] = str(data[pos:end], "utf-8")
            pos = end
        elif branch == 4:
            byte = data[pos]
            if byte < 0x80:
                out[name] = (byte >> 1) ^ -(byte & 1)
                pos += 1
            else:
                out[name], pos = decode_long(data, pos)
        elif branch == 6:
            (out[name],) = _unpack_double(data, pos)
            pos += 8
        elif branch == 0:
            out[name] = None
        else:
            out[name], pos = decode_value(data, end)
    return pos


def _decoded_name(raw: bytes) -> str:
    try:
        name = str(raw, "utf-8")
    except UnicodeDecodeError:
        raise FormatError("the name of a field is not UTF-8") from None
    if len(_texts) < MAX_CACHED_NAMES and len(raw) <= 128:
        _texts[raw] = name
    return name


def decode_value(data: bytes, pos: int) -> tuple[Value, int]:
    """One value at `pos`: (value, position after it). Raises FormatError, LimitExceeded."""
    branch = data[pos] if pos < len(data) else 0xFF
    pos += 1
    if branch == 8:
        size, start = decode_size(data, pos)
        pos = start + size
        try:
            return str(data[start:pos], "utf-8"), pos
        except UnicodeDecodeError:
            raise FormatError(f"text at byte {start} is not UTF-8") from None
    if branch == 4:
        return decode_long(data, pos)
    if branch == 6:
        end = pos + 8
        if end > len(data):
            raise FormatError("the bytes end inside a double")
        return _unpack_double(data, pos)[0], end
    if branch == 0:
        return None, pos
    if branch == 2:
        return decode_boolean(data, pos)
    if branch == 10:
        return decode_bytes(data, pos)
    if branch == 12:
        return _decode_decimal(data, pos)
    if branch == 14:
        days, pos = decode_long(data, pos)
        return _in_format(date_of_days, days), pos
    if branch == 16:
        us, pos = decode_long(data, pos)
        return decode_time(us), pos
    if branch == 18:
        raw, pos = decode_bytes(data, pos)
        return _decode_nested(raw), pos
    raise FormatError(f"no such type of value (branch byte {branch} before byte {pos})")


def decode_boolean(data: bytes, pos: int) -> tuple[bool, int]:
    """A boolean at `pos`: one byte, 0 or 1. Raises FormatError."""
    byte = data[pos] if pos < len(data) else 0xFF
    if byte > 1:
        raise FormatError(f"a boolean at byte {pos} is neither 0 nor 1")
    return byte == 1, pos + 1


def decode_time(us: int) -> datetime:
    """The UTC datetime of microseconds since the epoch, from bytes. Raises FormatError."""
    if not MIN_TIME_US <= us <= MAX_TIME_US:
        raise FormatError(f"time {us} us since 1970 is outside the years 0001 to 9999")
    return EPOCH + timedelta(microseconds=us)


def decode_unscaled(raw: bytes) -> int:
    """The integer of a decimal's bytes. Raises FormatError when longer than it may be."""
    if not 0 < len(raw) <= MAX_DECIMAL_BYTES:
        raise FormatError(f"a decimal of {len(raw)} bytes: 1 to {MAX_DECIMAL_BYTES}")
    return int.from_bytes(raw, "big", signed=True)


def _decode_decimal(data: bytes, pos: int) -> tuple[Decimal, int]:
    raw, pos = decode_bytes(data, pos)
    scale, pos = decode_long(data, pos)
    return decimal_of(decode_unscaled(raw), scale), pos


def _decode_nested(raw: bytes) -> Value:
    value = _in_format(loads, raw)
    if type(value) is not list and type(value) is not dict:
        raise FormatError("a nested value is a list or an object")
    return value


def _in_format(read: Any, raw: Any) -> Any:
    """What `read` says, with its refusal turned into one about the bytes."""
    try:
        return read(raw)
    except (FormatError, LimitExceeded):
        raise
    except InvalidInput as error:
        raise FormatError(str(error)) from None

"""The JSON text of values: exact both ways, strict on reading, one spelling on writing.

What JSON lacks is an object with one key: {"$decimal": "1.50"}, {"$bytes": "base64"},
{"$timestamp": "RFC 3339"}, {"$date": "YYYY-MM-DD"}, {"$double": "NaN" | "Infinity" | "-Infinity"}.
A literal key that begins with $ is written with a second one. A number without point and exponent
is an integer, any other a double (RFC 8259 numbers).
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NoReturn

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.normal import (
    MAX_DECIMAL_DIGITS,
    MAX_DEPTH,
    MAX_NODES,
    Value,
    check_decimal,
    check_text,
    named,
    normalize,
)
from audit.event.times import format_time, parse_date, parse_rfc3339, time_of_us, us_of_time
from audit.event.wire import MAX_INT64, MIN_INT64

MAX_JSON_BYTES = 16_000_000
"""Longest JSON text that is read at all."""
MAX_NUMBER_CHARS = 1_100
"""Longest number in a JSON text."""

_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?")
_DOUBLES = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_PLAIN = frozenset({str, int, bool, type(None)})


def to_json(value: Any) -> Any:
    """What `json.dumps` takes (None, bool, int, float, str, list, dict) for a value.

    Raises InvalidInput, LimitExceeded for what is no value (see `normalize`).
    """
    return _to_json(normalize(value))


def fields_to_json(fields: Mapping[str, Value]) -> dict[str, Any]:
    """The JSON object of a dict of fields that are values already, in their order."""
    return {_escaped(name): _to_json(value) for name, value in fields.items()}


def dumps(value: Any) -> str:
    """Compact JSON with sorted keys: one text for a value. Raises InvalidInput, LimitExceeded."""
    return _compact(_to_json(normalize(value)))


def dumps_bytes(value: Value) -> bytes:
    """As `dumps`, in UTF-8, for a value that is normalized already."""
    return _compact(_to_json(value)).encode()


def _compact(obj: Any) -> str:
    return _ENCODER.encode(obj)


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)


def _to_json(value: Value) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return {"$double": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, dict):
        return {_escaped(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return {"$timestamp": format_time(us_of_time(value))}
    if isinstance(value, date):
        return {"$date": value.isoformat()}
    raise InvalidInput(f"a value of type {kind.__name__} is not normalized")


def _escaped(key: str) -> str:
    return "$" + key if key.startswith("$") else key


def from_json(obj: Any) -> Value:
    """The value that a parsed JSON text spells. Raises InvalidInput, LimitExceeded."""
    return _from_json(obj, 0, [MAX_NODES])


def fields_from_json(obj: Any, levels: int = 0) -> dict[str, Value]:
    """A JSON object of fields as a dict of values. Raises InvalidInput naming the field.

    `levels` of lists and objects around the values of a typed record do not count as nesting.
    """
    if not isinstance(obj, dict):
        raise InvalidInput(f"fields are a JSON object, not {_kind_of(obj)}")
    out: dict[str, Value] = {}
    for key, item in obj.items():
        name = _unescaped(key)
        try:
            out[name] = _from_json(item, -levels, [MAX_NODES])
        except InvalidInput as error:
            raise named(error, name) from None
    return out


def _from_json(obj: Any, depth: int, budget: list[int]) -> Value:
    kind = type(obj)
    if kind is str:
        return check_text(obj)
    if obj is None or kind is bool:
        return obj  # type: ignore[no-any-return]
    if kind is int:
        if MIN_INT64 <= obj <= MAX_INT64:
            return obj  # type: ignore[no-any-return]
        raise InvalidInput(
            f"integer of {obj.bit_length()} bits does not fit 64 bits: write a decimal or a string"
        )
    if kind is float:
        if math.isfinite(obj):
            return obj  # type: ignore[no-any-return]
        raise InvalidInput('a number that is not finite is written {"$double": "NaN"} or the like')
    if kind is not dict and kind is not list:
        raise InvalidInput(f"not a JSON value: {kind.__name__}")
    if kind is dict and len(obj) == 1:
        ((key, item),) = obj.items()
        read = _SPELLINGS.get(key) if type(key) is str else None
        if read is not None:
            if type(item) is not str:
                raise InvalidInput(f"{key} holds a string, not {_kind_of(item)}")
            found: Value = read(item)
            return found
    depth += 1
    if depth > MAX_DEPTH:
        raise LimitExceeded(f"value is nested deeper than {MAX_DEPTH} levels")
    budget[0] -= len(obj)
    if budget[0] < 0:
        raise LimitExceeded(f"value holds more than {MAX_NODES} values")
    if kind is list:
        return [_from_json(item, depth, budget) for item in obj]
    return {_unescaped(key): _from_json(item, depth, budget) for key, item in obj.items()}


def _unescaped(key: Any) -> str:
    if type(key) is not str:
        raise InvalidInput(f"a key is a string, not {type(key).__name__}")
    check_text(key)
    if not key.startswith("$"):
        return key
    if not key.startswith("$$"):
        raise InvalidInput(
            f"key {key[:64]!r} begins with $: write a literal key with $$;"
            f" spellings are {', '.join(sorted(_SPELLINGS))}, alone in their object"
        )
    return key[1:]


def _kind_of(obj: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    if obj is None:
        return "null"
    return names.get(type(obj), "a number" if isinstance(obj, int | float) else "that")


def _read_decimal(text: str) -> Decimal:
    if len(text) > 2 * MAX_DECIMAL_DIGITS or _DECIMAL.fullmatch(text) is None:
        raise InvalidInput(f"{text[:64]!r} is not a decimal number like 1.50")
    value = Decimal(text)
    check_decimal(value)
    return value


def _read_bytes(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"$bytes {text[:32]!r} is not base64 (RFC 4648, with padding)") from None
    if base64.b64encode(raw).decode() != text:
        raise InvalidInput(f"$bytes {text[:32]!r} is not base64 in its canonical form")
    return raw


def _read_double(text: str) -> float:
    if text not in _DOUBLES:
        raise InvalidInput(f"$double is one of {', '.join(_DOUBLES)}, not {text[:32]!r}")
    return _DOUBLES[text]


_SPELLINGS: dict[str, Any] = {
    "$decimal": _read_decimal,
    "$bytes": _read_bytes,
    "$timestamp": lambda text: time_of_us(parse_rfc3339(text)),
    "$date": parse_date,
    "$double": _read_double,
}


def loads(text: str | bytes) -> Value:
    """The value that a JSON text spells. Raises FormatError, InvalidInput, LimitExceeded."""
    return from_json(parse_json(text))


def parse_json(text: str | bytes) -> Any:
    """JSON text as plain objects, strictly (RFC 8259, without its latitude).

    Refused: repeated keys, NaN and Infinity, a double beyond the range, an integer beyond 64 bits,
    bytes that are not UTF-8, a byte order mark, text around the value. Raises FormatError,
    LimitExceeded.
    """
    if len(text) > MAX_JSON_BYTES:
        raise LimitExceeded(f"JSON text of {len(text)} characters: at most {MAX_JSON_BYTES}")
    try:
        if isinstance(text, bytes):
            text = str(text, "utf-8")
        return _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise FormatError(f"JSON text is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise FormatError(
            f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from None
    except RecursionError:
        raise LimitExceeded("JSON text is nested too deep") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise FormatError(f"not one JSON object: key {key[:64]!r} is there twice")
            seen.add(key)
    return out


def _parse_int(text: str) -> int:
    # 2**63 has 19 digits; longer texts are refused before int() spends time on them.
    if len(text) <= 20:
        value = int(text)
        if MIN_INT64 <= value <= MAX_INT64:
            return value
    raise FormatError(
        f"integer {text[:24]}... does not fit 64 bits: write a decimal or a string"
        if len(text) > 24
        else f"integer {text} does not fit 64 bits: write a decimal or a string"
    )


def _parse_float(text: str) -> float:
    if len(text) > MAX_NUMBER_CHARS:
        raise LimitExceeded(f"number of {len(text)} characters: at most {MAX_NUMBER_CHARS}")
    value = float(text)
    if math.isinf(value):
        raise FormatError(f"number {text[:32]} is beyond the range of a double")
    return value


def _no_constant(text: str) -> NoReturn:
    raise FormatError(f'{text} is not JSON: write {{"$double": "{text}"}}')


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=_parse_int,
    parse_float=_parse_float,
    parse_constant=_no_constant,
)

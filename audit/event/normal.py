"""Which Python values a field may have, and how numpy's, pandas' and subclasses become one of them.

Neither numpy nor pandas is imported: their scalars are known by the name of their module.
"""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

from audit.errors import InvalidInput, LimitExceeded
from audit.event.shown import shown
from audit.event.times import time_of_us, us_of_time
from audit.event.wire import MAX_INT64, MIN_INT64

# A recursive alias would need Python 3.12; nested values are checked by normalize.
Value = (
    None | bool | int | float | str | bytes | Decimal | date | datetime | list[Any] | dict[str, Any]
)

MAX_DEPTH = 64
"""How many lists and objects may stand inside each other in one value."""
MAX_NODES = 65_536
"""How many values one value may hold; an event of 64,000 bytes cannot hold more."""
MAX_DECIMAL_DIGITS = 1_000
MAX_DECIMAL_SCALE = 1_000
"""Largest number of digits after the point (or, negative, of zeros before it)."""

_EXACT = frozenset({bool, float, bytes, type(None)})
_KEY_TYPES = frozenset({int, list, tuple})
_NUMPY_KINDS = "biufSU"


def normalize(value: Any) -> Value:
    """The same value in one of the types of `Value`. Raises InvalidInput, LimitExceeded.

    numpy and pandas scalars are unwrapped, NA and NaT become None, arrays and tuples become lists,
    aware datetimes go to UTC. Refused: integers beyond 64 bits, naive datetimes, nanoseconds, NaN
    and infinite decimals, a decimal's negative zero, lone surrogates, keys that are not strings,
    more than MAX_DEPTH levels, and every other type.
    """
    return _normalize(value, 0, [MAX_NODES])


def normalize_fields(fields: Any) -> dict[str, Value]:
    """A dict of field names and values, each normalized. Raises InvalidInput naming the field."""
    if not isinstance(fields, Mapping):
        raise InvalidInput(f"fields are a dict of names and values, not {type(fields).__name__}")
    out: dict[str, Value] = {}
    for name, value in fields.items():
        name = check_name(name)
        try:
            out[name] = normalize(value)
        except InvalidInput as error:
            raise named(error, name) from None
    return out


def named(error: InvalidInput, name: str) -> InvalidInput:
    """The same error, saying which field it is about."""
    return type(error)(f"field {name[:64]!r}: {error}")


def check_name(name: Any) -> str:
    """A field name or key as a plain str. Raises InvalidInput when it is none."""
    if type(name) is not str:
        if not isinstance(name, str):
            raise InvalidInput(f"a name is a string, not {shown(name)}: write it as one")
        name = str.__str__(name)
    return check_text(name)


def check_text(text: str) -> str:
    """The text itself. Raises InvalidInput when UTF-8 cannot spell it (a lone surrogate)."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidInput("text holds a lone surrogate, which UTF-8 cannot spell") from None
    return text


def check_decimal(value: Decimal) -> tuple[int, int]:
    """(unscaled, scale) with value == unscaled * 10**-scale. Raises InvalidInput, LimitExceeded."""
    text = str(value)
    if len(text) < 40:
        # The usual case, "-12.50": its text says it all, and is made faster than the tuple.
        whole, _, fraction = text.partition(".")
        if (whole + fraction).removeprefix("-").isdigit() and (text[0] != "-" or value):
            return int(whole + fraction), len(fraction)
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise InvalidInput(
            f"decimal {shown(value)} is not a number: use a double for NaN and infinities"
        )
    if len(digits) > MAX_DECIMAL_DIGITS or not -MAX_DECIMAL_SCALE <= exponent <= MAX_DECIMAL_SCALE:
        raise LimitExceeded(
            f"decimal of {len(digits)} digits and exponent {exponent}: at most"
            f" {MAX_DECIMAL_DIGITS} digits and an exponent within {MAX_DECIMAL_SCALE}"
        )
    unscaled = int("".join(map(str, digits)))
    if sign:
        if unscaled == 0:
            raise InvalidInput("a decimal's negative zero cannot be kept: write it without the -")
        unscaled = -unscaled
    return unscaled, -exponent


def _normalize(value: Any, depth: int, budget: list[int]) -> Value:
    kind = type(value)
    if kind is str:
        return check_text(value)
    if kind in _EXACT:
        return value  # type: ignore[no-any-return]
    if kind is int:
        if MIN_INT64 <= value <= MAX_INT64:
            return value  # type: ignore[no-any-return]
        raise InvalidInput(f"integer of {value.bit_length()} bits does not fit 64 bits: refused")
    if kind is dict or kind is list or kind is tuple:
        return _normalize_nested(value, depth, budget)
    if kind is Decimal:
        check_decimal(value)
        return value  # type: ignore[no-any-return]
    if kind is datetime:
        return time_of_us(us_of_time(value))
    if kind is date:
        return value  # type: ignore[no-any-return]
    return _normalize(_unwrap(value), depth, budget)


def _normalize_nested(value: Any, depth: int, budget: list[int]) -> Value:
    depth += 1
    if depth > MAX_DEPTH:
        raise LimitExceeded(f"value is nested deeper than {MAX_DEPTH} levels")
    budget[0] -= len(value)
    if budget[0] < 0:
        raise LimitExceeded(f"value holds more than {MAX_NODES} values")
    if isinstance(value, dict):
        return {check_name(key): _normalize(item, depth, budget) for key, item in value.items()}
    return [_normalize(item, depth, budget) for item in value]


def _unwrap(value: Any) -> Any:
    """One step nearer to a plain Python value: never the same type again, else InvalidInput."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    if package == "numpy":
        return _unwrap_numpy(value)
    if package == "pandas":
        if kind.__name__ in ("NAType", "NaTType"):
            return None
        if kind.__name__ == "Timestamp":
            if value.nanosecond:
                raise InvalidInput(f"time {value} is finer than a microsecond: refused")
            return value.to_pydatetime()
    # Subclasses (string enums, IntEnum, OrderedDict ...) become their plain base.
    for base, plain in _BASES:
        if isinstance(value, base):
            return plain(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise InvalidInput(
        f"a value of type {kind.__module__}.{kind.__name__} cannot be kept exactly: convert it"
    )


def _plain_datetime(value: datetime) -> datetime:
    return datetime(
        value.year, value.month, value.day, value.hour, value.minute, value.second,
        value.microsecond, value.tzinfo, fold=value.fold,
    )  # fmt: skip


_BASES: tuple[tuple[Any, Any], ...] = (
    (str, str.__str__),
    (int, int.__index__),
    (float, float.__pos__),
    ((bytes, bytearray, memoryview), bytes),
    (Decimal, Decimal),
    (datetime, _plain_datetime),
    (date, lambda value: date(value.year, value.month, value.day)),
    (dict, dict),
    (list, list),
    (tuple, list),
)


def _unwrap_numpy(value: Any) -> Any:
    dtype: Any = getattr(value, "dtype", None)
    kind = getattr(dtype, "kind", "?")
    if isinstance(value, str | bytes):
        # tolist() would drop NULs at the end.
        return str.__str__(value) if isinstance(value, str) else bytes(value)
    if kind == "M" and value.ndim == 0:
        return _unwrap_datetime64(value)
    if kind == "m" and value.ndim == 0 and str(value) == "NaT":
        return None
    if kind == "O" and value.ndim > 0:
        return value.tolist()
    if kind not in _NUMPY_KINDS or (kind == "f" and dtype.itemsize > 8):
        raise InvalidInput(f"a numpy value of type {dtype} cannot be kept exactly: convert it")
    if value.ndim > 0 and value.size > MAX_NODES:
        raise LimitExceeded(f"array of {value.size} values: at most {MAX_NODES}")
    return value.tolist()


def _unwrap_datetime64(value: Any) -> Any:
    if str(value) == "NaT":
        return None
    item = value.item()
    if type(item) is date:
        return item
    raise InvalidInput(f"naive datetime {value} names no instant: give it a time zone")


def key_text(key: Any) -> str:
    """An entity's key as text: a string as it is, 5 as "5", a list as a compact JSON array.

    An empty string is a key. Parts of a composite key are strings and integers. Raises InvalidInput
    for floats, None, bools and everything else, whose text would be a guess.
    """
    if type(key) is str:
        return check_text(key)
    plain = key if type(key) in _KEY_TYPES else _unwrap_key(key)
    if type(plain) is str:
        return check_text(plain)
    if type(plain) is int:
        return str(_key_int(plain))
    if type(plain) in (list, tuple):
        if not plain:
            raise InvalidInput("a composite key has at least one part")
        return "[" + ",".join(_key_part(part) for part in plain) + "]"
    raise _bad_key(key)


def _unwrap_key(key: Any) -> Any:
    """A numpy scalar, a string enum and the like as what they hold."""
    if key is None or type(key) in (bool, float):
        raise _bad_key(key)
    return _unwrap(key)


def _key_part(part: Any) -> str:
    plain = part if type(part) in (str, int) else _unwrap_key(part)
    if type(plain) is str:
        return encode_basestring(check_text(plain))
    if type(plain) is int:
        return str(_key_int(plain))
    raise _bad_key(part)


def _key_int(key: int) -> int:
    if not MIN_INT64 <= key <= MAX_INT64:
        raise InvalidInput(f"key of {key.bit_length()} bits does not fit 64 bits: write a string")
    return key


def _bad_key(key: Any) -> InvalidInput:
    return InvalidInput(
        f"a key is a string, an integer or a list of these, not {type(key).__name__}:"
        " convert it to a string"
    )

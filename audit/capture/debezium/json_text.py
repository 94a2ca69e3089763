"""JSON text whose numbers keep what was written: integers of any size, and decimals with scale."""

import json
from decimal import Decimal
from typing import Any, NoReturn

from audit.errors import FormatError, LimitExceeded
from audit.event.normal import MAX_DEPTH
from audit.event.wire import MAX_INT64, MIN_INT64

MAX_TEXT_BYTES = 16_000_000
"""Longest message that is looked into."""
MAX_NUMBER_CHARS = 1_100


def parse(text: str | bytes) -> Any:
    """The JSON, strictly: no repeated keys, no NaN. A number with a point or exponent is a Decimal.

    Raises FormatError, LimitExceeded.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise LimitExceeded(f"JSON text of {len(text)} characters: at most {MAX_TEXT_BYTES}")
    try:
        return _DECODER.decode(str(text, "utf-8") if isinstance(text, bytes) else text)
    except UnicodeDecodeError as error:
        raise FormatError(f"JSON text is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise LimitExceeded("JSON text is nested too deep") from None


def plain(value: Any, depth: int = 0) -> Any:
    """What `parse` gave as values of an event: doubles, and decimals where a double cannot say it.

    Raises LimitExceeded.
    """
    kind = type(value)
    if kind is Decimal:
        double = float(value)
        return value if double in (float("inf"), float("-inf")) else double
    if kind is int:
        return value if MIN_INT64 <= value <= MAX_INT64 else Decimal(value)
    if kind is not list and kind is not dict:
        return value
    if depth >= MAX_DEPTH:
        raise LimitExceeded(f"value is nested deeper than {MAX_DEPTH} levels")
    if kind is list:
        return [plain(item, depth + 1) for item in value]
    return {name: plain(item, depth + 1) for name, item in value.items()}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise FormatError("a key is twice in one JSON object")
    return out


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARS:
        raise LimitExceeded(f"number of {len(text)} characters: at most {MAX_NUMBER_CHARS}")
    return int(text)


def _decimal(text: str) -> Decimal:
    if len(text) > MAX_NUMBER_CHARS:
        raise LimitExceeded(f"number of {len(text)} characters: at most {MAX_NUMBER_CHARS}")
    try:
        return Decimal(text)
    except ArithmeticError:
        raise LimitExceeded(f"number {text[:32]} is beyond all measure") from None


def _no_constant(text: str) -> NoReturn:
    raise FormatError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=_integer,
    parse_float=_decimal,
    parse_constant=_no_constant,
)

"""Equality where == is too kind: 1, 1.0 and True; 1.5 and 1.50; 0.0 and -0.0; NaN."""

import struct
from decimal import Decimal
from typing import Any


def exact(value: Any) -> Any:
    """Something that is equal only for values that are the same in type and content."""
    if isinstance(value, float):
        return ("float", "nan" if value != value else struct.pack(">d", value))
    if isinstance(value, Decimal):
        return ("decimal", value.as_tuple())
    if isinstance(value, dict):
        return ("dict", {key: exact(item) for key, item in value.items()})
    if isinstance(value, list):
        return ("list", [exact(item) for item in value])
    if isinstance(value, tuple):
        return ("tuple", type(value).__name__, [exact(item) for item in value])
    return (type(value).__name__, value)


def same(first: Any, second: Any) -> bool:
    return bool(exact(first) == exact(second))

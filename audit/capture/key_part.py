"""Values of a key as texts: the same key, whichever way a row is captured."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from audit.errors import InvalidInput
from audit.event.times import format_time, us_of_time
from audit.event.valuejson import dumps


def key_part(value: Any, name: str) -> str | int:
    """A cell as a part of a key, the same whichever way a row is captured. Raises InvalidInput."""
    if type(value) in (str, int):
        return value  # type: ignore[no-any-return]
    if value is None:
        raise InvalidInput(f"{name[:64]!r} is of the key, and null")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, datetime):
        return format_time(us_of_time(value))
    if isinstance(value, date):
        return value.isoformat()
    return dumps(value)

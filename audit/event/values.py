"""Values of fields: which Python values there are, how others become one, and their JSON text.

A value is None, bool, int (64 bits), float, str, bytes, Decimal, date, datetime (UTC), or a list or
dict (string keys) of values, nested at most MAX_DEPTH deep. What cannot be kept exactly is refused.
"""

from audit.event.normal import (
    MAX_DECIMAL_DIGITS,
    MAX_DECIMAL_SCALE,
    MAX_DEPTH,
    MAX_NODES,
    Value,
    key_text,
    normalize,
    normalize_fields,
)
from audit.event.times import format_time, parse_rfc3339
from audit.event.valuejson import (
    dumps,
    fields_from_json,
    fields_to_json,
    from_json,
    loads,
    parse_json,
    to_json,
)

__all__ = [
    "MAX_DECIMAL_DIGITS",
    "MAX_DECIMAL_SCALE",
    "MAX_DEPTH",
    "MAX_NODES",
    "Value",
    "dumps",
    "fields_from_json",
    "fields_to_json",
    "format_time",
    "from_json",
    "key_text",
    "loads",
    "normalize",
    "normalize_fields",
    "parse_json",
    "parse_rfc3339",
    "to_json",
]

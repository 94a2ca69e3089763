"""Conditions on the values of rows, as `filters=` and `--where` state them.

`filters` has the form of pandas.read_parquet and pyarrow: a list of (field, op, value), which must
all hold, or a list of such lists, one of which must hold. What an operator means:

    == != < <= > >=     compare values of like types: numbers with numbers (1 == 1.0 == Decimal(1)),
                        text with text, bytes, bools, dates and times each with their own. An int is
                        no string, a bool no number, a date no time: unlike values are different
                        (!= and not in fit), and neither is the smaller one. NaN is no number's
                        equal. Lists and dicts have no order; they are equal where they are stored
                        equal (`same_value`)
    in, not in          the same for each of several values
    is null             null, and absent: in a frame the two look alike. Without a value
    is not null         a value

Null and absent fit no other condition, neither == nor !=. `entity_key` names the key, `entity_key_`
a field of the name entity_key, as in the output.
"""

import json
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, Final, NamedTuple

from audit.errors import InvalidInput
from audit.event.normal import normalize
from audit.event.times import days_of_date, parse_date, parse_rfc3339, time_of_us
from audit.event.values import Value
from audit.replay.names import KEY_COLUMN, output_name
from audit.replay.rows import ABSENT, Absent, Row, same_value

MAX_WHERE_CHARS = 4_096
"""Longest condition of a command line."""
IS_NULL: Final = "is null"
IS_NOT_NULL: Final = "is not null"

_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SAME = frozenset(("==", "in"))
_OTHER = frozenset(("!=", "not in"))
_LISTS = frozenset(("in", "not in"))
OPERATORS: Final = ("==", "!=", "<", "<=", ">", ">=", "in", "not in", IS_NULL, IS_NOT_NULL)

_NUMBERS = (int, float, Decimal)
_NESTED = (list, dict)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAY_US = 86_400_000_000
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_OPERATOR = re.compile(
    r"\s*(==|!=|<=|>=|=|<|>)\s*|\s+(is\s+not\s+null|is\s+null)\s*$|\s+(not\s+in|in)\s+"
)
_ITEM = re.compile(rf"\s*({_QUOTED}|[^,]*?)\s*(?:,|$)")


class Word(str):
    """A word of a command line: read in the type of each value that it is compared with.

    5 fits the number 5 and the text "5"; 2026-01-31 a date, the time 00:00 UTC, and the text.
    """


class Condition(NamedTuple):
    """One condition. `wanted`: type of a value -> what it is compared with (never NaN)."""

    field: str
    op: str
    wanted: Mapping[type, Collection[Value]]

    def fits(self, value: Value | Absent) -> bool:
        """Whether it holds for a value."""
        if value is None or isinstance(value, Absent):
            return self.op == IS_NULL
        if self.op in (IS_NULL, IS_NOT_NULL):
            return self.op == IS_NOT_NULL
        wanted = self.wanted.get(type(value), ())
        if self.op in _SAME:
            return _is_one_of(value, wanted)
        if self.op in _OTHER:
            return not _is_one_of(value, wanted)
        # Lists and dicts have no order; NaN has none either, and Decimal would not compare it.
        if type(value) in _NESTED or value != value:
            return False
        return any(map(partial(_ORDERS[self.op], value), wanted))


Filters = tuple[tuple[Condition, ...], ...]
"""One of the tuples must hold; of it every condition. Empty: everything fits."""


def fits(filters: Filters, key: str, row: Row) -> bool:
    """Whether a row is wanted. Conditions name columns of the output."""
    if not filters:
        return True
    return any(all(one.fits(_cell(one.field, key, row)) for one in all_of) for all_of in filters)


def _cell(name: str, key: str, row: Row) -> Value | Absent:
    return key if name == KEY_COLUMN else row.get(field_of(name), ABSENT)


def field_of(column: str) -> str:
    """The field that a column of the output shows; `entity_key` itself is none."""
    shorter = column[:-1]
    return shorter if column.endswith("_") and output_name(shorter) == column else column


def fields_used(filters: Filters) -> frozenset[str]:
    """The fields that conditions look at, but for the key."""
    return frozenset(
        field_of(one.field) for all_of in filters for one in all_of if one.field != KEY_COLUMN
    )


def keys_wanted(filters: Filters) -> frozenset[str] | None:
    """The keys that can fit at all; None when the filters do not say."""
    found: set[str] = set()
    for all_of in filters:
        own: frozenset[str] | None = None
        for one in all_of:
            if one.field == KEY_COLUMN and one.op in _SAME:
                keys = frozenset(key for key in one.wanted.get(str, ()) if isinstance(key, str))
                own = keys if own is None else own & keys
        if own is None:
            return None
        found |= own
    return frozenset(found) if filters else None


def parse_filters(filters: object) -> Filters:
    """Filters as pandas and pyarrow take them. Raises InvalidInput."""
    if filters is None:
        return ()
    if isinstance(filters, str | Mapping) or not isinstance(filters, Iterable):
        raise _bad_filters(filters)
    listed = list(filters)
    if not listed:
        return ()
    if all(isinstance(one, Condition) or _is_condition(one) for one in listed):
        return (tuple(_condition(one) for one in listed),)
    if not all(isinstance(one, list | tuple) and one for one in listed):
        raise _bad_filters(filters)
    return tuple(tuple(_condition(one) for one in all_of) for all_of in listed)


def _is_condition(thing: object) -> bool:
    return isinstance(thing, tuple) and len(thing) in (2, 3) and isinstance(thing[0], str)


def _condition(thing: Any) -> Condition:
    if isinstance(thing, Condition):
        return thing
    if not isinstance(thing, tuple | list) or not _is_condition(tuple(thing)):
        raise _bad_filters(thing)
    field, op = thing[0], thing[1]
    op = "==" if op == "=" else " ".join(op.split()) if isinstance(op, str) else op
    if op not in OPERATORS:
        raise InvalidInput(f"no operator {op!r:.40}; there are {', '.join(OPERATORS)}")
    if op in (IS_NULL, IS_NOT_NULL):
        if len(thing) == 3 and thing[2] is not None:
            raise InvalidInput(f"({field!r:.80}, {op!r}) takes no value")
        return Condition(field, op, {})
    if len(thing) != 3:
        raise InvalidInput(f"({field!r:.80}, {op!r}) needs a value to compare with")
    return Condition(field, op, _wanted(field, op, thing[2]))


def _wanted(field: str, op: str, value: Any) -> dict[type, Collection[Value]]:
    if op not in _LISTS:
        values = [value]
    elif isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidInput(f"({field!r:.80}, {op!r}) takes a list of values")
    else:
        values = list(value)
    wanted: dict[type, list[Value]] = {}
    for one in values:
        for kind, reading in _readings(field, op, one).items():
            wanted.setdefault(kind, []).append(reading)
    return {
        kind: found if kind in _NESTED else frozenset(one for one in found if one == one)
        for kind, found in wanted.items()
    }


def _readings(field: str, op: str, value: Any) -> dict[type, Value]:
    """Type of a value -> what the given one is when it is compared with such."""
    if isinstance(value, Word):
        return _readings_of_word(str(value))
    plain = normalize(value)
    if plain is None:
        hint = IS_NOT_NULL if op in _OTHER else IS_NULL
        raise InvalidInput(f"nothing compares with null; write ({field!r:.80}, {hint!r})")
    if type(plain) in _NUMBERS:
        return dict.fromkeys(_NUMBERS, plain)
    return {type(plain): plain}


def _readings_of_word(text: str) -> dict[type, Value]:
    found: dict[type, Value] = {str: text}
    if _NUMBER.fullmatch(text):
        number = Decimal(text)
        found |= {int: number, float: float(text), Decimal: number}
    elif text in ("true", "false"):
        found[bool] = text == "true"
    else:
        try:
            if _DAY.fullmatch(text):
                day = parse_date(text)
                found |= {date: day, datetime: time_of_us(days_of_date(day) * _DAY_US)}
            else:
                found[datetime] = time_of_us(parse_rfc3339(text))
        except InvalidInput:
            pass  # then it is a text and nothing else
    return found


def _is_one_of(value: Value, wanted: Collection[Value]) -> bool:
    if type(value) in _NESTED:
        return any(same_value(value, one) for one in wanted)
    return value in wanted


def parse_where(text: str) -> Condition:
    """One condition of a command line: amount>=100, 'status=Paid Off', 'dpt in ISR,SCS'.

    Also 'note is null', 'note is not null', 'dpt not in ISR'. What stands in double quotes is text
    (a JSON string), a field's name too; other words are read in the type of the value they meet.
    Raises InvalidInput.
    """
    if len(text) > MAX_WHERE_CHARS:
        raise InvalidInput(f"a condition of {len(text)} characters is over {MAX_WHERE_CHARS}")
    start = re.match(rf"\s*{_QUOTED}", text)
    is_open = start is None and text.lstrip().startswith('"')
    found = None if is_open else _OPERATOR.search(text, start.end() if start else 0)
    name = text[: found.start()].strip() if found else ""
    if found is None or not name:
        raise InvalidInput(
            f"{text!r:.80} is no condition; write amount>=100, dpt=ISR, 'dpt in ISR,SCS' or "
            "'note is null'"
        )
    field, rest = _unquoted(name), text[found.end() :].strip()
    op = " ".join((found[1] or found[2] or found[3]).split())
    if op in (IS_NULL, IS_NOT_NULL):
        return _condition((str(field), op))
    items = _ITEM.findall(rest) if op in _LISTS else [rest]
    value: Any = [_unquoted(item) for item in items if item or op not in _LISTS]
    if not value:
        raise InvalidInput(f"{text!r:.80} names no value; write 'dpt in ISR,SCS'")
    if op not in _LISTS:
        (value,) = value
    try:
        return _condition((str(field), op, value))
    except (InvalidOperation, OverflowError):
        raise InvalidInput(f"{rest!r:.40} is too large a number") from None


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return Word(text)
    try:
        return str(json.loads(text))
    except ValueError:
        raise InvalidInput(f"{text!r:.80} is no JSON string") from None


def parse_wheres(texts: Sequence[str]) -> Filters:
    """Conditions of a command line, all of which must hold."""
    return (tuple(parse_where(text) for text in texts),) if texts else ()


def _bad_filters(given: object) -> InvalidInput:
    return InvalidInput(
        f"filters are a list of (field, op, value), or a list of such lists, not {given!r:.60}"
    )

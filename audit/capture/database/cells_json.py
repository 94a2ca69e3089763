"""The JSON text of a row's cells, by a plan of its columns that is made once.

It is, letter by letter, what `valuejson.dumps` makes of `cells.cell`: usual values take a short
way, chosen by their type, and all others that very way.
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from json.encoder import encode_basestring
from math import isfinite
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Boolean, Column, Float, Integer, LargeBinary, Numeric, String, Table
from sqlalchemy import Enum as SqlEnum

from audit.capture.database.captured import Captured
from audit.capture.database.cells import cell, key_of
from audit.event.normal import key_text
from audit.event.times import format_time, us_of_time
from audit.event.valuejson import dumps
from audit.event.wire import MAX_INT64, MIN_INT64

_Text = Callable[[Any], str]
_SAME_WHEN_EQUAL = frozenset({str, int, bool, bytes, date, datetime, UUID, type(None)})
"""Types of which equal values are one cell, where both are of that type."""
_MAX_DECIMAL_CHARS = 40


class CellTexts:
    """The texts of one table's rows. A row is a sequence that begins with the captured columns."""

    def __init__(self, captured: Captured, table: Table) -> None:
        """`table`: as the database has it."""
        self.entity_type = captured.entity_type
        self._captured, self._table = captured, table
        columns = [table.columns[name] for name in captured.columns]
        escaped = ["$" + name if name.startswith("$") else name for name in captured.columns]
        # In the order of their names, as `dumps` has it.
        places = sorted(range(len(columns)), key=escaped.__getitem__)
        self._plan: list[tuple[int, str, dict[type, _Text], _Text]] = [
            (
                at,
                _text(escaped[at]) + ":",
                _short_ways(columns[at]),
                partial(_long_way, columns[at]),
            )
            for at in places
        ]
        self._key_at = [(name, captured.columns.index(name)) for name in captured.key]
        self._only_key = self._key_at[0][1] if len(self._key_at) == 1 else None
        kind = columns[self._key_at[0][1]].type
        self._is_simple_key = isinstance(kind, Integer | String) and not isinstance(kind, SqlEnum)

    def key(self, row: Sequence[Any]) -> str:
        """The key of a row, as text. Raises InvalidInput."""
        if self._only_key is not None and self._is_simple_key:
            value = row[self._only_key]
            if type(value) is int and MIN_INT64 <= value <= MAX_INT64:
                return str(value)
            if type(value) is str and value.isascii():
                return value
        named = {name: row[at] for name, at in self._key_at}
        return key_text(key_of(named, self._captured, self._table))

    def whole(self, row: Sequence[Any]) -> str:
        """All captured columns, as a JSON object. Raises InvalidInput, LimitExceeded."""
        return (
            "{"
            + ",".join(
                [
                    name + ways.get(type(value := row[at]), way)(value)
                    for at, name, ways, way in self._plan
                ]
            )
            + "}"
        )

    def changed(self, old: Sequence[Any], new: Sequence[Any]) -> tuple[str, str] | None:
        """The columns that differ, as two JSON objects; None when there are none."""
        before: list[str] = []
        after: list[str] = []
        for at, name, ways, way in self._plan:
            one, other = old[at], new[at]
            if one is other:
                continue
            kind, other_kind = type(one), type(other)
            if kind is other_kind:
                if kind in _SAME_WHEN_EQUAL:
                    if one == other:
                        continue
                elif kind is Decimal and not one.compare_total(other):
                    # Not by ==: 1.50 is not 1.5.
                    continue
            was, now = ways.get(kind, way)(one), ways.get(other_kind, way)(other)
            if was != now:
                before.append(name + was)
                after.append(name + now)
        if not before:
            return None
        return "{" + ",".join(before) + "}", "{" + ",".join(after) + "}"


def _long_way(column: Column[Any], value: Any) -> str:
    # In a list, as deep as it is in the row: the limits are the same.
    return dumps([cell(value, column)])[1:-1]


def _text(value: str) -> str:
    # `dumps` refuses what UTF-8 cannot spell.
    return encode_basestring(value) if value.isascii() else dumps(value)


def _short_ways(column: Column[Any]) -> dict[type, _Text]:
    """How values of the usual types are written."""
    kind = column.type
    ways: dict[type, _Text] = {str: _text, type(None): _null, bytes: _bytes}
    if isinstance(kind, JSON):
        return {}
    if isinstance(kind, Boolean):
        ways[bool] = _bool
    elif isinstance(kind, Float):
        ways[float] = partial(_float, partial(_long_way, column))
    elif isinstance(kind, Numeric):
        if kind.scale:
            ways[Decimal] = partial(_decimal, kind.scale, partial(_long_way, column))
    elif isinstance(kind, Integer | String | LargeBinary):
        ways[int] = partial(_int, partial(_long_way, column))
    if not isinstance(kind, SqlEnum):
        ways[datetime] = _datetime
        ways[date] = _date
        ways[UUID] = _uuid
    return ways


def _null(_: None) -> str:
    return "null"


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _int(long_way: _Text, value: int) -> str:
    return str(value) if MIN_INT64 <= value <= MAX_INT64 else long_way(value)


def _float(long_way: _Text, value: float) -> str:
    return repr(value) if isfinite(value) else long_way(value)


def _bytes(value: bytes) -> str:
    return '{"$bytes":"' + b64encode(value).decode() + '"}'


def _decimal(scale: int, long_way: _Text, value: Decimal) -> str:
    text = str(value)
    usual = text[-scale:].isdecimal() and text[-scale - 1 : -scale] == "." and value
    return f'{{"$decimal":"{text}"}}' if usual and len(text) < _MAX_DECIMAL_CHARS else (
        long_way(value)
    )  # fmt: skip


def _datetime(value: datetime) -> str:
    if value.tzinfo is None:
        return f'"{value.isoformat()}"'
    if value.utcoffset() is None:
        return f'"{value.replace(tzinfo=None).isoformat()}"'
    return f'{{"$timestamp":"{format_time(us_of_time(value))}"}}'


def _date(value: date) -> str:
    return f'{{"$date":"{value.isoformat()}"}}'


def _uuid(value: UUID) -> str:
    return f'"{value}"'

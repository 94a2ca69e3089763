"""Conditions that a row is one of many: by values as the driver has them, or as they were given."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CHAR,
    Enum,
    Integer,
    String,
    Text,
    and_,
    bindparam,
    cast,
    func,
    or_,
    select,
    tuple_,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import NullType, TypeEngine

from audit.capture.database.connect import POSTGRESQL

KEYS_AT_ONCE = 5_000
"""Rows asked for in one statement where their keys go as one parameter."""
SPELLED_AT_ONCE = 100
"""Rows asked for in one statement where each key is parameters of its own."""

Condition = ColumnElement[bool]
Raw = tuple[Any, ...]
"""Values of one row as the driver gives and takes them."""

_PLAIN = (Integer, String)
_TEXTUAL = (int, str, UUID, date, datetime, Decimal)


def raw(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column without SQLAlchemy's own conversions, either way."""
    return type_coerce(column, NullType())


def is_plain(kind: TypeEngine[Any]) -> bool:
    """True when the driver's value is the application's: nothing converts it."""
    return isinstance(kind, _PLAIN) and not isinstance(kind, Enum)


def by_raw(
    columns: Sequence[ColumnElement[Any]],
    kinds: Sequence[TypeEngine[Any]],
    values: Iterable[Raw],
    dialect: str,
) -> Iterator[Condition]:
    """Conditions that are true, together, for the rows with these values in the columns.

    `kinds`: the columns' types as the database has them. Null equals nothing.
    """
    chosen = [value for value in dict.fromkeys(values) if None not in value]
    if len(chosen) == 1:
        yield _one(columns, chosen[0])
        return
    allowed = _TEXTUAL if dialect == POSTGRESQL else (int, str)
    if all(isinstance(part, allowed) for value in chosen for part in value):
        for part in _parts(chosen, KEYS_AT_ONCE):
            yield _from_array(columns, kinds, part, dialect)
    else:
        for part in _parts(chosen, SPELLED_AT_ONCE):
            yield or_(*(_one(columns, value) for value in part))


def by_given(
    columns: Sequence[ColumnElement[Any]],
    kinds: Sequence[TypeEngine[Any]],
    values: Iterable[Sequence[Any]],
    dialect: str,
) -> Iterator[Condition]:
    """The same for values as the application gives them, with its own types' conversions."""
    chosen = [tuple(value) for value in values]
    if all(is_plain(column.type) for column in columns) and all(
        type(part) in (int, str) for value in chosen for part in value
    ):
        yield from by_raw(columns, kinds, chosen, dialect)
        return
    for part in _parts(chosen, SPELLED_AT_ONCE):
        yield or_(*(and_(*(c == v for c, v in zip(columns, value, strict=True))) for value in part))


def _parts(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for at in range(0, len(values), size):
        yield values[at : at + size]


def _one(columns: Sequence[ColumnElement[Any]], value: Raw) -> Condition:
    """A parameter without a type: PostgreSQL then takes the column's, and CHAR(5) stays one."""
    return and_(
        *(
            raw(column) == bindparam(None, part, type_=NullType())
            for column, part in zip(columns, value, strict=True)
        )
    )


def _from_array(
    columns: Sequence[ColumnElement[Any]],
    kinds: Sequence[TypeEngine[Any]],
    values: Sequence[Raw],
    dialect: str,
) -> Condition:
    """All values as one parameter for each column (SQLite: one JSON text), however many."""
    if dialect == POSTGRESQL:
        names = [f"k{index}" for index in range(len(columns))]
        arrays = [
            bindparam(None, [str(value[index]) for value in values], type_=ARRAY(Text))
            for index in range(len(columns))
        ]
        given = func.unnest(*arrays).table_valued(*names).render_derived()
        found: list[Any] = [
            cast(given.c[n], _castable(k)) for n, k in zip(names, kinds, strict=True)
        ]
    else:
        single = len(columns) == 1
        listed = [value[0] for value in values] if single else [list(value) for value in values]
        given = func.json_each(bindparam(None, json.dumps(listed), type_=Text())).table_valued(
            "value"
        )
        each = given.c.value
        found = (
            [each]
            if single
            else [func.json_extract(each, f"$[{index}]") for index in range(len(columns))]
        )
    left = raw(columns[0]) if len(columns) == 1 else tuple_(*(raw(c) for c in columns))
    return left.in_(select(*found))


def _castable(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """A type that may stand in CAST: without its collation, which is the column's own affair."""
    if isinstance(kind, CHAR):
        return CHAR(kind.length)
    if isinstance(kind, String) and not isinstance(kind, Enum) and kind.collation:
        return Text()
    return kind

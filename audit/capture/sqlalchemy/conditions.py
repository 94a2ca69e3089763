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

PARAMETER = "attestory_k"
"""How the parameters of prepared conditions begin."""

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
    chosen = present(values)
    if len(chosen) == 1:
        yield _one(columns, chosen[0])
    elif fits_array(chosen, dialect):
        for part in parts(chosen, KEYS_AT_ONCE):
            yield _from_array(columns, kinds, _arrays(part, dialect), dialect)
    else:
        yield from spelled(columns, chosen)


def present(values: Iterable[Raw]) -> list[Raw]:
    """The values without null, each once."""
    return [value for value in dict.fromkeys(values) if None not in value]


def fits_array(values: Sequence[Raw], dialect: str) -> bool:
    """True when values may be asked for as one parameter."""
    allowed = _TEXTUAL if dialect == POSTGRESQL else (int, str)
    return all(issubclass(kind, allowed) for kind in {type(p) for value in values for p in value})


def spelled(columns: Sequence[ColumnElement[Any]], values: Sequence[Raw]) -> Iterator[Condition]:
    """Conditions with a parameter for each value."""
    for part in parts(values, SPELLED_AT_ONCE):
        yield or_(*(_one(columns, value) for value in part))


def one_prepared(columns: Sequence[ColumnElement[Any]]) -> Condition:
    """The condition of one row, whose values are given as `one_given` says."""
    return and_(
        *(
            raw(column) == bindparam(f"{PARAMETER}{index}", type_=NullType())
            for index, column in enumerate(columns)
        )
    )


def one_given(value: Raw) -> dict[str, Any]:
    """The parameters of `one_prepared`."""
    return {f"{PARAMETER}{index}": part for index, part in enumerate(value)}


def many_prepared(
    columns: Sequence[ColumnElement[Any]], kinds: Sequence[TypeEngine[Any]], dialect: str
) -> Condition:
    """The condition of up to KEYS_AT_ONCE rows, given as `many_given` says."""
    return _from_array(columns, kinds, None, dialect)


def many_given(values: Sequence[Raw], dialect: str) -> dict[str, Any]:
    """The parameters of `many_prepared`."""
    return one_given(_arrays(values, dialect))


def by_given(
    columns: Sequence[ColumnElement[Any]],
    kinds: Sequence[TypeEngine[Any]],
    values: Iterable[Sequence[Any]],
    dialect: str,
) -> Iterator[Condition]:
    """The same for values as the application gives them, with its own types' conversions."""
    chosen = [tuple(value) for value in values]
    if is_raw(columns, chosen):
        yield from by_raw(columns, kinds, chosen, dialect)
        return
    for part in parts(chosen, SPELLED_AT_ONCE):
        yield or_(*(and_(*(c == v for c, v in zip(columns, value, strict=True))) for value in part))


def is_raw(columns: Sequence[ColumnElement[Any]], values: Iterable[Raw]) -> bool:
    """True when values as the application gives them are those of the driver."""
    return all(is_plain(column.type) for column in columns) and (
        {type(part) for value in values for part in value} <= {int, str}
    )


def parts(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Blocks of at most so many."""
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
    arrays_given: Raw | None,
    dialect: str,
) -> Condition:
    """All values as one parameter for each column (SQLite: one JSON text), however many.

    None: the parameters are given when it is executed, as `many_given` names them.
    """

    def parameter(index: int, kind: Any) -> Any:
        if arrays_given is None:
            return bindparam(f"{PARAMETER}{index}", type_=kind)
        return bindparam(None, arrays_given[index], type_=kind)

    if dialect == POSTGRESQL:
        names = [f"k{index}" for index in range(len(columns))]
        arrays = [parameter(index, ARRAY(Text)) for index in range(len(columns))]
        given = func.unnest(*arrays).table_valued(*names).render_derived()
        found: list[Any] = [
            cast(given.c[n], _castable(k)) for n, k in zip(names, kinds, strict=True)
        ]
    else:
        single = len(columns) == 1
        given = func.json_each(parameter(0, Text())).table_valued("value")
        each = given.c.value
        found = (
            [each]
            if single
            else [func.json_extract(each, f"$[{index}]") for index in range(len(columns))]
        )
    left = raw(columns[0]) if len(columns) == 1 else tuple_(*(raw(c) for c in columns))
    return left.in_(select(*found))


def _arrays(values: Sequence[Raw], dialect: str) -> Raw:
    """The parameters of `_from_array`."""
    if dialect == POSTGRESQL:
        return tuple([str(part) for part in column] for column in zip(*values, strict=True))
    single = len(values[0]) == 1
    return (json.dumps([value[0] for value in values] if single else values),)


def _castable(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """A type that may stand in CAST: without its collation, which is the column's own affair."""
    if isinstance(kind, CHAR):
        return CHAR(kind.length)
    if isinstance(kind, String) and not isinstance(kind, Enum) and kind.collation:
        return Text()
    return kind

"""Reading cells of a live table so that no value of a database ends the reading.

SQLite keeps anything in any column, and PostgreSQL has times that Python has not: infinity, years
before 1 and after 9999, 24:00, intervals of months. Capture keeps these as their texts.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Text, and_, case, cast, func, literal_column, not_, type_coerce
from sqlalchemy.dialects.postgresql import DOMAIN, INTERVAL
from sqlalchemy.types import Date, DateTime, NullType, Time

from audit.capture.database.cells import cell
from audit.capture.database.connect import POSTGRESQL
from audit.errors import InvalidInput

_PLAIN = frozenset({str, int, bool, type(None)})
_FIRST: Any = literal_column("'0001-01-01'")
_PAST: Any = literal_column("'10000-01-01'")
"""Between these a date or time is one of Python's; without a type, so that the column's holds."""


class Unkept:
    """A value that no event can hold."""

    def __init__(self, value: object) -> None:
        """Keeps how it reads."""
        self._text = repr(value)

    def __repr__(self) -> str:
        """How it reads."""
        return self._text


class Read(NamedTuple):
    """What is selected for a column: its values, and perhaps the texts of those that are none.

    `make`: what the column's type makes of a value in Python; None: that is done already.
    """

    selected: tuple[Any, ...]
    make: Callable[[Any], Any] | None

    def cells(self, values: Sequence[Sequence[Any]], column: Any) -> Sequence[Any]:
        """The cells of what was selected, as events have them."""
        found = values[0]
        if len(values) > 1:
            pairs = zip(*values, strict=True)
            found = [value if text is None else text for value, text in pairs]
        if self.make is None and set(map(type, found)) <= _PLAIN:
            return found
        return [self._cell(value, column) for value in found]

    def _cell(self, value: Any, column: Any) -> Any:
        try:
            return cell(value if self.make is None else self.make(value), column)
        except (InvalidInput, ValueError, TypeError, ArithmeticError, AttributeError):
            return Unkept(value)


def reading(column: Any, source: Any, dialect: Any) -> Read:
    """How a column is read. `source`: where its values are."""
    if dialect.name != POSTGRESQL:
        make = column.type.dialect_impl(dialect).result_processor(dialect, None)
        return Read((type_coerce(source, NullType()),), make)
    kind = column.type
    if isinstance(kind, DOMAIN):
        kind = kind.data_type
        source = type_coerce(source, kind)
    if isinstance(kind, Date | DateTime):
        within = and_(source >= _FIRST, source < _PAST)
        return Read((case((within, source)), case((not_(within), cast(source, Text)))), None)
    if isinstance(kind, INTERVAL):
        # Months have no fixed length; 24 hours are a day, to PostgreSQL and to Python.
        parts = (func.date_part(part, source) == 0 for part in ("year", "month"))
        days = cast(func.justify_hours(source), Text)
        text = case((and_(*parts), days), else_=cast(source, Text))
        return Read((text,), None)
    if isinstance(kind, Time):
        return Read((cast(source, Text),), None)
    return Read((source,), None)

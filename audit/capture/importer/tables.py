"""What every format of table gives: rows with a key, a valid time and typed values."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, Protocol

from audit.capture.context import valid_time_us
from audit.errors import InvalidInput
from audit.event.values import key_text

MAX_LISTED = 20
"""Columns that a message lists."""


class TableRow(NamedTuple):
    """One row: where it stands (for messages), its key, its valid time, and all its values.

    `nulls_for_absent`: the format has a cell for every column, so that null may mean "not there".
    """

    place: str
    key: str
    valid_time_us: int | None
    fields: dict[str, Any]
    nulls_for_absent: bool = True


class Table(Protocol):
    """A file of rows, read from its start each time."""

    def check(self) -> int:
        """Read all of it and refuse what is wrong; returns how many rows. Raises InvalidInput."""
        ...

    def rows(self) -> Iterator[TableRow]:
        """The rows in order. Raises InvalidInput naming the line."""
        ...


class KeyColumns(NamedTuple):
    """The columns that make the key."""

    names: tuple[str, ...]

    def positions(self, header: Sequence[str], name: str) -> tuple[int, ...]:
        """Where they stand in a header. Raises InvalidInput listing the columns there are."""
        return tuple(_position(header, column, name) for column in self.names)

    def of_fields(self, fields: dict[str, Any]) -> str:
        """The key of a row: a composite one is the JSON array of its parts, 1 apart from "1"."""
        parts = []
        for column in self.names:
            if column not in fields:
                raise InvalidInput(f"there is no key column {column}; {_listed(list(fields))}")
            if fields[column] is None:
                raise InvalidInput(f"the key column {column} is null")
            parts.append(fields[column])
        return key_text(parts[0] if len(parts) == 1 else parts)


def _position(header: Sequence[str], column: str, name: str) -> int:
    if column in header:
        return header.index(column)
    close = get_close_matches(column, header, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise InvalidInput(f"{name} has no column {column!r:.64}{hint}\n{_listed(header)}")


def _listed(header: Sequence[str]) -> str:
    more = ", ..." if len(header) > MAX_LISTED else ""
    return f"it has {', '.join(header[:MAX_LISTED])}{more}"


Key = str | Sequence[str]
"""`A`, `A,B`, or a list of columns."""


def key_columns(key: Key, header: Sequence[str] | None = None) -> KeyColumns:
    """The columns of `--key A,B`, or of a list. A column whose name has a comma wins."""
    if isinstance(key, str):
        names = (key,) if header is not None and key in header else tuple(key.split(","))
    else:
        names = tuple(key)
    if not names or not all(names):
        raise InvalidInput("a key is at least one column: --key A or --key A,B")
    if len(set(names)) != len(names):
        raise InvalidInput("a key names each column once")
    return KeyColumns(names)


def valid_time_of(fields: dict[str, Any], column: str | None) -> int | None:
    """The valid time in a row of typed values; None where it is null."""
    if column is None:
        return None
    if column not in fields:
        raise InvalidInput(f"there is no valid-time column {column}; {_listed(list(fields))}")
    value = fields[column]
    if value is None:
        return None
    try:
        return valid_time_us(value)
    except InvalidInput as error:
        raise InvalidInput(f"{column}: {error}") from None

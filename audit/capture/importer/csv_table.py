"""A CSV file as rows with typed values.

Types are found over the whole file first: a column is integer, or double, only if every cell that
is not null is in canonical form - exactly what Python's str(int) or repr(float) writes for its
value, and an integer of 64 bits. Every other column is string: `007`, `1.50`, `1e5`, `-0`, `+1`,
`nan` and columns that mix `1` and `2.5` stay as they are written. Keys are the cells verbatim.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from audit.capture.context import valid_time_us
from audit.capture.importer.csv_cells import Cells, csv_rows
from audit.capture.importer.source import Source, located
from audit.capture.importer.tables import Key, KeyColumns, TableRow, key_columns
from audit.errors import InvalidInput
from audit.event.normal import key_text
from audit.event.wire import MAX_INT64, MIN_INT64

MAX_COLUMNS = 10_000

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DOUBLE = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?(e[+-][0-9]{2,3})?")

UNKNOWN: Final = "null"
INTEGER: Final = "integer"
DOUBLE: Final = "double"
STRING: Final = "string"

_CONVERT: dict[str, Callable[[str], object]] = {INTEGER: int, DOUBLE: float}


def cell_type(text: str) -> str:
    """The type of which this text is the canonical form of a value."""
    if _INTEGER.fullmatch(text):
        return INTEGER if MIN_INT64 <= int(text) <= MAX_INT64 else STRING
    if _DOUBLE.fullmatch(text) and repr(float(text)) == text:
        return DOUBLE
    return STRING


class CsvTable:
    """The rows of a CSV file. `check` reads all of it and finds the types; then come `rows`."""

    def __init__(self, source: Source, key: Key, valid_time: str | None) -> None:
        """Read the header. Raises InvalidInput."""
        self._source = source
        self.types: list[str] = []
        first = next(csv_rows(source), None)
        if first is None:
            raise InvalidInput(f"{source.name} is empty: a CSV file begins with a line of names")
        self.header = self._checked_header(*first)
        self._keys = key_columns(key, self.header).positions(self.header, source.name)
        self._valid = None
        if valid_time is not None:
            (self._valid,) = KeyColumns((valid_time,)).positions(self.header, source.name)

    def _checked_header(self, number: int, cells: Cells) -> list[str]:
        header: list[str] = []
        for at, name in enumerate(cells, 1):
            if not name:
                raise InvalidInput(f"{self._source.name}, line {number}: column {at} has no name")
            if name in header:
                raise InvalidInput(
                    f"{self._source.name}, line {number}: two columns are called {name!r:.64}"
                )
            if at > MAX_COLUMNS:
                raise InvalidInput(f"{self._source.name} has more than {MAX_COLUMNS} columns")
            header.append(name)
        return header

    def check(self) -> int:
        """Read the whole file: find the types, refuse what is wrong. Returns how many rows."""
        types = [UNKNOWN] * len(self.header)
        open_columns = list(range(len(types)))
        count = 0
        for number, cells in self._data():
            count += 1
            self._key(number, cells)
            self._valid_time(number, cells)
            closed = False
            for at in open_columns:
                cell = cells[at]
                if cell is None:
                    continue
                found = cell_type(cell)
                if found != types[at]:
                    types[at] = found if types[at] == UNKNOWN else STRING
                    closed = closed or types[at] == STRING
            if closed:
                open_columns = [at for at in open_columns if types[at] != STRING]
        self.types = types
        self._source.finish_pass()
        return count

    def rows(self) -> Iterator[TableRow]:
        """The rows with typed values. `check` comes first."""
        convert = [_CONVERT.get(type_) for type_ in self.types]
        header = self.header
        for number, cells in self._data():
            try:
                fields = {
                    name: cell if cell is None or to is None else to(cell)
                    for name, cell, to in zip(header, cells, convert, strict=True)
                }
            except ValueError:
                raise InvalidInput(f"{self._source.name} was changed while it was read") from None
            yield TableRow(
                f"{self._source.name}, line {number}",
                self._key(number, cells),
                self._valid_time(number, cells),
                fields,
            )
        self._source.finish_pass()

    def _data(self) -> Iterator[tuple[int, Cells]]:
        rows = csv_rows(self._source)
        next(rows, None)
        width = len(self.header)
        for number, cells in rows:
            if len(cells) != width:
                place = f"{self._source.name}, line {number}"
                raise InvalidInput(f"{place}: {len(cells)} cells, the header has {width}")
            yield number, cells

    def _key(self, number: int, cells: Cells) -> str:
        parts = []
        for at in self._keys:
            cell = cells[at]
            if cell is None:
                raise InvalidInput(
                    f"{self._source.name}, line {number}: the key column {self.header[at]} is empty"
                )
            parts.append(cell)
        return parts[0] if len(parts) == 1 else key_text(parts)

    def _valid_time(self, number: int, cells: Cells) -> int | None:
        if self._valid is None:
            return None
        cell = cells[self._valid]
        if cell is None:
            return None
        with located(f"{self._source.name}, line {number}, {self.header[self._valid]}"):
            return valid_time_us(cell)

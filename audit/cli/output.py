"""How results are shown: tables and blocks for people, JSON for programs. All of it on stdout."""

import json
import sys
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any

from audit.ledger.harmless import harmless, harmless_json, shortened, width

ROWS_MEASURED = 500
"""Rows whose widths decide those of a table's columns; the rest is printed as it comes."""
MAX_CELL_COLUMNS = 60
"""Widest cell of a table; the whole value is in the other formats."""

Cells = Sequence[str]


def write(text: str) -> None:
    """Put text on stdout."""
    sys.stdout.write(text)


def counted(number: int, thing: str) -> str:
    """`1 row`, `2,000 rows`, `3 entries`."""
    if number != 1:
        thing = f"{thing[:-1]}ies" if thing.endswith("y") else f"{thing}s"
    return f"{number:,} {thing}"


def write_json(value: Any) -> None:
    """One JSON document, indented."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2)
    write(harmless_json(text) + "\n")


def write_json_line(value: Any) -> None:
    """One JSON document in one line."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    write(harmless_json(text).replace("\n", "\\n") + "\n")


def write_json_array(values: Iterable[Any]) -> None:
    """A JSON array with one element a line, written as they come."""
    separator = "[\n"
    for value in values:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        write(separator + harmless_json(text))
        separator = ",\n"
    write("[]\n" if separator == "[\n" else "\n]\n")


def write_table(headers: Cells, rows: Iterable[Cells], right: Sequence[int] = ()) -> int:
    """A table with a header line; returns how many rows it has.

    `right`: numbers of the columns that are aligned right. Cells may hold anything.
    """
    stream = iter(rows)
    measured = [_cells(row) for row in islice(stream, ROWS_MEASURED)]
    headers = _cells(headers)
    widths = [width(header) for header in headers]
    for cells in measured:
        for at, cell in enumerate(cells):
            widths[at] = max(widths[at], width(cell))
    write(_line(headers, widths, right))
    count = 0
    for cells in chain(measured, map(_cells, stream)):
        write(_line(cells, widths, right))
        count += 1
    return count


def write_block(pairs: Iterable[tuple[str, str]], label_columns: int = 12) -> None:
    """Lines of a label and a value. An empty label continues the value above."""
    for label, value in pairs:
        lines = [harmless(line) for line in value.split("\n")]
        for at, line in enumerate(lines):
            shown = harmless(label) if at == 0 else ""
            write(f"{shown:<{label_columns}}{line}".rstrip() + "\n")


def _cells(row: Cells) -> list[str]:
    return [shortened(harmless(cell), MAX_CELL_COLUMNS) for cell in row]


def _line(cells: Cells, widths: Sequence[int], right: Sequence[int]) -> str:
    shown = []
    for at, (cell, columns) in enumerate(zip(cells, widths, strict=True)):
        gap = " " * max(0, columns - width(cell))
        shown.append(gap + cell if at in right else cell + gap)
    return "  ".join(shown).rstrip() + "\n"

"""Strict CSV (RFC 4180): rows of cells, where an unquoted empty cell is null and a quoted one "".

    row   = cell *("," cell) (LF | CRLF)          the last row may lack its line end
    cell  = quoted | plain
    quoted = DQUOTE *(any character but DQUOTE | 2DQUOTE) DQUOTE
    plain = *(any character but DQUOTE, comma, CR, LF)

UTF-8, a byte order mark at the start is skipped. Lines with nothing in them are skipped. Python's
csv module cannot tell the two kinds of empty cells apart and takes many texts that are no CSV.
"""

import re
from collections.abc import Iterator

from audit.capture.importer.source import MAX_LINE_BYTES, Source
from audit.errors import InvalidInput

Cells = list[str | None]

_CELL = re.compile(r'(?:"((?:[^"]++|"")*+)"|([^",\r\n]*+))(,|\Z)')


def csv_rows(source: Source) -> Iterator[tuple[int, Cells]]:
    """(number of its first line, cells) of every row, the header included. Raises InvalidInput."""
    lines = source.lines()
    for number, line in lines:
        if b'"' in line:
            whole = _whole_row(source, number, line, lines)
            text = _without_end(source.text(number, whole))
            yield number, _quoted_cells(source, number, text)
            continue
        text = _without_end(source.text(number, line))
        if "\r" in text:
            raise InvalidInput(f"{source.name}, line {number}: a carriage return within a line")
        if text:
            yield number, [cell or None for cell in text.split(",")]


def _without_end(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _whole_row(
    source: Source, first: int, line: bytes, lines: Iterator[tuple[int, bytes]]
) -> bytes:
    """A row that begins with this line, up to where its quotes are closed."""
    parts = [line]
    quotes = line.count(b'"')
    size = len(line)
    while quotes % 2:
        _, line = next(lines, (0, b""))
        size += len(line)
        if not line or size > MAX_LINE_BYTES:
            raise InvalidInput(f"{source.name}, line {first}: a quote is opened and never closed")
        parts.append(line)
        quotes += line.count(b'"')
    return b"".join(parts)


def _quoted_cells(source: Source, number: int, text: str) -> Cells:
    cells: Cells = []
    at = 0
    while True:
        match = _CELL.match(text, at)
        if match is None:
            place = f"{source.name}, line {number}, cell {len(cells) + 1}"
            raise InvalidInput(
                f"{place}: a quote where none may be\n"
                'quote the whole cell and double the quotes in it: "a ""b"" c"'
            )
        quoted, plain, end = match.groups()
        cells.append((plain or None) if quoted is None else quoted.replace('""', '"'))
        at = match.end()
        if not end:
            return cells

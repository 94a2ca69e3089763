"""The forms of an answer beside the page: JSON, CSV and Parquet, streamed, without silent caps."""

import csv
import io
import json
from collections.abc import Generator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from audit.replay.rows_out import plain_text
from audit.web.answer import Table

if TYPE_CHECKING:
    import pyarrow

HTML, JSON, CSV, PARQUET = "", ".json", ".csv", ".parquet"
MEDIA_TYPES = {
    JSON: "application/json",
    CSV: "text/csv; charset=utf-8",
    PARQUET: "application/vnd.apache.parquet",
}

ROWS_AT_ONCE = 2_000
"""Rows of one piece of a stream, and of one row group of Parquet."""
PIECE_CHARS = 262_144
"""A piece of CSV is given out when it has so many, whatever it has of rows: rows may be large, and
each reader of a table holds a piece in memory for as long as he takes to read it."""
ROWS_BETWEEN = 50
"""Rows that are written before it is looked how much there is."""
FORMULA_SIGNS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What spreadsheets take for a formula, some of them in its wide form (OWASP, CSV injection)."""


def json_text(data: Any) -> bytes:
    """JSON, UTF-8, with the characters escaped that JavaScript or HTML would stumble over."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        if character in text:
            text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "backslashreplace") + b"\n"


def csv_stream(table: Table) -> Generator[bytes, None, None]:
    """RFC 4180 with plain line feeds. A text that a spreadsheet would run gets a ' in front."""
    rows = chain([table.columns], table.rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    while part := [[_csv_cell(cell) for cell in row] for row in islice(rows, ROWS_BETWEEN)]:
        writer.writerows(part)
        if text.tell() >= PIECE_CHARS:
            yield _taken(text)
    yield _taken(text)


def _taken(text: io.StringIO) -> bytes:
    """What was written since the last time."""
    found = text.getvalue().encode("utf-8", "backslashreplace")
    text.seek(0)
    text.truncate()
    return found


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return "'" + value if value.startswith(FORMULA_SIGNS) else value
    return plain_text(value)


def parquet_stream(table: Table) -> Generator[bytes, None, None]:
    """Parquet, written and given out piece by piece. Of rows without a type: text columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = _Sink()
    if table.arrow is not None:
        found = table.arrow()
        with pq.ParquetWriter(sink, found.schema) as writer:
            for start in range(0, found.num_rows, ROWS_AT_ONCE * 10):
                writer.write_table(found.slice(start, ROWS_AT_ONCE * 10))
                yield sink.taken()
        yield sink.taken()
        return
    schema = pa.schema([pa.field(name, pa.string()) for name in table.columns])
    with pq.ParquetWriter(sink, schema) as writer:
        rows = iter(table.rows)
        while part := list(islice(rows, ROWS_AT_ONCE)):
            writer.write_table(_text_table(part, schema))
            yield sink.taken()
    yield sink.taken()


def _text_table(rows: Sequence[Sequence[Any]], schema: "pyarrow.Schema") -> "pyarrow.Table":
    import pyarrow as pa

    columns = zip(*rows, strict=True)
    arrays = [
        pa.array([None if cell is None else plain_text(cell) for cell in column], pa.string())
        for column in columns
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


class _Sink(io.RawIOBase):
    """A file that gives out what was written to it since it was last asked."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._written += len(part)
        return len(part)

    def tell(self) -> int:
        return self._written

    def taken(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken

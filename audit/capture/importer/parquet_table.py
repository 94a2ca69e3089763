"""A Parquet file as rows with their exact types.

Timestamps must have a zone (one without names no instant) and no more than microseconds; unsigned
integers must fit 64 bits with sign; maps, times of day and durations have no exact counterpart and
are refused by name.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from audit.capture.importer.source import Source, located
from audit.capture.importer.tables import (
    Key,
    KeyColumns,
    TableRow,
    key_columns,
    valid_time_of,
)
from audit.errors import InvalidInput
from audit.event.values import normalize_fields

if TYPE_CHECKING:
    import pyarrow

ROWS_PER_BATCH = 4_096
"""Rows held in memory."""


class ParquetTable:
    """The rows of a Parquet file."""

    def __init__(self, source: Source, key: Key, valid_time: str | None) -> None:
        """Read the file's footer. Raises InvalidInput."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._source = source
        self._valid_time = valid_time
        try:
            self._file = pq.ParquetFile(source.file)
            schema = self._file.schema_arrow
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InvalidInput(f"{source.name} is no Parquet file: {_first_line(error)}") from None
        self.header = list(schema.names)
        if len(set(self.header)) != len(self.header):
            raise InvalidInput(f"{source.name} has two columns of one name")
        for field in schema:
            _check_type(source.name, field.name, field.type)
        self._key = key_columns(key, self.header)
        self._key.positions(self.header, source.name)
        if valid_time is not None:
            KeyColumns((valid_time,)).positions(self.header, source.name)

    def check(self) -> int:
        """Read all rows; returns how many. Raises InvalidInput naming the row."""
        return sum(1 for _ in self.rows())

    def rows(self) -> Iterator[TableRow]:
        """The rows in order, counted from 1."""
        total = max(1, self._file.metadata.num_rows)
        for number, cells in enumerate(self._cells(), 1):
            place = f"{self._source.name}, row {number}"
            with located(place):
                fields = normalize_fields(dict(zip(self.header, cells, strict=True)))
                key = self._key.of_fields(fields)
                valid_us = valid_time_of(fields, self._valid_time)
            yield TableRow(place, key, valid_us, fields)
            if number % ROWS_PER_BATCH == 0:
                self._source.report(self._source.size * number // total)
        self._source.finish_pass()

    def _cells(self) -> Iterator[tuple[Any, ...]]:
        import pyarrow as pa

        try:
            for batch in self._file.iter_batches(ROWS_PER_BATCH):
                columns = [
                    _python_cells(self._source.name, name, column)
                    for name, column in zip(self.header, batch.columns, strict=True)
                ]
                yield from zip(*columns, strict=True)
        except (pa.ArrowException, OSError) as error:
            raise InvalidInput(f"{self._source.name} is damaged: {_first_line(error)}") from None


def _check_type(name: str, column: str, kind: "pyarrow.DataType") -> None:
    import pyarrow.types as types

    if types.is_timestamp(kind) and kind.tz is None:
        raise InvalidInput(
            f"{name}: timestamps in column {column} have no time zone, so they name no instant\n"
            "write them with one, for instance df[column].dt.tz_localize('UTC')"
        )
    if types.is_map(kind):
        raise InvalidInput(f"{name}: column {column} holds maps; write them as structs or lists")


def _python_cells(name: str, column: str, array: "pyarrow.Array") -> list[Any]:
    import pyarrow as pa

    kind = array.type
    if pa.types.is_timestamp(kind):
        try:
            array = array.cast(pa.timestamp("us", kind.tz))
        except pa.ArrowInvalid:
            raise InvalidInput(
                f"{name}: column {column} has times finer than a microsecond: refused, not rounded"
            ) from None
    try:
        cells: list[Any] = array.to_pylist()
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{name}: column {column}: {_first_line(error)}") from None
    return cells


def _first_line(error: Exception) -> str:
    return (str(error).split("\n", 1)[0] or type(error).__name__)[:200]

"""The rows of a dataset's files of changes against rows made again from the leaves."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from audit.errors import FormatError
from audit.ledger.export.change_block import ChangeBlock, change_table_of
from audit.ledger.export.events import BATCH_ROWS
from audit.ledger.export.manifest import DatasetColumns
from audit.ledger.export.place import Place


def batches_of(place: Place, path: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """A Parquet file's rows in batches. Raises FormatError when it is none, or of other columns."""
    with place.open(path) as file:
        try:
            parquet = pq.ParquetFile(file)
            if not parquet.schema_arrow.equals(schema):
                raise FormatError(f"{path} has other columns than an export has")
            yield from parquet.iter_batches(BATCH_ROWS)
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{path} is no Parquet file that can be read: {error}") from None


class CheckedChanges:
    """Those of one dataset in one log."""

    def __init__(self, place: Place, dataset: DatasetColumns, paths: list[str]) -> None:
        """`paths`: the files of one log, in order. Nothing is read yet."""
        self._columns = dataset.columns
        self._paths = paths
        schema = dataset.columns.schema()
        self._there = (batch for path in paths for batch in batches_of(place, path, schema))
        self._rest = schema.empty_table()

    def take(self, block: ChangeBlock) -> str | None:
        """Take the next rows; what is wrong, in words."""
        count = block.base.num_rows
        parts = [self._rest]
        while sum(part.num_rows for part in parts) < count:
            batch = next(self._there, None)
            if batch is None:
                return f"{self._paths[-1] if self._paths else 'changes/'} lacks rows"
            parts.append(pa.Table.from_batches([batch]))
        table = pa.concat_tables(parts)
        self._rest = table.slice(count)
        if _same(table.slice(0, count), change_table_of([block], self._columns)):
            return None
        return (
            f"the changes from entry {block.first} on are not what the entries say: "
            f"{self._paths[0]}"
        )

    def finish(self) -> str | None:
        """After the last row."""
        if self._rest.num_rows or any(batch.num_rows for batch in self._there):
            return f"{self._paths[-1]} has rows that no entry made"
        return None


def _same(left: pa.Table, right: pa.Table) -> bool:
    """Equality of two tables; NaN equals NaN, and -0.0 is not 0.0."""
    for name in left.schema.names:
        one, other = left.column(name), right.column(name)
        if pa.types.is_floating(one.type):
            bits = [array.combine_chunks() for array in (one, other)]
            if not _bits(bits[0]).equals(_bits(bits[1])):
                return False
        elif not one.equals(other):
            return False
    return True


def _bits(array: pa.Array) -> pa.Array:
    return array.view(pa.int64())

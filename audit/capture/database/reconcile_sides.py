"""The two sides of a comparison: the rows of the log and those of the table, block by block."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from audit.capture.database.reconcile_table import LiveTable
from audit.capture.reconcile_digests import Digester, Digests
from audit.errors import InvalidInput, NotFound
from audit.replay.asof import dataset
from audit.replay.fold import Row
from audit.replay.points import Cut
from audit.replay.select import Found
from audit.store.contract import Reader

ROWS_AT_ONCE = 5_000
"""Rows of the log that are Python values at once."""

Progress = Callable[[int, int], object]
"""Told how many rows are read, and of how many; 0: not known."""


class Sides:
    """The rows of a dataset at a cut, and of its table, with the columns that are compared.

    `columns`: these; `unrecorded`: columns of the table that were never recorded, `held`: those of
    them that hold something; `gone`: columns that only the log has. `remarks`: what the reader of
    the result should be told.
    """

    def __init__(
        self,
        reader: Reader,
        table: LiveTable,
        cut: Cut,
        digester: Digester,
        columns: Sequence[str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """`columns`: only these. Raises InvalidInput for one that is not kept."""
        self.reader, self.table, self.cut, self.digester = reader, table, cut, digester
        self.remarks: list[str] = []
        self.held: set[str] = set()
        self._progress = progress
        self._read = 0
        self._found = self._dataset()
        self._choose(frozenset(() if self._found is None else self._found.columns), columns)
        if self._found is not None:
            self._found.show(self.columns)

    def _dataset(self) -> Found | None:
        try:
            found = dataset(self.reader, self.table.captured.entity_type, self.cut)
        except NotFound:
            self.remarks.append("nothing of this dataset was ever recorded in the ledger")
            return None
        if found.undecodable:
            self.remarks.append(
                f"{found.undecodable:,} of its events cannot be read: what differs may be theirs"
            )
        return found

    def _choose(self, recorded: frozenset[str], asked: Sequence[str] | None) -> None:
        """Which columns are compared, and which are found on one side only."""
        kept = self.table.captured.columns
        present = {column.name for column in self.table.table.columns}
        if asked is not None:
            for name in asked:
                if name not in kept:
                    raise InvalidInput(f"{self.table.captured.table!r:.80} keeps no column "
                                       f"{name!r:.80}")  # fmt: skip
            kept = tuple(name for name in kept if name in set(asked))
        self.columns = tuple(name for name in kept if name in recorded)
        # Where nothing is recorded at all the rows are missing, and no column more than another.
        own = self.table.captured.key if recorded else kept
        self.unrecorded = tuple(n for n in kept if n not in recorded and n not in own)
        self.gone = () if asked is not None else tuple(sorted(recorded - present))

    def digest_table(self, into: Digests) -> None:
        """Read the table once. Raises Unavailable."""
        digester = self.digester
        for block in self.table.blocks((*self.columns, *self.unrecorded)):
            compared = block.columns[: len(self.columns)]
            extra = block.columns[len(self.columns) :]
            for name, values in zip(self.unrecorded, extra, strict=True):
                if name not in self.held and any(value is not None for value in values):
                    self.held.add(name)
            into.add(digester.keys(block.keys), self._contents(len(block.keys), compared))
            self.tell(len(block.keys))

    def digest_log(self, into: Digests) -> None:
        """Read the rows of the log once. Raises Unavailable."""
        digester = self.digester
        for keys, rows in self.log_blocks():
            columns = [[row.get(name) for row in rows] for name in self.columns]
            into.add(digester.keys(keys), self._contents(len(keys), columns))
            self.tell(len(keys))

    def _contents(self, count: int, columns: Sequence[Sequence[Any]]) -> list[bytes]:
        named = zip(self.columns, columns, strict=True)
        bent = [self.table.comparable(name, values) for name, values in named]
        return self.digester.contents(count, bent)

    def log_blocks(self) -> Iterator[tuple[list[str], list[Row]]]:
        """The rows of the log, in byte order of their keys."""
        if self._found is None:
            return
        stream = iter(self._found.rows())
        while some := list(islice(stream, ROWS_AT_ONCE)):
            yield [key for key, _ in some], [row for _, row in some]

    def tell(self, rows: int) -> None:
        """So many rows more are read."""
        self._read += rows
        if self._progress is not None:
            self._progress(self._read, 0)

"""The view `events` from the read model: columns that it has are given without reading a leaf.

The read model was verified when it was opened; it is asked as replay and search ask it. What it
does not tell exactly is not here: whether a valid time was claimed, and an event's reason beside
one of its entry.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa

from audit.errors import AuditError
from audit.ledger.export.entry_block import SORTS, ops_of, texts_array, times_array
from audit.replay.columnar.decode.envelopes import Texts
from audit.replay.columnar.kept.search import Columns
from audit.replay.columnar.parts import Coded, EventsPart, Sort

ROWS = 131_072
"""Rows of one batch: a few numbers each."""
_TEXTS = ("type", "entity_type", "source", "actor", "transaction_id")
IN_MODEL = frozenset(("log", "index", "recorded_time", "kind", "op", *_TEXTS))
"""Columns of `events` that the read model tells exactly."""


def parts_of(model: Columns, log: int, size: int) -> Sequence[EventsPart] | None:
    """The parts that together are the entries below a size; None where there are no such parts."""
    try:
        parts = model.events_parts(log, size)
    except AuditError:
        return None  # the leaves tell, or say what is wrong
    if not parts or parts[0].start != 0 or parts[-1].stop < size:
        return None if size else ()
    return parts if all(a.stop == b.start for a, b in pairwise(parts)) else None


def model_batches(
    parts: Sequence[EventsPart], start: int, stop: int, schema: "pa.Schema"
) -> Iterator["pa.RecordBatch"]:
    """The rows with start <= index < stop, with columns of IN_MODEL only."""
    for part in parts:
        own = _Part(part)
        count = min(part.stop, stop) - part.start
        for at in range(max(0, start - part.start), count, ROWS):
            rows = slice(at, min(count, at + ROWS))
            arrays = [own.column(name, rows) for name in schema.names]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


class _Part:
    """A part, and the texts of it as Arrow has them."""

    def __init__(self, part: EventsPart) -> None:
        self._part = part
        self._texts: dict[str, pa.Array] = {}

    def column(self, name: str, rows: slice) -> "pa.Array":
        part = self._part
        if name == "log":
            return pa.repeat(pa.scalar(part.log, pa.int64()), rows.stop - rows.start)
        if name == "index":
            return pa.array(part.start + np.arange(rows.start, rows.stop, dtype=np.int64))
        if name == "recorded_time":
            return times_array(part.recorded_us[rows])
        if name == "kind":
            return pa.array(SORTS, pa.string()).take(pa.array(part.sort[rows]))
        column: Coded = part.type if name == "op" else getattr(part, name)
        codes = column.codes[rows]
        null = part.sort[rows] != Sort.EVENT if name == "op" else None
        if name not in self._texts:
            texts = pa.array(list(column.texts), pa.binary())
            if name == "op":
                texts = ops_of(texts.cast(pa.string()).to_pylist())
            self._texts[name] = texts
        return texts_array(Texts(codes, self._texts[name]), null)

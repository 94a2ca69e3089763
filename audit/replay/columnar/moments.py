"""Rows of many keys, each at recorded times of its own, from the read model.

The events of these keys are put in order of key and then of the log. An asked moment is a place in
that order: the last event of its key by then says whether the row is there; a field has its last
cell before the place, unless the row was reset after it.
"""

from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit.replay.columnar.among import only_events
from audit.replay.columnar.column import Column, Piece, column_of_cells, combine
from audit.replay.columnar.fast import MAX_CAREFUL
from audit.replay.columnar.parts import NO_CODE, Op
from audit.replay.columnar.scatter import Ints
from audit.replay.columnar.state import NOTHING_TOLD
from audit.replay.columnar.tail import Span, spans_of, told_after
from audit.replay.fold import Row
from audit.replay.names import output_name

if TYPE_CHECKING:
    from audit.replay.columnar.fast import FastReplay
    from audit.replay.steps import Steps

_MISSING = object()


class Known(NamedTuple):
    """The rows of each key at its moments, None where there is none; keys left to the plain fold.

    `columns`: the fields that any of the keys in `rows` was ever given.
    """

    rows: dict[str, list[Row | None]]
    careful: list[str]
    columns: frozenset[str]


def known_at(
    fast: "FastReplay",
    steps: "Steps",
    moments: Mapping[str, Sequence[int]],
    columns: Container[str],
) -> Known | None:
    """The rows at their moments (microseconds), of their fields those that are called `columns`.

    None where all is to be replayed plainly.
    """
    sizes = {log: size for log, size in steps.cut.sizes.items() if size}
    if len(sizes) != 1 or steps.naming.moved or not steps.reader.complete:
        return None
    ((log, size),) = sizes.items()
    if fast.source.covered(log) < size:
        return None
    if fast.source.must_be_plain(steps.entity_type, steps.cut):
        return None
    parts = fast.source.parts(log, steps.entity_type, 0, size)
    book = fast.source.key_book(log, steps.entity_type)
    asked = pa.array([key.encode() for key in moments], pa.large_binary())
    codes = pc.index_in(asked, value_set=book.keys).fill_null(NO_CODE).to_numpy()
    wanted = np.zeros(len(book.keys), np.bool_)
    wanted[codes[codes != NO_CODE]] = True
    spans = spans_of([only_events(part, wanted) for part in parts], 0, size)
    told = told_after(NOTHING_TOLD, spans)
    if told.plain or told.unread or len(told.careful) > MAX_CAREFUL:
        return None
    ordered = _Ordered(spans)
    if ordered.truncated:
        return None
    code_of = dict(zip(moments, codes.tolist(), strict=True))
    careful = [key for key, code in code_of.items() if code in told.careful]
    simple = [key for key in moments if code_of[key] not in told.careful]
    counts = [len(moments[key]) for key in simple]
    times_us = np.array([us for key in simple for us in moments[key]], np.int64)
    each = np.repeat(np.array([code_of[key] for key in simple], np.int64), counts)
    rows = iter(ordered.rows(each, times_us, columns))
    answers = {key: [next(rows) for _ in moments[key]] for key in simple}
    return Known(answers, careful, ordered.fields)


class _Ordered:
    """Events in the order of their keys, and of the log for each key."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans
        key = _cat([s.part.key[s.lo : s.hi] for s in spans]).astype(np.int64)
        op = _cat([s.part.op[s.lo : s.hi] for s in spans])
        whole = _cat([s.part.whole[s.lo : s.hi] for s in spans])
        self._recorded_us = _cat([s.part.recorded_us[s.lo : s.hi] for s in spans])
        self.truncated = bool((key == NO_CODE).any())
        self._count = len(key)
        order = np.argsort(key, kind="stable")
        self._key = key[order]
        self._place = np.empty(self._count, np.int64)
        self._place[order] = np.arange(self._count)
        # By key and then by the log, as one number to search for.
        self._both = self._key * (self._count + 1) + order
        self._gone = op[order] == Op.DELETE
        begins = np.ones(self._count, np.bool_)
        begins[1:] = self._key[1:] != self._key[:-1]
        self._floor = _newest(begins | whole[order].astype(np.bool_) | self._gone)
        self.fields = frozenset(
            name
            for span in spans
            for name, cells in span.part.fields.items()
            if len(cells.at) and cells.at[0] < span.hi
        )

    def rows(self, codes: Ints, times_us: Ints, only: Container[str]) -> list[Row | None]:
        """The row of each key at a time, or None."""
        if not self._count:
            return [None] * len(codes)
        below = np.searchsorted(self._recorded_us, times_us, "right")
        at = np.searchsorted(self._both, codes * (self._count + 1) + below) - 1
        there = (at >= 0) & (self._key[at] == codes) & (codes != NO_CODE)
        live = np.flatnonzero(there & ~self._gone[at])
        names = sorted(name for name in self.fields if output_name(name) in only)
        columns = [self._column(name, at[live]).objects(None, _MISSING).tolist() for name in names]
        found: list[Row | None] = [None] * len(codes)
        for number, cells in zip(live.tolist(), zip(*columns, strict=True), strict=False):
            found[number] = {
                name: value
                for name, value in zip(names, cells, strict=True)
                if value is not _MISSING
            }
        if not names:
            for number in live.tolist():
                found[number] = {}
        return found

    def _column(self, name: str, at: Ints) -> Column:
        """The cells of a field at these places of the order."""
        cell_at = np.full(self._count, -1, np.int64)
        bounds, cells_before = [], 0
        for span in self._spans:
            cells = span.part.fields.get(name)
            if cells is None:
                continue
            first, last = np.searchsorted(cells.at, [span.lo, span.hi]).tolist()
            position = cells.at[first:last].astype(np.int64) - span.lo + span.at
            cell_at[self._place[position]] = np.arange(cells_before, cells_before + last - first)
            bounds.append((cells.values, cells_before, last - first, first))
            cells_before += last - first
        newest = _newest(cell_at >= 0)[at]
        rows = np.flatnonzero(newest >= self._floor[at])
        cell = cell_at[newest[rows]]
        pieces = []
        for values, start, count, first in bounds:
            here = (cell >= start) & (cell < start + count)
            if here.any():
                picked = column_of_cells(values, cell[here] - start + first)
                pieces.append(Piece(rows[here], picked))
        return combine(len(at), pieces)


def _newest(flags: npt.NDArray[np.bool_]) -> Ints:
    """At each place the newest place up to it that is flagged; -1 before the first."""
    numbers = np.where(flags, np.arange(len(flags)), -1)
    found: Ints = np.maximum.accumulate(numbers)
    return found


def _cat(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)

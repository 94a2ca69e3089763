"""The events after a size: what became of the rows there, up to a later size.

Recorded axis: an event's position is its rank. Valid axis: only the events valid by then have a
rank, in the order of valid time; equal ones in the order recorded. A whole image, a delete and a
truncate of the dataset reset a row; a cell counts when its rank is not below the last reset.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from audit.replay.columnar.column import Column, Piece, column_of_cells, combine, nothing
from audit.replay.columnar.fold.state import Finder, LogState, Told
from audit.replay.columnar.parts import NO_CODE, Codes, DatasetPart, Op
from audit.replay.columnar.scatter import Ints, Moves, Ranks, distinct, last_of, moves

Bools = npt.NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)


class Span(NamedTuple):
    """The events [lo, hi) of a part; the first has position `at` in the tail."""

    part: DatasetPart
    lo: int
    hi: int
    at: int


def below(numbers: npt.NDArray[np.uint32], bound: int) -> int:
    """How many of some ascending numbers are below a bound (below 2**32)."""
    # In their own type: numpy would turn all of them into that of a Python int first.
    return int(np.searchsorted(numbers, np.uint32(bound)))


def spans_of(parts: Sequence[DatasetPart], start: int, stop: int) -> list[Span]:
    """The events of the parts that are in [start, stop); a part may have none there."""
    spans = []
    at = 0
    for part in parts:
        if part.stop <= start or part.start >= stop:
            continue
        lo, hi = (
            below(part.offset, max(0, min(size, part.stop) - part.start)) for size in (start, stop)
        )
        spans.append(Span(part, lo, hi, at))
        at += hi - lo
    return spans


def told_after(before: Told, spans: Sequence[Span]) -> Told:
    """What is told below the end of the spans, from what was told below their start."""
    fields, careful, unread = set(before.fields), set(before.careful), list(before.unread)
    events, keys, plain = before.events, before.keys, before.plain
    valid_to_us, in_order = before.valid_to_us, before.in_order
    for part, lo, hi, _ in spans:
        events += hi - lo
        # What was mentioned below the spans is told already, so the first mention says it all.
        fields.update(name for name, first in part.first.items() if first < hi)
        # Up to `hi` itself: what needs care may be no data event, with no ordinal of its own.
        here = (part.careful_from >= lo) & (part.careful_from <= hi)
        careful.update(part.careful[here].tolist())
        plain = plain or (part.plain_from is not None and part.plain_from <= hi)
        for ordinal in (np.flatnonzero(part.unread[lo:hi]) + lo).tolist():
            code = int(part.key[ordinal])
            if code == NO_CODE:
                unread.append(part.start + int(part.offset[ordinal]))
            else:
                careful.add(code)
        if lo < hi:
            keys = max(keys, int(part.key[lo:hi].max()) + 1)
            valid = part.valid_us[lo:hi]
            ascending = valid[0] >= valid_to_us and (valid[1:] >= valid[:-1]).all()
            in_order = in_order and bool(ascending)
            valid_to_us = max(valid_to_us, int(valid.max()))
    told = frozenset(fields), frozenset(careful), tuple(unread)
    return Told(events, keys, *told, plain, valid_to_us, in_order)


class Tail:
    """Folds the events of some spans onto a state. Columns are made when they are asked for."""

    def __init__(
        self,
        base: LogState,
        finder: Finder,
        spans: Sequence[Span],
        rank: Codes,
        valid_at_us: int | None = None,
    ) -> None:
        """`finder` finds the rows of `base`; `rank`: int32[k], the place of each key's code in
        byte order. With `valid_at_us` all of the base must be valid by then and before the spans.
        """
        self._base = base
        self._spans = spans
        self._rank = rank
        self.told = told_after(base.told, spans)
        count = sum(span.hi - span.lo for span in spans)
        self._key = _cat([s.part.key[s.lo : s.hi] for s in spans], np.int32)
        op = _cat([s.part.op[s.lo : s.hi] for s in spans], np.uint8)
        whole = _cat([s.part.whole[s.lo : s.hi] for s in spans], np.bool_)
        self._ranks: Ranks | None = None
        if valid_at_us is not None:
            valid = _cat([s.part.valid_us[s.lo : s.hi] for s in spans], np.int64)
            self._ranks = _ranks(valid, valid_at_us)
        ranks = np.arange(count, dtype=np.int32) if self._ranks is None else self._ranks
        self._fold_keys(finder, op, whole, ranks)

    def _fold_keys(
        self, finder: Finder, op: npt.NDArray[np.uint8], whole: Bools, ranks: Ranks
    ) -> None:
        emptied = (op == Op.TRUNCATE) & (self._key == NO_CODE) & (ranks >= 0)
        self._truncated = int(ranks[emptied].max()) if emptied.any() else -1
        counted = (self._key != NO_CODE) & (ranks >= 0)
        if counted.all():
            self._codes, slots = distinct(self._key)
            self._slot = slots
        else:
            self._codes, slots = distinct(self._key[counted])
            self._slot = np.full(len(ranks), -1, np.intp)
            self._slot[counted] = slots
            op, whole, ranks = op[counted], whole[counted], ranks[counted]
        touched = len(self._codes)
        gone = op >= Op.DELETE
        ended = np.full(touched, -1, np.int32)
        if gone.any():
            ended = last_of(slots[gone], ranks[gone], touched)
            written = last_of(slots[~gone], ranks[~gone], touched)
        else:
            written = last_of(slots, ranks, touched)
        reset = whole | gone
        floor = last_of(slots[reset], ranks[reset], touched)
        self._floor = np.maximum(floor, self._truncated)
        self._alive = written > np.maximum(ended, self._truncated)
        self._place(finder)

    def _place(self, finder: Finder) -> None:
        """Where the rows are: those of the base that stay, and the new ones."""
        base = self._base.codes
        old_row = finder.rows(self._codes)
        known = old_row >= 0
        new = np.flatnonzero(self._alive & ~known)
        new = new[np.argsort(self._rank[self._codes[new]])]
        self._row = np.full(len(self._codes), -1, np.intp)
        self.moves: Moves | None = None
        if not len(base):
            self.codes = self._codes[new]
            self._row[new] = np.arange(len(new))
            self._reset_rows = np.empty(0, np.intp)
            return
        gone = self._gone(len(base), old_row, known)
        if not len(new) and not len(gone):
            self.codes = base
            self._row[known] = old_row[known]
        else:
            new_codes = self._codes[new]
            before = finder.below(self._rank, self._rank[new_codes])
            moved = self.moves = moves(len(base), gone, before)
            self.codes = base.take(moved.source)
            self.codes[moved.new_at] = new_codes
            self._row[known] = old_row[known] + moved.shift[old_row[known]]
            self._row[new] = moved.new_at
        again = known & self._alive & (self._floor >= 0)
        self._reset_rows = self._row[again]

    def _gone(self, count: int, old_row: Ints, known: Bools) -> Ints:
        """The rows of the base that do not stay, ascending."""
        if self._truncated < 0:
            return np.sort(old_row[known & ~self._alive])
        gone = np.ones(count, np.bool_)
        gone[old_row[known & self._alive]] = False
        return np.flatnonzero(gone)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Every field that may have a cell."""
        names = dict.fromkeys(self._base.columns)
        for span in self._spans:
            names.update(dict.fromkeys(span.part.fields))
        return tuple(names)

    def column(self, name: str) -> Column:
        """The cells of one field; those of a snapshot itself, where nothing came after it."""
        count = len(self.codes)
        pieces = []
        moved = self.moves
        if name in self._base.columns and len(self._base.codes):
            column = self._base.columns[name]
            if moved is None:
                pieces.append(Piece(None, column))
            else:
                pieces.append(Piece(None, column.take(moved.source)))
                pieces.append(Piece(moved.new_at, nothing(len(moved.new_at))))
            if len(self._reset_rows):
                pieces.append(Piece(self._reset_rows, nothing(len(self._reset_rows))))
        pieces.extend(self._set_cells(name))
        return combine(count, pieces, moved is not None) if pieces else nothing(count)

    def _set_cells(self, name: str) -> list[Piece]:
        """The cells that the events of the spans left, a piece for each part."""
        held = [(span, span.part.fields[name]) for span in self._spans if name in span.part.fields]
        slots_of, ranks_of, bounds = [], [], []
        for span, cells in held:
            first, last = below(cells.at, span.lo), below(cells.at, span.hi)
            position = cells.at[first:last].astype(np.int32) + np.int32(span.at - span.lo)
            slots_of.append(self._slot[position])
            ranks_of.append(position if self._ranks is None else self._ranks[position])
            bounds.append((first, last))
        slots, ranks = _cat(slots_of, np.intp), _cat(ranks_of, np.int32)
        numbers = np.arange(len(slots), dtype=np.int32)
        order = None
        if self._ranks is not None or (slots < 0).any():
            order = np.flatnonzero(slots >= 0)
            order = order[np.argsort(ranks[order], kind="stable")]
            slots = slots[order]
            numbers = numbers[: len(order)]
        last_cell = last_of(slots, numbers, len(self._codes))
        found = np.flatnonzero((last_cell >= 0) & self._alive)
        cell = last_cell[found] if order is None else order[last_cell[found]]
        counts = ranks[cell] >= self._floor[found]
        rows, cell = self._row[found[counts]], cell[counts].astype(np.intp)
        pieces = []
        start = 0
        for (_, cells), (first, last) in zip(held, bounds, strict=True):
            stop = start + last - first
            here = (cell >= start) & (cell < stop)
            if here.any():
                own = cells.values.slice(first, last - first)
                picked = column_of_cells(own, cell[here] - start)
                pieces.append(Piece(rows[here], picked))
            start = stop
        return pieces

    def state(self, size: int) -> LogState:
        """All of it as a state that later events fold onto."""
        columns = {}
        for name in self.fields:
            column = self.column(name)
            if column.state.any():
                columns[name] = column.compact()
        return LogState(self._base.log, size, self.told, self.codes, columns)


def _ranks(valid_us: npt.NDArray[np.int64], valid_at_us: int) -> Ranks:
    """The place of each event in the order of valid time; -1 for one that is not valid by then."""
    at = np.flatnonzero(valid_us <= valid_at_us)
    ranks = np.full(len(valid_us), -1, np.int32)
    ranks[at[np.argsort(valid_us[at], kind="stable")]] = np.arange(len(at))
    return ranks


def _cat(arrays: list[npt.NDArray[Number]], dtype: type[Number]) -> npt.NDArray[Number]:
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)

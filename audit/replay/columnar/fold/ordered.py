"""The events of one log in order of key, and for each key in the order of one axis.

A place is a number in that order. Of each place it is known whether the row is there after it, and
from which place on a cell counts: a whole image, a delete and a truncate before it reset the row.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from audit.replay.columnar.column import Column, Piece, column_of_cells, combine
from audit.replay.columnar.fold.spans import Span
from audit.replay.columnar.parts import NO_CODE, Op
from audit.replay.columnar.scatter import Ints

Bools = npt.NDArray[np.bool_]
Longs = npt.NDArray[np.int64]


class CellPlaces(NamedTuple):
    """Where one field has cells: `places` of them, ascending, and their values as `column`."""

    places: Ints
    column: Column


class Ordered:
    """n events that have a key. `position`: of each place, where its event is in the spans.

    `key`: int64[n], codes. `floor`: the place of the last reset. `begins`: whether nothing that was
    known of the key before counts. `gone`: whether it is a delete.
    """

    def __init__(
        self, spans: Sequence[Span], valid: bool = False, valid_at_us: int | None = None
    ) -> None:
        """On the recorded axis, or the `valid` one; there only what is valid by `valid_at_us`."""
        self._spans = spans
        key = _cat([s.part.key[s.lo : s.hi] for s in spans]).astype(np.int64)
        op = _cat([s.part.op[s.lo : s.hi] for s in spans])
        whole = _cat([s.part.whole[s.lo : s.hi] for s in spans]).astype(np.bool_)
        times_us = _cat(
            [(s.part.valid_us if valid else s.part.recorded_us)[s.lo : s.hi] for s in spans]
        )
        self._total = len(key)
        # Places on the axis, whatever the key: equal times in the order recorded.
        by_time = np.argsort(times_us, kind="stable") if valid else np.arange(len(key))
        self._times_us: Longs = times_us[by_time]
        rank = np.empty(len(key), np.int64)
        rank[by_time] = np.arange(len(key))
        counted = np.ones(len(key), np.bool_)
        if valid_at_us is not None:
            counted = times_us <= valid_at_us
        emptied = counted & (key == NO_CODE) & (op == Op.TRUNCATE)
        self._truncates = np.sort(rank[emptied])
        events = np.flatnonzero(counted & (key != NO_CODE))
        both = key[events] * (self._total + 1) + rank[events]
        order = np.argsort(both, kind="stable")
        self._both = both[order]
        self.position: Ints = events[order]
        self.key: Longs = key[self.position]
        self._era = np.searchsorted(self._truncates, rank[self.position])
        self.begins: Bools = np.ones(len(self.key), np.bool_)
        other_key = self.key[1:] != self.key[:-1]
        self.begins[1:] = other_key | (self._era[1:] != self._era[:-1])
        self.gone: Bools = op[self.position] == Op.DELETE
        self.floor: Ints = _newest(self.begins | whole[self.position] | self.gone)
        self._place = np.full(self._total, -1, np.intp)
        self._place[self.position] = np.arange(len(self.position))

    @property
    def fields(self) -> frozenset[str]:
        """Those that have a cell at any place."""
        found = set()
        for span in self._spans:
            for name, cells in span.part.fields.items():
                first, last = np.searchsorted(cells.at, [span.lo, span.hi]).tolist()
                if first < last:
                    found.add(name)
        return frozenset(found)

    def at(self, codes: Longs, times_us: Longs) -> Ints:
        """The place that says what the row of each key is at a time; -1: it is not there."""
        if not len(self.key):
            return np.full(len(codes), -1, np.intp)
        below = np.searchsorted(self._times_us, times_us, "right")
        at = np.searchsorted(self._both, codes * (self._total + 1) + below) - 1
        there = (at >= 0) & (codes != NO_CODE) & (self.key[at] == codes) & ~self.gone[at]
        # A truncate after the last event of the key took the row away.
        there &= self._era[at] == np.searchsorted(self._truncates, below)
        return np.where(there, at, -1)

    def ends(self) -> Ints:
        """The last places of the keys whose rows are there after all, ascending."""
        last = np.ones(len(self.key), np.bool_)
        last[:-1] = self.key[1:] != self.key[:-1]
        return np.flatnonzero(last & ~self.gone & (self._era == len(self._truncates)))

    def cells(self, name: str) -> CellPlaces:
        """All cells of a field."""
        places, pieces, count = [], [], 0
        for span in self._spans:
            cells = span.part.fields.get(name)
            if cells is None:
                continue
            first, last = np.searchsorted(cells.at, [span.lo, span.hi]).tolist()
            place = self._place[cells.at[first:last].astype(np.int64) - span.lo + span.at]
            kept = np.flatnonzero(place >= 0)
            if len(kept):
                column = column_of_cells(cells.values, kept + first)
                pieces.append(Piece(np.arange(count, count + len(kept)), column))
                places.append(place[kept])
                count += len(kept)
        unsorted = _cat(places).astype(np.intp)
        order = np.argsort(unsorted)
        return CellPlaces(unsorted[order], combine(count, pieces).take(order))

    def column(self, name: str, at: Ints) -> Column:
        """The cells of a field at these places, none of them -1."""
        places = self._cell_places(name)
        newest = _newest(places >= 0)[at]
        rows = np.flatnonzero(newest >= self.floor[at])
        cell = places[newest[rows]]
        pieces, start = [], 0
        for span in self._spans:
            cells = span.part.fields.get(name)
            if cells is None:
                continue
            first, last = np.searchsorted(cells.at, [span.lo, span.hi]).tolist()
            here = (cell >= start) & (cell < start + last - first)
            if here.any():
                picked = column_of_cells(cells.values, cell[here] - start + first)
                pieces.append(Piece(rows[here], picked))
            start += last - first
        return combine(len(at), pieces)

    def _cell_places(self, name: str) -> Longs:
        """Of each place the number of its cell, counted through the spans; -1 where it has none."""
        number = np.full(len(self.key), -1, np.int64)
        start = 0
        for span in self._spans:
            cells = span.part.fields.get(name)
            if cells is None:
                continue
            first, last = np.searchsorted(cells.at, [span.lo, span.hi]).tolist()
            place = self._place[cells.at[first:last].astype(np.int64) - span.lo + span.at]
            kept = place >= 0
            number[place[kept]] = np.arange(start, start + last - first)[kept]
            start += last - first
        return number


def _newest(flags: Bools) -> Ints:
    """At each place the newest place up to it that is flagged; -1 before the first."""
    numbers = np.where(flags, np.arange(len(flags)), -1)
    found: Ints = np.maximum.accumulate(numbers)
    return found


def _cat(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)

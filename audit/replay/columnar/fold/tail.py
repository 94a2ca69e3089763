"""The events after a size: what became of the rows there, up to a later size.

Recorded axis: an event's position is its rank. Valid axis: only the events valid by then have a
rank, in the order of valid time; equal ones in the order recorded. A whole image, a delete and a
truncate of the dataset reset a row; a cell counts when its rank is not below the last reset.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.replay.columnar.column import Column, Piece, column_of_cells, combine, nothing
from audit.replay.columnar.fold.spans import Events, Span, below, told_after
from audit.replay.columnar.fold.state import Finder, LogState
from audit.replay.columnar.parts import NO_CODE, Cells, Codes, Op
from audit.replay.columnar.scatter import FEW, Ints, Moves, Ranks, distinct, last_of, moves

Bools = npt.NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)


class Chosen(NamedTuple):
    """Some rows of a tail. `place`: for each row of the tail its place among them, -1 for none;
    `events`: the events that concern them, and how they are found among the cells of a field.
    """

    rows: Ints
    place: Ints
    events: Events


class Tail:
    """Folds the events of some spans onto a state. Columns are made when they are asked for."""

    def __init__(
        self,
        base: LogState,
        finder: Finder,
        spans: Sequence[Span],
        rank: Codes,
        valid_at_us: int | None = None,
        wanted: Bools | None = None,
    ) -> None:
        """`finder` finds the rows of `base`; `rank`: int32[k], the place of each key's code in
        byte order. With `valid_at_us` all of the base must be valid by then and before the spans.

        `wanted`: by code, the keys to fold; `base` has rows of no others then.
        """
        self._base = base
        self._spans = spans
        self._rank = rank
        self.told = told_after(base.told, spans)
        key = _cat([s.part.key[s.lo : s.hi] for s in spans], np.int32)
        self._events: Events | None = None
        if wanted is not None:
            careful = frozenset(code for code in self.told.careful if wanted[code])
            self.told = self.told._replace(careful=careful)
            # A place of its own for NO_CODE, the last one: what concerns every key is folded.
            self._events = Events(np.flatnonzero(np.append(wanted, True)[key]), None)
        self._key = self._own(key)
        op = self._own(_cat([s.part.op[s.lo : s.hi] for s in spans], np.uint8))
        whole = self._own(_cat([s.part.whole[s.lo : s.hi] for s in spans], np.bool_))
        self._ranks: Ranks | None = None
        if valid_at_us is not None:
            valid = _cat([s.part.valid_us[s.lo : s.hi] for s in spans], np.int64)
            self._ranks = _ranks(self._own(valid), valid_at_us)
        ranks = np.arange(len(op), dtype=np.int32) if self._ranks is None else self._ranks
        self._fold_keys(finder, op, whole, ranks)

    def _own(self, events: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """Of something about the events of the spans what is about those folded here."""
        return events if self._events is None else events[self._events.position]

    @property
    def nbytes(self) -> int:
        """What it takes in memory, beside the base and the parts."""
        own: list[npt.NDArray[Any]] = [self._key, self._codes, self._slot, self._floor]
        own += [self._alive, self._row, self.codes]
        if self._ranks is not None:
            own.append(self._ranks)
        own = [*own, *(() if self.moves is None else self.moves)]
        position = 0 if self._events is None else self._events.position.nbytes
        return position + sum(array.nbytes for array in own)

    def chosen(self, rows: Ints) -> Chosen:
        """Some rows, ascending: their cells cost what the events that concern them cost."""
        place = np.full(len(self.codes), -1, np.intp)
        place[rows] = np.arange(len(rows))
        concerns = np.zeros(len(self._codes) + 1, np.bool_)
        there = self._alive
        # The last one is that of the slot -1, of events that concern no row.
        concerns[:-1][there] = place[self._row[there]] >= 0
        number = np.flatnonzero(concerns[self._slot])
        position = number if self._events is None else self._events.position[number]
        return Chosen(rows, place, Events(position, number))

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
        rows_written = ranks
        if gone.any():
            at = np.flatnonzero(gone)
            ended = last_of(slots[at], ranks[at], touched)
            rows_written = np.where(gone, np.int32(-1), ranks)
        written = last_of(slots, rows_written, touched)
        reset = np.flatnonzero(whole | gone)
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

    def column(self, name: str, chosen: Chosen | None = None) -> Column:
        """The cells of one field, in all rows or those chosen; those of a snapshot itself, where
        nothing came after it.
        """
        count = len(self.codes) if chosen is None else len(chosen.rows)
        pieces = []
        if name in self._base.columns and len(self._base.codes):
            pieces = self._base_cells(self._base.columns[name], chosen)
        pieces.extend(self._set_cells(name, chosen))
        fresh = self.moves is not None or chosen is not None
        return combine(count, pieces, fresh) if pieces else nothing(count)

    def _base_cells(self, column: Column, chosen: Chosen | None) -> list[Piece]:
        """What the base has, and nothing where a row is new or begins again."""
        moved, new, again = self.moves, np.empty(0, np.intp), self._reset_rows
        if moved is not None:
            new = moved.new_at
        if chosen is not None:
            new, again = (rows[rows >= 0] for rows in (chosen.place[new], chosen.place[again]))
            rows = chosen.rows if moved is None else moved.source[chosen.rows]
            column = column.take(rows)
            if column.pool is not None and len(column.pool) > len(rows):
                column = column.compact()
        elif moved is not None:
            column = column.take(moved.source)
        pieces = [Piece(None, column)]
        pieces += [Piece(rows, nothing(len(rows))) for rows in (new, again) if len(rows)]
        return pieces

    def _set_cells(self, name: str, chosen: Chosen | None) -> list[Piece]:
        """The cells that the events of the spans left, a piece for each part."""
        events = self._events if chosen is None else chosen.events
        held = [(span, span.part.fields[name]) for span in self._spans if name in span.part.fields]
        here_of: list[Ints | range] = []
        number_of = []
        for span, cells in held:
            if events is None:
                first, last = below(cells.at, span.lo), below(cells.at, span.hi)
                here: Ints | range = range(first, last)
                number = cells.at[first:last].astype(np.int32) + np.int32(span.at - span.lo)
            else:
                here, number = events.among(span, cells)
            here_of.append(here)
            number_of.append(number)
        number = _cat(number_of, np.int32)
        found, cell = self._newest(number)
        rows = self._row[found]
        if chosen is not None:
            rows = chosen.place[rows]
        pieces = []
        start = 0
        for (_, cells), here in zip(held, here_of, strict=True):
            stop = start + len(here)
            own = (cell >= start) & (cell < stop)
            if own.any():
                at = cell[own] - start
                at = at + here.start if isinstance(here, range) else here[at]
                pieces.append(Piece(rows[own], _picked(cells, at)))
            start = stop
        return pieces

    def _newest(self, number: Ranks) -> tuple[Ints, Ints]:
        """Of cells that events with these numbers set the newest of each slot that has one: the
        slots, and the cells' places.
        """
        slots, own_ranks = self._slot[number], self._ranks
        cells = np.arange(len(number), dtype=np.int32)
        counted = slots >= 0
        if not counted.all():
            cells = cells[counted]
            slots = slots[counted]
        if own_ranks is None:
            newest = last_of(slots, cells, len(self._codes))
            found = np.flatnonzero((newest >= 0) & self._alive)
            cell = newest[found]
            ranks = number[cell]
        else:
            ranked = own_ranks[number[cells]]
            newest = last_of(slots, ranked, len(self._codes))
            found = np.flatnonzero((newest >= 0) & self._alive)
            ranks = newest[found]
            # An event sets a field once: its rank tells the cell.
            cell_of = np.empty(int(ranked.max(initial=-1)) + 1, np.int32)
            cell_of[ranked] = cells
            cell = cell_of[ranks]
        counts = ranks >= self._floor[found]
        return found[counts], cell[counts].astype(np.intp)

    def state(self, size: int) -> LogState:
        """All of it as a state that later events fold onto."""
        columns = {}
        for name in self.fields:
            column = self.column(name)
            if column.state.any():
                columns[name] = column.compact()
        return LogState(self._base.log, size, self.told, self.codes, columns)


def _picked(cells: Cells, rows: Ints) -> Column:
    """The values of these cells; there is one at least."""
    first, last = int(rows.min()), int(rows.max())
    values = cells.values.slice(first, last + 1 - first)
    if len(rows) * FEW < len(values):
        return column_of_cells(values.take(pa.array(rows - first)), np.arange(len(rows)))
    return column_of_cells(values, rows - first)


def _ranks(valid_us: npt.NDArray[np.int64], valid_at_us: int) -> Ranks:
    """The place of each event in the order of valid time; -1 for one that is not valid by then."""
    ranks = np.full(len(valid_us), -1, np.int32)
    late = valid_us > valid_at_us
    if not late.any():
        ranks[np.argsort(valid_us, kind="stable")] = np.arange(len(ranks), dtype=np.int32)
        return ranks
    at = np.flatnonzero(~late)
    ranks[at[np.argsort(valid_us[at], kind="stable")]] = np.arange(len(at), dtype=np.int32)
    return ranks


def _cat(arrays: list[npt.NDArray[Number]], dtype: type[Number]) -> npt.NDArray[Number]:
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)

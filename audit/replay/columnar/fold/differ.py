"""How a dataset differs between two points, as columns: compared whole, shown row by row.

Only the rows that differ are kept, and Python values are made of them alone, block by block; of a
cell that did not change once for both sides.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.replay.columnar.column import ABSENT as NO_CELL
from audit.replay.columnar.column import Column, Piece, combine, held_by
from audit.replay.columnar.fold import among
from audit.replay.columnar.fold.fast import ROWS_AT_ONCE, FastReplay
from audit.replay.columnar.fold.folded import Folded
from audit.replay.columnar.fold.held import Held
from audit.replay.columnar.fold.ranks import Ranks
from audit.replay.columnar.fold.sameness import different
from audit.replay.columnar.parts import Codes
from audit.replay.columnar.pool import Kind, Objects
from audit.replay.columnar.scatter import Ints
from audit.replay.row_change import RowChange
from audit.replay.rows import ABSENT
from audit.replay.steps import Steps

Bools = npt.NDArray[np.bool_]

FIRST_ROWS = 256
"""Rows of the first block that is compared, and becomes Python values: often only the first rows
are looked at. Each next one is GROWTH times larger."""
GROWTH = 8
KEPT_BLOCKS = 3
"""So many blocks are kept for whoever asks again. What follows them is one more, and is not."""


class FieldPair(NamedTuple):
    """A field of the rows that differ, at both points; `differs`: bool[n], where it does."""

    name: str
    old: Column
    new: Column
    differs: Bools


class Differences:
    """How two datasets differ; only as many rows are compared as are looked at.

    It may be held, and asked by several threads: blocks are the same whoever compares them.
    """

    def __init__(self, old: Folded, new: Folded, ranks: Ranks) -> None:
        """Nothing is compared yet. `ranks` are of all logs that either has rows from."""
        self._old, self._new = old, new
        self._at = _aligned(old.ranks(ranks), new.ranks(ranks))
        count = len(self._at[0])
        self._bounds = [0]
        for number in range(KEPT_BLOCKS):
            stop = self._bounds[-1] + FIRST_ROWS * GROWTH**number
            self._bounds.append(min(stop, count))
        self._bounds.append(count)
        self._blocks: dict[int, Differing] = {}

    def bytes_held(self) -> int:
        """What it takes in memory, more or less."""
        at = sum(side.nbytes for side in self._at)
        folded = self._old.bytes_held() + self._new.bytes_held()
        return at + folded + sum(block.nbytes for block in list(self._blocks.values()))

    def whole(self) -> "Differing":
        """All rows that differ."""
        return self._compared(0, len(self._at[0]))

    def _compared(self, start: int, stop: int) -> "Differing":
        at_old, at_new = (side[start:stop] for side in self._at)
        return Differing(self._old, self._new, at_old, at_new)

    def changes(self) -> Iterator[RowChange]:
        """The rows that differ one by one, in byte order of their keys."""
        for number in range(len(self._bounds) - 1):
            start, stop = self._bounds[number : number + 2]
            if start == stop:
                continue
            block = self._blocks.get(number)
            if block is None:
                block = self._compared(start, stop)
                if number < KEPT_BLOCKS:
                    self._blocks[number] = block
            yield from block.changes()


class Differing:
    """The n rows that differ of some rows of two datasets, in byte order of their keys.

    `old_there`, `new_there`: bool[n], whether the row is there before and after.
    `fields`: those that any of the rows has, by name.
    """

    def __init__(self, old: Folded, new: Folded, at_old: Ints, at_new: Ints) -> None:
        """Compare the rows at these places, parallel; -1: it is not there. `Differences` does."""
        left, right = _Side(old, at_old), _Side(new, at_new)
        differs = (at_old < 0) | (at_new < 0)
        both = np.flatnonzero(~differs)
        own: dict[str, tuple[Column, Column, Bools]] = {}
        for name in sorted({*old.columns, *new.columns}):
            sides = left.column(name), right.column(name)
            unlike = np.zeros(len(differs), np.bool_)
            unlike[both] = different(*(_take(side, both) for side in sides))
            own[name] = *sides, unlike
            differs |= unlike
        rows = np.flatnonzero(differs)
        self.old_there: Bools = at_old[rows] >= 0
        self.new_there: Bools = at_new[rows] >= 0
        one_sided = ~(self.old_there & self.new_there)
        self._keys = _keys(old, at_old[rows], new, at_new[rows])
        self.fields: list[FieldPair] = []
        for name, (before, after, unlike) in own.items():
            before, after = _take(before, rows), _take(after, rows)
            held = (before.state != NO_CELL) | (after.state != NO_CELL)
            if held.any():
                self.fields.append(FieldPair(name, before, after, unlike[rows] | one_sided & held))

    @property
    def keys(self) -> Objects:
        """The keys of the rows, n texts."""
        made: Objects = self._keys.to_numpy(zero_copy_only=False)
        return made

    @cached_property
    def nbytes(self) -> int:
        """What it takes in memory, more or less."""
        flags = sum(pair.differs.nbytes for pair in self.fields) + 2 * len(self)
        sides = [side for pair in self.fields for side in (pair.old, pair.new)]
        return flags + int(self._keys.nbytes) + sum(held_by(sides).values())

    def __len__(self) -> int:
        """How many rows differ."""
        return len(self._keys)

    def changes(self) -> Iterator[RowChange]:
        """The rows one by one; they become Python values up to ROWS_AT_ONCE at a time, at first
        fewer.
        """
        start, width = 0, FIRST_ROWS
        while start < len(self):
            with _no_collecting():
                made = self._block(start, start + width)
            yield from made
            start, width = start + width, min(width * GROWTH, ROWS_AT_ONCE)

    def unlike(self, named: Sequence[tuple[Bools, str]]) -> list[tuple[str, ...]]:
        """For each row the names whose flags, bool[n] each, are set there."""
        out = np.empty(len(self), np.object_)
        for rows, which in _alike([flags for flags, _ in named], len(out)):
            same = tuple(named[number][1] for number in which)
            for row in rows.tolist():
                out[row] = same
        return out.tolist()

    def _block(self, start: int, stop: int) -> list[RowChange]:
        keys = self._keys[start:stop].to_pylist()
        names = [pair.name for pair in self.fields]
        olds: list[Objects] = []
        news: list[Objects] = []
        for pair in self.fields:
            old, new = _objects(pair, start, stop)
            olds.append(old)
            news.append(new)
        sides = []
        for cells, there, columns in (
            (olds, self.old_there, [pair.old for pair in self.fields]),
            (news, self.new_there, [pair.new for pair in self.fields]),
        ):
            held = [column.state[start:stop] != NO_CELL for column in columns]
            rows = np.flatnonzero(there[start:stop])
            sides.append(_dicts(names, [cells], held, rows, len(keys)))
        unlike = [pair.differs[start:stop] for pair in self.fields]
        fields = _dicts(names, [olds, news], unlike, np.arange(len(keys)), len(keys))
        return list(map(RowChange._make, zip(keys, *sides, fields, strict=True)))


def differences(
    fast: FastReplay,
    held: Held[Differences],
    a: Steps,
    b: Steps,
    valid_us: tuple[int | None, int | None],
    explained: bool,
) -> Differences | None:
    """How the rows at two cuts, and two valid times, differ; None where it is to be found plainly.

    `held`: those found before. `explained`: a schema came into some log between the cuts.
    """
    if not fast.can_answer(a, b):
        return None
    sizes = [tuple(sorted((log, n) for log, n in s.cut.sizes.items() if n)) for s in (a, b)]
    name = a.entity_type, *sizes, valid_us, explained
    found = held.get(name)
    if found is None:
        epoch = fast.source.epoch
        found = _found(fast, a, b, valid_us, explained)
        if found is not None:
            held.put(name, found, epoch)
    return found


def _found(
    fast: FastReplay,
    a: Steps,
    b: Steps,
    valid_us: tuple[int | None, int | None],
    explained: bool,
) -> Differences | None:
    two = among.pair(fast, a, b, valid_us[0], explained) if valid_us[0] == valid_us[1] else None
    if two is None:
        old = fast.dataset(a, valid_us[0])
        new = None if old is None else fast.dataset(b, valid_us[1])
        if old is None or new is None:
            return None
        two = old, new
    logs = {log for s in (a, b) for log, size in s.cut.sizes.items() if size}
    ranks = fast.ranks_of(a.entity_type, tuple(sorted(logs)))
    return Differences(two[0].folded, two[1].folded, ranks)


@contextmanager
def _no_collecting() -> Iterator[None]:
    """A block of rows without the collector of cycles.

    There are none in new rows, and looking through hundreds of thousands of new dicts and tuples
    again and again takes as long as making them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _aligned(old: Codes, new: Codes) -> tuple[Ints, Ints]:
    """For each key of either, by rank, its row in the one and the other, or -1.

    `old` and `new`: the ranks of their rows.
    """
    count = max(int(old.max(initial=-1)), int(new.max(initial=-1))) + 1
    rows = np.full((2, count), -1, np.intp)
    for side, ranks in zip(rows, (old, new), strict=True):
        side[ranks] = np.arange(len(ranks))
    there = np.flatnonzero((rows >= 0).any(axis=0))
    return rows[0, there], rows[1, there]


def _keys(old: Folded, at_old: Ints, new: Folded, at_new: Ints) -> "pa.Array":
    """The keys of the rows that are at these places, -1 for one that is not there."""
    removed = at_new < 0
    of_new = new.some(at_new[~removed]).keys()
    of_old = old.some(at_old[removed]).keys()
    place = np.empty(len(removed), np.intp)
    place[~removed] = np.arange(len(of_new))
    place[removed] = np.arange(len(of_new), len(removed))
    return pa.concat_arrays([of_new, of_old]).take(pa.array(place))


class _Side:
    """The rows of one dataset at some places, with an empty one for -1."""

    def __init__(self, folded: Folded, places: Ints) -> None:
        self._there = np.flatnonzero(places >= 0)
        self._count = len(places)
        self._column = folded.columns_at(places[self._there])

    def column(self, name: str) -> Column:
        """The cells of a field."""
        column = self._column(name)
        if len(self._there) == self._count:
            return column
        return combine(self._count, [Piece(self._there, column)])


def _take(column: Column, rows: Ints) -> Column:
    """The cells of these rows."""
    # Of no kind where these rows have no value, whatever the others have.
    taken = combine(len(rows), [Piece(None, column.take(rows))])
    if taken.pool is not None and len(taken.pool) > len(rows):
        return taken.compact()
    return taken


def _objects(pair: FieldPair, start: int, stop: int) -> tuple[Objects, Objects]:
    """The values of a block of rows at both points."""
    old = pair.old.slice(start, stop).objects(None, ABSENT)
    if pair.new.kind is Kind.MIXED or pair.old.kind is not pair.new.kind:
        # What is nested can be changed by who gets it: nothing of it is in two rows.
        return old, pair.new.slice(start, stop).objects(None, ABSENT)
    new = old.copy()
    rows = np.flatnonzero(pair.differs[start:stop])
    new[rows] = pair.new.take(rows + start).objects(None, ABSENT)
    return old, new


def _dicts(
    names: Sequence[str],
    cells: Sequence[Sequence[Objects]],
    held: Sequence[Bools],
    rows: Ints,
    count: int,
) -> list[Any]:
    """A dict for each of these of `count` rows, None for others: name -> cell, where it is `held`.

    `cells`: lists of a column for each name. One list: the values are its cells; two: pairs.
    """
    out = np.empty(count, np.object_)
    for some, which in _alike([one[rows] for one in held], len(rows)):
        own, shown = rows[some], [names[number] for number in which]
        sides = [[side[number][own].tolist() for number in which] for side in cells]
        columns = sides[0] if len(sides) == 1 else _pairs(sides)
        if which:
            out[own] = [dict(zip(shown, row, strict=True)) for row in zip(*columns, strict=True)]
        else:
            out[own] = [{} for _ in range(len(own))]
    made: list[Any] = out.tolist()
    return made


def _pairs(sides: Sequence[Sequence[list[Any]]]) -> list[list[tuple[Any, Any]]]:
    """Of two lists of columns one of columns of pairs."""
    old, new = sides
    return [list(zip(*two, strict=True)) for two in zip(old, new, strict=True)]


def _alike(held: Sequence[Bools], count: int) -> Iterator[tuple[Ints, list[int]]]:
    """Rows that hold the same columns: their numbers, and the columns."""
    if not count:
        return
    number = np.zeros(count, np.intp)
    for one in held:
        if not one.all() and one.any():
            # At most as many numbers as rows, however many columns there are.
            number = np.unique(number * 2 + one, return_inverse=True)[1].reshape(-1)
    order = np.argsort(number, kind="stable")
    bounds = np.flatnonzero(np.diff(number[order], prepend=-1, append=count))
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        some = order[start:stop]
        yield some, [at for at, one in enumerate(held) if one[some[0]]]

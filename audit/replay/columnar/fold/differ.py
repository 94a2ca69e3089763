"""How a dataset differs between two points, as columns: compared whole, shown row by row.

Only the rows that differ are kept, and Python values are made of them alone, block by block; of a
cell that did not change once for both sides.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audit.replay.columnar.column import ABSENT as NO_CELL
from audit.replay.columnar.column import Column, Piece, combine, nothing
from audit.replay.columnar.fold.fast import ROWS_AT_ONCE, FastDataset
from audit.replay.columnar.fold.sameness import different
from audit.replay.columnar.pool import Kind, Objects
from audit.replay.columnar.scatter import Ints
from audit.replay.row_change import RowChange
from audit.replay.rows import ABSENT

Bools = npt.NDArray[np.bool_]

FIRST_ROWS = 256
"""Rows of the first block that becomes Python values; each next one is GROWTH times larger."""
GROWTH = 8


class FieldPair(NamedTuple):
    """A field of the rows that differ, at both points; `differs`: bool[n], where it does."""

    name: str
    old: Column
    new: Column
    differs: Bools


class Differences:
    """The n rows that differ between two datasets, in byte order of their keys.

    `keys`: n texts. `old_there`, `new_there`: bool[n], whether the row is there before and after.
    `fields`: those that any of the rows has, by name.
    """

    def __init__(self, old: FastDataset, new: FastDataset) -> None:
        """Compare all rows of both."""
        keys, at_old, at_new = _aligned(old.keys(), new.keys())
        differs = (at_old < 0) | (at_new < 0)
        both = np.flatnonzero(~differs)
        own: dict[str, Bools] = {}
        for name in sorted({*old.columns, *new.columns}):
            unlike = different(
                _take(old.column(name), at_old[both]), _take(new.column(name), at_new[both])
            )
            own[name] = np.zeros(len(keys), np.bool_)
            own[name][both] = unlike
            differs |= own[name]
        rows = np.flatnonzero(differs)
        at_old, at_new = at_old[rows], at_new[rows]
        self.keys: Objects = keys[rows]
        self.old_there: Bools = at_old >= 0
        self.new_there: Bools = at_new >= 0
        one_sided = ~(self.old_there & self.new_there)
        self.fields: list[FieldPair] = []
        for name, unlike in own.items():
            left, right = _take(old.column(name), at_old), _take(new.column(name), at_new)
            held = (left.state != NO_CELL) | (right.state != NO_CELL)
            if held.any():
                self.fields.append(FieldPair(name, left, right, unlike[rows] | one_sided & held))

    def __len__(self) -> int:
        """How many rows differ."""
        return len(self.keys)

    def changes(self) -> Iterator[RowChange]:
        """The rows one by one; they become Python values up to ROWS_AT_ONCE at a time, at first
        fewer: often only the first ones are looked at.
        """
        start, width = 0, FIRST_ROWS
        while start < len(self.keys):
            with _no_collecting():
                made = self._block(start, start + width)
            yield from made
            start, width = start + width, min(width * GROWTH, ROWS_AT_ONCE)

    def unlike(self, named: Sequence[tuple[Bools, str]]) -> list[tuple[str, ...]]:
        """For each row the names whose flags, bool[n] each, are set there."""
        out = np.empty(len(self.keys), np.object_)
        for rows, which in _alike([flags for flags, _ in named], len(out)):
            same = tuple(named[number][1] for number in which)
            for row in rows.tolist():
                out[row] = same
        return out.tolist()

    def _block(self, start: int, stop: int) -> list[RowChange]:
        keys = self.keys[start:stop].tolist()
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


def _aligned(old: Objects, new: Objects) -> tuple[Objects, Ints, Ints]:
    """All keys of both in byte order, and for each its place in the one and the other, or -1."""
    known = pa.array(old, pa.large_string())
    found = pc.index_in(pa.array(new, pa.large_string()), known).fill_null(-1)
    place_of = found.to_numpy().astype(np.intp)
    added = np.flatnonzero(place_of < 0)
    # Texts sort by their characters as their UTF-8 bytes do.
    before = np.searchsorted(old, new[added]) if len(added) else np.empty(0, np.intp)
    count = len(old) + len(added)
    added_at = before + np.arange(len(added))
    is_old = np.ones(count, np.bool_)
    is_old[added_at] = False
    old_at = np.flatnonzero(is_old)
    keys = np.empty(count, np.object_)
    keys[old_at] = old
    keys[added_at] = new[added]
    at_old, at_new = np.full(count, -1, np.intp), np.full(count, -1, np.intp)
    at_old[old_at] = np.arange(len(old))
    stayed = np.flatnonzero(place_of >= 0)
    at_new[old_at[place_of[stayed]]] = stayed
    at_new[added_at] = added
    return keys, at_old, at_new


def _take(column: Column, at: Ints) -> Column:
    """The cells of these rows; -1: there is none."""
    if not len(column.state) or not len(at):
        return nothing(len(at))
    taken = column.take(np.maximum(at, 0))
    taken.state[at < 0] = NO_CELL
    # Of no kind where the rows that differ have no value, whatever the others have.
    return combine(len(at), [Piece(None, taken)])


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

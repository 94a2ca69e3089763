"""Rows of many keys, each at times of its own, from the read model: as columns.

A time is a place in the order of its key's events (`ordered`): the last event by then says whether
the row is there; a field has its last cell before the place, unless the row was reset after it.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.replay.columnar.column import Column, Piece, column_of_values, combine
from audit.replay.columnar.fold.fast import MAX_CAREFUL
from audit.replay.columnar.fold.ordered import Ordered
from audit.replay.columnar.fold.whole_log import whole_logs
from audit.replay.columnar.parts import NO_CODE
from audit.replay.columnar.scatter import Ints
from audit.replay.fold import Row
from audit.replay.names import output_name

if TYPE_CHECKING:
    from audit.replay.columnar.fold.fast import FastReplay
    from audit.replay.steps import Steps

_MISSING = object()


class _OfLog(NamedTuple):
    """What one log knows: the row `rows[i]` is that at the place `at[i]` of its order."""

    ordered: Ordered
    rows: Ints
    at: Ints


class Known:
    """The n rows asked for. `careful`: the numbers of those that are left to the plain fold.

    `columns`: the fields that any of the others' keys was ever given. `mentioned`: those that are
    mentioned for any key of the dataset.
    """

    def __init__(
        self, count: int, found: Sequence[_OfLog], careful: Sequence[int], mentioned: frozenset[str]
    ) -> None:
        """Use `known_at`."""
        self.careful = careful
        self.columns = frozenset(name for one in found for name in one.ordered.fields)
        self.mentioned = mentioned
        self._count = count
        self._found = found
        self._rows: Sequence[Row] = ()

    def fill(self, rows: Sequence[Row]) -> None:
        """The rows of the careful ones, in their order; empty where there is none."""
        self._rows = rows

    def __len__(self) -> int:
        """How many rows were asked for."""
        return self._count

    def column(self, name: str) -> Column:
        """The cells of a field, n of them; absent where there is no row, too."""
        pieces = [Piece(rows, ordered.column(name, at)) for ordered, rows, at in self._found]
        if self._rows:
            cells = [row.get(name, _MISSING) for row in self._rows]
            pieces.append(Piece(np.array(self.careful, np.intp), column_of_values(cells, _MISSING)))
        return combine(self._count, pieces)


def known_at(
    fast: "FastReplay",
    steps: "Steps",
    keys: Sequence[str | None],
    times_us: Sequence[int | None],
    columns: Collection[str] | None = None,
    valid: bool = False,
) -> Known | None:
    """The row of each key at its time (None: no row), with the fields that are called `columns`.

    None where all is to be replayed plainly. `valid`: what was true then, as known at the cut.
    """
    logs = whole_logs(fast, steps)
    if logs is None:
        return None
    asked = np.array([us is not None for us in times_us], np.bool_)
    moments = np.array([0 if us is None else us for us in times_us], np.int64)
    wanted_fields = None
    if columns is not None:
        wanted_fields = {name for name in logs.fields if output_name(name) in columns}
    found = []
    careful = np.zeros(len(keys), np.bool_)
    for log in logs.logs.values():
        codes = np.where(asked, log.codes_of(keys), NO_CODE).astype(np.int64)
        own = np.flatnonzero(codes != NO_CODE)
        plain = log.is_careful()[codes[own]]
        careful[own[plain]] = True
        if len(np.unique(codes[own[plain]])) > MAX_CAREFUL:
            return None
        own = own[~plain]
        wanted = np.zeros(len(log.book.keys), np.bool_)
        wanted[codes[own]] = True
        ordered = Ordered(log.spans(wanted, wanted_fields), valid)
        at = ordered.at(codes[own], moments[own])
        there = np.flatnonzero(at >= 0)
        found.append(_OfLog(ordered, own[there], at[there]))
    return Known(len(keys), found, np.flatnonzero(careful).tolist(), logs.fields)

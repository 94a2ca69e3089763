"""The rows of one dataset in one log at a size, as columns; the fold goes from one to the next."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from audit.replay.columnar.column import Column, nothing
from audit.replay.columnar.parts import Codes
from audit.replay.columnar.scatter import DENSE, FEW, MIN_TABLE, Ints, ranked_below

NEVER_US = -(2**63)
"""Before every time there is."""


class Told(NamedTuple):
    """What was said of the dataset below a size, beside its rows.

    `events`: how many data events. `keys`: how many keys were seen, those with a lower code.
    `fields`: every field mentioned. `careful`: codes of the keys that are folded plainly.
    `unread`: indexes of the events without a key that could not be read. `plain`: the whole
    dataset is folded plainly. `valid_to_us`: the latest valid time; `in_order`: no event was valid
    before one recorded earlier.
    """

    events: int
    keys: int
    fields: frozenset[str]
    careful: frozenset[int]
    unread: tuple[int, ...]
    plain: bool
    valid_to_us: int
    in_order: bool


NOTHING_TOLD = Told(0, 0, frozenset(), frozenset(), (), False, NEVER_US, True)


class LogState(NamedTuple):
    """The live rows of a dataset in one log at a size, in byte order of their keys.

    `codes`: int32[n], the keys. `columns`: name -> n cells; a field that no row has may be left
    out. Rows of careful keys may be there or not: they mean nothing.
    """

    log: int
    size: int
    told: Told
    codes: Codes
    columns: Mapping[str, Column]

    def frozen(self) -> "LogState":
        """The same, so that nobody changes what later answers begin with."""
        self.codes.flags.writeable = False
        for column in self.columns.values():
            column.data.flags.writeable = False
            column.state.flags.writeable = False
        return self

    def column(self, name: str) -> Column:
        """The cells of one field."""
        found = self.columns.get(name)
        return nothing(len(self.codes)) if found is None else found


def empty_state(log: int) -> LogState:
    """A log at size 0."""
    return LogState(log, 0, NOTHING_TOLD, np.empty(0, np.int32), {})


class Finder:
    """Finds the rows of keys by their code."""

    def __init__(self, codes: Codes) -> None:
        """`codes`: those of the rows, in byte order of the keys."""
        self._rows = codes
        self._ranks: tuple[Codes, Codes] | None = None
        self._table: Ints | None = None
        count = int(codes.max()) + 1 if len(codes) else 0
        if count <= max(MIN_TABLE, DENSE * len(codes)):
            self._table = np.full(count, -1, np.intp)
            self._table[codes] = np.arange(len(codes))
        else:
            self._by_code = np.argsort(codes)
            self._codes = codes[self._by_code]

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        ranks = 0 if self._ranks is None else self._ranks[1].nbytes
        if self._table is not None:
            return self._table.nbytes + ranks
        return self._by_code.nbytes + self._codes.nbytes + ranks

    def below(self, rank: Codes, wanted: Codes) -> Ints:
        """How many rows have a key that stands before each place wanted; `rank`: see `Tail`."""
        # The places of all rows are worth a look at all rows when many are wanted.
        known = self._ranks is not None and self._ranks[0] is rank
        if not known and len(wanted) * FEW <= len(self._rows):
            return ranked_below(rank, self._rows, wanted)
        if self._ranks is None or not known:
            self._ranks = rank, rank[self._rows]
        return np.searchsorted(self._ranks[1], wanted)

    def rows(self, codes: Codes) -> Ints:
        """The row of each code; -1 where there is none. `codes` ascend."""
        table = self._table
        if table is not None:
            inside = int(np.searchsorted(codes, len(table)))
            rows = np.full(len(codes), -1, np.intp)
            rows[:inside] = table[codes[:inside]]
            return rows
        at = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        return np.where(self._codes[at] == codes, self._by_code[at], -1)

"""Where the rows of each log, and those folded plainly, stand among all rows of a dataset."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from audit.replay.columnar.parts import Codes
from audit.replay.columnar.scatter import Ints, Moves, moves, ranked_below


class Placed(NamedTuple):
    """Rows of one log or those folded plainly (by their numbers there), and where each stands
    among the rows that are asked for; `places` None: all of them, in order.
    """

    rows: Ints
    places: Ints | None


class Arranged:
    """All rows in byte order of their keys; `count` of them.

    One log of which no key is folded plainly is as it is; one log with a few such keys is moved
    apart for them (`moves`); several logs are merged (`taken`, `places`).
    """

    def __init__(
        self,
        codes: Sequence[Codes],
        ranks: Sequence[Codes],
        careful: Sequence[Sequence[int]],
        plain_ranks: Codes,
    ) -> None:
        """For each log the codes of its rows, the rank of each code, and the codes of the keys that
        are folded plainly. `plain_ranks`: the ranks of the rows folded plainly, ascending.
        """
        self.taken: list[Ints | None] = [None]
        self.places: list[Ints] = []
        self.plain_places = np.empty(0, np.intp)
        self.moves: Moves | None = None
        self.is_plain_log = len(codes) == 1 and not any(careful)
        if self.is_plain_log:
            self.count = len(codes[0])
        elif len(codes) == 1 and len(codes[0]):
            self._move_apart(codes[0], ranks[0], np.array(careful[0], np.int32), plain_ranks)
        else:
            self._merge(codes, ranks, careful, plain_ranks)

    def _move_apart(self, held: Codes, rank: Codes, careful: Codes, plain_ranks: Codes) -> None:
        """Nearly all rows stay, so that only the others are looked for."""
        careful = careful[np.argsort(rank[careful])]
        at = np.minimum(ranked_below(rank, held, rank[careful]), len(held) - 1)
        gone = at[held[at] == careful]
        self.moves = moves(len(held), gone, ranked_below(rank, held, plain_ranks))
        self.plain_places = self.moves.new_at
        self.count = len(self.moves.source)

    def _merge(
        self,
        codes: Sequence[Codes],
        ranks: Sequence[Codes],
        careful: Sequence[Sequence[int]],
        plain_ranks: Codes,
    ) -> None:
        self.taken = []
        runs = []
        for held, rank, plain in zip(codes, ranks, careful, strict=True):
            left = np.flatnonzero(~np.isin(held, np.array(plain, np.int32)))
            self.taken.append(None if len(left) == len(held) else left)
            runs.append(rank[held[left]])
        runs.append(plain_ranks)
        # Runs that ascend already: a stable sort merges them.
        order = np.argsort(np.concatenate(runs), kind="stable")
        place = np.empty(len(order), np.intp)
        place[order] = np.arange(len(order))
        bounds = np.cumsum([0, *(len(some) for some in runs)])
        pieces = [place[bounds[i] : bounds[i + 1]] for i in range(len(runs))]
        self.places = pieces[:-1]
        self.plain_places = pieces[-1]
        self.count = len(order)

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        held = [self.plain_places, *self.places, *(self.moves or ())]
        return sum(array.nbytes for array in [*held, *(t for t in self.taken if t is not None)])

    def split(self, places: Ints) -> tuple[list[Placed], Placed]:
        """Some places, ascending: what is there of each log, and of the rows folded plainly."""
        none = np.empty(0, np.intp)
        if self.is_plain_log:
            return [Placed(places, None)], Placed(none, none)
        asked = np.full(self.count, -1, np.intp)
        asked[places] = np.arange(len(places))
        own = asked[self.plain_places]
        plain = np.flatnonzero(own >= 0)
        found_plain = Placed(plain, own[plain])
        if self.moves is not None:
            is_own = np.ones(len(places), np.bool_)
            is_own[found_plain.places] = False
            at = np.flatnonzero(is_own)
            return [Placed(self.moves.source[places[at]], at)], found_plain
        found = []
        for taken, stands in zip(self.taken, self.places, strict=True):
            own = asked[stands]
            rows = np.flatnonzero(own >= 0)
            found.append(Placed(rows if taken is None else taken[rows], own[rows]))
        return found, found_plain

    def ranks(self, codes: Sequence[Codes], ranks: Sequence[Codes], plain_ranks: Codes) -> Codes:
        """The rank of each row's key. For each log the codes of its rows, and ranks by code."""
        if self.is_plain_log:
            return ranks[0][codes[0]]
        if self.moves is not None:
            found: Codes = ranks[0][codes[0].take(self.moves.source)]
        else:
            found = np.empty(self.count, np.int32)
            logs = zip(codes, ranks, self.taken, self.places, strict=True)
            for held, rank, taken, stands in logs:
                found[stands] = rank[held if taken is None else held[taken]]
        found[self.plain_places] = plain_ranks
        return found

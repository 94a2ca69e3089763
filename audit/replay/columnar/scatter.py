"""The vector code of the fold: the last event of every key, without a loop over events.

`last[slots] = positions` would do for most arrays, but numpy's reference promises no order for
repeated indexes; a maximum does not depend on the order, and costs the same.
"""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.intp]
"""Indexes and positions; -1 stands for none."""
Codes = npt.NDArray[np.int32]
Ranks = npt.NDArray[np.int32]
"""Places of events in an order; half as wide as indexes, so that twice as many fit a cache."""

DENSE = 8
"""Codes are numbered through a table while the largest is at most so many times their count."""
MIN_TABLE = 65_536
"""Tables of so many codes cost nothing."""


def last_of(slots: Ints, ranks: Ranks, count: int) -> Ranks:
    """The largest rank given for each of `count` slots: int32[count], -1 for none.

    `slots` and `ranks` are parallel.
    """
    last = np.full(count, -1, np.int32)
    np.maximum.at(last, slots, ranks)
    return last


def distinct(codes: Codes) -> tuple[Codes, Ints]:
    """The distinct codes ascending, and for each code its number among them (its slot)."""
    if not len(codes):
        return codes.astype(np.int32), np.empty(0, np.intp)
    count = int(codes.max()) + 1
    if count > max(MIN_TABLE, DENSE * len(codes)):
        found, slots = np.unique(codes, return_inverse=True)
        return found, slots.astype(np.intp, copy=False)
    seen = np.zeros(count, np.bool_)
    seen[codes] = True
    found = np.flatnonzero(seen).astype(np.int32)
    number = np.empty(count, np.intp)
    number[found] = np.arange(len(found))
    return found, number[codes]


def merged_places(old: Codes, new: Codes) -> tuple[Ints, Ints]:
    """Where the values of two ascending, disjoint arrays stand in their merged order."""
    at_new = np.searchsorted(old, new) + np.arange(len(new))
    is_old = np.ones(len(old) + len(new), np.bool_)
    is_old[at_new] = False
    return np.flatnonzero(is_old), at_new

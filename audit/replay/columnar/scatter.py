"""The vector code of the fold: the last event of every key, without a loop over events.

`last[slots] = positions` would do for most arrays, but numpy's reference promises no order for
repeated indexes; a maximum does not depend on the order, and costs the same.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.intp]
"""Indexes and positions; -1 stands for none."""
Codes = npt.NDArray[np.int32]
Ranks = npt.NDArray[np.int32]
"""Places of events in an order; half as wide as indexes, so that twice as many fit a cache."""

DENSE = 16
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
    if len(found) == count:
        return found, codes.astype(np.intp)
    number = np.empty(count, np.intp)
    number[found] = np.arange(len(found))
    return found, number[codes]


FEW = 256
"""Up to this share of some rows new ones are looked up singly: most rows are then not looked at."""


def ranked_below(rank: Codes, codes: Codes, wanted: Codes) -> Ints:
    """How many of `codes`, whose ranks ascend, have a rank below each one wanted."""
    if len(wanted) * FEW > len(codes):
        return np.searchsorted(rank[codes], wanted)
    low = np.zeros(len(wanted), np.intp)
    high = np.full(len(wanted), len(codes), np.intp)
    for _ in range(len(codes).bit_length()):
        middle = (low + high) >> 1
        is_open = low < high
        below = is_open & (rank[codes[np.minimum(middle, len(codes) - 1)]] < wanted)
        low = np.where(below, middle + 1, low)
        high = np.where(is_open & ~below, middle, high)
    return low


class Moves(NamedTuple):
    """What becomes of rows when some go and new ones come between them.

    `source`: for each place the row that stands there now; `new_at`: the places of the new rows,
    where `source` says nothing. `shift`: int32, by how many places each row moved.
    """

    source: Ints
    new_at: Ints
    shift: Codes


def moves(count: int, gone: Ints, before: Ints) -> Moves:
    """`count` rows (not 0), of which the ones `gone` (ascending) go; new ones come before the rows
    `before` (ascending, `count` for the end).
    """
    new_at = before - np.searchsorted(gone, before) + np.arange(len(before))
    total = count - len(gone) + len(before)
    # Every place is one row further than the one before; the new ones are not, and behind what is
    # gone it is one more.
    source = np.ones(total + 1, np.intp)
    source[new_at] = 0
    np.add.at(source, gone - np.arange(len(gone)) + np.searchsorted(before, gone, "right"), 1)
    source[0] -= 1
    np.cumsum(source, out=source)
    shift = np.zeros(count + 1, np.int32)
    shift[gone + 1] = -1
    np.add.at(shift, before, 1)
    np.cumsum(shift, out=shift)
    return Moves(source[:total], new_at, shift)

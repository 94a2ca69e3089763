"""Which snapshots stay on disk: within a share of what the pieces take, dense near the end.

A cut between two snapshots folds the events since the earlier one. So the one goes first that
would leave the smallest gap, a gap counting less the longer ago it is (by the root of its age):
old cuts cost some times what new ones do, whatever the size of the log. The newest of each dataset
always stays.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from audit.replay.columnar.kept.manifest import SnapshotEntry

SNAPSHOT_SHARE = 1.0
"""Snapshots take at most so much of what the pieces take, but for the newest ones."""

SMALL_BYTES = 1_048_576
"""Snapshots that are not larger all together are left alone."""


def thinned(snapshots: Sequence[SnapshotEntry], pieces_bytes: int) -> tuple[SnapshotEntry, ...]:
    """Those that stay, in their order, beside pieces of so many bytes."""
    kept = list(snapshots)
    most_bytes = max(SMALL_BYTES, int(SNAPSHOT_SHARE * pieces_bytes))
    while sum(one.file.size_bytes for one in kept) > most_bytes:
        spare = min(_spare(kept), default=None)
        if spare is None:
            break
        kept.remove(spare[-1])
    return tuple(kept)


def _spare(kept: Sequence[SnapshotEntry]) -> Iterator[tuple[float, int, str, SnapshotEntry]]:
    """Each that may go, after what its going costs; of equal ones the largest file first."""
    for name in {one.dataset for one in kept}:
        own = sorted((one for one in kept if one.dataset == name), key=lambda one: one.size)
        before = 0
        for one, after in pairwise(own):
            gap = (after.size - before) / math.sqrt(own[-1].size - before)
            yield gap, -one.file.size_bytes, name, one
            before = one.size

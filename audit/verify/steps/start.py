"""Step: where to begin - at the first entry, or later at a state that a checkpoint has to prove.

Resuming at N reads the tree's right edge at size N from the stored tiles (and from the up to 255
leaves that no full tile holds) and the entry before N. None of that is believed: when the walk
reaches a signed checkpoint of size N or more, its root can only be equal if the edge was right.
"""

from typing import NamedTuple

from audit.errors import StoreCorrupt
from audit.log.entry import decode_entry
from audit.tlog.hashing import leaf_hash
from audit.tlog.merkle import TILE_HEIGHT, TreeEdge
from audit.tlog.tiles import partial_width
from audit.verify.guarded import GuardedReader
from audit.verify.steps.entries import BEGINNING, Start


class Beginning(NamedTuple):
    """The start of the entry walk, and the tree's edge there."""

    start: Start
    edge: TreeEdge


def begin_at(reader: GuardedReader, log: int, index: int) -> Beginning:
    """The state before entry `index`. Raises AuditError when the store cannot give it."""
    if index == 0:
        return Beginning(BEGINNING, TreeEdge.empty())
    source = reader.hashes(log, index)
    levels = []
    for level in range((index.bit_length() + TILE_HEIGHT - 1) // TILE_HEIGHT):
        width = partial_width(level, index)
        first = (index >> (TILE_HEIGHT * level)) - width
        levels.append([source.node(TILE_HEIGHT * level, first + n) for n in range(width)])
    leaf = reader.leaf(log, index - 1)
    entry = decode_entry(leaf)
    if entry.index != index - 1:
        raise StoreCorrupt(f"the entry stored at index {index - 1} says it is {entry.index}")
    edge = TreeEdge.from_levels(index, levels)
    return Beginning(Start(index, leaf_hash(leaf), entry.recorded_time_us), edge)

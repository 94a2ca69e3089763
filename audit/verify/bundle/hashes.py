"""Node hashes of a tree from the proofs that a bundle holds, as far as those know them."""

from bisect import bisect_left
from collections.abc import Sequence

from audit.errors import NotFound
from audit.tlog.hashing import leaf_hash, node_hash
from audit.tlog.merkle import HashSource
from audit.verify.bundle.ocf import BundleEntry


def tree_edge(source: HashSource, size: int) -> tuple[bytes, ...]:
    """The roots of the complete subtrees that a tree of `size` leaves falls apart into, left first.

    One for each one-bit of the size. A proof joins those at the right border into one hash, so
    whoever only has proofs needs them besides.
    """
    nodes = []
    begin = 0
    for bit in reversed(range(size.bit_length())):
        if size >> bit & 1:
            nodes.append(source.node(bit, begin >> bit))
            begin += 1 << bit
    return tuple(nodes)


def edge_root(edge: Sequence[bytes]) -> bytes:
    """The root over an edge of at least one subtree."""
    root = edge[-1]
    for node in reversed(edge[:-1]):
        root = node_hash(node, root)
    return root


def sibling_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The leaves [begin, end) that each hash of an inclusion proof covers, in the proof's order."""
    ranges = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + (1 << ((end - begin - 1).bit_length() - 1))
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin = middle
    ranges.reverse()
    return ranges


class BundleHashes:
    """A `merkle.HashSource` over one size; knows what the proofs of the entries know."""

    def __init__(
        self,
        size: int,
        indexes: Sequence[int],
        entries: Sequence[BundleEntry],
        edge: Sequence[bytes],
    ) -> None:
        """`indexes` in order, `entries` with proofs to `size`, `edge` as `tree_edge` gives it."""
        self._size = size
        self._indexes = indexes
        self._entries = entries
        self._edge: dict[tuple[int, int], bytes] = {}
        begin = 0
        bits = [bit for bit in reversed(range(size.bit_length())) if size >> bit & 1]
        for bit, node in zip(bits, edge, strict=False):
            self._edge[bit, begin >> bit] = node
            begin += 1 << bit

    def node(self, level: int, index: int) -> bytes:
        """See `merkle.HashSource.node`. Raises NotFound for what no proof in the bundle holds."""
        found = self._edge.get((level, index))
        if found is None:
            begin, end = index << level, (index + 1) << level
            found = self._as_sibling(level, index, begin, end) or self._from_inside(level, begin)
        if found is None:
            raise NotFound("the bundle has no proof for entries that it leaves out")
        return found

    def _as_sibling(self, level: int, index: int, begin: int, end: int) -> bytes | None:
        """From the proof of an entry under the neighbouring node."""
        other = (index ^ 1) << level
        entry = self._first_in(other, min(other + (1 << level), self._size))
        if entry is None:
            return None
        ranges = sibling_ranges(entry.index, self._size)
        try:
            return entry.proof[ranges.index((begin, end))]
        except (ValueError, IndexError):
            return None

    def _from_inside(self, level: int, begin: int) -> bytes | None:
        """From an entry below the node and the first hashes of its proof."""
        entry = self._first_in(begin, min(begin + (1 << level), self._size))
        if entry is None or len(entry.proof) < level:
            return None
        node = leaf_hash(entry.leaf)
        for bit, sibling in enumerate(entry.proof[:level]):
            left = entry.index >> bit & 1
            node = node_hash(sibling, node) if left else node_hash(node, sibling)
        return node

    def _first_in(self, begin: int, end: int) -> BundleEntry | None:
        at = bisect_left(self._indexes, begin)
        if at < len(self._indexes) and self._indexes[at] < end:
            return self._entries[at]
        return None

"""Building a Merkle tree and its proofs (RFC 6962 section 2.1); checking them is `proof`'s job."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, Self

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.tlog.hashing import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, node_hash, pair_hashes

TILE_HEIGHT = 8
"""Levels of the tree in one tile (C2SP tlog-tiles)."""

TILE_WIDTH = 1 << TILE_HEIGHT
"""Hashes in a full tile: 256."""

_WIDTH_MASK = TILE_WIDTH - 1


class FullTile(NamedTuple):
    """A tile that became full: 256 hashes of tile level `level`, and what they hash to.

    `data` is 8,192 bytes. `root` is 32 bytes, the root over `data`: hash number `index` of the
    tile level above.
    """

    level: int
    index: int  # type: ignore[assignment]  # hides tuple.index(), which nobody needs here
    data: bytes
    root: bytes


class HashSource(Protocol):
    """Where the builders of proofs get hashes from."""

    def node(self, level: int, index: int) -> bytes:
        """Return the root of the complete subtree over leaves index*2**level to (index+1)*2**level.

        The upper bound is exclusive. Raises InvalidInput for a subtree that is not complete.
        """
        ...


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root of the tree over `leaf_hashes` (32 bytes each), level by level.

    Raises FormatError for a hash that is not 32 bytes long.
    """
    nodes = list(leaf_hashes)
    _require_hashes(nodes)
    if not nodes:
        return EMPTY_ROOT
    while len(nodes) > 1:
        parents = pair_hashes(nodes)
        if len(nodes) & 1:
            # A node without a sibling moves up as it is; RFC 6962 never doubles it.
            parents.append(nodes[-1])
        nodes = parents
    return nodes[0]


class TreeEdge:
    """The right edge of a tree: all that is needed to append to it and to know its root.

    Immutable. `levels[n]` holds the hashes (0 to 255) of the partial tile at tile level n, the
    last level is never empty. Besides, the roots of the complete subtrees that the size falls
    apart into are kept, one for each one-bit of `size`, so that appending one leaf costs about
    one node hash, and a root one node hash for each further one-bit.
    """

    __slots__ = ("_subtrees", "levels", "size")

    size: int
    levels: tuple[tuple[bytes, ...], ...]
    _subtrees: tuple[bytes, ...]  # by bit of `size`, lowest first; b"" where the bit is 0

    def __init__(
        self,
        size: int,
        levels: tuple[tuple[bytes, ...], ...],
        subtrees: tuple[bytes, ...],
    ) -> None:
        """Take parts that fit together; use `empty`, `from_levels` or `extend` instead."""
        self.size = size
        self.levels = levels
        self._subtrees = subtrees

    @classmethod
    def empty(cls) -> Self:
        """Return the edge of the tree without leaves."""
        return cls(0, (), ())

    @classmethod
    def from_levels(cls, size: int, levels: Sequence[Sequence[bytes]]) -> Self:
        """Return the edge of a tree of `size` leaves from the hashes of its partial tiles.

        Level n must hold exactly floor(size / 256**n) mod 256 hashes of 32 bytes; empty levels at
        the end may be left out or added. Raises FormatError when the widths do not fit the size.
        """
        if not 0 <= size <= MAX_SIZE:
            raise FormatError(f"tree size {size} is not between 0 and 2^63-1")
        height = (size.bit_length() + TILE_HEIGHT - 1) // TILE_HEIGHT
        rows = [tuple(row) for row in levels]
        rows += [()] * (height - len(rows))
        subtrees: list[bytes] = []
        for level, row in enumerate(rows):
            width = (size >> (TILE_HEIGHT * level)) & _WIDTH_MASK
            if len(row) != width:
                raise FormatError(
                    f"tree edge of size {size} has {len(row)} hashes at tile level {level}, "
                    f"not {width}"
                )
            _require_hashes(row)
            if level < height:
                subtrees += _subtrees_of(list(row))
        return cls(size, tuple(rows[:height]), tuple(subtrees[: size.bit_length()]))

    def extend(self, leaf_hashes: Sequence[bytes]) -> tuple["TreeEdge", list[FullTile]]:
        """Return the edge after appending `leaf_hashes`, and the tiles that this made full.

        Tiles come in order of level, then index. Raises FormatError for a hash that is not 32
        bytes long, LimitExceeded for a size beyond 2^63-1.
        """
        nodes = list(leaf_hashes)
        if not nodes:
            return self, []
        _require_hashes(nodes)
        size = self.size + len(nodes)
        if size > MAX_SIZE:
            raise LimitExceeded("a log cannot have more than 2^63-1 entries")
        subtrees = list(self._subtrees)
        levels = list(self.levels)
        tiles: list[FullTile] = []
        pending: list[tuple[int, bytes]] = []  # full tiles of the level below, without their roots
        bit = 0
        while nodes:
            # `nodes` are the new complete subtrees of 2**bit leaves.
            if bit % TILE_HEIGHT == 0:
                level = bit // TILE_HEIGHT
                for (index, data), root in zip(pending, nodes, strict=False):
                    # At level 0 nothing is pending; above it both are of one length.
                    tiles.append(FullTile(level - 1, index, data, root))
                pending = self._fill(levels, level, nodes)
            if bit == len(subtrees):
                subtrees.append(b"")
            elif subtrees[bit]:
                nodes.insert(0, subtrees[bit])
            subtrees[bit] = nodes[-1] if len(nodes) & 1 else b""
            nodes = pair_hashes(nodes)
            bit += 1
        return TreeEdge(size, tuple(levels), tuple(subtrees)), tiles

    def root(self) -> bytes:
        """Return the 32-byte root hash of the tree."""
        return _fold(self._subtrees)

    def _fill(
        self, levels: list[tuple[bytes, ...]], level: int, nodes: list[bytes]
    ) -> list[tuple[int, bytes]]:
        """Add `nodes` to a tile level; return (index, data) of each tile that is full now."""
        if level == len(levels):
            levels.append(())
        row = levels[level] + tuple(nodes)
        full = len(row) // TILE_WIDTH
        levels[level] = row[full * TILE_WIDTH :]
        first = self.size >> (TILE_HEIGHT * (level + 1))
        return [
            (first + n, b"".join(row[n * TILE_WIDTH : (n + 1) * TILE_WIDTH])) for n in range(full)
        ]

    def __eq__(self, other: object) -> bool:
        """Compare size and hashes."""
        if not isinstance(other, TreeEdge):
            return NotImplemented
        return self.size == other.size and self.levels == other.levels

    def __hash__(self) -> int:
        """Hash over size and hashes."""
        return hash((self.size, self.levels))

    def __repr__(self) -> str:
        """Show the size and the width of each level."""
        return f"TreeEdge(size={self.size}, widths={[len(row) for row in self.levels]})"


def tree_root(source: HashSource, size: int) -> bytes:
    """Return the root of the first `size` leaves. Raises InvalidInput for a size out of range."""
    if not 0 <= size <= MAX_SIZE:
        raise InvalidInput(f"tree size {size} is not between 0 and 2^63-1")
    return _range_root(source, 0, size)


def inclusion_proof(source: HashSource, index: int, size: int) -> list[bytes]:
    """Return the inclusion path of leaf `index` in the tree of `size` leaves, leaf sibling first.

    RFC 6962 section 2.1.1. Raises InvalidInput unless 0 <= index < size <= 2^63-1.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise InvalidInput(f"no inclusion proof for index {index} in a tree of size {size}")
    path: list[bytes] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(_range_root(source, middle, end))
            end = middle
        else:
            path.append(_range_root(source, begin, middle))
            begin = middle
    path.reverse()
    return path


def consistency_proof(source: HashSource, old_size: int, new_size: int) -> list[bytes]:
    """Return the proof that the tree of `new_size` leaves continues the one of `old_size`.

    RFC 6962 section 2.1.2; empty for equal sizes. Raises InvalidInput unless
    1 <= old_size <= new_size <= 2^63-1: from the empty tree there is nothing to prove.
    """
    if not 1 <= old_size <= new_size <= MAX_SIZE:
        raise InvalidInput(f"no consistency proof from size {old_size} to size {new_size}")
    path: list[bytes] = []
    begin, end = 0, new_size
    while end != old_size:
        middle = begin + _split(end - begin)
        if old_size <= middle:
            path.append(_range_root(source, middle, end))
            end = middle
        else:
            path.append(_range_root(source, begin, middle))
            begin = middle
    if begin:
        # Otherwise the verifier knows this subtree: it is the whole old tree.
        path.append(_range_root(source, begin, end))
    path.reverse()
    return path


def _split(count: int) -> int:
    """Return the largest power of two smaller than `count`, which is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)


def _range_root(source: HashSource, begin: int, end: int) -> bytes:
    """Return MTH(D[begin:end]); `begin` is a multiple of a power of two >= end - begin."""
    subtrees: list[bytes] = []
    for bit in range((end - begin).bit_length()):
        if (end - begin) >> bit & 1:
            subtrees.append(source.node(bit, (end >> bit) - 1))
            end -= 1 << bit
    return _fold(subtrees)


def _fold(subtrees: Iterable[bytes]) -> bytes:
    """Return the root over complete subtrees of growing size, the rightmost first."""
    root = b""
    for subtree in subtrees:
        if subtree:
            root = node_hash(subtree, root) if root else subtree
    return root or EMPTY_ROOT


def _subtrees_of(nodes: list[bytes]) -> list[bytes]:
    """Return for each of the 8 bits of a tile's width the root of its subtree, or b""."""
    subtrees: list[bytes] = []
    for _ in range(TILE_HEIGHT):
        subtrees.append(nodes[-1] if len(nodes) & 1 else b"")
        nodes = pair_hashes(nodes)
    return subtrees


def _require_hashes(hashes: Sequence[bytes]) -> None:
    if hashes and set(map(len, hashes)) != {HASH_BYTES}:
        raise FormatError(f"a hash in the tree is not {HASH_BYTES} bytes long")

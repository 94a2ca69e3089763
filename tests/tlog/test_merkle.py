"""Every way to build a tree gives what the slow twin gives."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.tlog.hashing import EMPTY_ROOT, MAX_SIZE, leaf_hash
from audit.tlog.merkle import (
    FullTile,
    TreeEdge,
    consistency_proof,
    inclusion_proof,
    root_of,
    tree_root,
)
from audit.tlog.proof import verify_consistency, verify_inclusion
from audit.tlog.tiles import TileHashes, full_tiles, partial_width, tile_root
from tests.tlog.twin import Leaves, mth, path, subproof

BORDERS = [255, 256, 257, 511, 513, 65535, 65536, 65537]
HASHES = [leaf_hash(b"%d" % i) for i in range(66_000)]


def build(hashes, cuts):
    """Extend an empty edge in the given batches, then by the rest."""
    edge, tiles, begin = TreeEdge.empty(), [], 0
    for count in [*cuts, len(hashes)]:
        edge, full = edge.extend(hashes[begin : begin + count])
        tiles += full
        begin += count
    return edge, tiles


def source_of(edge, tiles):
    data = {(tile.level, tile.index): tile.data for tile in tiles}

    def read(level, index, width):
        return data[level, index] if width == 256 else b"".join(edge.levels[level])

    return TileHashes(edge.size, read)


@pytest.fixture(scope="module")
def large():
    edge, tiles = build(HASHES, [])
    return edge, tiles, source_of(edge, tiles)


@pytest.mark.parametrize("size", range(71))
def test_small_trees_agree_with_the_twin(size):
    hashes = HASHES[:size]
    edge, tiles = build(hashes, [1] * size)
    assert root_of(hashes) == edge.root() == tree_root(Leaves(hashes), size) == mth(hashes)
    assert tiles == []
    assert edge.levels == ((tuple(hashes),) if size else ())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1500), st.lists(st.integers(0, 300), max_size=12))
def test_any_cut_gives_the_same_tree(size, cuts):
    hashes = HASHES[:size]
    edge, tiles = build(hashes, cuts)
    source = source_of(edge, tiles)
    assert edge.size == size
    assert edge.root() == root_of(hashes) == tree_root(source, size) == mth(hashes)
    assert edge == TreeEdge.from_levels(size, edge.levels)
    assert hash(edge) == hash(TreeEdge.from_levels(size, edge.levels))
    for level, row in enumerate(edge.levels):
        assert len(row) == partial_width(level, size)
    for level in range(3):
        assert sum(tile.level == level for tile in tiles) == full_tiles(level, size)
    for tile in tiles:
        assert tile.root == tile_root(tile.data) == source.node(8 * (tile.level + 1), tile.index)


@pytest.mark.parametrize("size", BORDERS)
@pytest.mark.parametrize("step", [1, 3])
def test_appending_over_a_border(size, step):
    start, _ = TreeEdge.empty().extend(HASHES[: size - 3])
    edge, tiles = start, []
    for begin in range(size - 3, size + 3, step):
        edge, full = edge.extend(HASHES[begin : begin + step])
        tiles += full
        assert edge.root() == root_of(HASHES[: begin + step])
    whole, all_tiles = TreeEdge.empty().extend(HASHES[: size + 3])
    assert edge == whole
    assert tiles == all_tiles[len(all_tiles) - len(tiles) :] or len(tiles) < 2
    assert start.size == size - 3, "an edge never changes"
    assert start.root() == root_of(HASHES[: size - 3])


def test_tiles_of_70000(large):
    hashes = HASHES + HASHES[:4000]
    edge, tiles = build(hashes, [])
    assert [len(row) for row in edge.levels] == [112, 17, 1]
    assert len(tiles) == 274
    assert tiles[0] == FullTile(0, 0, b"".join(hashes[:256]), mth(hashes[:256]))
    assert [(tile.level, tile.index) for tile in tiles[-2:]] == [(0, 272), (1, 0)]
    assert tiles[-1].data == b"".join(tile.root for tile in tiles[:256])
    assert tiles[-1].root == edge.levels[2][0]


@pytest.mark.parametrize("size", range(1, 71))
def test_every_small_inclusion_proof(size):
    hashes, root = HASHES[:size], mth(HASHES[:size])
    for index in range(size):
        proof = inclusion_proof(Leaves(hashes), index, size)
        assert proof == path(index, hashes)
        verify_inclusion(hashes[index], index, size, proof, root)


@pytest.mark.parametrize("size", range(1, 71))
def test_every_small_consistency_proof(size):
    hashes, root = HASHES[:size], mth(HASHES[:size])
    for old_size in range(1, size + 1):
        proof = consistency_proof(Leaves(hashes), old_size, size)
        assert proof == subproof(old_size, hashes)
        verify_consistency(old_size, mth(hashes[:old_size]), size, root, proof)


def test_large_proofs_verify(large):
    _, _, source = large
    rng = random.Random(1)
    sizes = [*BORDERS, *(rng.randrange(1, len(HASHES)) for _ in range(60))]
    roots = {size: tree_root(source, size) for size in {*sizes, *range(250, 260)}}
    for size in sizes:
        for index in {0, size - 1, size // 2, rng.randrange(size), min(size - 1, 255)}:
            proof = inclusion_proof(source, index, size)
            verify_inclusion(HASHES[index], index, size, proof, roots[size])
    for old_size in roots:
        for size in (other for other in roots if other >= old_size):
            proof = consistency_proof(source, old_size, size)
            verify_consistency(old_size, roots[old_size], size, roots[size], proof)


@pytest.mark.parametrize("size", BORDERS[:6])
def test_large_roots_and_proofs_are_the_twins(large, size):
    _, _, source = large
    assert tree_root(source, size) == mth(HASHES[:size])
    assert inclusion_proof(source, size - 2, size) == path(size - 2, HASHES[:size])
    assert consistency_proof(source, 255, size) == subproof(255, HASHES[:size])


@pytest.mark.parametrize(
    ("index", "size"),
    [(0, 0), (5, 5), (6, 5), (-1, 5), (0, -1), (0, MAX_SIZE + 1), (MAX_SIZE, MAX_SIZE)],
)
def test_no_inclusion_proof(index, size):
    with pytest.raises(InvalidInput, match="no inclusion proof"):
        inclusion_proof(Leaves(HASHES[:5]), index, size)


@pytest.mark.parametrize(
    ("old_size", "size"), [(0, 5), (0, 0), (6, 5), (-1, 5), (1, MAX_SIZE + 1), (1, -1)]
)
def test_no_consistency_proof(old_size, size):
    with pytest.raises(InvalidInput, match="no consistency proof"):
        consistency_proof(Leaves(HASHES[:5]), old_size, size)


@pytest.mark.parametrize("size", [-1, MAX_SIZE + 1, 1 << 200])
def test_no_such_size(size):
    with pytest.raises(InvalidInput, match="tree size"):
        tree_root(Leaves([]), size)
    with pytest.raises(FormatError, match="tree size"):
        TreeEdge.from_levels(size, [])


def test_a_billion_leaves_cost_thirty_hashes():
    class Counting:
        asked = 0

        def node(self, level, index):
            self.asked += 1
            return leaf_hash(b"%d %d" % (level, index))

    source = Counting()
    proof = inclusion_proof(source, 123_456_789, 10**9)
    assert len(proof) <= 30
    assert source.asked <= 60


@pytest.mark.parametrize("bad", [b"", bytes(31), bytes(33), bytes(64)])
def test_hashes_of_another_length_are_refused(bad):
    hashes = [HASHES[0], bad, HASHES[1]]
    with pytest.raises(FormatError, match="32 bytes"):
        root_of(hashes)
    with pytest.raises(FormatError, match="32 bytes"):
        TreeEdge.empty().extend(hashes)
    with pytest.raises(FormatError, match="32 bytes"):
        TreeEdge.from_levels(3, [hashes])


@pytest.mark.parametrize(
    ("size", "widths"),
    [(3, [2]), (3, [4]), (3, []), (0, [1]), (256, [0]), (256, [256]), (256, [0, 2]), (3, [3, 1])],
)
def test_levels_that_do_not_fit_the_size(size, widths):
    with pytest.raises(FormatError, match="tree edge of size"):
        TreeEdge.from_levels(size, [HASHES[:width] for width in widths])


def test_empty_levels_at_the_end_do_not_matter():
    edge = TreeEdge.from_levels(3, [HASHES[:3], [], []])
    assert edge.levels == (tuple(HASHES[:3]),)
    assert TreeEdge.from_levels(0, [[], []]) == TreeEdge.empty()


def test_the_empty_edge():
    edge = TreeEdge.empty()
    assert (edge.size, edge.levels, edge.root()) == (0, (), EMPTY_ROOT)
    assert edge.extend([]) == (edge, [])
    assert edge != "edge"
    assert repr(edge) == "TreeEdge(size=0, widths=[])"


def test_a_log_ends_at_2_to_the_63():
    widths = [(MAX_SIZE >> 8 * level) & 255 for level in range(8)]
    edge = TreeEdge.from_levels(MAX_SIZE, [HASHES[:width] for width in widths])
    with pytest.raises(LimitExceeded, match="2\\^63-1"):
        edge.extend([HASHES[0]])

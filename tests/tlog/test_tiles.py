"""Tile names, widths and hashes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audit.errors import AuditError, FormatError, InvalidInput, StoreCorrupt
from audit.tlog.hashing import MAX_SIZE, leaf_hash
from audit.tlog.merkle import TreeEdge
from audit.tlog.tiles import (
    TILE_CACHE_TILES,
    TileHashes,
    full_tiles,
    parse_tile_path,
    partial_width,
    tile_path,
    tile_root,
)
from tests.tlog.twin import mth

HASHES = [leaf_hash(b"%d" % i) for i in range(1000)]


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        ((0, 0), "tile/0/000"),
        ((0, 1234067), "tile/0/x001/x234/067"),
        ((2, 0, 1), "tile/2/000.p/1"),
        ((63, 999, 255), "tile/63/999.p/255"),
        ((1, 1000), "tile/1/x001/000"),
    ],
)
def test_paths(parts, path):
    level, index, *width = parts
    assert tile_path(*parts) == path
    assert parse_tile_path(path) == (level, index, *(width or [256]))


@given(st.integers(0, 63), st.integers(0, MAX_SIZE), st.integers(1, 256))
def test_paths_round_trip(level, index, width):
    assert parse_tile_path(tile_path(level, index, width)) == (level, index, width)


@pytest.mark.parametrize(
    "path",
    [
        "", "tile", "tile/0", "tile/0/", "tile/0/0", "tile/0/00", "tile/0/0000", "tile/00/000",
        "tile/01/000", "tile/64/000", "tile/-1/000", "tile/0/x000/000", "tile/0/001/000",
        "tile/0/x001/x000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01",
        "tile/0/000.p/", "tile/0/000.p/999", "tile/0/000\n", "tile/0/000.p/1\n", "/tile/0/000",
        "tile/0/\u0660\u0660\u0660", "tile/0/" + "x999/" * 7 + "999", "tile/entries/000",
        "tile/0/" + "x001/" * 100_000 + "000", "tile/8/0/000", "tile/0/../000",
    ],
)  # fmt: skip
def test_not_a_path(path):
    with pytest.raises(FormatError, match="not a tile path"):
        parse_tile_path(path)


@pytest.mark.parametrize("parts", [(64, 0), (-1, 0), (0, -1), (0, 0, 0), (0, 0, 257), (0, 1 << 63)])
def test_not_a_tile(parts):
    with pytest.raises(InvalidInput, match="no tile has"):
        tile_path(*parts)


@pytest.mark.parametrize(
    ("size", "full", "partial"),
    [
        (0, [0, 0, 0], [0, 0, 0]),
        (256, [1, 0, 0], [0, 1, 0]),
        (70_000, [273, 1, 0], [112, 17, 1]),
        (65_536, [256, 1, 0], [0, 0, 1]),
    ],
)
def test_widths(size, full, partial):
    assert [full_tiles(level, size) for level in range(3)] == full
    assert [partial_width(level, size) for level in range(3)] == partial


def test_tile_root():
    assert tile_root(b"".join(HASHES[:256])) == mth(HASHES[:256])


@pytest.mark.parametrize("length", [0, 32, 8191, 8193, 16384])
def test_a_partial_tile_has_no_root(length):
    with pytest.raises(FormatError, match="8192 bytes"):
        tile_root(bytes(length))


def reader(size, asked=None):
    edge, tiles = TreeEdge.empty().extend(HASHES[:size])
    data = {(tile.level, tile.index): tile.data for tile in tiles}

    def read(level, index, width):
        if asked is not None:
            asked.append((level, index, width))
        return data[level, index] if width == 256 else b"".join(edge.levels[level])

    return read


@given(st.integers(1, 1000), st.data())
@example(256, None)
def test_nodes_are_the_subtrees(size, data):
    source = TileHashes(size, reader(size))
    level = data.draw(st.integers(0, size.bit_length() - 1)) if data else 8
    index = data.draw(st.integers(0, (size >> level) - 1)) if data else 0
    assert source.node(level, index) == mth(HASHES[index << level : (index + 1) << level])


@pytest.mark.parametrize(
    ("level", "index"),
    [(0, 300), (8, 1), (2, 75), (9, 0), (10**6, 0), (0, 1 << 200), (-1, 0), (0, -1)],
)
def test_no_such_node(level, index):
    with pytest.raises(InvalidInput, match="no complete subtree"):
        TileHashes(300, reader(300)).node(level, index)


def test_each_tile_is_read_once_with_its_width():
    asked = []
    source = TileHashes(600, reader(600, asked))
    for index in range(600):
        source.node(0, index)
        source.node(1, index // 2)
    source.node(8, 1)
    assert asked == [(0, 0, 256), (0, 1, 256), (0, 2, 88), (1, 0, 2)]


def test_the_cache_has_an_end():
    asked = []

    def read(level, index, width):
        asked.append(index)
        return bytes(8192)

    source = TileHashes(256 * 1000, read)
    for index in [*range(TILE_CACHE_TILES + 1), 1, 0]:
        source.node(0, index * 256)
    assert asked == [*range(TILE_CACHE_TILES + 1), 0]
    assert len(source._cache) == TILE_CACHE_TILES


@pytest.mark.parametrize("length", [0, 1408, 8191, 8193])
def test_a_tile_of_the_wrong_length(length):
    source = TileHashes(300, lambda level, index, width: bytes(length))
    with pytest.raises(StoreCorrupt, match="tile/0/000 has"):
        source.node(0, 0)


@pytest.mark.parametrize("size", [-1, 1 << 63])
def test_no_such_tree(size):
    with pytest.raises(InvalidInput, match="tree size"):
        TileHashes(size, reader(0))


@given(st.text(max_size=80) | st.from_regex(r"tile/[0-9]{1,3}/[x0-9/.p]{0,40}"))
def test_any_text_is_a_path_or_refused(text):
    try:
        parts = parse_tile_path(text)
    except AuditError:
        return
    assert tile_path(*parts) == text

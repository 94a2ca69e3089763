"""Tiles of a Merkle tree: their names, widths and hashes (C2SP tlog-tiles v0.1.0).

Tile `index` at tile level `level` holds hashes number index*256 to index*256+255 of that level. A
hash of level 0 is a leaf hash; a hash of level n is the root of a full tile of level n-1.
"""

import re
from collections import OrderedDict
from collections.abc import Callable

from audit.errors import FormatError, InvalidInput, StoreCorrupt
from audit.tlog.hashing import HASH_BYTES, MAX_SIZE, pair_hashes
from audit.tlog.merkle import TILE_HEIGHT, TILE_WIDTH

TILE_BYTES = TILE_WIDTH * HASH_BYTES
"""Length of a full tile: 8,192."""

MAX_TILE_LEVEL = 63
"""Largest level that a tile path may name (tlog-tiles)."""

MAX_TILE_PATH_BYTES = 64
"""Longest tile path that is looked at."""

TILE_CACHE_TILES = 64
"""Tiles that a TileHashes keeps, about 40 kB each with their inner nodes."""

_TILE_PATH = re.compile(
    r"tile/(0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?",
    re.ASCII,
)


def full_tiles(level: int, size: int) -> int:
    """Return how many full tiles tile level `level` has in a tree of `size` leaves."""
    return size >> (TILE_HEIGHT * (level + 1))


def partial_width(level: int, size: int) -> int:
    """Return the width (0 to 255) of the partial tile at `level` in a tree of `size` leaves."""
    return (size >> (TILE_HEIGHT * level)) & (TILE_WIDTH - 1)


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Return the path of a tile below the log's prefix, e.g. "tile/0/x001/x234/067.p/8".

    Raises InvalidInput for a level above 63, an index above 2^63-1 or a width outside 1..256.
    """
    if not (0 <= level <= MAX_TILE_LEVEL and 0 <= index <= MAX_SIZE and 1 <= width <= TILE_WIDTH):
        raise InvalidInput(f"no tile has level {level}, index {index} and width {width}")
    index, group = divmod(index, 1000)
    name = f"{group:03d}"
    while index:
        index, group = divmod(index, 1000)
        name = f"x{group:03d}/{name}"
    return f"tile/{level}/{name}" + ("" if width == TILE_WIDTH else f".p/{width}")


def parse_tile_path(path: str) -> tuple[int, int, int]:
    """Return (level, index, width) of a tile's path. Raises FormatError for any other text."""
    match = _TILE_PATH.fullmatch(path) if len(path) <= MAX_TILE_PATH_BYTES else None
    if match is None:
        raise FormatError("not a tile path: expected tile/<level>/<index>[.p/<width>]")
    level = int(match[1])
    index = int(match[2].replace("x", "").replace("/", ""))
    width = int(match[3]) if match[3] else TILE_WIDTH
    try:
        canonical = tile_path(level, index, width)
    except InvalidInput as error:
        raise FormatError(f"not a tile path: {error}") from None
    if canonical != path:
        raise FormatError(f"not a tile path: it would be written {canonical}")
    return level, index, width


def tile_root(data: bytes) -> bytes:
    """Return the root over a full tile: its hash in the tile level above.

    Raises FormatError unless `data` is 8,192 bytes long: partial tiles have no place above.
    """
    if len(data) != TILE_BYTES:
        raise FormatError(f"a full tile has {TILE_BYTES} bytes, not {len(data)}")
    nodes = _split_hashes(data)
    while len(nodes) > 1:
        nodes = pair_hashes(nodes)
    return nodes[0]


class TileHashes:
    """The hashes of a tree of `size` leaves, read tile by tile; a `merkle.HashSource`.

    `read(level, index, width)` returns the width*32 bytes of a tile: width is 256 for a full tile
    and 1..255 for the partial one at the right edge of that size. Nothing here proves that tiles
    belong to the tree: compare the root built from them with a checkpoint.
    """

    def __init__(self, size: int, read: Callable[[int, int, int], bytes]) -> None:
        """Serve the tree of `size` leaves. Raises InvalidInput for a size out of range."""
        if not 0 <= size <= MAX_SIZE:
            raise InvalidInput(f"tree size {size} is not between 0 and 2^63-1")
        self.size = size
        self._read = read
        # A tile's rows: its hashes, then their parents as far as they were needed.
        self._cache: OrderedDict[tuple[int, int], list[list[bytes]]] = OrderedDict()

    def node(self, level: int, index: int) -> bytes:
        """Return the root of the complete subtree over leaves index*2**level to (index+1)*2**level.

        The upper bound is exclusive. Raises InvalidInput for a subtree that is not complete in
        the tree, StoreCorrupt for a tile of the wrong length, and what `read` raises.
        """
        if level < 0 or index < 0 or (index + 1) << min(level, 64) > self.size:
            raise InvalidInput(
                f"no complete subtree {index} at level {level} in {self.size} leaves"
            )
        tile_level, row = divmod(level, TILE_HEIGHT)
        tile_index, offset = divmod(index, TILE_WIDTH >> row)
        rows = self._rows(tile_level, tile_index)
        while len(rows) <= row:
            rows.append(pair_hashes(rows[-1]))
        return rows[row][offset]

    def _rows(self, level: int, index: int) -> list[list[bytes]]:
        key = (level, index)
        rows = self._cache.get(key)
        if rows is not None:
            self._cache.move_to_end(key)
            return rows
        full = index < full_tiles(level, self.size)
        width = TILE_WIDTH if full else partial_width(level, self.size)
        data = self._read(level, index, width)
        if len(data) != width * HASH_BYTES:
            raise StoreCorrupt(
                f"tile {tile_path(level, index, width)} has {len(data)} bytes, "
                f"not {width * HASH_BYTES}"
            )
        rows = [_split_hashes(data)]
        self._cache[key] = rows
        if len(self._cache) > TILE_CACHE_TILES:
            self._cache.popitem(last=False)
        return rows


def _split_hashes(data: bytes) -> list[bytes]:
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]

"""The tiles of a ledger in SQL, and the hashes of its trees: one part of `SqlReader`."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, select, tuple_

from audit.store import tables
from audit.store.contract import Located, StoredTile
from audit.store.seam import byte_column
from audit.tlog.hashing import HASH_BYTES, leaf_hash
from audit.tlog.merkle import TILE_WIDTH, HashSource
from audit.tlog.tiles import TileHashes, full_tiles, tile_root

BLOCK_TILES = 64
MIN_INDEX = -(2**63)


class SqlTiles:
    """Reads tiles, and computes what no full tile holds from the leaves below it."""

    _ask: Callable[..., list[tuple[Any, ...]]]

    if TYPE_CHECKING:  # what the reader itself brings

        def _rows(self, query: Select[Any]) -> list[tuple[Any, ...]]: ...

        def leaves(self, log: int, start: int = 0, stop: int | None = None) -> Iterator[Located]:
            """See `contract.Reader.leaves`."""

    def tile(self, log: int, level: int, index: int) -> bytes | None:
        """See `contract.Reader.tile`."""
        for (data,) in self._ask("tile", log=log, level=level, index=index):
            return byte_column(data)
        return None

    def tiles(self, log: int) -> Iterator[StoredTile]:
        """See `contract.Reader.tiles`."""
        columns = tables.tiles.c
        level, index = MIN_INDEX, MIN_INDEX
        while True:
            after = tuple_(columns.level, columns.index) > tuple_(level, index)
            query = (
                select(columns.level, columns.index, columns.data, columns.root)
                .where(columns.log == log, after)
                .order_by(columns.level, columns.index)
                .limit(BLOCK_TILES)
            )
            block = self._rows(query)
            yield from map(StoredTile._make, block)
            if len(block) < BLOCK_TILES:
                return
            level, index = block[-1][0], block[-1][1]

    def hashes(self, log: int, size: int) -> HashSource:
        """See `contract.Reader.hashes`. What no full tile holds is hashed from what is below it."""
        return TileHashes(size, lambda level, index, width: self._hashes(log, level, index, width))

    def _hashes(self, log: int, level: int, index: int, width: int) -> bytes:
        data = self.tile(log, level, index)
        if data is not None:
            return data[: width * HASH_BYTES]
        first = index * TILE_WIDTH
        if level == 0:
            return b"".join(leaf_hash(leaf) for _, leaf in self.leaves(log, first, first + width))
        return b"".join(self._tile_roots(log, level - 1, first, width))

    def _tile_roots(self, log: int, level: int, first: int, count: int) -> Iterator[bytes]:
        columns = tables.tiles.c
        query = (
            select(columns.index, columns.root)
            .where(columns.log == log, columns.level == level)
            .where(columns.index >= first, columns.index < first + count)
        )
        roots = {index: byte_column(root) for index, root in self._rows(query)}
        for index in range(first, first + count):
            root = roots.get(index)
            yield tile_root(self._hashes(log, level, index, TILE_WIDTH)) if root is None else root

    def edge_levels(self, log: int, size: int) -> list[list[bytes]]:
        """The hashes of the partial tiles at the right edge of the tree of `size` leaves."""
        levels: list[list[bytes]] = []
        while size >> (8 * len(levels)):
            level = len(levels)
            index = full_tiles(level, size)
            width = (size >> (8 * level)) % TILE_WIDTH
            data = self._hashes(log, level, index, width) if width else b""
            levels.append([data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)])
        return levels

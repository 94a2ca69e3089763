"""Step: every stored tile equals the one that is made of the entries.

Tiles of level 0 are compared as the entries go by. A tile of a higher level covers 65,536 entries
and more, so of those only digests are kept until the stored ones come, after all of level 0.
"""

from collections.abc import Iterator
from hashlib import sha256

from audit.store.contract import StoredTile
from audit.tlog.hashing import HASH_BYTES
from audit.tlog.merkle import TILE_WIDTH, FullTile
from audit.tlog.tiles import full_tiles
from audit.verify.evidence import Evidence
from audit.verify.guarded import GuardedReader
from audit.verify.noted import Notes


class TileWalk:
    """Compares all stored tiles of a log, in one pass beside the entries."""

    def __init__(self, stored: Iterator[StoredTile], notes: Notes, evidence: Evidence) -> None:
        self._stored = stored
        self._notes = notes
        self._evidence = evidence
        self._next: StoredTile | None = None
        self._above: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        self._done = 0
        self._advance()

    def take(self, tiles: list[FullTile]) -> None:
        """Compare tiles made of the entries, in the order in which they become full."""
        for tile in tiles:
            if tile.level:
                self._above[tile.level, tile.index] = (sha256(tile.data).digest(), tile.root)
                continue
            stored = self._find(0, tile.index)
            if stored is None:
                self._missing(0, tile.index)
            else:
                self._compare(stored, tile)
                self._advance()
            self._done = tile.index + 1

    def finish(self, size_now: int, complete: bool) -> None:
        """Compare what is left. `size_now` is the log's size after reading; `complete` means that
        the tree of all entries was built, so that missing tiles of higher levels can be told.
        """
        while self._next is not None:
            stored = self._next
            level, index, data, root = stored
            expected = self._above.pop((level, index), None)
            if expected is not None:
                if type(data) is not bytes or sha256(data).digest() != expected[0]:
                    self._differs(level, index, "is not made of the tiles below it")
                elif root != expected[1]:
                    self._differs(level, index, "has another root beside it")
            elif self._is_extra(stored, size_now):
                self._notes.add(
                    "tile_extra", None, f"tile {level}/{index} is of a longer log than this one"
                )
            self._advance()
        if complete:
            for level, index in self._above:
                self._missing(level, index)

    def _is_extra(self, stored: StoredTile, size_now: int) -> bool:
        level, index = stored.level, stored.index
        if level == 0 and 0 <= index < self._done:
            return True  # a second tile of the same place
        return not (0 <= level < 8 and 0 <= index < full_tiles(level, size_now))

    def _find(self, level: int, index: int) -> StoredTile | None:
        """The stored tile at this place; what lies before it is extra."""
        while self._next is not None and (self._next.level, self._next.index) < (level, index):
            self._notes.add(
                "tile_extra", None, f"tile {self._next.level}/{self._next.index} has no place"
            )
            self._advance()
        stored = self._next
        return stored if stored and (stored.level, stored.index) == (level, index) else None

    def _advance(self) -> None:
        for stored in self._stored:
            if type(stored.level) is int and type(stored.index) is int:
                self._next = stored
                return
            self._notes.add("row_malformed", None, "a tile's place is not two numbers")
        self._next = None

    def _compare(self, stored: StoredTile, tile: FullTile) -> None:
        first = tile.index * TILE_WIDTH
        if stored.data != tile.data:
            self._notes.add(*compare_hashes(stored.data, tile, self._evidence))
        elif stored.root != tile.root:
            self._differs(0, tile.index, "has another root beside it")
        self._evidence.tiles_until = first + TILE_WIDTH

    def _missing(self, level: int, index: int) -> None:
        first = _first_entry(level, index)
        self._notes.add("tile_missing", first, f"tile {level}/{index}, from entry {first}, is gone")

    def _differs(self, level: int, index: int, words: str) -> None:
        self._notes.add("tile_differs", _first_entry(level, index), f"tile {level}/{index} {words}")


class TileLookup:
    """Compares only the tiles that become full, each read by itself: for a resumed verification."""

    def __init__(self, reader: GuardedReader, log: int, notes: Notes, evidence: Evidence) -> None:
        self._reader = reader
        self._log = log
        self._notes = notes
        self._evidence = evidence

    def take(self, tiles: list[FullTile]) -> None:
        """See `TileWalk.take`."""
        for tile in tiles:
            data = self._reader.tile(self._log, tile.level, tile.index)
            first = _first_entry(tile.level, tile.index)
            place = f"tile {tile.level}/{tile.index}"
            if data is None:
                self._notes.add("tile_missing", first, f"{place}, from entry {first}, is gone")
            elif data != tile.data and tile.level:
                self._notes.add("tile_differs", first, f"{place} is not made of the tiles below it")
            elif data != tile.data:
                self._notes.add(*compare_hashes(data, tile, self._evidence))
            if tile.level == 0:
                self._evidence.tiles_until = first + TILE_WIDTH

    def finish(self, size_now: int, complete: bool) -> None:
        """Nothing is left: tiles that were not asked for are not looked at."""


def compare_hashes(data: object, tile: FullTile, evidence: Evidence) -> tuple[str, int, str]:
    """The finding for a level-0 tile whose data differ: names the first entry that they disown."""
    first = tile.index * TILE_WIDTH
    if type(data) is not bytes or len(data) != len(tile.data):
        return "tile_differs", first, f"tile 0/{tile.index} does not hold 256 hashes"
    differing = [
        first + at // HASH_BYTES
        for at in range(0, len(data), HASH_BYTES)
        if data[at : at + HASH_BYTES] != tile.data[at : at + HASH_BYTES]
    ]
    for index in differing:
        evidence.tile_disagrees(index)
    words = f"tile 0/{tile.index} holds another hash for entry {differing[0]}"
    if len(differing) > 1:
        words += f" and {len(differing) - 1} more of its 256"
    return "tile_differs", differing[0], words


def _first_entry(level: int, index: int) -> int:
    return index << 8 * (level + 1) if 0 <= level < 8 and index >= 0 else 0

"""From the log to pieces of the read model: leaves in blocks, blocks in pieces of bounded size."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from audit.errors import StoreCorrupt
from audit.replay.columnar.decode.block import read_block
from audit.replay.columnar.decode.known_schemas import KnownSchemas
from audit.replay.columnar.kept.gathering import BookOf, Gathering, Piece
from audit.store.contract import Reader

BLOCK_ENTRIES = 32_768
"""Leaves read at once: enough to make numpy's calls cheap, few enough for a processor's cache."""
BLOCK_BYTES = 16 * 1024 * 1024
PIECE_ENTRIES = 1 << 20
"""A piece with so many entries, or leaves of so many bytes together, is full: another begins."""
PIECE_BYTES = 512 * 1024 * 1024

Progress = Callable[[int, int], object]
"""Told now and then how many entries are done, of how many."""


class Built(NamedTuple):
    """A piece, and whether it is full: then it stays as it is when the log grows."""

    piece: Piece
    full: bool


def build(
    reader: Reader,
    log: int,
    start: int,
    stop: int,
    book_of: BookOf,
    progress: Progress | None = None,
) -> Iterator[Built]:
    """The pieces of the entries [start, stop) of a log, in order, each when it is ready.

    `book_of` is asked for the keys that a dataset had before a piece, when that piece ends. Memory
    holds one piece. Raises StoreCorrupt for a leaf that is none, or is missing.
    """
    schemas = KnownSchemas.before(reader, log, start)
    gathering, piece_bytes = Gathering(log, start), 0
    at = start
    for leaves in _blocks(reader, log, start, stop):
        block = read_block(leaves, log, at, schemas)
        at += len(leaves)
        gathering.take(block)
        piece_bytes += sum(map(len, leaves))
        if progress is not None:
            progress(at - start, stop - start)
        if gathering.entries >= PIECE_ENTRIES or piece_bytes >= PIECE_BYTES:
            yield Built(gathering.finish(book_of), True)
            gathering, piece_bytes = Gathering(log, at), 0
    if gathering.entries:
        yield Built(gathering.finish(book_of), False)


def _blocks(reader: Reader, log: int, start: int, stop: int) -> Iterator[list[bytes]]:
    """The leaves in lists; these end where a piece of PIECE_ENTRIES would end, too."""
    block: list[bytes] = []
    block_bytes = 0
    at = start
    for index, leaf in reader.leaves(log, start, stop):
        if index != at:
            raise StoreCorrupt(f"entry {log}/{at} is not in the store; run audit verify")
        if type(leaf) is not bytes:
            raise StoreCorrupt(f"entry {log}/{at} is no bytes; run audit verify")
        at += 1
        block.append(leaf)
        block_bytes += len(leaf)
        if len(block) >= BLOCK_ENTRIES or block_bytes >= BLOCK_BYTES:
            yield block
            block, block_bytes = [], 0
    if at != stop:
        raise StoreCorrupt(f"entry {log}/{at} is not in the store; run audit verify")
    if block:
        yield block

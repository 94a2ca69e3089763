"""Step: the tree heads that log 0 states of the other logs, kept for when those logs are walked.

A `ledger.heads` entry says how long each log was and what its root was then, and log 0 signs that:
so a log that is gone, shorter or another one shows, though its own checkpoints went with it. Log 0
is walked first. What it states goes to one temporary file for each log, 48 bytes a head, in order
of size, so that every head is compared with the entries and memory stays flat.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from audit.tlog.hashing import HASH_BYTES
from audit.verify.spilled import SpillFiles

MAX_STATED_LOGS = 10_000
"""Logs whose heads are followed; there are no more in a ledger that is checked."""
MAX_LATE_HEADS = 1_000
"""Heads of one log that are stated after a larger one; each is compared by hashes of its own."""
BUFFER_BYTES = 8 * 2**20
"""Heads held in memory before they are written to files."""

_HEAD = struct.Struct(f"<QQ{HASH_BYTES}s")
_READ_HEADS = 1_024


class Stated(NamedTuple):
    """A tree head that the entry `index` of log 0 states."""

    size: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    root: bytes


class _Kept:
    """What is kept of one log."""

    __slots__ = ("buffer", "late", "late_left_out", "name", "newest")

    def __init__(self, number: int) -> None:
        # Origins are any text: the file is called by its number in the order of first mention.
        self.name = f"{number}.heads"
        self.newest = Stated(-1, 0, b"")
        self.buffer = bytearray()
        self.late: list[Stated] = []
        self.late_left_out = 0


class StatedHeads(SpillFiles):
    """Heads by the origin of the log they are of. A context manager: files go at the end."""

    def __init__(self) -> None:
        super().__init__("48 bytes a stated head")
        self._logs: dict[str, _Kept] = {}
        self._buffered = 0

    def take(self, origin: str, stated: Stated) -> bool:
        """Keep a head; False when there are too many logs to follow. Raises Unavailable."""
        kept = self._logs.get(origin)
        if kept is None:
            if len(self._logs) >= MAX_STATED_LOGS:
                return False
            kept = self._logs[origin] = _Kept(len(self._logs))
        newest = kept.newest
        if stated.size < newest.size:
            # Two writers of heads at once: the slower one states what it saw before.
            if len(kept.late) < MAX_LATE_HEADS:
                kept.late.append(stated)
            else:
                kept.late_left_out += 1
        elif stated.size > newest.size or stated.root != newest.root:
            kept.newest = stated
            kept.buffer += _HEAD.pack(*stated)
            self._buffered += _HEAD.size
            if self._buffered >= BUFFER_BYTES:
                self._spill()
        return True

    def origins(self) -> dict[str, Stated]:
        """The newest head of each log, by origin."""
        return {origin: kept.newest for origin, kept in self._logs.items()}

    def of(self, origin: str) -> Iterator[Stated]:
        """The heads of a log in order of size; the late ones are not among them."""
        kept = self._logs.get(origin)
        if kept is None:
            return
        path = self.spilled(kept.name)
        if path is not None:
            with path.open("rb") as file:
                while block := file.read(_HEAD.size * _READ_HEADS):
                    yield from map(Stated._make, _HEAD.iter_unpack(block))
        yield from map(Stated._make, _HEAD.iter_unpack(bytes(kept.buffer)))

    def late(self, origin: str) -> tuple[list[Stated], int]:
        """Heads stated after a larger one, and how many more of them were not kept."""
        kept = self._logs.get(origin)
        return ([], 0) if kept is None else (kept.late, kept.late_left_out)

    def _spill(self) -> None:
        for kept in self._logs.values():
            if kept.buffer:
                self.spill(kept.name, kept.buffer)
                kept.buffer = bytearray()
        self._buffered = 0

"""Step: no event id twice, decided by spilling to disk and never by the store's indexes.

Every (source, event id) is hashed to 64 bits and written, with its place, into one of many buckets;
each bucket then fits into memory. Equal hashes are only candidates: whoever asks reads the entries
and compares the ids themselves.
"""

import heapq
from array import array
from collections.abc import Sequence

from audit.verify.spilled import SpillFiles

BUCKET_IDS = 500_000
"""Ids that one bucket may hold on average: about 50 MB while it is looked at."""

MAX_BUCKETS = 4_096
"""Buckets at most; two thousand million ids fit before buckets grow beyond BUCKET_IDS."""

BUFFER_IDS = 1_000_000
"""Ids held in memory before they are written to the buckets' files: 16 MB."""

MAX_REPEATS = 1_000
"""Repeats that are reported, those with the lowest places; comparing costs two reads each."""

_LOG_SHIFT = 48
_INDEX_MASK = (1 << _LOG_SHIFT) - 1


def place_of(log: int, index: int) -> int:
    """One number for a place in the ledger, below 2^63."""
    return log << _LOG_SHIFT | index


def split_place(place: int) -> tuple[int, int]:
    """(log, index) of a place."""
    return place >> _LOG_SHIFT, place & _INDEX_MASK


class SpilledIds(SpillFiles):
    """Hashes of ids with their places, in buckets. A context manager: files go at the end.

    `expected` is about how many will be added; a wrong guess costs time or memory, nothing else.
    """

    def __init__(self, expected: int) -> None:
        super().__init__("16 bytes an entry")
        buckets = 1
        while buckets * BUCKET_IDS < expected and buckets < MAX_BUCKETS:
            buckets *= 2
        self._mask = buckets - 1
        self._hashes = [array("q") for _ in range(buckets)]
        self._places = [array("q") for _ in range(buckets)]
        self._buffered = 0

    def add(self, hashes: Sequence[int], places: Sequence[int]) -> None:
        """Add hashes (signed 64-bit) with the place of each."""
        mask = self._mask
        if mask:
            for hash_, place in zip(hashes, places, strict=True):
                self._hashes[hash_ & mask].append(hash_)
                self._places[hash_ & mask].append(place)
        else:
            self._hashes[0].extend(hashes)
            self._places[0].extend(places)
        self._buffered += len(hashes)
        if self._buffered >= BUFFER_IDS:
            self._spill()

    def repeats(self) -> list[list[int]]:
        """Places with equal hashes, each list in order; at most MAX_REPEATS, the lowest first."""
        found: list[list[int]] = []
        for bucket in range(self._mask + 1):
            hashes = self._read(bucket, "hashes", self._hashes)
            if len(set(hashes)) < len(hashes):
                groups = _groups(hashes, self._read(bucket, "places", self._places))
                found = heapq.nsmallest(MAX_REPEATS, found + groups, _second)
        return found

    def _read(self, bucket: int, kind: str, buffers: "list[array[int]]") -> "array[int]":
        numbers = array("q")
        path = self.spilled(f"{bucket}.{kind}")
        if path is not None:
            numbers.frombytes(path.read_bytes())
        numbers.extend(buffers[bucket])
        return numbers

    def _spill(self) -> None:
        for kind, buffers in (("hashes", self._hashes), ("places", self._places)):
            for bucket, buffer in enumerate(buffers):
                if buffer:
                    self.spill(f"{bucket}.{kind}", buffer)
                    buffers[bucket] = array("q")
        self._buffered = 0


def _groups(hashes: "array[int]", places: "array[int]") -> list[list[int]]:
    first: dict[int, int] = {}
    repeated: dict[int, list[int]] = {}
    for hash_, place in zip(hashes, places, strict=True):
        if hash_ in first:
            repeated.setdefault(hash_, [first[hash_]]).append(place)
        else:
            first[hash_] = place
    return [sorted(group) for group in repeated.values()]


def _second(group: list[int]) -> int:
    return group[1]

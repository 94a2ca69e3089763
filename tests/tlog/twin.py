"""RFC 6962 section 2.1 word for word: slow, recursive, and right by looking at it."""

from collections.abc import Sequence
from hashlib import sha256


def mth(leaf_hashes: Sequence[bytes]) -> bytes:
    if not leaf_hashes:
        return sha256(b"").digest()
    if len(leaf_hashes) == 1:
        return leaf_hashes[0]
    k = split(len(leaf_hashes))
    return sha256(b"\x01" + mth(leaf_hashes[:k]) + mth(leaf_hashes[k:])).digest()


def path(m: int, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    if len(leaf_hashes) == 1:
        return []
    k = split(len(leaf_hashes))
    if m < k:
        return [*path(m, leaf_hashes[:k]), mth(leaf_hashes[k:])]
    return [*path(m - k, leaf_hashes[k:]), mth(leaf_hashes[:k])]


def subproof(m: int, leaf_hashes: Sequence[bytes], whole: bool = True) -> list[bytes]:
    if m == len(leaf_hashes):
        return [] if whole else [mth(leaf_hashes)]
    k = split(len(leaf_hashes))
    if m <= k:
        return [*subproof(m, leaf_hashes[:k], whole), mth(leaf_hashes[k:])]
    return [*subproof(m - k, leaf_hashes[k:], False), mth(leaf_hashes[:k])]


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


class Leaves:
    """The simplest hash source: every subtree hashed again from its leaves."""

    def __init__(self, leaf_hashes: Sequence[bytes]) -> None:
        self.leaf_hashes = leaf_hashes

    def node(self, level: int, index: int) -> bytes:
        begin, end = index << level, (index + 1) << level
        assert end <= len(self.leaf_hashes), "asked for a subtree that is not complete"
        return mth(self.leaf_hashes[begin:end])

"""Checking Merkle proofs (RFC 9162 sections 2.1.3.2 and 2.1.4.2); building them is `merkle`'s job.

A proof binds a leaf hash to a root, given index and size. It does not bind index and size by
themselves: take the size from a verified checkpoint and the index from the leaf.
"""

from collections.abc import Sequence
from hmac import compare_digest

from audit.errors import InvalidProof
from audit.tlog.hashing import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, node_hash


def root_from_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root (32 bytes) that `proof` leads to from leaf `index` of `size` leaves.

    `proof` is the sequence of 32-byte sibling hashes, the leaf's own sibling first. Raises
    InvalidProof for an index outside the tree, a proof that is too long or too short for this
    index and size, and a hash that is not 32 bytes long.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise InvalidProof(f"no proof can be for index {index} in a tree of size {size}")
    # The path runs `inner` levels inside complete subtrees, then up the tree's right border,
    # where only left siblings exist.
    inner = (index ^ (size - 1)).bit_length()
    border = (index >> inner).bit_count()
    _require_nodes(proof, inner + border)
    _require_hash(leaf_hash, "the leaf hash")
    root = leaf_hash
    for bit, sibling in enumerate(proof[:inner]):
        root = node_hash(sibling, root) if index >> bit & 1 else node_hash(root, sibling)
    for sibling in proof[inner:]:
        root = node_hash(sibling, root)
    return root


def verify_inclusion(
    leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf with `leaf_hash` is number `index` of the tree (size, root).

    Raises InvalidProof unless exactly this is proven.
    """
    _require_hash(root, "the root")
    if not compare_digest(root_from_inclusion(leaf_hash, index, size, proof), root):
        raise InvalidProof(f"the proof for index {index} does not lead to the root of size {size}")


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree (new_size, new_root) begins with the tree (old_size, old_root).

    For equal sizes the proof must be empty and the roots equal. Raises InvalidProof unless
    exactly this is proven; also for old_size 0 with a larger new_size, because every tree
    continues the empty one and nothing would have been checked.
    """
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise InvalidProof(f"a tree of size {new_size} cannot continue one of size {old_size}")
    _require_hash(old_root, "the old root")
    _require_hash(new_root, "the new root")
    if old_size == new_size:
        _require_nodes(proof, 0)
        if not compare_digest(old_root, new_root):
            raise InvalidProof(f"two different roots are given for size {old_size}")
        if old_size == 0 and old_root != EMPTY_ROOT:
            raise InvalidProof("the tree of size 0 has another root than this")
        return
    if old_size == 0:
        raise InvalidProof("consistency with the empty tree proves nothing")
    # Both trees share their complete subtrees along the right border of the old one. The walk
    # starts at the largest of them that ends where the old tree ends.
    skipped = (old_size & -old_size).bit_length() - 1
    inner = ((old_size - 1) ^ (new_size - 1)).bit_length() - skipped
    position = (old_size - 1) >> skipped
    border = (position >> inner).bit_count()
    # When that subtree is the whole old tree, its hash is the old root and is not repeated.
    seeded = position == 0
    _require_nodes(proof, inner + border + (0 if seeded else 1))
    old = new = old_root if seeded else proof[0]
    siblings = proof if seeded else proof[1:]
    for bit, sibling in enumerate(siblings[:inner]):
        if position >> bit & 1:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
        else:
            # A right sibling lies beyond the old tree.
            new = node_hash(new, sibling)
    for sibling in siblings[inner:]:
        old = node_hash(sibling, old)
        new = node_hash(sibling, new)
    if not compare_digest(old, old_root):
        raise InvalidProof(f"the proof does not lead to the root of the old size {old_size}")
    if not compare_digest(new, new_root):
        raise InvalidProof(f"the proof does not lead to the root of the new size {new_size}")


def _require_nodes(proof: Sequence[bytes], count: int) -> None:
    """Refuse a proof that has not exactly `count` hashes of 32 bytes."""
    if len(proof) != count:
        raise InvalidProof(f"the proof has {len(proof)} hashes, not {count}")
    for sibling in proof:
        _require_hash(sibling, "a hash of the proof")


def _require_hash(value: bytes, what: str) -> None:
    # Lengths are checked one by one: nodes cut differently hash to the same bytes together.
    if len(value) != HASH_BYTES:
        raise InvalidProof(f"{what} has {len(value)} bytes, not {HASH_BYTES}")

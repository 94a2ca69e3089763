"""The two hashes of a Merkle tree (RFC 6962 section 2.1, RFC 9162 section 2.1.1, SHA-256)."""

from hashlib import sha256

HASH_BYTES = 32
"""Length of every hash in this library: raw SHA-256, never hex or base64."""

MAX_SIZE = (1 << 63) - 1
"""Largest tree size; indexes stay below it. Both databases hold signed 64-bit integers."""

LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"

EMPTY_ROOT = sha256(b"").digest()
"""Root of the tree without leaves: SHA-256 of the empty string."""


def leaf_hash(data: bytes) -> bytes:
    """Return the 32-byte leaf hash SHA-256(0x00 || data) of a leaf's exact stored bytes."""
    return sha256(LEAF_PREFIX + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the 32-byte hash SHA-256(0x01 || left || right) of an inner node."""
    return sha256(NODE_PREFIX + left + right).digest()


def pair_hashes(nodes: list[bytes]) -> list[bytes]:
    """Return the parents of neighbouring nodes, two by two; an odd last node has none yet."""
    # The same as node_hash, without a call per hash: this line is where batches spend their time.
    hash_of, rest = sha256, iter(nodes)
    return [
        hash_of(b"\x01" + left + right).digest() for left, right in zip(rest, rest, strict=False)
    ]

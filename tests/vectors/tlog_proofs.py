"""Merkle proofs, good and bad, each named by what was done to it.

What a checker must answer is written down by hand, never computed by the code that is tested; the
nodes of the good proofs are spelled out as ranges of leaves.
"""

from audit.tlog.hashing import EMPTY_ROOT, node_hash
from tests.vectors.tlog_common import HASHES, Case, b64


def _mth(begin: int, end: int) -> bytes:
    """MTH(D[begin:end]) as RFC 6962 section 2.1 defines it, for paths written out by hand."""
    if end - begin == 1:
        return HASHES[begin]
    middle = begin + (1 << (end - begin - 1).bit_length() - 1)
    return node_hash(_mth(begin, middle), _mth(middle, end))


def _recut(proof: list[bytes]) -> list[tuple[str, list[bytes]]]:
    """The same bytes in other nodes, and other numbers of nodes: none of them is a proof."""
    first, second = proof[0], proof[1]
    rest, all_bytes = proof[2:], b"".join(proof)
    return [
        ("last byte of node 0 moved to node 1", [first[:-1], first[-1:] + second, *rest]),
        ("first byte of node 1 moved to node 0", [first + second[:1], second[1:], *rest]),
        ("nodes 0 and 1 joined", [first + second, *rest]),
        ("nodes 0 and 1 joined, node 1 empty", [first + second, b"", *rest]),
        ("node 0 cut into halves", [first[:16], first[16:], second, *rest]),
        ("all nodes joined", [all_bytes]),
        ("node 0 of 31 bytes", [first[:31], second, *rest]),
        ("node 0 of 33 bytes", [first + b"\0", second, *rest]),
        ("last node of 31 bytes", [*proof[:-1], proof[-1][:31]]),
        ("last node of 33 bytes", [*proof[:-1], proof[-1] + b"\0"]),
        ("node 0 empty", [b"", second, *rest]),
        ("first sibling missing", proof[1:]),
        ("last sibling missing", proof[:-1]),
        ("no siblings", []),
        ("extra sibling before", [bytes(32), *proof]),
        ("extra sibling after", [*proof, bytes(32)]),
        ("first sibling twice", [first, *proof]),
        ("last sibling twice", [*proof, proof[-1]]),
        ("an empty node after", [*proof, b""]),
        ("siblings 0 and 1 swapped", [second, first, *rest]),
        ("siblings reversed", proof[::-1]),
        ("a bit of sibling 0 flipped", [_flip(first), second, *rest]),
        ("a bit of the last sibling flipped", [*proof[:-1], _flip(proof[-1])]),
    ]


def _flip(data: bytes) -> bytes:
    return bytes([data[0] ^ 16]) + data[1:]


def inclusion() -> list[Case]:
    # Leaf 4 of 7: sibling leaf 5, then leaf 6 alone at the border, then leaves 0 to 3.
    proof = [HASHES[5], HASHES[6], _mth(0, 4)]
    leaf, root = HASHES[4], _mth(0, 7)

    def case(name: str, error: bool, *, leaf: bytes = leaf, index: int = 4, size: int = 7,
             proof: list[bytes] = proof, root: bytes = root) -> Case:  # fmt: skip
        return {
            "name": name, "leaf_hash": b64(leaf), "index": index, "size": size,
            "proof": [b64(node) for node in proof], "root": b64(root),
            "error": "InvalidProof" if error else None,
        }  # fmt: skip

    eighth = [HASHES[1], _mth(2, 4), _mth(4, 8)]
    joined = leaf + proof[0]
    return [
        case("leaf 4 of 7", False),
        case("leaf 6 of 7", False, leaf=HASHES[6], index=6, proof=[_mth(4, 6), _mth(0, 4)]),
        case("leaf 0 of 8", False, leaf=HASHES[0], index=0, size=8, proof=eighth, root=_mth(0, 8)),
        case("leaf 0 of 1", False, leaf=HASHES[0], index=0, size=1, proof=[], root=HASHES[0]),
        case("leaf 256 of 300", False, leaf=HASHES[256], index=256, size=300,
             proof=[HASHES[257], _mth(258, 260), _mth(260, 264), _mth(264, 272), _mth(272, 288),
                    _mth(288, 300), _mth(0, 256)], root=_mth(0, 300)),
        # A proof binds neither index nor size: this is why the size comes from a checkpoint.
        case("size is not bound: leaf 0 of 8 passes as leaf 0 of 7", False, leaf=HASHES[0], index=0,
             proof=eighth, root=_mth(0, 8)),
        # Nor does a leaf hash say that it is one: this is why it is computed from the leaf.
        case("size is not bound: an inner node passes as a leaf of a smaller tree", False,
             leaf=_mth(4, 6), index=2, size=4, proof=[HASHES[6], _mth(0, 4)]),
        *(case(name, True, proof=nodes) for name, nodes in _recut(proof)),
        case("byte of the leaf hash moved to node 0", True, leaf=joined[:31],
             proof=[joined[31:], *proof[1:]]),
        case("leaf hash of 31 bytes", True, leaf=leaf[:31]),
        case("leaf hash of 33 bytes", True, leaf=leaf + b"\0"),
        case("leaf hash empty", True, leaf=b""),
        case("root of 31 bytes", True, root=root[:31]),
        case("root of 33 bytes", True, root=root + b"\0"),
        case("root empty", True, root=b""),
        case("root of the empty tree", True, root=EMPTY_ROOT),
        case("root of another size", True, root=_mth(0, 8)),
        case("an inner node as a leaf", True, leaf=_mth(4, 6), proof=[HASHES[6], _mth(0, 4)]),
        case("another leaf", True, leaf=HASHES[3]),
        case("index+1", True, index=5),
        case("index-1", True, index=3),
        case("index^2", True, index=6),
        case("index is size", True, index=7),
        case("index beyond size", True, index=1 << 40),
        case("index negative", True, index=-1),
        case("size+1 at the border", True, leaf=HASHES[6], index=6, size=8,
             proof=[_mth(4, 6), _mth(0, 4)]),
        case("size-1", True, size=6),
        case("size*2", True, size=14),
        case("size/2", True, size=3),
        case("size 0", True, size=0),
        case("size negative", True, size=-7),
        case("size of a billion", True, size=10**9),
        case("size 2^63", True, size=1 << 63),
        case("size 2^64+7", True, size=(1 << 64) + 7),
        case("size 0 and root of the empty tree", True, index=0, size=0, proof=[], root=EMPTY_ROOT),
    ]  # fmt: skip


def consistency() -> list[Case]:
    # From 6 to 7 the old tree ends with the subtree of leaves 4 and 5.
    proof = [_mth(4, 6), HASHES[6], _mth(0, 4)]
    old_root, root = _mth(0, 6), _mth(0, 7)

    def case(name: str, error: bool, *, old_size: int = 6, old_root: bytes = old_root,
             size: int = 7, root: bytes = root, proof: list[bytes] = proof) -> Case:  # fmt: skip
        return {
            "name": name, "old_size": old_size, "old_root": b64(old_root), "size": size,
            "root": b64(root), "proof": [b64(node) for node in proof],
            "error": "InvalidProof" if error else None,
        }  # fmt: skip

    seven = [HASHES[6], HASHES[7], _mth(4, 6), _mth(0, 4)]
    pair = seven[0] + seven[1]
    return [
        case("6 to 7", False),
        case("7 to 8", False, old_size=7, old_root=root, size=8, root=_mth(0, 8), proof=seven),
        case("4 to 7", False, old_size=4, old_root=_mth(0, 4), proof=[_mth(4, 7)]),
        case("1 to 8", False, old_size=1, old_root=HASHES[0], size=8, root=_mth(0, 8),
             proof=[HASHES[1], _mth(2, 4), _mth(4, 8)]),
        case("7 to 7", False, old_size=7, old_root=root, proof=[]),
        case("255 to 257", False, old_size=255, old_root=_mth(0, 255), size=257, root=_mth(0, 257),
             proof=[HASHES[254], HASHES[255], *(_mth(256 - 2 * w, 256 - w) for w in
                    (2, 4, 8, 16, 32, 64, 128)), HASHES[256]]),
        # As with inclusion, the sizes must come from checkpoints.
        case("size is not bound: 6 to 7 passes as 6 to 8", False, size=8),
        *(case(name, True, proof=nodes) for name, nodes in _recut(proof)),
        # Both folds hash these two nodes as one string, so their cut must be checked.
        case("7 to 8, byte moved from node 0 to node 1", True, old_size=7, old_root=root, size=8,
             root=_mth(0, 8), proof=[pair[:31], pair[31:], *seven[2:]]),
        case("7 to 8, byte moved from node 1 to node 0", True, old_size=7, old_root=root, size=8,
             root=_mth(0, 8), proof=[pair[:33], pair[33:], *seven[2:]]),
        case("roots swapped", True, old_root=root, root=old_root),
        case("sizes swapped", True, old_size=7, size=6),
        case("roots and sizes swapped", True, old_size=7, old_root=root, size=6, root=old_root),
        case("old root of 31 bytes", True, old_root=old_root[:31]),
        case("old root of 33 bytes", True, old_root=old_root + b"\0"),
        case("new root of 31 bytes", True, root=root[:31]),
        case("new root of 33 bytes", True, root=root + b"\0"),
        case("a bit of the old root flipped", True, old_root=_flip(old_root)),
        case("a bit of the new root flipped", True, root=_flip(root)),
        case("old size+1", True, old_size=7),
        case("old size-1", True, old_size=5),
        case("old size 0", True, old_size=0, old_root=EMPTY_ROOT),
        case("old size 0 without siblings", True, old_size=0, old_root=EMPTY_ROOT, proof=[]),
        case("old size negative", True, old_size=-6),
        case("new size*2", True, size=14),
        case("new size is the old", True, size=6),
        case("new size of a billion", True, size=10**9),
        case("new size 2^63", True, size=1 << 63),
        case("one size and two roots", True, old_size=7, proof=[]),
        case("one size, one root and a sibling", True, old_size=7, old_root=root, proof=[root]),
        case("one size and roots of 31 bytes", True, old_size=7, old_root=root[:31],
             root=root[:31], proof=[]),
    ]  # fmt: skip

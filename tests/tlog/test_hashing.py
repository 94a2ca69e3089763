"""The hashes against the numbers that RFC 6962 implementations share."""

import pytest

from audit.tlog.hashing import EMPTY_ROOT, leaf_hash, node_hash, pair_hashes
from audit.tlog.merkle import root_of

# The leaves of certificate transparency's reference tree, and the first bytes of its roots.
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
CT_ROOTS = [
    "6e340b9c", "fac54203", "aeb6bcfe", "d37ee418", "4e3bbb1f", "76e67dad", "ddb89be4", "5dc9da79",
]  # fmt: skip


def test_empty_root():
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root_of([]) == EMPTY_ROOT


@pytest.mark.parametrize("size", range(1, 9))
def test_certificate_transparency_roots(size):
    assert (
        root_of([leaf_hash(leaf) for leaf in CT_LEAVES[:size]]).hex().startswith(CT_ROOTS[size - 1])
    )


def test_a_leaf_is_no_node():
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != node_hash(left, right)
    assert node_hash(left, right) != node_hash(right, left)


@pytest.mark.parametrize("count", range(6))
def test_pair_hashes_is_node_hash_of_neighbours(count):
    nodes = [leaf_hash(bytes([i])) for i in range(count)]
    pairs = zip(nodes[::2], nodes[1::2], strict=False)
    assert pair_hashes(nodes) == [node_hash(left, right) for left, right in pairs]

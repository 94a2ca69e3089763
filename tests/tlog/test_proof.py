"""Checking proofs: golden vectors, and no changed proof passes."""

from base64 import b64decode

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from audit import errors
from audit.errors import AuditError, InvalidProof
from audit.tlog.hashing import EMPTY_ROOT, MAX_SIZE, leaf_hash
from audit.tlog.merkle import consistency_proof, inclusion_proof, tree_root
from audit.tlog.proof import root_from_inclusion, verify_consistency, verify_inclusion
from tests.tlog.twin import Leaves
from tests.tlog.vectors import cases, hashes

HASHES = [leaf_hash(b"%d" % i) for i in range(70)]
SOURCE = Leaves(HASHES)
ROOTS = [tree_root(SOURCE, size) for size in range(71)]


@pytest.mark.parametrize("case", cases("inclusion"))
def test_inclusion_vectors(case):
    arguments = (
        b64decode(case["leaf_hash"]), case["index"], case["size"], hashes(case["proof"]),
        b64decode(case["root"]),
    )  # fmt: skip
    if case["error"] is None:
        verify_inclusion(*arguments)
        assert root_from_inclusion(*arguments[:4]) == arguments[4]
    else:
        with pytest.raises(getattr(errors, case["error"])):
            verify_inclusion(*arguments)


@pytest.mark.parametrize("case", cases("consistency"))
def test_consistency_vectors(case):
    arguments = (
        case["old_size"], b64decode(case["old_root"]), case["size"], b64decode(case["root"]),
        hashes(case["proof"]),
    )  # fmt: skip
    if case["error"] is None:
        verify_consistency(*arguments)
    else:
        with pytest.raises(getattr(errors, case["error"])):
            verify_consistency(*arguments)


def changed_proofs(proof):
    """Every proof that is one small step away."""
    for i, node in enumerate(proof):
        yield proof[:i] + proof[i + 1 :]
        yield [*proof[:i], node, *proof[i:]]
        yield [*proof[:i], bytes([node[0] ^ 1]) + node[1:], *proof[i + 1 :]]
        yield [*proof[:i], node[:-1], *proof[i + 1 :]]
        if i + 1 < len(proof):
            yield [*proof[:i], node[:-1], node[-1:] + proof[i + 1], *proof[i + 2 :]]
            yield [*proof[:i], node + proof[i + 1][:1], proof[i + 1][1:], *proof[i + 2 :]]
            yield [*proof[:i], proof[i + 1], node, *proof[i + 2 :]]
    yield [*proof, bytes(32)]
    yield [bytes(32), *proof]


@pytest.mark.parametrize("size", range(1, 20))
def test_no_changed_inclusion_proof_passes(size):
    for index in range(size):
        proof = inclusion_proof(SOURCE, index, size)
        for other in changed_proofs(proof):
            with pytest.raises(InvalidProof):
                verify_inclusion(HASHES[index], index, size, other, ROOTS[size])
        for other in set(range(-1, size + 2)) - {index}:
            with pytest.raises(InvalidProof):
                verify_inclusion(HASHES[index], other, size, proof, ROOTS[size])


@pytest.mark.parametrize("size", range(1, 20))
def test_no_changed_consistency_proof_passes(size):
    for old_size in range(1, size + 1):
        proof = consistency_proof(SOURCE, old_size, size)
        for other in changed_proofs(proof):
            with pytest.raises(InvalidProof):
                verify_consistency(old_size, ROOTS[old_size], size, ROOTS[size], other)
        for other in set(range(-1, size + 2)) - {old_size}:
            with pytest.raises(InvalidProof):
                verify_consistency(other, ROOTS[old_size], size, ROOTS[size], proof)


@pytest.mark.parametrize("size", [0, 1, 7])
def test_one_size_has_one_root(size):
    verify_consistency(size, ROOTS[size], size, ROOTS[size], [])
    with pytest.raises(InvalidProof, match="two different roots"):
        verify_consistency(size, ROOTS[size], size, ROOTS[size + 1], [])


def test_the_empty_tree_proves_nothing():
    with pytest.raises(InvalidProof, match="the tree of size 0"):
        verify_consistency(0, ROOTS[1], 0, ROOTS[1], [])
    with pytest.raises(InvalidProof, match="proves nothing"):
        verify_consistency(0, EMPTY_ROOT, 5, ROOTS[5], [])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((HASHES[0], 5, 5, [], ROOTS[5]), "no proof can be for index 5"),
        ((HASHES[0], 0, 5, [], ROOTS[5]), "has 0 hashes, not 3"),
        ((HASHES[0], 0, 1, [], b""), "the root has 0 bytes"),
        ((b"", 0, 1, [], ROOTS[1]), "the leaf hash has 0 bytes"),
        ((HASHES[0], 0, 2, [b""], ROOTS[2]), "a hash of the proof has 0 bytes"),
        ((HASHES[0], 0, 2, [HASHES[2]], ROOTS[2]), "does not lead to the root of size 2"),
    ],
)
def test_the_reason_is_said(arguments, says):
    with pytest.raises(InvalidProof, match=says):
        verify_inclusion(*arguments)


NODES = st.lists(st.sampled_from(HASHES[:4]) | st.binary(max_size=70), max_size=66)
NUMBERS = st.integers(0, 10) | st.integers(-1, MAX_SIZE + 1) | st.integers()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), NUMBERS, NUMBERS, NODES, st.binary(max_size=40))
def test_arbitrary_proofs_are_refused(leaf, number, size, proof, root):
    assume(not (size == number + 1 == 1 and leaf == root))
    assume(not (number == size and leaf == root and not proof))
    with pytest.raises(InvalidProof):
        verify_inclusion(leaf, number, size, proof, root)
    with pytest.raises(AuditError):
        verify_consistency(number, leaf, size, root, proof)


@pytest.mark.parametrize("size", [10**9, MAX_SIZE])
def test_the_largest_proofs(size):
    """A proof over made-up siblings leads somewhere, and only with the right number of them."""
    index = size - 1
    proof = [HASHES[0]] * index.bit_count()
    root = root_from_inclusion(HASHES[1], index, size, proof)
    verify_inclusion(HASHES[1], index, size, proof, root)
    with pytest.raises(InvalidProof, match="hashes, not"):
        root_from_inclusion(HASHES[1], index, size, proof * 1000)

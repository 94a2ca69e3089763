"""Trees and proofs against golang.org/x/mod/sumdb/tlog and transparency-dev/merkle."""

from base64 import b64decode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import InvalidProof
from audit.tlog.hashing import leaf_hash
from audit.tlog.merkle import TreeEdge, consistency_proof, inclusion_proof, tree_root
from audit.tlog.proof import verify_consistency, verify_inclusion
from audit.tlog.tiles import TileHashes
from tests.tlog.vectors import cases, hashes

LEAVES = [b"leaf %d" % i for i in range(700)]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]
many = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def source_of(size):
    edge, tiles = TreeEdge.empty().extend(HASHES[:size])
    data = {(tile.level, tile.index): tile.data for tile in tiles}

    def read(level, index, width):
        return data[level, index] if width == 256 else b"".join(edge.levels[level])

    return TileHashes(size, read)


@pytest.mark.parametrize("size", [*range(1, 34), 70, 255, 256, 257, 513, 700])
def test_they_build_the_same_tree_and_proofs(go_peer, size):
    source = source_of(size)
    positions = range(size) if size < 34 else {0, 1, size // 2, 255 % size, size - 2, size - 1}
    for index in positions:
        answer = go_peer.ask("tree", leaves=LEAVES[:size], index=index, old=index + 1)
        assert b64decode(answer["root"]) == tree_root(source, size)
        assert hashes(answer["inclusion"]) == inclusion_proof(source, index, size)
        assert hashes(answer["consistency"]) == consistency_proof(source, index + 1, size)


def passes(check, *arguments):
    try:
        check(*arguments)
    except InvalidProof:
        return False
    return True


def changed(proof, draw):
    """The proof with up to two changes that keep every node 32 bytes long."""
    proof = list(proof)
    for _ in range(draw(st.integers(0, 2))):
        position = draw(st.integers(0, len(proof)))
        other = draw(st.sampled_from([*HASHES[:3], *proof]))
        match draw(st.sampled_from(["insert", "remove", "replace", "cut", "swap"])):
            case "insert":
                proof.insert(position, other)
            case "remove":
                del proof[position : position + 1]
            case "replace":
                proof[position : position + 1] = [other]
            case "cut":
                del proof[position:]
            case "swap":
                proof[position : position + 2] = proof[position : position + 2][::-1]
    return proof


SIZES = st.integers(1, 70) | st.sampled_from([255, 256, 257, 512, 700])
NEAR = st.sampled_from([0, 0, 0, 0, 1, -1, 2, 1 << 40])


@many
@given(SIZES, st.data())
def test_verdicts_on_inclusion(go_peer, size, data):
    source, index = source_of(size), data.draw(st.integers(0, size - 1))
    proof = changed(inclusion_proof(source, index, size), data.draw)
    leaf = HASHES[max(0, index + data.draw(st.sampled_from([0, 0, 0, 1, -1])))]
    root = tree_root(source, data.draw(st.sampled_from([size, size, size, size - 1])))
    index, claimed = max(0, index + data.draw(NEAR)), max(0, size + data.draw(NEAR))
    answer = go_peer.ask(
        "verify_inclusion", index=index, size=claimed, leaf=leaf, proof=proof, root=root
    )
    ours = passes(verify_inclusion, leaf, index, claimed, proof, root)
    assert ours == ("error" not in answer)


@many
@given(SIZES, st.data())
def test_verdicts_on_consistency(go_peer, size, data):
    source, old_size = source_of(size), data.draw(st.integers(1, size))
    proof = changed(consistency_proof(source, old_size, size), data.draw)
    old_root = tree_root(source, data.draw(st.sampled_from([old_size, old_size, old_size, 0])))
    root = tree_root(source, data.draw(st.sampled_from([size, size, size, size - 1])))
    # From size 0 that release passes an empty proof, later ones refuse as ours does.
    claimed_old = max(1, old_size + data.draw(NEAR))
    claimed = max(1, size + data.draw(NEAR))
    answer = go_peer.ask(
        "verify_consistency", old=claimed_old, size=claimed, old_root=old_root, root=root,
        proof=proof,
    )  # fmt: skip
    ours = passes(verify_consistency, claimed_old, old_root, claimed, root, proof)
    assert ours == ("error" not in answer)


def fits_go(case):
    """Its numbers are unsigned and of 64 bits, and it does not check the lengths of nodes."""
    numbers = [case["size"], case.get("index", 1), case.get("old_size", 1)]
    data = [
        *case["proof"],
        *(case[name] for name in ("root", "leaf_hash", "old_root") if name in case),
    ]
    return (
        all(0 <= number < 2**63 for number in numbers)
        and case.get("old_size") != 0
        and all(len(item) == 32 for item in hashes(data))
    )  # fmt: skip


@pytest.mark.parametrize("name", ["inclusion", "consistency"])
def test_they_judge_our_vectors_alike(go_peer, name):
    judged = [parameter.values[0] for parameter in cases(name) if fits_go(parameter.values[0])]
    assert len(judged) > 20
    for case in judged:
        answer = go_peer.ask(
            f"verify_{name}",
            index=case.get("index", 0),
            old=case.get("old_size", 0),
            size=case["size"],
            leaf=b64decode(case.get("leaf_hash", "")),
            old_root=b64decode(case.get("old_root", "")),
            root=b64decode(case["root"]),
            proof=hashes(case["proof"]),
        )
        assert ("error" in answer) == (case["error"] is not None), case["name"]

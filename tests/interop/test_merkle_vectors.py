"""The public proof vectors of transparency-dev/merkle, read where they are, never copied."""

import json
from base64 import b64decode

from audit.errors import InvalidProof
from audit.tlog.proof import verify_consistency, verify_inclusion

# That checker never looks at the length of a root; these "roots" have 12 bytes. Ours is stricter.
STRICTER = ["additional/sizes-are-equal-one-and-proof-is-empty.json"]


def read(folder):
    paths = sorted(folder.rglob("*.json"))
    assert len(paths) > 50, "the folder holds the vectors"
    for path in paths:
        yield str(path.relative_to(folder)), json.loads(path.read_text())


def data(text):
    return b64decode(text or "")


def passes(check, *arguments):
    try:
        check(*arguments)
    except InvalidProof:
        return False
    return True


def test_inclusion(merkle_vectors):
    wrong = [
        name
        for name, case in read(merkle_vectors / "inclusion")
        if passes(
            verify_inclusion,
            data(case["leafHash"]),
            case["leafIdx"],
            case["treeSize"],
            [data(node) for node in case["proof"] or []],
            data(case["root"]),
        )
        == case["wantErr"]
    ]
    assert wrong == []


def test_consistency(merkle_vectors):
    wrong = [
        name
        for name, case in read(merkle_vectors / "consistency")
        if passes(
            verify_consistency,
            case["size1"],
            data(case["root1"]),
            case["size2"],
            data(case["root2"]),
            [data(node) for node in case["proof"] or []],
        )
        == case["wantErr"]
    ]
    assert wrong == STRICTER

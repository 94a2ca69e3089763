"""The golden vectors are what their script writes, and the trees in them are right."""

from base64 import b64decode

import pytest

from audit.tlog.hashing import leaf_hash
from audit.tlog.merkle import TreeEdge
from audit.tlog.tiles import parse_tile_path
from tests.tlog.twin import mth
from tests.tlog.vectors import FOLDER, cases
from tests.vectors.make_tlog_vectors import main


def test_the_script_writes_the_same_bytes(tmp_path):
    main(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {path.name: path.read_bytes() for path in FOLDER.iterdir()}


@pytest.mark.parametrize("case", cases("trees"))
def test_tree_vectors(case):
    if "root" in case:
        hashes = [leaf_hash(b"leaf %d" % i) for i in range(case["size"])]
        edge, _ = TreeEdge.empty().extend(hashes)
        assert edge.root() == mth(hashes) == b64decode(case["root"])
    else:
        assert parse_tile_path(case["name"]) == (case["level"], case["index"], case["width"])

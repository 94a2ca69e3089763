"""Rows that move: what goes and what comes between, against lists."""

import random

import numpy as np
import pytest

from audit.replay.columnar.scatter import moves, ranked_below


@pytest.mark.parametrize("seed", range(60))
def test_moves_are_those_of_a_list(seed: int) -> None:
    drawn = random.Random(seed)
    count = drawn.randrange(1, 12)
    rows = list(range(count))
    gone = sorted(drawn.sample(rows, drawn.randrange(0, count + 1)))
    before = sorted(drawn.choices(range(count + 1), k=drawn.randrange(0, 6)))
    expected: list[int | None] = []
    for row in range(count + 1):
        expected += [None] * before.count(row)
        if row < count and row not in gone:
            expected.append(row)
    moved = moves(count, np.array(gone, np.intp), np.array(before, np.intp))
    assert len(moved.source) == len(expected)
    assert moved.new_at.tolist() == [at for at, row in enumerate(expected) if row is None]
    for at, row in enumerate(expected):
        if row is not None:
            assert moved.source[at] == row
            assert row + moved.shift[row] == at
    # Where a new row stands anything may be named, but a row.
    assert all(-count <= row < count for row in moved.source.tolist())


@pytest.mark.parametrize("wanted_count", [1, 40])
def test_ranks_are_found_one_by_one_as_all_at_once(wanted_count: int) -> None:
    random = np.random.default_rng(5)
    for count in (0, 1, 2, 63, 64, 300):
        rank = random.permutation(400).astype(np.int32)
        codes = np.argsort(rank)[np.sort(random.permutation(400)[:count])].astype(np.int32)
        wanted = np.sort(random.integers(-2, 403, wanted_count)).astype(np.int32)
        found = ranked_below(rank, codes, wanted)
        assert found.tolist() == [int((rank[codes] < one).sum()) for one in wanted]

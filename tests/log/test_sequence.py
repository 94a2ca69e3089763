"""The append step: pure, the same in any cut, and checked when others appended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import StoreCorrupt
from audit.log.entry import Kind, decode_entry
from audit.log.sequence import Draft, append, empty_head, follow
from audit.tlog.merkle import root_of

NOW_US = 1_000


def drafts(count: int) -> list[Draft]:
    return [Draft(Kind.EVENT, None, None, None, None, b"%d" % n) for n in range(count)]


@given(st.lists(st.integers(0, 300), max_size=5))
def test_any_cut_gives_the_same_log(cuts: list[int]) -> None:
    batch = drafts(sum(cuts))
    whole = append(empty_head(), batch, NOW_US)
    head, sealed, tiles = empty_head(), [], []
    for cut in cuts:
        step = append(head, batch[len(sealed) : len(sealed) + cut], NOW_US)
        head = step.head
        sealed += step.sealed
        tiles += step.tiles
    assert (sealed, head) == (whole.sealed, whole.head)
    assert sorted(tiles) == sorted(whole.tiles)
    assert head.edge.root() == root_of([entry.leaf_hash for entry in sealed])


def test_an_empty_batch_changes_nothing() -> None:
    head = append(empty_head(), drafts(3), NOW_US).head
    assert append(head, [], 10**18) == ([], head, [])


def test_time_never_stands_still() -> None:
    step = append(empty_head(), drafts(3), NOW_US)
    more = append(step.head, drafts(2), NOW_US - 500)
    later = append(more.head, drafts(1), NOW_US + 500)
    times = [entry.recorded_time_us for s in (step, more, later) for entry in s.sealed]
    assert times == [1_000, 1_001, 1_002, 1_003, 1_004, 1_500]


@pytest.mark.parametrize("cut", [0, 1, 255, 256, 300])
def test_following_others_gives_their_head(cut: int) -> None:
    whole = append(empty_head(), drafts(300), NOW_US)
    start = append(empty_head(), drafts(cut), NOW_US).head
    assert follow(start, [entry.leaf for entry in whole.sealed[cut:]]) == whole.head


def test_following_stops_at_what_does_not_continue() -> None:
    whole = append(empty_head(), drafts(4), NOW_US)
    leaves = [entry.leaf for entry in whole.sealed]
    other = append(empty_head(), drafts(9)[5:], NOW_US)
    with pytest.raises(StoreCorrupt, match="index 1 says it is 2"):
        follow(empty_head(), [leaves[0], leaves[2]])
    with pytest.raises(StoreCorrupt, match="index 1 does not continue the hash chain"):
        follow(empty_head(), [leaves[0], other.sealed[1].leaf])
    backwards = append(whole.head._replace(recorded_time_us=0), drafts(1), 5)
    with pytest.raises(StoreCorrupt, match="runs backwards at index 4"):
        follow(whole.head, [backwards.sealed[0].leaf])
    assert decode_entry(backwards.sealed[0].leaf).prev_hash == whole.head.last_hash

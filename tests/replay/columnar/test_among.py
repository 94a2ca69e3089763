"""The keys that were touched between two cuts, from the read model: the difference of all rows."""

from itertools import islice, permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import audit.replay.diff
from audit.replay.columnar.fold import differ, folded, held
from audit.replay.columnar.fold.among import pair
from audit.replay.columnar.fold.fast import FastReplay
from audit.replay.diff import compared, diff
from audit.replay.fastpath import FastPath, attach
from audit.replay.points import Cut
from audit.replay.rows import same_value
from audit.replay.steps import Steps
from tests.backends import SqliteBackend
from tests.replay.columnar.compare import same_rows
from tests.replay.columnar.slow_parts import SlowSource
from tests.replay.columnar.test_fold_random import Talker, operation
from tests.replay.conftest import START_US, LedgerInTest, open_columns


@pytest.mark.parametrize(("logs", "care"), [(1, False), (1, True), (2, False), (2, True)])
@settings(
    max_examples=6,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    operations=st.lists(operation, min_size=2, max_size=24),
    apart=st.booleans(),
    step=st.integers(1, 12),
    min_events=st.integers(1, 8),
    built=st.booleans(),
    valid=st.sampled_from((None, START_US + 3, START_US + 20_000_000_000)),
)
def test_a_fast_difference_is_the_plain_one(
    logs: int,
    care: bool,
    operations: list[dict[str, Any]],
    apart: bool,
    step: int,
    min_events: int,
    built: bool,
    valid: int | None,
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        ledger = LedgerInTest(SqliteBackend(Path(folder)))
        if logs == 2:
            ledger.open_log(1)
        with ledger.store:
            talker = Talker(ledger, logs, apart, care)
            for number, said in enumerate(operations):
                talker.say(number, said)
            if "thing" not in {
                name for log in range(logs) for name in ledger.store.entity_types(log)
            }:
                return
            source: Any = (
                open_columns(ledger.store, Path(folder) / "columns")
                if built
                else SlowSource(ledger.store, "thing", step, False)
            )
            patch.setattr(audit.replay.diff, "FAST_DIFF_ENTRIES", 0)
            patch.setattr(differ, "FIRST_ROWS", 1)
            patch.setattr(differ, "GROWTH", step % 2 + 1)
            patch.setattr(folded, "SOME_ROWS", step % 3)
            patch.setattr(held, "MAX_ANSWERS", 100)
            path = FastPath(lambda: source, from_entries=0)
            path.replay().snapshots._min_events = min_events
            heads = [ledger.store.size(log) for log in range(logs)]
            sizes = [[n // 2 for n in heads], [max(0, heads[0] - 2), *heads[1:]], heads]
            if logs == 2:
                sizes.append([heads[0] // 3, heads[1]])
            cuts = [Cut(dict(enumerate(one)), None, (), False, "", None) for one in sizes]
            pairs = list(permutations(cuts, 2))[::logs]
            plain = [list(diff(ledger.store, "thing", *two, valid, valid)) for two in pairs]
            attach(ledger.store, path)
            for cut in cuts:
                ledger.rows(cut, entity="thing")  # makes the snapshots that are due
            for two, right in zip(pairs, plain, strict=True):
                found = compared(ledger.store, "thing", *two, valid, valid).differences
                assert care or found is not None
                if found is not None:
                    same_changes(list(islice(found.changes(), 2)), right[:2])
                    again = compared(ledger.store, "thing", *two, valid, valid).differences
                    assert again is found
                    same_changes(list(found.changes()), right)
                    same_changes(list(found.whole().changes()), right)


def same_changes(mine: list[Any], right: list[Any]) -> None:
    """The same rows, with what differs, in the same order of everything."""
    assert [c.kind for c in mine] == [c.kind for c in right]
    for side in ("before", "after"):
        rows = [[(c.entity_key, getattr(c, side) or {}) for c in found] for found in (mine, right)]
        same_rows(*rows)
    for one, other in zip(mine, right, strict=True):
        assert (one.before is None) == (other.before is None)
        assert list(one.fields) == list(other.fields)
        for name, cells in one.fields.items():
            assert all(map(same_value, cells, other.fields[name])), (name, one, other)


def test_only_what_was_touched_is_folded(ledger: LedgerInTest, tmp_path: Path) -> None:
    for number in range(50):
        ledger.emit("create", f"k{number:02}", {"n": number})
    first = ledger.cut()
    ledger.emit("update", "k07", {"n": -7})
    ledger.emit("delete", "k09")
    ledger.emit("create", "new", {"n": 0})
    fast = FastReplay(open_columns(ledger.store, tmp_path / "own"), 8)
    last = ledger.cut()
    assert fast.dataset(Steps(ledger.store, "user", last)) is not None
    found = pair(fast, Steps(ledger.store, "user", first), Steps(ledger.store, "user", last))
    assert found is not None
    assert [list(one.rows()) for one in found] == [
        [("k07", {"n": 7}), ("k09", {"n": 9})],
        [("k07", {"n": -7}), ("new", {"n": 0})],
    ]


def test_a_truncate_between_is_left_to_the_plain_difference(
    ledger: LedgerInTest, tmp_path: Path
) -> None:
    ledger.emit("create", "a", {"n": 1})
    first = ledger.cut()
    ledger.emit("truncate", None)
    fast = FastReplay(open_columns(ledger.store, tmp_path / "own"))
    assert (
        pair(fast, Steps(ledger.store, "user", first), Steps(ledger.store, "user", ledger.cut()))
        is None
    )

"""The keys that were touched between two cuts, from the read model: the difference of all rows."""

from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from audit.replay import fastpath
from audit.replay.columnar.among import pair
from audit.replay.columnar.fast import FastReplay
from audit.replay.diff import diff
from audit.replay.fastpath import FastPath, attach
from audit.replay.points import Cut
from audit.replay.steps import Steps
from tests.backends import SqliteBackend
from tests.replay.columnar.compare import same_rows
from tests.replay.columnar.slow_parts import SlowSource
from tests.replay.columnar.test_fold_random import Talker, operation
from tests.replay.conftest import LedgerInTest, open_columns


@pytest.mark.parametrize("care", [False, True])
@settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    operations=st.lists(operation, min_size=2, max_size=24),
    step=st.integers(1, 12),
    min_events=st.integers(1, 8),
    built=st.booleans(),
)
def test_a_fast_difference_is_the_plain_one(
    care: bool, operations: list[dict[str, Any]], step: int, min_events: int, built: bool
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        ledger = LedgerInTest(SqliteBackend(Path(folder)))
        with ledger.store:
            talker = Talker(ledger, 1, False, care)
            for number, said in enumerate(operations):
                talker.say(number, said)
            if ledger.store.entity_types(0).count("thing") == 0:
                return
            source: Any = (
                open_columns(ledger.store, Path(folder) / "columns")
                if built
                else SlowSource(ledger.store, "thing", step, False)
            )
            patch.setattr(fastpath, "FAST_DIFF_ENTRIES", 0)
            path = FastPath(lambda: source, from_entries=0)
            path.replay().snapshots._min_events = min_events
            head = ledger.store.size(0)
            cuts = [
                Cut({0: size}, None, (), False, "", None) for size in (head // 2, head - 2, head)
            ]
            plain = [list(diff(ledger.store, "thing", *two)) for two in permutations(cuts, 2)]
            attach(ledger.store, path)
            for cut in cuts:
                ledger.rows(cut, entity="thing")  # makes the snapshots that are due
            fast = [list(diff(ledger.store, "thing", *two)) for two in permutations(cuts, 2)]
            for mine, right in zip(fast, plain, strict=True):
                assert [c.kind for c in mine] == [c.kind for c in right]
                for side in ("before", "after"):
                    rows = [
                        [(c.entity_key, getattr(c, side) or {}) for c in found]
                        for found in (mine, right)
                    ]
                    same_rows(*rows)


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

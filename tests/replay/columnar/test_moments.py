"""Rows at moments of their own, from the read model: those that the plain walk finds."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from audit.errors import NotFound
from audit.replay.columnar.fast import FastReplay
from audit.replay.columnar.moments import known_at
from audit.replay.names import output_name
from audit.replay.pointwise import rows_at
from audit.replay.rows import same_value
from audit.replay.steps import Steps
from tests.backends import SqliteBackend
from tests.replay.columnar.slow_parts import SlowSource
from tests.replay.columnar.test_fold_random import KEYS, Talker, operation
from tests.replay.conftest import START_US, LedgerInTest, open_columns


@pytest.mark.parametrize("care", [False, True])
@settings(
    max_examples=15,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    operations=st.lists(operation, min_size=1, max_size=24),
    step=st.integers(1, 12),
    built=st.booleans(),
    back=st.integers(0, 6),
)
def test_fast_moments_are_the_plain_ones(
    care: bool, operations: list[dict[str, Any]], step: int, built: bool, back: int
) -> None:
    with TemporaryDirectory() as folder:
        ledger = LedgerInTest(SqliteBackend(Path(folder)))
        with ledger.store:
            talker = Talker(ledger, 1, False, care)
            for number, said in enumerate(operations):
                talker.say(number, said)
            source: Any = (
                open_columns(ledger.store, Path(folder) / "columns")
                if built
                else SlowSource(ledger.store, "thing", step, False)
            )
            head = ledger.store.size(0)
            cut = ledger.cut(max(head - 1 - back, 0))
            times = [ledger.recorded_us((0, index)) for index in range(head)]
            moments = {key: sorted([START_US - 1, *times, times[-1] + 1]) for key in (*KEYS, "no")}
            try:
                found = known_at(
                    FastReplay(source), Steps(ledger.store, "thing", cut), moments, _All()
                )
            except NotFound:
                return
            plain = rows_at(Steps(ledger.store, "thing", cut), moments, False)
            if found is None:
                assert care or any(said["op"] == "truncate" for said in operations)
                return
            assert care or not found.careful
            assert found.rows.keys() | set(found.careful) == moments.keys()
            for key, rows in found.rows.items():
                assert same_value(rows, plain.rows[key]), (key, rows, plain.rows[key])


class _All:
    def __contains__(self, name: object) -> bool:
        return True


def test_only_the_columns_asked_for_are_made(ledger: LedgerInTest, tmp_path: Path) -> None:
    ledger.emit("create", "a", {"n": 1, "entity_key": "x", "m": 2})
    fast = FastReplay(open_columns(ledger.store, tmp_path / "own"))
    steps = Steps(ledger.store, "user", ledger.cut())
    found = known_at(fast, steps, {"a": [ledger.now_us + 10]}, {"n", output_name("entity_key")})
    assert found is not None
    assert found.rows == {"a": [{"n": 1, "entity_key": "x"}]}
    assert {"n", "m"} < found.columns

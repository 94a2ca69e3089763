"""Rows at moments of their own, from the read model: those that the plain walk finds."""

from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from audit.replay.columnar.fold.fast import FastReplay
from audit.replay.columnar.fold.moments import Known, known_at
from audit.replay.names import output_name
from audit.replay.pointwise import rows_at
from audit.replay.rows import same_value
from audit.replay.steps import Steps
from tests.backends import SqliteBackend
from tests.replay.columnar.slow_parts import SlowSource
from tests.replay.columnar.test_fold_random import KEYS, Talker, operation
from tests.replay.conftest import START_US, LedgerInTest, open_columns

MISSING = object()


def rows_of(found: Known) -> list[dict[str, Any]]:
    """The rows; one that is not there is empty."""
    names = sorted(found.columns)
    columns = [found.column(name).objects(None, MISSING).tolist() for name in names]
    rows = zip(*columns, strict=True) if names else [()] * len(found)
    return [
        {name: cell for name, cell in zip(names, row, strict=True) if cell is not MISSING}
        for row in rows
    ]


@pytest.mark.parametrize(("logs", "care"), [(1, False), (1, True), (2, False), (2, True)])
@settings(
    max_examples=6,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    operations=st.lists(operation, min_size=1, max_size=24),
    apart=st.booleans(),
    step=st.integers(1, 12),
    built=st.booleans(),
    back=st.integers(0, 6),
    valid=st.booleans(),
)
def test_fast_moments_are_the_plain_ones(
    logs: int,
    care: bool,
    operations: list[dict[str, Any]],
    apart: bool,
    step: int,
    built: bool,
    back: int,
    valid: bool,
) -> None:
    with TemporaryDirectory() as folder:
        ledger = LedgerInTest(SqliteBackend(Path(folder)))
        if logs == 2:
            ledger.open_log(1)
        with ledger.store:
            talker = Talker(ledger, logs, apart, care)
            for number, said in enumerate(operations):
                talker.say(number, said)
            source: Any = (
                open_columns(ledger.store, Path(folder) / "columns")
                if built
                else SlowSource(ledger.store, "thing", step, False)
            )
            sizes = {log: max(1, ledger.store.size(log) - back) for log in range(logs)}
            cut = ledger.cut()._replace(sizes=sizes)
            times = [
                ledger.recorded_us((log, index))
                for log in range(logs)
                for index in range(ledger.store.size(log))
            ]
            times += [START_US - 6, START_US, START_US + 3, START_US + 10**10, max(times) + 1]
            moments = {key: sorted(set(times)) for key in (*KEYS, "no")}
            asked = list(product(moments, sorted(set(times))))
            steps = Steps(ledger.store, "thing", cut)
            keys, when = zip(*asked, strict=True)
            found = known_at(FastReplay(source), steps, keys, when, None, valid)
            plain = rows_at(Steps(ledger.store, "thing", cut), moments, valid)
            assert care or found is not None
            if found is None:
                return
            right = {
                (key, us): row
                for key, rows in plain.rows.items()
                for us, row in zip(moments[key], rows, strict=True)
            }
            assert found.columns <= set(plain.columns) <= found.mentioned | set(plain.columns)
            careful = set(found.careful)
            for number, (place, row) in enumerate(zip(asked, rows_of(found), strict=True)):
                if number not in careful:
                    assert same_value(row, right[place] or {}), (place, row, right[place])
            found.fill([right[asked[number]] or {} for number in found.careful])
            for place, row in zip(asked, rows_of(found), strict=True):
                own = {n: v for n, v in (right[place] or {}).items() if n in found.columns}
                assert same_value(row, own), (place, row)


def test_only_the_columns_asked_for_are_made(ledger: LedgerInTest, tmp_path: Path) -> None:
    ledger.emit("create", "a", {"n": 1, "entity_key": "x", "m": 2})
    fast = FastReplay(open_columns(ledger.store, tmp_path / "own"))
    steps = Steps(ledger.store, "user", ledger.cut())
    asked = {"n", output_name("entity_key")}
    found = known_at(fast, steps, ["a", None], [ledger.now_us + 10, None], asked)
    assert found is not None
    assert rows_of(found) == [{"n": 1, "entity_key": "x"}, {}]
    assert found.mentioned == {"n", "m", "entity_key"}

"""Who gave each cell of a dataset its value: the frame of columns is that of the plain fold."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from audit.errors import NotFound, StoreCorrupt
from audit.replay import blame_frame as module
from audit.replay.blame_frame import blame_dataset
from audit.replay.fastpath import FastPath, attach, fast_blamed
from audit.replay.rows import same_value
from audit.replay.steps import Steps
from tests.backends import SqliteBackend
from tests.replay.columnar.slow_parts import SlowSource
from tests.replay.columnar.test_fold_random import KEYS, Talker, operation
from tests.replay.conftest import START_US, LedgerInTest, open_columns


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
    valid=st.sampled_from((None, None, START_US + 3, START_US + 20_000_000_000)),
    keys=st.none() | st.frozensets(st.sampled_from((*KEYS, "no"))),
)
def test_fast_blame_is_the_plain_one(
    logs: int,
    care: bool,
    operations: list[dict[str, Any]],
    apart: bool,
    step: int,
    built: bool,
    back: int,
    valid: int | None,
    keys: frozenset[str] | None,
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
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
            asked: Any = "thing", ledger.cut()._replace(sizes=sizes), valid, keys, {"x": 1}
            try:
                plain = blame_dataset(ledger.store, *asked)
            except NotFound:
                return
            path = FastPath(lambda: source, from_entries=0)
            attach(ledger.store, path)
            patch.setattr(module, "MAX_SINGLE_KEYS", -1)
            found = fast_blamed(Steps(ledger.store, "thing", asked[1]), valid, keys)
            assert care or found is not None
            same_lines(blame_dataset(ledger.store, *asked), plain)


def same_lines(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """The same types, and in every line the same."""
    assert left.attrs == right.attrs
    assert list(left.dtypes) == list(right.dtypes)
    assert list(left.columns) == list(right.columns)
    assert list(left.index) == list(right.index)
    for name in left.columns:
        for one, other in zip(left[name].tolist(), right[name].tolist(), strict=True):
            assert type(one) is type(other), (name, one, other)
            assert one == other or same_value(one, other), (name, one, other)


def test_who_only_repeats_a_value_has_not_set_it(ledger: LedgerInTest, tmp_path: Path) -> None:
    ledger.emit("create", "a", {"n": 1, "m": 1}, actor="first")
    ledger.emit("update", "a", {"n": 1, "m": 2}, actor="second")
    ledger.emit("delete", "b")
    ledger.emit("create", "b", {"n": 1}, actor="third")
    ledger.emit("truncate", None)
    ledger.emit("create", "a", {"n": 1}, actor="fourth")
    source = open_columns(ledger.store, tmp_path / "own")
    path = FastPath(lambda: source, from_entries=0)
    attach(ledger.store, path)
    head = ledger.store.size(0)
    for back, lines in ((2, "a m second a n first b n third"), (0, "a n fourth")):
        cut = ledger.cut()._replace(sizes={0: head - back})
        frame = blame_dataset(ledger.store, "user", cut, None, None, {})
        shown = frame[["entity_key", "field", "actor"]].to_numpy().ravel().tolist()
        assert " ".join(shown) == lines
    assert fast_blamed(Steps(ledger.store, "user", cut), None, None) is not None


def test_an_entry_that_is_not_there_any_more_is_said(ledger: LedgerInTest, tmp_path: Path) -> None:
    import numpy as np

    from audit.replay.columnar.fold import said

    ledger.emit("create", "a", {"n": 1})
    steps = Steps(ledger.store, "user", ledger.cut())
    with pytest.raises(StoreCorrupt, match="audit verify"):
        said.said_columns(steps, 0, np.array([0, 99]))

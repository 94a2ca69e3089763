"""Every step between two points; who set each cell of a dataset."""

from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import audit.replay.diff
from audit.errors import NotFound
from audit.replay.asof import dataset
from audit.replay.blame import blame, blame_cells
from audit.replay.blame_frame import blame_frame
from audit.replay.diff import diff
from audit.replay.diff_steps import RowStep, diff_steps
from audit.replay.points import Cut
from audit.replay.refs import Ref
from tests.replay.conftest import START_US, LedgerInTest
from tests.replay.test_model import build, cuts, fresh, operation


def test_each_step_says_what_who_and_why(ledger: LedgerInTest) -> None:
    ledger.emit("create", 1, {"a": 1}, at="2026-01-02", actor="ann")
    ledger.emit("create", 2, {"a": 1}, at="2026-01-03", actor="bob")
    ledger.emit("update", 1, {"a": 2}, at="2026-01-04", actor="eve", reason="t1")
    ledger.emit("update", 1, {"a": 1}, at="2026-01-05", actor="eve")
    ledger.emit("update", 1, {"a": 1}, at="2026-01-06")
    ledger.emit("delete", 2, at="2026-01-07")
    a, b = ledger.cut("2026-01-02"), ledger.cut()
    steps = list(diff_steps(ledger.store, "user", a, b))
    told = [(s.entity_key, s.kind, s.fields, s.said and s.said.actor) for s in steps]
    assert told[0] == ("1", "changed", {"a": (1, 2)}, "eve")
    assert told[1] == ("1", "changed", {"a": (2, 1)}, "eve")
    assert [(key, kind) for key, kind, *_ in told[2:]] == [("2", "added"), ("2", "removed")]
    assert steps[0]["entry"]["reason"] == "t1" and steps[0]["fields"] == {"a": {"old": 1, "new": 2}}
    # 1 was changed and changed back, 2 came and went: the net difference is none.
    assert list(diff(ledger.store, "user", a, b)) == []
    own = list(diff_steps(ledger.store, Ref("user", "1"), a, b))
    assert own == steps[:2]
    back = list(diff_steps(ledger.store, "user", b, a))
    assert [s.said for s in back] == [steps[n].said for n in (1, 0, 3, 2)]
    assert list(diff_steps(ledger.store, "user", a, a)) == []
    with pytest.raises(NotFound):
        diff_steps(ledger.store, Ref("user", "7"), a, b)
    with pytest.raises(NotFound):
        diff_steps(ledger.store, "invoice", a, b)


def test_a_schema_that_came_later_is_a_step_without_entry(ledger: LedgerInTest) -> None:
    ledger.emit("create", "x", {"a": 1}, at="2026-01-02", schemas=False)
    ledger.emit("create", "y", {"a": 2}, at="2026-01-03")
    steps = list(diff_steps(ledger.store, "user", ledger.cut("2026-01-02"), ledger.cut()))
    assert [(s.entity_key, s.before, s.after, s.said is None) for s in steps] == [
        ("x", {}, {"a": 1}, True),
        ("y", None, {"a": 2}, False),
    ]


@pytest.mark.parametrize("logs", [1, 2])
@settings(
    max_examples=7,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    operations=st.lists(operation, min_size=1, max_size=10),
    picked=st.lists(st.integers(0, 9), min_size=1, max_size=2),
    few=st.sampled_from((0, 200)),
)
def test_steps_lead_from_one_point_to_the_other(
    logs: int, operations: list[dict[str, Any]], picked: list[int], few: int
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit.replay.diff, "MAX_SINGLE_KEYS", few)
        ledger = fresh(folder, logs)
        with ledger.store:
            oracle = build(ledger, operations, logs)
            points = cuts(ledger, oracle, picked)
            sizes = points[0].sizes | {0: points[-1].size(0)}
            # Further on in one log, not in the other: forth and back at once.
            points.append(points[0]._replace(sizes=sizes))
            for a, b in ((0, -2), (-2, 0), (-1, -2), (-2, -1), (-1, 0), (1, -2)):
                lead(ledger, points[a], points[b], None)
            lead(ledger, points[0], points[-2], START_US + 3)
            cells = list(blame_cells(ledger.store, "thing", points[-2]))
            for key, row in dataset(ledger.store, "thing", points[-2]).rows():
                own = blame(ledger.store, Ref("thing", key), points[-2]).fields
                assert [cell.blamed for cell in cells if cell.entity_key == key] == list(own)
                assert [cell.field for cell in own] == sorted(row)


def lead(ledger: LedgerInTest, a: Cut, b: Cut, valid: int | None) -> None:
    rows = dict(dataset(ledger.store, "thing", a, valid).rows())
    steps: list[RowStep] = list(diff_steps(ledger.store, "thing", a, b, valid))
    assert [s.entity_key for s in steps] == sorted(s.entity_key for s in steps)
    for step in steps:
        assert rows.pop(step.entity_key, None) == step.before
        assert step.fields or (step.before is None) != (step.after is None)
        if step.after is not None:
            rows[step.entity_key] = step.after
    assert rows == dict(dataset(ledger.store, "thing", b, valid).rows())


def test_blame_of_a_dataset_is_a_frame_of_cells(ledger: LedgerInTest) -> None:
    ledger.emit("create", 1, {"b": None, "a": [1]}, at="2026-01-02", actor="ann", reason="new")
    ledger.emit("create", 2, {"a": 5}, at="2026-01-03")
    place = ledger.emit("update", 1, {"b": 2.5}, at="2026-01-04", valid="2025-12-31")
    ledger.emit("create", 3, {}, at="2026-01-05")
    frame = blame_frame(blame_cells(ledger.store, "user", ledger.cut()), {"entity": "user"})
    assert list(zip(frame["entity_key"], frame["field"], frame["value"], strict=True)) == [
        ("1", "a", [1]),
        ("1", "b", 2.5),
        ("2", "a", 5),
    ]
    assert frame["index"].tolist()[1] == place[1] and frame["op"].tolist()[1] == "update"
    assert frame["actor"].tolist() == ["ann", None, None] and frame["reason"][0] == "new"
    assert frame["valid_time"][1] == pd.Timestamp("2025-12-31", tz="UTC")
    assert frame.attrs["audit"] == {"entity": "user"}
    some = blame_cells(ledger.store, "user", ledger.cut("2026-01-03"), None, ["2", "9"])
    assert [(cell.entity_key, cell.blamed.value) for cell in some] == [("2", 5)]
    empty = blame_frame(blame_cells(ledger.store, "user", ledger.cut("2025-01-01")), {})
    assert len(empty) == 0 and list(empty.columns) == list(frame.columns)
    with pytest.raises(NotFound):
        list(blame_cells(ledger.store, "invoice", ledger.cut()))

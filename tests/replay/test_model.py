"""Random operation lists through the real store, compared with the slow obvious oracle."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.replay.asof import dataset
from audit.replay.asof import row as row_at
from audit.replay.blame import blame
from audit.replay.citation import transactions_cut
from audit.replay.diff import diff, diff_row
from audit.replay.fold import ABSENT, UNAVAILABLE
from audit.replay.history import history
from audit.replay.points import Cut
from audit.replay.refs import Ref
from tests.backends import SqliteBackend
from tests.oracle import Oracle, Said
from tests.replay.conftest import START_US, LedgerInTest

KEYS = ("a", "b", "c")
FIELDS = ("x", "y", "z")
VALUES = (None, 0, 1, "s", 0.5, UNAVAILABLE)
VALID = (None, -5, 0, 3, 4, 10_000_000_000)
"""Valid times relative to the start: early, equal to one another, and never yet."""

rows = st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(VALUES), max_size=3)
operation = st.fixed_dictionaries(
    {
        "op": st.sampled_from(("create", "update", "update", "update", "delete", "truncate")),
        "key": st.sampled_from(KEYS),
        "after": rows,
        "image": st.sampled_from(("patch", "patch", "full")),
        "valid": st.sampled_from(VALID),
        "supersedes": st.none() | st.integers(0, 12),
        "transaction": st.sampled_from((None, None, "t1", "t2")),
        "log": st.integers(0, 1),
    }
)


def build(ledger: LedgerInTest, operations: list[dict[str, Any]], logs: int) -> Oracle:
    """Seal the operations one batch a log change, and tell the oracle the same."""
    oracle = Oracle()
    for number, said in enumerate(operations):
        log = said["log"] % logs
        gone = said["op"] in ("delete", "truncate")
        valid = None if said["valid"] is None else START_US + said["valid"]
        before = said["supersedes"]
        event = Said(
            log=log,
            index=-1,
            recorded=-1,
            event_id=f"op{number}",
            op=said["op"],
            key=None if said["op"] == "truncate" else said["key"],
            after=None if gone else said["after"],
            image="patch" if gone else said["image"],
            valid=valid,
            supersedes=None if before is None else f"op{number - before}",
            transaction=said["transaction"],
        )
        place = ledger.emit(
            event.op,
            event.key,
            event.after,
            entity="thing",
            event_id=event.event_id,
            image=event.image,
            valid=valid,
            supersedes=event.supersedes,
            transaction_id=event.transaction,
            log=log,
        )
        ledger.now_us += number % 2
        recorded = ledger.recorded_us(place)
        oracle.said.append(replace(event, index=place[1], recorded=recorded))
    return oracle


def cuts(ledger: LedgerInTest, oracle: Oracle, picked: list[int]) -> list[Cut]:
    """Cuts at some recorded times, at the last one, and before all of them."""
    times = sorted({event.recorded for event in oracle.said})
    some = {times[number % len(times)] for number in picked}
    points = sorted({times[0] - 1, *some, times[-1]})
    return [ledger.cut(ledger.at_us(time)) for time in points]


def fresh(folder: str, logs: int) -> LedgerInTest:
    """A new ledger with one or two logs that know row.v1."""
    ledger = LedgerInTest(SqliteBackend(Path(folder)))
    if logs == 2:
        ledger.open_log(1)
    for log in range(logs):
        ledger.emit("create", "first", {}, entity="other", log=log)
    return ledger


@pytest.mark.parametrize("logs", [1, 2])
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    operations=st.lists(operation, min_size=1, max_size=12),
    picked=st.lists(st.integers(0, 11), min_size=1, max_size=2),
)
def test_replay_agrees_with_the_oracle(
    logs: int, operations: list[dict[str, Any]], picked: list[int]
) -> None:
    with TemporaryDirectory() as folder:
        ledger = fresh(folder, logs)
        with ledger.store:
            compare(ledger, build(ledger, operations, logs), picked)


def compare(ledger: LedgerInTest, oracle: Oracle, picked: list[int]) -> None:
    """Every answer at every cut, on both axes."""
    store = ledger.store
    points = cuts(ledger, oracle, picked)
    answers = []
    for cut in points:
        known = oracle.rows(cut.sizes)
        answers.append(known)
        found = dataset(store, "thing", cut)
        assert list(found.rows()) == list(known.items())
        assert list(dataset(store, "thing", cut, rows_in_memory=0).rows()) == list(known.items())
        told = {cut.transaction_id for cut in transactions_cut(store, cut)}
        assert told == oracle.transactions_cut(cut.sizes)
        for valid in (-5, 0, 3):
            valid_us = START_US + valid
            then = oracle.rows(cut.sizes, valid_us)
            assert list(dataset(store, "thing", cut, valid_us).rows()) == list(then.items())
            if valid and cut is points[-1]:
                compare_row(ledger, cut, "a", then.get("a"), valid_us, oracle)
        compare_row(ledger, cut, "a", known.get("a"), None, oracle)
    compare_diffs(ledger, points, answers)
    compare_history(ledger, oracle, points)


def compare_row(
    ledger: LedgerInTest,
    cut: Cut,
    key: str,
    expected: dict[str, Any] | None,
    valid_us: int | None,
    oracle: Oracle,
) -> None:
    """One row alone is the row of the dataset, and blame names each of its fields."""
    if not any(event.key == key for event in oracle.said):
        return
    assert row_at(ledger.store, Ref("thing", key), cut, valid_us).row == expected
    blamed = blame(ledger.store, Ref("thing", key), cut, valid_us)
    assert {field.field: field.value for field in blamed.fields} == (expected or {})
    setters = {(event.log, event.index): event for event in oracle.said}
    for field in blamed.fields:
        setter = setters[field.said.position]
        assert (setter.key, (setter.after or {})[field.field]) == (key, field.value)


def compare_diffs(ledger: LedgerInTest, points: list[Cut], answers: list[Any]) -> None:
    """as_of(a) + diff(a, b) == as_of(b), forwards and backwards, for the dataset and for a row."""
    for a in (0, 1, len(points) - 1):
        for b in range(0, len(points), 2):
            changes = list(diff(ledger.store, "thing", points[a], points[b]))
            keys = [change.entity_key for change in changes]
            assert keys == sorted(keys)
            patched = dict(answers[a])
            for change in changes:
                assert patched.pop(change.entity_key, None) == change.before
                if change.after is not None:
                    patched[change.entity_key] = change.after
                assert change.fields == expected_fields(change.before, change.after)
            assert patched == answers[b]
            if a == 0 and answers[b].get("a") is not None:
                change_of_row = diff_row(ledger.store, Ref("thing", "a"), points[a], points[b])
                assert change_of_row is not None
                assert (change_of_row.before, change_of_row.after) == (None, answers[b]["a"])


def expected_fields(before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any]:
    """What differs between two rows."""
    old, new = before or {}, after or {}
    return {
        name: (old.get(name, ABSENT), new.get(name, ABSENT))
        for name in sorted({*old, *new})
        if (name in old, type(old.get(name)), old.get(name))
        != (name in new, type(new.get(name)), new.get(name))
    }


def compare_history(ledger: LedgerInTest, oracle: Oracle, points: list[Cut]) -> None:
    """The row after each version is the row as of that entry."""
    for key in KEYS[:1]:
        if not any(event.key == key for event in oracle.said):
            continue
        for version in history(ledger.store, Ref("thing", key), points[-1]):
            cut = ledger.cut(f"{version.log}/{version.index}")
            recorded = [e.recorded for e in oracle.said if e.recorded == version.recorded_time_us]
            if len(recorded) == 1:
                assert version.row == oracle.rows(cut.sizes).get(key)

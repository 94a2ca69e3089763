"""Answers held in the process: found again, bounded, and gone with the log that they are of."""

from pathlib import Path
from typing import Any

import pytest

import audit.replay.diff
from audit.replay.asof import Dataset
from audit.replay.columnar.fold import held
from audit.replay.columnar.fold.fast import FastDataset, FastReplay
from audit.replay.conditions import parse_filters
from audit.replay.diff import compared, diff
from audit.replay.fastpath import FastPath, attach
from audit.replay.select import select, selection
from audit.replay.steps import Steps
from tests.replay.columnar.compare import same_rows
from tests.replay.columnar.slow_parts import SlowSource
from tests.replay.columnar.test_among import same_changes
from tests.replay.conftest import START_US, LedgerInTest, open_columns

DAY_US = 86_400_000_000
KEYS = 60


@pytest.fixture
def late(ledger: LedgerInTest) -> LedgerInTest:
    """Rows whose corrections came late, valid before what was recorded earlier; one needs care."""
    events = []
    for number in range(4 * KEYS):
        row = {"n": number, "status": ("open", "shut")[number % 2], "list": [number]}
        back = START_US + (number * 7919) % 40 * DAY_US
        op = "delete" if number % 23 == 5 else "create" if number < KEYS else "update"
        said = None if op == "delete" else row
        events.append(ledger.event(op, f"k{number % KEYS:02}", said, valid=back)[0])
    ledger.emit("create", "k00", {"n": 0, "status": "open", "list": []}, valid=START_US)
    ledger.seal(events)
    ledger.emit("update", "careful", {"n": 1}, event_id="wrong")
    ledger.emit("update", "careful", {"n": 2}, supersedes="wrong")
    return ledger


def ask(ledger: LedgerInTest, replay: FastReplay, back: int, valid_us: int | None) -> FastDataset:
    """The dataset some entries before the end."""
    cut = ledger.cut(f"0/{ledger.store.size(0) - 1 - back}")
    found = replay.dataset(Steps(ledger.store, "user", cut), valid_us)
    assert found is not None
    plain = Dataset(Steps(ledger.store, "user", cut), valid_us, 1_000)
    same_rows(list(found.rows_between(3, 7)), list(plain.rows())[3:7])
    same_rows(list(found.rows()), list(plain.rows()))
    return found


def test_valid_time_is_folded_once(late: LedgerInTest) -> None:
    replay = FastReplay(open_columns(late.store, None), 8)
    then = START_US + 20 * DAY_US
    first = ask(late, replay, 0, then)
    assert ask(late, replay, 0, then).folded is first.folded
    assert ask(late, replay, 1, then).folded is not first.folded
    assert ask(late, replay, 0, then + 5 * DAY_US).folded is not first.folded
    # What an answer gives out is its own.
    frame = ask(late, replay, 0, then).frame({})
    frame["n"] = -1
    for cell in frame["list"]:
        if isinstance(cell, list):
            cell.append("spoilt")
    first.kept_column("n")
    spoilt = ask(late, replay, 0, then).frame({})
    spoilt.loc[:, "n"] = -1
    ask(late, replay, 0, then)
    # On the recorded axis a snapshot is near.
    assert ask(late, replay, 0, None).folded is not ask(late, replay, 0, None).folded


def test_they_are_bounded_and_counted_as_they_grow(
    late: LedgerInTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "MAX_ANSWERS", 3)
    replay = FastReplay(open_columns(late.store, None), 8)
    for back in range(6):
        ask(late, replay, back, START_US + 20 * DAY_US)
    assert len(replay.held) == 3
    before = replay.held.bytes_held()
    found = ask(late, replay, 5, START_US + 20 * DAY_US)
    found.fitting(parse_filters([("status", "==", "open")]))
    assert replay.held.bytes_held() > before > 0
    monkeypatch.setattr(held, "MAX_ANSWER_BYTES", before // 2)
    ask(late, replay, 5, START_US + 20 * DAY_US)
    assert replay.held.bytes_held() <= before // 2
    monkeypatch.setattr(held, "MAX_ANSWER_BYTES", 0)
    ask(late, replay, 5, START_US + 20 * DAY_US)
    assert not len(replay.held)


def test_none_outlives_the_log_it_is_of(
    late: LedgerInTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit.replay.diff, "FAST_DIFF_ENTRIES", 0)
    source: Any = SlowSource(late.store, "user", 50)
    path = FastPath(lambda: source, from_entries=0)
    two = late.cut("0/100"), late.cut()
    plain = list(diff(late.store, "user", *two))
    attach(late.store, path)
    first = ask(late, path.replay(), 0, START_US)
    changes = compared(late.store, "user", *two, None, None).differences
    assert changes is not None
    assert compared(late.store, "user", *two, None, None).differences is changes
    source.epoch += 1
    assert ask(late, path.replay(), 0, START_US).folded is not first.folded
    anew = compared(late.store, "user", *two, None, None).differences
    assert anew is not None and anew is not changes
    same_changes(list(anew.changes()), plain)
    # An answer found in what held before is not kept for later.
    epoch = source.epoch
    source.epoch += 1
    path.replay().held.get("any")
    path.replay().held.put("any", first.folded, epoch)
    assert path.replay().held.get("any") is None


def test_pages_of_a_selection(late: LedgerInTest, tmp_path: Path) -> None:
    for valid_us in (None, START_US + 20 * DAY_US):
        wanted = selection(["status", "n"], None, [("status", "!=", "shut"), ("n", ">", 70)])
        plain = list(select(late.store, "user", late.cut(), valid_us, wanted).rows())
        assert len(plain) > 5
        path = FastPath(lambda: open_columns(late.store, tmp_path / "own"), from_entries=0)
        attach(late.store, path)
        fast = select(late.store, "user", late.cut(), valid_us, wanted)
        assert isinstance(fast.found, FastDataset)
        assert list(fast.rows()) == plain
        for first, end in ((0, 3), (2, 5), (4, 1_000), (1_000, 1_001), (3, 3)):
            assert list(fast.rows_between(first, end)) == plain[first:end]
        del path

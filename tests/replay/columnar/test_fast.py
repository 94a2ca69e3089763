"""The fast path of a ledger: when it answers, that nothing of it is shared, what it survives."""

from pathlib import Path
from typing import Any

import pytest

from audit.errors import Unavailable
from audit.event.build import data_event
from audit.ledger.facade import Ledger
from audit.replay.asof import Dataset, dataset
from audit.replay.columnar.fold import fast, snapshots
from audit.replay.columnar.fold.fast import FastDataset, FastReplay
from audit.replay.columnar.fold.source import PartSource
from audit.replay.fastpath import FastPath, attach
from audit.replay.steps import Steps
from tests.backends import SqliteBackend
from tests.replay.columnar.compare import same_answers, same_frames
from tests.replay.columnar.slow_parts import SlowSource
from tests.replay.conftest import LedgerInTest, open_columns

KEYS = 40
MIN_EVENTS = 16


@pytest.fixture
def talked(tmp_path: Path) -> LedgerInTest:
    """Some rows, changed and deleted, in one batch."""
    ledger = LedgerInTest(SqliteBackend(tmp_path))
    ledger.emit("create", 0, {"a": 0, "b": {"n": [0]}})
    events = []
    for number in range(1, 5 * KEYS):
        key = number * 7 % KEYS
        said: dict[str, Any] = {"a": number} if number % 3 else {"c": f"t{number % 5}"}
        if number < KEYS:
            events.append(ledger.event("create", number, {"a": number, "b": {"n": [number]}})[0])
        elif number % 11:
            events.append(ledger.event("update", key, said)[0])
        else:
            events.append(ledger.event("delete", key)[0])
    ledger.seal(events)
    return ledger


def replay_of(ledger: LedgerInTest, folder: Path | None) -> FastReplay:
    """A fast replay with many snapshots."""
    return FastReplay(open_columns(ledger.store, folder), MIN_EVENTS)


def found(ledger: LedgerInTest, replay: FastReplay, as_of: str | None = None) -> FastDataset:
    """The dataset, fast."""
    answer = replay.dataset(Steps(ledger.store, "user", ledger.cut(as_of)))
    assert answer is not None
    return answer


def test_the_read_model_answers_where_it_is_attached(talked: LedgerInTest) -> None:
    path = FastPath(lambda: open_columns(talked.store, None), from_entries=0)
    attach(talked.store, path)
    assert type(dataset(talked.store, "user", talked.cut())) is FastDataset
    del path
    assert type(dataset(talked.store, "user", talked.cut())) is Dataset


def test_a_small_ledger_is_replayed_plainly(talked: LedgerInTest, tmp_path: Path) -> None:
    url = talked.backend.url
    with Ledger(url, read_model=tmp_path / "columns") as ledger:
        assert len(ledger.replay("user"))
        assert not (tmp_path / "columns").exists()


def test_a_ledger_gives_the_same_with_and_without(
    talked: LedgerInTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FastPath.__init__, "__defaults__", (0, *FastPath.__init__.__defaults__[1:]))
    url = talked.backend.url
    with Ledger(url, read_model="off") as off, Ledger(url, read_model=tmp_path / "columns") as on:
        assert off.read_model is None
        for as_of in (None, "0/60", "0/2"):
            same_frames(on.replay("user", as_of), off.replay("user", as_of))
            assert on.at(as_of)["user"].equals(off.at(as_of)["user"])
        assert on.read_model is not None
        assert on.read_model.covered(0) == talked.store.size(0)


def test_a_read_model_that_cannot_be_had_is_no_error(talked: LedgerInTest) -> None:
    def refuse() -> PartSource:
        raise Unavailable("no disk")

    path = FastPath(refuse, from_entries=0)
    attach(talked.store, path)
    assert type(dataset(talked.store, "user", talked.cut())) is Dataset


def test_snapshots_are_kept_and_found_again(talked: LedgerInTest, tmp_path: Path) -> None:
    model = open_columns(talked.store, tmp_path / "columns")
    model.seal()
    first = FastReplay(model, MIN_EVENTS)
    same_answers(talked.store, first, "user", talked.cut(), None)
    sizes = model.snapshot_sizes(0, "user")
    assert len(sizes) >= 3
    for some in (None, f"0/{sizes[1]}", f"0/{sizes[1] - 1}", f"0/{sizes[1] + 1}"):
        later = replay_of(talked, tmp_path / "columns")
        assert same_answers(talked.store, later, "user", talked.cut(some), None) is not None
    assert later.snapshots.newest(0, "user", sizes[-1]).on_disk


def test_what_is_no_snapshot_is_not_used(talked: LedgerInTest) -> None:
    source = SlowSource(talked.store, "user", 50)
    same_answers(talked.store, FastReplay(source, MIN_EVENTS), "user", talked.cut(), None)
    whole = dict(source.kept)
    for name in next(iter(whole.values())):
        for damaged in (None, whole[max(whole)]["about"], whole[max(whole)]["codes"][:1]):
            for place, arrays in whole.items():
                changed = {n: a for n, a in arrays.items() if n != name}
                if damaged is not None:
                    changed[name] = damaged
                source.kept[place] = changed
            if (name, damaged) != ("about", whole[max(whole)]["about"]):
                again = FastReplay(source, MIN_EVENTS)
                same_answers(talked.store, again, "user", talked.cut(), None)


def test_snapshots_held_in_memory_are_few(
    talked: LedgerInTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MAX_ONLY_IN_MEMORY", 2)
    monkeypatch.setattr(snapshots, "MAX_ASKED", 1)
    replay = FastReplay(open_columns(talked.store, None), MIN_EVENTS)
    for as_of in (None, "0/50", None, "0/120"):
        same_answers(talked.store, replay, "user", talked.cut(as_of), None)
    assert len(replay.snapshots) == 3


def test_what_is_done_to_a_frame_stays_in_it(talked: LedgerInTest) -> None:
    replay = replay_of(talked, None)
    before = found(talked, replay).frame({})
    assert len(replay.snapshots) > 0
    for as_of in (None, f"0/{replay.snapshots.newest(0, 'user', 10**9).state.size - 1}"):
        answer = found(talked, replay, as_of)
        untouched, changed = answer.frame({}), answer.frame({})
        changed.loc[:, "a"] = 7
        changed["b"].iloc[0]["n"].append("changed")
        same_frames(found(talked, replay, as_of).frame({}), untouched)
        next(iter(answer.rows()))[1]["b"]["n"].append("changed")
        same_frames(found(talked, replay, as_of).frame({}), untouched)
    same_frames(found(talked, replay).frame({}), before)


def test_with_too_many_careful_keys_all_is_plain(
    talked: LedgerInTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "MAX_CAREFUL", 1)
    replay = replay_of(talked, None)
    head = talked.cut()
    for key in (1, 2):
        position = talked.emit("update", key, {"a": -1}, event_id=f"x{key}")
        assert position[1] == talked.store.size(0) - 1
        talked.emit("update", key, {"a": -2}, supersedes=f"x{key}")
    both = replay.dataset(Steps(talked.store, "user", talked.cut()))
    assert both is None
    assert replay.dataset(Steps(talked.store, "user", head)) is not None
    monkeypatch.setattr(fast, "MAX_CAREFUL", 2)
    assert same_answers(talked.store, replay, "user", talked.cut(), None) is not None


def test_the_log_grows_under_a_replay(talked: LedgerInTest, tmp_path: Path) -> None:
    replay = replay_of(talked, tmp_path / "columns")
    same_answers(talked.store, replay, "user", talked.cut(), None)
    for number in range(60):
        event, _ = data_event(
            "create", "user", f"new {number}", event_id=f"n{number}", source="s", after={"d": 1}
        )
        talked.seal([event])
        if number % 20 == 0:
            same_answers(talked.store, replay, "user", talked.cut(), None)
    assert same_answers(talked.store, replay, "user", talked.cut(), None) is not None


def test_transactions_cut_are_told_the_same(talked: LedgerInTest) -> None:
    from audit.replay.citation import transactions_cut

    for number in range(12):
        talked.emit("update", number, {"a": 1}, transaction_id=f"tx {number % 3}")
    cuts = [talked.cut(f"0/{talked.store.size(0) - back}") for back in (1, 5, 11, 12, 40)]
    plain = [transactions_cut(talked.store, cut) for cut in cuts]
    path = FastPath(lambda: open_columns(talked.store, None), from_entries=0)
    attach(talked.store, path)
    assert [transactions_cut(talked.store, cut) for cut in cuts] == plain
    assert path.replay().transactions(0, 0, talked.store.size(0)) == {
        f"tx {number}": 4 for number in range(3)
    }
    assert any(plain)

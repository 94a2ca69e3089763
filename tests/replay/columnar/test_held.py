"""What answers leave in the process for later ones: no answer shows it, and it is bounded."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from audit.event.fields import encode_value
from audit.replay.columnar import pool as pools
from audit.replay.columnar import threads
from audit.replay.columnar.column import ABSENT, MAX_LEAVES, NULL, VALUE, Column
from audit.replay.columnar.fold import snapshots
from audit.replay.columnar.fold.fast import FastDataset, FastReplay
from audit.replay.columnar.fold.prepare import prepare
from audit.replay.columnar.fold.state import Finder
from audit.replay.columnar.pool import Kind, Pool
from audit.replay.steps import Steps
from tests.backends import SqliteBackend
from tests.replay.columnar.compare import same_answers, same_frames
from tests.replay.columnar.slow_parts import SlowSource
from tests.replay.conftest import LedgerInTest, open_columns

MIN_EVENTS = 32
KEYS = 40
STATUSES = ("open", "shut", None)


@pytest.fixture
def talked(tmp_path: Path) -> LedgerInTest:
    """Rows of all kinds of values, changed, deleted, made again; one key needs care."""
    ledger = LedgerInTest(SqliteBackend(tmp_path))
    drawn = random.Random(3)
    events = []
    for number in range(240):
        key = drawn.randrange(KEYS)
        row: dict[str, Any] = {
            "a": number,
            "note": f"n{number}",
            "status": drawn.choice(STATUSES),
            "nested": {"n": [number]},
            "mixed": drawn.choice((1, "one", 1.5)),
        }
        said = dict(drawn.sample(sorted(row.items()), 2))
        if number == 0:
            ledger.emit("create", key, row)
        elif number % 17 == 0:
            events.append(ledger.event("delete", key)[0])
        elif number % 5 == 0:
            events.append(ledger.event("create", key, row)[0])
        else:
            events.append(ledger.event("update", key, said)[0])
    ledger.seal(events)
    ledger.emit("update", "careful", {"a": 1}, event_id="wrong")
    ledger.emit("update", "careful", {"a": 2}, supersedes="wrong")
    return ledger


def at(ledger: LedgerInTest, replay: FastReplay, size: int) -> FastDataset:
    """The dataset at a size, fast."""
    found = replay.dataset(Steps(ledger.store, "user", ledger.cut(f"0/{size - 1}")))
    assert found is not None
    return found


def spoil(frame: Any) -> None:
    """Change everything in a frame that can be changed, and past pandas, too."""
    for cell in frame["nested"]:
        if isinstance(cell, dict):
            cell["n"] = "spoilt"
    for name in frame.columns:
        array = frame[name].array
        array[:] = [array[-1]] * len(array)
        frame[name] = "spoilt"


@pytest.mark.parametrize("on_disk", [False, True])
def test_cuts_back_and_forth_are_answered_alike(
    talked: LedgerInTest, tmp_path: Path, on_disk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "MIN_ROWS", 1)
    monkeypatch.setattr(pools, "FEW_VALUES", 8)
    model = open_columns(talked.store, tmp_path / "columns" if on_disk else None)
    if on_disk:
        model.seal()
    replay = FastReplay(model, MIN_EVENTS)
    size = talked.store.size(0)
    drawn = random.Random(5)
    first: dict[int, Any] = {}
    for number in range(36):
        asked = drawn.choice((size, size - 1, size - 2, 200, 205, 204, 60))
        found = at(talked, replay, asked)
        if number % 5 == 4:
            found.show(["a", "note"])
            spoilt = found.frame({})
            spoilt.loc[:, "a"] = 7
            continue
        frame = found.frame({})
        if asked in first:
            same_frames(frame, first[asked])
        else:
            first[asked] = found.frame({})
        spoil(frame)
        same_frames(at(talked, replay, asked).frame({}), first[asked])
        cut = talked.cut(f"0/{asked - 1}")
        valid = (None, talked.now_us)[number % 2]
        if number < 10:
            assert same_answers(talked.store, replay, "user", cut, valid) is not None
    assert any(name[3] for name in replay.snapshots._held)


def test_a_table_does_not_change_with_a_frame(talked: LedgerInTest) -> None:
    replay = FastReplay(open_columns(talked.store, None), MIN_EVENTS)
    size = talked.store.size(0)
    for _ in range(3):
        table = at(talked, replay, size).arrow()
        before = table.to_pylist()
        spoil(at(talked, replay, size).frame({}))
        assert table.to_pylist() == before
        assert at(talked, replay, size).arrow().to_pylist() == before


def test_what_is_held_is_bounded(talked: LedgerInTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MAX_ASKED", 2)
    monkeypatch.setattr(snapshots, "MAX_SIZES_ASKED", 3)
    replay = FastReplay(open_columns(talked.store, None), MIN_EVENTS)
    size = talked.store.size(0)
    for back in (0, 1, 2, 3, 4) * 2:
        for _ in range(2):
            at(talked, replay, size - back).frame({})
    held = replay.snapshots
    assert sum(name[3] for name in held._held) == 2
    assert len(held._sizes_asked) == 3
    assert held.bytes_held() > 0
    monkeypatch.setattr(snapshots, "MAX_HELD_BYTES", held.bytes_held() // 2)
    for _ in range(2):
        same_answers(talked.store, replay, "user", talked.cut("0/100"), None)
    # All but the last one used, to which the answer added what it made of it.
    *others, _ = held._held.values()
    left = {at: size for kept in others for at, size in kept.bytes_held().items()}
    assert sum(left.values()) <= snapshots.MAX_HELD_BYTES
    monkeypatch.setattr(snapshots, "MAX_HELD_BYTES", 0)
    for _ in range(2):
        same_answers(talked.store, replay, "user", talked.cut("0/90"), None)
    assert len(held) == 1


def test_what_is_asked_once_is_not_held_unless_it_was_much(talked: LedgerInTest) -> None:
    replay = FastReplay(open_columns(talked.store, None), MIN_EVENTS)
    size = talked.store.size(0)
    at(talked, replay, size).frame({})
    newest = replay.snapshots.newest(0, "user", size).state.size
    assert newest < size
    at(talked, replay, size).frame({})
    assert replay.snapshots.newest(0, "user", size).state.size == size
    # Some columns alone are no state.
    for _ in range(3):
        found = at(talked, replay, size - 1)
        found.show(["a"])
        found.frame({})
    assert replay.snapshots.newest(0, "user", size - 1).state.size == newest


def test_the_state_of_a_log_that_was_replaced_is_not_held(talked: LedgerInTest) -> None:
    source: Any = SlowSource(talked.store, "user", 50)
    replay = FastReplay(source, MIN_EVENTS)
    size = talked.store.size(0)
    at(talked, replay, size).frame({})
    later = at(talked, replay, size)
    source.epoch += 1
    later.frame({})
    assert not any(name[3] for name in replay.snapshots._held)
    same_answers(talked.store, replay, "user", talked.cut(), None)


def test_a_snapshot_is_never_far_from_the_end(talked: LedgerInTest, tmp_path: Path) -> None:
    model = open_columns(talked.store, tmp_path / "columns")
    model.seal()
    replay = FastReplay(model, 4)
    rank = replay.ranks_of("user", (0,)).of[0]
    size = talked.store.size(0)
    kept, spans = replay.snapshots.before(0, "user", size, rank)
    rows = len(kept.state.codes)
    assert rows > 16
    assert sum(span.hi - span.lo for span in spans) <= rows // snapshots.NEAR_SHARE
    prepare(model, 4)
    assert model.snapshot_sizes(0, "user")[-1] > size - 4
    again = FastReplay(open_columns(talked.store, tmp_path / "columns"), 4)
    assert same_answers(talked.store, again, "user", talked.cut(), None) is not None


@pytest.mark.parametrize("few", [1, 10_000])
def test_objects_come_from_all_leaves(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "FEW_VALUES", few)
    leaves = [[f"{n}.{i}" for i in range(count)] for n, count in enumerate((3, 50, 2, 1))]
    for order in ([0, 1, 2, 3], [1, 0, 2, 3], [0, 2, 3, 1]):
        own = [leaves[n] for n in order]
        flat = [text for leaf in own for text in leaf]
        whole = Pool(Kind.TEXT, [pa.array(leaf, pa.large_string()) for leaf in own])
        numbers = np.random.default_rng(1).integers(0, len(flat), 200).astype(np.int32)
        expected = [flat[number] for number in numbers]
        assert whole.gather(numbers).tolist() == expected
        merged = whole.merged()
        assert len(merged.leaves) <= 3
        assert merged.gather(numbers).tolist() == expected
        assert merged.values.to_pylist() == flat
        assert Pool(Kind.TEXT, [whole, merged]).values.to_pylist() == flat * 2


def test_what_can_be_changed_is_known_before_other_threads_find_it() -> None:
    told: list[str] = []

    class Told(Pool):
        def __setattr__(self, name: str, value: Any) -> None:
            told.append(name)
            super().__setattr__(name, value)

    spelled = [encode_value(value) for value in (1, {"k": [1]}, "s")]
    pool = Told(Kind.MIXED, [pa.array(spelled, pa.large_binary())])
    told.clear()
    pool.objects()[1]["k"] = "spoilt"
    assert told[:2] == ["_nested", "_objects"]
    assert pool.objects().tolist() == [1, {"k": [1]}, "s"]


def test_a_column_that_is_kept_stays_small() -> None:
    state = np.array([VALUE, NULL, ABSENT, VALUE], np.uint8)
    data = np.array([0, 0, 0, MAX_LEAVES], np.int32)
    chunks = [pa.array([f"t{n}"], pa.large_string()) for n in range(MAX_LEAVES + 1)]
    column = Column(Kind.TEXT, data, state, Pool(Kind.TEXT, chunks))
    kept = column.tidy()
    assert kept.pool is not None
    assert len(kept.pool.leaves) <= 3
    assert column.pool is not None
    long = Pool(Kind.TEXT, [column.pool, pa.array(["x"] * 5_000, pa.large_string())])
    spare = column._replace(pool=long).tidy()
    assert spare.pool is not None
    assert len(spare.pool) == 2
    for one in (column, kept, spare):
        assert one.objects(None, "-").tolist() == ["t0", None, "-", f"t{MAX_LEAVES}"]


def test_rows_below_are_found_with_few_wanted_and_many() -> None:
    drawn = np.random.default_rng(9)
    rank = drawn.permutation(3_000).astype(np.int32)
    codes = np.argsort(rank)[np.sort(drawn.permutation(3_000)[:2_000])].astype(np.int32)
    finder = Finder(codes)
    for count in (1, 5, 900, 3):
        wanted = np.sort(drawn.integers(0, 3_000, count)).astype(np.int32)
        expected = [int((rank[codes] < one).sum()) for one in wanted]
        assert finder.below(rank, wanted).tolist() == expected
    other = np.roll(rank, 0).copy()
    assert finder.below(other, np.array([5], np.int32)).tolist() == [int((rank[codes] < 5).sum())]
    assert finder.nbytes > 0

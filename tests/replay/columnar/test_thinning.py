"""Snapshots are thinned out within a share of the pieces, and made before the first question."""

from pathlib import Path

import pytest

from audit.replay.columnar.fold.fast import FastReplay
from audit.replay.columnar.fold.prepare import prepare
from audit.replay.columnar.kept import model, thinning
from audit.replay.columnar.kept.files import Digest
from audit.replay.columnar.kept.manifest import SnapshotEntry
from audit.replay.columnar.kept.model import open_read_model
from audit.replay.columnar.kept.thinning import thinned
from audit.replay.points import resolve
from audit.replay.steps import Steps
from tests.replay.columnar.test_read_model import fill
from tests.replay.conftest import LedgerInTest


def entry(dataset: str, size: int, size_bytes: int = 100) -> SnapshotEntry:
    return SnapshotEntry(dataset, size, Digest(f"s.{dataset}.{size}.arrow", size_bytes, "0" * 64))


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small they are."""
    monkeypatch.setattr(thinning, "SMALL_BYTES", 0)


def test_all_stay_while_they_are_small() -> None:
    some = tuple(entry("user", size) for size in range(1, 9))
    assert thinned(some, 10_000) == some


def test_those_left_are_denser_near_the_end_and_the_newest_stays() -> None:
    some = [entry("user", size) for size in range(1, 33)]
    left = [one.size for one in thinned(some, 800)]
    assert len(left) == 8
    assert left[-1] == 32
    gaps = [after - before for before, after in zip([0, *left], left, strict=False)]
    assert gaps[-1] <= 2
    # A gap is never longer than what lies between it and the end, or twice the mean spacing.
    for gap, size in zip(gaps, left, strict=True):
        assert gap <= max(8, 32 - size + gap / 2)


def test_the_newest_of_each_dataset_stays_whatever_it_takes() -> None:
    some = (entry("user", 1), entry("user", 5, 10**6), entry("order", 3, 10**6))
    assert {(one.dataset, one.size) for one in thinned(some, 0)} == {("user", 5), ("order", 3)}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_TAIL_ENTRIES", 6)


@pytest.mark.usefixtures("tiny")
def test_answers_are_the_same_with_few_snapshots_on_disk(
    ledger: LedgerInTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thinning, "SNAPSHOT_SHARE", 0.0)
    fill(ledger, 150)
    found = open_read_model(ledger.store, tmp_path)
    found.seal()
    prepare(found, 8)
    assert {name: len(found.snapshot_sizes(0, name)) for name in ("user", "order")} == {
        "user": 1,
        "order": 1,
    }
    files = sorted(file.name for file in (tmp_path / "log-0").glob("s.*"))
    assert len(files) == 2
    for size in range(4, ledger.store.size(0) + 1, 13):
        cut = resolve(ledger.store, f"0/{size - 1}", 0)
        fast = FastReplay(found, 8).dataset(Steps(ledger.store, "user", cut))
        plain = FastReplay(open_read_model(ledger.store, None), 10**9)
        alone = plain.dataset(Steps(ledger.store, "user", cut))
        assert fast is not None
        assert alone is not None
        assert list(fast.rows()) == list(alone.rows())
        assert fast.frame({}).equals(alone.frame({}))
    # Asking at old cuts leaves no more of them.
    assert sorted(file.name for file in (tmp_path / "log-0").glob("s.*")) == files


@pytest.mark.usefixtures("tiny")
def test_another_process_that_thinned_them_out_is_no_damage(
    ledger: LedgerInTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ledger, 150)
    monkeypatch.setattr(thinning, "SNAPSHOT_SHARE", 1e9)
    found = open_read_model(ledger.store, tmp_path)
    found.seal()
    prepare(found, 8)
    many = found.snapshot_sizes(0, "user")
    assert len(many) > 2
    monkeypatch.setattr(thinning, "SNAPSHOT_SHARE", 0.0)
    fill(ledger, 40, 150)
    other = open_read_model(ledger.store, tmp_path)
    other.seal()
    prepare(other, 8)
    assert found.read_snapshot(0, "user", many[0]) is None
    assert found.notes == []

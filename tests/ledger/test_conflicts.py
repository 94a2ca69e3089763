"""How many conflicting ids the status tells of: exact at every point, each leaf read once."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import audit
from audit.ledger import Ledger, conflicts


def conflict(store: str, first: int, count: int) -> None:
    """So many events, each followed by another one under its id; and one that cannot be read."""
    with audit.Emitter(store) as emit:
        for number in range(first, first + count):
            emit.create("user", number, {"n": 0}, event_id=f"id-{number}")
        emit.flush()
        for number in range(first, first + count):
            emit.create("user", number, {"n": 1}, event_id=f"id-{number}")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The indexes of the leaves that are read for it."""
    seen: list[int] = []
    is_conflict = conflicts._is_conflict

    def watched(log: int, index: int, leaf: bytes) -> bool:
        seen.append(index)
        return is_conflict(log, index, leaf)

    monkeypatch.setattr(conflicts, "_is_conflict", watched)
    monkeypatch.setattr(conflicts, "FEW", 2)
    yield seen
    conflicts._held.clear()


def count(store: str, as_of: str | None = None) -> int:
    with Ledger(store, read_model="off") as ledger:
        return ledger.status(as_of).logs[0].conflicts


def plainly(store: str, as_of: str | None = None) -> int:
    with Ledger(store, read_model="off") as ledger:
        records = ledger.events("kind:quarantined", as_of)
        reasons = [record.entry.reason or "" for record in records]
    return sum(reason.startswith("EVENT_ID_CONFLICT") for reason in reasons)


def test_each_leaf_is_read_once(tmp_path: Path, read: list[int]) -> None:
    store = f"sqlite:///{tmp_path / 'audit.db'}"
    conflict(store, 0, 10)
    assert count(store) == plainly(store) == 10
    assert count(store) == 10
    conflict(store, 10, 5)
    assert count(store) == 15
    assert len(read) == len(set(read)) == 15
    for as_of in ("0/12", "0/20", "0/25", "0/30"):
        assert count(store, as_of) == plainly(store, as_of)


def test_another_store_at_the_address(tmp_path: Path, read: list[int]) -> None:
    """Rolled back and gone on otherwise: nothing of what was known holds."""
    file = tmp_path / "audit.db"
    store = f"sqlite:///{file}"
    conflict(store, 0, 5)
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    old = shutil.copy(file, tmp_path / "old.db")
    conflict(store, 5, 7)
    assert count(store) == 12
    for beside in tmp_path.glob("audit.db-*"):
        beside.unlink()
    shutil.copyfile(old, file)
    assert count(store) == plainly(store) == 5
    conflict(store, 20, 3)
    assert count(store) == plainly(store) == 8
    assert read


def test_what_is_held_is_bounded(
    tmp_path: Path, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conflicts, "MAX_HELD_BYTES", 5 * 8)
    for name, number in (("one", 4), ("two", 4), ("three", 6)):
        (tmp_path / name).mkdir()
        store = f"sqlite:///{tmp_path / name / 'audit.db'}"
        conflict(store, 0, number)
        assert count(store) == number
        assert sum(len(one.indexes) for one in conflicts._held.values()) <= 5
    assert read

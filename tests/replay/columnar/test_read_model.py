"""The read model over a real store: what it gives, how it grows, and what it does with damage."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from audit.replay.columnar.kept import building, model
from audit.replay.columnar.kept.files import Digest, read_arrays, write_arrays
from audit.replay.columnar.kept.model import ReadModel, open_read_model
from audit.replay.columnar.place import read_model_folder
from audit.store import open_reader
from tests.backends import SqliteBackend
from tests.replay.columnar.reading import events_in, events_of, held_by, records_of, said_of
from tests.replay.conftest import LedgerInTest


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few entries, so that there are many."""
    monkeypatch.setattr(model, "MAX_TAIL_ENTRIES", 6)
    monkeypatch.setattr(building, "PIECE_ENTRIES", 32)
    monkeypatch.setattr(building, "BLOCK_ENTRIES", 8)


def fill(ledger: LedgerInTest, count: int, start: int = 0) -> None:
    """Some events of two datasets, sealed at once."""
    events, schemas = [], {}
    for at in range(start, start + count):
        entity = "user" if at % 3 else "order"
        op = "create" if at < 12 else ("update", "delete", "update")[at % 3]
        after = {"n": at, "t": f"x{at % 4}", "mixed": at if at % 2 else "s"}
        said = None if op == "delete" else after
        event, needed = ledger.event(op, at % 12, said, entity=entity)
        events.append(event)
        schemas.update(dict.fromkeys(needed))
    ledger.seal(events, list(schemas))


def told(found: ReadModel, name: str, size: int) -> list[Any]:
    """What the parts say of a dataset below a size."""
    keys = found.key_book(0, name).keys.to_pylist()
    events = []
    for part in found.dataset_parts(0, name, size):
        events += [e for e in events_in(part, keys, [[]] * part.events) if e.told["index"] < size]
    return events


def check(ledger: LedgerInTest, found: ReadModel) -> None:
    """The model says at every size what the log does."""
    leaves = [located.leaf for located in ledger.store.leaves(0)]
    assert found.covered(0) == len(leaves)
    records = records_of(leaves)
    held = [said for part in found.events_parts(0, len(leaves)) for said in held_by(part)]
    assert held == [said_of(record) for record in records]
    for name in ("user", "order"):
        expected = events_of(records, name)
        for event in expected:
            event.told["mentions"] = []
        assert told(found, name, len(leaves)) == expected
        book = found.key_book(0, name)
        seen = dict.fromkeys(event.told["key"] for event in expected)
        assert [key.decode() for key in book.keys.to_pylist()] == list(seen)
        in_order = [book.keys[code].as_py() for code in book.order.tolist()]
        assert in_order == sorted(in_order)


def kept(folder: Path) -> list[tuple[int, int]]:
    """(start, stop) of the pieces on disk."""
    said = json.loads((folder / "log-0" / "manifest.json").read_text())
    return [(piece["start"], piece["stop"]) for piece in said["pieces"]]


def test_without_a_folder_everything_is_in_memory(ledger: LedgerInTest) -> None:
    fill(ledger, 50)
    found = open_read_model(ledger.store, None)
    check(ledger, found)
    fill(ledger, 9, 50)
    check(ledger, found)
    found.seal()
    assert found.sealed(0) == 0
    assert found.notes == []


def test_it_grows_with_the_log_in_few_pieces(ledger: LedgerInTest, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    counts = []
    found = open_read_model(ledger.store, folder)
    for step in range(25):
        fill(ledger, 5, step * 5)
        check(ledger, found)
        assert found.covered(0) - found.sealed(0) <= model.MAX_TAIL_ENTRIES
        counts.append(len(kept(folder)))
    size = ledger.store.size(0)
    assert max(counts) <= size // 32 + 6
    assert found.notes == []
    # Another process sees the same, from disk.
    check(ledger, open_read_model(ledger.store, folder))
    # What was merged is gone.
    names = {file.name for file in (folder / "log-0").iterdir()}
    assert len([name for name in names if name.startswith("e.")]) == len(kept(folder))


def test_asking_again_gives_the_same_objects(ledger: LedgerInTest, tmp_path: Path) -> None:
    fill(ledger, 40)
    found = open_read_model(ledger.store, tmp_path / "model")
    size = found.covered(0)
    book, parts = found.key_book(0, "user"), found.dataset_parts(0, "user", size)
    assert found.key_book(0, "user") is book
    assert all(a is b for a, b in zip(found.dataset_parts(0, "user", size), parts, strict=True))
    ledger.emit("update", 1, {"n": 1})
    assert found.covered(0) == size + 1
    assert found.key_book(0, "user") is book
    ledger.emit("create", "new", {"n": 1})
    found.covered(0)
    assert len(found.key_book(0, "user").keys) == len(book.keys) + 1


def test_two_logs_are_apart(ledger: LedgerInTest, tmp_path: Path) -> None:
    ledger.open_log(1)
    fill(ledger, 20)
    schemas = ledger.event("create", 7, {"n": 7})[1]
    ledger.emit("create", 7, {"n": 7}, log=1)
    assert schemas
    found = open_read_model(ledger.store, tmp_path / "model")
    found.seal()
    assert [key.decode() for key in found.key_book(1, "user").keys.to_pylist()] == ["7"]
    assert found.covered(1) == ledger.store.size(1)
    assert found.covered(2) == 0
    assert [state.sealed for state in found.state()] == [ledger.store.size(0), ledger.store.size(1)]


DAMAGE = {
    "flipped": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "longer": lambda data: data + b"x",
}


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("d.user", "flipped"),
        ("k.user", "cut"),
        ("e.", "flipped"),
        ("d.user", "empty"),
        ("e.", "longer"),
    ],
)
def test_a_damaged_file_is_built_again_and_said(
    ledger: LedgerInTest, tmp_path: Path, kind: str, damage: str
) -> None:
    fill(ledger, 60)
    folder = tmp_path / "model"
    open_read_model(ledger.store, folder).seal()
    before = kept(folder)
    file = next(f for f in sorted((folder / "log-0").iterdir()) if f.name.startswith(kind))
    right = file.read_bytes()
    file.write_bytes(DAMAGE[damage](right))
    found = open_read_model(ledger.store, folder)
    check(ledger, found)
    assert [note for note in found.notes if "built again" in note and file.name in note]
    assert kept(folder)[-1][1] == before[-1][1]
    assert file.read_bytes() == right
    again = open_read_model(ledger.store, folder)
    check(ledger, again)
    assert again.notes == []


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda said: said.update(format=99), "format 99"),
        (lambda said: said.update(origin="example.com/other"), "another log"),
        (lambda said: said["pieces"][1].update(root="ab" * 32), "root hash"),
        (lambda said: said["pieces"][-1].update(stop=10_000), "up to entry 10000"),
        (lambda said: said["pieces"][0].update(start=3), "damaged"),
        (lambda said: said["pieces"][0]["events"].update(name="../../etc/passwd"), "damaged"),
        (lambda said: said["pieces"][0]["events"].update(name="d.user.0-9.arrow"), "built again"),
        (lambda said: said.pop("pieces"), "damaged"),
        (lambda said: said.update(pieces=[[]]), "damaged"),
    ],
)
def test_a_manifest_that_does_not_fit_is_dropped_and_said(
    ledger: LedgerInTest, tmp_path: Path, change: Any, note: str
) -> None:
    fill(ledger, 60)
    folder = tmp_path / "model"
    open_read_model(ledger.store, folder).seal()
    file = folder / "log-0" / "manifest.json"
    said = json.loads(file.read_text())
    change(said)
    file.write_text(json.dumps(said))
    found = open_read_model(ledger.store, folder)
    check(ledger, found)
    assert any(note in line for line in found.notes), found.notes
    found.seal()
    again = open_read_model(ledger.store, folder)
    check(ledger, again)
    assert again.notes == []


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b"[" * 100_000, b"\xff", b'{"format": 1}']
)
def test_a_manifest_that_is_none_is_dropped(
    ledger: LedgerInTest, tmp_path: Path, text: bytes
) -> None:
    fill(ledger, 10)
    (tmp_path / "model" / "log-0").mkdir(parents=True)
    (tmp_path / "model" / "log-0" / "manifest.json").write_bytes(text)
    found = open_read_model(ledger.store, tmp_path / "model")
    check(ledger, found)
    assert "damaged" in found.notes[0]


FORGED: dict[str, Any] = {
    "key": lambda a: {**a, "key": pa.array(np.full(len(a["key"]), 10**6, dtype=np.int32))},
    "offset": lambda a: {**a, "offset": pa.array(a["offset"].to_numpy()[::-1].copy())},
    "op": lambda a: {**a, "op": pa.array(np.full(len(a["op"]), 9, dtype=np.uint8))},
    "values": lambda a: {**a, "values.0": a["values.0"].slice(1)},
    "type": lambda a: {**a, "values.0": a["values.0"].cast(pa.float32())},
    "column": lambda a: {name: array for name, array in a.items() if name != "whole"},
    "nothing": lambda a: {},
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_file_with_the_right_digest_is_refused(
    ledger: LedgerInTest, tmp_path: Path, kind: str
) -> None:
    fill(ledger, 60)
    folder = tmp_path / "model"
    open_read_model(ledger.store, folder).seal()
    manifest = folder / "log-0" / "manifest.json"
    said = json.loads(manifest.read_text())
    entry = said["pieces"][0]["datasets"]["user"]
    held = read_arrays(folder / "log-0", Digest(**entry))
    forged = FORGED[kind](dict(held.arrays))
    said["pieces"][0]["datasets"]["user"] = write_arrays(
        folder / "log-0", entry["name"], forged, held.about
    )._asdict()
    manifest.write_text(json.dumps(said))
    found = open_read_model(ledger.store, folder)
    check(ledger, found)
    assert "built again" in found.notes[0]


def test_deleting_the_folder_hurts_no_query(ledger: LedgerInTest, tmp_path: Path) -> None:
    fill(ledger, 60)
    folder = tmp_path / "model"
    open_read_model(ledger.store, folder).seal()
    found = open_read_model(ledger.store, folder)
    size = found.covered(0)
    parts = found.dataset_parts(0, "user", size)
    shutil.rmtree(folder)
    assert sum(part.events for part in parts) == len(told(found, "user", size))
    check(ledger, found)
    fill(ledger, 20, 60)
    check(ledger, found)


def test_a_folder_that_cannot_be_written_is_said_and_done_without(
    ledger: LedgerInTest, tmp_path: Path
) -> None:
    fill(ledger, 40)
    (tmp_path / "model").write_text("no folder")
    found = open_read_model(ledger.store, tmp_path / "model")
    check(ledger, found)
    assert len(found.notes) == 1
    assert "cannot be kept" in found.notes[0]


def test_what_a_dead_writer_left_is_cleared_away(ledger: LedgerInTest, tmp_path: Path) -> None:
    fill(ledger, 40)
    left = tmp_path / "model" / "log-0" / ".tmp-0123"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    own = left.with_name("notes.txt")
    own.write_text("somebody else's")
    found = open_read_model(ledger.store, tmp_path / "model")
    found.seal()
    assert not left.exists()
    found.drop()
    assert own.exists()
    assert sorted(file.name for file in own.parent.iterdir()) == ["notes.txt"]


BUILD = """
import sys
from pathlib import Path
from audit.replay.columnar.kept import building
from audit.replay.columnar.kept import model
from audit.store import open_reader
model.MAX_TAIL_ENTRIES, building.PIECE_ENTRIES, building.BLOCK_ENTRIES = 6, 32, 8
with open_reader(sys.argv[1]) as reader:
    found = model.open_read_model(reader, Path(sys.argv[2]))
    found.seal()
    print(found.covered(0), len(found.key_book(0, "user").keys), found.notes)
"""


def test_processes_that_build_at_once_get_the_same(ledger: LedgerInTest, tmp_path: Path) -> None:
    fill(ledger, 200)
    command = [sys.executable, "-c", BUILD, ledger.backend.url, str(tmp_path / "model")]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)
    ]
    said = {one.communicate() for one in running}
    assert len(said) == 1, said
    assert next(iter(said))[1] == b""
    found = open_read_model(ledger.store, tmp_path / "model")
    check(ledger, found)
    assert found.notes == []


def test_threads_may_ask_at_once(ledger: LedgerInTest, tmp_path: Path) -> None:
    fill(ledger, 60)
    found = open_read_model(ledger.store, tmp_path / "model")
    answers: list[int] = []

    def ask() -> None:
        answers.append(len(told(found, "user", found.covered(0))))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert len(set(answers)) == 1


def test_snapshots_are_kept_and_checked(ledger: LedgerInTest, tmp_path: Path) -> None:
    fill(ledger, 60)
    folder = tmp_path / "model"
    found = open_read_model(ledger.store, folder)
    found.seal()
    arrays = {"a": pa.array([1, None, 3]), "b": pa.array(["x"]).dictionary_encode()}
    found.write_snapshot(0, "user", 40, arrays)
    found.write_snapshot(0, "user", 100_000, arrays)
    other = open_read_model(ledger.store, folder)
    assert other.snapshot_sizes(0, "user") == [40]
    read = other.read_snapshot(0, "user", 40)
    assert read is not None
    assert {name: array.to_pylist() for name, array in read.items()} == {
        "a": [1, None, 3],
        "b": ["x"],
    }
    assert other.read_snapshot(0, "user", 41) is None
    (folder / "log-0" / "s.user.40.arrow").write_bytes(b"")
    broken = open_read_model(ledger.store, folder)
    assert broken.read_snapshot(0, "user", 40) is None
    assert "snapshot" in broken.notes[0]
    assert broken.snapshot_sizes(0, "user") == []


def test_another_ledger_in_place_of_the_first_is_noticed(
    ledger: LedgerInTest, tmp_path: Path
) -> None:
    fill(ledger, 60)
    folder = tmp_path / "model"
    open_read_model(ledger.store, folder).seal()
    (tmp_path / "other").mkdir()
    other = LedgerInTest(SqliteBackend(tmp_path / "other"))
    with other.store:
        fill(other, 70, 5)
        found = open_read_model(other.store, folder)
        check(other, found)
        assert "root hash" in found.notes[0]


def test_an_event_taken_out_by_what_is_no_change_is_folded_plainly(ledger: LedgerInTest) -> None:
    ledger.emit("create", 1, {"n": 1}, event_id="first")
    log, index = ledger.record(
        "note.taken", {"n": 1}, entity_type="user", entity_key="1", supersedes="first"
    )
    found = open_read_model(ledger.store, None)
    found.covered(0)
    assert found.must_be_plain("user", ledger.cut(f"{log}/{index}"))
    assert not found.must_be_plain("user", ledger.cut(f"{log}/{index - 1}"))
    assert not found.must_be_plain("order", ledger.cut())


def test_a_leaf_that_is_none_ends_the_model_and_is_said(
    ledger: LedgerInTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ledger, 30)

    def damaged(log: int, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        for located in leaves(log, start, stop):
            yield located._replace(leaf=b"?") if located.index == 20 else located

    leaves = ledger.store.leaves
    monkeypatch.setattr(ledger.store, "leaves", damaged)
    found = open_read_model(ledger.store, tmp_path / "model")
    assert found.covered(0) < 20
    assert "entry 0/20 cannot be read" in found.notes[0]


def test_where_it_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AUDIT_READ_MODEL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    beside = read_model_folder("sqlite:///x/audit.db", Path("x/audit.db"))
    assert beside == Path("x/audit-readmodel/audit.db")
    served = read_model_folder("postgresql://host/db", None)
    assert served is not None
    assert served.parent == tmp_path / "cache" / "attestory" / "readmodel"
    monkeypatch.setenv("AUDIT_READ_MODEL", str(tmp_path / "here"))
    named = read_model_folder("sqlite:///x/audit.db", Path("x/audit.db"))
    assert named is not None
    assert named.parent == tmp_path / "here"
    monkeypatch.setenv("AUDIT_READ_MODEL", "off")
    assert read_model_folder("sqlite:///x/audit.db", Path("x/audit.db")) is None


def test_a_url_opens_the_same(ledger: LedgerInTest, tmp_path: Path) -> None:
    fill(ledger, 20)
    with open_reader(ledger.backend.url) as reader:
        check(ledger, open_read_model(reader, tmp_path / "model"))

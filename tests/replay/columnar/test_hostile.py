"""A read model that somebody else wrote to, a log put back, a writer that is stopped: same answers.

Digests fit here: whoever can write a file can write the manifest, too.
"""

import ctypes
import fcntl
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from audit.errors import AuditError
from audit.ledger.facade import Ledger
from audit.replay.columnar.fold.fast import FastReplay
from audit.replay.columnar.kept import folder as folders
from audit.replay.columnar.kept import model
from audit.replay.columnar.kept.files import CannotKeep, Digest, read_arrays, write_arrays
from audit.replay.columnar.kept.folder import LogFolder
from audit.replay.columnar.kept.model import open_read_model
from audit.replay.columnar.place import folder_mode
from tests.backends import SqliteBackend
from tests.replay.columnar.compare import same_answers
from tests.replay.conftest import LedgerInTest, open_columns

MIN_EVENTS = 8
AT_FDCWD = -100
RENAME_EXCHANGE = 2
Arrays = dict[str, Any]
About = dict[str, Any]


def tell(ledger: LedgerInTest, first: int = 0) -> None:
    """Some rows with a column of every kind."""
    events, schemas = [], {}
    for at in range(first, first + 30):
        after = {
            **{"n": at, "f": at / 2, "b": at % 2 == 0, "t": f"x{at % 3}", "u": f"u{at}"},
            **{"d": date(2020, 1, 1 + at % 28), "w": datetime(2020, 1, 1, at % 24, tzinfo=UTC)},
            **{"m": at if at % 2 else "s", "y": b"\x00"},
        }
        event, needed = ledger.event("update" if at % 3 else "create", f"k{at % 9}", after)
        events.append(event)
        schemas.update(dict.fromkeys(needed))
    ledger.seal(events, list(schemas))


def compare(ledger: LedgerInTest, folder: Path) -> list[str]:
    """What the read model in a folder says is what the log says; gives its notes."""
    found = open_columns(ledger.store, folder)
    fast = FastReplay(found, MIN_EVENTS)
    for as_of in (None, "0/20"):
        assert same_answers(ledger.store, fast, "user", ledger.cut(as_of), None) is not None
    found.events_parts(0, ledger.store.size(0))
    return found.notes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LedgerInTest, Path]]:
    """A ledger that is only read, and a folder with its read model and snapshots, to be copied."""
    ledger = LedgerInTest(SqliteBackend(tmp_path_factory.mktemp("made")))
    folder = tmp_path_factory.mktemp("columns")
    with ledger.store:
        tell(ledger)
        open_columns(ledger.store, folder).seal()
        compare(ledger, folder)
        yield ledger, folder


@pytest.fixture
def read(made: tuple[LedgerInTest, Path]) -> LedgerInTest:
    """The ledger that is only read."""
    return made[0]


@pytest.fixture
def kept(made: tuple[LedgerInTest, Path], tmp_path: Path) -> Path:
    """A copy of its read model and snapshots, to be damaged."""
    return Path(shutil.copytree(made[1], tmp_path / "columns"))


def entry_in(said: Any, kind: str) -> Any:
    """The entry of the last file of a kind in a manifest."""
    found = []
    if isinstance(said, dict) and str(said.get("name", "")).startswith(f"{kind}."):
        found.append(said)
    for one in said.values() if isinstance(said, dict) else said if isinstance(said, list) else ():
        inner = entry_in(one, kind)
        if inner is not None:
            found.append(inner)
    return found[-1] if found else None


def forge(folder: Path, kind: str, change: Callable[[Arrays, About], None]) -> None:
    """Rewrite a file of a kind, and its digest."""
    own = folder / "log-0"
    said = json.loads((own / "manifest.json").read_text())
    entry = entry_in(said, kind)
    held = read_arrays(own, Digest(**entry))
    arrays, about = dict(held.arrays), dict(held.about)
    change(arrays, about)
    entry.update(write_arrays(own, entry["name"], arrays, about)._asdict())
    (own / "manifest.json").write_text(json.dumps(said))


def _of_type(arrays: Arrays, type_: pa.DataType) -> str:
    """The name of the cells with a type."""
    return next(n for n, a in arrays.items() if n.startswith("values.") and a.type == type_)


def _no_texts(arrays: Arrays, _: About) -> None:
    del arrays["texts.reason"]


def _no_utf8_texts(arrays: Arrays, _: About) -> None:
    arrays["texts.type"] = pa.array([b"\xff"] * len(arrays["texts.type"]), pa.large_binary())


def _no_utf8_keys(arrays: Arrays, _: About) -> None:
    count = len(arrays["keys"])
    arrays["keys"] = pa.array([b"\xff%d" % at for at in range(count)], pa.large_binary())


def _no_day(arrays: Arrays, _: About) -> None:
    name = _of_type(arrays, pa.date32())
    arrays[name] = pa.array([2**31 - 1] * len(arrays[name]), pa.int32()).view(pa.date32())


def _no_time(arrays: Arrays, _: About) -> None:
    name = _of_type(arrays, pa.timestamp("us", "UTC"))
    times = pa.array([2**63 - 1] * len(arrays[name]), pa.int64())
    arrays[name] = times.view(pa.timestamp("us", "UTC"))


def _null_in_dictionary(arrays: Arrays, _: About) -> None:
    name = next(n for n, a in arrays.items() if pa.types.is_dictionary(a.type))
    codes = pa.array([0] * len(arrays[name]), pa.int32())
    arrays[name] = pa.DictionaryArray.from_arrays(codes, pa.array([None], pa.string()))


def _no_name(_: Arrays, about: About) -> None:
    about["fields"] = ["\ud800", *about["fields"][1:]]


def _mentioned_before_the_first(_: Arrays, about: About) -> None:
    about["first"] = {**about["first"], "n": -5}


PIECES = {
    "texts that are not there": ("e", _no_texts),
    "texts that are no UTF-8": ("e", _no_utf8_texts),
    "keys that are no UTF-8": ("k", _no_utf8_keys),
    "a day that is none": ("d", _no_day),
    "a time that is none": ("d", _no_time),
    "a null in a dictionary": ("d", _null_in_dictionary),
    "a name that is no text": ("d", _no_name),
    "a mention before the first event": ("d", _mentioned_before_the_first),
}


@pytest.mark.parametrize("what", PIECES)
def test_forged_pieces_are_built_again(read: LedgerInTest, kept: Path, what: str) -> None:
    for file in (kept / "log-0").glob("s.*"):
        file.unlink()  # so that the pieces are asked
    forge(kept, *PIECES[what])
    assert any("built again" in note for note in compare(read, kept))


TOLD: dict[str, Any] = {
    **{"careful": ["x"], "unread": [10**6], "fields": ["\ud800"], "keys": 10**9, "events": -1},
    **{"columns": [["n", 99]], "plain": "no", "valid_to_us": None, "format": 2},
}


@pytest.mark.parametrize("name", TOLD)
def test_snapshots_that_tell_nonsense_are_not_used(
    read: LedgerInTest, kept: Path, name: str
) -> None:
    def change(arrays: Arrays, _: About) -> None:
        about = json.loads(arrays["about"][0].as_py())
        arrays["about"] = pa.array([json.dumps({**about, name: TOLD[name]})])

    forge(kept, "s", change)
    compare(read, kept)


@pytest.mark.parametrize("part", ["codes", "data", "state", "pool", "about"])
def test_snapshots_that_hold_nonsense_are_not_used(
    read: LedgerInTest, kept: Path, part: str
) -> None:
    def change(arrays: Arrays, _: About) -> None:
        for name, array in arrays.items():
            if not name.startswith(part):
                continue
            if part == "about":
                arrays[name] = pa.array([2**31 - 1], pa.int32()).view(pa.date32())
            elif pa.types.is_integer(array.type):
                most = {"codes": 7, "state": 3}.get(part, 2 ** (array.type.bit_width - 1) - 1)
                arrays[name] = pa.array([min(most, 255)] * len(array), array.type)
            else:
                arrays[name] = pa.nulls(len(array), array.type)

    def only_numbers_of_pools(arrays: Arrays, about: About) -> None:
        # Any number is a value of an integer column: only what leads elsewhere is nonsense.
        kinds = json.loads(arrays["about"][0].as_py())["columns"]
        kept_as_is = {
            n: arrays[n] for at, (f, _) in enumerate(kinds) if f in "nf" for n in [f"data{at}"]
        }
        change(arrays, about)
        arrays.update(kept_as_is)

    forge(kept, "s", only_numbers_of_pools)
    compare(read, kept)


def test_a_value_that_is_none_is_an_error_of_ours(read: LedgerInTest, kept: Path) -> None:
    for file in (kept / "log-0").glob("s.*"):
        file.unlink()

    def change(arrays: Arrays, _: About) -> None:
        name = _of_type(arrays, pa.large_binary())
        arrays[name] = pa.array([b"\x02\x05"] * len(arrays[name]), pa.large_binary())

    forge(kept, "d", change)
    with pytest.raises(AuditError, match="delete its folder"):
        compare(read, kept)


@pytest.mark.parametrize("name", ["manifest.json", "e.*", "d.*", "k.*", "o.*", "s.*", "lock"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(
    read: LedgerInTest, kept: Path, name: str
) -> None:
    for file in (kept / "log-0").glob(name):
        file.unlink()
        os.mkfifo(file)
    compare(read, kept)


def test_a_path_that_cannot_be_is_done_without(ledger: LedgerInTest) -> None:
    tell(ledger)
    found = open_read_model(ledger.store, Path("a\0b"))
    assert found.covered(0) == ledger.store.size(0)


class Restored:
    """A reader of a database that is put back, or replaced, under a process that goes on."""

    def __init__(self, *ledgers: LedgerInTest) -> None:
        self.now = ledgers[0]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now.store, name)


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_log_that_was_put_back_is_read_again(
    ledger: LedgerInTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_disk: bool
) -> None:
    monkeypatch.setattr(model, "MAX_TAIL_ENTRIES", 6)
    tell(ledger)
    reader: Any = Restored(ledger)
    found = open_read_model(reader, tmp_path / "columns" if on_disk else None)
    fast = FastReplay(found, MIN_EVENTS)
    for folder, counts in (("shorter", (3,)), ("longer", (7, 40, 90))):
        (tmp_path / folder).mkdir()
        other = LedgerInTest(SqliteBackend(tmp_path / folder))
        with other.store:
            assert same_answers(reader, fast, "user", reader.now.cut(), None) is not None
            for count in counts:
                other.emit("create", f"other{count}", {"n": count})
                tell(other, count) if count > 3 else None
            reader.now = other
            assert same_answers(reader, fast, "user", other.cut(), None) is not None
            assert any("another than before" in note for note in found.notes)
            reader.now = ledger
            found.notes.clear()


def test_a_log_in_place_of_another_of_the_same_size_is_read(
    ledger: LedgerInTest, tmp_path: Path
) -> None:
    tell(ledger)
    reader: Any = Restored(ledger)
    fast = FastReplay(open_read_model(reader, None), MIN_EVENTS)
    (tmp_path / "other").mkdir()
    other = LedgerInTest(SqliteBackend(tmp_path / "other"))
    with other.store:
        tell(other, 1)
        assert other.store.size(0) == ledger.store.size(0)
        for now in (ledger, ledger, other, other, ledger):
            reader.now = now
            assert same_answers(reader, fast, "user", now.cut(), None) is not None


def test_a_writer_that_is_stopped_is_not_waited_for(
    ledger: LedgerInTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "STALLED_S", 0.2)
    monkeypatch.setattr(model, "MAX_TAIL_ENTRIES", 6)
    tell(ledger)
    own = tmp_path / "columns" / "log-0"
    own.mkdir(parents=True)
    with open(own / "lock", "wb") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        assert any("in memory" in note for note in compare(ledger, tmp_path / "columns"))


def test_a_folder_that_becomes_a_file_while_waited_for(tmp_path: Path) -> None:
    own = LogFolder(tmp_path / "columns", 0)
    (tmp_path / "file").write_bytes(b"")

    def replace() -> None:
        # In one step, or the one who waits may make the folder anew in between.
        libc = ctypes.CDLL(None, use_errno=True)
        names = os.fsencode(own.path), os.fsencode(tmp_path / "file")
        assert libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0

    with own.locked() as mine:
        assert mine
        threading.Timer(0.1, replace).start()
        with pytest.raises(CannotKeep), own.locked(5.0):
            pass


@pytest.mark.parametrize(("mode", "expected"), [(0o600, 0o700), (0o640, 0o750), (0o644, 0o755)])
def test_who_may_not_read_the_store_may_not_read_its_columns(
    ledger: LedgerInTest, tmp_path: Path, mode: int, expected: int
) -> None:
    tell(ledger)
    (tmp_path / "audit.db").chmod(mode)
    with Ledger(ledger.backend.url, read_model=tmp_path / "columns") as opened:
        assert opened.read_model is not None
        opened.read_model.seal()
    assert (tmp_path / "columns" / "log-0").stat().st_mode & 0o777 == expected
    assert folder_mode(None) == 0o700

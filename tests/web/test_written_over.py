"""A SQLite file that is written over in place under a running server: `cp other.db audit.db`.

SQLite does not notice: it goes on with the pages that it has in memory. No answer may be of both.
"""

import os
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

import audit
from audit.errors import StoreCorrupt
from audit.ledger import Ledger
from audit.replay.columnar.kept import logmodel
from audit.replay.columnar.kept.building import Built, build
from audit.replay.columnar.kept.model import open_read_model
from tests.web.conftest import MakeWeb, Web

PAGES = (
    "/index.json",
    "/events.json?limit=100",
    "/entity.json?ref=user/3",
    "/dataset.csv?name=user",
    "/event/receipt?at=0/3",
)
READERS, ROUNDS = 4, 12


def make(folder: Path, value: str, events: int) -> Path:
    """A ledger that says one thing in all rows, wholly in its file."""
    folder.mkdir()
    file = folder / "audit.db"
    with audit.Emitter(f"sqlite:///{file}") as emit:
        for number in range(events):
            emit.create("user", number, {"a": value, "pad": "x" * 100})
    emptied(file)
    return file


def emptied(file: Path) -> None:
    """Take everything out of the write-ahead log into the file."""
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def said(web: Web) -> set[str]:
    """What is told by all pages that answer; whoever answers tells of one ledger."""
    found: set[str] = set()
    for path in PAGES:
        got = web.get(path, None)
        assert got.status in (200, 409, 503), got.text
        if got.status == 200:
            of = {word for word in ("alpha", "omega") if word in got.text}
            assert len(of) < 2, path
            found |= of
    return found


def test_another_ledger_is_shown_wholly(make_web: MakeWeb, tmp_path: Path) -> None:
    file, other = make(tmp_path / "a", "alpha", 300), make(tmp_path / "b", "omega", 900)
    kept = shutil.copy(file, tmp_path / "kept.db")
    web = make_web(file.parent, access="none")
    assert said(web) == {"alpha"}
    origin = web.json("/index")["logs"][0]["origin"]
    number = file.stat().st_ino
    shutil.copyfile(other, file)
    assert file.stat().st_ino == number
    assert said(web) == {"omega"}
    shown = web.json("/index")["logs"][0]
    assert shown["origin"] != origin and shown["size"] == 905
    for size in (8_192, 5_000, 0):
        os.truncate(file, size)
        assert said(web) == set()
        assert {web.get(path, None).status for path in PAGES} <= {409, 503}
    shutil.copyfile(kept, file)
    assert said(web) == {"alpha"}
    assert web.json("/index")["logs"][0]["origin"] == origin


def test_an_older_copy_of_the_same_ledger(make_web: MakeWeb, tmp_path: Path) -> None:
    """The same name, fewer entries, and another history after them."""
    file = make(tmp_path / "a", "alpha", 50)
    old = shutil.copy(file, tmp_path / "old.db")
    with audit.Emitter(f"sqlite:///{file}") as emit:
        emit.update("user", 3, {"a": "overruled"})
    emptied(file)
    web = make_web(file.parent, access="none")
    assert "overruled" in web.get("/entity.json?ref=user/3").text
    shutil.copyfile(old, file)
    assert "overruled" not in web.get("/entity.json?ref=user/3").text
    assert web.json("/index")["logs"][0]["size"] == 55
    with audit.Emitter(f"sqlite:///{file}") as emit:
        emit.update("user", 3, {"a": "otherwise"})
    assert "otherwise" in web.get("/entity.json?ref=user/3").text
    assert "overruled" not in web.get("/events.json?limit=100").text


def test_what_the_write_ahead_log_still_holds_is_not_laid_over_the_new_one(
    make_web: MakeWeb, tmp_path: Path
) -> None:
    """SQLite would do that; until it is put right every page says what is wrong."""
    file, other = make(tmp_path / "a", "alpha", 300), make(tmp_path / "b", "omega", 900)
    web = make_web(file.parent, access="none")
    assert said(web) == {"alpha"}
    emit = audit.Emitter(f"sqlite:///{file}")
    emit.update("user", 3, {"a": "alpha"})
    emit.close()
    assert said(web) == {"alpha"}
    assert (file.parent / "audit.db-wal").stat().st_size > 0
    shutil.copyfile(other, file)
    for _ in range(2):
        assert "audit.db-wal" in web.get("/index.json", 503).json["detail"]
        assert {web.get(path, None).status for path in PAGES} == {503}
    (file.parent / "audit.db-wal").unlink()
    (file.parent / "audit.db-shm").unlink(missing_ok=True)
    assert said(web) == {"omega"}


def test_while_many_ask(make_web: MakeWeb, tmp_path: Path) -> None:
    """It goes to and fro between two ledgers, in pieces, as a slow copy does."""
    file, other = make(tmp_path / "a", "alpha", 300), make(tmp_path / "b", "omega", 900)
    kept = Path(shutil.copy(file, tmp_path / "kept.db"))
    web = make_web(file.parent, access="none")
    wrong: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                said(web)
            except AssertionError as error:
                wrong.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    for turn in range(ROUNDS):
        data = (other, kept)[turn % 2].read_bytes()
        with file.open("r+b") as out:
            out.truncate(0)
            for at in range(0, len(data), 65_536):
                out.write(data[at : at + 65_536])
                out.flush()
        web.get("/index.json", None)
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]
    assert said(web) == {"alpha"}


def test_the_read_model_of_two_ledgers_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exchanged while it is read: bound to the root of the second, it would tell of both."""
    file = make(tmp_path / "a", "alpha", 50)
    base = shutil.copy(file, tmp_path / "base.db")
    other = tmp_path / "other.db"
    for value in ("second", "first"):
        shutil.copyfile(base, file)
        with audit.Emitter(f"sqlite:///{file}") as emit:
            emit.update("user", 3, {"a": value})
        emptied(file)
        if value == "second":
            shutil.copyfile(file, other)
    with Ledger(f"sqlite:///{file}", read_model="off") as ledger:
        model = open_read_model(ledger.reader, tmp_path / "columns")

        def exchanged(*given: object) -> object:
            for piece, full in build(*given):  # type: ignore[arg-type]
                shutil.copyfile(other, file)
                ledger.reader.close()
                yield Built(piece, full)

        monkeypatch.setattr(logmodel, "build", exchanged)
        with pytest.raises(StoreCorrupt, match="exchanged while it was read"):
            model.seal()
        assert model.state()[0].sealed == 0

"""The read model is made while nobody waits, and does not stand in the way of what needs none."""

import http.client
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import audit
from audit.ledger import Ledger
from audit.replay.columnar.kept.folder import LogFolder
from audit.web import WebOptions, freshening
from audit.web.readers import Readers
from tests.web.once import made_once

EVENTS = 17_000
"""More than are read into memory each time (MAX_TAIL_ENTRIES)."""
WAIT_S = 60


@pytest.fixture(scope="session")
def large_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger worth a read model. Not to be written to."""

    def make(folder: Path) -> None:
        folder.mkdir()
        with audit.Emitter(f"sqlite:///{folder / 'audit.db'}") as emit:
            for number in range(EVENTS):
                emit.create("user", number, {"n": number})

    return made_once("web-large", tmp_path_factory, make)


@pytest.fixture
def large(large_original: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "ledger"
    shutil.copytree(large_original, folder)
    return folder


def store_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'audit.db'}"


def get(url: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=WAIT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait_for(is_so: "threading.Event | object", what: str) -> None:
    assert callable(is_so)
    until = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < until, what
        time.sleep(0.02)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[object]:
    """Starts `audit serve`; what it says goes into a file."""
    running: list[subprocess.Popen[bytes]] = []

    def start(store: str) -> tuple[subprocess.Popen[bytes], str, Path]:
        said = tmp_path / f"said-{len(running)}"
        command = [sys.executable, "-m", "audit", "serve", "--port", "0", "--access", "none"]
        with said.open("wb") as out:
            running.append(subprocess.Popen([*command, "--store", store], stderr=out))
        wait_for(lambda: said.read_text().startswith("http"), "the server does not start")
        return running[-1], said.read_text().split()[0], said

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_it_is_made_before_anybody_asks(
    large: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is kept, goes on with what comes, and is said once."""
    monkeypatch.setattr(freshening, "SAID_FROM_ENTRIES", 1_000)
    caplog.set_level(logging.INFO, "audit.web")
    readers = Readers(WebOptions(store_of(large)))
    done = threading.Event()
    readers.keep_fresh(done.set)
    assert done.wait(WAIT_S)
    with Ledger(store_of(large)) as ledger, readers.lent() as lent:
        assert ledger.read_model is not None and lent.read_model is not None
        assert ledger.read_model.state()[0].sealed == ledger.reader.size(0)
        with audit.Emitter(store_of(large)) as emit:
            emit.create("user", "one more", {"n": 1})
        readers._freshen()
        sizes = [one.stop for one in lent.read_model._logs[0].pieces()]
        assert sizes[-1] == ledger.reader.size(0)
    readers._freshen()
    readers.close()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("the read model is made: 17,")
    assert said[1].startswith("the read model is up to its log, after ")


def test_what_cannot_be_kept_is_not_read_unasked(
    large: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory is for what somebody asks; a little of it is worth that nobody waits."""
    monkeypatch.setattr(freshening, "SAID_FROM_ENTRIES", 1_000)
    monkeypatch.setattr(freshening, "MOST_UNASKED", 1_000)
    caplog.set_level(logging.INFO, "audit.web")
    (large / "file").touch()
    readers = Readers(WebOptions(store_of(large), read_model=str(large / "file" / "below")))
    readers._freshen()
    readers._freshen()
    with readers.lent() as ledger:
        assert ledger.read_model is not None
        assert ledger.read_model._logs[0].stop == 0
        assert len(ledger.dataset("user").to_arrow()) == EVENTS
        assert ledger.read_model._logs[0].stop == ledger.reader.size(0)
    readers.close()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and "cannot be kept on disk: it is made when first needed" in said[0]


def test_a_server_ends_at_once_while_somebody_waits_for_it(large: Path, serve: object) -> None:
    """Another process holds the read model for ever: rows and searches are answered, and the end
    does not wait for who waits for the dataset."""
    assert callable(serve)
    folder = LogFolder(large / "audit-readmodel" / "audit.db", 0)
    with folder.locked() as mine:
        assert mine
        process, url, _ = serve(store_of(large))
        answers: list[object] = []

        def ask() -> None:
            try:
                answers.append(get(url, "/dataset?name=user")[0])
            except (OSError, http.client.HTTPException) as error:
                answers.append(error)

        waiting = threading.Thread(target=ask)
        waiting.start()
        for path in (
            "/",
            "/entity?ref=user/5",
            "/events",
            "/events?q=actor:nobody",
            "/event?at=0/9",
        ):
            assert get(url, path)[0] in (200, 404)
        assert not answers
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) in (0, -signal.SIGINT, 130)
        waiting.join(WAIT_S)
    assert answers and answers[0] != 200


def test_a_kill_in_the_middle_leaves_what_the_next_one_can_use(large: Path, serve: object) -> None:
    """The next server makes it, whatever was left."""
    assert callable(serve)
    process, _, _ = serve(store_of(large))
    process.kill()
    process.wait(WAIT_S)
    readers = Readers(WebOptions(store_of(large)))
    readers._freshen()
    readers.close()
    with Ledger(store_of(large)) as ledger:
        model = ledger.read_model
        assert model is not None
        assert model.state()[0].sealed == ledger.reader.size(0)
        assert os.listdir(large / "audit-readmodel") == ["audit.db"]

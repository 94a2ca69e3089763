"""`audit serve` as a process: it says where it is, answers, and ends when told to."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import audit
from audit.web.guard.who import read_tokens
from tests.cli.conftest import run
from tests.services.postgres import PostgresServer

ANSWER_S = 120

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small ledger."""
    made = tmp_path_factory.mktemp("serve")
    with audit.Emitter(f"sqlite:///{made / 'audit.db'}") as emit:
        emit.create("user", 1, {"name": "a"})
    return made


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts `audit serve` over the ledger; whatever still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def begin(*words: str, store: str = f"sqlite:///{folder / 'audit.db'}") -> "subprocess.Popen":
        command = [sys.executable, "-m", "audit", "serve", "--store", store, *words]
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate(timeout=ANSWER_S)


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("http://127.0.0.1:"), line + process.stderr.read()
    return urlsplit(line.split()[0]).netloc


def _asked(netloc: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(netloc, timeout=ANSWER_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_it_answers_and_ends_when_told_to(start: Start, folder: Path) -> None:
    """Both signals, each at the end of one process; the looks are in the access ledger."""
    both = start("--port", "0"), start("--port", "0", "--access", "none")
    addresses = [_address(process) for process in both]
    for netloc in addresses:
        status, body = _asked(netloc, "/events.json")
        assert status == 200 and json.loads(body)["events"][0]["entity_key"] == "1"
    for process, number in zip(both, (signal.SIGINT, signal.SIGTERM), strict=True):
        process.send_signal(number)
    for process in both:
        _, said = process.communicate(timeout=ANSWER_S)
        assert "Traceback" not in said
        assert process.returncode in (0, 130, -signal.SIGTERM, 143), said
    access = f"sqlite:///{folder / 'audit.access.db'}"
    audit.Emitter(access).close()  # what the end had no time to seal was left in the spool
    with audit.Ledger(access) as looks:
        assert list(looks.replay("access")["path"]) == ["/events.json"]


def test_what_cannot_be_served_is_said_in_a_line(start: Start, folder: Path) -> None:
    """A port in use, no store, an access ledger that cannot be: no traceback, and no success."""
    store = f"sqlite:///{folder / 'audit.db'}"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start("--port", str(taken.getsockname()[1]), "--access", "none")
        _, said = process.communicate(timeout=ANSWER_S)
    assert process.returncode not in (0, None) and "Traceback" not in said, said
    assert "cannot listen" in said
    # These two end before anything is served: no process is needed to see it.
    missing = f"sqlite:///{folder / 'none.db'}"
    assert "no ledger" in run("serve", "--port", "0", "--store", missing, code=3).err
    nowhere = f"sqlite:///{folder / 'no/such/folder.db'}"
    access = ("--access", nowhere)
    assert "--access names" in run("serve", "--port", "0", "--store", store, *access, code=3).err
    assert not (folder / "none.db").exists()


def test_a_store_on_a_server(
    start: Start,
    postgres_server: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PostgreSQL, looked at by a connection that cannot write; its password is not shown."""
    monkeypatch.chdir(tmp_path)  # where the key of a ledger on a server is made
    store = postgres_server.new_database()
    run("emit", "create", "user", "1", '{"name": "a"}', "--store", store)
    process = start("--port", "0", "--access", "none", store=store)
    netloc = _address(process)
    for path in ("/", "/events", "/event?at=HEAD", "/entity?ref=user/1", "/dataset.csv?name=user"):
        status, body = _asked(netloc, path)
        assert status == 200, body
    process.send_signal(signal.SIGTERM)
    assert "Traceback" not in process.communicate(timeout=ANSWER_S)[1]


def test_strangers_and_new_tokens(folder: Path) -> None:
    """Another address needs tokens; `--new-token` makes one, and its line is one of the file."""
    store = f"sqlite:///{folder / 'audit.db'}"
    refused = run("serve", "--host", "0.0.0.0", "--port", "0", "--store", store, code=2)
    assert "--tokens" in refused.err
    made = run("serve", "--new-token", "alice")
    (folder / "tokens").write_text(made.out)
    assert list(read_tokens(folder / "tokens").values()) == ["alice"]
    assert "shown once" in made.err
    run("serve", "--new-token", "not one", code=2)


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """One line, as of every extra."""
    for name in [one for one in sys.modules if one.startswith(("audit.web", "fastapi"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    said = run("serve", "--store", f"sqlite:///{folder / 'audit.db'}", code=3)
    assert "attestory[web]" in said.err

"""Clients that are silent, slow or gone; the end of a server while it gives out a table."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import audit
from audit.web.answer import Table
from audit.web.forms import PIECE_CHARS, ROWS_BETWEEN, csv_stream
from audit.web.guard import connection
from audit.web.readers import MAX_STREAMS_OF_ONE
from tests.consumers.processes import wait_until
from tests.web.conftest import MakeWeb, Web

WAIT_S = 120
ASKED = b"GET /dataset.csv?name=note HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """A connection that takes little at a time."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(WAIT_S)
        client.connect(("127.0.0.1", port))
        yield client


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def is_answered(client: socket.socket) -> bool:
    """Whether there is a whole answer to HEALTH."""
    got = b""
    while not got.endswith(b"ok\n"):
        part = client.recv(65_536)
        if not part:
            return False
        got += part
    return got.startswith(b"HTTP/1.1 200")


def is_ended(client: socket.socket) -> bool:
    """Whether the server ends the connection, after whatever it still says."""
    try:
        while client.recv(65_536):
            pass
    except ConnectionError:
        pass
    return True


@pytest.fixture(scope="module")
def big_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a dataset that no socket buffer holds."""
    folder = tmp_path_factory.mktemp("big")
    with audit.Emitter(f"sqlite:///{folder / 'audit.db'}") as emit:
        for number in range(300):
            emit.create("note", number, {"text": "x" * 50_000})
    return folder


@pytest.fixture
def big(make_web: MakeWeb, big_folder: Path) -> Web:
    """A server over it."""
    return make_web(big_folder, access="none")


def until_a_table_is_given_out(web: Web) -> None:
    """The places of those that went away are free again."""

    def given_out() -> bool:
        try:
            return web.get("/dataset.csv", None, name="note").status == 200
        except (OSError, HTTPException):
            return False  # it was held up, and taken for one that takes nothing

    wait_until("a table is given out", given_out)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: localh",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\na",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea",
    ],
)
def test_a_request_that_does_not_come(
    make_web: MakeWeb, demo_folder: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """No byte, half a request, half a body, half of the second one: ended, a byte now and then
    does not help, and others are answered meanwhile.
    """
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr("audit.web.serving.KEEP_ALIVE_SECONDS", 1)
    web = make_web(demo_folder, access="none")

    def answered() -> bool:
        try:
            return web.get("/healthz").status == 200
        except (OSError, HTTPException):
            return False  # it was held up for as long

    with connected(web.port) as client:
        with suppress(ConnectionError):  # it may be ended by then
            client.sendall(said)
            if said:
                time.sleep(0.1)
                client.sendall(b"x")
        wait_until("others are answered", answered)
        assert is_ended(client)


class Clock:
    """Moves as the test says, for what a connection waits for."""

    def __init__(self) -> None:
        self.begun = 0
        self._now_s = 0.0
        self._waiting: list[tuple[float, asyncio.AbstractEventLoop, asyncio.TimerHandle]] = []

    def later(self, seconds: float, then: Callable[..., None], *given: Any) -> asyncio.TimerHandle:
        """As `connection` has it."""
        loop = asyncio.get_running_loop()
        timer = asyncio.TimerHandle(0, then, given, loop)
        self._waiting.append((self._now_s + seconds, loop, timer))
        self.begun += 1
        return timer

    def go_on(self, seconds: float) -> None:
        """So much later; what is due happens."""
        self._now_s += seconds
        due = [one for one in self._waiting if one[0] <= self._now_s and not one[2].cancelled()]
        for one in due:
            self._waiting.remove(one)
            one[1].call_soon_threadsafe(one[2]._run)


def test_who_asks_again_in_time_stays_connected(
    make_web: MakeWeb, demo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time counts for each request anew, and ends whoever does not."""
    clock = Clock()
    monkeypatch.setattr(connection, "_later", clock.later)
    web = make_web(demo_folder, access="none")
    with connected(web.port) as client:
        for number in range(3):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
            wait_until("its time counts", lambda begun=number + 1: clock.begun == begun)
            clock.go_on(0.6 * connection.REQUEST_SECONDS)
            client.sendall(b"localhost\r\n\r\n")
            assert is_answered(client)
        client.sendall(b"GET /healthz")
        wait_until("its time counts", lambda: clock.begun == 4)
        clock.go_on(connection.REQUEST_SECONDS)
        assert is_ended(client)


def test_too_many_connections(
    make_web: MakeWeb, demo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more is ended at once; those that are there go on."""
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 2)
    web = make_web(demo_folder, access="none")
    with connected(web.port) as one, connected(web.port) as other:
        for client in (one, other):
            client.sendall(HEALTH)
            assert is_answered(client)
        with connected(web.port) as third:
            assert is_ended(third)
        one.sendall(HEALTH)
        assert is_answered(one)


def test_who_takes_nothing_gives_his_place_back(big: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that nobody reads end by themselves, and the next one is given out."""
    monkeypatch.setattr(connection, "TAKE_SECONDS", 0.2)
    with connected(big.port) as one, connected(big.port) as other:
        assert MAX_STREAMS_OF_ONE == 2
        for client in (one, other):
            client.sendall(ASKED)
            assert client.recv(12) == b"HTTP/1.1 200"
        until_a_table_is_given_out(big)


def test_who_takes_little_gets_no_end(
    big: Web, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """He takes a little all the time: the table is broken off, and he can see that it is."""
    monkeypatch.setattr(connection, "TAKE_SECONDS", 0.2)
    monkeypatch.setattr(connection, "LEAST_BYTES_PER_SECOND", 10**12)
    with connected(big.port) as client:
        client.sendall(ASKED)
        end, taken = b"", 0
        try:
            while part := client.recv(1_000):
                end, taken = (end + part)[-5:], taken + len(part)
                time.sleep(0.01)
        except ConnectionError:
            pass
    assert 0 < taken < 15_000_000 and end != b"0\r\n\r\n"
    assert any("broken off" in record.message for record in caplog.records)


def test_pieces_of_a_table_are_small() -> None:
    """However large its rows are; put together they are the table."""
    rows = [[number, "x" * 50_000] for number in range(300)]
    pieces = list(csv_stream(Table(("a", "b"), rows)))
    most = PIECE_CHARS + ROWS_BETWEEN * 50_100
    assert len(pieces) > 5 and max(map(len, pieces)) < most
    assert b"".join(pieces).count(b"\n") == 301
    assert list(csv_stream(Table(("a", "b"), []))) == [b"a,b\n"]


def test_the_end_while_tables_are_given_out(big_folder: Path) -> None:
    """Within seconds, whoever reads, writes half a request or is silent."""
    script = (
        "import sys; from audit.web import serving; serving.SHUTDOWN_SECONDS = 1; "
        "from audit.__main__ import main; sys.exit(main())"
    )
    words = ["serve", "--port", "0", "--access", "none", "--store"]
    store = f"sqlite:///{big_folder / 'audit.db'}"
    with subprocess.Popen(
        [sys.executable, "-c", script, *words, store], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        port = urlsplit(process.stderr.readline().split()[0]).port
        assert port is not None
        try:
            with connected(port) as slow, connected(port) as half, connected(port):
                half.sendall(b"GET / HT")
                slow.sendall(ASKED)
                assert slow.recv(12) == b"HTTP/1.1 200"
                process.send_signal(signal.SIGTERM)
                process.wait(WAIT_S)
        finally:
            process.kill()
        assert "Traceback" not in process.stderr.read()

"""Tables given out to clients that are slow, go away, or are many; a store that goes away."""

import asyncio
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

import audit
from audit.errors import StoreBusy
from audit.web import WebOptions
from audit.web.answer import Table
from audit.web.forms import CSV, PARQUET, ROWS_AT_ONCE
from audit.web.readers import MAX_LEDGERS, MAX_STREAMS, MAX_STREAMS_OF_ONE, Readers
from audit.web.streaming import TableResponse
from tests.web.conftest import MakeWeb

MANY_ROWS = 30 * ROWS_AT_ONCE


@pytest.mark.parametrize("form", [CSV, PARQUET])
@pytest.mark.parametrize("pieces", [0, 1, None])
def test_a_ledger_is_given_back_however_a_table_ends(form: str, pieces: int | None) -> None:
    """Before the first byte, in the middle, or at the end."""
    given_back: list[bool] = []
    held = ExitStack()
    held.callback(given_back.append, True)
    rows = ([number, "x"] for number in range(MANY_ROWS))
    response = TableResponse(Table(("a", "b"), rows), form, "name", held)
    left = [pieces]

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start" and left[0] == 0:
            raise OSError("gone")
        if message["type"] == "http.response.body" and left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError("gone")

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def answer() -> None:
        scope = {"type": "http", "method": "GET", "asgi": {"spec_version": "2.4"}}
        await response(scope, receive, send)

    def run() -> None:
        # On a thread of its own: here may be the loop of a browser's driver.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, answer()).result()

    if pieces is None:
        run()
    else:
        with pytest.raises((OSError, ClientDisconnect, ExceptionGroup)):
            run()
    assert given_back == [True]


def test_slow_readers_of_tables_leave_ledgers_for_pages(make_web: MakeWeb, tmp_path: Path) -> None:
    """So many are given out; further ones are told to come back; pages answer all the time."""
    with audit.Emitter(f"sqlite:///{tmp_path / 'audit.db'}") as emit:
        for number in range(300):
            emit.create("note", number, {"text": "x" * 50_000})
    web = make_web(tmp_path, access="none")
    slow = []
    for number in range(MAX_STREAMS):
        client = socket.socket()
        client.bind((f"127.0.0.{1 + number // MAX_STREAMS_OF_ONE}", 0))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", web.port))
        client.sendall(b"GET /dataset.csv?name=note HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        slow.append(client)
    refused = web.get("/dataset.csv", 503, name="note")
    assert refused.headers["retry-after"] and refused.json["kind"] == "StoreBusy"
    for _ in range(2 * MAX_LEDGERS):
        web.get("/events", limit=1)
    for client in slow:
        client.close()
    until = time.monotonic() + 120
    while web.get("/dataset.csv", None, name="note").status == 503:
        assert time.monotonic() < until, "no place is given back"
        time.sleep(0.1)


def test_all_ledgers_are_lent_and_taken_back(tmp_path: Path) -> None:
    """Streams have a limit of their own, which an error does not use up."""
    with audit.Emitter(f"sqlite:///{tmp_path / 'audit.db'}") as emit:
        emit.create("user", 1, {"a": 1})
    readers = Readers(WebOptions(f"sqlite:///{tmp_path / 'audit.db'}"))
    for _ in range(2):
        with ExitStack() as held:
            for _ in range(MAX_STREAMS_OF_ONE):
                held.enter_context(readers.lent_for_stream("greedy"))
            with pytest.raises(StoreBusy, match="you are given 2"):
                held.enter_context(readers.lent_for_stream("greedy"))
            for number in range(MAX_STREAMS - MAX_STREAMS_OF_ONE):
                held.enter_context(readers.lent_for_stream(str(number)))
            with pytest.raises(StoreBusy, match="3 tables"):
                held.enter_context(readers.lent_for_stream("another"))
            for _ in range(MAX_LEDGERS - MAX_STREAMS):
                assert held.enter_context(readers.lent()).datasets() == ["user"]
    readers.close()
    readers.close()


def test_a_store_that_goes_away_or_is_damaged(
    make_web: MakeWeb, demo_folder: Path, tmp_path: Path
) -> None:
    """Every page says so; none is taken for a bug; verification reports it."""
    folder = tmp_path / "ledger"
    shutil.copytree(demo_folder, folder)
    web = make_web(folder, access="none")
    web.get("/")
    data = bytearray((folder / "audit.db").read_bytes())
    for at in range(4096 * 2, len(data), 4096 * 3):
        data[at : at + 512] = b"\xff" * 512
    (folder / "audit.db").write_bytes(bytes(data))
    for path in ("/", "/events", "/event?at=0/5", "/dataset?name=inquiry", "/keys", "/runs"):
        assert web.get(path, None).status in (200, 400, 404, 409, 503), path
    (folder / "audit.db").unlink()
    for path in ("/", "/events", "/event?at=0/5", "/dataset?name=inquiry", "/keys", "/runs"):
        assert web.get(path, None).status in (200, 400, 404, 409, 503), path

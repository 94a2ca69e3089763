"""What the tests of the web view share: a ledger to look at, a real server, a real browser."""

import http.client
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
import uvicorn

import audit
from audit.web import WebOptions, application
from audit.web.serving import configured
from tests.acceptance.claims import told_once
from tests.web.browser import Watched, chromium, open_page
from tests.web.once import made_once

ANSWER_SECONDS = 120


class Got(NamedTuple):
    """An answer of the server."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Web:
    """A client of one running server, and the folder of its ledger."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.store = f"sqlite:///{folder / 'audit.db'}"

    def get(
        self,
        path: str,
        status: int | None = 200,
        *,
        headers: dict[str, str] | None = None,
        method: str = "GET",
        body: str | None = None,
        **parameters: Any,
    ) -> Got:
        """Ask for an address, its parameters encoded; asserts the status, and the safe headers."""
        if parameters:
            path += "?" + urlencode(parameters)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            held = {name.lower(): value for name, value in answer.getheaders()}
            got = Got(answer.status, held, answer.read())
        finally:
            connection.close()
        assert status is None or got.status == status, f"{path}: {got.status}\n{got.text[:2000]}"
        assert "default-src 'none'" in got.headers["content-security-policy"]
        assert got.status != 500
        return got

    def json(self, path: str, status: int = 200, **parameters: Any) -> Any:
        """The twin of a screen: `path` without `.json`."""
        return self.get(f"{path}.json", status, **parameters).json


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `audit demo` leaves, made once for all workers. Not to be written to."""

    def make(folder: Path) -> None:
        shutil.copytree(told_once(tmp_path_factory).folder, folder)

    return made_once("web-demo", tmp_path_factory, make)


HOSTILE = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "formula": "=HYPERLINK(0)",
    "direction": "safe\u202egnp.exe",
    "control": "a\x00b\x1b[31mc\u2028d",
    "quotes": "'\"><b>{{ 7 * 7 }}{% raw %}",
    "long": "x" * 60_000,  # nearly the most that a row may take
}
HOSTILE_KEY = "../k'\"<b>&?#%2F\n\u202e/1"


@pytest.fixture(scope="session")
def hostile_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of what an attacker would write: values, keys, actors, reasons, a refused event."""

    def make(folder: Path) -> None:
        folder.mkdir()
        markup = HOSTILE["markup"]
        with audit.Emitter(f"sqlite:///{folder / 'audit.db'}", source=markup) as emit:
            with audit.context(actor=markup, reason=HOSTILE["direction"], request_id=markup):
                emit.create("user", HOSTILE_KEY, HOSTILE)
                emit.update("user", HOSTILE_KEY, {markup: HOSTILE["formula"]})
                emit.create("note", "1", {"a": 1}, event_id=markup)
            emit.flush()
            emit.create("note", "2", {"a": 2}, event_id=markup)

    return made_once("web-hostile", tmp_path_factory, make)


@pytest.fixture(scope="module")
def hostile(hostile_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A server over a copy of the hostile ledger."""
    yield from _copied(hostile_folder, tmp_path_factory)


MakeWeb = Callable[..., Web]


@pytest.fixture
def make_web() -> Iterator[MakeWeb]:
    """Starts a server over `folder/audit.db`; `options` are those of WebOptions."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def make(folder: Path, **options: Any) -> Web:
        web, server, thread = _serve(folder, options)
        running.append((server, thread))
        return web

    yield make
    for server, thread in running:
        _stop(server, thread)


@pytest.fixture(scope="module")
def web(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A server over a copy of the demo's ledger."""
    yield from _copied(demo_folder, tmp_path_factory)


def _copied(original: Path, factory: pytest.TempPathFactory) -> Iterator[Web]:
    folder = factory.mktemp("web") / "ledger"
    shutil.copytree(original, folder)
    web, server, thread = _serve(folder, {})
    yield web
    _stop(server, thread)


def _serve(folder: Path, options: dict[str, Any]) -> tuple[Web, uvicorn.Server, threading.Thread]:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    given = {"store": f"sqlite:///{folder / 'audit.db'}", "requests_per_minute": 1_000_000}
    made = application(WebOptions(**{**given, **options}))
    server = uvicorn.Server(configured(made, "error"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    return Web(folder, listening.getsockname()[1]), server, thread


def _stop(server: uvicorn.Server, thread: threading.Thread) -> None:
    server.should_exit = True
    thread.join(ANSWER_SECONDS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for the tests of a file; skips where there is none.

    Playwright's event loop runs as long as it does: no other file may find it in its thread.
    """
    yield from chromium()


@pytest.fixture
def browser_page(browser: Any) -> Iterator[Callable[..., Watched]]:
    """Opens a page in a fresh profile: `browser_page(theme="dark", width=1280)`.

    At the end of the test no page may have written an error to its console.
    """
    opened: list[Watched] = []

    def open_one(theme: str = "light", width: int = 1280, javascript: bool = True) -> Watched:
        opened.append(open_page(browser, theme, width, javascript))
        return opened[-1]

    yield open_one
    for page in opened:
        page.close()


@pytest.fixture
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: the folder of AUDIT_TEST_ARTEFACTS, else a temporary one."""
    named = os.environ.get("AUDIT_TEST_ARTEFACTS")
    folder = Path(named) if named else tmp_path_factory.getbasetemp() / "artefacts"
    folder.mkdir(parents=True, exist_ok=True)
    return folder

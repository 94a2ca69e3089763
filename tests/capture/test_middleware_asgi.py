"""ASGI: requests to a real server, and the protocol itself with what servers rarely send."""

import asyncio
import contextlib
import http.client
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import audit
from audit.capture.context import Context, current
from audit.capture.emitter import Emitter
from audit.capture.request import MAX_REQUEST_ID_CHARS, trace_id_of
from audit.errors import InvalidInput
from audit.event.envelope import Event
from tests.capture.support import events, url
from tests.consumers.processes import wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@contextlib.contextmanager
def serving(app: Any) -> Iterator[Callable[..., http.client.HTTPResponse]]:
    """A server on a free port; what is given asks it for a path, with headers."""
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()

    def get(path: str, *headers: tuple[str, str]) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", listening.getsockname()[1])
        with contextlib.closing(connection):
            connection.putrequest("GET", path)
            for header in headers:
                connection.putheader(*header)
            connection.endheaders()
            answer = connection.getresponse()
            answer.read()
            return answer

    try:
        while not server.started:
            time.sleep(0.005)
        yield get
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture
def emit(tmp_path: Path) -> Iterator[Emitter]:
    with Emitter(url(tmp_path), "web") as emitter:
        yield emitter


def seen(emit: Emitter, folder: Path) -> dict[str, Event]:
    emit.flush()
    return {str(event.entity_key): event for event in events(folder)}


def test_a_real_server(emit: Emitter, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    from tests.capture.web_app import make_app

    app = make_app(emit, actor=lambda scope: scope["state"].get("user"))
    with serving(app) as get:
        with ThreadPoolExecutor(8) as pool:
            asked = [
                pool.submit(get, f"/{kind}/{n}", ("X-Request-ID", f"{kind}-{n}"), ("who", f"u{n}"))
                for n in range(20)
                for kind in ("plain", "pool")
            ]
            assert {answer.result().status for answer in asked} == {200}
        assert get("/task", ("traceparent", PARENT)).status == 200
        stream = get("/stream", ("x-request-id", "s-1"))
        assert stream.getheader("x-request-id") == "s-1"
        broken = get("/broken", ("x-request-id", "b-1"))
        assert broken.status == 500
        # It goes on after its answer.
        wait_until("the task has ended", lambda: "task/after" in seen(emit, tmp_path))
    found = seen(emit, tmp_path)
    for n in range(20):
        for key in (f"pool/{n}", f"pool/{n}/background"):
            assert (found[key].request_id, found[key].actor) == (f"pool-{n}", f"u{n}")
        assert (found[f"plain/{n}"].request_id, found[f"plain/{n}"].actor) == (f"plain-{n}", None)
    assert found["task"].actor == found["task/after"].actor == "tess"
    assert found["task"].trace_id == found["task/after"].trace_id == TRACE
    assert UUID.fullmatch(str(found["task"].request_id))
    assert {found[f"stream/{n}"].request_id for n in range(3)} == {"s-1"}
    assert found["broken"].request_id == "b-1"
    assert current() == Context()


# The protocol itself


class Asked:
    """What an application was asked, and what the client got."""

    def __init__(self) -> None:
        self.contexts: list[Context] = []
        self.sent: list[Any] = []

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.contexts.append(current())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b""})

    def ask(self, middleware: Any, *headers: tuple[bytes, bytes], **scope: Any) -> Context:
        async def send(message: Any) -> None:
            self.sent.append(message)

        scope = {"type": "http", "headers": list(headers), **scope}
        asyncio.run(middleware(scope, None, send))
        return self.contexts[-1]

    @property
    def answered(self) -> list[tuple[bytes, bytes]]:
        return [m for m in self.sent if m["type"] == "http.response.start"][-1]["headers"]


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([b"r-1"], "r-1"),
        ([b" r-1\t"], "r-1"),
        ([b"r" * MAX_REQUEST_ID_CHARS], "r" * MAX_REQUEST_ID_CHARS),
        ([b"r" * (MAX_REQUEST_ID_CHARS + 1)], None),
        ([b""], None),
        ([b"a b"], None),
        ([b"a\nb"], None),
        ([b"r-1\n"], "r-1"),
        ([b"a\0b"], None),
        ([b"\xff"], None),
        (["é".encode()], None),
        ([b"r-1", b"r-2"], None),
        ([], None),
    ],
)
def test_a_request_id_is_one_short_word_or_new(
    asked: Asked, given: list[bytes], expected: str | None
) -> None:
    found = asked.ask(
        audit.AsgiMiddleware(asked.app), *((b"x-request-id", value) for value in given)
    )
    if expected is None:
        assert UUID.fullmatch(str(found.request_id))
    else:
        assert found.request_id == expected
    assert found.request_us is not None
    assert asked.answered == [(b"a", b"b"), (b"x-request-id", str(found.request_id).encode())]
    assert current() == Context()


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        (PARENT, TRACE),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-brings", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-01-more", None),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-00f067aa0ba902b7", None),
        (f"01-{TRACE}-00f067aa0ba902b7-01-" + "x" * 500, None),
        ("", None),
    ],
)
def test_trace_ids_as_the_w3c_writes_them(parent: str, expected: str | None) -> None:
    assert trace_id_of([parent.encode()]) == expected
    assert trace_id_of([parent.encode(), PARENT.encode()]) is None


def test_an_actor_header(asked: Asked, caplog: pytest.LogCaptureFixture) -> None:
    middleware = audit.AsgiMiddleware(asked.app, actor_header="X-User")
    for value, expected in [
        (b"alice", "alice"),
        ("zoë".encode(), "zoë"),
        ("zoë".encode("latin-1"), "zoë"),
        (b" ", None),
        (b"x" * 5_000, None),
    ]:
        assert asked.ask(middleware, (b"x-user", value)).actor == expected
    assert asked.ask(middleware, (b"x-user", b"eve"), (b"x-user", b"alice")).actor is None
    assert asked.ask(middleware).actor is None
    assert len(caplog.records) == 2


def test_an_actor_function(caplog: pytest.LogCaptureFixture) -> None:
    found: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(current().actor)
        found.append(current().actor)
        scope["user"] = "dora"
        found.append(current().actor)
        scope["user"] = "too late"
        with audit.context(reason="inside") as inner:
            found.append(inner.actor)
            with audit.context(actor=None):
                found.append(current().actor)
            audit.identify("eve")
        found.append(current().actor)

    asyncio.run(
        audit.AsgiMiddleware(app, lambda scope: scope["user"])({"type": "http"}, None, None)
    )  # type: ignore[arg-type]
    assert found == [None, None, "dora", "dora", None, "eve"]
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == ["KeyError"]
    with pytest.raises(InvalidInput, match="no request"):
        audit.identify("eve")


@pytest.mark.parametrize(
    ("answer", "actor"),
    [(7, "7"), ("", None), (True, None), (b"x", None), ("\ud800", None), ("x" * 5_000, None)],
)
def test_what_an_actor_function_answers(asked: Asked, answer: Any, actor: str | None) -> None:
    assert asked.ask(audit.AsgiMiddleware(asked.app, lambda scope: answer)).actor == actor


def test_an_error_passes_and_leaves_nothing_behind() -> None:
    problem = RuntimeError("mine")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise problem

    async def main() -> None:
        with pytest.raises(RuntimeError) as caught:
            await audit.AsgiMiddleware(app)({"type": "http", "headers": []}, None, None)  # type: ignore[arg-type]
        assert caught.value is problem
        assert current() == Context()

    asyncio.run(main())


def test_of_two_middlewares_the_outer_one_decides(asked: Asked) -> None:
    inner = audit.AsgiMiddleware(asked.app, lambda scope: "inner")
    outer = audit.AsgiMiddleware(inner, lambda scope: "outer")
    found = asked.ask(outer)
    assert found.actor == "outer"
    assert asked.answered == [(b"a", b"b"), (b"x-request-id", str(found.request_id).encode())]


def test_what_a_server_gets_wrong_costs_no_request(asked: Asked) -> None:
    middleware = audit.AsgiMiddleware(asked.app)
    assert asked.ask(middleware, headers=[("x-request-id",)]) == Context()
    assert asked.ask(middleware, headers=5) == Context()
    assert asked.ask(middleware, headers=None).request_id
    asked.ask(middleware, type="lifespan")
    assert asked.contexts[-1] == Context()


def test_an_own_header_is_kept_and_echo_can_be_left_out(asked: Asked) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"X-Request-ID", b"own")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def plain(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})

    asked.contexts.append(Context())
    asked.ask(audit.AsgiMiddleware(app))
    assert asked.answered == [(b"X-Request-ID", b"own")]
    asked.ask(audit.AsgiMiddleware(plain, echo=False))
    assert "headers" not in asked.sent[-1]
    asked.ask(audit.AsgiMiddleware(plain, request_id_header=None), (b"x-request-id", b"r-1"))
    assert asked.answered[0][1] != b"r-1"


async def soon(scope: Any) -> str:
    return "x"


class Soon:
    async def __call__(self, scope: Any) -> str:
        return "x"


@pytest.mark.parametrize(
    "options",
    [
        {"actor": soon},
        {"actor": Soon()},
        {"actor": "alice"},
        {"actor": str, "actor_header": "x-user"},
        {"actor_header": "x user"},
        {"request_id_header": ""},
    ],
)
def test_what_a_middleware_refuses(options: dict[str, Any]) -> None:
    for middleware in (audit.AsgiMiddleware, audit.WsgiMiddleware):
        with pytest.raises(InvalidInput):
            middleware(lambda *_: None, **options)  # type: ignore[arg-type,return-value]

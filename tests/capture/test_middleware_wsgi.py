"""WSGI: requests to the standard library's server, and the protocol's corners."""

import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import WSGIEnvironment
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

import audit
from audit.capture.context import Context, current
from audit.capture.emitter import Emitter
from tests.capture.support import events, url
from tests.capture.test_middleware_asgi import PARENT, TRACE, UUID


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def emit(tmp_path: Path) -> Iterator[Emitter]:
    with Emitter(url(tmp_path), "web") as emitter:
        yield emitter


def test_a_real_server(emit: Emitter, tmp_path: Path) -> None:
    left: list[Context] = []

    class Server(WSGIServer):
        def shutdown_request(self, request: Any) -> None:
            left.append(current())
            super().shutdown_request(request)

    def app(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        environ["app.user"] = environ["QUERY_STRING"] or None
        if path == "/broken":
            emit.create("seen", path, {})
            raise ZeroDivisionError

        def body() -> Iterator[bytes]:
            try:
                for n in range(3):
                    emit.create("seen", f"{path}/{n}", {})
                    yield b"piece\n"
            finally:
                emit.create("seen", f"{path}/closed", {})

        if path == "/pool":
            audit.identify("pia")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body()

    wrapped = audit.WsgiMiddleware(validator(app), lambda environ: environ["app.user"])
    with make_server("127.0.0.1", 0, validator(wrapped), Server, Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            at = f"http://127.0.0.1:{server.server_port}"
            asked = urllib.request.Request(f"{at}/one?alice", headers={"x-request-id": "r-1"})
            with urllib.request.urlopen(asked) as answer:
                assert (answer.headers["X-Request-ID"], answer.read()) == ("r-1", b"piece\n" * 3)
            traced = urllib.request.Request(f"{at}/two", headers={"traceparent": PARENT})
            urllib.request.urlopen(traced).read()
            urllib.request.urlopen(f"{at}/pool?ignored").read()
            with pytest.raises(HTTPError, match="500"):
                server.handle_error = lambda *_: None  # type: ignore[method-assign]
                urllib.request.urlopen(f"{at}/broken")
        finally:
            server.shutdown()
            thread.join()
    emit.flush()
    found = {str(event.entity_key): event for event in events(tmp_path)}
    ends = ("0", "1", "2", "closed")
    assert {(found[f"/one/{n}"].actor, found[f"/one/{n}"].request_id) for n in ends} == {
        ("alice", "r-1")
    }
    assert {(found[f"/two/{n}"].actor, found[f"/two/{n}"].trace_id) for n in ends} == {
        (None, TRACE)
    }
    (made,) = {found[f"/two/{n}"].request_id for n in ends}
    assert UUID.fullmatch(str(made))
    assert {found[f"/pool/{n}"].actor for n in ends} == {"pia"}
    assert found["/broken"].request_id not in (None, "r-1", made)
    assert left == [Context()] * 4


def ask(app: Callable[..., Any], **environ: Any) -> tuple[list[tuple[str, str]], Any]:
    """(headers, body) of a request that the protocol's own checker watches."""
    headers: list[tuple[str, str]] = []
    setup_testing_defaults(environ)
    body = app(environ, lambda status, given, error=None: headers.extend(given))
    return headers, body


def test_lists_and_files_go_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with open(tmp_path / "file", "rb") as file:
        for made in ([b"one"], (b"one",), FileWrapper(file)):
            body = ask(
                audit.WsgiMiddleware(lambda environ, start, made=made: made),
                **{"wsgi.file_wrapper": FileWrapper},
            )[1]
            assert body is made


def test_a_body_without_close_and_one_that_raises() -> None:
    problem = KeyError("mine")

    def pieces() -> Iterator[bytes]:
        yield b"a"
        raise problem

    body = ask(audit.WsgiMiddleware(lambda environ, start: iter([b"a", b"b"])))[1]
    assert list(body) == [b"a", b"b"]
    body.close()
    body = ask(audit.WsgiMiddleware(lambda environ, start: pieces()))[1]
    assert next(body) == b"a"
    with pytest.raises(KeyError) as caught:
        next(body)
    assert caught.value is problem
    body.close()


@pytest.mark.parametrize(("given", "kept"), [("r-1", True), ("r-1,r-2", False), ("\xff", False)])
def test_request_ids(given: str, kept: bool) -> None:
    seen: list[Context] = []

    def app(environ: WSGIEnvironment, start_response: Any) -> list[bytes]:
        seen.append(current())
        start_response("200 OK", [])
        return []

    ((name, value),) = ask(audit.WsgiMiddleware(app), HTTP_X_REQUEST_ID=given)[0]
    assert (name, value) == ("X-Request-ID", seen[0].request_id)
    assert (value == given) == kept


def test_what_a_server_gets_wrong_costs_no_request() -> None:
    seen: list[Context] = []

    def app(environ: WSGIEnvironment, start_response: Any) -> list[bytes]:
        seen.append(current())
        return []

    ask(audit.WsgiMiddleware(app), HTTP_X_REQUEST_ID="\u2028")
    ask(audit.WsgiMiddleware(app), HTTP_TRACEPARENT=b"bytes")
    assert seen == [Context(), Context()]


def test_of_two_middlewares_the_outer_one_decides() -> None:
    seen: list[str | None] = []

    def app(environ: WSGIEnvironment, start_response: Any) -> list[bytes]:
        seen.append(current().actor)
        start_response("200 OK", [])
        return []

    inner = audit.WsgiMiddleware(app, lambda environ: "inner")
    headers, _ = ask(audit.WsgiMiddleware(inner, lambda environ: "outer"))
    assert (seen, len(headers)) == (["outer"], 1)

"""Events through a real schema registry; and what strange answers do: wait, or the quarantine."""

import json
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import fastavro
import pytest

from audit.errors import FormatError, InvalidInput, NotFound, Unavailable
from audit.event.envelope import EVENT_SCHEMA, Event, encode_event
from audit.kafka.registry import (
    MAX_ANSWER_BYTES,
    NEGATIVE_SECONDS,
    Registry,
    RegistryFraming,
    checked_address,
)
from audit.kafka.wire import from_confluent, to_confluent
from tests.event.make_golden import EVENTS
from tests.kafka.test_same_schema import REWRITTEN
from tests.kafka.test_wire import by_a_serializer

EVENT_BYTES = encode_event(Event("e-1", "review", "crm"))
NOBODY: dict[str, str] = {}
LOGIN = {"AUDIT_REGISTRY_USER": "auditor", "AUDIT_REGISTRY_PASSWORD": "s3cret ü:"}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


# A real registry


@pytest.fixture
def topic() -> str:
    return f"audit.events.{uuid.uuid4().hex}"


@pytest.fixture
def registry_url(registry_server: Any) -> str:
    return str(registry_server.url)


def registered(url: str, subject: str, schema: str) -> int:
    """Registers a schema as any other client does."""
    body = json.dumps({"schema": schema}).encode()
    headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    request = urllib.request.Request(f"{url}/subjects/{subject}/versions", body, headers)
    with urllib.request.urlopen(request) as answer:
        return int(json.load(answer)["id"])


def fetched(url: str, path: str) -> Any:
    with urllib.request.urlopen(url + path) as answer:
        return json.load(answer)


def framing(url: str, topic: str) -> RegistryFraming:
    return RegistryFraming(Registry(url, NOBODY), topic)


def test_an_event_goes_through_and_comes_back(registry_url: str, topic: str) -> None:
    sender, receiver = framing(registry_url, topic), framing(registry_url, topic)
    for event in map(encode_event, EVENTS.values()):
        value = sender.encode(event)
        assert value[:1] == b"\0"
        assert value[5:] == event[10:]
        assert receiver.decode(value) == event
    assert fetched(registry_url, f"/subjects/{topic}-value/versions") == [1]
    latest = fetched(registry_url, f"/subjects/{topic}-value/versions/latest")
    assert latest["id"] == from_confluent(value)[0]
    assert json.loads(latest["schema"]) == json.loads(EVENT_SCHEMA)


def test_two_senders_register_one_schema(registry_url: str, topic: str) -> None:
    values = {framing(registry_url, topic).encode(EVENT_BYTES) for _ in range(2)}
    assert len(values) == 1
    assert fetched(registry_url, f"/subjects/{topic}-value/versions") == [1]


@pytest.mark.parametrize("rewritten", ["by Java classes", "without docs", "indented"])
def test_events_of_other_languages(registry_url: str, topic: str, rewritten: str) -> None:
    # What a Java producer does: registers the schema of its classes, writes with it, frames.
    schema_id = registered(registry_url, f"{topic}-value", REWRITTEN[rewritten])
    text = fetched(registry_url, f"/schemas/ids/{schema_id}")["schema"]
    schema = fastavro.parse_schema(json.loads(text))
    receiver = framing(registry_url, topic)
    for event in EVENTS.values():
        value = by_a_serializer(schema, schema_id, event)
        assert receiver.decode(value) == encode_event(event)
    # And our own senders use what is registered already.
    assert framing(registry_url, topic).encode(EVENT_BYTES) == to_confluent(EVENT_BYTES, schema_id)
    assert fetched(registry_url, f"/subjects/{topic}-value/versions") == [1]


def test_one_good_event_lets_no_other_value_through(registry_url: str, topic: str) -> None:
    both = framing(registry_url, topic)
    value = both.encode(EVENT_BYTES)
    assert both.decode(value) == EVENT_BYTES
    for other in (b"", value[:1], value[:4], value[:5], b"\1" + value[1:], value[1:]):
        with pytest.raises(FormatError):
            both.decode(other)
    with pytest.raises(FormatError, match="no schema 2147483647"):
        both.decode(to_confluent(EVENT_BYTES, 2**31 - 1))
    assert both.decode(value) == EVENT_BYTES


def test_a_topic_that_was_given_a_registry_later(registry_url: str, topic: str) -> None:
    assert framing(registry_url, topic).decode(EVENT_BYTES) is EVENT_BYTES


def test_another_schema_of_the_registry_is_no_event(registry_url: str, topic: str) -> None:
    other = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}
    schema_id = registered(registry_url, f"{topic}-value", json.dumps(other))
    with pytest.raises(FormatError, match=rf"envelope version: schema {schema_id} .* not event"):
        framing(registry_url, topic).decode(to_confluent(EVENT_BYTES, schema_id))


def test_an_id_nobody_registered_is_known_once_somebody_does(registry_url: str, topic: str) -> None:
    now = [0.0]
    registry = Registry(registry_url, NOBODY, clock=lambda: now[0])
    receiver = RegistryFraming(registry, topic)
    text = json.loads(EVENT_SCHEMA) | {"doc": topic}
    newest = registered(registry_url, f"{topic}-value", json.dumps(text | {"connect.version": 1}))
    following = range(newest + 1, newest + 6)
    for schema_id in following:
        with pytest.raises(FormatError, match=f"registry has no schema {schema_id}$"):
            receiver.decode(to_confluent(EVENT_BYTES, schema_id))
    schema_id = registered(registry_url, f"{topic}-value", json.dumps(text))
    assert schema_id in following
    now[0] += NEGATIVE_SECONDS
    assert receiver.decode(to_confluent(EVENT_BYTES, schema_id)) == EVENT_BYTES


def test_a_subject_of_something_else_refuses_the_event(registry_url: str, topic: str) -> None:
    subject = f"{topic}-value"
    registered(registry_url, subject, '{"type": "string"}')
    body = json.dumps({"compatibility": "FULL"}).encode()
    headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    url = f"{registry_url}/config/{subject}"
    urllib.request.urlopen(urllib.request.Request(url, body, headers, method="PUT")).close()
    with pytest.raises(Unavailable, match=r"refuses event\.v1 \(HTTP 409\)"):
        framing(registry_url, topic).encode(EVENT_BYTES)


def test_an_address_beside_the_registry(registry_url: str, topic: str) -> None:
    root = registry_url.partition("/apis")[0]
    assert root != registry_url
    receiver = framing(root, topic)
    for act in (receiver.encode, lambda event: receiver.decode(to_confluent(event, 1))):
        with pytest.raises(Unavailable, match="not the API of a registry"):
            act(EVENT_BYTES)


# Strange answers


Answer = Callable[[BaseHTTPRequestHandler], None]


class Stranger:
    """A web server on this machine that answers every request as the test says."""

    def __init__(self) -> None:
        self.answer: Answer = say(200, {})
        self.seen: list[tuple[str, str, str | None]] = []
        self.over = threading.Event()
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                login = self.headers.get("Authorization")
                stranger.seen.append((self.command, self.path, login))
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                stranger.answer(self)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self.server.server_port}/api"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    server = Stranger()
    yield server
    server.close()


def say(status: int, content: Any, **headers: str) -> Answer:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def raw(data: bytes) -> Answer:
    return lambda handler: handler.wfile.write(data) and None


HEAD = b"HTTP/1.1 200 OK\r\n"
UNANSWERED = {
    "an error": say(500, {"error_code": 50001, "message": "\x1b[31mstore"}),
    "overload": say(503, b"<html>"),
    "too many requests": say(429, b""),
    "not there": say(404, b"<html>"),
    "not there, said in JSON": say(404, {"detail": "no", "status": 404}),
    "not there, by another code": say(404, {"error_code": 404}),
    "not there, by a list": say(404, {"error_code": [40403]}),
    "not there, and garbage": say(404, b'{"error_code": 40403'),
    "unauthorized": say(401, {"error_code": 40101}),
    "forbidden": say(403, {"error_code": 40301}),
    "a redirect to itself": say(302, b"", Location="/api"),
    "a redirect to nowhere": say(301, b""),
    "a redirect to a file": say(307, b"", Location="file:///etc/passwd"),
    "nothing": say(200, b""),
    "created": say(201, {"schema": EVENT_SCHEMA.decode(), "id": 1}),
    "garbage": say(200, b"\xff\xfe{}"),
    "JSON cut off": say(200, b'{"schema": "'),
    "JSON and more": say(200, b'{"schema": "\\"string\\""} {}'),
    "a list": say(200, [{"schema": EVENT_SCHEMA.decode()}]),
    "a text": say(200, EVENT_SCHEMA.decode()),
    "the schema itself": say(200, EVENT_SCHEMA),
    "no schema": say(200, {}),
    "a schema that is no text": say(200, {"schema": json.loads(EVENT_SCHEMA)}),
    "deep JSON": say(200, b"[" * 100_000),
    "a key twice": say(200, b'{"schema": "\\"string\\"", "schema": "\\"string\\""}'),
    "more than it may": say(200, {"schema": " " * MAX_ANSWER_BYTES}),
    "an end too early": raw(HEAD + b'Content-Length: 99\r\n\r\n{"schema": '),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "hanging up": raw(b""),
    "headers without end": raw(HEAD + b"X: y\r\n" * 500),
    "a header too long": raw(HEAD + b"X: " + b"y" * 100_000),
    "a bad length": raw(HEAD + b"Content-Length: -5\r\n\r\n"),
    "bad chunks": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
}


@pytest.mark.parametrize("name", UNANSWERED)
def test_what_is_no_answer_is_waited_for(stranger: Stranger, name: str) -> None:
    stranger.answer = UNANSWERED[name]
    registry = Registry(stranger.url, LOGIN)
    both = RegistryFraming(registry, "t")
    for act in (both.encode, lambda event: both.decode(to_confluent(event, 1))):
        for _ in range(2):  # nothing of it is remembered
            with pytest.raises(Unavailable) as caught:
                act(EVENT_BYTES)
            said = str(caught.value)
            assert said.startswith(f"the schema registry {stranger.url} ")
            assert said.isprintable() and len(said) < 200
            assert "s3cret" not in said and "auditor" not in said
    stranger.answer = say(200, {"schema": EVENT_SCHEMA.decode()})
    assert both.decode(to_confluent(EVENT_BYTES, 1)) == EVENT_BYTES


def drop_by_drop(stranger: Stranger, first: bytes) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(first)
        while not stranger.over.wait(0.02):
            handler.wfile.write(b" ")

    return answer


@pytest.mark.parametrize("first", [b"", HEAD, HEAD + b"X: ", HEAD + b"\r\n"])
def test_a_slow_answer_is_not_waited_for(stranger: Stranger, first: bytes) -> None:
    silent: Answer = lambda handler: stranger.over.wait() and None  # noqa: E731
    for answer in (drop_by_drop(stranger, first), silent):
        stranger.answer = answer
        registry = Registry(stranger.url, NOBODY, timeout_s=0.1)
        with pytest.raises(Unavailable, match=r"did not answer within 0\.1 s|gave no answer"):
            registry.is_event_schema(1)


def test_a_registry_that_is_not_there(stranger: Stranger) -> None:
    stranger.close()
    with pytest.raises(Unavailable, match="gave no answer: Connection refused"):
        framing(stranger.url, "t").encode(EVENT_BYTES)
    nowhere = Registry("http://no-such-host.invalid", NOBODY, timeout_s=1.0)
    with pytest.raises(Unavailable, match=r"gave no answer|did not answer"):
        nowhere.is_event_schema(1)


@pytest.mark.parametrize("schema_id", [-1, 2**31, 2**70, True, 1.0, "1", None, [1]])
def test_what_is_no_id_of_a_schema(stranger: Stranger, schema_id: Any) -> None:
    stranger.answer = say(200, {"id": schema_id, "schema": EVENT_SCHEMA.decode()})
    with pytest.raises(Unavailable, match=r"without a schema id|JSON"):
        framing(stranger.url, "t").encode(EVENT_BYTES)


@pytest.mark.parametrize("answer", [{"schema": '"string"', "id": 7}, None])
def test_a_registry_that_gives_wrong_ids(stranger: Stranger, answer: Any) -> None:
    def lie(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.endswith("/schemas/ids/7"):
            say(200, answer)(handler) if answer else say(404, {"error_code": 40403})(handler)
        elif handler.command == "GET":
            say(404, {"error_code": 40401})(handler)
        else:
            say(200, {"id": 7})(handler)

    stranger.answer = lie
    with pytest.raises(Unavailable, match=r"gave id 7 for event\.v1, but does not have"):
        framing(stranger.url, "t").encode(EVENT_BYTES)


@pytest.mark.parametrize(
    "answer",
    [
        {"schema": EVENT_SCHEMA.decode(), "schemaType": "JSON"},
        {"schema": EVENT_SCHEMA.decode(), "schemaType": ["AVRO"]},
        {"schema": "["},
        {"schema": "\ud800"},
    ],
)
def test_a_schema_of_another_kind_is_no_event(stranger: Stranger, answer: Any) -> None:
    stranger.answer = say(200, answer)
    assert Registry(stranger.url, NOBODY).is_event_schema(1) is False


def test_the_registry_is_asked_once_for_an_id(stranger: Stranger) -> None:
    now = [0.0]
    registry = Registry(stranger.url, NOBODY, clock=lambda: now[0])
    stranger.answer = say(200, {"schema": EVENT_SCHEMA.decode(), "schemaType": "AVRO"})
    for _ in range(3):
        assert registry.is_event_schema(1)
        now[0] += 1e9
    assert len(stranger.seen) == 1
    stranger.answer = say(404, {"error_code": 40403})
    for _ in range(3):
        with pytest.raises(NotFound):
            registry.is_event_schema(2)
    assert len(stranger.seen) == 2
    assert registry.is_event_schema(1)


def test_made_up_ids_do_not_fill_the_memory(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.kafka.registry.MAX_REMEMBERED_IDS", 2)
    registry = Registry(stranger.url, NOBODY)
    stranger.answer = say(200, {"schema": EVENT_SCHEMA.decode()})
    for schema_id in (1, 2, 1, 3, 3, 1):
        assert registry.is_event_schema(schema_id)
    assert [path.rpartition("/")[2] for _, path, _ in stranger.seen] == ["1", "2", "3", "1"]


def test_the_login_goes_to_the_registry_and_nowhere_else(stranger: Stranger) -> None:
    elsewhere = Stranger()
    try:
        stranger.answer = say(307, b"", Location=f"{elsewhere.url}/steal")
        registry = Registry(stranger.url, LOGIN)
        with pytest.raises(Unavailable, match="redirect"):
            registry.is_event_schema(1)
        # base64 of "auditor:s3cret ü:" in UTF-8
        login = "Basic YXVkaXRvcjpzM2NyZXQgw7w6"
        assert stranger.seen == [("GET", "/api/schemas/ids/1", login)]
        assert elsewhere.seen == []
    finally:
        elsewhere.close()
    assert "s3cret" not in repr(vars(registry)) + repr(registry)


def test_a_subject_is_one_part_of_the_path(stranger: Stranger) -> None:
    stranger.answer = say(500, b"")
    with pytest.raises(Unavailable):
        Registry(stranger.url, NOBODY).schema_id("a/../b?c#d e-value", EVENT_SCHEMA)
    assert stranger.seen[0][1] == "/api/subjects/a%2F..%2Fb%3Fc%23d%20e-value/versions/latest"


# Addresses and logins


@pytest.mark.parametrize(
    "url",
    [
        *("", "registry", "registry:8081", "//registry", "http://", "http://:8081", "http:///x"),
        *("ftp://registry", "file:///etc/passwd", "http://registry:port", "http://registry:70000"),
        *("http://[::1", "http://registry/?a=b", "http://registry/#a", "http://a b", "http://a\nb"),
        *("http://a/\r\nX: y", "http://ä", "HTTP//registry"),
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InvalidInput, match="address is http"):
        Registry(url, NOBODY)


@pytest.mark.parametrize("url", ["http://me:s3cret@registry", "htp://me:s3cret@registry"])
def test_a_password_in_the_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidInput, match="AUDIT_REGISTRY_PASSWORD") as caught:
        Registry(url, NOBODY)
    assert "s3cret" not in str(caught.value)


def test_a_slash_at_the_end_does_not_matter() -> None:
    assert checked_address("https://registry:8081/v7/") == "https://registry:8081/v7"
    assert checked_address("http://[::1]:8081") == "http://[::1]:8081"


@pytest.mark.parametrize("user", ["", "a:b"])
def test_a_login_needs_a_name(user: str) -> None:
    environ = {"AUDIT_REGISTRY_USER": user, "AUDIT_REGISTRY_PASSWORD": "s3cret"}
    with pytest.raises(InvalidInput, match="AUDIT_REGISTRY_USER") as caught:
        Registry("http://registry", environ)
    assert "s3cret" not in str(caught.value)

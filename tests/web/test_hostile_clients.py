"""Clients that mean harm: bodies without end, half a login, many connections, names not theirs."""

import inspect
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

import audit
from audit.web import WebOptions, application
from audit.web.access import MAX_SAID_CHARS, _bounded
from audit.web.guard import connection, turns
from audit.web.guard.limits import neighbourhood
from audit.web.guard.seldom import SAY_SECONDS, Seldom
from audit.web.guard.who import MAX_SESSIONS_OF_ONE, Sessions, new_token
from audit.web.lanes import DEAR, lane_of
from audit.web.options import address_of
from audit.web.readers import MAX_STREAMS
from audit.web.serving import configured
from audit.web.verifying import Verifying
from tests.web.conftest import MakeWeb

WAIT_S = 120
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
LOGIN = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@contextmanager
def connected(port: int, said: bytes, address: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A connection from an address of this machine, on which something is said."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(WAIT_S)
        client.bind((address, 0))
        client.connect(("127.0.0.1", port))
        client.sendall(said)
        yield client


def begins(client: socket.socket) -> bytes:
    """The status of an answer; nothing where the connection is ended."""
    try:
        return client.recv(12)[9:]
    except ConnectionError:
        return b""


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A file of tokens."""
    (tmp_path / "tokens.txt").write_text(new_token("alice")[1])
    return tmp_path / "tokens.txt"


@pytest.fixture(scope="module")
def big_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger whose pages as JSON have some 5 MB."""
    folder = tmp_path_factory.mktemp("big")
    with audit.Emitter(f"sqlite:///{folder / 'audit.db'}") as emit:
        for number in range(100):
            emit.create("note", number, {"text": "x" * 50_000})
    return folder


@pytest.mark.parametrize("head", [LOGIN, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_body_without_end(
    make_web: MakeWeb, demo_folder: Path, tokens: Path, head: bytes
) -> None:
    """Strangers may send a login; chunks have no end, whatever length is said besides."""
    web = make_web(demo_folder, tokens=tokens, access="none")
    piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    with connected(web.port, head + CHUNKED) as client:
        assert begins(client) == b"411"
        with pytest.raises(ConnectionError):
            for _ in range(2_000):
                client.sendall(piece)


@pytest.mark.parametrize("said", [b"zz\r\n", b"5\r\nabcdezz\r\n"])
@pytest.mark.parametrize("later", [False, True])
def test_what_is_no_http_is_no_bug(
    make_web: MakeWeb, demo_folder: Path, caplog: Any, said: bytes, later: bool
) -> None:
    """Beside a request or after its answer: ended, and one line in the log."""
    web = make_web(demo_folder, access="none")
    with connected(web.port, LOGIN + CHUNKED + (b"" if later else said)) as client:
        assert begins(client) in (b"411", b"400")
        if later:
            client.sendall(said)
        try:
            while client.recv(65_536):
                pass
        except ConnectionError:
            pass
    assert not [record for record in caplog.records if record.exc_info]


def test_half_a_login_holds_no_place(
    make_web: MakeWeb, demo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many strangers, while one who is known asks."""
    monkeypatch.setattr(turns, "MAX_WAIT_SECONDS", 2.0)
    token, line = new_token("alice")
    (tmp_path / "tokens").write_text(line)
    web = make_web(demo_folder, tokens=tmp_path / "tokens", access="none")
    with ExitStack() as held:
        for _ in range(12):
            held.enter_context(connected(web.port, LOGIN + b"\r\n"))
        web.get("/healthz")
        web.get("/keys", headers={"Authorization": f"Bearer {token}"})


def test_what_strangers_send_is_no_bug(make_web: MakeWeb, demo_folder: Path, tokens: Path) -> None:
    """Many fields, names of files that no system has, a head without end."""
    web = make_web(demo_folder, tokens=tokens, access="none")
    web.get("/login", 403, method="POST", body="&".join("abcdefgh"))
    web.get("/static/" + "a" * 5_000 + ".css", 404)
    web.get("/static/%2e%2e%2fapp.py", 404)
    web.get("/login/", 303)
    with connected(web.port, HEALTH[:-2] + b"a:\r\n" * 50_000 + b"\r\n") as client:
        assert begins(client) == b"400"
    cookie = {"Cookie": 'a={"b"}; attestory_session=x'}
    web.get("/index.json", 401, headers=cookie)


def test_a_name_that_the_proxy_did_not_say(make_web: MakeWeb, demo_folder: Path) -> None:
    """It adds its own header to what the client sent: neither is believed."""
    web = make_web(demo_folder, proxy="127.0.0.1", access="none")
    both = b"X-Forwarded-User: admin\r\nX-Forwarded-User: bob\r\nConnection: close\r\n\r\n"
    with connected(web.port, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + both) as client:
        assert begins(client) == b"401"


def test_addresses_that_are_one() -> None:
    """An IPv4 client of a server on ::, and all addresses of one subscriber."""
    assert address_of("::ffff:10.0.0.1") == address_of("[::FFFF:a00:1]") == "10.0.0.1"
    assert neighbourhood("2001:db8::1") == neighbourhood("2001:db8::ffff:1") == "2001:db8::/64"
    assert neighbourhood("2001:db8:0:1::1") != neighbourhood("2001:db8::1")
    assert neighbourhood("fe80::1%1") == "fe80::/64"
    assert (neighbourhood("10.0.0.1"), neighbourhood("unknown")) == ("10.0.0.1", "unknown")


def test_connections_of_one_address(
    make_web: MakeWeb, demo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more is ended; another address is answered; behind the proxy are many."""
    monkeypatch.setattr(connection, "MAX_OF_ONE_ADDRESS", 2)
    web = make_web(demo_folder, access="none")
    with connected(web.port, HEALTH) as one:
        with connected(web.port, HEALTH) as two:
            assert begins(one) == begins(two) == b"200"
            with connected(web.port, HEALTH) as three:
                assert begins(three) == b""
            with connected(web.port, HEALTH, "127.0.0.2") as other:
                assert begins(other) == b"200"
        with ExitStack() as held:
            for _ in range(WAIT_S * 10):  # until its end has come here
                again = held.enter_context(connected(web.port, HEALTH))
                if (status := begins(again)) == b"200":
                    break
            assert status == b"200"
    web = make_web(demo_folder, proxy="127.0.0.1", access="none")
    with ExitStack() as held:
        many = [held.enter_context(connected(web.port, HEALTH)) for _ in range(4)]
        assert [begins(one) for one in many] == [b"200"] * 4


def test_who_takes_none_of_many_answers_loses_them(
    make_web: MakeWeb, big_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Those of his that are the most; the one of another address stays."""
    monkeypatch.setattr(connection, "MAX_UNSENT_BYTES", 12_000_000)
    web = make_web(big_folder, access="none")
    ask = b"GET /dataset.json?name=note HTTP/1.1\r\nHost: localhost\r\n\r\n"
    ended = 0
    with connected(web.port, ask, "127.0.0.2") as other, ExitStack() as held:
        assert begins(other) == b"200"
        for _ in range(4):
            one = held.enter_context(connected(web.port, ask))
            ended += begins(one) != b"200"
        taken = 0
        while taken < 5_000_000:
            part = other.recv(1 << 20)
            assert part
            taken += len(part)
    lost = [one for one in caplog.records if "are not taken" in one.message]
    assert len(lost) + ended >= 3


def test_a_session_behind_tls(make_web: MakeWeb, demo_folder: Path, tmp_path: Path) -> None:
    """The cookie is for TLS alone where the browser speaks that; one name has few sessions."""
    token, line = new_token("alice")
    (tmp_path / "tokens").write_text(line)
    web = make_web(
        demo_folder, tokens=tmp_path / "tokens", allowed_hosts=("a.example",), access="none"
    )
    for origin, is_secure in (("https://a.example", True), ("http://localhost", False)):
        got = web.get(
            "/login", 303, method="POST", body=f"token={token}", headers={"Origin": origin}
        )
        assert ("Secure" in got.headers["set-cookie"]) is is_secure
    sessions = Sessions(lambda: 0.0)
    first, others = sessions.begin("bob"), sessions.begin("alice")
    for _ in range(MAX_SESSIONS_OF_ONE):
        newest = sessions.begin("bob")
    assert sessions.name(first) is None
    assert (sessions.name(newest), sessions.name(others)) == ("bob", "alice")


def test_what_is_recorded_of_a_look_is_bounded() -> None:
    """And tells it from every other one."""
    assert _bounded("x" * MAX_SAID_CHARS) == "x" * MAX_SAID_CHARS
    one, other = _bounded("\x01" * 16_000), _bounded("\x01" * 16_001)
    assert one != other and len(one) < 2 * MAX_SAID_CHARS and "16,000 characters" in one


def test_words_that_look_like_the_live_tail() -> None:
    """A query is dear, whatever it has in it."""
    assert lane_of("/events.json", b"q=since=1") == DEAR


def test_a_ledger_comes_back_from_an_answer_with_a_bug(
    make_web: MakeWeb, big_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the table is made and before it is given out."""

    def bug(*given: Any) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(logging.getLogger("audit.web"), "disabled", True)
    monkeypatch.setattr("audit.web.handling.link_header", bug)
    web = make_web(big_folder, access="none")
    for _ in range(MAX_STREAMS + 1):
        with connected(
            web.port, b"GET /dataset.csv?name=note HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ) as client:
            assert begins(client) == b"500"


def test_a_log_that_strangers_write_to(caplog: Any) -> None:
    """Each warning once in a while, with how many were left out; no error is."""
    now = [0.0]
    log = logging.Logger("test")
    log.addHandler(caplog.handler)
    log.addFilter(Seldom(lambda: now[0]))
    for number in range(4):
        log.warning("took %d", number)
        log.error("bug")
    now[0] = SAY_SECONDS
    log.warning("took %d", 9)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == ["took 0", "took 9 (3 more since it was last said)"]
    assert len(caplog.records) == 6


def test_a_verification_that_ends_by_a_bug(
    demo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says so, and not for ever that it runs."""

    def bug(*given: Any, **named: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("audit.ledger.Ledger.verify", bug)
    monkeypatch.setattr(logging.getLogger("audit.web"), "disabled", True)
    verifying = Verifying(WebOptions(f"sqlite:///{demo_folder / 'audit.db'}"))
    assert verifying.start("alice") and verifying._thread is not None
    verifying._thread.join(WAIT_S)
    assert verifying.state()["state"] == "failed" and "bug" in verifying.state()["error"]


def test_the_server_is_the_one_that_is_tested(demo_folder: Path) -> None:
    """Not what happens to be installed besides; and uvicorn still knows what is read of it."""
    made = application(WebOptions(f"sqlite:///{demo_folder / 'audit.db'}", access="none"))
    config = configured(made)
    assert (config.loop, config.ws, config.lifespan) == ("asyncio", "none", "on")
    assert isinstance(config.http, type) and issubclass(config.http, H11Protocol)
    why = "uvicorn has changed: audit/web/guard/connection.py reads this of each connection"
    assert "self.cycle" in inspect.getsource(H11Protocol.__init__), why
    for name in ("more_body", "response_complete"):
        assert f"self.{name}" in inspect.getsource(RequestResponseCycle.__init__), why

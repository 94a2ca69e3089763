"""Who may look, from where, how often; what every answer says; what looking leaves behind."""

import shutil
import time
from pathlib import Path

import pytest

from audit import Ledger
from audit.errors import FormatError, InvalidInput
from audit.web import WebOptions
from audit.web.guard.hosts import Hosts
from audit.web.guard.limits import MAX_CLIENTS, Rate
from audit.web.guard.who import new_token, read_tokens
from tests.web.conftest import MakeWeb, Web


def test_names_of_other_servers_are_refused(web: Web) -> None:
    """A page elsewhere that points its own name here (DNS rebinding)."""
    web.get("/", 421, headers={"Host": "evil.example"})
    web.get("/", headers={"Host": "localhost:1"})


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("localhost", True),
        ("LOCALHOST:80", True),
        ("[::1]:8460", True),
        ("audit.example.org", True),
        ("127.0.0.1.evil.example", False),
        ("localhost:80:80", False),
        ("localhost@evil", False),
        ("", False),
        ("x" * 300, False),
    ],
)
def test_names_that_are_known(header: str, known: bool) -> None:
    """Ports do not matter; everything else does."""
    assert Hosts("127.0.0.1", ["audit.example.org"]).knows(header) is known


def test_nothing_writes(web: Web) -> None:
    """Every method but reading, and a form of another server's page, are refused."""
    for method in ("PUT", "DELETE", "PATCH", "TRACE"):
        web.get("/", 405, method=method)
    web.get("/", 405, method="POST", body="a")
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    web.get("/verify/run", 403, method="POST", body="", headers=elsewhere)
    web.get("/verify/run", 403, method="POST", body="", headers={"Origin": "https://evil.example"})
    web.get("/verify/run", 413, method="POST", body="x" * 5_000)
    web.get("/?as_of=" + "x" * 40_000, 414)


def test_strangers_and_tokens(make_web: MakeWeb, demo_folder: Path, tmp_path: Path) -> None:
    """A token opens the view: as a header, or once in the form and then as a cookie."""
    token, line = new_token("alice")
    tokens = tmp_path / "tokens.txt"
    tokens.write_text(f"# who may read\n{line}\n")
    web = make_web(demo_folder, tokens=tokens, access="none")
    assert web.get("/", 303).headers["location"] == "/login"
    web.get("/index.json", 401)
    web.get("/index.json", 401, headers={"Authorization": "Bearer wrong"})
    web.get("/index.json", headers={"Authorization": f"Bearer {token}"})
    assert "no token" in web.get("/login", 403, method="POST", body="token=wrong").text
    cookie = web.get("/login", 303, method="POST", body=f"token={token}").headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    session = {"Cookie": cookie.partition(";")[0]}
    assert "seen as alice" in web.get("/", headers=session).text
    web.get("/logout", 303, method="POST", body="", headers=session)
    web.get("/", 303, headers=session)
    assert token not in tokens.read_text()


def test_a_proxy_is_believed_only_at_its_address(make_web: MakeWeb, demo_folder: Path) -> None:
    """The header of anybody else says nothing."""
    trusted = make_web(demo_folder, proxy="127.0.0.1", access="none")
    assert "seen as bob" in trusted.get("/", headers={"X-Forwarded-User": "bob"}).text
    trusted.get("/", 401)
    trusted.get("/", 401, headers={"X-Forwarded-User": "b\xe4b"})
    other = make_web(demo_folder, proxy="10.0.0.1", access="none")
    other.get("/", 401, headers={"X-Forwarded-User": "bob"})


def test_who_asks_too_often_waits(make_web: MakeWeb, demo_folder: Path) -> None:
    """429 and when to come back; a bucket fills again."""
    web = make_web(demo_folder, requests_per_minute=8, access="none")
    codes = [web.get("/healthz", None).status for _ in range(4)]
    assert codes == [200, 200, 429, 429]
    assert int(web.get("/healthz", 429).headers["retry-after"]) >= 1
    now = [0.0]
    rate = Rate(60, lambda: now[0])
    assert [rate.wait_s("a") for _ in range(15)] == [0.0] * 15
    assert rate.wait_s("a") == 1.0 and rate.wait_s("b") == 0.0
    now[0] = 1.0
    assert rate.wait_s("a") == 0.0
    for client in range(MAX_CLIENTS * 2):
        rate.wait_s(str(client))
    assert len(rate._left) == MAX_CLIENTS


def test_looks_are_events_of_a_ledger_beside(
    make_web: MakeWeb, demo_folder: Path, tmp_path: Path
) -> None:
    """Who, which page, which parameters, which sizes; the ledger itself stays as it was."""
    folder = tmp_path / "ledger"
    shutil.copytree(demo_folder, folder)
    web = make_web(folder)
    size = web.json("/index")["logs"][0]["size"]
    web.get("/keys", as_of="0/3")
    with Ledger(f"sqlite:///{folder / 'audit.access.db'}") as looks:
        for _ in range(2_400):
            found = list(looks.events("entity:access"))
            if len(found) == 2:
                break
            time.sleep(0.05)
        rows = looks.replay("access").set_index("path")
    assert set(rows.index) == {"/index.json", "/keys"}
    row = rows.loc["/keys"]
    assert (row["parameters"], row["pin"]) == ({"as_of": "0/3"}, "0:4")
    assert row["who"] == "local"
    assert web.json("/index")["logs"][0]["size"] == size


def test_a_view_for_strangers_needs_to_know_who_asks(tmp_path: Path) -> None:
    """Not loopback: tokens or a proxy; a file of tokens that is none is refused."""
    with pytest.raises(InvalidInput, match="--tokens"):
        WebOptions(store="sqlite:///audit.db", host="0.0.0.0").checked()
    WebOptions(store="sqlite:///audit.db", host="0.0.0.0", proxy="10.0.0.1").checked()
    for content in ("", "alice", "alice sha256:00", "a b sha256:" + "0" * 64):
        (tmp_path / "tokens").write_text(content)
        with pytest.raises(FormatError):
            read_tokens(tmp_path / "tokens")
    with pytest.raises(FormatError):
        new_token("a b")

"""Whatever stands in an address, a page answers in a line what is wrong: never a bug's page."""

import http.client
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from audit.event.build import data_event, schema_event
from audit.event.envelope import encode_event
from audit.log.intake import Message
from audit.store import open_store
from audit.tlog.keys import Ed25519Signer
from audit.web.answer import Screen
from audit.web.screens import SCREENS
from tests.cli.conftest import run
from tests.web.conftest import HOSTILE_KEY, MakeWeb, Web

VALUES = (
    "%00",
    "%ED%A0%80",  # a lone surrogate
    "%FF%FE",
    "%D9%A3",  # a digit, but not of ASCII
    "9" * 300,
    "-1",
    "0%2F99999999999999999999",
    "0%2F%D9%A1",
    "0%3A3%2C0%3A3",
    "9%3A1",
    "HEAD~1000000000000000000",
    "9999-12-31T23%3A59%3A59Z",
    "sha256%3A" + "0" * 64,
    "user%2F" + "%F0%9F%98%80" * 300,
    "model%2Fa%40b%40c",
    "recorded%3A%3E%3D99999-01-01",
    "%0D%0ASet-Cookie%3A+a%3Db",
    "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
)
WITH_POINTS = ("/events", "/dataset", "/keys")
"""The point is read for all screens in one place; these are asked for all of it."""
NEEDED = {"ref": "inquiry/1", "at": "0/1", "name": "inquiry", "what": "inquiry"}


def _addresses(screen: Screen) -> Iterator[str]:
    names = [one.name for one in screen.parameters]
    needed = {one.name: NEEDED[one.name] for one in screen.parameters if one.required}
    for name in (*names, *(("as_of", "pin") if screen.path in WITH_POINTS else ())):
        others = "".join(f"&{key}={quote(value)}" for key, value in needed.items() if key != name)
        for value in VALUES:
            yield f"{screen.path}?{name}={value}{others}"


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.path)
def test_every_parameter_of_every_screen(web: Web, screen: Screen) -> None:
    """No 500, no header of theirs, no markup of theirs."""
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=60)
    for path in _addresses(screen):
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status in (200, 400, 404, 409), (path, answer.status)
        assert answer.getheader("set-cookie") is None and b"<script>alert" not in body, path
    connection.close()


def test_twice_and_too_long(web: Web) -> None:
    """A parameter is there once, and of bounded length."""
    assert "twice" in web.get("/events?q=a%3Ab&q=c%3Ad", 400).text
    assert "16384" in web.get("/events?q=" + "x" * 16_385, 400).text


def test_names_of_files_are_harmless(hostile: Web) -> None:
    """A header of ours has no line end, quote or path of theirs."""
    ref = f"user/{HOSTILE_KEY}"
    said = hostile.get("/entity.csv", ref=ref).headers["content-disposition"]
    name = said.removeprefix('attachment; filename="').removesuffix('.csv"')
    assert name and all(c.isascii() and (c.isalnum() or c in "-_") for c in name)
    # A form would bring a line end back as another one: the key goes encoded.
    page = hostile.get("/entity", ref=ref).text
    assert 'type="hidden" name="ref~"' in page and 'name="ref"' not in page


def test_an_empty_ledger_and_a_bundle(make_web: MakeWeb, web: Web, tmp_path: Path) -> None:
    """Every screen that needs no parameter, and those of what is there."""
    run("init", "--origin", "t.example/empty", "--store", f"sqlite:///{tmp_path / 'audit.db'}")
    bundle = tmp_path / "case.zip"
    run("bundle", "entity:inquiry", "-o", str(bundle), "--store", web.store)
    cut_out = make_web(tmp_path, store=f"bundle:///{bundle}")
    for served in (make_web(tmp_path, access="none"), cut_out):
        for path in [one.path for one in SCREENS if not any(p.required for p in one.parameters)]:
            served.get(path)
    assert cut_out.json("/dataset", name="inquiry")["rows"]
    assert cut_out.json("/events")["events"]


def test_several_logs(make_web: MakeWeb, tmp_path: Path) -> None:
    """Pages, tokens and pins over all of them."""
    signers = {
        log: Ed25519Signer.from_seed(f"t.example/{log}", bytes([log] * 32)) for log in (0, 1)
    }
    with open_store(f"sqlite:///{tmp_path / 'audit.db'}", create=True) as store:
        store.create("t.example/0", signers[0])
        with store._writing() as connection:
            store._open_log(connection, 1, "t.example/1", signers[1])
        for log, signer in signers.items():
            for number in range(3):
                key, row = f"{log}-{number}", {"n": number}
                event, schemas = data_event(
                    "create", "user", key, event_id=key, source="t", after=row
                )
                known = [Message(encode_event(schema_event(text))) for text in schemas]
                store.append(log, [*known, Message(encode_event(event))], signer)
    web = make_web(tmp_path, access="none")
    for path in [one.path for one in SCREENS if not any(p.required for p in one.parameters)]:
        web.get(path)
    sizes = {log["log"]: log["size"] for log in web.json("/index")["logs"]}
    pin = f"0:{sizes[0]},1:{sizes[1]}"
    everything = web.json("/events", pin=pin)["events"]
    assert len(everything) == 6 == len(web.json("/dataset", name="user")["rows"])
    first = web.json("/events", limit=4, pin=pin)
    rest = web.json("/events", limit=4, pin=pin, after=first["next"])
    assert first["events"] + rest["events"] == everything
    assert len(web.json("/events", pin=f"1:{sizes[1]}")["events"]) == 3


def test_an_access_ledger_that_goes_away(
    make_web: MakeWeb, demo_folder: Path, tmp_path: Path
) -> None:
    """Pages answer; nothing of it is a bug."""
    folder = tmp_path / "ledger"
    shutil.copytree(demo_folder, folder)
    web = make_web(folder, access=f"sqlite:///{tmp_path / 'looks.db'}")
    web.get("/keys")
    (tmp_path / "looks.db").unlink()
    for _ in range(3):
        web.get("/keys")

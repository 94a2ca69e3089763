"""A ledger that goes away while it is looked at, and comes back or is another one then."""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import pytest

import audit
from tests.apps.shop.load import until
from tests.services.postgres import PostgresServer
from tests.web.conftest import MakeWeb, Web

PAGES = ("/", "/events", "/event?at=0/2", "/datasets.json", "/dataset.csv?name=user", "/keys")
WAIT_S = 120


def statuses(web: Web) -> set[int]:
    """Of all PAGES; each error is one line."""
    found = set()
    for path in PAGES:
        got = web.get(path, None)
        found.add(got.status)
        if got.status == 503:
            assert got.headers["retry-after"]
            if "json" in got.headers["content-type"]:
                assert "\n" not in got.json["detail"]
    return found


def open_files(folder: Path) -> int:
    """How many files of a folder this process, the server's too, has open."""
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # closed meanwhile
            count += os.readlink(f"/proc/self/fd/{descriptor}").startswith(f"{folder}/")
    return count


def test_a_file_in_the_place_of_another(make_web: MakeWeb, tmp_path: Path) -> None:
    """The old one is open, and would answer for ever as if nothing had happened."""
    folder, other = tmp_path / "ledger", tmp_path / "other"
    for place, names in ((folder, ("user", "note")), (other, ("user",))):
        place.mkdir()
        with audit.Emitter(f"sqlite:///{place / 'audit.db'}") as emit:
            for name in names:
                emit.create(name, 1, {"a": place.name})
    web = make_web(folder, access="none")
    assert statuses(web) == {200}
    away = tmp_path / "away"
    folder.rename(away)
    assert statuses(web) == {503}
    assert str(tmp_path) not in web.get("/events.json", 503).text
    away.rename(folder)
    assert statuses(web) == {200}
    origin = web.json("/index")["logs"][0]["origin"]
    (folder / "audit.db").rename(folder / "old.db")
    (folder / "audit.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 8_000)
    assert statuses(web) <= {409, 503}
    held = open_files(folder)
    for _ in range(5):
        assert statuses(web) <= {409, 503}
    # What keeps the read model up to its log may have it open just now.
    until(lambda: open_files(folder) <= held)
    shutil.rmtree(folder)
    other.rename(folder)
    assert web.json("/index")["datasets"] == ["user"]
    assert web.json("/index")["logs"][0]["origin"] != origin
    assert b"other" in web.get("/dataset.csv", name="user").body
    web.get("/dataset.csv", 404, name="note")


def test_a_server_that_is_killed(
    make_web: MakeWeb,
    private_postgres: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every page says so, and answers again once it is back."""
    monkeypatch.chdir(tmp_path)  # where the ledger's key is made
    url = private_postgres.new_database()
    with audit.Emitter(url) as emit:
        emit.create("user", 1, {"a": 1})
        emit.create("note", 1, {"a": 1})
    web = make_web(tmp_path, store=url, access="none")
    assert statuses(web) == {200}
    private_postgres.kill()
    assert statuses(web) == {503}
    private_postgres.start()
    until = time.monotonic() + WAIT_S
    while statuses(web) != {200}:
        assert time.monotonic() < until, "not all pages are answered again"
    assert statuses(web) == {200}

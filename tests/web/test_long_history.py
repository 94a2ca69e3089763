"""A row with more versions than a page shows: nothing is left out, and every form says so."""

import re
import threading
from html import unescape
from pathlib import Path

import audit
from audit import Ledger
from audit.web import WebOptions
from audit.web.readers import Readers
from audit.web.screens.entity import MAX_SLIDER, VERSIONS
from tests.web.conftest import MakeWeb

UPDATES = 2 * VERSIONS + 40
BEFORE_SLIDER = 30


def test_all_versions_are_reached_page_by_page(make_web: MakeWeb, tmp_path: Path) -> None:
    with audit.Emitter(f"sqlite:///{tmp_path / 'audit.db'}") as emit:
        emit.create("user", 5, {"n": 0, "name": "Christian"})
        for n in range(1, UPDATES):
            emit.update("user", 5, {"n": n})
    web = make_web(tmp_path)
    with Ledger(web.store) as ledger:
        versions = [one.to_dict() for one in ledger.history("user/5")][::-1]
        middle = f"0/{versions[UPDATES // 2]['index']}"
    given, token = [], None
    while token is not None or not given:
        said = web.json("/entity", ref="user/5", **({"before": token} if token else {}))
        assert said["versions_in_all"] == UPDATES and len(said["versions"]) <= VERSIONS
        assert said["row"] == {"n": UPDATES - 1, "name": "Christian"}
        given, token = given + said["versions"], said["next"]
    assert given == versions
    page = web.get("/entity", ref="user/5").text
    older = unescape(re.findall(r'href="([^"]*before=[^"]*)"', page)[0])
    assert f"0/{versions[VERSIONS]['index']}<" in web.get(older).text
    past = web.json("/entity", ref="user/5", as_of=middle)
    assert past["versions"][0]["index"] == versions[UPDATES // 2]["index"]
    assert past["later_versions"] == UPDATES // 2
    web.get("/entity", 400, ref="user/5", before="0/999999")
    web.get("/entity", 400, ref="user/5", before="x")


def test_the_slider_reaches_the_newest(make_web: MakeWeb, tmp_path: Path) -> None:
    with audit.Emitter(f"sqlite:///{tmp_path / 'audit.db'}") as emit:
        emit.create("user", 5, {"n": 0})
        for n in range(1, MAX_SLIDER + BEFORE_SLIDER):
            emit.update("user", 5, {"n": n})
    web = make_web(tmp_path)
    with Ledger(web.store) as ledger:
        places = [f"as_of=0%2F{one.index}" for one in ledger.history("user/5")]
    for as_of in (None, "HEAD~100"):
        page = web.get("/entity", ref="user/5", **({"as_of": as_of} if as_of else {})).text
        stops = re.findall(r'data-href="[^"]*(as_of=[^"&]*)"', page)
        assert stops == places[-MAX_SLIDER:]
        value = int(re.findall(r'<input id="slider"[^>]*value="(\d+)"', page)[0])
        assert value == MAX_SLIDER - (100 if as_of else 0)


def test_who_waits_for_the_read_model_is_told_once(tmp_path: Path) -> None:
    with audit.Emitter(f"sqlite:///{tmp_path / 'audit.db'}") as emit:
        emit.create("user", 5, {"n": 0})
    readers = Readers(WebOptions(f"sqlite:///{tmp_path / 'audit.db'}"))
    told = threading.Semaphore(0)
    readers.keep_fresh(told.release)
    assert told.acquire(timeout=120)
    readers.close()
    assert not told.acquire(blocking=False)

"""HTTP as clients expect it: tags and 304, HEAD, OPTIONS, Accept, gzip, links, names, limits."""

import gzip
import shutil
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

import audit
from audit.web import manners
from audit.web.answer import ENCODED, MAX_PARAMETER_CHARS
from audit.web.api.accept import prefers_json
from audit.web.guard.asgi import MAX_ADDRESS_BYTES, MAX_BODY_BYTES
from audit.web.guard.who import new_token
from tests.web.conftest import HOSTILE_KEY, Got, MakeWeb, Web

PROBLEM = "application/problem+json"


def links(got: Got) -> dict[str, str]:
    """Relation -> address, of a Link header."""
    found = {}
    for one in got.headers.get("link", "").split(", "):
        target, _, relation = one.partition("; rel=")
        found[relation.strip('"')] = target.strip("<>")
    return found


@pytest.mark.parametrize("path", ["/event", "/event.json"])
def test_an_answer_that_is_the_same_is_not_sent_again(web: Web, path: str) -> None:
    """304 by the tag, packed or not; another point or form has another tag."""
    got = web.get(path, at="0/8", pin="0:20")
    tag = got.headers["etag"]
    assert got.headers["cache-control"] == manners.REVALIDATED
    for known in (tag, f"W/{tag}", f'"other", {tag}', tag[:-1] + '-gzip"'):
        again = web.get(path, 304, at="0/8", pin="0:20", headers={"If-None-Match": known})
        assert not again.body and again.headers["etag"] == tag and "link" in again.headers
        assert "content-type" not in again.headers
    for known in ("*", '"other"', tag.replace('"', '"x'), "x" * 9_000):
        assert web.get(path, at="0/8", pin="0:20", headers={"If-None-Match": known}).body
    assert web.get(path, at="0/9", pin="0:20").headers["etag"] != tag
    assert web.get(path, at="0/8").headers["cache-control"] == "no-store"


def test_a_tag_is_no_longer_right_when_the_ledger_is_another(
    make_web: MakeWeb, demo_folder: Path, tmp_path: Path
) -> None:
    """The same pin of a ledger that was exchanged is asked for, and is another answer."""
    tags = []
    for name, text in (("one", "a"), ("two", "b")):
        (tmp_path / name).mkdir()
        with audit.Emitter(f"sqlite:///{tmp_path / name / 'audit.db'}", source="t") as emit:
            emit.create("note", 1, {"text": text})
        web = make_web(tmp_path / name, access="none")
        size = web.json("/index")["logs"][0]["size"]
        tags.append(web.get("/dataset.json", name="note", pin=f"0:{size}").headers["etag"])
    assert tags[0] != tags[1]
    web.get("/dataset.json", 200, name="note", pin=f"0:{size}", headers={"If-None-Match": tags[0]})


def test_every_look_is_recorded_though_nothing_is_sent(
    make_web: MakeWeb, demo_folder: Path, tmp_path: Path
) -> None:
    """Who has the answer already has looked at it again."""
    folder = tmp_path / "ledger"
    shutil.copytree(demo_folder, folder)
    web = make_web(folder)
    tag = web.get("/event.json", at="0/8").headers["etag"]
    web.get("/event.json", 304, at="0/8", headers={"If-None-Match": tag})
    web.get("/event.json", at="0/8", method="HEAD")
    looks = f"sqlite:///{folder / 'audit.access.db'}"

    def count() -> int:
        with audit.Ledger(looks) as ledger:
            return sum("event.json" in str(one) for one in ledger.dataset("access").dataset.rows())

    until = monotonic() + 120
    while count() < 3 and monotonic() < until:
        sleep(0.1)
    assert count() == 3


@pytest.mark.parametrize("path", ["/events", "/events.json", "/events.csv", "/events.parquet"])
def test_head_and_options(web: Web, path: str) -> None:
    """What GET would say, without it; what an address takes; nothing about other origins."""
    got, head = web.get(path), web.get(path, method="HEAD")
    assert not head.body
    for name in ("content-type", "content-disposition", "etag", "vary", "link"):
        assert head.headers.get(name) == got.headers.get(name), name
    if path.endswith(("s", ".json")):
        assert int(head.headers["content-length"]) == len(got.body)
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "GET"}
    for _ in range(10):  # tables are given back
        web.get(path, method="HEAD")
    options = web.get(path, 204, method="OPTIONS", headers=asked)
    assert options.headers["allow"] == "GET, HEAD, OPTIONS"
    for one in (options, web.get(path, headers=asked)):
        assert not [name for name in one.headers if name.startswith("access-control")]


def test_what_is_not_allowed(web: Web) -> None:
    """405 with Allow, in the form that was asked for."""
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "FROB"):
        got = web.get("/events.json", 405, method=method)
        assert got.headers["allow"] == "GET, HEAD, OPTIONS"
        assert got.json["status"] == 405 and got.headers["content-type"] == PROBLEM
    assert web.get("/verify/run", 405).headers["allow"] == "OPTIONS, POST"
    assert web.get("/verify/run", 204, method="OPTIONS").headers["allow"] == "OPTIONS, POST"
    assert "read-only" in web.get("/events", 405, method="DELETE").text


def test_page_or_data_by_accept(web: Web) -> None:
    """The suffix wins; who takes anything gets the page; who prefers JSON gets it."""
    page = web.get("/events")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for accept in ("application/json", "application/json, text/plain, */*", "application/*"):
        got = web.get("/events", headers={"Accept": accept})
        assert got.headers["content-type"] == "application/json", accept
        assert "accept" in got.headers["vary"] and got.json["events"]
        assert links(got)["canonical"].startswith("/events.json?pin=")
    for accept in (
        "*/*",
        "text/html,application/json",
        "text/*",
        "image/png",
        "q=1;;,/",
        "",
        "application/json;q=0.5, text/html",
        "application/json;q=0, */*",
    ):
        assert not prefers_json(accept), accept
    suffixed = web.get("/events.json", headers={"Accept": "text/html"})
    assert suffixed.headers["content-type"] == "application/json"
    missing = web.get("/nothing", 404, headers={"Accept": "application/json"})
    assert missing.headers["content-type"] == PROBLEM and missing.json["kind"] == "NotFound"


def test_errors_say_what_is_wrong(make_web: MakeWeb, web: Web, tmp_path: Path) -> None:
    """RFC 9457, also from the door: 400, 401, 404, 413, 414."""
    for path, status, kind in (
        ("/events.json?q=actr%3Aa", 400, "InvalidInput"),
        ("/entity.csv?ref=user%2F1%2F2", None, None),
        ("/event.json?at=0/99999999", 404, "NotFound"),
        ("/nothing.json", 404, "NotFound"),
        ("/events.json?as_of=" + "x" * MAX_ADDRESS_BYTES, 414, ""),
        ("/events.json?q=" + "x" * (MAX_PARAMETER_CHARS + 1), 400, "InvalidInput"),
    ):
        got = web.get(path, status)
        said = got.json
        assert got.headers["content-type"] == PROBLEM and said["status"] == got.status
        assert said["detail"] and said["title"] and (kind is None or said["kind"] == kind), path
    long = {"Accept": "application/json"}
    body = "x" * (MAX_BODY_BYTES + 1)
    assert web.get("/verify/run", 413, method="POST", body=body, headers=long).json["detail"]
    token, line = new_token("ann")
    (tmp_path / "tokens").write_text(line + "\n")
    shut = make_web(web.folder, tokens=tmp_path / "tokens", access="none")
    for path in ("/events.json", "/openapi.json"):
        refused = shut.get(path, 401)
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert refused.headers["content-type"] == PROBLEM
    assert shut.get("/events", 401, headers=long).json["status"] == 401
    schemes = shut.get("/openapi.json", headers={"Authorization": f"Bearer {token}"}).json
    assert schemes["security"] == [{"token": []}, {"session": []}]
    assert web.get("/openapi.json").json["security"] == []


def test_packed_where_it_is_worthwhile(web: Web) -> None:
    """Long bodies for who takes gzip; never streams, whose pieces would wait."""
    plain = web.get("/events.json")
    packed = web.get("/events.json", headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert packed.headers["content-encoding"] == "gzip" and len(packed.body) < len(plain.body) / 3
    assert gzip.decompress(packed.body) == plain.body
    assert packed.headers["etag"] == plain.headers["etag"][:-1] + '-gzip"'
    for path, accepted in (
        ("/events.json", "gzip;q=0"),
        ("/events.json", "br"),
        ("/datasets.json", "gzip"),
        ("/events.csv", "gzip"),
        ("/events.parquet", "gzip"),
    ):
        got = web.get(path, headers={"Accept-Encoding": accepted})
        assert "content-encoding" not in got.headers, (path, accepted)


def test_links_lead_through_all_pages_and_to_the_permalink(web: Web) -> None:
    """rel="next" in the same form until the last page; rel="canonical" is the same for ever."""
    everything = web.json("/events", limit=1000)["events"]
    found: list[Any] = []
    path: str | None = "/events.json?limit=4"
    while path is not None:
        got = web.get(path)
        found += got.json["events"]
        assert (links(got).get("next") is None) == (got.json["next"] is None)
        path = links(got).get("next")
    assert found == everything
    got = web.get("/dataset.json", name="inquiry", limit=3)
    following = web.get(links(got)["next"])
    assert following.json["rows"] and following.json["rows"] != got.json["rows"]
    size = got.json["citation"]["logs"][0]["size"]
    assert parse_qs(urlsplit(links(got)["canonical"]).query)["pin"] == [f"0:{size}"]
    assert web.get(links(got)["canonical"]).json["rows"] == got.json["rows"]
    assert links(web.get("/events.csv"))["canonical"].startswith("/events.csv?pin=")
    assert "link" in web.get("/index.json").headers
    long = web.get("/events.json", q="actor:" + "x" * manners.MAX_LINK_BYTES)
    assert "link" not in long.headers


def test_names_of_any_script(make_web: MakeWeb, tmp_path: Path) -> None:
    """A name that is not ASCII is there twice: as RFC 8187 has it, and readable for others."""
    with audit.Emitter(f"sqlite:///{tmp_path / 'audit.db'}", source="t") as emit:
        emit.create("note", "größe/数", {"a": 1})
    web = make_web(tmp_path, access="none")
    spelled = quote("note-größe-数")
    for form in ("csv", "parquet"):
        said = web.get(f"/entity.{form}", ref="note/größe/数").headers["content-disposition"]
        names = f"filename=\"note-gr--e--.{form}\"; filename*=UTF-8''{spelled}.{form}"
        assert said == f"attachment; {names}"
    got = web.get("/dataset.csv", name="note")
    assert got.headers["content-disposition"] == 'attachment; filename="note.csv"'
    assert got.headers["content-type"] == "text/csv; charset=utf-8"
    harmless = manners.attachment(manners.file_name('../a\r\n"b\u202e'))
    assert harmless == 'attachment; filename="a---b"'


def test_a_value_that_no_form_can_carry(hostile: Web) -> None:
    """What a form sends encoded is the same question; it is still one parameter."""
    ref = f"user/{HOSTILE_KEY}"
    encoded = {f"ref{ENCODED}": quote(ref, safe="")}
    assert hostile.json("/entity", **encoded) == hostile.json("/entity", ref=ref)
    page = hostile.get("/entity", **encoded)
    assert links(page)["canonical"] == links(hostile.get("/entity", ref=ref))["canonical"]
    assert "twice" in hostile.get("/entity", 400, ref=ref, **encoded).text
    hostile.get("/entity", 400, **{f"ref{ENCODED}": "user%2F%ff"})
    hostile.get("/entity", 400, **{f"rf{ENCODED}": "user%2F1"})
    hostile.get("/entity", 400, **{ENCODED: "user%2F1"})

"""Events by a query, and one event with its proof."""

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import audit
from audit import Ledger
from audit.log.receipt import parse_receipt
from tests.cli.conftest import run
from tests.web.conftest import HOSTILE, HOSTILE_KEY, MakeWeb, Web


def test_the_events_of_a_query(web: Web) -> None:
    """The same events as `audit log --json`, newest first, and how many."""
    said = web.json("/events", q="entity:inquiry")
    expected = run("log", "entity:inquiry", "--json", "--reverse", "--store", web.store).json
    assert said["events"] == expected and said["count"] == len(expected) > 2
    page = web.get("/events", q="entity:inquiry").text
    assert "inquiry/" in page and "audit log entity:inquiry" in page


def test_pages_follow_each_other(web: Web) -> None:
    """By the token, without a gap or a repeat; the page has the link."""
    everything = web.json("/events")["events"]
    found, token = [], None
    while True:
        more = {} if token is None else {"after": token}
        said = web.json("/events", limit=4, **more)
        found += said["events"]
        token = said["next"]
        if token is None:
            break
    assert found == everything
    assert "Older events" in web.get("/events", limit=4).text
    web.json("/events", 400, after="nonsense")
    web.json("/events", 400, limit="0")


def test_unknown_qualifiers_are_explained(web: Web) -> None:
    """The query language's own hint, as a page and as JSON."""
    assert "actor" in web.json("/events", 400, q="actr:alice")["detail"]
    web.get("/events", 400, q='"')


def test_tables_have_all_events_of_the_query(web: Web) -> None:
    """CSV and Parquet, oldest first, whatever a page would show."""
    rows = list(csv.DictReader(io.StringIO(web.get("/events.csv", q="op:create", limit=1).text)))
    with Ledger(web.store) as ledger:
        expected = [str(one.index) for one in ledger.events("op:create")]
    assert [row["index"] for row in rows] == expected
    table = pq.read_table(io.BytesIO(web.get("/events.parquet", q="op:create").body))
    assert table.column("index").to_pylist() == expected


def test_facets_narrow_the_query(web: Web) -> None:
    """Each value with its count, and the query that it leads to."""
    page = web.get("/events").text
    assert "type%3A%22data.create%22" in page


def test_the_live_tail_gives_what_is_new(make_web: MakeWeb, tmp_path: Path) -> None:
    """From the sizes of a page on, oldest first, and the sizes to ask with again."""
    with audit.Emitter(f"sqlite:///{tmp_path / 'audit.db'}") as emit:
        emit.create("user", 1, {"name": "a"})
        emit.flush()
        web = make_web(tmp_path)
        since = web.json("/events")["pin"].partition("pin=")[2].replace("%3A", ":")
        assert web.json("/events", since=since)["rows"] == []
        emit.update("user", 1, {"name": "b"})
        emit.flush()
        said = web.json("/events", since=since)
        assert [row["what"] for row in said["rows"]] == ["user/1"]
        assert web.json("/events", since=said["since"])["rows"] == []


def test_one_event_with_all_that_is_known(web: Web) -> None:
    """What `audit show` says; the difference; the receipt is the one of `audit prove`."""
    change = web.json("/events", q="op:update entity:inquiry")["events"][0]
    place = f"{change['log']}/{change['index']}"
    said = web.json("/event", at=place)
    shown = run("show", place, "--json", "--store", web.store).json
    assert said["event"]["leaf_hash"] == shown["leaf_hash"]
    fields = {one["field"]: one for one in said["changes"] if one["change"] == "changed"}
    assert set(fields) == set(change["after"])
    for name, one in fields.items():
        assert one["after"] == change["after"][name] != one["before"]
    parsed = parse_receipt(said["receipt"].encode())
    assert parsed.index == change["index"]
    saved = web.get("/event/receipt", at=place)
    assert saved.body.decode() == said["receipt"]
    path = web.folder / "one.tlog-proof"
    path.write_bytes(saved.body)
    with Ledger(web.store) as ledger:
        vkey = ledger.reader.logs()[0].vkey
    assert "OK: " in run("verify", str(path), "--key", vkey).out
    assert said["event"]["leaf_hash"] in web.get("/event", at=place).text


@pytest.mark.parametrize("at", ["0/999999", "sha256:00000000", "nonsense id"])
def test_entries_that_are_not_there(web: Web, at: str) -> None:
    """One line, no page of a bug."""
    web.get("/event", 404, at=at)
    web.get("/event/receipt", 404, at=at)


def test_hostile_content_is_shown_harmlessly(hostile: Web) -> None:
    """Markup is text, directions and controls are spelled out, long values end; JSON has all."""
    for path in ("/events", "/event?at=0/2", "/event?at=0/3", "/"):
        page = hostile.get(path).text
        assert "<script>alert" not in page and "onerror=alert(2)>" not in page
        assert "\u202e" not in page and "\x1b" not in page and "\x00" not in page
    said = hostile.json("/events", q="op:create entity:user")["events"][0]
    assert "{{ 7 * 7 }}" in hostile.get("/event", at=f"0/{said['index']}").text
    assert said["after"] == HOSTILE and said["entity_key"] == HOSTILE_KEY
    text = hostile.get("/events.csv", q="type:data.create").text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert json.loads(rows[0]["after"]) == HOSTILE
    assert rows[0]["actor"].startswith("<script>")


def test_schemas_are_named_by_their_content(web: Web) -> None:
    """What the browser reads entries with."""
    from hashlib import sha256

    from audit.web.receipts import schemas_by_digest

    for digest in schemas_by_digest():
        assert sha256(web.get(f"/schemas/{digest}").body).hexdigest() == digest
    web.get("/schemas/" + "0" * 64, 404)
    web.get("/schemas/..%2F..%2Fetc%2Fpasswd", 404)

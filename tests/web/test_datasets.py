"""Datasets, rows through time, and what differs between two points."""

import csv
import io
import json
import re
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

import audit
from audit import Ledger
from tests.cli.conftest import run
from tests.web.conftest import HOSTILE_KEY, MakeWeb, Web


def test_a_dataset_at_a_point_with_its_citation(web: Web) -> None:
    """The rows and the citation of `audit replay --json`."""
    said = web.json("/dataset", name="inquiry", as_of="0/20")
    expected = run("replay", "inquiry", "--as-of", "0/20", "--json", "--store", web.store).json
    assert said["rows"] == expected["rows"] and len(said["rows"]) > 3
    assert said["citation"]["logs"][0]["size"] == 21
    page = web.get("/dataset", name="inquiry", as_of="0/20").text
    assert said["citation"]["logs"][0]["root_hash"] in page
    assert "replay(&#39;inquiry&#39;, as_of=&#39;0/20&#39;)" in page
    assert "inquiry" in web.get("/datasets").text


def test_the_valid_axis_columns_and_conditions(web: Web) -> None:
    """What was true at a time; only some columns; only rows that fit."""
    early = web.json("/dataset", name="inquiry", valid_at="2020-06-30")["rows"]
    assert 0 < len(early) < len(web.json("/dataset", name="inquiry")["rows"])
    said = web.json("/dataset", name="inquiry", columns="LoanType", where="LoanAmount>=100000")
    assert said["rows"] and all(set(row) == {"entity_key", "LoanType"} for row in said["rows"])
    web.json("/dataset", 400, name="inquiry", columns="Nothing")
    web.json("/dataset", 400, name="inquiry", where="???")
    web.json("/dataset", 404, name="nothing")


def test_pages_of_a_dataset_are_of_one_answer(web: Web) -> None:
    """The link to the next rows pins the point."""
    everything = web.json("/dataset", name="inquiry")["rows"]
    first = web.json("/dataset", name="inquiry", limit=4)
    assert first["more"]
    rest = web.json("/dataset", name="inquiry", limit=1000, skip=4)
    assert first["rows"] + rest["rows"] == everything
    assert (
        "pin=0%3A" in web.get("/dataset", name="inquiry", limit=4).text.partition("Rows after")[0]
    )


def test_a_dataset_as_csv_and_parquet(web: Web) -> None:
    """All rows; Parquet with the types and the citation of the frame."""
    with Ledger(web.store) as ledger:
        frame = ledger.replay("inquiry", format="arrow")
    table = pq.read_table(io.BytesIO(web.get("/dataset.parquet", name="inquiry", limit=1).body))
    assert table.to_pydict() == frame.to_pydict()
    assert json.loads(table.schema.metadata[b"audit"])["entity"] == "inquiry"
    rows = list(csv.reader(io.StringIO(web.get("/dataset.csv", name="inquiry").text)))
    assert rows[0] == frame.column_names and len(rows) == frame.num_rows + 1


def test_formulas_in_csv_are_texts(make_web: MakeWeb, tmp_path: Path) -> None:
    """A value that a spreadsheet would run gets a quote in front; numbers stay numbers."""
    with audit.Emitter(f"sqlite:///{tmp_path / 'audit.db'}") as emit:
        emit.create("t", "=1+1", {"a": "=cmd()", "b": -5, "c": "@x", "d": "\tx", "e": "-1"})
    web = make_web(tmp_path)
    row = list(csv.reader(io.StringIO(web.get("/dataset.csv", name="t").text)))[1]
    assert row == ["'=1+1", "'=cmd()", "-5", "'@x", "'\tx", "'-1"]


def test_a_row_through_time(web: Web) -> None:
    """The row at a point, who gave each field its value, its versions."""
    key = web.json("/events", q="op:update entity:inquiry")["events"][0]["entity_key"]
    said = web.json("/entity", ref=f"inquiry/{key}")
    with Ledger(web.store) as ledger:
        versions = ledger.history(f"inquiry/{key}")
        assert said["versions"] == [one.to_dict() for one in reversed(versions)]
        expected = ledger.blame(f"inquiry/{key}").to_dict()
    by_place = {(one["log"], one["index"]): one for one in said["blame"]["said"]}
    assert list(by_place) == sorted({(o["log"], o["index"]) for o in expected["fields"]})
    assert len(said["blame"]["said"]) == len(by_place) < len(expected["fields"])
    fields = [{**one, **by_place[one["log"], one["index"]]} for one in said["blame"]["fields"]]
    assert {"fields": fields, "gone": said["blame"]["gone"]} == expected
    first = versions[0]
    place = f"{first.log}/{first.index}"
    past = web.json("/entity", ref=f"inquiry/{key}", as_of=place)
    assert past["versions_in_all"] == 1 and past["later_versions"] == len(versions) - 1
    assert past["row"] != said["row"]
    before = web.json("/entity", ref=f"inquiry/{key}", pin="0:1")
    assert before["row"] is None and before["versions_in_all"] == 0
    page = web.get("/entity", ref=f"inquiry/{key}").text
    assert f"as_of={first.log}%2F{first.index}" in page
    rows = list(csv.DictReader(io.StringIO(web.get("/entity.csv", ref=f"inquiry/{key}").text)))
    assert [int(row["index"]) for row in rows] == [one.index for one in versions]
    web.get("/entity", 404, ref="inquiry/nothing")
    web.get("/entity", 404, ref="nothing/1")
    web.get("/entity", 400, ref="inquiry")


def test_what_differs_between_two_points(web: Web) -> None:
    """The rows of `audit diff --json`, in all forms."""
    said = web.json("/diff", what="inquiry", a="0/14", b="HEAD")
    expected = run("diff", "inquiry", "0/14..HEAD", "--json", "--store", web.store).json
    assert said["rows"] == (expected["rows"] if isinstance(expected, dict) else expected)
    assert len(said["rows"]) == 1
    row = said["rows"][0]
    page = web.get("/diff", what="inquiry", a="0/14", b="HEAD").text
    assert row["entity_key"] in page and "PaymentStatus" in page
    lines = list(csv.DictReader(io.StringIO(web.get("/diff.csv", what="inquiry", a="0/14").text)))
    assert [(line["entity_key"], line["field"]) for line in lines] == [
        (row["entity_key"], name) for name in row["fields"]
    ]
    for line in lines:
        pair = row["fields"][line["field"]]
        assert [line["before"], line["after"]] == [str(pair.get(s, "")) for s in ("old", "new")]
    pinned = web.json("/diff", what="inquiry", a=said["a"], b=said["b"])
    assert pinned["rows"] == said["rows"]
    web.get("/diff")
    web.get("/diff", 404, what="inquiry", a="never")
    web.get("/diff", 404, what="nothing", a="0/1")


def test_comparing_has_points_of_its_own(web: Web) -> None:
    """No link carries a point to where it counts for nothing; permalinks pin both sides."""
    past = web.get("/datasets", as_of="0/14").text
    assert 'href="/diff"' in past and 'href="/verify"' in past
    assert 'href="/events?as_of=0%2F14"' in past
    for path in ("/diff", "/verify"):
        web.get(path, 400, as_of="0/14")
        web.get(path, 400, pin="0:4")
    found = web.get("/diff.json", what="inquiry", a="-1d")
    permalink = unescape(re.findall(r'<([^>]*)>; rel="canonical"', found.headers["link"])[0])
    said = web.get(permalink).json
    assert (said["a"], said["b"]) == (found.json["a"], found.json["b"])
    assert f"a={quote(said['a'], safe='')}" in permalink
    assert 'rel="canonical"' in web.get("/verify.json").headers["link"]


def test_comparing_a_hostile_row_again(hostile: Web) -> None:
    """The form asks for the very same row, though its key cannot be shown as it is."""
    page = hostile.get("/diff", what=f"user/{HOSTILE_KEY}", a="0/0").text
    name, value = re.findall(r'<input type="hidden" name="(what~?)" value="([^"]*)">', page)[0]
    assert 'name="what" value' not in page and "\u202e" not in page
    again = hostile.json("/diff", **{name: unescape(value)}, a="0/0")
    assert again["what"] == f"user/{HOSTILE_KEY}" and again["rows"]
    assert 'name="what" value="user"' in hostile.get("/diff", what="user", a="0/0").text


def test_hostile_keys_are_reached_by_their_links(hostile: Web) -> None:
    """Slashes, quotes, line feeds, directions: the link of the dataset leads to the row."""
    page = hostile.get("/dataset", name="user").text
    link = unescape(re.findall(r'href="(/entity[^"]*)"', page)[0])
    # The value of a hidden field is the key itself, and shown to nobody.
    shown = re.sub(r'<input type="hidden"[^>]*>', "", hostile.get(link).text)
    assert "<script>alert" not in shown and "\u202e" not in shown
    assert hostile.json("/entity", ref=f"user/{HOSTILE_KEY}")["ref"] == f"user/{HOSTILE_KEY}"


@pytest.mark.parametrize("name", ["../x", "user\x00", "a" * 300, "\u202e"])
def test_names_that_are_none(web: Web, name: str) -> None:
    """One line, never a bug."""
    assert web.get("/dataset.json", None, name=name).status in (400, 404)
    assert web.get("/entity.json", None, ref=f"{name}/1").status in (400, 404)
    assert web.get("/diff.json", None, what=name).status in (400, 404)

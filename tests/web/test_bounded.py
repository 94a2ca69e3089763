"""Pages stay quick on large ledgers: searches that stop and go on, parts of datasets."""

import re
import shutil
from html import unescape
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import audit
from audit import Ledger
from audit.errors import Unavailable
from audit.ledger.flags import flag
from audit.ledger.read_model import LedgerReadModel
from audit.replay.columnar.fold.differ import GROWTH
from audit.replay.columnar.fold.fast import FastDataset
from audit.replay.query import sort_of
from audit.web import WebOptions, freshening
from audit.web.readers import Readers
from audit.web.screens import dataset, events, overview, things
from tests.lineage.run_records import model, transition
from tests.web.conftest import MakeWeb, Web


@pytest.mark.parametrize(
    "query", ["", "entity:inquiry", "actor:nobody", "field:LoanType", "-op:create"]
)
def test_a_search_that_stops_goes_on(web: Web, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    """With no time at all each page looks at one entry; all pages together are the answer."""
    everything = web.json("/events", q=query, limit=1000)
    assert not everything["stopped"] and everything["count_complete"]
    assert everything["count"] == len(everything["events"])
    monkeypatch.setattr("audit.replay.events.LOOKED_AT_LEAST", 1)
    monkeypatch.setattr(events, "SEARCH_SECONDS", -1.0)
    monkeypatch.setattr(events, "COUNT_SECONDS", -1.0)
    found, token, pages = [], None, 0
    while True:
        more = {} if token is None else {"after": token}
        said = web.json("/events", q=query, **more)
        found += said["events"]
        token, pages = said["next"], pages + 1
        if token is None:
            break
        assert said["stopped"] and len(said["events"]) <= 1
    assert found == everything["events"] and pages >= len(found)
    if query == "-op:create":
        page = web.get("/events", q=query).text
        assert "Search further back" in page and "At least" in page


def test_counts_without_leaves_are_right(web: Web) -> None:
    """What applications said is counted by what else there is."""
    with Ledger(web.store) as ledger:
        for query in ("", "recorded:>=2020-01-01", "log:0", "recorded:<2020-01-01"):
            assert ledger.count(query).number == ledger.count(query, scan=True).number
            for index in (0, 5, 20):
                point = f"0/{index}"
                assert ledger.count(query, point)[0] == ledger.count(query, point, scan=True)[0]


def test_a_part_of_a_dataset_by_columns(web: Web, tmp_path: Path) -> None:
    """The rows from one place to another, as all rows have them, whatever is asked for of them."""
    wanted: list[dict[str, Any]] = [
        {},
        {"columns": ["LoanType", "LoanAmount"]},
        {"filters": [("LoanAmount", ">=", 100_000)]},
        {"columns": ["LoanType"], "filters": [("LoanAmount", ">=", 100_000)]},
        {"valid_at": "2020-06-30"},
    ]
    with (
        Ledger(web.store, read_model=tmp_path) as ledger,
        Ledger(web.store, read_model="off") as off,
    ):
        assert ledger._read_model is not None
        ledger._read_model._path._from_entries = 0
        for given in wanted:
            expected = list(off.dataset("inquiry", **given).dataset.rows())
            assert expected
            found = ledger.dataset("inquiry", **given).dataset
            assert isinstance(found.found, FastDataset)
            for first, end in (
                (0, 3),
                (2, 5),
                (0, 10**6),
                (len(expected), 10**6),
                (10**9, 10**9 + 1),
            ):
                assert list(found.rows_between(first, end)) == expected[first:end]
                plain = off.dataset("inquiry", **given).dataset
                assert list(plain.rows_between(first, end)) == expected[first:end]


def test_differences_in_blocks_of_any_size(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first block is small; no row is lost or repeated where blocks meet."""
    monkeypatch.setattr("audit.replay.columnar.fold.differ.FIRST_ROWS", 2)
    monkeypatch.setattr("audit.replay.columnar.fold.differ.ROWS_AT_ONCE", 2 * GROWTH)
    with (
        Ledger(web.store, read_model=tmp_path) as ledger,
        Ledger(web.store, read_model="off") as off,
    ):
        assert ledger._read_model is not None
        ledger._read_model._path._from_entries = 0
        expected = list(off.diff("inquiry", "0/3", None))
        assert len(expected) > 5 and list(ledger.diff("inquiry", "0/3", None)) == expected
        assert list(islice(ledger.diff("inquiry", "0/3", None), 3)) == expected[:3]


def test_one_read_model_for_all_readers(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is built before anybody asks, and answers for every ledger that is lent."""
    monkeypatch.setattr(freshening, "FAST_FROM_ENTRIES", 0)
    pool = Readers(WebOptions(web.store, read_model=str(tmp_path)))
    with pool.lent() as one, pool.lent() as other:
        assert one is not other and one.read_model is other.read_model
        pool._freshen()
        assert one.read_model is not None
        assert one.read_model.covered(0) == one.reader.size(0)
    pool.close()


def test_the_newest_reviews(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reviews: the newest, how many more there are, and where they are."""
    prediction = f"prediction/{web.json('/predictions')['predictions'][0]['prediction']}"
    with Ledger(web.store) as ledger:
        for n in range(3):
            flag(ledger, prediction, f"wrong {n}", "ann")
    monkeypatch.setattr(things, "MAX_REVIEWS", 2)
    whole = web.json("/prediction", ref=prediction)
    assert [one["message"] for one in whole["card"]["reviews"][-2:]] == ["wrong 1", "wrong 2"]
    assert len(whole["card"]["reviews"]) == 2 and whole["left_out"]["reviews"] >= 1
    page = web.get("/prediction", ref=prediction).text
    link = unescape(re.findall(r'older reviews are not shown: <a href="([^"]*)"', page)[0])
    every = web.get(link.replace("/events?", "/events.json?")).json["events"]
    assert len(every) == 2 + whole["left_out"]["reviews"]


def test_the_last_times_that_a_model_served(
    make_web: MakeWeb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with audit.Emitter(f"sqlite:///{tmp_path / 'audit.db'}") as emit:
        model(emit, "1")
        for month in range(1, 7):
            transition(emit, "1" if month % 2 else "2", f"2026-0{month}-01")
    web = make_web(tmp_path)
    whole = web.json("/model", ref="model/credit-risk@1")
    assert whole["serving_in_all"] == len(whole["serving"]) == 6
    assert len(whole["card"]["served"]) == 3 and whole["left_out"] == {"served": 0}
    monkeypatch.setattr(things, "MAX_SERVED", 2)
    part = web.json("/model", ref="model/credit-risk@1")
    assert (part["serving"], part["serving_in_all"]) == (whole["serving"][-2:], 6)
    assert part["card"]["served"] == whole["card"]["served"][-2:]
    assert part["left_out"] == {"served": 1}
    page = web.get("/model", ref="model/credit-risk@1").text
    assert "the last 2 of 6" in page
    link = unescape(re.findall(r'href="([^"]*)">All transitions', page)[0])
    assert len(web.get(link.replace("/events?", "/events.json?")).json["events"]) == 6


def test_datasets_page_by_page(make_web: MakeWeb, monkeypatch: Any, tmp_path: Path) -> None:
    """Every name once, in order; the overview says how many it leaves out."""
    names = sorted(f"t{n}" for n in range(11))
    with audit.Emitter(f"sqlite:///{tmp_path / 'audit.db'}") as emit:
        for name in names:
            emit.create(name, 1, {"a": 1})
    web = make_web(tmp_path)
    monkeypatch.setattr(dataset, "MAX_NAMES", 4)
    monkeypatch.setattr(overview, "MAX_NAMES", 4)
    found: list[str] = []
    token = None
    while token is not None or not found:
        said = web.json("/datasets", **({"after": token} if token else {}))
        assert said["count"] == 11 and len(said["datasets"]) <= 4
        found, token = found + said["datasets"], said["next"]
    assert found == names
    page = web.get("/datasets", after=names[3]).text
    assert "5 to 8 of 11 datasets" in page and f"after={names[7]}" in page
    assert web.json("/datasets", after="zz")["datasets"] == []
    said = web.json("/index")
    assert (said["datasets"], said["datasets_in_all"]) == (names[:4], 11)
    assert "7 more</a>" in web.get("/").text


def test_the_past_is_counted_as_its_entries_are(web: Web) -> None:
    """At each size: entries of each sort, as one finds who looks at them."""
    with Ledger(web.store) as ledger:
        reader = ledger.reader
        sorts = [sort_of(ledger.entry(f"0/{index}")) for index in range(reader.size(0))]
        for size in range(len(sorts) + 1):
            log = ledger.status(ledger.cut()._replace(sizes={0: size})).logs[0]
            given = log.events, log.schemas, log.control, log.quarantined
            names = "event", "schema", "control", "quarantined"
            assert given == tuple(sorts[:size].count(name) for name in names)


def test_what_needs_no_read_model(
    web: Web, make_web: MakeWeb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where it cannot be opened the overview, events and rows are there all the same."""

    def refuse(_: LedgerReadModel) -> None:
        raise Unavailable("not now")

    monkeypatch.setattr(LedgerReadModel, "open", refuse)
    monkeypatch.setattr(freshening, "FAST_FROM_ENTRIES", 0)
    monkeypatch.setattr("audit.replay.many_versions.MANY_VERSIONS", 0)
    shutil.copytree(web.folder, tmp_path / "copy")
    other = make_web(tmp_path / "copy")
    for path in ("/", "/?as_of=0/14", "/events", "/entity?ref=inquiry/1003", "/datasets"):
        other.get(path)

"""Pages stay quick on large ledgers: searches that stop and go on, parts of datasets."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from audit import Ledger
from audit.replay.columnar.fold.differ import GROWTH
from audit.replay.columnar.fold.fast import FastDataset
from audit.web import WebOptions, readers
from audit.web.readers import Readers
from audit.web.screens import events
from tests.web.conftest import Web


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
    monkeypatch.setattr(readers, "FAST_FROM_ENTRIES", 0)
    pool = Readers(WebOptions(web.store, read_model=str(tmp_path)))
    with pool.lent() as one, pool.lent() as other:
        assert one is not other and one.read_model is other.read_model
        readers._freshen(pool._model)
        assert one.read_model is not None
        assert one.read_model.covered(0) == one.reader.size(0)
    pool.close()

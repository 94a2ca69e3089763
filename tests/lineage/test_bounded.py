"""What pages ask in part is part of what the library answers in full, at any point."""

import shutil
from itertools import product
from pathlib import Path

import pytest

from audit.ledger import Ledger
from audit.ledger.flags import flagged_page
from audit.ledger.retry import retried_as
from audit.lineage.recorded.run_search import search_runs
from audit.lineage.tracing import record_index
from audit.lineage.tracing.record_index import index_of
from audit.lineage.tracing.walked import Part
from audit.replay.known import datasets
from tests.benchmarks.mlbig import MlLog, MlPlan, obtain
from tests.benchmarks.mlbig_events import MODEL
from tests.lineage.common import Case
from tests.lineage.common_trace import Pipeline

WINDOW = {"since": "2023-12-13", "until": "2024-01-10"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MlLog:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_BENCH_CACHE", str(tmp_path_factory.mktemp("bench")))
        return obtain(MlPlan(3_000))


def test_a_page_of_runs_is_a_part_of_all(made: MlLog) -> None:
    with Ledger(made.url, read_model="off") as ledger:
        size = ledger.reader.size(0)
        for at, component, status in product(
            (size, size // 2, 1_040, 1_041, 9),
            (None, "prepare-7", "train"),
            (None, "FAIL", "START"),
        ):
            cut = ledger.cut(f"0/{at - 1}")
            everything = search_runs(ledger.reader, cut, component, None, None, status)
            found = ledger.runs_page(component, cut, status=status, limit=10**6)
            assert found.runs == everything and found.count == len(everything)
            part = ledger.runs_page(component, cut, status=status, skip=3, limit=4)
            assert part.runs == everything[3:7] and part.count == len(everything)
        since, until = "2023-11-20T01:02:03Z", "2023-12-20"
        expected = ledger.runs(since=since, until=until)
        assert expected
        assert ledger.runs_page(since=since, until=until, limit=10**6).runs == expected


def test_runs_that_were_corrected_or_lie(case: Case) -> None:
    pipeline = Pipeline(case.url, case.emit)
    first = pipeline.run("a")
    case.emit.flush()
    with Ledger(case.url) as ledger:
        record = ledger.page("type:component.run", limit=1).records[0]
    assert record.event is not None
    lying = {"run_id": first, "name": "other", "status": "FAIL"}
    case.emit.record("component.run", lying, entity_type="run", entity_key=first,
                     supersedes=record.event.event_id)  # fmt: skip
    case.emit.record("component.run", lying, entity_type="run", entity_key="not-it")
    case.emit.record("component.run", {**lying, "run_id": "b", "name": ""}, entity_type="run",
                     entity_key="b")  # fmt: skip
    case.emit.flush()
    with Ledger(case.url) as ledger:
        for size in range(1, ledger.reader.size(0) + 1):
            cut = ledger.cut(f"0/{size - 1}")
            expected = search_runs(ledger.reader, cut)
            assert ledger.runs_page(as_of=cut, limit=1_000).runs == expected


def test_predictions_in_parts_are_all_of_them(made: MlLog) -> None:
    counts: dict[str, int] = {}
    with Ledger(made.url, read_model="off") as ledger:
        for ref in (f"model/{MODEL}@2", "customer/C000003"):
            whole = ledger.trace(ref, downstream=True).touched
            counts[ref] = 0 if whole is None else whole.count
            assert whole is not None
            part = ledger.trace(ref, downstream=True, part=Part(-1, 10**6))
            assert part.touched is not None and part.touched.count == whole.count
            assert part.part is not None and part.part.until_us is None
        after, count, pages = None, 0, 0
        while True:
            one = ledger.trace(f"model/{MODEL}@2", downstream=True, part=Part(after, 300))
            assert one.touched is not None and one.part is not None
            count, pages, after = count + one.touched.count, pages + 1, one.part.until_us
            if after is None:
                break
        assert count == counts[f"model/{MODEL}@2"] and pages > 2


def test_a_graph_with_room_for_little(made: MlLog) -> None:
    with Ledger(made.url, read_model="off") as ledger:
        whole = ledger.trace("customer", downstream=True, part=Part(None, 10))
        part = ledger.trace("customer", downstream=True, nodes=5, part=Part(None, 10))
        assert len(part.of_kind("prediction")) == 10
        others = [one for one in part.nodes.values() if one.kind != "prediction"]
        assert len(others) == 5 and all(one.id in whole.nodes for one in others)
        assert "there are more than 5 nodes" in part.cut_off
        up = ledger.trace("prediction/p0000100", nodes=3)
        assert len(up.nodes) == 3 and up.cut_off


def test_pages_of_flagged_things_are_all_of_them(made: MlLog) -> None:
    with Ledger(made.url, read_model="off") as ledger:
        for cut in (ledger.cut(), ledger.cut("0/1600")):
            found, after = [], None
            while True:
                page = flagged_page(ledger, cut, after=after, limit=1, within_s=-1.0)
                found += page.flagged
                after = page.next
                if after is None:
                    break
            assert found and list(reversed(found)) == ledger.flagged(cut)


def test_a_sample_is_drawn_the_same_again_and_said(
    made: MlLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.ledger.searching.FAST_FROM_ENTRIES", 0)
    with Ledger(made.url, read_model=tmp_path) as ledger:
        plain = ledger.drift(MODEL, **WINDOW)
        whole = ledger.drift(MODEL, **WINDOW, sample=10**6)
        assert whole == plain and not whole.sampled
        assert whole.now_rows > 600
        some = ledger.drift(MODEL, **WINDOW, sample=100)
        assert some.now_rows == some.then_rows == 100 and some.sampled
        assert sum("drawn at random" in remark for remark in some.remarks) == 2
        assert ledger.drift(MODEL, **WINDOW, sample=100) == some
        rare = ledger.drift(f"{MODEL}@1", **WINDOW, sample=50)
        assert rare.now_rows == 0
        other = ledger.drift(MODEL, **WINDOW, sample=100, as_of="0/1999")
        assert other.column("f01") != some.column("f01")
    with Ledger(made.url, read_model="off") as ledger:
        assert ledger.drift(MODEL, **WINDOW, sample=100) == plain


def test_what_is_held_goes_with_its_ledger(
    made: MlLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.db"
    shutil.copy(made.folder / "audit.db", path)
    with Ledger(f"sqlite:///{path}", read_model="off") as ledger:
        assert ledger.runs_page(limit=1).count > 10
        held = index_of(ledger.reader, ledger.cut())
        assert index_of(ledger.reader, ledger.cut()) is held
        assert "review" not in datasets(ledger.reader)
    with monkeypatch.context() as patch:
        patch.setenv("AUDIT_BENCH_CACHE", str(tmp_path))
        other = obtain(MlPlan(500))
    path.unlink()
    shutil.copy(other.folder / "audit.db", path)
    with Ledger(f"sqlite:///{path}", read_model="off") as ledger:
        assert index_of(ledger.reader, ledger.cut()) is not held
        assert ledger.runs_page(limit=10**6).runs == ledger.runs()
        assert "review" not in datasets(ledger.reader)
        held = index_of(ledger.reader, ledger.cut())
        monkeypatch.setattr(record_index, "MAX_HELD_BYTES", 10)
        assert index_of(ledger.reader, ledger.cut()) is held
        assert index_of(ledger.reader, ledger.cut()) is not held


def test_what_was_never_retried(made: MlLog) -> None:
    with Ledger(made.url, read_model="off") as ledger:
        assert retried_as(ledger.reader, 0, 5) is None

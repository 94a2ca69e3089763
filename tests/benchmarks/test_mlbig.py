"""The big ledger of machine learning is a real one, and says what the emitters' own code would."""

from collections import Counter
from pathlib import Path

import pytest

from audit.event.build import record_event
from audit.event.envelope import encode_event
from audit.ledger import Ledger
from audit.lineage.recorded.predictions import read_prediction
from audit.replay.books import Books
from tests.benchmarks.bench_web_ml import pages
from tests.benchmarks.biglog import verify
from tests.benchmarks.mlbig import MlLog, MlPlan, obtain
from tests.benchmarks.mlbig_events import MODEL


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MlLog:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_BENCH_CACHE", str(tmp_path_factory.mktemp("bench")))
        return obtain(MlPlan(3_000))


def test_it_verifies_and_holds_what_is_asked_for(made: MlLog) -> None:
    verify(made)  # type: ignore[arg-type]  # it asks for the address alone
    with Ledger(made.url, read_model="off") as ledger:
        types = Counter(one.event.type for one in ledger.events() if one.event is not None)
        assert types["prediction"] == 2_100 and types["data.create"] + types["data.update"] == 900
        assert {run.status for run in ledger.runs()} >= {"COMPLETE", "FAIL"}
        assert ledger.flagged() and len(ledger.serving(MODEL)) > 1
        assert {one.model_version for one in ledger.predictions()} == {"1", "2", "3"}
        assert pages(made)


def test_an_event_that_was_filled_in_is_one_that_was_spelled(made: MlLog) -> None:
    with Ledger(made.url, read_model="off") as ledger:
        books = Books(ledger.reader, ledger.cut())
        for record in ledger.page("type:prediction", limit=60).records:
            event, said = record.event, books.decode(record)
            assert event is not None and isinstance(said, dict)
            assert read_prediction(books, record).problem is None
            again = record_event(
                event.type,
                said,
                event_id=event.event_id,
                source=event.source,
                entity_type=event.entity_type,
                entity_key=event.entity_key,
                valid_time_us=event.valid_time_us,
                actor=event.actor,
            )
            assert encode_event(again.event) == record.entry.event


def test_the_cache_is_used(made: MlLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIT_BENCH_CACHE", str(Path(made.folder).parent))
    before = (made.folder / "audit.db").stat().st_mtime_ns
    assert obtain(MlPlan(3_000)) == made
    assert (made.folder / "audit.db").stat().st_mtime_ns == before

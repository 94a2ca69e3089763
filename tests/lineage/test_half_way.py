"""What lineage holds and draws: whole after a failure half-way, bounded, the same in any log."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from audit.errors import Unavailable
from audit.event.build import record_event, schema_event
from audit.lineage.drifting.observed import Span, observe_predictions
from audit.lineage.drifting.sampling import Sampling
from audit.lineage.recorded.run_search import search_runs
from audit.lineage.recorded.runs import RUN_TYPES
from audit.lineage.tracing import record_index
from audit.lineage.tracing.record_index import index_of
from audit.lineage.tracing.run_pages import runs_page
from audit.lineage.tracing.trace_index import view_of
from audit.log.record import Record
from audit.replay import known
from audit.replay.books import Books
from audit.replay.history import history
from audit.replay.known import datasets
from audit.replay.one_thing import thing
from audit.replay.points import Cut
from audit.replay.refs import Ref
from audit.replay.trusted import trusted_record
from audit.store.blobs import BlobStore
from tests.backends import SqliteBackend
from tests.lineage.run_records import MODEL_FIELDS
from tests.replay.conftest import START_US, LedgerInTest, open_columns

FAILS_AT = 13


@pytest.fixture
def two_logs(tmp_path: Path) -> Any:
    made = LedgerInTest(SqliteBackend(tmp_path))
    made.open_log(1)
    with made.store:
        yield made


def say_runs(ledger: LedgerInTest, count: int) -> None:
    """Runs with an end each, and a model of each."""
    for number in range(count):
        run_id, log = f"r{number}", number % 2
        for status in ("START", "COMPLETE"):
            said = {"run_id": run_id, "name": f"n{number % 3}", "status": status}
            about = {"entity_type": "run", "entity_key": run_id, "event_id": run_id + status}
            ledger.record("component.run", said, log=log, **about)
        model = {**MODEL_FIELDS, "name": "m", "version": str(number), "run_id": run_id}
        ledger.record("model.version", model, log=log, entity_type="model",
                      entity_key=f"m@{number}")  # fmt: skip


def test_nothing_is_there_twice_after_a_failure(
    two_logs: LedgerInTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    say_runs(two_logs, 8)
    store, cut = two_logs.store, two_logs.cut()
    decode, left = Books.decode, [FAILS_AT]

    def failing(self: Books, record: Record) -> Any:
        left[0] -= 1
        if not left[0]:
            raise Unavailable("the store is away")
        return decode(self, record)

    monkeypatch.setattr(Books, "decode", failing)
    with pytest.raises(Unavailable):
        index_of(store, cut)
    some = [{log: size * part // 5 for log, size in cut.sizes.items()} for part in (2, 1, 4, 5)]
    for sizes in some:
        at = cut._replace(sizes=sizes)
        assert runs_page(store, at, limit=1_000).runs == search_runs(store, at)
    view = view_of(store, cut)
    for number in range(8):
        assert len(view.models.get(("m", str(number)))) == 1
        assert len(view.models_of_run.get(f"r{number}")) == 1
    assert all(len(set(told)) == len(told) == 2 for told in index_of(store, cut).runs.runs.values())


def test_runs_that_were_read_are_held_up_to_a_limit(
    two_logs: LedgerInTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    say_runs(two_logs, 6)
    store, cut = two_logs.store, two_logs.cut()
    expected = search_runs(store, cut)
    leaf_bytes = len(store.leaf(expected[0].record.log, expected[0].record.index))
    monkeypatch.setattr(record_index, "RUNS_READ_BYTES", 3 * leaf_bytes + 20)
    assert runs_page(store, cut, limit=10).runs == expected
    assert runs_page(store, cut, limit=10).runs == expected
    assert 1 <= len(index_of(store, cut)._read_runs) <= 3


def test_a_record_before_it_was_corrected(two_logs: LedgerInTest) -> None:
    """What took it out later is no part of what was known before."""
    say_runs(two_logs, 1)
    said = {"run_id": "r0", "name": "n0", "status": "FAIL"}
    two_logs.record("component.run", said, entity_type="run", entity_key="r0",
                    supersedes="r0COMPLETE")  # fmt: skip
    ref, store, head = Ref("run", "r0"), two_logs.store, two_logs.cut()
    for size in range(1, store.size(0) + 1):
        cut: Cut = head._replace(sizes={**head.sizes, 0: size})
        found = thing(store, ref, cut, None, 10)
        assert found.versions == history(store, ref, cut)[::-1]
        assert found.shown == len(found.versions) and len(found.marks) == 3


def test_few_predictions_of_two_logs_are_counted_in_their_order(
    two_logs: LedgerInTest, tmp_path: Path
) -> None:
    """The order decides which numbers and subgroups are kept, and how sums are rounded."""
    rng = random.Random(7)
    for number in range(160):
        features = {"a": rng.random() * 1e6, "c": f"g{rng.randrange(80)}"}
        said = {"model_name": "m", "model_version": "1", "status": "OK", "role": "PRIMARY",
                "features": features, "output": rng.random()}  # fmt: skip
        two_logs.record("prediction", said, log=rng.randrange(2), entity_type="prediction",
                        entity_key=f"k{number % 9}")  # fmt: skip
    store, cut = two_logs.store, two_logs.cut()
    spans, blobs = [Span(START_US, START_US + 10**6)], BlobStore(tmp_path / "blobs")
    asked = store, blobs, cut, "m", None, spans, "both", "c"
    sampling = Sampling(open_columns(store, None), 1_000)
    plain = observe_predictions(*asked)
    assert observe_predictions(*asked, sampling=sampling, seed=1) == plain
    assert plain[0].rows == 160 and len(plain[0].groups) > 40


def test_what_was_looked_through_is_not_again(
    two_logs: LedgerInTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether reviews are a dataset, too, is told by a row of it, wherever its first one is."""
    about = {"entity_type": "review", "entity_key": "k"}
    for number in range(9):
        two_logs.record("note.made", {"n": number}, **about)
    assert datasets(two_logs.store) == []
    two_logs.emit("create", "x", {"n": 1}, entity="review")
    seen: list[int] = []

    def noted(log: int, index: int, leaf: bytes) -> Record:
        seen.append(index)
        return trusted_record(log, index, leaf)

    monkeypatch.setattr(known, "trusted_record", noted)
    for most in (2, 1, 1):
        seen.clear()
        assert datasets(two_logs.store) == ["review"]
        assert len(seen) <= most
    monkeypatch.setattr(known, "_LOOKED", {})
    assert datasets(two_logs.store) == ["review"] and len(seen) > 9
    seen.clear()
    assert datasets(two_logs.store) == ["review"] and len(seen) == 1


@pytest.mark.parametrize("few", [100, 0])
def test_records_whose_schemas_come_late_and_first_to_the_other_log(
    two_logs: LedgerInTest, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(record_index, "FEW_SCHEMAS", few)
    store, schemas = two_logs.store, []
    for number, type_ in enumerate(sorted(RUN_TYPES)):
        said = {"run_id": f"r{number}", "name": "n", "status": "COMPLETE"}
        about = {"entity_type": "run", "entity_key": f"r{number}", "event_id": f"e{number}"}
        event, needed = record_event(type_, said, source="test", **about)
        two_logs.seal([event], log=1)
        schemas += needed
    assert runs_page(store, two_logs.cut(), limit=9).runs == []
    for log in (0, 1):
        for schema in sorted(set(schemas)):
            two_logs.seal([schema_event(schema)], log=log)
            cut = two_logs.cut()
            assert runs_page(store, cut, limit=9).runs == search_runs(store, cut)
    assert len(search_runs(store, two_logs.cut())) == len(RUN_TYPES)


def test_a_store_exchanged_while_it_is_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for name, count in (("a", 3), ("b", 8)):
        (tmp_path / name).mkdir()
        made.append(LedgerInTest(SqliteBackend(tmp_path / name)))
        made[-1].open_log(1)
        say_runs(made[-1], count)
    store, cut, holds = made[0].store, made[0].cut(), record_index._holds
    with store, made[1].store:
        runs_page(store, cut._replace(sizes={0: 4}), limit=9)

        def exchanged(*asked: Any) -> bool:
            found = holds(*asked)
            monkeypatch.setattr(record_index, "_holds", holds)
            paths = [str(tmp_path / name / "audit.db") for name in ("b", "a")]
            with closing(sqlite3.connect(paths[0])) as b, closing(sqlite3.connect(paths[1])) as a:
                b.backup(a)
            return found

        monkeypatch.setattr(record_index, "_holds", exchanged)
        index_of(store, cut)
        cut = made[0].cut()
        assert runs_page(store, cut, limit=99).runs == search_runs(store, cut)
        assert len(search_runs(store, cut)) == 8

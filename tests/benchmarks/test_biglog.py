"""The big ledgers are real ones, and their truth is true."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from audit.event.build import data_event
from audit.event.envelope import decode_event, encode_event
from audit.event.payload import decode_payload
from audit.event.schema import SchemaBook
from audit.ledger import Ledger
from audit.log.intake import Message
from audit.log.record import read_record
from audit.store import open_store
from tests.benchmarks.biglog import BigLog, begin, cuts_of, obtain, verify
from tests.benchmarks.biglog_plan import CREATE, DELETE, PATCH, Plan, blocks, key_texts
from tests.benchmarks.biglog_truth import Fold, Wrong, check, column, fold_slowly
from tests.benchmarks.common import SIGNER

PLANS = [Plan(3_000), Plan(4_000, live=300, skew=0.0, revived=1.0), Plan(30)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> BigLog:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_BENCH_CACHE", str(tmp_path_factory.mktemp("bench")))
        return obtain(PLANS[0])


@pytest.mark.parametrize("plan", PLANS)
def test_the_fold_by_arrays_is_the_fold_by_dicts(plan: Plan) -> None:
    drawn = list(blocks(plan))
    assert sum(map(len, drawn)) == plan.events
    for cut in cuts_of(plan):
        fold = Fold()
        for block in drawn:
            fold.take(block, 0, max(cut - block.start, 0))
        state, rows = fold.state(), fold_slowly(drawn, cut)
        assert sorted(state["key"].tolist()) == sorted(rows)
        for at, key in enumerate(state["key"].tolist()):
            assert {name: state[name][at].item() for name in rows[key]} == rows[key]
    if plan.live is not None:
        assert 0.9 * plan.live < len(rows) <= plan.live


def test_the_shares_are_as_said() -> None:
    ops = np.concatenate([block.op for block in blocks(Plan(100_000))][1:])
    shares = [np.mean(ops == op) for op in (CREATE, PATCH, DELETE)]
    assert np.allclose(shares, (0.15, 0.80, 0.05), atol=0.01)


def test_it_verifies_and_says_what_was_drawn(made: BigLog, capsys: pytest.CaptureFixture) -> None:
    verify(made)
    assert capsys.readouterr().out == "verified\n"
    book = SchemaBook.with_builtins()
    with open_store(made.url) as store:
        assert store.size(0) == made.size(made.plan.events)
        leaves = store.leaves(0, made.first)
        for block in blocks(made.plan):
            for at, (_, leaf) in zip(range(len(block)), leaves, strict=False):
                event = read_record(0, leaf).event
                assert event is not None and event.entity_key is not None
                assert event.entity_key.encode() == key_texts(block.key)[at]
                change = decode_payload(event, book)
                given = {} if change.after is None else change.after
                for name, value in given.items():
                    drawn = column(name, block.values[name][at : at + 1], None)
                    assert drawn.to_pylist() == [value]
                    assert block.given(name)[at]
                assert len(given) == int(block.sets[at]).bit_count()


def test_it_is_what_the_store_itself_writes(made: BigLog, tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    begin(path)
    book = SchemaBook.with_builtins()
    clocks = [block.clock_us for block in blocks(made.plan)]
    now = [0]
    with (
        open_store(f"sqlite:///{path}", clock=lambda: now[0]) as store,
        open_store(made.url) as theirs,
    ):
        leaves = [leaf for _, leaf in theirs.leaves(0, made.first)]
        for start in range(0, len(leaves), made.plan.block):
            messages = []
            for leaf in leaves[start : start + made.plan.block]:
                event = read_record(0, leaf).event
                assert event is not None
                change = decode_payload(event, book)
                again, _ = data_event(
                    {"data.create": "create", "data.update": "update"}.get(event.type, "delete"),
                    event.entity_type,
                    event.entity_key,
                    event_id=event.event_id,
                    source=event.source,
                    after=change.after,
                    image=change.image,
                    valid_time_us=event.valid_time_us,
                    actor=event.actor,
                )
                assert decode_event(encode_event(again)) == event
                messages.append(Message(encode_event(again)))
            now[0] = clocks[start // made.plan.block]
            store.append(0, messages, SIGNER)
    assert _content(path) == _content(made.path)


def _content(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with sqlite3.connect(path) as connection:
        found = {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall()
            for table in ("entries", "tiles", "checkpoints", "logs")
        }
        schema = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
        return {**found, "schema": connection.execute(schema).fetchall()}


def test_the_truth_is_what_replay_answers_and_a_wrong_answer_is_noticed(made: BigLog) -> None:
    with Ledger(made.url) as ledger:
        for cut in made.cuts:
            frame = ledger.replay("account", as_of=made.size(cut) - 1)
            check("replay", frame, made.truth(cut))
        with pytest.raises(Wrong, match="rows, there are"):
            check("replay", frame.iloc[1:], made.truth(cut))
        frame.iloc[5, frame.columns.get_loc("visits")] += 1
        with pytest.raises(Wrong, match="replay: visits of ac"):
            check("replay", frame, made.truth(cut))

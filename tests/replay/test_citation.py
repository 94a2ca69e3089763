"""What an answer cites can be checked; what a tampered store says is not believed."""

import json

import pytest

from audit.errors import AuditError, NotFound, StoreCorrupt
from audit.replay.asof import dataset
from audit.replay.asof import row as row_at
from audit.replay.citation import cite, cut_of_sizes
from audit.replay.history import history
from audit.replay.refs import parse_ref
from audit.replay.steps import entries_used
from audit.tlog.checkpoint import open_checkpoint
from audit.tlog.hashing import leaf_hash
from audit.tlog.merkle import root_of
from audit.tlog.proof import verify_consistency
from tests.backends import signer_of
from tests.replay.conftest import ORIGIN, LedgerInTest

USER = parse_ref("user/5")


@pytest.fixture
def filled(ledger: LedgerInTest) -> LedgerInTest:
    """Three rows, a day each, and a second batch over 300 entries."""
    for day in (2, 3, 4):
        ledger.emit("create", day, {"n": day}, at=f"2026-01-0{day}")
    made = [ledger.event("update", 2, {"n": n}) for n in range(300)]
    ledger.seal([event for event, _ in made], at="2026-01-05")
    return ledger


def test_a_citation_names_root_and_covering_checkpoint(filled: LedgerInTest) -> None:
    cut = filled.cut("2026-01-03")
    (log,) = cite(filled.store, cut, proofs=True).logs
    leaves = [leaf for _, leaf in filled.store.leaves(0, 0, log.size)]
    assert log.origin == ORIGIN
    assert log.root_hash == root_of([leaf_hash(leaf) for leaf in leaves])
    assert log.checkpoint is not None
    checkpoint = open_checkpoint(log.checkpoint.note, [signer_of(ORIGIN).verifier])
    assert checkpoint.size == log.checkpoint.size >= log.size
    assert (checkpoint.size, checkpoint.root) == (log.size, log.root_hash)
    assert log.consistency_proof == ()


def test_a_consistency_proof_leads_to_the_checkpoint(filled: LedgerInTest) -> None:
    size = filled.store.size(0) - 100
    (log,) = cite(filled.store, cut_of_sizes(filled.store, {0: size}), proofs=True).logs
    assert log.checkpoint is not None
    assert log.root_hash is not None
    assert log.consistency_proof
    checkpoint = open_checkpoint(log.checkpoint.note, [signer_of(ORIGIN).verifier])
    verify_consistency(
        log.size, log.root_hash, checkpoint.size, checkpoint.root, list(log.consistency_proof)
    )
    assert checkpoint.size == size + 100


def test_a_citation_is_plain_json(filled: LedgerInTest) -> None:
    cited = cite(filled.store, filled.cut("2026-01-03"), valid_at_us=0, proofs=True).to_dict()
    assert json.loads(json.dumps(cited)) == cited
    assert cited["as_of"] == "2026-01-03T00:00:00.000000Z"
    assert cited["valid_at"] == "1970-01-01T00:00:00.000000Z"
    assert cited["settled"] is True
    assert cited["logs"][0]["checkpoint"]["note"].startswith(f"{ORIGIN}\n")
    assert len(cited["logs"][0]["root_hash"]) == 64
    head = cite(filled.store, filled.cut()).to_dict()
    assert (head["as_of"], head["asked"]) == (None, "HEAD")
    assert "consistency_proof" not in head["logs"][0]


def test_the_entries_that_an_answer_is_made_from(filled: LedgerInTest) -> None:
    filled.emit("truncate", None, at="2026-01-06")
    place = filled.emit("create", 5, {"n": 1}, at="2026-01-07")
    own = list(entries_used(filled.store, "user", "5", filled.cut()))
    assert sorted(own) == [(0, place[1] - 1), place]
    assert len(list(entries_used(filled.store, "user", None, filled.cut()))) == 305
    assert row_at(filled.store, USER, filled.cut()).entries == ((0, place[1] - 1), place)


def tampered(ledger: LedgerInTest, statement: str, index: int) -> None:
    ledger.backend.drop_guards()
    ledger.backend.sql(statement, (index,))


def test_an_index_column_that_lies_is_found_out(filled: LedgerInTest) -> None:
    place = filled.emit("create", 5, {"n": 1})
    tampered(filled, "UPDATE entries SET entity_key = x'36' WHERE \"index\" = ?", place[1])
    with pytest.raises(StoreCorrupt, match="audit verify"):
        row_at(filled.store, parse_ref("user/6"), filled.cut())


def test_an_entity_type_column_that_lies_is_found_out(filled: LedgerInTest) -> None:
    place = filled.emit("create", 5, {"n": 1})
    tampered(filled, "UPDATE entries SET entity_type = 'order' WHERE \"index\" = ?", place[1])
    with pytest.raises(StoreCorrupt, match="audit verify"):
        dataset(filled.store, "order", filled.cut())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET leaf = x'c301' WHERE \"index\" = ?",
        "UPDATE entries SET leaf = x'' WHERE \"index\" = ?",
        'UPDATE entries SET leaf = (SELECT leaf FROM entries WHERE "index" = 0) WHERE "index" = ?',
        "UPDATE entries SET leaf = CAST(leaf || x'00' AS BLOB) WHERE \"index\" = ?",
    ],
)
def test_a_leaf_that_is_none_is_store_corrupt(filled: LedgerInTest, statement: str) -> None:
    place = filled.emit("create", 5, {"n": 1})
    tampered(filled, statement, place[1])
    for read in (row_at, history):
        with pytest.raises(StoreCorrupt):
            read(filled.store, USER, filled.cut())
    with pytest.raises(StoreCorrupt):
        dataset(filled.store, "user", filled.cut())
    with pytest.raises(AuditError):
        cite(filled.store, filled.cut("2026-01-04"))


def test_a_deleted_entry_is_not_there(filled: LedgerInTest) -> None:
    place = filled.emit("create", 5, {"n": 1})
    tampered(filled, 'DELETE FROM entries WHERE "index" = ?', place[1])
    with pytest.raises(NotFound):
        row_at(filled.store, USER, filled.cut())


def test_a_key_column_that_is_no_text_is_store_corrupt(filled: LedgerInTest) -> None:
    place = filled.emit("create", 5, {"n": 1})
    tampered(filled, "UPDATE entries SET entity_key = x'ff' WHERE \"index\" = ?", place[1])
    assert len(filled.rows()) == 4
    with pytest.raises(StoreCorrupt, match="audit verify"):
        filled.rows(rows_in_memory=1)

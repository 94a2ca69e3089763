"""The facade `audit.Ledger`: what Python users read with."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import pytest

import audit
from audit.errors import InvalidInput, NotFound, StoreMissing
from audit.ledger.evidence import read_checkpoint
from audit.log.receipt import parse_receipt, verify_receipt

URL = "sqlite:///audit.db"


@pytest.fixture
def ledger(ledger_dir: Path) -> Iterator[audit.Ledger]:
    """User 5: created (entry 5), moved (6), deleted (7); user 6: created (8), with types."""
    with audit.Emitter(URL, source="crm") as emit:
        with audit.context(actor="alice", reason="ticket 4711"):
            emit.create("user", 5, {"name": "Christian", "dpt": "SCS"}, valid_time=date(2026, 1, 1))
            emit.update("user", 5, {"dpt": "ISR"}, valid_time=date(2026, 2, 1))
        emit.delete("user", 5, valid_time=date(2026, 3, 1))
        emit.create("user", 6, {"name": "Eve", "age": 41}, valid_time=date(2026, 1, 15))
    with audit.Ledger(URL) as opened:
        yield opened


def test_replay_gives_a_frame_that_cites_what_it_stands_on(ledger: audit.Ledger) -> None:
    frame = ledger.replay("user", as_of=6)
    assert frame.index.name == "entity_key" and list(frame.index) == ["5"]
    assert frame.loc["5"].to_dict() == {"name": "Christian", "dpt": "ISR"}
    cited = frame.attrs["audit"]
    assert cited["settled"] is True and cited["logs"][0]["size"] == 7
    assert len(cited["logs"][0]["root_hash"]) == 64


def test_points_may_be_texts_indexes_datetimes_and_dates(ledger: audit.Ledger) -> None:
    assert ledger.replay_row("user/5", as_of=5) == {"name": "Christian", "dpt": "SCS"}
    assert ledger.replay_row("user/5", as_of="HEAD~2") == {"name": "Christian", "dpt": "ISR"}
    assert ledger.replay_row("user/5", as_of=datetime.now(UTC)) is None
    assert ledger.replay_row("user/5", as_of=date(2020, 1, 1)) is None
    assert ledger.replay_row("user/5", valid_at=date(2026, 1, 31)) == {
        "name": "Christian",
        "dpt": "SCS",
    }


def test_a_citation_makes_the_answer_again(ledger: audit.Ledger) -> None:
    found = ledger.dataset("user", as_of=6)
    cut = ledger.cut(6)
    with audit.Emitter(URL, source="crm") as emit:
        emit.update("user", 5, {"dpt": "XXX"})
    again = ledger.dataset("user", as_of=cut)
    assert list(again.dataset.rows()) == list(found.dataset.rows())
    assert again.citation.logs[0].root_hash == found.citation.logs[0].root_hash


def test_several_datasets_at_one_point(ledger: audit.Ledger) -> None:
    with audit.Emitter(URL) as emit:
        emit.create("order", 1, {"total": 10})
    moment = ledger.at("HEAD")
    with audit.Emitter(URL) as emit:
        emit.create("order", 2, {"total": 20})
    assert sorted(moment) == ["order", "user"] and len(moment) == 2 and "order" in moment
    assert list(moment["order"].index) == ["1"] and list(moment["user"].index) == ["6"]
    cited = {moment[name].attrs["audit"]["logs"][0]["size"] for name in moment}
    assert len(cited) == 1
    with pytest.raises(NotFound, match="order, user"):
        moment["invoice"]


def test_a_result_without_rows_has_the_datasets_columns(ledger: audit.Ledger) -> None:
    frame = ledger.replay("user", as_of="2020-01-01")
    assert len(frame) == 0 and list(frame.columns) == ["age", "dpt", "name"]
    with pytest.raises(NotFound, match="user"):
        ledger.replay("invoice")


def test_history_blame_and_diff(ledger: audit.Ledger) -> None:
    assert [version.op for version in ledger.history("user/5")] == ["create", "update", "delete"]
    fields = ledger.blame("user/5", as_of=6).fields
    assert [(field.field, field.said.index) for field in fields] == [("dpt", 6), ("name", 5)]
    (change,) = ledger.diff("user", 5, 6)
    assert change.fields == {"dpt": ("SCS", "ISR")}
    assert [c.kind for c in ledger.diff("user/5", 6, 7)] == ["removed"]
    assert list(ledger.diff("user/5", 6, 6)) == []


def test_events_fit_a_query(ledger: audit.Ledger) -> None:
    records = list(ledger.events("actor:alice op:update"))
    assert [record.index for record in records] == [6]
    content = ledger.content(records[0])
    assert not isinstance(content, dict) and content.after == {"dpt": "ISR"}
    assert ledger.event_json(records[0])["reason"] == "ticket 4711"
    assert [r.index for r in ledger.events(newest_first=True, limit=2)] == [8, 7]


def test_schemas_that_come_later_are_read(ledger: audit.Ledger) -> None:
    assert ledger.event_json(ledger.entry(5))["after"]
    declared = {
        "type": "record",
        "name": "order",
        "fields": [{"name": "total", "type": "long"}],
    }
    with audit.Emitter(URL, schemas={"order": declared}) as emit:
        emit.create("order", 1, {"total": 10})
    assert ledger.event_json(ledger.entry("HEAD"))["after"] == {"total": 10}


def test_verify_prove_and_bundle(ledger: audit.Ledger, ledger_dir: Path) -> None:
    report = ledger.verify()
    assert report.ok and "key_provenance" in report.not_proven
    policy = audit.Policy.from_file("audit.policy")
    receipt = ledger.prove(6)
    entry, checkpoint = verify_receipt(parse_receipt(receipt), policy.logs)
    assert entry.index == 6 and checkpoint.size >= 7
    Path("kept").write_bytes(receipt)
    assert ledger.verify(policy, checkpoints=[read_checkpoint(Path("kept"))]).ok
    assert ledger.verify_entry(6).ok
    assert ledger.who_signed(ledger.entry(6)).log.status == "VALID"
    written = ledger.bundle("key:5", "case.zip")
    assert written.entries >= 4
    assert audit.verify_bundle("case.zip", policy).ok
    with audit.Ledger("bundle:///case.zip") as bundle:
        assert bundle.replay_row("user/5", as_of=6) == {"name": "Christian", "dpt": "ISR"}
        assert bundle.verify(policy).ok
        with pytest.raises(NotFound):
            bundle.replay_row("user/6")


def test_checkpoints_and_policies_are_taken_as_people_hold_them(ledger: audit.Ledger) -> None:
    receipt = ledger.prove(6)
    cited = ledger.replay("user").attrs["audit"]["logs"][0]["checkpoint"]
    note = parse_receipt(receipt).checkpoint
    given = [note, note.decode(), cited, receipt]
    ledger.bundle("key:5", "case.zip")
    for policy in ("audit.policy", Path("audit.policy")):
        report = ledger.verify(policy, given)
        assert report.ok and report.logs[0].external_checkpoints == 4
        assert ledger.verify_entry(6, policy, given).ok
        assert audit.verify_bundle("case.zip", policy, given).ok


@pytest.mark.parametrize(
    "given",
    [
        {"policy": 5},
        {"policy": b"audit.policy"},
        {"checkpoints": [5]},
        {"checkpoints": [None]},
        {"checkpoints": [{"size": 3}]},
        {"checkpoints": ["\ud800"]},
        {"checkpoints": b"one note"},
        {"checkpoints": 5},
        {"checkpoints": [b"c2sp.org/tlog-proof@v1\nbroken"]},
    ],
)
def test_other_checkpoints_and_policies_are_refused(
    ledger: audit.Ledger, given: dict[str, object]
) -> None:
    ledger.bundle("key:5", "case.zip")
    for call in (
        ledger.verify,
        partial(ledger.verify_entry, 6),
        partial(audit.verify_bundle, "case.zip"),
    ):
        with pytest.raises(InvalidInput):
            call(**{"policy": None, **given})


def test_drift_and_look_alike_keys_are_warnings(ledger: audit.Ledger) -> None:
    assert ledger.verify().warnings == ()
    with audit.Emitter(URL, source="crm") as emit:
        emit.create("user", "06", {"name": "Eve"})
        emit.update("user", 6, {"age": 43}, before={"age": 42})
    report = ledger.verify()
    assert report.ok and report.exit_code == 0
    found = {w.code: (w.index, w.origin) for w in report.warnings}
    assert found == {"look_alike_key": (None, None), "drift": (10, ledger.origin(0))}


def test_check_answer_needs_a_policy(ledger: audit.Ledger, ledger_dir: Path) -> None:
    assert ledger.check_answer("user").ok and ledger.check_answer("user").entries == 4
    assert ledger.check_answer("user/5", as_of=5).entries == 1
    (ledger_dir / "audit.policy").unlink()
    assert not ledger.check_answer("user").ok


def test_status_and_keys(ledger: audit.Ledger) -> None:
    status = ledger.status()
    assert status.datasets == ("user",) and status.logs[0].events == 4
    assert ledger.producer_keys() == []
    assert ledger.datasets() == ["user"]
    assert ledger.single and ledger.origin(0).startswith("attestory.local/audit-")
    assert "audit.db" in repr(ledger)


def test_the_clock_may_be_given(ledger_dir: Path) -> None:
    with audit.Emitter(URL, clock=lambda: 1_000_000) as emit:
        emit.create("user", 5, {"n": 1})
    with audit.Ledger(URL, now_us=90_000_000_000_000) as ledger:
        assert ledger.now_us() == 90_000_000_000_000
        assert len(ledger.replay("user", as_of="yesterday")) == 1


def test_the_store_comes_from_the_environment(
    ledger: audit.Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_STORE", "sqlite:///elsewhere.db")
    with pytest.raises(StoreMissing, match="elsewhere"):
        audit.Ledger()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda ledger: ledger.replay("user/5"), InvalidInput),
        (lambda ledger: ledger.replay_row("user"), InvalidInput),
        (lambda ledger: ledger.replay_row("run/1"), InvalidInput),
        (lambda ledger: ledger.replay("user", columns="some"), InvalidInput),
        (lambda ledger: ledger.replay("user", as_of=datetime(2026, 1, 1)), InvalidInput),
        (lambda ledger: ledger.replay("user", as_of=True), InvalidInput),
        (lambda ledger: ledger.replay("user", as_of=-1), InvalidInput),
        (lambda ledger: ledger.replay("user", valid_at=5), InvalidInput),
        (lambda ledger: ledger.entry(99), NotFound),
        (lambda ledger: ledger.prove(99), NotFound),
        (lambda ledger: list(ledger.events("nonsense")), InvalidInput),
        (lambda ledger: ledger.bundle("actor:nobody", "x.zip"), InvalidInput),
        (lambda ledger: ledger.replay_prediction("none"), NotFound),
    ],
)
def test_what_was_asked_wrongly_is_told(
    ledger: audit.Ledger, call: object, error: type[Exception]
) -> None:
    assert callable(call)
    with pytest.raises(error):
        call(ledger)


def test_a_large_ledger_is_not_linted_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    with audit.Emitter(url) as emit:
        emit.create("user", "1", {})
        emit.create("user", "01", {})
    with audit.Ledger(url) as ledger:
        codes = {finding.code for finding in ledger.verify().warnings}
        assert codes == {"look_alike_key"}
        monkeypatch.setattr("audit.ledger.evidence.MAX_LINTED_ENTRIES", 3)
        report = ledger.verify()
        assert report.ok
        assert {finding.code for finding in report.warnings} == {"not_linted"}

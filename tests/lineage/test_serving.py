"""Which version served when: on both axes, with shares, and when nobody served."""

import json

import pytest

from audit.errors import InvalidInput, NotFound
from audit.ledger import Ledger
from audit.lineage.recorded.serving import serving_history
from tests.lineage.common import Case
from tests.lineage.run_records import DIGEST, model, transition

JAN, FEB, MAR = "2026-01-01", "2026-02-01", "2026-03-01"


def versions(ledger: Ledger, at: str | None, as_of: str | None = None) -> dict[str, str | None]:
    found = ledger.serving("credit-risk", at, as_of)
    return {f"{one.stage} {one.share or ''}".strip(): one.version for one in found}


def test_the_last_word_on_the_valid_axis_counts(case: Case) -> None:
    model(case.emit, "1")
    transition(case.emit, "1", JAN, approved_by="alice")
    before = transition(case.emit, "3", MAR, approved_by="bob")
    transition(case.emit, "2", FEB)  # recorded late
    transition(case.emit, "9", JAN, stage="staging")
    case.emit.flush()
    with Ledger(case.url) as ledger:
        assert versions(ledger, "2025-12-31") == {}
        assert versions(ledger, "2026-01-15") == {"production": "1", "staging": "9"}
        assert versions(ledger, "2026-02-15")["production"] == "2"
        assert versions(ledger, "2026-02-15", before) == {"production": "1"}
        assert versions(ledger, MAR)["production"] == "3"
        one = ledger.serving("credit-risk", "2026-01-15")[0]
        assert (one.approved_by, one.digest) == ("alice", DIGEST)
        said = one.to_json()
        assert (said["since"][:10], said["until"][:10]) == (JAN, FEB)


def test_shares_of_the_traffic(case: Case) -> None:
    transition(case.emit, "1", JAN)
    transition(case.emit, "2", FEB, share=0.1)
    transition(case.emit, "2", MAR, share=0.5)
    transition(case.emit, "2", "2026-04-01", share=0.0)
    transition(case.emit, "3", "2026-05-01")
    case.emit.flush()
    with Ledger(case.url) as ledger:
        assert versions(ledger, FEB) == {"production": "1", "production 0.1": "2"}
        assert versions(ledger, MAR) == {"production": "1", "production 0.5": "2"}
        assert versions(ledger, "2026-04-01") == {"production": "1"}
        assert versions(ledger, "2026-05-01") == {"production": "3"}
        spans = serving_history(ledger.reader, "credit-risk", ledger.cut())
        assert [one.version for one in spans] == ["1", "2", "2", "3"]


def test_nobody_serves_after_a_transition_to_none(case: Case) -> None:
    transition(case.emit, "1", JAN)
    transition(case.emit, None, FEB)
    transition(case.emit, "1", MAR, share=0)
    case.emit.flush()
    with Ledger(case.url) as ledger:
        assert versions(ledger, FEB) == {"production": None}
        assert versions(ledger, MAR) == {"production": None}


def test_one_of_several_is_retired(case: Case) -> None:
    transition(case.emit, "1", JAN)
    transition(case.emit, "2", FEB, share=0.1)
    transition(case.emit, None, MAR, before="2")
    case.emit.flush()
    with Ledger(case.url) as ledger:
        assert versions(ledger, MAR) == {"production": "1"}


def test_to_retire_what_does_not_serve_changes_nothing(case: Case) -> None:
    transition(case.emit, "2", JAN)
    transition(case.emit, None, FEB, before="1")
    case.emit.flush()
    with Ledger(case.url) as ledger:
        assert versions(ledger, MAR) == {"production": "2"}


def test_without_a_valid_time_it_counts_from_when_it_was_recorded(case: Case) -> None:
    transition(case.emit, "1", None)
    case.emit.flush()
    with Ledger(case.url) as ledger:
        (one,) = ledger.serving("credit-risk")
        assert one.since_us == one.record.recorded_time_us


def test_a_model_that_never_served_and_one_that_is_none(case: Case) -> None:
    model(case.emit, "1")
    case.emit.flush()
    with Ledger(case.url) as ledger:
        assert ledger.serving("credit-risk") == []
        with pytest.raises(NotFound):
            ledger.serving("credit")
        with pytest.raises(InvalidInput):
            ledger.serving("a@b")


def test_odd_transitions_are_shown_or_passed_over(case: Case) -> None:
    transition(case.emit, "1", JAN, share=float("nan"))
    case.emit.record(
        "model.transition",
        {"name": "credit-risk", "stage": 7, "version": "5"},
        entity_type="model",
        entity_key="credit-risk",
        valid_time=FEB,
    )
    case.emit.flush()
    with Ledger(case.url) as ledger:
        (one,) = ledger.serving("credit-risk", MAR)
        assert json.loads(json.dumps(one.to_json()))["share"] == {"$double": "NaN"}

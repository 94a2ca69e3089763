"""Feature definitions: recorded before they are used, never redefined, made again from the log."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from audit.capture.pipeline.features import FeatureDefinition, features
from audit.capture.predicting.predictor import Predictor, predictor
from audit.errors import InvalidInput, NotFound
from audit.ledger import Ledger
from audit.lineage.recorded.features import find_definitions
from audit.replay.points import resolve
from audit.store import open_reader
from tests.lineage.common import Case

WEIGHTS = {"late": 0.5, "amount": 0.25}
DELAYS = ("Late (30 days)", "Late (90 days)")


def filled(case: Case) -> None:
    rows = [("1001", "001", 250_000, "Current"), ("1003", "003", 5_000, "Late (30 days)")]
    for key, customer, amount, status in rows:
        row = {"CustomerID": customer, "LoanAmount": amount, "PaymentStatus": status}
        case.emit.create("inquiry", key, row)
    case.emit.flush()


def late_history(case: Case, version: str = "1", **options: Any) -> FeatureDefinition:
    @features("late-history", version=version, reads=["inquiry"], emitter=case.emit, **options)
    def made(data: Any, request: dict[str, Any]) -> dict[str, Any]:
        own = data["inquiry"]
        own = own[own["CustomerID"] == request["CustomerID"]]
        late = own["PaymentStatus"].isin(DELAYS)
        return {"late": int(late.sum()), "amount": float(own["LoanAmount"].sum())}

    return made


def scored(case: Case) -> Predictor[[Any], float]:
    version = case.register(dict(WEIGHTS))
    model = version.object

    @predictor(model=version, emitter=case.emit)
    def score(features: Any) -> float:
        return float(sum(model[name] * features[name] for name in sorted(model)))

    return score


def test_made_again_from_the_data_as_known_then(case: Case) -> None:
    filled(case)
    made, score = late_history(case), scored(case)
    with Ledger(case.url) as ledger:
        now = ledger.at("HEAD")
        found = made(now, {"CustomerID": "003"})
        assert found == {"late": 1, "amount": 5000.0}
        score(found)
        first = score.last_id
        assert made(now, {"CustomerID": "001"})["late"] == 0
        case.emit.update("inquiry", "1003", {"PaymentStatus": "Current"})
        case.emit.flush()
        replayed = case.replay(first)
        assert (replayed.features, replayed.output) == ("RECOMPUTED_IDENTICAL", "IDENTICAL")
        assert (replayed.reasons, replayed.messages, replayed.ok) == ((), (), True)
        # Somebody did not use what the definition made.
        other = made(ledger.at("HEAD"), {"CustomerID": "003"})
        other["late"] = 1
        score(other)
    replayed = case.replay(score.last_id)
    assert (replayed.features, replayed.output, replayed.ok) == (
        "RECOMPUTED_DIFFERENT", "IDENTICAL", False
    )  # fmt: skip
    (different,) = replayed.feature_differences
    assert different.to_json() == {
        "name": "late", "definition": "late-history@1", "served": 1, "recomputed": 0
    }  # fmt: skip


def test_with_frames_of_ones_own_they_are_known_as_served(case: Case) -> None:
    made, score = late_history(case), scored(case)
    own = pd.DataFrame({"CustomerID": ["003"], "PaymentStatus": ["Current"], "LoanAmount": [7]})
    score(made({"inquiry": own}, {"CustomerID": "003"}))
    found = case.replay(score.last_id)
    assert (found.features, found.output) == ("AS_SERVED_ONLY", "IDENTICAL")
    assert "not cited" in found.messages[0]
    with pytest.raises(InvalidInput, match="reads inquiry"):
        made({}, {"CustomerID": "003"})
    with Ledger(case.url) as ledger, pytest.raises(NotFound):
        made(ledger.at("HEAD"), {"CustomerID": "003"})


def test_a_version_is_never_redefined(case: Case) -> None:
    filled(case)
    with Ledger(case.url) as ledger:
        late_history(case)(ledger.at("HEAD"), {"CustomerID": "003"})
        late_history(case)(ledger.at("HEAD"), {"CustomerID": "003"})

        @features("late-history", version="1", reads=["inquiry"], emitter=case.emit)
        def other(data: Any, request: Any) -> dict[str, Any]:
            return {"late": 0}

        with pytest.raises(InvalidInput, match="never redefined"):
            other(ledger.at("HEAD"), {"CustomerID": "003"})
        second = late_history(case, "2", replaces="1", owner="ana", description="shorter")
        second(ledger.at("HEAD"), {"CustomerID": "003"})
    with open_reader(case.url) as reader:
        cut = resolve(reader, None, 0)
        (one,) = find_definitions(reader, "late-history", "1", cut)
        (two,) = find_definitions(reader, "late-history", "2", cut)
    assert one.entity_types == ("inquiry",)
    assert (two.replaces, two.owner, two.description) == ("1", "ana", "shorter")
    assert (one.digest, second.digest) == (two.digest, two.digest)
    assert case.blobs.has(one.digest)


def test_what_is_gone_or_other_is_said(case: Case) -> None:
    filled(case)
    made, score = late_history(case), scored(case)
    with Ledger(case.url) as ledger:
        score(made(ledger.at("HEAD"), {"CustomerID": "003"}))
    case.blob_file(made.digest).write_bytes(b"{}")
    found = case.replay(score.last_id)
    assert (found.features, found.output) == ("AS_SERVED_ONLY", "IDENTICAL")
    assert found.reasons == ("CODE_UNAVAILABLE",)


def test_data_that_is_other_than_what_was_read(case: Case) -> None:
    filled(case)
    made, score = late_history(case), scored(case)
    with Ledger(case.url) as ledger:
        origin_of = made(ledger.at("HEAD"), {"CustomerID": "003"})
    said: Any = origin_of._origin
    said["reads"][0]["digest"] = "frame-v2:sha256:" + "0" * 64
    score(origin_of)
    found = case.replay(score.last_id)
    assert (found.features, found.reasons) == ("AS_SERVED_ONLY", ("DATA_DIFFERENT",))
    said["reads"][0]["logs"][0]["size"] = 10_000
    score(origin_of)
    found = case.replay(score.last_id)
    assert (found.features, found.reasons) == ("AS_SERVED_ONLY", ("LOG_GAP",))


@pytest.mark.parametrize("reads", ["inquiry", [1], ["No Such Name"]])
def test_wrong_declarations(case: Case, reads: Any) -> None:
    with pytest.raises(InvalidInput):
        features("late-history", version="1", reads=reads, emitter=case.emit)
    with pytest.raises(InvalidInput):
        features("late@history", version="1", reads=[], emitter=case.emit)
    with pytest.raises(InvalidInput):
        features("late", version="1", reads=[], emitter=case.emit)(Path)  # type: ignore[arg-type]

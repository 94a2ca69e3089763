"""Questions about reproducing predictions, features and models; a test is named by its id."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import audit
from tests.cli.conftest import INQUIRIES, Cli
from tests.lineage.small_model import Linear


@pytest.fixture
def table(cli: Cli) -> Iterator[Cli]:
    """A ledger with the example table."""
    cli("init", "--origin", "bank.example/credit")
    cli("import", str(INQUIRIES), "--entity", "inquiry", "--key", "InquiryID")
    yield cli


def history(data: Any, request: dict[str, Any]) -> dict[str, Any]:
    """What the inquiries say about a customer."""
    own = data["inquiry"]
    own = own[own["CustomerID"] == request["CustomerID"]]
    late = own["PaymentStatus"].str.startswith("Late")
    return {"late": int(late.sum()), "borrowed": float(own["LoanAmount"].astype(int).sum())}


def train(known: pd.DataFrame, c: float) -> Linear:
    """Trained on the table as it is given; the run records it."""
    rows = known[["LoanAmount"]].astype(float).to_numpy() / 1000
    answers = known["PaymentStatus"].str.startswith("Late").to_numpy()
    model = Linear(C=c).fit(rows, answers)
    audit.current_run().metric("accuracy", float(model.score(rows, answers)))
    audit.current_run().model(model, version=f"{c}", name="late")
    return model


class Served:
    """A model in service, and the definition of its features."""

    def __init__(self, version: str = "1", shift: float = 0.0, tolerance: float | None = None):
        with audit.model_run("late", seed=7) as run:
            registered = run.model({"late": 0.3 + shift, "b": 1e-6}, version, tolerance=tolerance)
        self.weights = weights = registered.object
        self.features = audit.features("late-history", version="1", reads=["inquiry"])(history)

        @audit.predictor(model=registered, threshold=0.5, key=lambda features: "003")
        def score(features: dict[str, Any]) -> float:
            return float(weights["late"] * features["late"] + weights["b"] * features["borrowed"])

        self.score = score

    def answer(self, point: str = "HEAD") -> str:
        """Serve customer 003 at a point of the ledger; the prediction's id."""
        with audit.Ledger() as ledger:
            self.score(self.features(ledger.at(point), {"CustomerID": "003"}))
        self.score.flush()
        assert self.score.last_id is not None
        return self.score.last_id


def test_C14_the_complaint_is_reproduced_with_the_right_model_and_data(table: Cli) -> None:
    served = Served()
    served.answer()
    Served("2", shift=0.5)  # another model has been registered since
    table("emit", "update", "inquiry", "1003", '{"PaymentStatus": "Current"}')
    (found,) = table("predictions", "key:003", "--json").json
    ref = f"prediction/{found['prediction']}"
    again = table("replay", ref, "--json").json
    assert (again["integrity"], again["output"]) == ("VERIFIED", "IDENTICAL")
    assert (again["model"], again["code"]) == ("MATCHES", "MATCHES")
    assert again["features"] == "RECOMPUTED_IDENTICAL"
    assert again["replayed_output"] == found["output"]
    # Whoever audits the replay finds it in the log.
    (entry,) = table("log", "--json", "type:review").json
    assert entry["entity_key"] == ref
    assert "IDENTICAL" in table("show", str(entry["index"])).out
    what_if = table("replay", ref, "--against", "late@2", "--json").json
    assert what_if["what_if"]["against"] == "late@2"
    table("replay", ref, "--no-record")
    assert len(table("log", "--json", "type:review").json) == 1


def test_C19_a_feature_definition_is_never_changed(table: Cli) -> None:
    served = Served()
    served.answer()

    def other(data: Any, request: dict[str, Any]) -> dict[str, Any]:
        return {"late": len(data["inquiry"]), "borrowed": 0.0}

    changed = audit.features("late-history", version="1", reads=["inquiry"])(other)
    with audit.Ledger() as ledger:
        with pytest.raises(audit.InvalidInput, match="never redefined"):
            changed(ledger.at("HEAD"), {"CustomerID": "003"})
        again = audit.features("late-history", version="2", reads=["inquiry"], replaces="1")
        second = again(other)
        assert second(ledger.at("HEAD"), {"CustomerID": "003"})["borrowed"] == 0.0
    (one, two) = table("log", "--json", "type:feature.definition").json
    assert one["entity_key"] == "features/late-history@1"
    assert two["entity_key"] == "features/late-history@2"


def test_C19_training_and_serving_use_the_same_features(table: Cli) -> None:
    served = Served()
    with audit.Ledger() as ledger:
        at = ledger.at("HEAD")
        training = [served.features(at, {"CustomerID": c}) for c in ("001", "002", "003")]
        assert training[2] == served.features(at, {"CustomerID": "003"})
        origins = {(made.definition.digest, made.definition.version) for made in training}
    found = table("replay", f"prediction/{served.answer()}", "--json").json
    ((digest, version),) = origins
    (used,) = found["recorded"]["feature_sets"]
    assert (used["digest"], used["version"]) == (digest, version)


def test_C21_identical_is_not_within_tolerance(table: Cli) -> None:
    served = Served(tolerance=1e-3)
    identical = served.answer()
    served.weights["late"] = math.nextafter(0.3, 1.0)
    nearly = served.answer()
    served.weights["late"] = 0.2
    other = served.answer()
    said = {
        name: table("replay", f"prediction/{one}", "--json", code=code).json["output"]
        for name, one, code in (("same", identical, 0), ("near", nearly, 0), ("other", other, 1))
    }
    assert said == {"same": "IDENTICAL", "near": "WITHIN_TOLERANCE", "other": "SAME_DECISION"}


def test_C22_the_model_is_made_again_from_its_data(table: Cli) -> None:
    trained = audit.component("late-training")(train)
    with audit.Ledger() as ledger:
        trained(ledger.replay("inquiry"), 0.5)
        run_id = ledger.runs()[0].run_id
    # Corrected later: the training read what was known then.
    table("emit", "update", "inquiry", "1003", '{"PaymentStatus": "Current"}')
    again = table("replay", f"run/{run_id}", "--json").json
    assert (again["integrity"], again["output"]) == ("VERIFIED", "IDENTICAL")
    assert (again["code"], again["inputs"], again["environment"]) == ("MATCHES", "MATCHES", "SAME")
    (model,) = again["models"]
    assert model["recorded"] == model["replayed"]
    assert again["metrics"][0]["recorded"] == again["metrics"][0]["replayed"]
    (review,) = table("log", "--json", "type:review").json
    assert review["entity_key"] == f"run/{run_id}"
    assert "IDENTICAL" in table("replay", f"run/{run_id}").out


def test_T1_the_same_data_gives_the_same_predictions(table: Cli) -> None:
    served = Served()
    for _ in range(3):
        served.answer()
    found = table("predictions", "--replay", "--json").json
    assert found["verdicts"] == {"IDENTICAL": 3}
    assert found["integrity"] == {"VERIFIED": 3}
    assert len(table("log", "--json", "type:review").json) == 3
    assert "IDENTICAL 3" in table("predictions", "--replay", "--no-record").out
    assert "--replay" in table("predictions", "--against", "late@1", code=2).err


def test_T3_a_differential_test_of_two_versions(table: Cli) -> None:
    served = Served()
    served.answer()
    Served("2", shift=0.5)
    found = table("predictions", "--replay", "--against", "late@2", "--json").json
    differential = found["differential"]
    assert (differential["compared"], differential["changed_decisions"]) == (1, 1)
    assert differential["fraction_changed"] == 1.0
    assert differential["max_difference"] > 0.4
    assert found["worst"][0]["output"] == "DIVERGED"
    (review,) = table("log", "--json", "type:review").json
    assert review["entity_key"] == "model/late@2"
    shown = table("predictions", "--replay", "--against", "late@2", "--no-record").out
    assert "changed decisions" in shown and "100.00%" in shown


def test_V7_why_predictions_are_kept(table: Cli, ledger_dir: Path) -> None:
    served = Served()
    prediction = served.answer()
    # Reproduce it, analyse it with another value, and audit it later from a copy.
    assert table("replay", f"prediction/{prediction}").out.count("IDENTICAL") == 2
    changed = table("replay", f"prediction/{prediction}", "--set", "late=0", "--json").json
    assert changed["replayed_output"] != changed["recorded"]["output"]
    (found,) = table("predictions", "--json").json
    assert found["features"] == {"late": 1, "borrowed": 20000.0}
    assert found["model_version"] == "1"

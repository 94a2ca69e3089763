"""`audit predictions` and `audit replay prediction/ID`."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

import audit
from tests.cli.conftest import Cli, Ran


def predict(key: str = "customer", n: int = 2) -> str:
    """Register a model and make one prediction with it; returns its id."""
    weights = {"a": 3.0}
    with audit.model_run("score", params={"w": 3.0}, source="training") as run:
        version = run.model(weights, version="1")

    @audit.predictor(model=version, key=key, threshold=5.0, source="scoring")
    def score(features: dict[str, Any]) -> float:
        return float(weights["a"] * features["n"])

    score({"customer": "003", "n": n})
    score.flush()
    assert score.last_id is not None
    return score.last_id


@pytest.fixture
def prediction(cli: Cli) -> str:
    cli("init", "--origin", "test.example/log")
    return predict()


def test_predictions_as_a_table(cli: Cli, prediction: str) -> None:
    header, line = cli("predictions").lines
    assert header.split() == ["ENTRY", "DATE", "PREDICTION", "ABOUT", "MODEL", "OUTPUT"]
    assert prediction in line and "003" in line and "score@1" in line and "6.0" in line


def test_predictions_as_csv(cli: Cli, prediction: str) -> None:
    header, row = csv.reader(io.StringIO(cli("predictions", "key:003", "--format", "csv").out))
    assert header == ["date", "model", "model version", "feature inputs", "output"]
    assert row[1:3] == ["score", "1"]
    assert json.loads(row[3]) == {"customer": "003", "n": 2} and json.loads(row[4]) == 6.0


def test_predictions_as_json(cli: Cli, prediction: str) -> None:
    (found,) = cli("predictions", "--json").json
    assert found["prediction"] == prediction and found["features"] == {"customer": "003", "n": 2}
    assert json.loads(cli("predictions", "--format", "jsonl").out) == found


def test_predictions_of_a_role_and_a_status(cli: Cli, prediction: str) -> None:
    assert cli("predictions", "--role", "PRIMARY", "--status", "OK", "--json").json
    assert cli("predictions", "--role", "SHADOW", "--json").json == []
    assert cli("predictions", "--status", "ERROR", "--json").json == []
    assert "SHADOW" in cli("predictions", "--role", "MAIN", code=2).err


def test_predictions_take_a_query_and_as_of(cli: Cli, prediction: str) -> None:
    assert cli("predictions", "key:004", "--json").json == []
    assert cli("predictions", "-key:003", "--json").json == []
    assert cli("predictions", "--as-of", "4", "--json").json == []
    assert cli("predictions", "nonsense", code=2).err


def answers(ran: Ran) -> dict[str, Any]:
    return {name: ran.json[name] for name in ("integrity", "model", "code", "features", "output")}


def test_a_prediction_is_run_again(cli: Cli, prediction: str) -> None:
    ran = cli("replay", f"prediction/{prediction}", "--json")
    assert answers(ran) == {
        "integrity": "VERIFIED",
        "model": "MATCHES",
        "code": "MATCHES",
        "features": "AS_SERVED_ONLY",
        "output": "IDENTICAL",
    }
    assert ran.json["environment"] == "SAME" and ran.json["reasons"] == []
    out = cli("replay", f"prediction/{prediction}").out
    assert "OUTPUT       IDENTICAL" in out and "INTEGRITY    VERIFIED" in out


def test_what_if_a_feature_had_been_another(cli: Cli, prediction: str) -> None:
    ran = cli("replay", f"prediction/{prediction}", "--set", "n=1", "--json")
    assert (ran.json["replayed_output"], ran.json["output"]) == (3.0, "DIVERGED")
    assert ran.json["what_if"]["set"] == {"n": 1}
    assert "age" in cli("replay", f"prediction/{prediction}", "--set", "age=1", code=2).err
    assert "FEATURE=VALUE" in cli("replay", f"prediction/{prediction}", "--set", "n", code=2).err


def test_without_the_artifact_it_cannot_be_run(cli: Cli, prediction: str, ledger_dir: Path) -> None:
    for blob in (ledger_dir / "audit-blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    ran = cli("replay", f"prediction/{prediction}", "--json", code=1)
    assert ran.json["output"] == "NOT_REPRODUCIBLE" and ran.json["model"] == "MISSING"
    assert "ARTIFACT_MISSING" in ran.json["reasons"]


def test_without_a_policy_it_is_not_verified(cli: Cli, prediction: str, ledger_dir: Path) -> None:
    (ledger_dir / "audit.policy").rename(ledger_dir / "mine.policy")
    ran = cli("replay", f"prediction/{prediction}", "--json", code=1)
    assert (ran.json["integrity"], ran.json["output"]) == ("UNVERIFIED", "NOT_REPRODUCIBLE")
    assert ran.json["reasons"] == ["RECORD_UNVERIFIED"]
    insisted = cli("replay", f"prediction/{prediction}", "--run-unverified", "--json", code=1)
    assert (insisted.json["integrity"], insisted.json["output"]) == ("UNVERIFIED", "IDENTICAL")
    assert "--run-unverified" in cli("replay", "user", "--run-unverified", code=2).err
    named = ("--policy", "mine.policy")
    assert (
        cli("replay", f"prediction/{prediction}", *named, "--json").json["integrity"] == "VERIFIED"
    )


def test_show_finds_a_prediction_by_its_id(cli: Cli, prediction: str) -> None:
    shown = cli("show", f"prediction/{prediction}", "--json").json
    assert shown["event_id"] == prediction and shown["type"] == "prediction"
    assert cli("show", "model/score@1", "--json").json["type"] == "model.version"
    assert cli("history", "model/score@1", "--json").json["versions"]

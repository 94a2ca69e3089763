"""Questions about logged predictions; a test is named by the id of its question."""

import csv
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import audit
from tests.cli.conftest import Cli
from tests.verify.layout import Layout

THRESHOLD = 0.5


@pytest.fixture
def ledger(cli: Cli) -> Cli:
    """An empty ledger of a bank."""
    cli("init", "--origin", "bank.example/credit")
    return cli


def register(name: str, version: str, model: Any, **options: Any) -> Any:
    with audit.model_run(name) as run:
        return run.model(model, version=version, **options)


def predictions(cli: Cli, *query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cli("predictions", *query, "--json").json
    return found


def test_C2_every_model_of_a_chain_and_an_ensemble_is_named_by_its_digest(ledger: Cli) -> None:
    income = register("income", "1", {"w": 2.0})
    trees = [register("tree", str(n), {"w": float(n)}) for n in (1, 2)]
    risk = register("risk", "7", {"mean": True}, members=trees)

    @audit.predictor(model=income, source="scoring")
    def estimate(features: dict[str, Any]) -> float:
        return float(features["salary"] * 2.0)

    members = [
        audit.predictor(model=tree, source="scoring")(lambda f, w=tree.object["w"]: f["income"] * w)
        for tree in trees
    ]

    @audit.predictor(model=risk, key="id", source="scoring")
    def score(features: dict[str, Any]) -> float:
        known = {"income": estimate({"salary": features["salary"]})}
        return float(sum(member(known) for member in members) / len(members))

    assert score({"id": "003", "salary": 10.0}) == 30.0
    for member in members:
        member.flush()
    estimate.flush()
    score.flush()
    (found,) = predictions(ledger, "key:003")
    others = {one["prediction"]: one for one in predictions(ledger)}
    (parent,) = found["parents"]
    assert others[parent]["model"] == "income"
    assert others[parent]["model_digest"] == income.digest
    assert [others[one]["model_digest"] for one in found["members"]] == [t.digest for t in trees]
    assert {others[one]["role"] for one in found["members"]} == {"MEMBER"}
    assert found["model_digest"] == risk.digest
    assert "tree@1 (MEMBER)" in ledger("predictions").out


def test_C13_which_model_made_a_prediction_never_only_by_an_alias(ledger: Cli) -> None:
    digests = []
    for weight in (1.0, 2.0):
        version = register("risk", "production", {"w": weight})
        score = audit.predictor(model=version, source="scoring")(lambda f, w=weight: f["x"] * w)
        score({"x": 1.0})
        score.flush()
        digests.append(version.digest)
    found = predictions(ledger)
    assert [one["model_version"] for one in found] == ["production", "production"]
    assert [one["model_digest"] for one in found] == digests and digests[0] != digests[1]
    assert [one["output"] for one in found] == [1.0, 2.0]


def test_C15_the_line_exactly(ledger: Cli) -> None:
    version = register("risk", "1", {"w": 0.5})

    @audit.predictor(model=version, key="id", source="scoring")
    def score(features: dict[str, Any]) -> float:
        return float(features["late"] * 0.5)

    with audit.context(valid_time="2026-01-05T08:30:00Z"):
        score({"late": 1, "id": "003"})
        with pytest.raises(TypeError):
            score({"late": None, "id": "004"})
    score.flush()
    header, line, failed = ledger("predictions", "--format", "csv").lines
    assert header == "date,model,model version,feature inputs,output"
    assert line == '2026-01-05T08:30:00.000000Z,risk,1,"{""late"":1,""id"":""003""}",0.5'
    *_, features, output = next(csv.reader(io.StringIO(failed)))
    assert json.loads(features) == {"late": None, "id": "004"}
    assert output.startswith("ERROR: TypeError: ")


def test_C15_a_prediction_that_is_missing_leaves_a_gap(ledger: Cli, tmp_path: Path) -> None:
    version = register("risk", "1", {"w": 0.5})
    score = audit.predictor(model=version, source="scoring")(lambda f: f["x"] * 0.5)
    for number in range(5):
        score({"x": float(number)})
    score.flush()
    with audit.Ledger() as opened:
        sent = [one for one in opened.events("") if one.event and one.event.source != "audit"]
        numbers = [
            one.event.producer_sequence
            for one in opened.events("type:prediction")
            if one.event is not None
        ]
    assert numbers == list(range(numbers[0] or 0, (numbers[0] or 0) + 5))

    def verified(without: int | None) -> list[str]:
        """Through a topic, one message lost on the way."""
        folder = tmp_path / f"without-{without}"
        folder.mkdir()
        layout = Layout(folder, 1)
        kept = [one for one in sent if one.event and one.event.producer_sequence != without]
        layout.feed(0, [one.entry.event for one in kept])
        report = layout.verify()
        assert report.ok
        return [w.message for w in report.warnings if w.code == "producer_gap"]

    assert verified(None) == []
    (gap,) = verified(numbers[2])
    assert f"no log has the number {numbers[2]} of producer" in gap and "'scoring'" in gap


def test_T2_an_input_outside_the_schema_is_logged_and_not_answered(ledger: Cli) -> None:
    expects = {"amount": {"type": "number", "min": 0, "max": 1e6, "required": True}}
    version = register("risk", "1", {"w": 0.5}, expects=expects)
    ran: list[Any] = []

    @audit.predictor(model=version, key="id", source="scoring")
    def score(features: dict[str, Any]) -> float:
        ran.append(features)
        return 1.0

    score({"id": "1", "amount": 5.0})
    for features in ({"id": "2", "amount": -1.0}, {"id": "3", "amount": "5"}, {"id": "4"}):
        with pytest.raises(audit.RejectedInput):
            score(features)
    score.flush()
    assert [one["id"] for one in ran] == ["1"]
    refused = ledger("predictions", "--status", "REJECTED_INPUT", "--json").json
    assert [one["key"] for one in refused] == ["2", "3", "4"]
    assert [one["violations"] for one in refused] == [
        ["amount is -1.0, below the least expected: 0"],
        ["amount is '5', not of type number"],
        ["amount is missing"],
    ]
    assert all(one["output"] is None and one["served"] is False for one in refused)
    assert "REJECTED_INPUT: amount is missing" in ledger("predictions", "key:4").out


def shadowed(cli: Cli) -> tuple[dict[str, Any], dict[str, Any]]:
    """(primary, shadow): two versions of a model asked once."""
    one, two = (register("risk", str(n), {"w": float(n)}) for n in (1, 2))
    model = one.object

    @audit.predictor(model=one, key="id", shadow=two, source="scoring")
    def score(features: dict[str, Any]) -> float:
        return float(features["x"] * model["w"])

    with audit.context(request_id="request-1"):
        assert score({"id": "003", "x": 3.0}) == 3.0
    score.flush()
    (primary,) = cli("predictions", "--role", "PRIMARY", "--json").json
    (shadow,) = cli("predictions", "--role", "SHADOW", "--json").json
    return primary, shadow


def test_T5_the_answer_of_a_shadow_is_only_logged(ledger: Cli) -> None:
    primary, shadow = shadowed(ledger)
    assert (primary["output"], primary["served"], primary["model_version"]) == (3.0, True, "1")
    assert (shadow["output"], shadow["served"], shadow["model_version"]) == (6.0, False, "2")
    assert shadow["primary"] == primary["prediction"]
    assert shadow["features"] == primary["features"] == {"id": "003", "x": 3.0}
    assert "risk@2 (SHADOW)" in ledger("predictions", "key:003").out


def test_T6_the_time_of_a_request_is_noted_once_for_all_models(ledger: Cli) -> None:
    primary, shadow = shadowed(ledger)
    assert primary["request_time"] == shadow["request_time"] is not None
    assert primary["request_id"] == shadow["request_id"] == "request-1"
    assert shadow["recorded_time"] >= primary["request_time"]


def test_V7_a_prediction_has_what_reproducing_and_auditing_it_needs(ledger: Cli) -> None:
    weights = {"w": 0.25}
    version = register("risk", "1", weights)

    @audit.predictor(model=version, key="id", source="scoring")
    def score(features: dict[str, Any]) -> float:
        return float(features["x"] * weights["w"])

    with audit.context(actor="web", request_id="r-9"):
        score({"id": "003", "x": 3.0})
        with pytest.raises(KeyError):
            score({"id": "004"})
    score.flush()
    good, bad = predictions(ledger)
    replayed = ledger("replay", f"prediction/{good['prediction']}", "--json").json
    assert (replayed["output"], replayed["integrity"]) == ("IDENTICAL", "VERIFIED")
    assert good["code_digest"].startswith("sha256:") and "python" in good["environment"]
    assert (bad["status"], bad["error"], bad["features"]) == (
        "ERROR",
        "KeyError: 'x'",
        {"id": "004"},
    )
    entry = ledger("show", f"prediction/{good['prediction']}", "--json").json
    assert "web" in json.dumps(entry)


def test_V8_what_a_prediction_says_of_itself(ledger: Cli) -> None:
    version = register("forecast", "3", {"w": 1.0}, threshold=THRESHOLD)

    @audit.predictor(model=version, key="sensor", seed=7, source="scoring")
    def forecast(features: dict[str, Any]) -> dict[str, Any]:
        return {"score": 0.75, "late": True, "rule": "three in a row"}

    with audit.context(request_id="r-1"):
        forecast(
            {
                "sensor": "s1",
                "observed from": "2026-01-01T00:00:00Z",
                "observed until": "2026-01-05T00:00:00Z",
                "window_days": 4,
            }
        )
    forecast.flush()
    (found,) = predictions(ledger)
    assert found["features"]["observed from"] == "2026-01-01T00:00:00Z"
    assert found["features"]["window_days"] == 4
    assert (found["model"], found["model_version"]) == ("forecast", "3")
    assert (found["threshold"], found["seed"]) == (THRESHOLD, 7)
    assert found["request_time"] <= found["recorded_time"] and found["latency_us"] >= 0
    assert found["output"] == {"score": 0.75, "late": True, "rule": "three in a row"}


def test_V9_predictions_are_in_a_sql_database(ledger: Cli, ledger_dir: Path) -> None:
    version = register("risk", "1", {"w": 0.5})
    score = audit.predictor(model=version, key="id", source="scoring")(lambda f: f["x"] * 0.5)
    for customer in ("001", "003", "003"):
        score({"id": customer, "x": 1.0})
    score.flush()
    connection = sqlite3.connect(ledger_dir / "audit.db")
    asked = 'SELECT "index" FROM entries WHERE log = 0 AND entity_type = ? AND entity_key = ?'
    values = ("prediction", b"003")
    indexes = [index for (index,) in connection.execute(asked, values)]
    plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {asked}", values))
    assert "entries_entity" in plan and "SCAN" not in plan
    found = predictions(ledger, "key:003")
    assert [one["index"] for one in found] == indexes and len(indexes) == 2
    signed = 'SELECT event_id FROM signed_records WHERE source = ? AND "index" = ?'
    (row,) = connection.execute(signed, ("scoring", indexes[0]))
    assert row[0] == found[0]["prediction"]
    connection.close()


def test_L8_a_zero_that_was_measured_is_told_from_one_that_was_filled_in(ledger: Cli) -> None:
    version = register("risk", "1", {"w": 0.5})
    score = audit.predictor(model=version, key="id", source="scoring")(lambda f: f["x"])
    score({"id": "1", "x": 0.0})
    with audit.statuses({"x": "IMPUTED"}):
        score({"id": "2", "x": 0.0})
    with audit.statuses({"x": "MISSING"}):
        score({"id": "3", "x": None})
    score.flush()
    found = predictions(ledger)
    assert [one["features"]["x"] for one in found] == [0.0, 0.0, None]
    assert [one["feature_status"] for one in found] == [{}, {"x": "IMPUTED"}, {"x": "MISSING"}]

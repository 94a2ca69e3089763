"""Questions about lineage that the product must answer; a test is named by the question's id.

A small credit-risk pipeline, trained on the ledger's inquiries before and after a correction.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import audit
from tests.cli.conftest import INQUIRIES, Cli
from tests.lineage.common_trace import MODEL, Pipeline, frame

STORE = "sqlite:///audit.db"


class Trained(NamedTuple):
    """A model version: its training run, and a function that predicts with it."""

    version: str
    run_id: str
    digest: str
    predict: Callable[[str], str]


@pytest.fixture
def table(cli: Cli) -> Cli:
    """The example table."""
    cli("init", "--origin", "bank.example/credit")
    cli(
        *("import", str(INQUIRIES), "--entity", "inquiry", "--key", "InquiryID"),
        *("--valid-time", "InquiryDate"),
    )
    return cli


def correct(cli: Cli) -> None:
    """What was recorded as late had been booked elsewhere."""
    cli(
        *("emit", "update", "inquiry", "1003", '{"PaymentStatus": "Current"}'),
        *("--valid-time", "2020-03-05", "--actor", "clerk", "--reason", "booked elsewhere"),
    )


def train(version: str, c: float = 0.5, emit: audit.Emitter | None = None) -> Trained:
    """Train on what the ledger knows now, write the result into a file that is used each time."""
    with audit.Ledger() as ledger:
        known = ledger.replay("inquiry")
    late = known["PaymentStatus"].str.startswith("Late").groupby(known["CustomerID"]).mean()
    weights = {"late": c * float(late.mean())}
    with audit.model_run(MODEL, params={"C": c}, seed=7) as run:
        run.input(known, name="inquiries")
        model = run.model(weights, version=version)

    @audit.predictor(model=model, key="CustomerID", source="scoring")
    def score(features: dict[str, Any]) -> float:
        return float(features["late"] * weights["late"])

    def predict(customer: str) -> str:
        score({"CustomerID": customer, "late": float(late[customer])})
        score.flush()
        assert score.last_id is not None
        return f"prediction/{score.last_id}"

    return Trained(version, run.run_id, model.digest, predict)


def traced(cli: Cli, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = cli("trace", *arguments, "--json").json
    return found


def of_kind(found: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [node for node in found["nodes"] if node["kind"] == kind]


def refs(found: dict[str, Any]) -> set[str]:
    return {node["ref"] for node in found["nodes"] if node["ref"] is not None}


def test_C1_what_went_wrong_and_where(table: Cli) -> None:
    asked = train("1").predict("003")
    correct(table)
    lines = table("trace", asked).lines
    assert lines[0].startswith(f"{asked}  {MODEL}@1  OK")
    (point,) = of_kind(traced(table, asked), "point")
    index = point["facts"]["logs"][0]["size"] - 1
    # The row behind it says who changed it since, when and why.
    row = traced(table, "inquiry/1003")
    (created, corrected) = of_kind(row, "event")
    assert created["index"] <= index < corrected["index"]
    assert (corrected["facts"]["actor"], corrected["facts"]["reason"]) == (
        "clerk",
        "booked elsewhere",
    )


def test_C3_a_model_retrained_after_a_correction(table: Cli) -> None:
    first = train("1")
    before = first.predict("003")
    correct(table)
    second = train("2")
    after = second.predict("003")
    sizes = []
    for asked, made in ((before, first), (after, second)):
        found = traced(table, asked)
        assert {f"model/{MODEL}@{made.version}", f"run/{made.run_id}"} <= refs(found)
        (model,) = of_kind(found, "model")
        assert model["facts"]["digest"] == made.digest
        (data,) = of_kind(found, "data")
        (point,) = of_kind(found, "point")
        sizes.append((data["facts"]["digest"], point["facts"]["logs"][0]["size"]))
    assert sizes[0][0] != sizes[1][0]
    correction = table("log", "key:1003 op:update", "--format", "jsonl").json["index"]
    assert sizes[0][1] <= correction < sizes[1][1]
    # The correction reached the second model and its predictions, and not the first.
    down = traced(table, "inquiry/1003", "--downstream")
    reached = [edge["role"] for edge in down["edges"] if edge["role"] in ("1 of 2 events",)]
    assert reached == ["1 of 2 events"]
    assert {before, after} <= refs(down)


def test_C14_from_the_complaint_to_pipeline_and_data(table: Cli) -> None:
    made = train("1")
    made.predict("003")
    (prediction,) = table("predictions", "key:003", "--json").json
    found = traced(table, f"prediction/{prediction['prediction']}")
    kinds = {node["kind"] for node in found["nodes"]}
    assert {"prediction", "model", "run", "code", "environment", "data", "point"} <= kinds
    (run,) = of_kind(found, "run")
    assert (run["facts"]["params"], run["facts"]["seed"]) == ({"C": 0.5}, 7)
    names = {(edge["name"], edge["how"]) for edge in found["edges"]}
    assert {("used", "declared"), ("wasGeneratedBy", "declared")} <= names


def test_C17_who_uses_a_dataset(table: Cli) -> None:
    made = train("1")
    asked = made.predict("003")
    with audit.Emitter(STORE, source="other-team") as emit:
        pipeline = Pipeline(STORE, emit)
        hidden = pipeline.run("newsletter", inputs=[{"name": "inquiry", **pipeline.point()}])
    found = traced(table, "inquiry", "--downstream")
    assert {f"run/{made.run_id}", f"run/{hidden}", f"model/{MODEL}@1", asked} <= refs(found)
    assert found["predictions"] == {"count": 1, "listed": 1, "by_model": {f"{MODEL}@1": 1}}


def test_C17_who_uses_a_dataset_version(table: Cli) -> None:
    with audit.Emitter(STORE, source="pipeline") as emit:
        pipeline = Pipeline(STORE, emit)
        run = pipeline.trained("1", "artifact", "clean")
    found = traced(table, "dataset/inquiries@1", "--downstream")
    assert {f"run/{run}", f"model/{MODEL}@1"} <= refs(found)


def test_C20_how_was_the_model_trained(table: Cli) -> None:
    train("1", c=0.25)
    found = traced(table, f"model/{MODEL}@1")
    (run,) = of_kind(found, "run")
    assert run["facts"]["params"] == {"C": 0.25}  # hyperparameters
    assert "python" in run["facts"]["environment"]  # library
    assert of_kind(found, "code")[0]["facts"]["digest"].startswith("sha256:")  # code
    (data,) = of_kind(found, "data")
    assert data["facts"]["rows"] == 10  # data
    (point,) = of_kind(found, "point")
    assert point["label"].startswith("inquiry at bank.example/credit size ")
    (model,) = of_kind(found, "model")
    assert model["facts"]["members"] == []  # no ensemble


def test_Q7_end_to_end_traces_of_several_predictions(table: Cli) -> None:
    first = train("1")
    asked = [first.predict("003"), first.predict("001")]
    correct(table)
    asked.append(train("2").predict("003"))
    found = traced(table, *asked)
    assert len(found["roots"]) == 3
    assert {f"model/{MODEL}@1", f"model/{MODEL}@2"} <= refs(found)
    assert len(of_kind(found, "run")) == 2
    assert len([line for line in table("trace", *asked).lines if line[0] != " "]) == 3


def test_Q8_how_the_traces_of_two_users_differ(table: Cli) -> None:
    made = train("1")
    a, b = made.predict("001"), made.predict("003")
    found = table("trace-diff", a, b, "--json").json
    parts = {(part["role"], part["name"]): part for part in found["parts"]}
    values = parts["feature values", ""]
    assert not values["same"]
    assert "CustomerID: 001 -> 003" in values["details"]
    assert any(line.startswith("late: 0.0 -> 0.5") for line in values["details"])
    assert not parts["output", ""]["same"]
    for same in (("model", MODEL), ("params", MODEL), ("code", MODEL), ("serving code", "")):
        assert parts[same]["same"], same


def test_T10_a_feedback_loop(table: Cli) -> None:
    first = train("1")
    first.predict("003")
    with audit.Emitter(STORE, source="labels") as emit:
        pipeline = Pipeline(STORE, emit)
        ref = {"name": MODEL, "version": "1", "digest": first.digest}
        pipeline.dataset("labelled", "1", frame("labelled"), predictions_of=[ref])
        run = pipeline.run(
            *(MODEL,), type="model.run", inputs=[{"name": "train", "digest": frame("labelled")}]
        )
        pipeline.model("2", frame("artifact"), run)
    out = table("trace", f"model/{MODEL}@2").out
    (line,) = [line for line in out.splitlines() if line.startswith("FEEDBACK LOOP")]
    assert f"model/{MODEL}@2 was made from dataset/labelled@1" in line
    assert f"predictions of model/{MODEL}@1" in line
    (loop,) = traced(table, f"model/{MODEL}@2")["feedback_loops"]
    assert loop["data"] == "dataset/labelled@1"
    assert "FEEDBACK" not in table("trace", f"model/{MODEL}@1").out


def test_V2_the_training_data_of_a_model(table: Cli) -> None:
    train("1")
    found = traced(table, f"model/{MODEL}@1")
    (data,) = of_kind(found, "data")
    assert data["facts"]["digest"].startswith("frame-v")
    (link,) = [edge for edge in found["edges"] if edge["cause"] == data["id"]]
    assert (link["name"], link["role"]) == ("used", "inquiries")


def test_V3_why_a_retrained_model_behaves_otherwise(table: Cli) -> None:
    train("1", c=0.5)
    correct(table)
    train("2", c=0.75)
    found = table("trace-diff", f"model/{MODEL}@1", f"model/{MODEL}@2", "--json").json
    parts = {(part["role"], part["name"]): part for part in found["parts"]}
    assert parts["params", MODEL]["details"] == ["C: 0.5 -> 0.75"]
    data = parts["data", f"{MODEL}: inquiries"]
    (row,) = [line for line in data["details"] if line.startswith("row ")]
    assert "inquiry/1003 changed  PaymentStatus: Late (30 days) -> Current  by clerk" in row
    assert "because booked elsewhere" in row
    assert parts["code", MODEL]["same"] and parts["environment", MODEL]["same"]

"""Questions about runs, models, serving and complaints; a test is named by the question's id."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import audit
from tests.cli.conftest import INQUIRIES, Cli

DAY_US = 86_400_000_000

PIPELINE = '''
import audit

LIMIT = {limit}

def late_days(text):
    return int(text.split("(")[1].split()[0]) if text.startswith("Late") else 0

def has_rows(frame):
    assert len(frame), "no rows"

def amounts_are_positive(frame):
    assert (frame["LoanAmount"] > 0).all(), "an amount is not positive"

@audit.component({name!r}, owner={owner!r}, before=[{tests}])
def {name}(frame):
    """{doc}"""
    return frame.assign(late=frame["PaymentStatus"].map(late_days).clip(upper=LIMIT))
'''


def component(name: str, owner: str, tests: str, limit: int = 90, helper: str = "") -> Any:
    """A component in a file of its own, imported anew."""
    import importlib.util

    text = PIPELINE.format(name=name, owner=owner, tests=tests, limit=limit, doc=f"The {name}.")
    path = Path(f"{name}_code.py")
    path.write_text(text.replace("else 0", helper) if helper else text)
    spec = importlib.util.spec_from_file_location(f"{name}_code", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


@pytest.fixture
def table(cli: Cli) -> Cli:
    """The example table, imported with InquiryDate as valid time: entries 5 to 14."""
    cli("init", "--origin", "bank.example/credit")
    cli(
        *("import", str(INQUIRIES), "--entity", "inquiry", "--key", "InquiryID"),
        *("--valid-time", "InquiryDate"),
    )
    return cli


def inquiries(as_of: str | None = None) -> pd.DataFrame:
    with audit.Ledger() as ledger:
        frame = ledger.replay("inquiry", as_of=as_of)
    return frame.assign(LoanAmount=frame["LoanAmount"].astype(float))


def train(version: str, frame: pd.DataFrame, package: str | None = None) -> Any:
    """A logistic regression on amount and lateness."""
    from sklearn.linear_model import LogisticRegression

    with audit.model_run("credit-risk", params={"C": 0.5}, seed=7) as run:
        run.input(frame, name="inquiries")
        rows = frame[["LoanAmount"]].to_numpy() / 1_000
        late = frame["PaymentStatus"].str.startswith("Late").astype(int)
        model = LogisticRegression(C=0.5).fit(rows, late)
        run.metric("accuracy", float(model.score(rows, late)))
        options = {"tolerance": 1e-9, "threshold": 0.5, "package": package}
        return run.model(model, version=version, **options)


def answer(version: Any, customers: list[str]) -> list[str]:
    """Ids of one prediction for each customer."""

    @audit.predictor(model=version, key="CustomerID", source="scoring")
    def risk(features: dict[str, Any]) -> float:
        rows = np.array([[features["LoanAmount"] / 1_000]])
        return float(version.object.predict_proba(rows)[0, 1])

    ids = []
    for at, customer in enumerate(customers):
        risk({"CustomerID": customer, "LoanAmount": 1_000.0 * (at + 1)})
        assert risk.last_id is not None
        ids.append(risk.last_id)
    risk.flush()
    return ids


def test_C7_a_model_version_with_its_code_data_and_hyperparameters(table: Cli) -> None:
    frame = inquiries()
    version = train("3", frame)
    card = table("show", "model/credit-risk@3", "--json").json["card"]
    assert card["digest"] == version.digest and card["params"]["C"] == 0.5
    assert card["code"]["digest"].startswith("sha256:")
    (data,) = card["data"]
    assert data["rows"] == 10 and data["entity_type"] == "inquiry"
    assert [(point["origin"], point["size"]) for point in data["logs"]] == [
        ("bank.example/credit", 15)
    ]


def test_C20_one_card_answers_the_six_questions(table: Cli) -> None:
    member = train("3", inquiries())
    with audit.model_run("credit-ensemble", params={"weights": [1]}) as run:
        run.model({"of": 1}, version="1", members=[member])
    out = table("show", "model/credit-risk@3").out
    run_id = table("runs", "credit-risk", "--json").json[0]["run"]
    for asked, answered in (
        ("How was it trained?", f"TRAINED BY  run/{run_id}"),
        ("What data?", "from inquiry (bank.example/credit at size 15"),
        ("What library?", "sklearn = "),
        ("What hyperparameter?", "PARAMS      C = 0.5"),
        ("What code?", "SOURCE      sha256:"),
        ("Ensemble of multiple models?", "ENSEMBLE OF one model alone"),
        ("as of which randomness?", "SEED        7"),
    ):
        assert answered in out, asked
    ensemble = table("show", "model/credit-ensemble@1").out
    assert f"ENSEMBLE OF model/credit-risk@3 {member.digest}" in ensemble


def test_C12_which_model_version_ran_where_and_when(table: Cli) -> None:
    frame = inquiries()
    for version in ("1", "2"):
        train(version, frame)
    for version, at in (("1", "2026-01-01"), ("2", "2026-02-01")):
        audit.transition(f"credit-risk@{version}", approved_by="alice", valid_time=at)
    audit.transition("credit-risk@2", "staging", valid_time="2026-01-15")

    def served(*at: str) -> list[tuple[str, str | None]]:
        found = table("serving", "credit-risk", *at, "--json").json["serving"]
        return [(one["stage"], one["version"]) for one in found]

    assert served("--at", "2025-01-01") == []
    assert served("--at", "2026-01-10") == [("production", "1")]
    assert served("--at", "2026-02-02", "--stage", "production") == [("production", "2")]
    audit.transition("credit-risk@2", retire=True, valid_time="2026-03-01")
    assert served("--at", "2026-03-02") == [("production", None), ("staging", "2")]
    assert len(table("serving", "credit-risk", "--history", "--json").json["serving"]) == 4
    assert "alice" in table("serving", "credit-risk", "--at", "2026-01-10").out


def test_C1_what_the_wrong_answers_share(table: Cli) -> None:
    frame = inquiries()
    good = answer(train("1", frame), ["001", "002", "003"])
    broken = frame.assign(LoanAmount=-frame["LoanAmount"])  # the bug
    bad = answer(train("2", broken), ["001", "002", "003"])
    for prediction in bad[:2]:
        table("flag", f"prediction/{prediction}", "-m", "too high", "--actor", "alice")
    found = table("review", "--json").json
    culprit = found["suspects"][0]
    runs = {one["run"]: one for one in table("runs", "credit-risk", "--json").json}
    trained_2 = next(run for run, one in runs.items() if one["models"][0]["version"] == "2")
    first = {one["ref"] for one in found["suspects"] if one["score"] == culprit["score"]}
    assert {f"run/{trained_2}", "model/credit-risk@2"} <= first
    assert "model/credit-risk@1" not in first
    assert (found["compared"], len(good)) == (4, 3)
    assert "credit-risk@2" in table("review").lines[5] or "run/" in table("review").lines[5]


def test_C3_a_complaint_is_flagged_shown_and_taken_back(table: Cli) -> None:
    (prediction,) = answer(train("1", inquiries()), ["003"])
    (found,) = table("predictions", "key:003", "--json").json
    assert found["prediction"] == prediction
    ref = f"prediction/{prediction}"
    table("flag", ref, "-m", "the customer complained", "--actor", "alice")
    card = table("show", ref, "--json").json["card"]
    assert [(one["kind"], one["actor"]) for one in card["reviews"]] == [("FLAG", "alice")]
    assert "the customer complained" in table("show", ref).out
    table("unflag", ref, "-m", "it was right", "--actor", "bob")
    assert table("review", "--json").json["flagged"] == []
    kinds = [one["kind"] for one in table("show", ref, "--json").json["card"]["reviews"]]
    assert kinds == ["FLAG", "UNFLAG"]


def test_Q1_the_inputs_of_yesterdays_cleaning(table: Cli, monkeypatch: Any) -> None:
    import time

    cleaning = component("cleaning", "plumber", "has_rows")
    frame = inquiries()
    now_ns = time.time_ns()
    with monkeypatch.context() as patched:  # yesterday, by the clock of whoever ran it
        patched.setattr(time, "time_ns", lambda: now_ns - DAY_US * 1_000)
        cleaning(frame)
    cleaning(frame.head(3))
    (run,) = table("runs", "cleaning", "--at", "yesterday", "--json").json
    (read,) = run["inputs"]
    assert (read["name"], read["rows"], read["entity_type"]) == ("frame", 10, "inquiry")
    assert run["owner"] == "plumber" and run["outputs"][0]["rows"] == 10
    shown = table("runs", "cleaning", "--at", "yesterday", "--inputs").lines
    assert shown[1].startswith("  read  frame: frame, 10 rows")
    assert len(table("runs", "cleaning", "--json").json) == 2


def test_Q2_why_a_run_failed(table: Cli) -> None:
    cleaning = component("cleaning", "plumber", "has_rows")
    frame = inquiries().assign(PaymentStatus="Late (many days)")
    with pytest.raises(ValueError, match="many"):
        cleaning(frame)
    with pytest.raises(ZeroDivisionError), audit.model_run("credit-risk", params={"C": 0}) as run:
        run.input(frame, name="inquiries")
        run.param("weight", 1 / 0)
    for name, error in (("cleaning", "ValueError"), ("credit-risk", "ZeroDivisionError")):
        (failed,) = table("runs", name, "--status", "FAIL", "--json").json
        card = table("show", f"run/{failed['run']}", "--json").json["card"]
        assert card["error"].startswith(error) and card["inputs"][0]["rows"] == 10
        assert "Traceback (most recent call last)" in card["traceback"]
    assert card["params"]["C"] == 0
    assert (
        "late_days"
        in table("show", f"run/{table('runs', 'cleaning', '--json').json[0]['run']}").out
    )


def test_Q5_code_discrepancy_between_online_and_offline(table: Cli) -> None:
    frame = inquiries()
    component("inference", "ann", "has_rows")(frame)
    component("evaluation", "bob", "has_rows")(frame)
    same = table("runs", "inference", "--compare", "evaluation", "--json").json
    assert (same["code"]["verdict"], same["differences"]) == ("SAME", [])
    assert same["code"]["same_file"] is False
    component("evaluation", "bob", "has_rows", helper="else -1")(frame)
    ran = table("runs", "inference", "--compare", "evaluation", "--json", code=1)
    assert ran.json["differences"] == ["code"]
    changed = [one for one in ran.json["code"]["functions"] if one["status"] != "SAME"]
    assert [one["name"] for one in changed] == ["late_days"]
    out = table("runs", "inference", "--compare", "evaluation", code=1).out
    assert "else -1" in out and "ann / bob" in out
    component("evaluation", "bob", "has_rows", limit=60)(frame)
    ran = table("runs", "inference", "--compare", "evaluation", "--json", code=1)
    changed = [one for one in ran.json["code"]["functions"] if one["status"] != "SAME"]
    assert [one["bindings"] for one in changed] == [["LIMIT"]]


def test_Q6_the_same_tests_online_as_offline(table: Cli) -> None:
    frame = inquiries()
    component("online", "ann", "has_rows")(frame)
    component("offline", "ann", "has_rows, amounts_are_positive")(frame)
    ran = table("runs", "online", "--compare", "offline", "--json", code=1)
    assert ran.json["differences"] == ["tests"]
    assert ran.json["tests"]["only_b"] == ["BEFORE amounts_are_positive"]
    assert ran.json["tests"]["same"] == ["BEFORE has_rows"]
    component("online", "ann", "has_rows, amounts_are_positive")(frame)
    assert table("runs", "online", "--compare", "offline", "--json").json["differences"] == []


def test_T4_package_version_and_model_version(table: Cli) -> None:
    frame = inquiries()
    train("1.0", frame, "credit-risk==1.0")
    train("1.1", frame.head(8), "credit-risk==1.0")
    first = table("show", "model/credit-risk@1.0", "--json").json["card"]
    assert first["package"] == "credit-risk==1.0" and first["digest"].startswith("sha256:")
    second = table("show", "model/credit-risk@1.1").out
    assert "PACKAGE     credit-risk==1.0" in second
    assert "the package is version 1.0, the model 1.1" in second and "not one to one" in second


def test_V4_which_models_used_a_sensitive_column(table: Cli) -> None:
    frame = inquiries()
    train("1", frame)
    train("2", frame.drop(columns=["CustomerID"]))
    assert "CustomerID" in table("show", "model/credit-risk@1").out
    (data,) = table("show", "model/credit-risk@2", "--json").json["card"]["data"]
    assert "LoanAmount" in data["columns"] and "CustomerID" not in data["columns"]
    (run,) = table("runs", "--column", "CustomerID", "--json").json
    assert [one["version"] for one in run["models"]] == ["1"]

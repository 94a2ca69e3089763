"""Questions about drift, skew and subgroups; a test is named by the id of its question."""

from datetime import timedelta
from typing import Any

import pandas as pd
import pytest

import audit
from tests.cli.conftest import Cli
from tests.lineage.common_drift import (
    COMPONENT,
    COUNTRIES,
    START,
    Pipeline,
    day,
)

MONTH = ("--since", day(8), "--until", day(12))
MONTH_BEFORE = ("--since", day(4), "--until", day(8))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture
def weekly(cli: Cli, built: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The weekly inference pipeline: twelve weeks, other inputs from week 8."""
    monkeypatch.setenv("AUDIT_STORE", built.url)
    return cli


def columns(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["column"]: one for one in found["columns"]}


def statistics(column: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["statistic"]: one for one in column["statistics"]}


def test_Q3_has_the_distribution_of_inputs_changed_in_the_last_month(weekly: Cli) -> None:
    for what in (COMPONENT, "churn"):
        ran = weekly("drift", what, *MONTH, "--side", "inputs", "--json", code=1).json
        changed = {name for name, one in columns(ran).items() if one["drifted"]}
        assert changed == {"country", "hours", "income"}
        assert weekly("drift", what, *MONTH_BEFORE, "--side", "inputs").code == 0


def test_Q4_outputs_over_three_months_across_subgroups(weekly: Cli) -> None:
    window = ("--since", day(0), "--until", day(12), "--baseline", f"{day(0)}..{day(8)}")
    command = ("drift", "churn", *window, "--side", "outputs", "--by", "country")
    groups = {g["group"]: g for g in weekly(*command, "--json", code=1).json["groups"]}
    assert set(groups) == {"(all)", *COUNTRIES}
    assert sum(groups[country]["now"]["size"] for country in COUNTRIES) == 12 * 24
    for country in COUNTRIES:
        now = groups[country]["now"]
        assert 0 < now["outputs"]["output"]["mean"] < 1 and 0 < now["decision_rate"] <= 1
        assert len(groups[country]["periods"]) == 4
    last = groups["FR"]["periods"][3]
    assert last["decision_rate"] > groups["FR"]["periods"][0]["decision_rate"]
    assert "OUTPUTS BY country" in weekly(*command, code=1).out


def test_L2_drift_has_a_window_as_baseline_and_skew_a_training(weekly: Cli) -> None:
    drifted = weekly("drift", "churn", *MONTH, "--json", code=1).json
    assert drifted["then"]["since"] == f"{day(4)}T00:00:00.000000Z" and drifted["skew"] is None
    early = ("--since", day(0), "--until", day(8), "--baseline", "model/churn@1")
    against = weekly("drift", "churn", *early, "--json").json
    assert against["then"]["since"] is None and against["then"]["rows"] == 600
    assert against["skew"]["skewed"] is False and against["verdict"] == "STEADY"


def test_L3_an_integer_is_no_float_between_training_and_serving(cli: Cli) -> None:
    cli("init", "--origin", "test.example/log")
    version = trained(pd.DataFrame({"age": range(50), "amount": [n / 2 for n in range(50)]}))
    served(version, [{"age": float(n), "amount": n / 2} for n in range(50)])
    ran = cli("drift", "risk", *NOW, "--baseline", "model/risk@1", code=1)
    assert "age: integer in training, double in serving" in ran.out
    assert "amount: " not in ran.out.partition("SKEW")[2]


def test_L4_a_transformation_in_one_of_the_two_only(cli: Cli) -> None:
    cli("init", "--origin", "test.example/log")
    version = trained(pd.DataFrame({"amount": [100.0 + n for n in range(100)]}))
    served(version, [{"amount": (100.0 + n) / 100} for n in range(100)])
    found = cli("drift", "risk", *NOW, "--baseline", "model/risk@1", "--json", code=1).json
    assert found["skew"]["feature_skew"] == ["amount"]
    assert statistics(columns(found)["amount"])["RANGE"]["value"] == 1.0


def test_L4_features_as_served_against_features_recomputed(cli: Cli) -> None:
    cli("init", "--origin", "test.example/log")
    spend, version = with_features(cli)

    @audit.predictor(model=version, source="serving")
    def score(features: dict[str, Any]) -> float:
        return float(features["spent"])

    with audit.Ledger() as ledger:
        made = spend(ledger.at("HEAD"), {"customer": "7"})
    made["spent"] /= 100  # what training never did
    score(made)
    score.flush()
    found = cli("replay", f"prediction/{score.last_id}", "--json", code=1).json
    assert found["features"] == "RECOMPUTED_DIFFERENT"


def test_L5_l_infinity_of_categories_with_a_threshold(weekly: Cli) -> None:
    found = weekly("drift", "churn", *MONTH, "--json", code=1).json
    shares = [
        {name: count / 96 for name, count in columns(found)["country"][when]["categories"].items()}
        for when in ("then", "now")
    ]
    distance = max(abs(shares[0][name] - shares[1][name]) for name in COUNTRIES)
    told = statistics(columns(found)["country"])["L_INFINITY"]
    assert told["value"] == pytest.approx(distance)
    assert told["exceeded"] and told["threshold"] == 0.1
    lenient = weekly("drift", "churn", *MONTH, "--threshold", "0.9", "--json", code=1).json
    assert not statistics(columns(lenient)["country"])["L_INFINITY"]["exceeded"]
    assert not columns(lenient)["country"]["drifted"]
    assert "JENSEN_SHANNON" in statistics(columns(found)["hours"])


def test_T7_every_statistic_is_told(weekly: Cli) -> None:
    found = weekly("drift", "churn", *MONTH, "--json", code=1).json
    told = {name for one in columns(found).values() for name in statistics(one)}
    assert told == {
        *("RANGE", "MISSING_RATE", "MEAN_WITHIN_SE", "KOLMOGOROV_SMIRNOV", "KRUSKAL_WALLIS"),
        *("ANOVA", "CHI_SQUARE", "CHI_SQUARE_MISSING", "CHI_SQUARE_ZERO"),
        *("L_INFINITY", "JENSEN_SHANNON"),
    }
    hours, income = (statistics(columns(found)[name]) for name in ("hours", "income"))
    for name in ("KOLMOGOROV_SMIRNOV", "KRUSKAL_WALLIS", "ANOVA", "MEAN_WITHIN_SE", "RANGE"):
        assert hours[name]["exceeded"] is True, name
    assert income["MISSING_RATE"]["exceeded"] and income["CHI_SQUARE_MISSING"]["p_value"] < 1e-6
    assert statistics(columns(found)["tickets"])["CHI_SQUARE_ZERO"]["exceeded"] is False
    assert all(one["sizes"] for one in hours.values())


def test_T9_the_distribution_of_predictions_is_a_proxy_before_truth_is_known(weekly: Cli) -> None:
    command = ("drift", "churn", "--side", "outputs", "--json")
    found = weekly(*command, *MONTH, code=1).json
    assert [one["column"] for one in found["columns"]] == ["output"]
    assert found["columns"][0]["drifted"]
    assert weekly(*command, *MONTH_BEFORE).json["verdict"] == "STEADY"


def test_T11_slices_are_compared_with_the_entire_dataset(weekly: Cli) -> None:
    command = ("drift", "churn", *MONTH, "--by", "country", "--json")
    everything, *slices = weekly(*command, code=1).json["groups"]
    assert everything["group"] == "(all)" and everything["now"]["size"] == 96
    assert sum(one["now"]["size"] for one in slices) == 96
    assert {one["verdict"] for one in slices} <= {"DRIFTED", "STEADY", "CANNOT_TELL"}
    assert all("mean" in one["now"]["outputs"]["output"] for one in slices)


def test_C18_has_feature_extraction_changed_since_training(cli: Cli) -> None:
    cli("init", "--origin", "test.example/log")
    spend, version = with_features(cli)

    @audit.predictor(model=version, source="serving")
    def score(features: dict[str, Any]) -> float:
        return float(features["spent"])

    @audit.features("spend", version="2", reads=["sale"], replaces="1", source="serving")
    def changed(data: Any, request: Any) -> dict[str, Any]:
        return {"spent": float(data["sale"]["amount"].max())}

    def serve(definition: Any, week: int) -> None:
        with audit.Ledger() as ledger:
            point = ledger.at("HEAD")
            for at in range(20):
                with audit.context(valid_time=START + timedelta(weeks=week, minutes=at)):
                    score(definition(point, {"customer": "7"}))
        score.flush()

    against = ("--baseline", "model/spender@1")
    serve(spend, 1)
    same = cli(
        "drift", "spender", "--since", day(1), "--until", day(2), *against, "--json", code=1
    ).json["skew"]
    assert [one["difference"] for one in same["code"]] == ["SAME"] and not same["skewed"]
    serve(changed, 2)
    ran = cli("drift", "spender", "--since", day(2), "--until", day(3), *against, code=1)
    assert "spend CHANGED: spend@1 sha256:" in ran.out and "-> spend@2 sha256:" in ran.out
    assert "types, features or code DIFFER from training" in ran.out


NOW = ("--since", day(0), "--until", day(4))


def trained(frame: pd.DataFrame) -> Any:
    with audit.model_run("risk", profile=True, source="training") as run:
        run.input(frame, name="customers")
        return run.model({"w": 1.0}, version="1")


def served(version: Any, rows: list[dict[str, Any]]) -> None:
    @audit.predictor(model=version, source="serving")
    def score(features: dict[str, Any]) -> float:
        return 0.5

    for at, row in enumerate(rows):
        with audit.context(valid_time=START + timedelta(hours=at)):
            score(row)
    score.flush()


def with_features(cli: Cli) -> tuple[Any, Any]:
    """A recorded feature definition, and a model that was trained with it."""
    for key in range(5):
        row = f'{{"customer": "7", "amount": {key * 10.0}}}'
        cli("emit", "create", "sale", str(key), row)

    @audit.features("spend", version="1", reads=["sale"], source="training")
    def spend(data: Any, request: Any) -> dict[str, Any]:
        own = data["sale"]
        return {"spent": float(own[own["customer"] == request["customer"]]["amount"].sum())}

    with audit.model_run("spender", source="training") as run:
        version = run.model({"w": 1.0}, version="1", features=[spend])
    return spend, version

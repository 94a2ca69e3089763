"""Training against serving: types, features on one side only, distributions, feature code."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import audit
from audit.errors import InvalidInput, NotFound
from audit.lineage.drifting.drift_report import DriftReport
from audit.lineage.drifting.skew import SkewReport, skew
from audit.store.blobs import BlobStore
from tests.lineage.common_drift import predict

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RNG = np.random.default_rng(5)


def customers(size: int = 200) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": RNG.integers(18, 80, size),
            "amount": RNG.normal(100.0, 10.0, size),
            "country": RNG.choice(["DE", "FR"], size),
            "label": RNG.random(size) < 0.5,
        }
    )


class Trained:
    """A ledger with a model that was trained on customers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'audit.db'}"
        self.blobs = BlobStore(folder / "audit-blobs")
        self.emit = audit.Emitter(self.url, source="test")
        self.frame = customers()

    def train(self, version: str = "1", profile: bool = True, **options: Any) -> str:
        with audit.model_run("churn", emitter=self.emit, profile=profile) as run:
            run.input(self.frame, name="customers")
            run.model({"w": 1}, version=version, **options)
        return run.run_id

    def serve(self, change: Any = lambda row: row, size: int = 60, **more: Any) -> None:
        served = customers(size).drop(columns="label")
        for at, row in enumerate(served.to_dict("records")):
            when = NOW + timedelta(minutes=at)
            predict(self.emit, change(dict(row)), 0.5, when, **more)

    def skew(self, model: str = "churn@1") -> SkewReport:
        self.emit.flush()
        with audit.Ledger(self.url) as ledger:
            return skew(ledger.reader, self.blobs, model, ledger.cut())

    def drift(self, **asked: Any) -> DriftReport:
        self.emit.flush()
        asked = {"since": "2026-02-15", "until": "2026-03-15", **asked}
        with audit.Ledger(self.url) as ledger:
            return ledger.drift("churn", **asked)


@pytest.fixture
def trained(tmp_path: Path) -> Iterator[Trained]:
    made = Trained(tmp_path)
    try:
        yield made
    finally:
        made.emit.close()


def schema(report: SkewReport) -> dict[str, tuple[str, bool]]:
    return {one.feature: (one.difference, one.finding) for one in report.schema}


def test_serving_as_in_training_is_no_skew(trained: Trained) -> None:
    run_id = trained.train()
    trained.serve()
    report = trained.skew()
    assert not report.skewed and report.feature_skew == () and report.run_id == run_id
    assert (report.trained_rows, report.predictions) == (200, 60)
    assert schema(report) == {"label": ("NOT_SERVED", False)}
    assert trained.drift(baseline="model/churn@1").verdict == "STEADY"


def test_another_type_is_schema_skew(trained: Trained) -> None:
    trained.train()
    trained.serve(lambda row: {**row, "age": float(row["age"])})
    report = trained.skew("model/churn@1")
    assert report.skewed and schema(report)["age"] == ("TYPE", True)
    (age,) = (one for one in report.schema if one.feature == "age")
    assert (age.trained, age.served) == (("integer",), ("double",))


def test_features_on_one_side_only(trained: Trained) -> None:
    trained.train(expects={"age": {"type": "integer"}, "amount": {"type": "number"}})
    trained.serve(lambda row: {"age": row["age"], "extra": 1})
    report = trained.skew()
    assert schema(report) == {
        "amount": ("NOT_SERVED", True),
        "country": ("NOT_SERVED", False),
        "label": ("NOT_SERVED", False),
        "extra": ("NOT_TRAINED", True),
    }
    found = trained.drift(baseline="model/churn@1")
    assert {c.name: c.verdict for c in found.columns if c.status != "COMPARED"} == {
        **{"amount": "DRIFTED", "extra": "DRIFTED"},
        **{"country": "STEADY", "label": "STEADY"},
    }


def test_a_transformation_in_serving_only_is_feature_skew(trained: Trained) -> None:
    run_id = trained.train()
    trained.serve(lambda row: {**row, "amount": row["amount"] / 100})
    report = trained.skew()
    assert report.feature_skew == ("amount",) and not report.skewed
    found = trained.drift(baseline=f"run/{run_id}")
    assert found.drifted and found.skew is not None and found.skew.feature_skew == ("amount",)


def definition(version: str, digit: str) -> dict[str, Any]:
    return {
        **{"name": "spend", "version": version, "digest": f"sha256:{digit * 64}"},
        **{"request": "{}", "names": [], "reads": []},
    }


def recorded(trained: Trained, version: str) -> Any:
    """A definition that trained with; returns what was recorded of it."""

    @audit.features("spend", version=version, reads=["customer"], emitter=trained.emit)
    def spend(data: Any, request: Any) -> dict[str, Any]:
        return {"amount": request["amount"]}

    return spend


def test_the_same_definition_is_no_code_skew(trained: Trained) -> None:
    spend = recorded(trained, "1")
    trained.train(features=[spend])
    trained.serve(feature_sets=[{**definition("1", "0"), "digest": spend.named.digest}])
    (code,) = trained.skew().code
    assert (code.definition, code.difference, code.predictions) == ("spend", "SAME", 60)
    assert not trained.skew().skewed


def test_another_definition_is_code_skew(trained: Trained) -> None:
    trained.train(features=[recorded(trained, "1")])
    trained.serve(feature_sets=[definition("2", "2")])
    report = trained.skew()
    (code,) = report.code
    assert report.skewed and code.difference == "CHANGED"
    assert [str(one) for one in (*code.trained, *code.served)] == ["spend@1", "spend@2"]
    found = trained.drift(baseline="model/churn@1")
    assert found.drifted and {c.verdict for c in found.columns} == {"STEADY"}
    assert found.to_json()["skew"]["code"][0]["difference"] == "CHANGED"


def test_a_definition_that_training_did_not_note_is_no_finding(trained: Trained) -> None:
    trained.train()
    trained.serve(feature_sets=[definition("2", "2")])
    report = trained.skew()
    assert [one.difference for one in report.code] == ["NOT_TRAINED"] and not report.skewed


def test_a_definition_that_serving_does_not_name(trained: Trained) -> None:
    trained.train(features=[recorded(trained, "1")])
    trained.serve()
    report = trained.skew()
    assert [one.difference for one in report.code] == ["NOT_SERVED"] and not report.skewed
    assert any("name no feature definition" in remark for remark in report.remarks)


def test_what_cannot_be_compared_is_said(trained: Trained) -> None:
    trained.train(profile=False)
    report = trained.skew()
    assert report.schema == () and not report.skewed and not report.compared
    assert any("nothing was served" in remark for remark in report.remarks)
    assert any("no profile" in remark for remark in report.remarks)
    trained.serve()
    found = trained.drift(baseline="model/churn@1")
    assert found.verdict == "CANNOT_TELL"
    assert "left out then: 1 frames without a profile" in found.remarks


def test_only_versions_have_skew(trained: Trained) -> None:
    trained.train()
    for name, error in (("churn", InvalidInput), ("churn@", InvalidInput), ("churn@9", NotFound)):
        with pytest.raises(error):
            trained.skew(name)


def test_a_dataset_version_is_a_baseline(trained: Trained) -> None:
    trained.train()
    dataset = audit.dataset_version("customers", trained.frame, "1", emitter=trained.emit)
    assert dataset is not None
    trained.serve(lambda row: {**row, "amount": row["amount"] / 100})
    found = trained.drift(baseline="dataset/customers@1")
    assert found.then_rows == 200 and found.skew is None
    assert [c.name for c in found.columns if c.verdict == "DRIFTED"] == ["amount"]


def test_the_rows_of_a_batch_count_each(trained: Trained) -> None:
    with audit.model_run("churn", emitter=trained.emit) as run:
        version = run.model({"w": 1}, version="1")

    @audit.predictor(model=version, emitter=trained.emit, threshold=0.5, batch=True)
    def score(rows: list[dict[str, Any]]) -> list[float]:
        return [0.25 for _ in rows]

    with audit.context(valid_time=NOW):
        score(customers(40).drop(columns="label").to_dict("records"))
    found = trained.drift(baseline="2026-01-01", by="country")
    assert found.now_rows == 40 and found.column("amount").now.numbers == 40
    assert found.groups[0].now.decided == 40 and found.groups[0].now.decision_rate == 0
    for blob in (trained.folder / "audit-blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    found = trained.drift(baseline="2026-01-01")
    assert found.now_rows == 0
    assert "left out now: 1 batches whose rows are missing or broken" in found.remarks

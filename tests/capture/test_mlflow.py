"""Log to both: what MLflow has, what the ledger has, and that each names the other."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

import audit
from audit.errors import Unavailable

mlflow: Any = None


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """Where these tests run, and not wherever tests are collected: it takes longer than they do."""
    global mlflow
    mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A ledger; MLflow logs into a folder of this test."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    return f"sqlite:///{tmp_path}/audit.db"


def test_a_run_is_in_both(store: str) -> None:
    with audit.mlflow_run(
        "credit-risk", {"C": 0.5, "kind": "lbfgs"}, seed=7, experiment="credit", bus=store
    ) as run:
        run.param("depth", 3)
        digest = run.input(b"some rows", name="inquiries")
        run.metric("auc", 0.81)
        version = run.model({"weights": [1.0]}, version="1")
        mlflow.set_tag("mine", "too")  # MLflow's run is the active one
    theirs: Any = mlflow.get_run(run.mlflow_run_id)
    assert theirs.info.status == "FINISHED"
    assert theirs.data.params == {"C": "0.5", "kind": "lbfgs", "seed": "7", "depth": "3"}
    assert theirs.data.metrics == {"auc": 0.81}
    assert theirs.data.tags["attestory.run"] == run.run_id
    assert theirs.data.tags["attestory.model"] == "model/credit-risk@1"
    assert theirs.data.tags["attestory.model_digest"] == version.digest
    assert theirs.data.tags["mine"] == "too"
    (used,) = theirs.inputs.dataset_inputs
    assert used.dataset.name == "inquiries"
    assert json.loads(used.dataset.source)["digest"] == digest
    assert mlflow.get_experiment_by_name("credit").experiment_id == theirs.info.experiment_id
    with audit.Ledger(store) as ledger:
        ours = ledger.run(run.run_id)
    assert f"mlflow:{run.mlflow_run_id}" in ours.tags
    assert (ours.status, ours.seed, dict(ours.metrics)) == ("COMPLETE", 7, {"auc": 0.81})
    assert [use.digest for use in ours.inputs] == [digest]


def test_a_failure_is_a_failure_in_both(store: str) -> None:
    with pytest.raises(ValueError, match="no rows"), audit.mlflow_run("m", bus=store) as run:
        raise ValueError("no rows")
    assert mlflow.get_run(run.mlflow_run_id).info.status == "FAILED"
    with audit.Ledger(store) as ledger:
        assert ledger.run(run.run_id).status == "FAIL"


def test_without_mlflows_server_the_ledger_has_it(
    store: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING), audit.mlflow_run("m", bus=store) as run:
        run.metric("auc", 0.5)
    assert run.mlflow_run_id is None
    assert "MLflow did not take it" in caplog.text
    with audit.Ledger(store) as ledger:
        assert ledger.run(run.run_id).status == "COMPLETE"


def test_without_mlflow_it_says_what_to_install(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(Unavailable, match="attestory\\[mlflow\\]"):
        audit.mlflow_run("m", bus=store)

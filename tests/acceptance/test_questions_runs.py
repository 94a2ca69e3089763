"""Questions about pipelines, answered from what decorated functions recorded of themselves."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import audit
from tests.cli.conftest import INQUIRIES, Cli
from tests.cli.conftest import run as command
from tests.lineage.small_model import Linear


@audit.component(
    "cleaning",
    owner="plumber",
    tags=["credit"],
    before=[audit.quality.schema({"LoanAmount": {"type": "integer", "min": 0}})],
)
def clean(rows: pd.DataFrame, largest: int = 100_000) -> pd.DataFrame:
    """Only loans that a person takes."""
    return rows[rows["LoanAmount"] < largest]


@audit.component("features", owner="plumber")
def late_payments(rows: pd.DataFrame) -> pd.DataFrame:
    """Amount, and whether it was paid late."""
    late = rows["PaymentStatus"].str.startswith("Late").astype("int64")
    amount = rows["LoanAmount"].astype("float64") / 1_000
    return pd.DataFrame({"amount": amount, "late": late})


@audit.model_run("credit-risk", seed=7, owner="carol", tags=["credit"], keep=True)
def train(data: pd.DataFrame, C: float, max_iter: int = 500) -> Any:
    """A small model, and how good it is."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=C, max_iter=max_iter)
    model.fit(data[["amount"]].to_numpy(), data["late"].to_numpy())
    audit.current_run().metric("accuracy", model.score(data[["amount"]].to_numpy(), data["late"]))
    return model


@pytest.fixture(scope="module")
def made_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `pipeline`, to be copied."""
    folder = tmp_path_factory.mktemp("pipeline")
    with contextlib.chdir(folder):
        command("init", "--origin", "bank.example/credit")
        command(
            *("import", str(INQUIRIES), "--entity", "inquiry", "--key", "InquiryID"),
            *("--valid-time", "InquiryDate"),
        )
        run_pipeline()
    return folder


@pytest.fixture
def pipeline(cli: Cli, ledger_dir: Path, made_pipeline: Path) -> Cli:
    """The example table, and a model trained on it by three recorded functions."""
    shutil.copytree(made_pipeline, ledger_dir, dirs_exist_ok=True)
    return cli


def replayed(as_of: str | None = None) -> pd.DataFrame:
    with audit.Ledger() as ledger:
        return ledger.replay("inquiry", as_of=as_of, valid_at="2020-12-31")


def run_pipeline(C: float = 0.5, as_of: str | None = None) -> Any:
    return train(late_payments(clean(replayed(as_of))), C)


def last(component: str) -> Any:
    with audit.Ledger() as ledger:
        return ledger.runs(component)[0]


def test_C7_a_model_version_with_code_data_and_hyperparameters(pipeline: Cli) -> None:
    run = last("credit-risk")
    (model,) = run.models
    shown = pipeline("show", f"model/{model}", "--json").json
    assert run.run_id in str(shown)
    assert run.params == {"C": 0.5, "max_iter": 500}
    assert run.seed == 7
    assert run.code_digest is not None and run.function_digest is not None
    # The data version: by content, and through the pipeline back to a point of the ledger.
    made = last("features")
    assert run.inputs[0].digest == made.outputs[0].digest
    assert made.inputs[0].digest == last("cleaning").outputs[0].digest
    source = last("cleaning").inputs[0]
    assert source.entity_type == "inquiry"
    assert source.logs[0].size == 15


def test_C10_hyperparameters_results_and_model_files(pipeline: Cli) -> None:
    run = last("credit-risk")
    shown = pipeline("show", f"run/{run.run_id}", "--json").json["card"]
    assert shown["params"] == {"C": 0.5, "max_iter": 500}
    assert 0 <= shown["metrics"]["accuracy"] <= 1
    artifact = Path("audit-blobs/sha256") / shown["models"][0]["digest"][7:9]
    assert (artifact / shown["models"][0]["digest"][9:]).is_file()


@audit.model_run("served", seed=7, keep=True)
def train_to_serve(data: pd.DataFrame, C: float) -> Any:
    """The version that is served, with the threshold that it decides by."""
    model = Linear(C=C).fit(data[["amount"]].to_numpy(), data["late"].to_numpy())
    return audit.current_run().model(model, version="1", threshold=0.5)


@pytest.mark.slow
def test_C14_prediction_pipeline_and_model_after_a_complaint(pipeline: Cli) -> None:
    version = train_to_serve(late_payments(clean(replayed())), 0.5)
    fitted = version.object

    @audit.predictor(model=version, key="CustomerID", source="scoring")
    def risk(features: dict[str, Any]) -> float:
        return float(fitted.predict_proba([[features["amount"]]])[0, 1])

    with audit.context(valid_time="2026-01-05T12:00:00Z"):
        risk({"CustomerID": "003", "amount": 5.0})
    risk.flush()
    # The rows are corrected, and another model is trained; then customer 003 complains.
    pipeline(
        *("emit", "update", "inquiry", "1003", '{"PaymentStatus": "Current"}'),
        *("--valid-time", "2020-03-05", "--actor", "clerk"),
    )
    run_pipeline()
    (found,) = pipeline("predictions", "key:003", "valid:2026-01-05", "--json").json
    ref = f"prediction/{found['prediction']}"
    # Can we reproduce the prediction with the right model?
    again = pipeline("replay", ref, "--json").json
    assert (again["integrity"], again["output"]) == ("VERIFIED", "IDENTICAL")
    assert again["model"] == "MATCHES" and found["model_digest"] == version.digest
    # Can we debug the model's pipeline and data? Down to the rows, and what became of them.
    traced = pipeline("trace", ref, "--json").json
    refs = {node["ref"] for node in traced["nodes"]}
    served, newest = (last(name).run_id for name in ("served", "credit-risk"))
    assert {"model/served@1", f"run/{served}"} <= refs and f"run/{newest}" not in refs
    labels = {node["label"].split()[0] for node in traced["nodes"] if node["kind"] == "run"}
    assert labels == {"served", "features", "cleaning"}
    points = [node for node in traced["nodes"] if node["kind"] == "point"]
    size = max(point["facts"]["logs"][0]["size"] for point in points)
    versions = pipeline("history", "inquiry/1003", "--json").json["versions"]
    assert [one["index"] < size for one in versions] == [True, False]
    # Can we reproduce the model?
    made = pipeline("replay", f"run/{served}", "--json").json
    assert (made["integrity"], made["output"]) == ("VERIFIED", "IDENTICAL")
    assert made["models"][0]["replayed"] == made["models"][0]["recorded"] == version.digest


@pytest.mark.slow
def test_C22_the_model_is_made_again_from_data_code_and_parameters(pipeline: Cli) -> None:
    first = last("credit-risk")
    again = pipeline("replay", f"run/{first.run_id}", "--json").json
    assert again["output"] == "IDENTICAL"


@pytest.mark.needs("git")
def test_C22_code_and_environment_of_a_dirty_tree(cli: Cli, ledger_dir: Path) -> None:
    git = shutil.which("git")
    assert git is not None
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    script = ledger_dir / "step.py"
    script.write_text(
        "import audit\n"
        "@audit.component('step')\n"
        "def step(x):\n"
        "    return x\n"
        "step(1)\n"
    )  # fmt: skip
    for words in (["init", "-q"], ["add", "step.py"], [*who, "commit", "-qm", "x"]):
        subprocess.run([git, *words], cwd=ledger_dir, check=True)
    subprocess.run([sys.executable, script], cwd=ledger_dir, check=True)
    clean_tree = last("step")
    script.write_text(script.read_text().replace("return x", "return x + 1"))
    subprocess.run([sys.executable, script], cwd=ledger_dir, check=True)
    dirty = last("step")
    assert (clean_tree.code_dirty, dirty.code_dirty) == (False, True)
    assert clean_tree.code_commit == dirty.code_commit
    assert len(str(dirty.code_commit)) == 40
    assert clean_tree.function_digest != dirty.function_digest
    assert clean_tree.lock_digest == dirty.lock_digest
    assert {"python", "platform", "cpu", "cpus"} <= dirty.environment.keys()
    kept = Path("audit-blobs/sha256") / dirty.code_digest[7:9] / dirty.code_digest[9:]
    assert kept.read_bytes() == script.read_bytes()


def test_Q1_the_inputs_of_the_last_cleaning_job(pipeline: Cli) -> None:
    (line,) = pipeline("runs", "cleaning", "--inputs", "--json").json
    (used,) = line["inputs"]
    assert (used["name"], used["entity_type"], used["rows"]) == ("rows", "inquiry", 10)
    assert used["digest"].startswith("frame-v2:sha256:")
    assert set(used["columns"]) >= {"LoanAmount", "PaymentStatus"}


def test_Q2_why_this_training_run_failed(pipeline: Cli) -> None:
    data = late_payments(clean(replayed()))
    with pytest.raises(ValueError) as caught:
        train(data.assign(late=0), 0.25)
    run = last("credit-risk")
    shown = pipeline("show", f"run/{run.run_id}", "--json").json["card"]
    assert shown["status"] == "FAIL"
    assert shown["error"].startswith("ValueError: ")
    assert str(caught.value)[:40] in shown["error"]
    assert shown["params"] == {"C": 0.25, "max_iter": 500}
    assert shown["inputs"][0]["rows"] == len(data)
    assert "model.fit(" in shown["traceback"]


def test_T15_a_configuration_is_tested_before_and_compared_by_digest(pipeline: Cli) -> None:
    def allowed_loss(config: dict[str, Any]) -> bool:
        return config["loss"] in ("log_loss", "hinge")

    @audit.component("configure", before=[allowed_loss])
    def configure(config: dict[str, Any]) -> dict[str, Any]:
        return config

    configure({"loss": "hinge", "C": 1})
    with pytest.raises(audit.FailedTest, match="allowed_loss FAILED"):
        configure({"loss": "magic", "C": 1})
    failed, passed = pipeline("runs", "configure", "--json").json
    assert (failed["status"], passed["status"]) == ("FAIL", "COMPLETE")
    assert failed["params"]["config"] == {"loss": "magic", "C": 1}
    assert failed["tests"][0]["name"] == "allowed_loss"
    version = str(last("credit-risk").models[0])
    for config in ({"replicas": 2}, {"replicas": 2}, {"replicas": 3}):
        audit.transition(version, approved_by="carol", config=config)
    found = pipeline("serving", "credit-risk", "--history", "--json").json["serving"]
    digests = [one["config_digest"] for one in found]
    assert digests[0] == digests[1] != digests[2]
    assert digests[0].startswith("sha256:")


def test_V2_from_the_model_to_its_training_data(pipeline: Cli) -> None:
    (model,) = last("credit-risk").models
    traced = pipeline("trace", f"model/{model}", "--json").out
    for component in ("credit-risk", "features", "cleaning"):
        assert last(component).run_id in traced
    assert "inquiry" in traced


def test_V5_the_data_by_query_and_digest(pipeline: Cli) -> None:
    rows = replayed()
    query = "PaymentStatus starts with Late"
    late = rows[rows["PaymentStatus"].str.startswith("Late")]
    version = audit.dataset_version(
        "late-loans", late, "1", query=query, purpose="training", parents=[rows]
    )
    pipeline(
        *("emit", "update", "inquiry", "1003", '{"PaymentStatus": "Current"}'),
        *("--valid-time", "2020-03-05"),
    )
    now = replayed()
    again = now[now["PaymentStatus"].str.startswith("Late")]
    # The same words select other data now: the digest tells.
    changed = audit.dataset_version("late-loans", again, "2", query=query, parents=[now])
    assert changed.digest != version.digest
    run_pipeline()
    with audit.model_run("credit-risk") as run:
        run.input(late)
    assert last("credit-risk").inputs[0].dataset == "late-loans@1"
    assert pipeline("show", version.ref, "--json").json["card"]["query"] == query


def test_V6_training_data_is_there_after_the_past_changed(pipeline: Cli) -> None:
    before = last("cleaning")
    pipeline(
        *("emit", "update", "inquiry", "1003", '{"LoanAmount": 6000}'),
        *("--valid-time", "2020-03-05", "--reason", "typing error"),
    )
    run_pipeline()
    after = last("cleaning")
    assert before.inputs[0].digest != after.inputs[0].digest
    run_pipeline(as_of=str(before.inputs[0].logs[0].size - 1))
    once_more = last("cleaning")
    assert once_more.inputs[0].digest == before.inputs[0].digest
    assert once_more.outputs[0].digest == before.outputs[0].digest

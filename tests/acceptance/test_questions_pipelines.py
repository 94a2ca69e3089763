"""Questions about pipelines of several parts: environment, dependencies, labels, other tools."""

import csv
import io
import json
import shutil
import sqlite3
import subprocess
import sysconfig
import venv
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import audit
from tests.cli.conftest import INQUIRIES, Cli


@pytest.fixture
def table(cli: Cli) -> Cli:
    """The example table, imported with InquiryDate as valid time."""
    cli("init", "--origin", "bank.example/credit")
    cli(
        *("import", str(INQUIRIES), "--entity", "inquiry", "--key", "InquiryID"),
        *("--valid-time", "InquiryDate"),
    )
    return cli


def inquiries() -> pd.DataFrame:
    with audit.Ledger() as ledger:
        return ledger.replay("inquiry")


def register(name: str, version: str, model: Any, **options: Any) -> Any:
    with audit.model_run(name) as run:
        return run.model(model, version=version, **options)


def traced(cli: Cli, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = cli("trace", *arguments, "--json").json
    return found


def refs(found: dict[str, Any]) -> set[str]:
    return {node["ref"] for node in found["nodes"] if node["ref"] is not None}


def test_C1_how_to_fix_it_by_a_corrected_value_in_place_of_a_wrong_one(table: Cli) -> None:
    version = register("risk", "1", {"late": 0.75})
    weights = version.object

    @audit.predictor(model=version, key="CustomerID", threshold=0.5, source="scoring")
    def score(features: dict[str, Any]) -> float:
        return float(weights["late"] * features["late"])

    score({"CustomerID": "003", "late": 1})
    score.flush()
    ref = f"prediction/{score.last_id}"
    fixed = table("replay", ref, "--set", "late=0", "--json").json
    assert (fixed["recorded"]["output"], fixed["replayed_output"]) == (0.75, 0.0)
    # It is marked as what it is: no prediction, and not the verdict about one.
    assert fixed["what_if"]["set"] == {"late": 0}
    assert len(table("predictions", "--json").json) == 1
    assert table("log", "--json", "type:review").json == []


SERVE = """
import audit, latelib
with audit.model_run("risk") as run:
    version = run.model({"late": 0.5}, version="1")
weights = version.object
@audit.predictor(model=version, key="id", source="scoring")
def score(features):
    return latelib.weigh(weights["late"], features["late"])
score({"id": "003", "late": 1})
"""


def machine(folder: Path, version: str, text: str) -> Path:
    """A Python with a library in some version besides the packages of this one; its program."""
    venv.create(folder, symlinks=True)
    place = next(folder.glob("lib/python*/site-packages"))
    others = [sysconfig.get_path("purelib"), str(Path(audit.__file__).parents[1])]
    (place / "others.pth").write_text("\n".join(others))
    about = place / f"latelib-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: latelib\nVersion: {version}\n")
    (place / "latelib.py").write_text(text)
    return folder / "bin" / "python"


def test_C8_libraries_are_recorded_and_another_machine_is_told_apart(
    cli: Cli, ledger_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cli("init", "--origin", "bank.example/credit")
    other = tmp_path_factory.mktemp("other")
    old = machine(other / "old", "1.0", "def weigh(a, b):\n    return a * b\n")
    new = machine(other / "new", "2.0", "def weigh(a, b):\n    return a * b + 1\n")
    script = ledger_dir / "serve.py"
    script.write_text(SERVE)
    subprocess.run([old, script], check=True, cwd=ledger_dir)
    script.unlink()
    (run,) = cli("runs", "--json").json
    assert run["environment"].keys() >= {"python", "platform", "cpu", "cpus"}
    lock = (ledger_dir / "audit-blobs/sha256" / run["lock_digest"][7:9]).glob("*")
    assert any("latelib==1.0" in path.read_text(errors="replace") for path in lock)
    (found,) = cli("predictions", "--json").json
    assert found["environment"]["latelib"] == "1.0"
    # "Another machine": the ledger and its blobs alone, elsewhere; no script, no process of ours.
    there = other / "machine"
    shutil.copytree(ledger_dir, there)

    def replayed(python: Path) -> dict[str, Any]:
        asked = ["replay", f"prediction/{found['prediction']}", "--json", "--no-record"]
        ran = subprocess.run([python, "-m", "audit", *asked], cwd=there, capture_output=True)
        answer: dict[str, Any] = json.loads(ran.stdout)
        return answer

    same = replayed(old)
    assert (same["integrity"], same["output"], same["environment"]) == (
        "VERIFIED", "IDENTICAL", "SAME",
    )  # fmt: skip
    differs = replayed(new)
    assert (differs["output"], differs["environment"]) == ("DIVERGED", "DIFFERENT")
    assert "latelib 1.0 -> 2.0" in differs["environment_differences"]


def test_C9_inputs_and_outputs_of_each_stage_and_their_versions(
    table: Cli, ledger_dir: Path
) -> None:
    raw = Path("raw.csv")

    @audit.component("prepare", owner="plumber", tags=["dvc"], keep=True)
    def prepare(source: Path, drop: str = "Closed") -> Path:
        target = Path("clean.csv")
        kept = [line for line in source.read_text().splitlines() if drop not in line]
        target.write_text("\n".join(kept))
        return target

    @audit.component("evaluate")
    def evaluate(source: Path) -> int:
        audit.current_run().metric("lines", len(source.read_text().splitlines()))
        return 0

    raw.write_text(INQUIRIES.read_text())
    evaluate(prepare(raw))
    raw.write_text(INQUIRIES.read_text().replace("Late (30 days)", "Current"))
    evaluate(prepare(raw))  # the same file names, another content
    second, first = table("runs", "prepare", "--json").json
    for run in (first, second):
        read = next(one for one in run["inputs"] if one["name"] == "source")
        made = next(one for one in run["outputs"] if one["name"] == "output")
        assert (read["path"], made["path"]) == ("raw.csv", "clean.csv")
        assert read["digest"].startswith("sha256:") and made["bytes"] > 0
        assert run["params"]["drop"] == "Closed" and run["owner"] == "plumber"
    assert first["inputs"][0]["digest"] != second["inputs"][0]["digest"]
    # Each evaluation is of the file's content at that time, whatever stands there now.
    later, earlier = table("runs", "evaluate", "--json").json
    for run, stage, other in ((earlier, first, second), (later, second, first)):
        found = refs(traced(table, f"run/{run['run']}"))
        assert f"run/{stage['run']}" in found and f"run/{other['run']}" not in found
        assert run["metrics"]["lines"] > 0


def openlineage(job: str, reads: list[str], makes: list[str]) -> dict[str, Any]:
    """A run of another system, as it logs it: table names with versions, and nothing declared."""

    def datasets(names: list[str]) -> list[dict[str, Any]]:
        version = {name: f"sha256:{name.encode().hex():0<64}" for name in names}
        return [
            {
                "namespace": "s3://lake",
                "name": name,
                "facets": {"version": {"datasetVersion": version[name]}},
            }
            for name in names
        ]

    return {
        "eventType": "COMPLETE",
        "eventTime": "2026-01-02T03:04:05Z",
        "producer": "https://example.com/spark",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": f"3b452093-782c-4ef2-9c0c-{job.encode().hex():0<12.12}"},
        "job": {"namespace": "spark", "name": job},
        "inputs": datasets(reads),
        "outputs": datasets(makes),
    }


def test_C11_dependencies_are_derived_from_logs_of_systems_that_declared_none(
    cli: Cli, ledger_dir: Path
) -> None:
    cli("init", "--origin", "bank.example/credit")
    jobs = [
        openlineage("ingest", ["raw"], ["bronze"]),
        openlineage("join", ["bronze", "codes"], ["silver"]),
        openlineage("report", ["silver"], ["gold"]),
        openlineage("elsewhere", ["other"], ["thing"]),
    ]
    Path("runs.jsonl").write_text("".join(json.dumps(job) + "\n" for job in jobs))
    cli("import", "runs.jsonl", "--openlineage", "--source", "spark")
    runs = {one["component"]: f"run/{one['run']}" for one in cli("runs", "--json").json}
    found = traced(cli, runs["spark/report"])
    assert {runs["spark/join"], runs["spark/ingest"]} <= refs(found)
    assert runs["spark/elsewhere"] not in refs(found)
    # What a run said of itself is declared; that two runs hang together was found by content.
    ids = {node["ref"]: node["id"] for node in found["nodes"]}
    assert {edge["how"] for edge in found["edges"]} <= {"declared", "digest"}
    assert [edge["how"] for edge in found["edges"] if edge["cause"] == ids[runs["spark/join"]]] == [
        "digest"
    ]
    down = traced(cli, runs["spark/ingest"], "--downstream")
    assert {runs["spark/join"], runs["spark/report"]} <= refs(down)


def test_L9_errors_of_a_model_reach_those_that_use_it(table: Cli) -> None:
    income = register("income", "1", {"w": 2.0})
    risk = register("risk", "1", {"w": 1.0})

    @audit.predictor(model=income, source="scoring")
    def estimate(features: dict[str, Any]) -> float:
        return float(features["salary"] * 2.0)

    @audit.predictor(model=risk, key="id", source="scoring")
    def score(features: dict[str, Any]) -> float:
        return estimate({"salary": features["salary"]}) / 100

    score({"id": "003", "salary": 10.0})
    estimate.flush()
    score.flush()
    touched = f"prediction/{score.last_id}"
    assert touched in refs(traced(table, "model/income@1", "--downstream"))
    assert {"model/income@1", "model/risk@1"} <= refs(traced(table, touched))
    assert touched in table("trace", "model/income@1", "--downstream").out


def test_L11_labels_say_who_gave_them_by_which_instructions(table: Cli) -> None:
    version = register("risk", "1", {"w": 1.0})

    @audit.predictor(model=version, key="id", source="scoring")
    def score(features: dict[str, Any]) -> float:
        return 0.5

    score({"id": "003", "late": 1})
    score.flush()
    asked = score.last_id

    def rated(value: bool, rater: str, **more: Any) -> str:
        with audit.context(actor=rater):
            return audit.ground_truth(asked, value, origin="rated", instructions="2", **more)

    first = rated(False, "ann")
    rated(True, "bob")
    resolved = rated(True, "carol", supersedes=first)  # the conflict, resolved by a third rater
    with audit.Ledger() as ledger:
        assert ledger.training_set("risk", f"id:{first}")["truth"].tolist() == [False]
        assert ledger.training_set("risk")["truth"].tolist() == [True]
    said = table("log", "type:ground_truth", "--json").json
    assert [(one["actor"], one["data"]["value"]) for one in reversed(said)] in (
        [("ann", False), ("bob", True), ("carol", True)],
        [("carol", True), ("bob", True), ("ann", False)],
    )
    assert {one["data"]["instructions"] for one in said} == {"2"}
    (last,) = [one for one in said if one["event_id"] == resolved]
    assert (last["supersedes"], last["data"]["origin"]) == (first, "rated")


def test_L13_runs_go_to_other_tools_and_come_from_them(table: Cli, ledger_dir: Path) -> None:
    frame = inquiries()

    @audit.component("cleaning", owner="plumber")
    def cleaning(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[rows["AccountStatus"] == "Open"]

    cleaning(frame)
    out = table("runs", "--format", "openlineage").out
    start, end = (json.loads(line) for line in out.splitlines())
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    (read,), (made,) = end["inputs"], end["outputs"]
    assert (read["namespace"], read["name"]) == ("bank.example/credit", "inquiry")
    assert made["facets"]["version"]["datasetVersion"].startswith("frame-v2:sha256:")
    assert end["job"]["facets"]["ownership"]["owners"][0]["name"] == "plumber"
    # Another ledger takes them as those of any other system.
    Path("runs.jsonl").write_text(out)
    table("init", "--store", "sqlite:///other.db", "--origin", "bank.example/other")
    table("import", "runs.jsonl", "--openlineage", "--store", "sqlite:///other.db")
    (run,) = table("runs", "--store", "sqlite:///other.db", "--json").json
    assert (run["component"], run["status"]) == ("bank.example/credit/cleaning", "COMPLETE")
    assert run["inputs"][0]["digest"] == read["facets"]["version"]["datasetVersion"]


def test_T3_a_benchmark_and_better_than_before_on_the_same_data(table: Cli) -> None:
    data = inquiries()

    def beats_the_benchmark(output: dict[str, float]) -> None:
        assert output["accuracy"] > 0.7, f"{output['accuracy']} is not above 0.7"

    @audit.component("evaluation", after=[beats_the_benchmark])
    def evaluation(rows: pd.DataFrame, limit: int) -> dict[str, float]:
        late = rows["PaymentStatus"].str.startswith("Late")
        score = float(((rows["LoanAmount"].astype(int) < limit) == late).mean())
        audit.current_run().metric("accuracy", score)
        return {"accuracy": score}

    evaluation(data, 15_000)
    evaluation(data, 10_001)
    with pytest.raises(audit.FailedTest, match="beats_the_benchmark FAILED"):
        evaluation(data, 1_000_000)
    worst, new, old = table("runs", "evaluation", "--json").json
    assert [one["status"] for one in (worst, new, old)] == ["FAIL", "COMPLETE", "COMPLETE"]
    with audit.Ledger() as ledger:
        found = ledger.compare_evaluations(old["run"], new["run"])
    assert found.comparable
    before, after = found.metrics["accuracy"]
    assert after >= before > worst["metrics"]["accuracy"]


def test_T8_a_word_changes_its_meaning(table: Cli) -> None:
    """Underage was 16, now it is 18."""

    def underage(limit: int, version: str, replaces: str | None = None) -> Any:
        @audit.features("underage", version=version, reads=["person"], replaces=replaces)
        def definition(data: Any, request: Any) -> dict[str, Any]:
            people = data["person"]
            age = int(people[people["name"] == request["name"]]["age"].iloc[0])
            return {"underage": age < limit}

        return definition

    table("emit", "create", "person", "1", '{"name": "Ann", "age": 17}')
    version = register("risk", "1", {"w": 1.0})
    weights = version.object

    @audit.predictor(model=version, key=lambda features: "1", source="scoring")
    def score(features: dict[str, Any]) -> float:
        return float(weights["w"] * features["underage"])

    def asked(definition: Any) -> str:
        with audit.Ledger() as ledger:
            score(definition(ledger.at("HEAD"), {"name": "Ann"}))
        score.flush()
        return f"prediction/{score.last_id}"

    before = asked(underage(16, "1"))
    after = asked(underage(18, "2", replaces="1"))
    answers = [table("replay", ref, "--json").json for ref in (before, after)]
    # Each is made again by the definition that was valid when it was served.
    assert [one["recorded"]["features"] for one in answers] == [
        {"underage": False}, {"underage": True},
    ]  # fmt: skip
    assert {one["features"] for one in answers} == {"RECOMPUTED_IDENTICAL"}
    assert [one["recorded"]["feature_sets"][0]["version"] for one in answers] == ["1", "2"]
    assert "underage@1" in table("trace", before).out
    assert "underage@2" in table("trace", after).out
    (first, second) = table("log", "type:feature.definition", "--json").json
    replaced = {one["data"]["version"]: one["data"]["replaces"] for one in (first, second)}
    assert replaced == {"1": None, "2": "1"}


def test_T10_predictions_become_training_data_of_the_same_model(table: Cli) -> None:
    """Through the public names alone: served, joined with what was true, and trained on."""
    first = register("risk", "1", {"w": 0.5})

    @audit.predictor(model=first, key="id", source="scoring")
    def score(features: dict[str, Any]) -> float:
        return float(features["late"] * 0.5)

    for late in (0, 1):
        score({"id": f"00{late}", "late": late})
        score.flush()
        audit.ground_truth(score.last_id, value=bool(late))
    with audit.Ledger() as ledger:
        frame = ledger.training_set("risk")
    audit.dataset_version("feedback", frame, "1", purpose="training")

    @audit.component("balance")
    def balance(rows: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([rows, rows])

    with audit.model_run("risk") as run:
        run.input(balance(frame), name="train")
        run.model({"w": 0.7}, version="2")
    (loop,) = traced(table, "model/risk@2")["feedback_loops"]
    assert loop["data"] == "dataset/feedback@1"
    assert "FEEDBACK LOOP" in table("trace", "model/risk@2").out
    assert traced(table, "model/risk@1")["feedback_loops"] == []


def test_T12_events_are_immutable_and_metrics_are_made_from_them(
    table: Cli, ledger_dir: Path
) -> None:
    version = register("risk", "1", {"w": 0.5})

    @audit.predictor(model=version, key="id", source="scoring")
    def score(features: dict[str, Any]) -> float:
        return float(features["late"] * 0.5)

    for late in range(4):
        score({"id": f"00{late}", "late": late})
    score.flush()
    command = ("drift", "risk", "--by", "late", "--side", "outputs", "--json")
    point = table("log", "-n", "1", "--format", "jsonl").json["index"]
    measured = table(*command, "--as-of", str(point), code=1).json
    score({"id": "004", "late": 9})
    score.flush()
    again = table(*command, "--as-of", str(point), code=1).json  # a metric is of a point of the log
    assert (again["groups"], again["citation"]["logs"]) == (
        measured["groups"], measured["citation"]["logs"],
    )  # fmt: skip
    assert again["groups"][0]["now"]["size"] == 4
    (found,) = table("predictions", "key:003", "--json").json
    assert found["recorded_time"].endswith("Z") and table("verify").code == 0
    with closing(sqlite3.connect(ledger_dir / "audit.db")) as store:
        change = 'UPDATE entries SET leaf = leaf WHERE "index" = ?'
        with pytest.raises(sqlite3.Error, match=r"(?i)append|immutable|not"):
            store.execute(change, (found["index"],))
        for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type='trigger'"):
            store.execute(f'DROP TRIGGER "{name}"')
        asked = 'SELECT leaf FROM entries WHERE "index" = ?'
        ((leaf,),) = store.execute(asked, (found["index"],)).fetchall()
        change = 'UPDATE entries SET leaf = ? WHERE "index" = ?'
        store.execute(change, (leaf.replace(b"003", b"004"), found["index"]))
        store.commit()
    assert "TAMPERED" in table("verify", code=1).out


def test_T13_the_version_comes_from_the_artifact_that_was_loaded(table: Cli) -> None:
    version = register("risk", "1", {"w": 0.5})
    integrity = audit.quality.model_integrity()

    @audit.component("load", before=[integrity])
    def load(model: Any) -> Any:
        return model

    load(version.object)
    with pytest.raises(audit.FailedTest, match="no model is registered with the digest sha256:"):
        load({"w": 0.51})  # whatever a configuration says that this is

    @audit.predictor(model=version, key="id", source="scoring")
    def score(features: dict[str, Any]) -> float:
        return 0.5

    score({"id": "003"})
    score.flush()
    (found,) = table("predictions", "--json").json
    blob = Path("audit-blobs/sha256") / version.digest[7:9] / version.digest[9:]
    assert found["model_digest"] == version.digest and blob.is_file()
    refused, passed = table("runs", "load", "--json").json
    assert passed["tests"][0]["measured"]["registered"] == "risk@1"
    assert refused["tests"][0]["measured"]["digest"] != version.digest


def test_T17_executions_of_tests_are_kept_with_what_they_measured(table: Cli) -> None:
    frame = inquiries().assign(LoanAmount=lambda rows: rows["LoanAmount"].astype(float))
    outliers = audit.quality.outliers(["LoanAmount"], z=1000.0)

    def has_rows(rows: pd.DataFrame) -> None:
        if not len(rows):
            raise AssertionError("no rows")

    def is_shorter(rows: pd.DataFrame, output: pd.DataFrame) -> None:
        if len(output) == len(rows):
            raise AssertionError("nothing was dropped")

    @audit.component("cleaning", before=[outliers, has_rows], after=[is_shorter])
    def cleaning(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[rows["LoanAmount"] < 100_000]

    cleaning(frame)
    for broken, name in ((frame.iloc[:0], "has_rows"), (frame.iloc[4:5], "is_shorter")):
        with pytest.raises(audit.FailedTest, match=f"{name} FAILED"):
            cleaning(broken)
    *failed, passed = table("runs", "cleaning", "--json").json
    assert [(one["phase"], one["name"], one["status"]) for one in passed["tests"]] == [
        ("BEFORE", "outliers", "PASSED"),
        ("BEFORE", "has_rows", "PASSED"),
        ("AFTER", "is_shorter", "PASSED"),
    ]
    assert passed["tests"][0]["measured"]["values"] == 10
    assert all(one["digest"].startswith("sha256:") for one in passed["tests"])
    assert [[one["name"] for one in run["tests"] if one["status"] == "FAILED"] for run in failed]
    messages = [one["message"] for run in failed for one in run["tests"] if one["message"]]
    assert sorted(messages) == ["no rows", "nothing was dropped"]


def test_V4_a_sensitive_column_that_reaches_a_model_under_another_name(table: Cli) -> None:
    @audit.component("grouping")
    def grouping(rows: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"group": rows["CustomerID"].astype(int) % 2, "late": 1})

    @audit.component("plain")
    def plain(rows: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"amount": rows["LoanAmount"].astype(int), "late": 1})

    frame = inquiries()
    for name, made in (
        ("by-group", grouping(frame)),
        ("by-amount", plain(frame.drop(columns=["CustomerID"]))),
    ):
        with audit.model_run(name) as run:
            run.input(made, name="train")
            version = run.model({"for": name}, version="1")
    score = audit.predictor(model=version, key="id", source="scoring")(lambda features: 0.5)
    score({"id": "003"})
    score.flush()
    (reader,) = table("runs", "--column", "CustomerID", "--json").json
    assert reader["component"] == "grouping"
    down = traced(table, f"run/{reader['run']}", "--downstream")
    assert "model/by-group@1" in refs(down) and "model/by-amount@1" not in refs(down)
    # And from a decision back: what the model's data was made of, column by column.
    up = traced(table, f"prediction/{score.last_id}")
    columns = {name for node in up["nodes"] for name in node["facts"].get("columns", ())}
    assert {"LoanAmount", "amount"} <= columns and "CustomerID" not in columns


def test_V10_runs_are_logged_compared_and_downloaded(table: Cli) -> None:
    runs = []
    for c in (0.5, 0.25):
        with audit.model_run("credit-risk", params={"C": c, "model": "tree"}, seed=7) as run:
            run.metric("rmse", c * 2)
            run.model({"C": c}, version=str(c))
        runs.append(run.run_id)
    with audit.Ledger() as ledger:  # metrics.rmse < 1 and params.model = "tree"
        fits = [
            one.run_id
            for one in ledger.runs("credit-risk")
            if one.metrics["rmse"] < 1 and one.params["model"] == "tree"
        ]
    assert fits == runs[1:]
    lines = list(csv.DictReader(io.StringIO(table("runs", "--format", "csv").out)))
    assert [(one["run"], one["params.C"], one["metrics.rmse"]) for one in lines] == [
        (runs[1], "0.25", "0.5"), (runs[0], "0.5", "1.0"),
    ]  # fmt: skip
    both = [f"run/{run_id}" for run_id in runs]
    compared = table("runs", both[0], "--compare", both[1], "--json", code=1).json
    assert compared["differences"] == ["params"]


def test_V11_a_run_names_its_commit_and_its_twin_in_mlflow(
    table: Cli, ledger_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    mlflow.set_tracking_uri((ledger_dir / "mlruns").as_uri())
    with audit.mlflow_run("credit-risk", {"C": 0.5}, experiment="credit") as run:
        run.metric("auc", 0.81)
        version = run.model({"w": 1.0}, version="1")
    (ours,) = table("runs", "credit-risk", "--json").json
    theirs: Any = mlflow.get_run(run.mlflow_run_id)
    assert ours["tags"] == [f"mlflow:{run.mlflow_run_id}"]
    assert theirs.data.tags["attestory.run"] == ours["run"]
    assert theirs.data.tags["attestory.model_digest"] == version.digest
    assert (theirs.data.params["C"], theirs.data.metrics["auc"]) == ("0.5", 0.81)
    assert {"code_commit", "code_dirty"} <= ours.keys()

"""Training runs in a real ledger: what they say, the artifact they keep, and runs that fail."""

import hashlib
import pickle
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import audit
from audit.capture.pipeline.runs import model_run
from audit.errors import Ambiguous, InvalidInput, NotFound, StoreCorrupt
from audit.lineage.content.frame_v2 import frame_v2
from audit.lineage.recorded.models import find_model_version, find_models, model_key
from audit.log.record import Record, read_record
from audit.replay.books import Books
from audit.replay.points import resolve
from audit.store import open_reader
from audit.store.blobs import digest_of
from tests.lineage.common import Case, example, trained


def records(case: Case, event_type: str) -> list[tuple[Record, dict[str, Any]]]:
    """The events of a type with their decoded payloads, oldest first."""
    case.emit.flush()
    with open_reader(case.url) as reader:
        books = Books(reader, resolve(reader, None, 0))
        found = [read_record(0, leaf) for _, leaf in reader.leaves(0)]
        wanted = [r for r in found if r.event is not None and r.event.type == event_type]
        return [(record, books.decode(record)) for record in wanted]  # type: ignore[misc]


def one(case: Case, event_type: str) -> tuple[Record, dict[str, Any]]:
    """The only event of a type; of runs, the only end."""
    found = [said for said in records(case, event_type) if said[1].get("status") != "START"]
    assert len(found) == 1
    return found[0]


@contextmanager
def reading(case: Case) -> Iterator[Any]:
    case.emit.flush()
    with open_reader(case.url) as reader:
        yield reader


def test_a_run_says_all_of_it(case: Case) -> None:
    frame = example()
    root = "ab" * 32
    frame.attrs["audit"] = {
        "as_of": "2026-01-05T00:00:00.000000Z",
        "valid_at": None,
        "logs": [{"log": 0, "origin": "example.com/a", "size": 42, "root_hash": root}],
    }
    with model_run("credit-risk", params={"C": 0.5}, seed=7, emitter=case.emit) as run:
        run.param("solver", "lbfgs")
        run.param("layers", [1, 2])
        digest = run.input(frame, name="inquiries")
        run.metric("auc", np.float64(0.81))
        run.metric("rows", 3)
        version = run.model(trained())
    record, said = one(case, "model.run")
    assert record.event is not None
    assert (record.event.entity_type, record.event.entity_key) == ("run", run.run_id)
    assert record.event.event_id == said["run_id"] == run.run_id
    assert (said["name"], said["status"], said["error"]) == ("credit-risk", "COMPLETE", None)
    assert said["params"] == {"C": 0.5, "solver": "lbfgs", "layers": [1, 2]}
    assert said["metrics"] == {"auc": 0.81, "rows": 3.0}
    assert type(said["metrics"]["rows"]) is float
    assert said["seed"] == 7
    assert said["started_us"] <= said["ended_us"]
    assert digest == frame_v2(frame).digest
    (cited,) = said["inputs"]
    assert (cited["name"], cited["digest"], cited["rows"]) == ("inquiries", digest, 3)
    assert cited["columns"] == frame_v2(frame).columns
    assert cited["logs"] == [
        {"origin": "example.com/a", "size": 42, "root_hash": bytes.fromhex(root)}
    ]
    assert (cited["as_of_us"], cited["valid_at_us"]) == (1_767_571_200_000_000, None)
    model = {"name": "credit-risk", "version": version.version, "digest": version.digest}
    assert (said["model"], said["models"]) == (model, [])
    assert case.blobs.get(said["code_digest"]) == Path(__file__).read_bytes()
    assert said["environment"]["python"] == platform.python_version()
    assert {"numpy", "pandas", "sklearn", "blas", "cpus"} <= said["environment"].keys()
    lock = case.blobs.get(said["lock_digest"]).decode().splitlines()
    assert f"numpy=={np.__version__}" in lock
    assert lock == sorted(lock)
    start = records(case, "model.run")[0]
    assert start[0].event is not None
    assert start[0].event.event_id == f"{run.run_id}:START"
    assert (start[1]["status"], start[1]["ended_us"], start[1]["seed"]) == ("START", None, 7)


def test_the_model_version_of_a_run(case: Case) -> None:
    model = trained()
    with model_run("credit-risk", emitter=case.emit) as run:
        version = run.model(model)
    record, said = one(case, "model.version")
    assert record.event is not None
    key = f"credit-risk@{version.version}"
    assert (record.event.entity_type, record.event.entity_key) == ("model", key)
    assert record.event.event_id == version.event_id
    assert str(version) == version.ref == f"model/{key}"
    artifact = case.blobs.get(version.digest)
    assert version.digest == "sha256:" + hashlib.sha256(artifact).hexdigest()
    assert artifact == pickle.dumps(model, protocol=5)
    assert said["digest"] == version.digest
    assert said["artifact_bytes"] == version.artifact_bytes == len(artifact)
    assert (said["format"], said["run_id"]) == ("pickle", run.run_id)
    assert {"python", "numpy", "sklearn"} <= said["packages"].keys()
    assert version.version == version.digest.removeprefix("sha256:")[:12]


def test_what_a_model_is_registered_with(case: Case) -> None:
    expects = {"amount": {"type": "number", "min": 0}}
    with model_run("credit-risk", emitter=case.emit) as run:
        run.metric("auc", 0.5)
        small = run.model({"w": 1}, "small")
        version = run.model(
            {"w": 2}, "both", tolerance=1e-9, threshold=0.5, expects=expects, members=[small],
            package="credit==1.2", description="the one", tags=["live"],
        )  # fmt: skip
    said = records(case, "model.version")[-1][1]
    assert (said["tolerance"], said["threshold"], said["package"]) == (1e-9, 0.5, "credit==1.2")
    assert (said["description"], said["tags"], said["metrics"]) == (
        "the one",
        ["live"],
        {"auc": 0.5},
    )
    ends = one(case, "model.run")[1]
    assert [model["version"] for model in ends["models"]] == ["small", "both"]
    assert ends["model"]["version"] == "both"
    with reading(case) as reader:
        found = find_model_version(reader, str(version), resolve(reader, None, 0), case.blobs)
    for model in (version, found):
        assert (model.tolerance, model.threshold, model.expects) == (1e-9, 0.5, expects)
        assert [str(member) for member in model.members] == ["credit-risk@small"]
        assert model.members[0].digest == small.digest


def test_the_same_bytes_are_the_same_version(case: Case) -> None:
    first, second = case.register(trained()), case.register(trained())
    other = case.register(trained(c=0.1))
    assert first.version == second.version != other.version
    assert first.event_id != second.event_id
    with reading(case) as reader:
        cut = resolve(reader, None, 0)
        assert len(find_models(reader, "credit-risk", first.version, cut)) == 2
        found = find_model_version(reader, str(first), cut, case.blobs)
        assert found.digest == first.digest
        assert found.event_id == second.event_id
        assert found.object is None
        row = [[5.0, 1.0]]
        assert (found.load().predict_proba(row) == trained().predict_proba(row)).all()
        assert found.load() is found.object
        with pytest.raises(NotFound):
            find_model_version(reader, "credit-risk@none", cut, case.blobs)
        with pytest.raises(InvalidInput):
            find_model_version(reader, "credit-risk", cut, case.blobs)


def test_one_version_for_two_artifacts_is_said(case: Case) -> None:
    case.register({"w": 1}, "1.0")
    case.register({"w": 2}, "1.0")
    with reading(case) as reader, pytest.raises(Ambiguous, match="several artifacts"):
        find_model_version(reader, "credit-risk@1.0", resolve(reader, None, 0), case.blobs)


def test_a_damaged_artifact_does_not_load(case: Case) -> None:
    version = case.register({"w": 1})
    version.object = None
    case.blob_file(version.digest).write_bytes(pickle.dumps({"w": 2}))
    with pytest.raises(StoreCorrupt, match=version.digest):
        version.load()


@pytest.mark.parametrize("as_path", [True, False])
def test_bytes_and_files_are_taken_as_they_are(case: Case, tmp_path: Path, as_path: bool) -> None:
    (tmp_path / "model.onnx").write_bytes(b"onnx bytes")
    version = case.register(tmp_path / "model.onnx" if as_path else b"onnx bytes")
    assert version.digest == digest_of(b"onnx bytes")
    assert one(case, "model.version")[1]["format"] == "bytes"
    assert version.load() == b"onnx bytes"
    with pytest.raises(NotFound):
        case.register(tmp_path / "nothing")


def test_a_failed_run_is_recorded_and_its_exception_unchanged(case: Case) -> None:
    error = ValueError("no data")
    with (
        pytest.raises(ValueError, match="no data") as caught,
        model_run("credit-risk", params={"C": 1}, emitter=case.emit) as run,
    ):
        run.metric("rows", 0)
        raise error
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    _, said = one(case, "model.run")
    assert said["status"] == "FAIL"
    assert said["error"] == "ValueError: no data"
    traceback = case.blobs.get(said["traceback_digest"]).decode()
    assert "raise error" in traceback
    assert (said["params"], said["metrics"], said["model"]) == ({"C": 1}, {"rows": 0.0}, None)


def test_a_failure_after_the_emitter_was_closed_is_recorded_by_the_next_run(case: Case) -> None:
    error = ZeroDivisionError("on purpose")
    with (
        pytest.raises(ZeroDivisionError) as caught,
        model_run("credit-risk", emitter=case.emit) as run,
    ):
        case.emit.close()
        raise error
    assert caught.value is error
    with audit.Emitter(case.url, "later") as emit, model_run("next", emitter=emit):
        pass
    case.emit = audit.Emitter(case.url, "again")
    said = [said for _, said in records(case, "model.run") if said["run_id"] == run.run_id]
    assert [one["status"] for one in said] == ["START", "ABORT"]
    assert "closed" in said[1]["error"] and "FAIL" in said[1]["error"]


def test_a_run_that_must_be_recorded_and_cannot_says_so(case: Case) -> None:
    with (
        pytest.raises(InvalidInput, match="closed"),
        model_run("x", emitter=case.emit, on_unavailable="raise"),
    ):
        case.emit.close()


def test_inputs_of_every_kind(case: Case, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(b"a,b\n")
    with model_run("x", emitter=case.emit) as run:
        assert run.input(example()).startswith("frame-v2:sha256:")
        assert run.input(np.zeros((3, 2))).startswith("array-v2:sha256:")
        assert run.input(tmp_path / "data.csv", name="file") == digest_of(b"a,b\n")
        assert run.input(b"a,b\n") == digest_of(b"a,b\n")
        assert run.input([1, 2]) == digest_of(b"[1,2]")
        assert run.input(str(tmp_path / "data.csv"), name="again") == digest_of(b"a,b\n")
        with pytest.raises(InvalidInput, match="code, not data"):
            run.input(print)
        with pytest.raises(NotFound):
            run.input(tmp_path / "nothing")
        broken = example()
        broken.attrs["audit"] = {"logs": [{"origin": 1}]}
        with pytest.raises(InvalidInput, match="not a citation"):
            run.input(broken)
    inputs = one(case, "model.run")[1]["inputs"]
    assert [(i["name"], i["kind"], i["rows"], i["bytes"]) for i in inputs[1:]] == [
        (None, "array", 3, 48), ("file", "file", None, 4), (None, "bytes", None, 4),
        (None, "value", None, 5), ("again", "file", None, 4),
    ]  # fmt: skip


def test_a_replayed_dataset_is_cited(case: Case) -> None:
    for row in ({"LoanAmount": 5000}, {"LoanAmount": 15000}):
        case.emit.create("inquiry", row["LoanAmount"], row)
    case.emit.flush()
    with audit.Ledger(case.url) as ledger:
        frame = ledger.replay("inquiry")
    with model_run("credit-risk", emitter=case.emit) as run:
        run.input(frame, name="inquiries")
    (cited,) = one(case, "model.run")[1]["inputs"]
    (log,) = frame.attrs["audit"]["logs"]
    (point,) = cited["logs"]
    assert (point["origin"], point["size"]) == (log["origin"], log["size"])
    assert point["root_hash"].hex() == log["root_hash"]
    assert cited["rows"] == 2


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"name": "a@b"},
        {"name": "a\nb"},
        {"name": "x" * 1100},
        {"name": "x", "params": {"C": object()}},
        {"name": "x", "seed": 1.5},
        {"name": "x", "seed": 2**64},
        {"name": "x", "bus": "sqlite:///other.db"},
        {"name": "x", "on_unavailable": "retry"},
        {"name": "x", "tags": "word"},
        {"name": "x", "features": ["late"]},
    ],
    ids=lambda o: str(o)[:40],
)
def test_what_a_run_refuses_at_once(case: Case, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        model_run(emitter=case.emit, **options)


def test_what_a_run_refuses_inside(case: Case) -> None:
    run = model_run("x", emitter=case.emit)
    with pytest.raises(InvalidInput, match="inside its with block"):
        run.metric("early", 1)
    with run:
        with pytest.raises(InvalidInput, match="is a number"):
            run.metric("auc", "high")  # type: ignore[arg-type]
        with pytest.raises(InvalidInput):
            run.param("model", object())
        with pytest.raises(InvalidInput, match="cannot be pickled"):
            run.model(lambda row: row)
        for options in (
            {"version": "1 0"}, {"tolerance": -1.0}, {"tolerance": float("nan")},
            {"threshold": "half"}, {"expects": {"a": {"type": "thing"}}}, {"members": ["m@1"]},
            {"expects": ["a"]}, {"features": ["late"]},
        ):  # fmt: skip
            with pytest.raises(InvalidInput):
                run.model({}, **options)
    with pytest.raises(InvalidInput, match="inside its with block"):
        run.model({})
    with pytest.raises(InvalidInput, match="used once"), run:
        pass
    assert model_key("a b", "1") == "a b@1"


@pytest.mark.needs("git")
def test_the_commit_and_whether_it_is_dirty(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import audit\n"
        "with audit.model_run('credit-risk') as run:\n"
        "    run.model({'w': 1})\n"
    )  # fmt: skip
    git = shutil.which("git")
    assert git is not None
    name = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for command in (["init", "-q"], ["add", "train.py"], [*name, "commit", "-qm", "x"]):
        subprocess.run([git, *command], cwd=tmp_path, check=True)
    head = subprocess.run(
        [git, "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout.strip()

    def run_it() -> dict[str, Any]:
        subprocess.run([sys.executable, script], cwd=tmp_path, check=True)
        found: dict[str, Any] = {}
        with open_reader(f"sqlite:///{tmp_path}/audit.db") as reader:
            books = Books(reader, resolve(reader, None, 0))
            for _, leaf in reader.leaves(0):
                record = read_record(0, leaf)
                if record.event is not None and record.event.type == "model.run":
                    found = books.decode(record)  # type: ignore[assignment]
        return found

    said = run_it()
    assert (said["code_commit"], said["code_dirty"]) == (head, False)
    assert said["code_digest"] == digest_of(script.read_bytes())
    assert (tmp_path / "audit-blobs").is_dir()
    script.write_text(script.read_text() + "# changed\n")
    said = run_it()
    assert (said["code_commit"], said["code_dirty"]) == (head, True)

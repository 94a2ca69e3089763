"""A user's script with default settings, in a process of its own; then its prediction replayed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import audit
from audit.lineage.recorded.models import find_model_version
from audit.replay.points import resolve
from audit.store import open_reader
from audit.store.blobs import BlobStore

TRAIN = """\
import numpy as np

import audit

LIMIT = 0.5
COLUMNS = ["amount", "late"]
rows = np.array([[5.0, 1.0], [15.0, 0.0], [8.0, 1.0]])
model = np.linalg.lstsq(rows, np.array([0.9, 0.1, 0.8]), rcond=None)[0]

with audit.model_run("credit-risk", params={"C": 0.5}, seed=7) as run:
    run.metric("auc", 0.81)
    version = run.model(model)


def row_of(features):
    return np.array([[features[name] for name in COLUMNS]])


@audit.predictor(model=version, key="customer")
def score(features):
    probability = (row_of(features) @ model)[0]
    return {"score": float(probability), "late": bool(probability >= LIMIT)}


if __name__ == "__main__":
    score({"customer": "003", "amount": 5.0, "late": 1.0})
    print(version.ref, score.last_id)
"""

SERVE = """\
import sys

import audit
from audit.lineage.recorded.models import find_model_version
from audit.replay.points import resolve
from audit.store.blobs import BlobStore

with audit.Ledger() as ledger:
    version = find_model_version(ledger.reader, sys.argv[1], ledger.cut(), BlobStore("audit-blobs"))
model = version.load()


@audit.predictor(model=version)
def score(features):
    return float(model @ features)


score([5.0, 1.0])
print(score.last_id)
"""


def run(folder: Path, program: str, *arguments: str) -> list[str]:
    script = folder / "script.py"
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, script, *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.split()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    folder = tmp_path_factory.mktemp("script")
    reference, prediction_id = run(folder, TRAIN)
    return folder, reference, prediction_id


def replayed(folder: Path, prediction_id: str) -> dict[str, Any]:
    with audit.Ledger(f"sqlite:///{folder}/audit.db") as ledger:
        return json.loads(json.dumps(ledger.replay_prediction(prediction_id).to_json()))  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_script_with_default_settings(served: tuple[Path, str, str]) -> None:
    folder, _, prediction_id = served
    # Neither the script nor its folder is needed any more.
    (folder / "script.py").write_text("raise SystemExit(1)")
    found = replayed(folder, prediction_id)
    assert (found["output"], found["messages"]) == ("IDENTICAL", [])
    assert (found["integrity"], found["model"], found["environment"]) == (
        "VERIFIED", "MATCHES", "SAME"
    )  # fmt: skip
    assert found["recorded"]["key"] == "003"


@pytest.mark.slow
def test_serving_in_another_process(served: tuple[Path, str, str]) -> None:
    folder, reference, _ = served
    (prediction_id,) = run(folder, SERVE, reference)
    found = replayed(folder, prediction_id)
    assert (found["output"], found["model"], found["messages"]) == ("IDENTICAL", "MATCHES", [])


def test_the_ledger_verifies(served: tuple[Path, str, str]) -> None:
    folder, reference, _ = served
    with open_reader(f"sqlite:///{folder}/audit.db") as reader:
        cut = resolve(reader, None, 0)
        found = find_model_version(reader, reference, cut, BlobStore(folder / "audit-blobs"))
        assert found.ref == reference
    with audit.Ledger(f"sqlite:///{folder}/audit.db") as ledger:
        report = ledger.verify()
    assert report.ok, report.findings

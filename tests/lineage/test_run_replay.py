"""Runs that are run again: functions and scripts, with the data as it was, compared by digest."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.capture.pipeline.component import component
from audit.capture.pipeline.run_record import current_run
from audit.ledger import Ledger
from audit.lineage.again.run_replay import RunReplay, replay_run
from audit.replay.points import resolve
from audit.store import open_reader
from tests.lineage.common import Case
from tests.lineage.small_model import Linear

SCRIPT = """
import sys
import audit
from tests.lineage.small_model import Linear

with audit.Ledger() as ledger:
    known = ledger.replay("inquiry", as_of=sys.argv[1])
rows = known[["LoanAmount"]].astype(float).to_numpy() / 1000
answers = known["PaymentStatus"].str.startswith("Late").tolist()
with audit.model_run("late-payment", params={"C": 1.0}, seed=7) as run:
    run.input(known, name="inquiry")
    classifier = Linear(C=1.0).fit(rows, answers)
    run.metric("accuracy", float(classifier.score(rows, answers)))
    run.model(classifier, version="1")
print(run.run_id)
"""


def again(case: Case, run_id: str, **options: Any) -> RunReplay:
    case.emit.flush()
    options.setdefault("policy", case.policy())
    policy = options.pop("policy")
    with open_reader(case.url) as reader:
        cut = resolve(reader, None, 0)
        return replay_run(
            reader, case.blobs, run_id, policy, cut=cut, opener=open_reader, **options
        )


def last_run(case: Case) -> str:
    case.emit.flush()
    with Ledger(case.url) as ledger:
        return ledger.runs()[0].run_id


def inquiries(case: Case) -> None:
    for index in range(20):
        status = "Late (30 days)" if index % 3 == 0 else "Current"
        case.emit.create(
            "inquiry", f"{index}", {"LoanAmount": 1000 * index, "PaymentStatus": status}
        )
    case.emit.flush()


def frame() -> pd.DataFrame:
    return pd.DataFrame({"amount": [1.0, 2.0, 3.0, 4.0], "late": [0, 0, 1, 1]})


def test_a_function_on_data_that_was_kept(case: Case) -> None:
    @component("training", keep=True, emitter=case.emit)
    def train(rows: pd.DataFrame, c: float = 1.0) -> Any:
        found = Linear(C=c).fit(rows[["amount"]].to_numpy(), rows["late"])
        current_run().metric("score", float(found.weights[1]))
        current_run().model(found, version="1", name="late")
        return rows * 2

    train(frame(), c=0.5)
    found = again(case, last_run(case))
    assert (found.output, found.reasons, found.messages) == ("IDENTICAL", (), ())
    assert (found.integrity, found.code, found.inputs) == ("VERIFIED", "MATCHES", "MATCHES")
    assert (found.environment, found.ok, found.exit_code) == ("SAME", True, 0)
    assert [one.recorded for one in found.models] == [one.replayed for one in found.models]
    assert found.to_json()["metrics"][0]["name"] == "score"


def test_a_function_on_data_of_the_ledger(case: Case) -> None:
    inquiries(case)

    @component("counting", emitter=case.emit)
    def count(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.groupby("PaymentStatus").count()

    with Ledger(case.url) as ledger:
        count(ledger.replay("inquiry"))
        run_id = last_run(case)
        case.emit.delete("inquiry", "3")
        assert again(case, run_id).output == "IDENTICAL"
        changed = ledger.replay("inquiry")
        changed["LoanAmount"] = 1
        count(changed)
    found = again(case, last_run(case))
    assert (found.output, found.inputs) == ("NOT_REPRODUCIBLE", "DIFFERENT")
    assert found.reasons == ("DATA_DIFFERENT",)


def test_data_that_nobody_kept(case: Case) -> None:
    @component("cleaning", emitter=case.emit)
    def clean(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.dropna()

    clean(frame())
    found = again(case, last_run(case))
    assert (found.output, found.reasons) == ("NOT_REPRODUCIBLE", ("INPUT_MISSING",))


def test_chance_and_failure(case: Case) -> None:
    @component("drawing", emitter=case.emit)
    def draw(count: int) -> np.ndarray:
        return np.random.random(count)

    @component("failing", emitter=case.emit)
    def fail(count: int) -> None:
        raise KeyError(count)

    draw(3)
    found = again(case, last_run(case))
    assert (found.output, found.reasons) == ("NOT_REPRODUCIBLE", ("SEED_MISSING",))
    with pytest.raises(KeyError):
        fail(3)
    found = again(case, last_run(case))
    assert (found.output, found.raised) == ("IDENTICAL", "KeyError")


def test_metrics_that_are_close(case: Case, tmp_path: Path) -> None:
    @component("measuring", emitter=case.emit)
    def measure(count: int) -> bytes:
        import os

        current_run().metric("score", 0.5 + (1e-9 if os.getcwd().endswith("work") else 0.0))
        return os.getcwd().encode()[-4:]

    measure(3)
    found = again(case, last_run(case))
    assert (found.output, found.ok) == ("WITHIN_TOLERANCE", True)
    assert again(case, last_run(case), tolerance=1e-12).output == "DIVERGED"


def test_nothing_runs_unless_it_is_verified(case: Case) -> None:
    @component("cleaning", emitter=case.emit)
    def clean(count: int) -> int:
        return count

    clean(3)
    run_id = last_run(case)
    found = again(case, run_id, policy=None)
    assert (found.integrity, found.reasons) == ("UNVERIFIED", ("RECORD_UNVERIFIED",))
    assert again(case, run_id, policy=None, run_unverified=True).output == "IDENTICAL"
    case.tamper("component.run", lambda data: data.update(name="other"))
    found = again(case, run_id, run_unverified=True)
    assert (found.integrity, found.reasons) == ("TAMPERED", ("RECORD_TAMPERED",))


@pytest.mark.slow
def test_a_script(case: Case, tmp_path: Path) -> None:
    inquiries(case)
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    root = str(Path(__file__).parents[2])
    variables = {**os.environ, "AUDIT_STORE": case.url, "PYTHONPATH": root}
    ran = subprocess.run(
        [sys.executable, str(script), "HEAD"],
        env=variables, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    run_id = ran.stdout.split()[-1]
    script.write_text("raise SystemExit('this is not what ran')")
    with open_reader(case.url) as reader:
        before = reader.size(0)
    found = again(case, run_id)
    assert (found.output, found.environment) == ("IDENTICAL", "SAME")
    assert (found.code, found.inputs) == ("MATCHES", "MATCHES")
    with open_reader(case.url) as reader:
        assert reader.size(0) == before  # it recorded into a ledger of its own

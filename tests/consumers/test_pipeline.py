"""A machine-learning pipeline over a topic of several partitions: its records meet across logs."""

import subprocess
import sys
from pathlib import Path

import pytest

from audit.ledger import Ledger
from audit.store import open_reader
from tests.cli.conftest import run
from tests.consumers.support import consume
from tests.services.kafka import KafkaServer

PARTITIONS = 4
CUSTOMERS = 12

PIPELINE = """
import asyncio, sys
import numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression
import audit

with audit.Emitter(sys.argv[1], "crm") as emit:
    for n in range(int(sys.argv[2])):
        emit.create("inquiry", n, {"amount": float(n), "late": n % 2})

@audit.component("collect", owner="plumber")
def collect(count):
    return pd.DataFrame({"amount": [float(n) for n in range(count)],
                         "late": [n % 2 for n in range(count)]})

@audit.component("clean", after=lambda output: len(output) > 0)
def clean(frame):
    return frame.dropna()

@audit.component("pipeline")
def pipeline(count):
    frame = clean(collect(count))
    audit.dataset_version("inquiries", frame, "1", purpose="training")
    with audit.model_run("late", seed=0) as run:
        run.input(frame, "frame")
        model = LogisticRegression().fit(frame[["amount"]].to_numpy(), frame["late"])
        run.metric("rows", len(frame))
        return run.model(model, "1", threshold=0.5)

version = pipeline(int(sys.argv[2]))
model = version.object
audit.transition(version, approved_by="risk")

@audit.component("broken")
def broken():
    raise KeyError("on purpose")

try:
    broken()
except KeyError:
    pass

@audit.predictor(model=version, key="id")
def score(features):
    return float(model.predict_proba([[features["amount"]]])[0, 1])

@audit.predictor(model=version, key="id")
async def score_soon(features):
    return float(model.predict_proba([[features["amount"]]])[0, 1])

for n in range(int(sys.argv[2])):
    score({"id": str(n), "amount": float(n)})
audit.ground_truth(score.last_id, 1.0)
print(score.last_id)
asyncio.run(score_soon({"id": "soon", "amount": 1.0}))  # the end comes right after
"""


@pytest.mark.slow
def test_a_pipeline_through_a_topic(
    kafka_server: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = kafka_server.url(kafka_server.new_topic(PARTITIONS))
    store = f"sqlite:///{tmp_path / 'audit.db'}"
    settings = {
        "AUDIT_BUS": bus,
        "AUDIT_STORE": store,
        "AUDIT_SPOOL": str(tmp_path / "spool"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    run("init", "--store", store)
    script = tmp_path / "pipeline.py"
    script.write_text(PIPELINE)
    done = subprocess.run(
        [sys.executable, script, bus, str(CUSTOMERS)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    prediction = done.stdout.strip()
    assert consume(bus, store) == 0
    assert not list((tmp_path / "spool").glob("*"))

    with Ledger(store) as ledger:
        assert [len(list(ledger.events(f"entity:{name}"))) for name in ("run", "model")] == [10, 2]
        assert len(list(ledger.events("entity:dataset"))) == 1
        # A prediction for each customer, the ground truth of one, and the last one.
        assert len(list(ledger.events("entity:prediction"))) == CUSTOMERS + 2
    check_order(store)

    printed = run("runs", "--store", store).out
    assert all(name in printed for name in ("collect", "clean", "pipeline", "late", "broken"))
    assert "FAIL" in printed and "START" not in printed.split()
    printed = run("trace", f"prediction/{prediction}", "--store", store).out
    assert all(name in printed for name in ("late@1", "clean", "collect")), printed
    printed = run("replay", f"prediction/{prediction}", "--store", store).out
    assert "IDENTICAL" in printed, printed
    run("flag", f"prediction/{prediction}", "-m", "wrong", "--store", store)
    assert prediction in run("review", "--store", store).out
    run("verify", "--store", store)


def check_order(store: str) -> None:
    """Of every run its START stands before its end, in one log; and several logs hold events."""
    from audit.event.envelope import decode_event
    from audit.log.entry import Kind, decode_entry

    places: dict[str, tuple[int, int]] = {}
    with open_reader(store) as reader:
        for info in reader.logs():
            for index, leaf in reader.leaves(info.log):
                entry = decode_entry(leaf)
                if entry.kind is Kind.EVENT:
                    places[decode_event(entry.event).event_id] = info.log, index
    starts = [event_id for event_id in places if event_id.endswith(":START")]
    assert len(starts) == 5
    for event_id in starts:
        log, index = places[event_id]
        end_log, end_index = places[event_id.removesuffix(":START")]
        assert (log, index) < (end_log, end_index) and log == end_log
    assert len({log for log, _ in places.values()} - {0}) > 1

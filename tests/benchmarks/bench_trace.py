"""Lineage over a large ledger: the first trace, those after it, and downstream to predictions."""

import hashlib
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from audit.event.build import Built, data_event, new_event_id, record_event, schema_event
from audit.event.envelope import encode_event
from audit.ledger import Ledger
from audit.log.intake import Message
from tests.benchmarks.common import ORIGIN, SIGNER, Result, new_store, seconds

RUNS_PER_MILLION = 300
PREDICTIONS_PER_MILLION = 50_000
BATCH = 5_000
MODEL = "credit-risk"


def run(count: int = 1_000_000) -> list[Result]:
    """`count` events: data mostly, 5% predictions, and 300 trainings a million."""
    runs = max(2, count * RUNS_PER_MILLION // 1_000_000)
    predictions = max(20, count * PREDICTIONS_PER_MILLION // 1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        url = _filled(Path(folder), count, runs, predictions)
        first = _with_new_reader(url, f"prediction/p{predictions - 1}")
        with Ledger(url) as ledger:
            newest, oldest = f"prediction/p{predictions - 1}", "prediction/p0"
            ledger.trace(newest)
            again = seconds(partial(ledger.trace, newest), repeats=9)
            other = seconds(partial(ledger.trace, oldest), repeats=9)
            down = seconds(partial(ledger.trace, f"model/{MODEL}@0", downstream=True), repeats=1)
            found = ledger.trace(f"model/{MODEL}@0", downstream=True)
            assert found.touched is not None
            row = seconds(partial(ledger.trace, "inquiry/5"), repeats=5)
    size = f"{count / 1e6:g}M events, {runs} runs, {predictions:,} predictions"
    return [
        _result(f"trace a prediction, ledger just opened ({size})", first),
        _result("trace a prediction, again", again),
        _result("trace another prediction", other),
        _result(f"trace a row of {runs} events", row),
        _result(f"trace a model downstream ({found.touched.count:,} predictions touched)", down),
    ]


def _result(name: str, took: float) -> Result:
    return Result(name, f"{took * 1e3:,.1f} ms", "", "")


def _with_new_reader(url: str, ref: str) -> float:
    """Median of traces that each open the ledger anew, so that nothing is kept from before."""

    def once() -> None:
        with Ledger(url) as ledger:
            assert ledger.trace(ref).of_kind("run")

    return seconds(once)


def _filled(folder: Path, count: int, runs: int, predictions: int) -> str:
    store = new_store(folder)
    batch: list[Message] = []
    schemas: set[bytes] = set()
    for built in _events(count, runs, predictions):
        for text in built.schemas:
            if text not in schemas:
                schemas.add(text)
                batch.append(Message(encode_event(schema_event(text))))
        batch.append(Message(encode_event(built.event)))
        if len(batch) >= BATCH:
            store.append(0, batch, SIGNER)
            batch = []
    if batch:
        store.append(0, batch, SIGNER)
    url = store.address
    store.close()
    return url


def _sha(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _events(count: int, runs: int, predictions: int) -> Iterator[Built]:
    """Trainings spread evenly, each after its share of data, its predictions behind it."""
    data = max(1, (count - predictions - 4 * runs) // runs)
    each = predictions // runs
    size, answer = 1, 0
    for training in range(runs):
        for number in range(data):
            yield data_event(
                "create" if training == 0 else "update",
                "inquiry",
                number,
                event_id=new_event_id(),
                source="bench",
                after={"customer": f"{number % 977:05d}", "amount": number * 10},
                image="full" if training == 0 else "patch",
                actor="alice",
            )
        size += data
        yield from _training(training, size)
        for _ in range(each if training < runs - 1 else predictions - answer):
            yield _prediction(answer, training)
            answer += 1


def _training(number: int, size: int) -> Iterator[Built]:
    """START, dataset version, model version and end of one training."""
    run_id, name = f"run-{number}", MODEL
    use = {
        "name": "inquiry",
        "digest": "frame-v1:" + _sha(f"data {number}"),
        "rows": 1_000,
        "entity_type": "inquiry",
        "logs": [{"origin": ORIGIN, "size": size, "root_hash": None}],
    }
    model = {"name": name, "version": str(number), "digest": _sha(f"artifact {number}")}
    start = {"run_id": run_id, "name": name, "status": "START"}
    end = {
        **start,
        "status": "COMPLETE",
        "inputs": [use],
        "model": model,
        "models": [model],
        "params": {"C": 0.5, "max_iter": 500},
        "metrics": {"auc": 0.8},
        "code_digest": _sha("train.py"),
        "environment": {"python": "3.11", "sklearn": "1.9", "numpy": "2.4"},
    }
    dataset = {
        "name": "inquiries", "version": str(number), "digest": use["digest"], "logs": use["logs"]
    }  # fmt: skip
    key = f"{name}@{number}"
    yield _record("model.run", start, "run", run_id, f"{run_id}:START")
    yield _record("dataset.version", dataset, "dataset", f"inquiries@{number}")
    yield _record("model.version", {**model, "run_id": run_id}, "model", key)
    yield _record("model.run", end, "run", run_id, run_id)


def _prediction(number: int, training: int) -> Built:
    answer = {
        "model_name": MODEL,
        "model_version": str(training),
        "model_digest": _sha(f"artifact {training}"),
        "features": {f"f{at}": at / 7 for at in range(10)},
        "status": "OK",
        "output": 0.5,
    }
    return _record("prediction", answer, "prediction", f"{number % 977:05d}", f"p{number}")


def _record(
    type_: str, data: dict[str, Any], entity: str, key: str, event_id: str | None = None
) -> Built:
    return record_event(
        type_,
        data,
        entity_type=entity,
        entity_key=key,
        event_id=event_id or new_event_id(),
        source="bench",
    )

"""Running logged predictions of a scikit-learn model again, beside the bare calls of the model."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from audit.capture.emitter import Emitter
from audit.capture.pipeline.runs import model_run
from audit.capture.predicting.predictor import predictor
from audit.ledger import Ledger
from audit.store.blobs import BlobStore
from tests.benchmarks.common import Result, cases, rate, seconds

FEATURES = tuple(f"feature_{number}" for number in range(20))


def run(count: int = 1_000) -> list[Result]:
    """All predictions of a ledger, through the model that made them and through another one."""
    # Here: it takes seconds, and whoever collects the tests imports this module.
    from sklearn.linear_model import LogisticRegression

    count = min(count, 1_000)
    chance = np.random.default_rng(7)
    rows = chance.normal(size=(500, len(FEATURES)))
    models = [LogisticRegression(C=c).fit(rows, rows[:, 0] > rows[:, 1]) for c in (1.0, 0.01)]
    requests = [dict(zip(FEATURES, row.tolist(), strict=True)) for row in rows]

    def answer(model: Any, request: dict[str, float]) -> float:
        return float(model.predict_proba([[request[name] for name in FEATURES]])[0, 1])

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/audit.db"
        blobs = BlobStore(Path(folder) / "audit-blobs")
        with Emitter(url, source="bench") as emit:
            with model_run("credit", emitter=emit, blobs=blobs) as training:
                versions = [training.model(m, str(n + 1)) for n, m in enumerate(models)]
            version = versions[0]

            @predictor(model=version, emitter=emit, blobs=blobs)
            def score(request: dict[str, Any]) -> float:
                row = [[request[name] for name in FEATURES]]
                return float(version.object.predict_proba(row)[0, 1])

            for number in range(count):
                score(requests[number % len(requests)])
        bare = seconds(
            lambda: [answer(models[0], requests[n % len(requests)]) for n in range(count)]
        )
        found = []
        with Ledger(url) as ledger:
            for name, against in cases(
                (("the model itself", None), ("another version", "credit@2"))
            ):
                replay = partial(ledger.replay_predictions, against=against)
                took = seconds(replay, repeats=1)
                found.append(
                    Result(
                        f"replay of {count:,} predictions through {name}, in {took:.1f} s",
                        rate(count, took),
                        rate(count, bare),
                        f"{bare / took:.2f}",
                    )
                )
    return found

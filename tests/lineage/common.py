"""A ledger with a trained model and a logged function, for the tests of runs and predictions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audit.capture.emitter import Emitter
from audit.capture.pipeline.runs import model_run
from audit.event.envelope import encode_event
from audit.lineage.again.prediction_replay import replay_prediction
from audit.lineage.again.verdict import PredictionReplay
from audit.lineage.recorded.models import ModelVersion
from audit.store import open_reader
from audit.store.blobs import BlobStore
from audit.verify.policy import Policy
from tests.backends import SqliteBackend

CLOCK_US = 1_767_600_000_000_000
"""2026-01-05T08:00:00Z."""


class Case:
    """One embedded ledger in a folder, its blob store, and an emitter that stays open."""

    def __init__(self, folder: Path) -> None:
        self.backend = SqliteBackend(folder)
        self.url = self.backend.url
        self.blobs = BlobStore(folder / "audit-blobs")
        self.ticks = 0
        self.emit = Emitter(self.url, source="test", clock=self._clock)

    def _clock(self) -> int:
        self.ticks += 1
        return CLOCK_US + self.ticks

    def close(self) -> None:
        self.emit.close()

    def policy(self) -> Policy:
        return Policy.from_file(self.backend.path.parent / "audit.policy")

    def register(self, model: object, version: str | None = None) -> ModelVersion:
        with model_run("credit-risk", emitter=self.emit) as run:
            return run.model(model, version)

    def replay(self, prediction_id: str | None, **options: Any) -> PredictionReplay:
        assert prediction_id is not None
        self.emit.flush()
        options.setdefault("policy", self.policy())
        policy = options.pop("policy")
        with open_reader(self.url) as reader:
            return replay_prediction(reader, self.blobs, prediction_id, policy, **options)

    def blob_file(self, digest: str) -> Path:
        hexed = digest.removeprefix("sha256:")
        return self.backend.path.parent / "audit-blobs" / "sha256" / hexed[:2] / hexed[2:]

    def tamper(self, event_type: str, change: Any) -> int:
        """Rewrite the payload of the newest event of a type past the library; its index."""
        from audit.event.build import record_event
        from audit.log.entry import decode_entry, encode_entry
        from audit.log.record import read_record
        from audit.replay.books import Books
        from audit.replay.points import resolve

        self.emit.flush()
        with open_reader(self.url) as reader:
            found = [read_record(0, leaf) for _, leaf in reader.leaves(0)]
            record = [r for r in found if r.event is not None and r.event.type == event_type][-1]
            data = Books(reader, resolve(reader, None, 0)).decode(record)
        assert isinstance(data, dict) and record.event is not None
        change(data)
        built = record_event(event_type, data, event_id="x", source="x")
        event = record.event._replace(payload=built.event.payload)
        entry = decode_entry(record.leaf)._replace(event=encode_event(event))
        self.backend.drop_guards()
        self.backend.sql(
            'UPDATE entries SET leaf = ? WHERE log = 0 AND "index" = ?',
            (encode_entry(entry), record.index),
        )
        return record.index


def trained(c: float = 0.5) -> Any:
    """A small real model, the same each time; `small_model` has one that is loaded faster."""
    from sklearn.linear_model import LogisticRegression

    rows = np.array([[5000.0, 1.0], [15000.0, 0.0], [20000.0, 0.0], [8000.0, 1.0], [250000.0, 0.0]])
    return LogisticRegression(C=c, max_iter=500).fit(rows / 1000, [1, 0, 0, 1, 0])


def example() -> pd.DataFrame:
    """Some rows of the example table."""
    return pd.DataFrame(
        {"CustomerID": ["001", "002", "003"], "LoanAmount": [250000, 20000, 5000]},
        index=pd.Index(["1001", "1002", "1003"], name="entity_key"),
    )


def call_of(case: Case, prediction_id: str | None) -> dict[str, Any]:
    """The recorded `call` of a prediction, as JSON."""
    from audit.lineage.recorded.predictions import find_prediction
    from audit.replay.points import resolve

    assert prediction_id is not None
    case.emit.flush()
    with open_reader(case.url) as reader:
        found = find_prediction(reader, prediction_id, resolve(reader, None, 0))
    return json.loads(json.dumps(found.call))

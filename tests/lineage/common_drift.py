"""A weekly inference pipeline that drifts: twelve weeks of predictions, other inputs from week 8.

A model is trained on a profiled frame and answers through `audit.predictor`; every prediction has
its own time. Beside it a component `weekly-scores` runs once a week over a profiled frame.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import audit
from audit.lineage.content.profile import profile_of
from audit.store.blobs import BlobStore

START = datetime(2026, 1, 5, tzinfo=UTC)
WEEKS = 12
DRIFT_WEEK = 8
A_WEEK = 24
END = START + timedelta(weeks=WEEKS)
MODEL, VERSION, COMPONENT = "churn", "1", "weekly-scores"
THRESHOLD = 0.5
COUNTRIES = ("AT", "DE", "FR")


def day(week: int) -> str:
    """The first day of a week, as a user types it; weeks count from 0."""
    return (START + timedelta(weeks=week)).date().isoformat()


def inputs(rng: np.random.Generator, size: int, drifted: bool) -> pd.DataFrame:
    """Customers: after the drift others come, who use it less, and of whom income is not known."""
    shares = (0.1, 0.2, 0.7) if drifted else (0.2, 0.6, 0.2)
    income = rng.normal(40_000, 8_000, size).round(2)
    income[rng.random(size) < (0.4 if drifted else 0.0)] = np.nan
    return pd.DataFrame(
        {
            "country": rng.choice(COUNTRIES, size, p=shares),
            "hours": rng.gamma(2.0, 2.0 if drifted else 8.0, size).round(3),
            "tickets": rng.poisson(1.0, size),
            "income": income,
            "steady": rng.normal(0.0, 1.0, size).round(6),
        }
    )


class Pipeline:
    """What was built, and how to read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'audit.db'}"
        self.blobs = BlobStore(folder / "audit-blobs")
        self.run_id = ""
        self._build()

    def ledger(self) -> audit.Ledger:
        return audit.Ledger(self.url)

    def drift(self, what: str = MODEL, **asked: Any) -> Any:
        asked.setdefault("until", day(WEEKS))
        with self.ledger() as ledger:
            return ledger.drift(what, **asked)

    def _build(self) -> None:
        rng = np.random.default_rng(7)
        with audit.Emitter(self.url, source="pipeline") as emit:
            version = self._train(emit, inputs(rng, 600, drifted=False))

            @audit.predictor(model=version, emitter=emit, threshold=THRESHOLD)
            def score(features: dict[str, Any]) -> float:
                return float(1 / (1 + np.exp((features["hours"] - 8.0) / 4.0)))

            for week in range(WEEKS):
                frame = inputs(rng, A_WEEK, week >= DRIFT_WEEK)
                self._component(emit, week, frame)
                for at, row in enumerate(frame.to_dict("records")):
                    when = START + timedelta(weeks=week, hours=5 * at)
                    if row["income"] != row["income"]:
                        row["income"] = None
                    with audit.context(valid_time=when):
                        score(row)

    def _train(self, emit: audit.Emitter, frame: pd.DataFrame) -> Any:
        rng = np.random.default_rng(3)
        frame = frame.assign(churned=rng.random(len(frame)) < 0.5)
        with audit.model_run(MODEL, seed=7, emitter=emit, profile=True) as run:
            run.input(frame, name="customers")
            version = run.model({"weight": 4.0}, version=VERSION)
        self.run_id = run.run_id
        return version

    def _component(self, emit: audit.Emitter, week: int, frame: pd.DataFrame) -> None:
        began = START + timedelta(weeks=week)
        record_component(emit, self.blobs, COMPONENT, f"week-{week}", began, [frame])


def record_component(
    emit: audit.Emitter,
    blobs: BlobStore,
    name: str,
    run_id: str,
    began: datetime,
    frames: list[pd.DataFrame],
    names: tuple[str, ...] = ("customers",),
) -> None:
    """A run of a component at a time of our choice, as `audit.component` records it."""
    read = []
    for frame, called in zip(frames, names, strict=True):
        profile = json.dumps(profile_of(frame)).encode()
        read.append(reference(called, len(frame), blobs.put(profile)))
    emit.record(
        "component.run",
        run_fields(name, run_id, int(began.timestamp() * 1_000_000), read),
        entity_type="run",
        entity_key=run_id,
    )


def reference(name: str, rows: int, profile_digest: str | None) -> dict[str, Any]:
    """A DataRef."""
    return {
        **dict.fromkeys(("digest", "bytes", "path", "dataset", "entity_type", "as_of_us")),
        **dict.fromkeys(("valid_at_us", "blob_digest")),
        **{"name": name, "kind": "frame", "rows": rows, "profile_digest": profile_digest},
        **{"logs": [], "columns": {}},
    }


def run_fields(
    name: str, run_id: str, started_us: int, read: list[dict[str, Any]]
) -> dict[str, Any]:
    """The fields of run.v1."""
    empty = ("description", "owner", "parent_run_id", "seed", "model", "code_digest", "code_commit")
    more = ("code_dirty", "function_digest", "rerun", "lock_digest", "error", "traceback_digest")
    return {
        **dict.fromkeys((*empty, *more)),
        **{"run_id": run_id, "name": name, "status": "COMPLETE", "started_us": started_us},
        **{"ended_us": started_us + 1, "inputs": read, "outputs": [], "tags": [], "params": {}},
        **{"metrics": {}, "models": [], "features": [], "tests": [], "environment": {}},
    }


def predict(
    emit: audit.Emitter,
    features: dict[str, Any],
    output: Any,
    when: datetime,
    model: str = MODEL,
    version: str | None = VERSION,
    supersedes: str | None = None,
    **more: Any,
) -> str:
    """One prediction as its producer may record it by hand, with its own time."""
    nothing = ("request_id", "request_us", "role", "served", "model_digest", "code_digest")
    others = ("error", "threshold", "latency_us", "seed", "primary", "batch", "call")
    lists = ("feature_status", "feature_sets", "violations", "parents", "members", "inputs")
    fields = {
        **dict.fromkeys((*nothing, *others)),
        **{name: [] for name in lists},
        **{"model_name": model, "model_version": version, "features": features},
        **{"output": output, "status": "OK"},
        **more,
    }
    return emit.record(
        "prediction", fields, entity_type="prediction", valid_time=when, supersedes=supersedes
    )

"""Records of runs and models as producers send them, field by field, for tests of what reads."""

from typing import Any

from audit.capture.emitter import Emitter
from tests.lineage.common import CLOCK_US

DIGEST = "sha256:" + "ab" * 32
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US

RUN_FIELDS: dict[str, Any] = {
    "run_id": "",
    "name": "cleaning",
    "status": "COMPLETE",
    "started_us": CLOCK_US,
    "ended_us": CLOCK_US + 2 * SECOND_US,
    "description": None,
    "owner": None,
    "tags": [],
    "parent_run_id": None,
    "params": {},
    "metrics": {},
    "seed": None,
    "inputs": [],
    "outputs": [],
    "model": None,
    "models": [],
    "features": [],
    "tests": [],
    "code_digest": None,
    "code_commit": None,
    "code_dirty": None,
    "function_digest": None,
    "rerun": None,
    "environment": {},
    "lock_digest": None,
    "error": None,
    "traceback_digest": None,
}
MODEL_FIELDS: dict[str, Any] = {
    "name": "credit-risk",
    "version": "1",
    "digest": DIGEST,
    "artifact_bytes": 10,
    "format": "pickle",
    "run_id": None,
    "description": None,
    "tags": [],
    "tolerance": None,
    "threshold": None,
    "expects": None,
    "members": [],
    "features": [],
    "metrics": {},
    "package": None,
    "packages": {},
}
TRANSITION_FIELDS: dict[str, Any] = {
    "name": "credit-risk",
    "stage": "production",
    "version": "1",
    "digest": None,
    "before": None,
    "approved_by": None,
    "share": None,
    "config_digest": None,
}
USE_FIELDS: dict[str, Any] = {
    "name": None,
    "kind": "frame",
    "digest": None,
    "rows": None,
    "bytes": None,
    "path": None,
    "dataset": None,
    "entity_type": None,
    "logs": [],
    "as_of_us": None,
    "valid_at_us": None,
    "blob_digest": None,
    "profile_digest": None,
    "columns": {},
}
DATASET_FIELDS: dict[str, Any] = {
    "name": "train",
    "version": "1",
    "digest": DIGEST,
    "rows": 3,
    "bytes": None,
    "entity_type": None,
    "query": None,
    "logs": [],
    "as_of_us": None,
    "valid_at_us": None,
    "purpose": None,
    "run_id": None,
    "parents": [],
    "predictions_of": [],
    "blob_digest": None,
    "profile_digest": None,
    "columns": {},
}
FEATURE_FIELDS: dict[str, Any] = {
    "name": "late-history",
    "version": "1",
    "digest": DIGEST,
    "entity_types": ["inquiry"],
    "replaces": None,
    "description": None,
    "owner": None,
    "source_digest": None,
}
PREDICTION_FIELDS: dict[str, Any] = {
    "request_id": None,
    "request_us": None,
    "role": None,
    "served": None,
    "model_name": "credit-risk",
    "model_version": "1",
    "model_digest": DIGEST,
    "code_digest": None,
    "features": {"n": 1},
    "feature_status": [],
    "feature_sets": [],
    "output": 0.5,
    "status": "OK",
    "error": None,
    "violations": [],
    "threshold": None,
    "latency_us": None,
    "seed": None,
    "parents": [],
    "members": [],
    "primary": None,
    "inputs": [],
    "batch": None,
    "call": None,
}


def use(**fields: Any) -> dict[str, Any]:
    """A DataRef."""
    return {**USE_FIELDS, **fields}


def checked(name: str, digest: str | None = DIGEST, **fields: Any) -> dict[str, Any]:
    """A TestResult."""
    said = {"name": name, "phase": "BEFORE", "status": "PASSED", "digest": digest}
    return {**said, "message": None, "measured": {}, "latency_us": None, **fields}


def run(emit: Emitter, run_id: str, **fields: Any) -> str:
    """A component.run, with the event id that runs have."""
    data = {**RUN_FIELDS, "run_id": run_id, **fields}
    event_id = f"{run_id}:START" if data["status"] == "START" else run_id
    return emit.record(
        "component.run", data, entity_type="run", entity_key=run_id, event_id=event_id
    )


def model(emit: Emitter, version: str = "1", **fields: Any) -> str:
    """A model.version."""
    data = {**MODEL_FIELDS, "version": version, **fields}
    key = f"{data['name']}@{version}"
    return emit.record("model.version", data, entity_type="model", entity_key=key)


def transition(emit: Emitter, version: str | None, at: str | None = None, **fields: Any) -> str:
    """A model.transition; `at`: its valid time, None: none."""
    data = {**TRANSITION_FIELDS, "version": version, **fields}
    return emit.record(
        "model.transition", data, entity_type="model", entity_key=data["name"], valid_time=at
    )


def dataset(emit: Emitter, version: str = "1", **fields: Any) -> str:
    """A dataset.version."""
    data = {**DATASET_FIELDS, "version": version, **fields}
    key = f"{data['name']}@{version}"
    return emit.record("dataset.version", data, entity_type="dataset", entity_key=key)


def features(emit: Emitter, version: str = "1", **fields: Any) -> str:
    """A feature.definition."""
    data = {**FEATURE_FIELDS, "version": version, **fields}
    key = f"features/{data['name']}@{version}"
    return emit.record("feature.definition", data, entity_type="dataset", entity_key=key)


def prediction(emit: Emitter, event_id: str, key: str = "003", **fields: Any) -> str:
    """A prediction."""
    data = {**PREDICTION_FIELDS, **fields}
    return emit.record(
        "prediction", data, entity_type="prediction", entity_key=key, event_id=event_id
    )

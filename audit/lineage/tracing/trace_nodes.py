"""Nodes of the lineage graph: how each sort of record is named, labelled and judged."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from audit.event.times import format_time
from audit.event.valuejson import fields_to_json, to_json
from audit.lineage.recorded.models import MODEL_ENTITY
from audit.lineage.recorded.predictions import PREDICTION_ENTITY
from audit.lineage.recorded.records import DATASET_ENTITY, FEATURES_PREFIX, DataUse, Named
from audit.lineage.recorded.runs import ABORT, FAIL, STARTED, Run
from audit.lineage.tracing.graph import Node, short, short_digest
from audit.lineage.tracing.trace_records import (
    DatasetEntry,
    FeatureEntry,
    ModelEntry,
    PredictionEntry,
)
from audit.log.record import Record
from audit.replay.history import Version

MAX_VALUE_CHARS = 60
MAX_VALUES_SHOWN = 12
MAX_FACTS = 200
"""Parameters, features and the like of one thing that a node holds."""


def model_id(model: Named) -> str:
    """The id of a model's node: its name and its artifact, never only a name."""
    return f"model:{model}:{model.digest or ''}"


def run_id(run: str) -> str:
    """The id of a run's node."""
    return f"run:{run}"


def data_id(digest: str) -> str:
    """The id of the node of a content."""
    return f"data:{digest}"


def features_id(features: Named) -> str:
    """The id of a feature definition's node."""
    return f"features:{features}:{features.digest or ''}"


def prediction_id(entry: PredictionEntry) -> str:
    """The id of a prediction's node: where it is recorded."""
    return f"prediction:{entry.record.log}/{entry.record.index}"


def prediction_node(entry: PredictionEntry) -> Node:
    """A prediction: what it answered, when, with which model."""
    data = entry.data
    output = None if entry.problem is not None else to_json(data.get("output"))
    parts = [entry.model_label, entry.status or "", when(entry.time_us)]
    if entry.role != "PRIMARY":
        parts.append(entry.role)
    if output is not None:
        parts.append("output " + value_text(output))
    if entry.key != entry.prediction_id:
        parts.append(f"about {short(entry.key, MAX_VALUE_CHARS)}")
    problem = entry.problem
    if problem is None and entry.status not in (None, "OK"):
        problem = f"{entry.status}: {data.get('error') or data.get('violations') or ''}"
    facts: dict[str, Any] = {
        "date": format_time(entry.time_us),
        "key": entry.key,
        "model": entry.model_label,
        "model_digest": entry.model_digest,
        "status": entry.status,
        "role": entry.role,
        "output": output,
        "features": _facts(data.get("features")),
        "threshold": to_json(data.get("threshold")),
        "request_id": to_json(data.get("request_id")),
        "feature_sets": [str(one.named) for one in entry.feature_sets[:MAX_FACTS]],
    }
    ref = f"{PREDICTION_ENTITY}/{entry.prediction_id}"
    return _recorded(
        entry.record, prediction_id(entry), "prediction", _line(parts), ref, facts, problem
    )


def run_node(run: Run) -> Node:
    """A run: its status, parameters and commit; a failed or unfinished one says so."""
    problem = None
    if run.status == STARTED:
        problem = "it began, and no end is recorded: it is running, or died without a word"
    elif run.status in (FAIL, ABORT):
        problem = f"{run.status}: {run.error or 'no error is recorded'}"
    failed = [test for test in run.tests if test.status not in ("PASSED", "")]
    parts = [run.name, run.status, when(run.time_us), values_text(run.params)]
    if run.seed is not None:
        parts.append(f"seed={run.seed}")
    if run.metrics:
        parts.append(values_text(run.metrics))
    if failed:
        names = ", ".join(f"{test.name} {test.status}" for test in failed[:MAX_VALUES_SHOWN])
        parts.append(f"tests: {names}")
    facts = {
        "type": run.type,
        "component": run.name,
        "status": run.status,
        "started": _time(run.started_us),
        "ended": _time(run.ended_us),
        "owner": run.owner,
        "tags": list(run.tags[:MAX_FACTS]),
        "params": _facts(run.params),
        "metrics": _facts(run.metrics),
        "seed": run.seed,
        "code_digest": run.code_digest,
        "code_commit": run.code_commit,
        "code_dirty": run.code_dirty,
        "function_digest": run.function_digest,
        "environment": _facts(run.environment),
        "lock_digest": run.lock_digest,
        "error": run.error,
        "traceback_digest": run.traceback_digest,
        "tests": [
            {"name": test.name, "phase": test.phase, "status": test.status, "digest": test.digest}
            for test in run.tests[:MAX_FACTS]
        ],
    }
    return _recorded(run.record, run_id(run.run_id), "run", _line(parts), run.ref, facts, problem)


def missing_run(run: str) -> Node:
    """A run that a record names, and of which nothing is recorded."""
    return Node(run_id(run), "run", "", f"run/{run}", problem="nothing is recorded of this run")


def model_node(model: Named, registered: list[ModelEntry], others: set[str]) -> Node:
    """A model version: its artifact, and whether the name stands for another one too.

    `registered`: its own entries; `others`: digests of other artifacts under the same name.
    """
    listed = ", ".join(short_digest(other) for other in sorted(others)[:MAX_VALUES_SHOWN])
    problem = None
    if not registered:
        problem = "no model version is registered with this name and artifact"
        if others:
            problem += f"; {model} is registered with {listed}"
    elif others:
        problem = f"the name {model} also stands for another artifact: {listed}"
    ref = f"{MODEL_ENTITY}/{model}"
    label = [short_digest(model.digest) or "no digest"]
    facts: dict[str, Any] = {"name": model.name, "version": model.version, "digest": model.digest}
    if not registered:
        return Node(model_id(model), "model", _line(label), ref, facts=facts, problem=problem)
    last = registered[-1]
    label += [last.format or "", f"registered {when(last.record.recorded_time_us)}"]
    if last.metrics:
        label.append(values_text(last.metrics))
    facts |= {
        "format": last.format,
        "description": last.description,
        "package": last.package,
        "threshold": to_json(last.threshold),
        "tolerance": to_json(last.tolerance),
        "packages": _facts(last.packages),
        "metrics": _facts(last.metrics),
        "features": [str(one) for one in last.features[:MAX_FACTS]],
        "members": [str(one) for one in last.members[:MAX_FACTS]],
        "registrations": len(registered),
    }
    return _recorded(last.record, model_id(model), "model", _line(label), ref, facts, problem)


def data_node(digest: str, named: list[DatasetEntry], use: DataUse | None) -> Node:
    """A content; a dataset version where one has it. The same content is one node."""
    rows = named[-1].rows if named else None if use is None else use.rows
    label = [short_digest(digest), "" if rows is None else f"{rows:,} rows"]
    facts: dict[str, Any] = {"digest": digest, "rows": rows}
    if use is not None:
        facts |= {"kind": use.kind, "path": use.path, "columns": _facts(use.columns)}
    if not named:
        return Node(data_id(digest), "data", _line(label), facts=facts)
    last = named[-1]
    names = sorted({f"{one.name}@{one.version}" for one in named})
    facts |= {
        "names": names[:MAX_FACTS],
        "purpose": last.purpose,
        "query": last.query,
        "columns": _facts(last.columns) or facts.get("columns", {}),
    }
    label += [last.purpose or "", f"recorded {when(last.record.recorded_time_us)}"]
    if len(names) > 1:
        label.append(f"also {', '.join(names[:MAX_VALUES_SHOWN])}")
    ref = f"{DATASET_ENTITY}/{last.name}@{last.version}"
    return _recorded(last.record, data_id(digest), "dataset", _line(label), ref, facts, None)


def own_node(owner: str, use: DataUse) -> Node:
    """A content that is no identity, such as a plain number: of this owner alone."""
    node = data_node(use.digest or "", [], use)
    return node._replace(id=f"data:of:{owner}:{use.name or use.path or ''}:{use.digest}")


def features_node(features: Named, registered: list[FeatureEntry]) -> Node:
    """A feature definition; whether its name stands for other code too."""
    own = [one for one in registered if features.digest in (None, one.digest)]
    others = {one.digest for one in registered if one.digest and one.digest != features.digest}
    ref = f"{DATASET_ENTITY}/{FEATURES_PREFIX}{features}"
    label = [f"code {short_digest(features.digest)}" if features.digest else "no digest"]
    facts: dict[str, Any] = {**features._asdict()}
    problem = None
    if not own:
        problem = "no feature definition is recorded with this name and code"
    elif features.digest is not None and others:
        problem = "the name also stands for other code: " + ", ".join(
            short_digest(other) for other in sorted(others)[:MAX_VALUES_SHOWN]
        )
    if not own:
        return Node(
            features_id(features), "features", _line(label), ref, facts=facts, problem=problem
        )
    last = own[-1]
    facts |= {
        "source_digest": last.source_digest,
        "reads": list(last.entity_types[:MAX_FACTS]),
        "replaces": last.replaces,
        "owner": last.owner,
    }
    label.append("reads " + ", ".join(last.entity_types[:MAX_VALUES_SHOWN]))
    return _recorded(
        last.record, features_id(features), "features", _line(label), ref, facts, problem
    )


def code_node(digest: str | None, commit: str | None, dirty: bool | None) -> Node:
    """Source code: its text by digest, and the commit it is of."""
    label = [short_digest(digest)]
    if commit is not None:
        label.append(f"commit {commit[:12]}")
    if dirty:
        label.append("dirty: the text differs from the commit")
    facts = {"digest": digest, "commit": commit, "dirty": dirty}
    return Node(f"code:{digest or ''}:{commit or ''}:{dirty}", "code", _line(label), facts=facts)


def environment_node(environment: Mapping[str, Any], lock_digest: str | None) -> Node:
    """What code ran on: Python, platform and package versions."""
    named = fields_to_json(environment)
    text = json.dumps(named, sort_keys=True).encode("utf-8", "backslashreplace")
    known = hashlib.sha256(text).hexdigest()
    label = [values_text(environment), short_digest(lock_digest)]
    facts = {"versions": _facts(environment), "lock_digest": lock_digest}
    return Node(
        f"environment:{known}:{lock_digest or ''}", "environment", _line(label), facts=facts
    )


def point_node(use: DataUse, problem: str | None) -> Node:
    """A dataset of the ledger at a point: every log it is read from, and how far."""
    logs = ", ".join(f"{point.origin} size {point.size}" for point in use.logs[:MAX_VALUES_SHOWN])
    parts = [f"{use.entity_type} at {logs or 'no named log'}"]
    if use.as_of_us is not None:
        parts.append(f"as of {format_time(use.as_of_us)}")
    if use.valid_at_us is not None:
        parts.append(f"valid at {format_time(use.valid_at_us)}")
    points = [
        {"origin": one.origin, "size": one.size, "root_hash": one.root_hash and one.root_hash.hex()}
        for one in use.logs[:MAX_FACTS]
    ]
    facts = {"entity_type": use.entity_type, "logs": points, "valid_at": _time(use.valid_at_us)}
    return Node(point_id(use), "point", _line(parts), facts=facts, problem=problem)


def point_id(use: DataUse) -> str:
    """The id of a point's node: equal points are one node."""
    logs = ",".join(f"{point.origin}={point.size}" for point in use.logs)
    return f"point:{use.entity_type}:{logs}:{use.valid_at_us}"


def event_node(version: Version) -> Node:
    """A change of a row: who made it, when, and why."""
    parts = [f"{version.op} by {version.actor or 'nobody named'} in {version.source}"]
    parts.append(when(version.recorded_time_us))
    if version.changed and version.op in ("update", "create"):
        names = list(version.changed)
        parts.append("set " + short(", ".join(names[:MAX_VALUES_SHOWN]), MAX_VALUE_CHARS))
    if version.reason is not None:
        parts.append(f"because {short(version.reason, MAX_VALUE_CHARS)}")
    said = version.to_dict()
    names_kept = ("event_id", "source", "op", "actor", "reason", "valid_time", "transaction_id")
    facts = {name: said[name] for name in (*names_kept, "supersedes", "flags")}
    problem = version.problem
    if version.superseded_by is not None:
        problem = "superseded by {}/{}".format(*version.superseded_by)
    return Node(
        f"event:{version.log}/{version.index}",
        "event",
        _line(parts),
        None,
        version.log,
        version.index,
        version.recorded_time_us,
        facts,
        problem,
    )


def when(time_us: int) -> str:
    """A time for people: to the second, UTC."""
    return format_time(time_us)[:19] + "Z"


def value_text(value: Any) -> str:
    """A JSON value in a few characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return short(text, MAX_VALUE_CHARS)


def values_text(values: Mapping[str, Any]) -> str:
    """`C=0.5 depth=3`: the first ones of named values."""
    shown = [
        f"{name}={value_text(to_json(values[name]))}" for name in list(values)[:MAX_VALUES_SHOWN]
    ]
    more = len(values) - len(shown)
    return " ".join(shown) + (f" and {more} more" if more > 0 else "")


def _facts(values: object) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        return {}
    return fields_to_json({name: values[name] for name in list(values)[:MAX_FACTS]})


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else format_time(time_us)


def _line(parts: Iterable[str]) -> str:
    return "  ".join(part for part in parts if part)


def _recorded(
    record: Record,
    id: str,
    kind: Any,
    label: str,
    ref: str,
    facts: Mapping[str, Any],
    problem: str | None,
) -> Node:
    return Node(
        id, kind, label, ref, record.log, record.index, record.recorded_time_us, facts, problem
    )

"""Runs as OpenLineage events, out and in (https://openlineage.io, specification 2-0-2).

Out: one event for each run's START and one for its end, with the standard facets where there is one
and the facet `attestory_run` for what OpenLineage has no word for: digests, seeds, the position in
the log. A dataset is named by its content: what was read from the ledger has the ledger's origin as
namespace and the entity type as name; its version is the digest.

In: an event of another system becomes a component.run in JSON form (`audit.event.jsonform`). Its id
depends on run and state alone, so taking the same event twice adds nothing.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.times import format_time, parse_rfc3339
from audit.event.types import COMPONENT_RUN, MODEL_RUN
from audit.event.valuejson import fields_to_json, parse_json
from audit.lineage.recorded.records import RUN_ENTITY, DataUse
from audit.lineage.recorded.runs import FAIL, STARTED, Run, use_to_json

SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
PRODUCER = "https://pypi.org/project/attestory"
OWN_FACET = f"{PRODUCER}#attestory_run-v1"
MAX_EVENT_CHARS = 1_000_000
MAX_DATASETS = 1_000
MAX_NAME_CHARS = 1_000

_FACETS = "https://openlineage.io/spec/facets"
_SCHEMAS = {
    "parent": f"{_FACETS}/1-2-0/ParentRunFacet.json#/$defs/ParentRunFacet",
    "errorMessage": f"{_FACETS}/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet",
    "executionParameters": f"{_FACETS}/1-0-0/ExecutionParametersRunFacet.json"
    "#/$defs/ExecutionParametersRunFacet",
    "test": f"{_FACETS}/1-0-1/TestRunFacet.json#/$defs/TestRunFacet",
    "sourceCodeLocation": f"{_FACETS}/1-1-0/SourceCodeLocationJobFacet.json"
    "#/$defs/SourceCodeLocationJobFacet",
    "ownership": f"{_FACETS}/1-0-1/OwnershipJobFacet.json#/$defs/OwnershipJobFacet",
    "documentation": f"{_FACETS}/1-1-0/DocumentationJobFacet.json#/$defs/DocumentationJobFacet",
    "jobType": f"{_FACETS}/2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet",
    "tags": f"{_FACETS}/1-0-0/TagsJobFacet.json#/$defs/TagsJobFacet",
    "version": f"{_FACETS}/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet",
    "inputStatistics": f"{_FACETS}/1-0-0/InputStatisticsInputDatasetFacet.json"
    "#/$defs/InputStatisticsInputDatasetFacet",
    "outputStatistics": f"{_FACETS}/1-0-2/OutputStatisticsOutputDatasetFacet.json"
    "#/$defs/OutputStatisticsOutputDatasetFacet",
    "attestory_run": OWN_FACET,
}
_TEST_STATUS = {"PASSED": "pass", "FAILED": "fail", "ERROR": "fail"}
_STATES = {
    "START": STARTED,
    "RUNNING": STARTED,
    "COMPLETE": "COMPLETE",
    "FAIL": FAIL,
    "ABORT": "ABORT",
}
_IDS = uuid.UUID("a77e5701-0000-5000-8000-6f70656e6c69")
"""Namespace of the run ids that are made of ids that are no UUID."""


# Out


def run_events(run: Run, origin: str) -> Iterator[dict[str, Any]]:
    """The OpenLineage events of a run: START, and its end unless it has none yet.

    `origin`: of the ledger; it is the namespace of jobs and of the ledger's datasets.
    """
    job = {"namespace": origin, "name": run.name, "facets": _job_facets(run)}
    ids = {"runId": run_id(run.run_id)}
    base = {"job": job, "producer": PRODUCER, "schemaURL": SPEC}
    yield {
        **base,
        "eventType": "START",
        "eventTime": format_time(run.time_us),
        "run": {**ids, "facets": _parent(run, origin)},
        "inputs": [],
        "outputs": [],
    }
    if run.status == STARTED:
        return
    ended_us = run.record.recorded_time_us if run.ended_us is None else run.ended_us
    yield {
        **base,
        "eventType": run.status,
        "eventTime": format_time(ended_us),
        "run": {**ids, "facets": {**_parent(run, origin), **_end_facets(run)}},
        "inputs": [_dataset(use, origin, "inputFacets") for use in run.inputs],
        "outputs": [
            *(_dataset(use, origin, "outputFacets") for use in run.outputs),
            *(
                _named(f"{origin}/models", model.name, model.digest or model.version)
                for model in run.models
            ),
        ],
    }


def run_id(text: str) -> str:
    """A run id as OpenLineage wants it, a UUID; of one that is none, a UUID made of it."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return str(uuid.uuid5(_IDS, text))


def _facet(name: str, **fields: Any) -> dict[str, Any]:
    return {name: {"_producer": PRODUCER, "_schemaURL": _SCHEMAS[name], **fields}}


def _job_facets(run: Run) -> dict[str, Any]:
    kind = "TRAINING" if run.type == MODEL_RUN else "COMPONENT"
    found = _facet("jobType", processingType="BATCH", integration="ATTESTORY", jobType=kind)
    if run.owner is not None:
        found |= _facet("ownership", owners=[{"name": run.owner, "type": "OWNER"}])
    if run.description is not None:
        found |= _facet("documentation", description=run.description)
    if run.tags:
        tags = [{"key": tag, "value": "true", "source": "ATTESTORY"} for tag in run.tags]
        found |= _facet("tags", tags=tags)
    return found


def _parent(run: Run, origin: str) -> dict[str, Any]:
    if run.parent_run_id is None:
        return {}
    parent = {"runId": run_id(run.parent_run_id)}
    return _facet("parent", run=parent, job={"namespace": origin, "name": "run"})


def _end_facets(run: Run) -> dict[str, Any]:
    own: dict[str, Any] = {
        "run_id": run.run_id,
        "log": run.record.log,
        "index": run.record.index,
        "leaf_hash": run.record.leaf_hash.hex(),
        "seed": run.seed,
        "metrics": fields_to_json(run.metrics),
        "code_digest": run.code_digest,
        "code_commit": run.code_commit,
        "code_dirty": run.code_dirty,
        "environment": fields_to_json(run.environment),
        "lock_digest": run.lock_digest,
        "inputs": [use_to_json(use) for use in run.inputs],
        "outputs": [use_to_json(use) for use in run.outputs],
        "models": [model._asdict() for model in run.models],
    }
    found = _facet("attestory_run", **{k: v for k, v in own.items() if v is not None})
    if run.params:
        given = fields_to_json(run.params).items()
        parameters = [{"key": key, "value": _plain(value)} for key, value in given]
        found |= _facet("executionParameters", parameters=parameters)
    if run.tests:
        tests = [
            {"name": t.name, "status": _TEST_STATUS.get(t.status, "skip"), "severity": "error"}
            for t in run.tests
        ]
        found |= _facet("test", tests=tests)
    if run.error is not None:
        found |= _facet("errorMessage", message=run.error, programmingLanguage="PYTHON")
    return found


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _dataset(use: DataUse, origin: str, facets: str) -> dict[str, Any]:
    if use.entity_type is not None:
        found = _named(origin, use.entity_type, use.digest)
    else:
        name = use.name or use.path or use.digest or "unnamed"
        found = _named(f"{origin}/content", name, use.digest)
    counts = {
        name: value
        for name, value in (("rowCount", use.rows), ("size", use.bytes))
        if value is not None
    }
    if counts:
        name = "inputStatistics" if facets == "inputFacets" else "outputStatistics"
        found[facets] = _facet(name, **counts)
    return found


def _named(namespace: str, name: str, version: str | None) -> dict[str, Any]:
    facets = {} if version is None else _facet("version", datasetVersion=version)
    return {"namespace": namespace, "name": name, "facets": facets}


# In


def imported(text: str | bytes | Mapping[str, Any], source: str) -> dict[str, Any] | None:
    """An OpenLineage run event as an event in JSON form: a component.run of `source`.

    None for one that says nothing about a run's life (of type OTHER, or about a job or dataset
    alone). Raises FormatError for what is no event of OpenLineage, LimitExceeded.
    """
    event = _parsed(text)
    run, job = event.get("run"), event.get("job")
    state = event.get("eventType")
    if (run is None and (job is not None or "dataset" in event)) or state == "OTHER":
        return None
    if not isinstance(run, dict) or not isinstance(job, dict):
        raise FormatError("not an OpenLineage run event: it has no run and job")
    if not isinstance(state, str) or state not in _STATES:
        raise FormatError(f"an OpenLineage event of type {str(state)[:32]!r}")
    their_id = _text(run, "runId")
    name = f"{_text(job, 'namespace')}/{_text(job, 'name')}"
    time_us = parse_rfc3339(_text(event, "eventTime"))
    status = _STATES[state]
    facets = _object(run, "facets")
    job_facets = _object(job, "facets")
    owners = _list(_object(job_facets, "ownership"), "owners")
    data: dict[str, Any] = {
        "run_id": their_id,
        "name": name,
        "status": status,
        "started_us" if status == STARTED else "ended_us": time_us,
        "owner": _first(owners, "name"),
        "description": _optional(_object(job_facets, "documentation"), "description"),
        "parent_run_id": _optional(_object(_object(facets, "parent"), "run"), "runId"),
        "inputs": [_use(one) for one in _datasets(event, "inputs")],
        "outputs": [_use(one) for one in _datasets(event, "outputs")],
        "error": _optional(_object(facets, "errorMessage"), "message"),
        "code_commit": _optional(_object(job_facets, "sourceCodeLocation"), "version"),
        "params": {
            key: _optional(one, "value")
            for one in _list(_object(facets, "executionParameters"), "parameters")
            if (key := _optional(one, "key"))
        },
    }
    return {
        "event_id": _event_id(their_id, state),
        "type": COMPONENT_RUN,
        "source": source,
        "entity_type": RUN_ENTITY,
        "entity_key": their_id,
        "valid_time": format_time(time_us),
        "data": data,
    }


def _event_id(their_id: str, state: str) -> str:
    text = f"openlineage:{their_id}:{state}"
    return text if len(text.encode()) <= 128 else f"openlineage:{sha256(text.encode()).hexdigest()}"


def _parsed(text: str | bytes | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(text, Mapping):
        return text
    if len(text) > MAX_EVENT_CHARS:
        raise LimitExceeded(f"an OpenLineage event of {len(text)} characters is too long")
    try:
        event = parse_json(text)
    except InvalidInput as error:
        raise FormatError(f"not an OpenLineage event: {error}") from None
    if not isinstance(event, dict):
        raise FormatError("an OpenLineage event is a JSON object")
    return event


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value or len(value) > MAX_NAME_CHARS:
        raise FormatError(f"an OpenLineage event whose {name} is missing, no text, or too long")
    return value


def _optional(data: object, name: str) -> str | None:
    value = data.get(name) if isinstance(data, dict) else None
    return value[:MAX_NAME_CHARS] if isinstance(value, str) and value else None


def _object(data: object, name: str) -> dict[str, Any]:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, dict) else {}


def _list(data: dict[str, Any], name: str) -> list[Any]:
    value = data.get(name)
    return value[:MAX_DATASETS] if isinstance(value, list) else []


def _first(values: list[Any], name: str) -> str | None:
    return next((found for one in values if (found := _optional(one, name))), None)


def _datasets(event: Mapping[str, Any], side: str) -> list[dict[str, Any]]:
    given = event.get(side) or []
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise FormatError(f"an OpenLineage event whose {side} are no list of datasets")
    if len(given) > MAX_DATASETS:
        raise LimitExceeded(f"an OpenLineage event with over {MAX_DATASETS} {side}")
    return given


def _use(dataset: dict[str, Any]) -> dict[str, Any]:
    """A dataset: known by its version if it has one, and then joined with equal digests."""
    facets = _object(dataset, "facets")
    counted = {
        **_object(_object(dataset, "inputFacets"), "inputStatistics"),
        **_object(_object(dataset, "outputFacets"), "outputStatistics"),
    }
    rows, size = counted.get("rowCount"), counted.get("size")
    return {
        "name": f"{_text(dataset, 'namespace')}/{_text(dataset, 'name')}",
        "digest": _optional(_object(facets, "version"), "datasetVersion"),
        "rows": rows if type(rows) is int else None,
        "bytes": size if type(size) is int else None,
    }

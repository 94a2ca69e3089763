"""Runs of components and trainings, as their events tell: one START, one end, or only one of them.

A run that has a START and no end is still going on, or died without a word.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from audit.errors import NotFound
from audit.event.times import format_time
from audit.event.types import COMPONENT_RUN, MODEL_RUN
from audit.event.valuejson import fields_to_json, to_json
from audit.lineage.recorded.records import (
    RUN_ENTITY,
    DataUse,
    Found,
    Named,
    all_named,
    data_uses,
    fields,
    items,
    moment,
    named,
    number,
    records_of,
    text,
    texts,
)
from audit.log.record import Record
from audit.replay.points import Cut
from audit.store.contract import Reader

RUN_TYPES = frozenset((COMPONENT_RUN, MODEL_RUN))
STARTED, COMPLETE, FAIL, ABORT = "START", "COMPLETE", "FAIL", "ABORT"


class RunTest(NamedTuple):
    """A test that a run made of what went in or came out. `phase`: BEFORE or AFTER."""

    name: str
    phase: str
    status: str
    digest: str | None
    message: str | None
    measured: Mapping[str, Any]


class Run(NamedTuple):
    """One run. `record`: its newest entry; `type`: component.run or model.run."""

    record: Record
    run_id: str
    type: str
    name: str
    status: str
    started_us: int | None
    ended_us: int | None
    description: str | None
    owner: str | None
    tags: tuple[str, ...]
    parent_run_id: str | None
    params: Mapping[str, Any]
    metrics: Mapping[str, Any]
    seed: int | None
    inputs: tuple[DataUse, ...]
    outputs: tuple[DataUse, ...]
    models: tuple[Named, ...]
    features: tuple[Named, ...]
    tests: tuple[RunTest, ...]
    code_digest: str | None
    code_commit: str | None
    code_dirty: bool | None
    function_digest: str | None
    rerun: str | None
    environment: Mapping[str, Any]
    lock_digest: str | None
    error: str | None
    traceback_digest: str | None

    @property
    def time_us(self) -> int:
        """When it started, as it says; else when it was recorded."""
        return self.record.recorded_time_us if self.started_us is None else self.started_us

    @property
    def ref(self) -> str:
        """The REF of it."""
        return f"{RUN_ENTITY}/{self.run_id}"

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "run": self.run_id,
            "type": self.type,
            "component": self.name,
            "status": self.status,
            "log": self.record.log,
            "index": self.record.index,
            "recorded_time": format_time(self.record.recorded_time_us),
            "started": None if self.started_us is None else format_time(self.started_us),
            "ended": None if self.ended_us is None else format_time(self.ended_us),
            "description": self.description,
            "owner": self.owner,
            "tags": list(self.tags),
            "parent_run": self.parent_run_id,
            "params": fields_to_json(self.params),
            "metrics": fields_to_json(self.metrics),
            "seed": self.seed,
            "inputs": [use_to_json(use) for use in self.inputs],
            "outputs": [use_to_json(use) for use in self.outputs],
            "models": [one._asdict() for one in self.models],
            "features": [one._asdict() for one in self.features],
            "tests": [
                {**one._asdict(), "measured": fields_to_json(one.measured)} for one in self.tests
            ],
            "code_digest": self.code_digest,
            "code_commit": self.code_commit,
            "code_dirty": self.code_dirty,
            "function_digest": self.function_digest,
            "environment": fields_to_json(self.environment),
            "lock_digest": self.lock_digest,
            "error": self.error,
            "traceback_digest": self.traceback_digest,
        }


def use_to_json(use: DataUse) -> dict[str, Any]:
    """Something read or made, without what it does not say."""
    out: dict[str, Any] = {
        name: to_json(value)
        for name, value in use._asdict().items()
        if value is not None and name not in ("logs", "columns", "as_of_us", "valid_at_us")
    }
    for name in ("as_of", "valid_at"):
        time_us = getattr(use, f"{name}_us")
        if time_us is not None:
            out[name] = format_time(time_us)
    if use.logs:
        out["logs"] = [
            {
                "origin": point.origin,
                "size": point.size,
                "root_hash": None if point.root_hash is None else point.root_hash.hex(),
            }
            for point in use.logs
        ]
    if use.columns:
        out["columns"] = fields_to_json(use.columns)
    return out


def find_runs(reader: Reader, cut: Cut) -> list[Run]:
    """All runs below the cut, in the order in which they were first recorded."""
    return merged(records_of(reader, cut, RUN_ENTITY, RUN_TYPES))


def find_run(reader: Reader, run_id: str, cut: Cut) -> Run:
    """The run with an id, with or without `run/` before it. Raises NotFound."""
    run_id = run_id.removeprefix(f"{RUN_ENTITY}/")
    told = records_of(reader, cut, RUN_ENTITY, RUN_TYPES, run_id)
    # A record about this run that names another id is not this run, whoever came first.
    found = [run for run in merged(told) if run.run_id == run_id]
    if not found:
        raise NotFound(f"there is no run {run_id!r:.140} in {reader.address}")
    return found[0]


def merged(found: Iterable[Found]) -> list[Run]:
    """One run for all records of a run id: the last end counts, or the START without one."""
    newest: dict[str, Found] = {}
    for one in found:
        run_id, event = text(one.data, "run_id"), one.record.event
        # A run is known by the key it is recorded under: who may write one writes only that.
        if run_id is None or event is None or event.entity_key != run_id:
            continue
        if text(one.data, "name") is None:
            continue
        before = newest.get(run_id)
        if before is None or one.data.get("status") != STARTED:
            newest[run_id] = one
    return [run_of(one) for one in newest.values()]


def run_of(found: Found) -> Run:
    """The run in one record: run.v1, model_run.v1, or other fields of the same names."""
    data = found.data
    event = found.record.event
    assert event is not None
    last = named(data.get("model"))
    several = all_named(data, "models")
    dirty = data.get("code_dirty")
    if dirty is None:
        dirty = fields(data, "environment").get("git_dirty")
    return Run(
        record=found.record,
        run_id=text(data, "run_id") or event.event_id,
        type=event.type,
        name=text(data, "name") or "",
        status=text(data, "status") or "",
        started_us=moment(data, "started_us"),
        ended_us=moment(data, "ended_us"),
        description=text(data, "description"),
        owner=text(data, "owner"),
        tags=texts(data, "tags"),
        parent_run_id=text(data, "parent_run_id"),
        params=fields(data, "params"),
        metrics=fields(data, "metrics"),
        seed=number(data, "seed"),
        inputs=data_uses(data, "inputs"),
        outputs=data_uses(data, "outputs"),
        models=several or ((last,) if last is not None else ()),
        features=all_named(data, "features"),
        tests=tuple(_test(one) for one in items(data, "tests") if isinstance(one, dict)),
        code_digest=text(data, "code_digest"),
        code_commit=text(data, "code_commit"),
        code_dirty=dirty if isinstance(dirty, bool) else None,
        function_digest=text(data, "function_digest"),
        rerun=text(data, "rerun"),
        environment=fields(data, "environment"),
        lock_digest=text(data, "lock_digest"),
        error=text(data, "error"),
        traceback_digest=text(data, "traceback_digest"),
    )


def _test(data: Mapping[str, Any]) -> RunTest:
    return RunTest(
        text(data, "name") or "",
        text(data, "phase") or "",
        text(data, "status") or "",
        text(data, "digest"),
        text(data, "message"),
        fields(data, "measured"),
    )

"""The card of a model version: how it was trained, on what, with what, and where it served.

The six questions of model provenance, each with its own field: how was it trained (`run`), what
data (`data`), what library (`packages`), what hyperparameters (`params`), what code (`code`), an
ensemble of what (`members`).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.errors import Ambiguous, InvalidInput, NotFound
from audit.event.times import format_time
from audit.event.types import MODEL_VERSION
from audit.event.valuejson import fields_to_json, to_json
from audit.lineage.recorded.datasets import dataset_records
from audit.lineage.recorded.models import MODEL_ENTITY, model_key
from audit.lineage.recorded.predictions import REPLAY, find_predictions
from audit.lineage.recorded.records import (
    DataUse,
    Found,
    Named,
    all_named,
    fields,
    number,
    records_of,
    text,
    texts,
)
from audit.lineage.recorded.runs import Run, find_run, use_to_json
from audit.lineage.recorded.serving import Serving, serving_history
from audit.log.record import Record
from audit.replay.points import Cut
from audit.replay.query import parse_query
from audit.store.contract import Reader

MODEL_TYPES = frozenset((MODEL_VERSION,))
MAX_VERSIONS_LISTED = 10


class TrainingData(NamedTuple):
    """Something that the run read, and the dataset versions that have the very same content."""

    use: DataUse
    datasets: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {**use_to_json(self.use), "datasets": list(self.datasets)}


class ModelCard(NamedTuple):
    """A model version. `run` is None where none is named, or its record is not there.

    `warnings`: what somebody who relies on the card should know.
    """

    record: Record
    name: str
    version: str
    digest: str | None
    artifact_bytes: int | None
    format: str | None
    description: str | None
    tags: tuple[str, ...]
    run_id: str | None
    run: Run | None
    data: tuple[TrainingData, ...]
    packages: Mapping[str, Any]
    params: Mapping[str, Any]
    seed: int | None
    members: tuple[Named, ...]
    features: tuple[Named, ...]
    tolerance: float | None
    threshold: float | None
    expects: Any
    metrics: Mapping[str, Any]
    package: str | None
    served: tuple[Serving, ...]
    warnings: tuple[str, ...]

    @property
    def ref(self) -> str:
        """The REF of it."""
        return f"{MODEL_ENTITY}/{self.name}@{self.version}"

    def code(self) -> dict[str, Any]:
        """What code made it: commit, whether that was all, digests of source and function."""
        run = self.run
        return {
            "commit": None if run is None else run.code_commit,
            "dirty": None if run is None else run.code_dirty,
            "digest": None if run is None else run.code_digest,
            "function_digest": None if run is None else run.function_digest,
        }

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "artifact_bytes": self.artifact_bytes,
            "format": self.format,
            "description": self.description,
            "tags": list(self.tags),
            "log": self.record.log,
            "index": self.record.index,
            "recorded_time": format_time(self.record.recorded_time_us),
            "run_id": self.run_id,
            "run": None if self.run is None else self.run.to_json(),
            "data": [one.to_json() for one in self.data],
            "packages": fields_to_json(self.packages),
            "params": fields_to_json(self.params),
            "seed": self.seed,
            "code": self.code(),
            "members": [one._asdict() for one in self.members],
            "features": [one._asdict() for one in self.features],
            "tolerance": to_json(self.tolerance),
            "threshold": to_json(self.threshold),
            "expects": self.expects,
            "metrics": fields_to_json(self.metrics),
            "package": self.package,
            "served": [one.to_json() for one in self.served],
            "warnings": list(self.warnings),
        }


def model_card(reader: Reader, reference: str, cut: Cut) -> ModelCard:
    """The card of NAME@VERSION, with or without `model/` before it; of several, the newest record.

    NAME alone will do where it has one version. Raises NotFound, Ambiguous, InvalidInput.
    """
    asked = reference.removeprefix(f"{MODEL_ENTITY}/")
    name, version = _asked_version(reader, asked, cut)
    key = model_key(name, version)
    own = records_of(reader, cut, MODEL_ENTITY, MODEL_TYPES, key)
    found = [one for one in own if _key(one) == key]
    if not found:
        raise NotFound(f"no model {key} is registered in {reader.address}")
    record, data = found[-1]
    run_id = text(data, "run_id")
    run = _run(reader, run_id, cut)
    packages = fields(data, "packages")
    return ModelCard(
        record=record,
        name=name,
        version=version,
        digest=text(data, "digest"),
        artifact_bytes=number(data, "artifact_bytes"),
        format=text(data, "format"),
        description=text(data, "description"),
        tags=texts(data, "tags"),
        run_id=run_id,
        run=run,
        data=() if run is None else _training_data(reader, run, cut),
        packages=packages or ({} if run is None else run.environment),
        params={} if run is None else run.params,
        seed=None if run is None else run.seed,
        members=all_named(data, "members"),
        features=all_named(data, "features") or (() if run is None else run.features),
        tolerance=_double(data, "tolerance"),
        threshold=_double(data, "threshold"),
        expects=_json(text(data, "expects")),
        metrics={**({} if run is None else run.metrics), **fields(data, "metrics")},
        package=text(data, "package"),
        served=tuple(one for one in serving_history(reader, name, cut) if one.version == version),
        warnings=_warnings(reader, cut, found, run),
    )


def _key(found: Found) -> str | None:
    """NAME@VERSION, where the record says what it is recorded as."""
    event = found.record.event
    key = f"{text(found.data, 'name')}@{text(found.data, 'version')}"
    return key if event is not None and event.entity_key == key else None


def _asked_version(reader: Reader, asked: str, cut: Cut) -> tuple[str, str]:
    name, at, version = asked.rpartition("@")
    if at:
        return name, version
    model_key(asked, "0")
    known = [
        text(one.data, "version") or ""
        for one in records_of(reader, cut, MODEL_ENTITY, MODEL_TYPES)
        if text(one.data, "name") == asked and _key(one) is not None
    ]
    versions = list(dict.fromkeys(reversed(known)))
    if not versions:
        raise NotFound(f"no model {asked!r:.80} is registered in {reader.address}")
    if len(versions) > 1:
        listed = ", ".join(f"{asked}@{one}" for one in versions[:MAX_VERSIONS_LISTED])
        raise Ambiguous(
            f"{asked} has {len(versions)} versions; say which, newest first: {listed}"
            + (", ..." if len(versions) > MAX_VERSIONS_LISTED else "")
        )
    return asked, versions[0]


def _run(reader: Reader, run_id: str | None, cut: Cut) -> Run | None:
    if run_id is None:
        return None
    try:
        return find_run(reader, run_id, cut)
    except NotFound:
        return None


def _training_data(reader: Reader, run: Run, cut: Cut) -> tuple[TrainingData, ...]:
    """The run's inputs; by content, so that a file's name confuses nobody."""
    by_digest: dict[str, list[str]] = {}
    for one in dataset_records(reader, cut):
        if one.digest is not None:
            by_digest.setdefault(one.digest, []).append(f"{one.name}@{one.version}")
    found = []
    for use in run.inputs:
        named = [use.dataset] if use.dataset is not None else []
        same = by_digest.get(use.identity, []) if use.identity is not None else []
        found.append(TrainingData(use, tuple(dict.fromkeys([*named, *same]))))
    return tuple(found)


def _double(data: Mapping[str, Any], name: str) -> float | None:
    value = data.get(name)
    return float(value) if type(value) is int or isinstance(value, float) else None


def _json(given: str | None) -> Any:
    """JSON as far as it is some; else the text itself."""
    if given is None:
        return None
    from audit.event.valuejson import parse_json

    try:
        return parse_json(given)
    except InvalidInput:
        return given


def _warnings(reader: Reader, cut: Cut, found: list[Found], run: Run | None) -> tuple[str, ...]:
    data = found[-1].data
    digest, package, run_id = (text(data, name) for name in ("digest", "package", "run_id"))
    said = []
    others = sorted({text(one.data, "digest") or "?" for one in found} - {digest})
    if others:
        said.append(f"the version was also registered with other artifacts: {', '.join(others)}")
    if run_id is not None and run is None:
        said.append(f"no record of its run {run_id} is there: it still goes on, or died")
    if run is not None and run.code_dirty:
        said.append("the code had changes that are not in the commit")
    if package is not None:
        everything = records_of(reader, cut, MODEL_ENTITY, MODEL_TYPES)
        said.extend(_package_warnings(package, digest, _key(found[-1]), everything))
    return tuple(said)


def _package_warnings(
    package: str, digest: str | None, key: str | None, everything: list[Found]
) -> list[str]:
    """A package version stands for one model: that is how code leads to its model, and back."""
    name, _, version = (key or "").rpartition("@")
    said = []
    package_version = package.partition("==")[2]
    if package_version and package_version != version:
        said.append(f"the package is version {package_version}, the model {version}")
    shared = sorted(
        {
            other
            for one in everything
            if (other := _key(one)) is not None
            and text(one.data, "package") == package
            and text(one.data, "name") == name
            and text(one.data, "digest") != digest
            and other != key
        }
    )
    if shared:
        said.append(f"the package {package} is also that of {', '.join(shared)}: not one to one")
    return said


def count_predictions(reader: Reader, card: ModelCard, cut: Cut) -> int:
    """How many predictions a version made below the cut, replays left out. Reads all of them."""
    made = 0
    for one in find_predictions(reader, parse_query("", 0), cut):
        named = (one.model_name, one.model_version) == (card.name, card.version)
        if one.role == REPLAY:
            continue
        if one.problem is None and named and one.model_digest in (card.digest, None):
            made += 1 if one.batch is None else one.batch.rows
    return made

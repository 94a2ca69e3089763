"""Records as lineage needs them: model and dataset versions, feature definitions, predictions.

Leniently read: what a record does not say, or says in another type, is left empty, because a trace
must get past a record that is wrong in one place.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.errors import InvalidInput
from audit.event.types import PREDICTION
from audit.event.valuejson import from_json, parse_json
from audit.lineage.recorded.records import (
    DataUse,
    Found,
    LogPoint,
    Named,
    all_named,
    data_uses,
    fields,
    items,
    log_points,
    moment,
    number,
    text,
    texts,
)
from audit.log.record import Record
from audit.replay.fold import Position

MAX_REQUEST_CHARS = 64_000
"""Longest `request` of a feature set that is looked into."""


class ModelEntry(NamedTuple):
    """What one model.version entry says."""

    record: Record
    name: str
    version: str
    digest: str | None
    format: str | None
    run_id: str | None
    description: str | None
    threshold: Any
    tolerance: Any
    package: str | None
    features: tuple[Named, ...]
    members: tuple[Named, ...]
    metrics: Mapping[str, Any]
    packages: Mapping[str, Any]

    @property
    def named(self) -> Named:
        """Name, version and digest."""
        return Named(self.name, self.version, self.digest)


class DatasetEntry(NamedTuple):
    """What one dataset.version entry says."""

    record: Record
    name: str
    version: str
    digest: str | None
    rows: int | None
    entity_type: str | None
    query: str | None
    purpose: str | None
    logs: tuple[LogPoint, ...]
    as_of_us: int | None
    valid_at_us: int | None
    run_id: str | None
    parents: tuple[str, ...]
    predictions_of: tuple[Named, ...]
    columns: Mapping[str, Any]

    @property
    def point(self) -> DataUse:
        """The dataset of the ledger that it was replayed from."""
        return DataUse(
            entity_type=self.entity_type,
            logs=self.logs,
            as_of_us=self.as_of_us,
            valid_at_us=self.valid_at_us,
        )


class FeatureEntry(NamedTuple):
    """What one feature.definition entry says."""

    record: Record
    name: str
    version: str
    digest: str | None
    source_digest: str | None
    entity_types: tuple[str, ...]
    replaces: str | None
    owner: str | None


class FeatureUse(NamedTuple):
    """A set of features of a prediction. `request`: what the definition was called with."""

    named: Named
    request: Mapping[str, Any]
    reads: tuple[DataUse, ...]


class PredictionEntry(NamedTuple):
    """A prediction. `problem` says why it could not be read; then the rest is empty."""

    record: Record
    prediction_id: str
    key: str
    problem: str | None
    data: Mapping[str, Any]
    model_name: str | None
    model_version: str | None
    model_digest: str | None
    code_digest: str | None
    status: str | None
    role: str
    inputs: tuple[DataUse, ...]
    feature_sets: tuple[FeatureUse, ...]
    parents: tuple[str, ...]
    members: tuple[str, ...]
    primary: str | None

    @property
    def position(self) -> Position:
        """Where it is recorded."""
        return self.record.log, self.record.index

    @property
    def time_us(self) -> int:
        """When it was made, as it says; else when it was recorded."""
        event = self.record.event
        valid_us = None if event is None else event.valid_time_us
        return self.record.recorded_time_us if valid_us is None else valid_us

    @property
    def model_label(self) -> str:
        """NAME@VERSION, or what of it is known."""
        name = self.model_name or "?"
        return name if self.model_version is None else f"{name}@{self.model_version}"


def model_entry(found: Found) -> ModelEntry | None:
    """The model version in a record; None when it names none."""
    data = found.data
    name, version = text(data, "name"), text(data, "version")
    if name is None or version is None:
        return None
    return ModelEntry(
        found.record,
        name,
        version,
        text(data, "digest"),
        text(data, "format"),
        text(data, "run_id"),
        text(data, "description"),
        data.get("threshold"),
        data.get("tolerance"),
        text(data, "package"),
        all_named(data, "features"),
        all_named(data, "members"),
        fields(data, "metrics"),
        fields(data, "packages"),
    )


def dataset_entry(found: Found) -> DatasetEntry | None:
    """The dataset version in a record; None when it names none."""
    data = found.data
    name, version = text(data, "name"), text(data, "version")
    if name is None or version is None:
        return None
    return DatasetEntry(
        found.record,
        name,
        version,
        text(data, "digest"),
        number(data, "rows"),
        text(data, "entity_type"),
        text(data, "query"),
        text(data, "purpose"),
        log_points(data),
        moment(data, "as_of_us"),
        moment(data, "valid_at_us"),
        text(data, "run_id"),
        texts(data, "parents"),
        all_named(data, "predictions_of"),
        fields(data, "columns"),
    )


def feature_entry(found: Found) -> FeatureEntry | None:
    """The feature definition in a record; None when it names none."""
    data = found.data
    name, version = text(data, "name"), text(data, "version")
    if name is None or version is None:
        return None
    return FeatureEntry(
        found.record,
        name,
        version,
        text(data, "digest"),
        text(data, "source_digest"),
        texts(data, "entity_types"),
        text(data, "replaces"),
        text(data, "owner"),
    )


def prediction_entry(
    record: Record, data: object, problem: str | None = None
) -> PredictionEntry | None:
    """The prediction in a record; None when the record is none."""
    event = record.event
    if event is None or event.type != PREDICTION:
        return None
    said: Mapping[str, Any] = data if isinstance(data, dict) else {}
    if not said and problem is None:
        problem = "its payload is not a record"
    return PredictionEntry(
        record,
        event.event_id,
        event.event_id if event.entity_key is None else event.entity_key,
        problem,
        said,
        text(said, "model_name"),
        text(said, "model_version"),
        text(said, "model_digest"),
        text(said, "code_digest"),
        text(said, "status"),
        text(said, "role") or "PRIMARY",
        data_uses(said, "inputs"),
        _feature_uses(said),
        texts(said, "parents"),
        texts(said, "members"),
        text(said, "primary"),
    )


def _feature_uses(data: Mapping[str, Any]) -> tuple[FeatureUse, ...]:
    found = []
    for one in items(data, "feature_sets"):
        if not isinstance(one, dict):
            continue
        name, version = text(one, "name"), text(one, "version")
        if name is not None and version is not None:
            named = Named(name, version, text(one, "digest"))
            found.append(FeatureUse(named, _request(text(one, "request")), data_uses(one, "reads")))
    return tuple(found)


def _request(given: str | None) -> Mapping[str, Any]:
    """The named values of a request: as `made_features.request_text` writes it, or plain JSON."""
    if given is None or len(given) > MAX_REQUEST_CHARS:
        return {}
    try:
        request = parse_json(given)
        if isinstance(request, dict) and request.keys() == {"value", "form"}:
            request = request["value"]
        plain = from_json(request)
    except (InvalidInput, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}

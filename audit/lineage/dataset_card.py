"""Cards of dataset versions and feature definitions: what they are, and who made and used them."""

from typing import Any, NamedTuple

from audit.errors import InvalidInput, NotFound
from audit.event.times import format_time
from audit.event.types import DATASET_VERSION, FEATURE_DEFINITION, MODEL_VERSION
from audit.event.valuejson import fields_to_json
from audit.lineage.models import MODEL_ENTITY
from audit.lineage.records import (
    DATASET_ENTITY,
    FEATURES_PREFIX,
    DataUse,
    Found,
    Named,
    all_named,
    data_use,
    fields,
    records_of,
    text,
    texts,
)
from audit.lineage.runs import find_runs, use_to_json
from audit.log.record import Record
from audit.replay.points import Cut
from audit.store.contract import Reader

DATASET_TYPES = frozenset((DATASET_VERSION,))
FEATURE_TYPES = frozenset((FEATURE_DEFINITION,))
MODEL_TYPES = frozenset((MODEL_VERSION,))


class DatasetVersion(NamedTuple):
    """A dataset version as recorded. `data`: its content and points, as a DataUse."""

    record: Record
    name: str
    version: str
    data: DataUse
    query: str | None
    purpose: str | None
    run_id: str | None
    parents: tuple[str, ...]
    predictions_of: tuple[Named, ...]

    @property
    def ref(self) -> str:
        """The REF of it."""
        return f"{DATASET_ENTITY}/{self.name}@{self.version}"

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "name": self.name,
            "version": self.version,
            "log": self.record.log,
            "index": self.record.index,
            "recorded_time": format_time(self.record.recorded_time_us),
            **{k: v for k, v in use_to_json(self.data).items() if k not in ("name", "dataset")},
            "query": self.query,
            "purpose": self.purpose,
            "run": self.run_id,
            "parents": list(self.parents),
            "predictions_of": [one._asdict() for one in self.predictions_of],
        }


class DatasetCard(NamedTuple):
    """A dataset version, and the runs that read it. `others`: other content under its name."""

    dataset: DatasetVersion
    readers: list[str]
    others: list[str]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            **self.dataset.to_json(),
            "columns": fields_to_json(self.dataset.data.columns),
            "read_by": self.readers,
            "other_content": self.others,
        }


class FeatureCard(NamedTuple):
    """A feature definition, and the runs and models that used it."""

    record: Record
    name: str
    version: str
    digest: str | None
    reads: tuple[str, ...]
    replaces: str | None
    replaced_by: list[str]
    description: str | None
    owner: str | None
    source_digest: str | None
    runs: list[str]
    models: list[str]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        lists = ("reads", "replaced_by", "runs", "models")
        said = self._asdict()
        said.pop("record")
        return {
            **{name: list(said[name]) if name in lists else said[name] for name in said},
            "log": self.record.log,
            "index": self.record.index,
            "recorded_time": format_time(self.record.recorded_time_us),
        }


def dataset_versions(reader: Reader, cut: Cut, key: str | None = None) -> list[DatasetVersion]:
    """All dataset versions, or those under NAME@VERSION, in recorded order."""
    read = records_of(reader, cut, DATASET_ENTITY, DATASET_TYPES, key)
    return [one for one in map(_dataset, read) if one is not None]


def _dataset(found: Found) -> DatasetVersion | None:
    name, version = text(found.data, "name"), text(found.data, "version")
    data = data_use(found.data)
    if name is None or version is None or data is None:
        return None
    return DatasetVersion(
        record=found.record,
        name=name,
        version=version,
        data=data._replace(name=None, columns=fields(found.data, "columns")),
        query=text(found.data, "query"),
        purpose=text(found.data, "purpose"),
        run_id=text(found.data, "run_id"),
        parents=texts(found.data, "parents"),
        predictions_of=all_named(found.data, "predictions_of"),
    )


def dataset_card(reader: Reader, reference: str, cut: Cut) -> DatasetCard:
    """The card of NAME@VERSION or dataset/NAME@VERSION; the newest record of it counts.

    Raises NotFound, InvalidInput.
    """
    key = _key(reference)
    found = dataset_versions(reader, cut, key)
    if not found:
        raise NotFound(f"there is no dataset version {key!r:.140} in {reader.address}")
    newest = found[-1]
    digest = newest.data.digest
    read_by = [
        run.ref
        for run in find_runs(reader, cut)
        if any(use.dataset == key or (digest and use.digest == digest) for use in run.inputs)
    ]
    others = {one.data.digest for one in found if one.data.digest} - {digest}
    return DatasetCard(newest, read_by, sorted(other for other in others if other))


def feature_card(reader: Reader, reference: str, cut: Cut) -> FeatureCard:
    """The card of dataset/features/NAME@VERSION. Raises NotFound, InvalidInput."""
    key = _key(reference)
    found = records_of(reader, cut, DATASET_ENTITY, FEATURE_TYPES, key)
    name, _, version = key.removeprefix(FEATURES_PREFIX).rpartition("@")
    found = [one for one in found if text(one.data, "name") == name]
    if not found:
        raise NotFound(f"there is no feature definition {name}@{version} in {reader.address}")
    data = found[0].data  # a version is never redefined: the first record counts
    definitions = records_of(reader, cut, DATASET_ENTITY, FEATURE_TYPES)
    wanted = (name, version)
    return FeatureCard(
        record=found[0].record,
        name=name,
        version=version,
        digest=text(data, "digest"),
        reads=texts(data, "entity_types"),
        replaces=text(data, "replaces"),
        replaced_by=[
            f"{name}@{text(one.data, 'version')}"
            for one in definitions
            if text(one.data, "name") == name
            and text(one.data, "replaces") in (version, f"{name}@{version}")
        ],
        description=text(data, "description"),
        owner=text(data, "owner"),
        source_digest=text(data, "source_digest"),
        runs=[
            run.ref
            for run in find_runs(reader, cut)
            if any((one.name, one.version) == wanted for one in run.features)
        ],
        models=[
            f"{MODEL_ENTITY}/{text(one.data, 'name')}@{text(one.data, 'version')}"
            for one in records_of(reader, cut, MODEL_ENTITY, MODEL_TYPES)
            if any((used.name, used.version) == wanted for used in all_named(one.data, "features"))
        ],
    )


def _key(reference: str) -> str:
    key = reference.removeprefix(f"{DATASET_ENTITY}/")
    name, at, version = key.rpartition("@")
    if not (name and at and version):
        raise InvalidInput(f"{reference!r:.80} names no version; write dataset/NAME@VERSION")
    return key

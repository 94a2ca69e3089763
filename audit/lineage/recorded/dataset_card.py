"""Cards of dataset versions and feature definitions: what they are, and who made and used them."""

from typing import Any, NamedTuple

from audit.errors import InvalidInput, NotFound
from audit.event.times import format_time
from audit.event.types import FEATURE_DEFINITION, MODEL_VERSION
from audit.lineage.recorded.datasets import DatasetVersionRecord, dataset_records
from audit.lineage.recorded.models import MODEL_ENTITY
from audit.lineage.recorded.records import (
    DATASET_ENTITY,
    FEATURES_PREFIX,
    Found,
    all_named,
    records_of,
    text,
    texts,
)
from audit.lineage.tracing.run_pages import runs_with_dataset, runs_with_features
from audit.log.record import Record
from audit.replay.points import Cut
from audit.store.contract import Reader

FEATURE_TYPES = frozenset((FEATURE_DEFINITION,))
MODEL_TYPES = frozenset((MODEL_VERSION,))


class DatasetCard(NamedTuple):
    """A dataset version, and the runs that read it. `others`: other content under its name."""

    dataset: DatasetVersionRecord
    readers: list[str]
    others: list[str]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            **self.dataset.to_json(),
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


def dataset_card(reader: Reader, reference: str, cut: Cut) -> DatasetCard:
    """The card of NAME@VERSION or dataset/NAME@VERSION; the newest record of it counts.

    Raises NotFound, InvalidInput.
    """
    key = _key(reference)
    found = dataset_records(reader, cut, key)
    if not found:
        raise NotFound(f"there is no dataset version {key!r:.140} in {reader.address}")
    newest = found[-1]
    digest = newest.digest
    read_by = runs_with_dataset(reader, cut, key, digest)
    others = {one.digest for one in found if one.digest} - {digest}
    return DatasetCard(newest, read_by, sorted(other for other in others if other))


def feature_card(reader: Reader, reference: str, cut: Cut) -> FeatureCard:
    """The card of dataset/features/NAME@VERSION. Raises NotFound, InvalidInput."""
    key = _key(reference)
    name, _, version = key.removeprefix(FEATURES_PREFIX).rpartition("@")
    definitions = [
        one
        for one in records_of(reader, cut, DATASET_ENTITY, FEATURE_TYPES)
        if _is_filed(one, FEATURES_PREFIX)
    ]
    found = [one for one in definitions if text(one.data, "name") == name]
    found = [one for one in found if text(one.data, "version") == version]
    if not found:
        raise NotFound(f"there is no feature definition {name}@{version} in {reader.address}")
    data = found[0].data  # a version is never redefined: the first record counts
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
        runs=runs_with_features(reader, cut, name, version),
        models=[
            f"{MODEL_ENTITY}/{text(one.data, 'name')}@{text(one.data, 'version')}"
            for one in records_of(reader, cut, MODEL_ENTITY, MODEL_TYPES)
            if _is_filed(one, "")
            and any((used.name, used.version) == wanted for used in all_named(one.data, "features"))
        ],
    )


def _is_filed(found: Found, prefix: str) -> bool:
    """Whether a record is about what it is filed under: who may write one writes only that."""
    name, version = text(found.data, "name"), text(found.data, "version")
    event = found.record.event
    return event is not None and event.entity_key == f"{prefix}{name}@{version}"


def _key(reference: str) -> str:
    key = reference.removeprefix(f"{DATASET_ENTITY}/")
    name, at, version = key.rpartition("@")
    if not (name and at and version):
        raise InvalidInput(f"{reference!r:.80} names no version; write dataset/NAME@VERSION")
    return key

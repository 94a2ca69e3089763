"""Feature definitions in the ledger: functions from its data to features, by name and version.

A definition is about dataset/features/NAME@VERSION. Its digest is that of a capsule
(audit.lineage.source.capsule) in the blob store; a version has one digest for ever.
"""

from typing import NamedTuple

from audit.event.types import FEATURE_DEFINITION
from audit.lineage.recorded.models import model_key
from audit.lineage.recorded.records import (
    DATASET_ENTITY,
    FEATURES_PREFIX,
    Found,
    records_of,
    text,
    texts,
)
from audit.log.record import Record
from audit.replay.points import Cut
from audit.replay.refs import checked_key
from audit.store.contract import Reader


class Definition(NamedTuple):
    """A recorded version of a feature definition."""

    record: Record
    name: str
    version: str
    digest: str
    entity_types: tuple[str, ...]
    replaces: str | None
    description: str | None
    owner: str | None
    source_digest: str | None


def definition_key(name: str, version: str) -> str:
    """The entity key of a definition. Raises InvalidInput, LimitExceeded."""
    return checked_key(FEATURES_PREFIX + model_key(name, version))


def find_definitions(reader: Reader, name: str, version: str, cut: Cut) -> list[Definition]:
    """The records of a definition below the cut, oldest first: of a sound ledger, one or none.

    Raises InvalidInput for what is no name or version.
    """
    key = definition_key(name, version)
    types = frozenset((FEATURE_DEFINITION,))
    found = records_of(reader, cut, DATASET_ENTITY, types, key)
    return [one for one in map(_definition, found) if one is not None and _key_of(one) == key]


def _key_of(definition: Definition) -> str:
    return f"{FEATURES_PREFIX}{definition.name}@{definition.version}"


def _definition(found: Found) -> Definition | None:
    data = found.data
    name, version, digest = text(data, "name"), text(data, "version"), text(data, "digest")
    if name is None or version is None or digest is None:
        return None
    return Definition(
        found.record,
        name,
        version,
        digest,
        texts(data, "entity_types"),
        text(data, "replaces"),
        text(data, "description"),
        text(data, "owner"),
        text(data, "source_digest"),
    )

"""How the fields of a dataset are called, and which columns it has: then, latest, or their union.

A declared schema may say that a field was called otherwise before (an Avro alias). Changes written
under the old name then fold and show under the new one. A removed field keeps its name, and what it
held stays readable. Datasets without a declared schema have no renamed fields.

Versions of a declared schema are those of the same record name, in the order in which the ledger
recorded them up to the asked point.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from audit.event.row import Change
from audit.log.record import Record
from audit.replay.fold import Row
from audit.replay.points import Cut
from audit.replay.schemas import SchemaEvent, SchemaVersion, schema_events
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader


class ColumnMode(StrEnum):
    """Which columns to show.

    THEN: those of the newest declared schema at the cut; without one, those that a row holds then.
    LATEST: the same as of today. UNION: every field that was ever set up to the cut.
    """

    THEN = "then"
    LATEST = "latest"
    UNION = "union"


Renames = Mapping[str, str]
"""Field as it was called -> as it is called at the cut."""

_NONE: Renames = {}


class Naming:
    """What the fields of one dataset are called at a cut."""

    def __init__(self, reader: Reader, entity_type: str, cut: Cut) -> None:
        """Reads the schema events below the cut; the dataset itself only where fields moved."""
        self._reader = reader
        self._entity_type = entity_type
        self._cut = cut
        self.schemas: dict[int, list[SchemaEvent]] = {
            log: list(schema_events(reader, log, size)) for log, size in cut.sizes.items()
        }
        """Log -> the schemas that it recorded below the cut."""
        self._versions = _declared_versions(self.schemas)
        self._by_hash = {version.hash: version for version in self._versions}
        self._old_names = frozenset(old for version in self._versions for old in version.aliases)
        self._cache: dict[tuple[bytes | None, int, frozenset[str]], Renames] = {}
        self._names_of_dataset: frozenset[str] | None = None

    @property
    def moved(self) -> bool:
        """True when some schema of the ledger renames a field: otherwise no name changes."""
        return bool(self._old_names)

    def may_rename(self, change: Change | None) -> bool:
        """True when a field of the change has a name that some schema calls an old one."""
        if change is None:
            return False
        return not self._old_names.isdisjoint((*(change.before or ()), *(change.after or ())))

    def names_of(self, records: Iterable[Record]) -> frozenset[str]:
        """The record names of the declared schemas that these entries were written with."""
        hashes = {r.event.payload_schema for r in records if r.event and r.event.payload_schema}
        return frozenset(self._by_hash[h].name for h in hashes if h in self._by_hash)

    def names_of_dataset(self) -> frozenset[str]:
        """The record names that the whole dataset uses. Reads it once, without its payloads."""
        if self._names_of_dataset is None:
            self._names_of_dataset = self.names_of(
                trusted_record(log, index, leaf)
                for log, size in self._cut.sizes.items()
                for index, leaf in self._reader.entity(log, self._entity_type, None, size)
            )
        return self._names_of_dataset

    def rename(self, record: Record, change: Change, names: frozenset[str]) -> Change:
        """The change with its fields called as they are at the cut."""
        renames = self._renames(record, names)
        if not renames:
            return change
        before, after = _renamed(change.before, renames), _renamed(change.after, renames)
        return Change(change.image, before, after)

    def _renames(self, record: Record, names: frozenset[str]) -> Renames:
        event = record.event
        if event is None or not names:
            return _NONE
        written = self._by_hash.get(event.payload_schema or b"")
        if written is not None:
            names = frozenset((written.name,))
        versions = [version for version in self._versions if version.name in names]
        if written is not None:
            at = versions.index(written) + 1
        else:
            recorded_us = record.entry.recorded_time_us
            at = sum(version.recorded_time_us <= recorded_us for version in versions)
        key = None if written is None else written.hash, at, names
        renames = self._cache.get(key)
        if renames is None:
            renames = self._cache[key] = _renames_from(versions, at, written is not None)
        return renames

    def columns(self, names: frozenset[str]) -> tuple[str, ...] | None:
        """The columns of the newest declared schema with one of these names; None without one."""
        for version in reversed(self._versions):
            if version.name in names:
                return version.columns
        return None


def _declared_versions(schemas: Mapping[int, Iterable[SchemaEvent]]) -> list[SchemaVersion]:
    """The schemas of declared datasets, each where it was recorded first."""
    found: dict[bytes, SchemaVersion] = {}
    for recorded in schemas.values():
        for event in recorded:
            version = event.declared
            if version is None:
                continue
            known = found.get(version.hash)
            if known is None or version.recorded_time_us < known.recorded_time_us:
                found[version.hash] = version
    return sorted(found.values(), key=lambda version: version.recorded_time_us)


def _renames_from(versions: list[SchemaVersion], at: int, declared: bool) -> Renames:
    """Old name -> name now, for what was written when `at` versions were there.

    What a declared schema wrote has the names of its own version. What was written without one
    has the names of the version in force; a name that this one does not know is looked for in all.
    """
    old_names = {alias for version in versions for alias in version.aliases}
    in_force = frozenset(versions[at - 1].columns) if at else frozenset()
    renames = {}
    for old in old_names:
        name = old
        first = at if declared or old in in_force else 0
        for version in versions[first:]:
            if name not in version.columns:
                name = version.aliases.get(name, name)
        if name != old:
            renames[old] = name
    return renames


def _renamed(fields: Row | None, renames: Renames) -> Row | None:
    """The fields under the names they have now; a field that has that name already wins."""
    if not fields or renames.keys().isdisjoint(fields):
        return fields
    renamed: Row = {renames[name]: value for name, value in fields.items() if name in renames}
    renamed.update((name, value) for name, value in fields.items() if name not in renames)
    return renamed

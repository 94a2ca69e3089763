"""Records of runs, models, datasets, reviews and the like: found by what they are about, decoded.

Looked up by entity in the store's index, judged by the leaf. What cannot be decoded, is quarantined
or was superseded by the cut is left out.
"""

import heapq
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from audit.errors import FormatError, StoreCorrupt, UnknownSchema
from audit.event.times import MAX_TIME_US, MIN_TIME_US
from audit.lineage.recorded.in_force import target_of
from audit.log.entry import Kind
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.fold import Position
from audit.replay.points import Cut
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

RUN_ENTITY = "run"
DATASET_ENTITY = "dataset"
FEATURES_PREFIX = "features/"
"""A feature definition is about dataset/features/NAME@VERSION; names of datasets have no slash."""
MAX_POINTS = 1_000
"""Logs that one thing was read from, as far as they are read."""


class Found(NamedTuple):
    """A record with what it says: the fields of its schema, or any."""

    record: Record
    data: Mapping[str, Any]

    @property
    def event_id(self) -> str:
        """The id of its event."""
        assert self.record.event is not None
        return self.record.event.event_id


class LogPoint(NamedTuple):
    """A point of one log. `root_hash`: 32 bytes, or None where it was not noted."""

    origin: str
    size: int
    root_hash: bytes | None


class Named(NamedTuple):
    """A version of a model or a feature definition. `digest`: of the artifact, or the code."""

    name: str
    version: str
    digest: str | None

    def __str__(self) -> str:
        """NAME@VERSION."""
        return f"{self.name}@{self.version}"


class DataUse(NamedTuple):
    """Something that was read or made, known by its content: a DataRef of the schemas."""

    name: str | None = None
    kind: str | None = None
    digest: str | None = None
    rows: int | None = None
    bytes: int | None = None
    path: str | None = None
    dataset: str | None = None
    entity_type: str | None = None
    logs: tuple[LogPoint, ...] = ()
    as_of_us: int | None = None
    valid_at_us: int | None = None
    blob_digest: str | None = None
    profile_digest: str | None = None
    columns: Mapping[str, Any] = {}  # never written to

    @property
    def identity(self) -> str | None:
        """The digest, where equal content says that it is the same thing.

        The number 0.5 or a table without rows are everywhere the same: they link nothing.
        """
        return None if self.kind == "value" or self.rows == 0 else self.digest


def records_of(
    reader: Reader, cut: Cut, entity_type: str, types: frozenset[str], key: str | None = None
) -> list[Found]:
    """The records of these types about an entity (of one key, or of all), in recorded order."""
    gone: set[Position] = set()
    found = list(walk(reader, Books(reader, cut), cut, entity_type, types, key, gone))
    if not gone:
        return found
    return [one for one in found if (one.record.log, one.record.index) not in gone]


def walk(
    reader: Reader,
    books: Books,
    cut: Cut,
    entity_type: str,
    types: frozenset[str],
    key: str | None = None,
    gone: set[Position] | None = None,
) -> Iterator[Found]:
    """As `records_of`, one after the other, superseded ones included: for those that are many.

    `gone` gathers the entries that were superseded by anything about the entity.
    """
    streams = [
        _of_log(reader, books, log, size, entity_type, types, key, gone)
        for log, size in cut.sizes.items()
        if size
    ]
    return heapq.merge(*streams, key=lambda one: (one.record.recorded_time_us, one.record.log))


def _of_log(
    reader: Reader,
    books: Books,
    log: int,
    size: int,
    entity_type: str,
    types: frozenset[str],
    key: str | None,
    gone: set[Position] | None,
) -> Iterator[Found]:
    for index, leaf in reader.entity(log, entity_type, key, size):
        record = trusted_record(log, index, leaf)
        event = record.event
        if event is None or event.entity_type != entity_type:
            raise StoreCorrupt(f"entry {log}/{index} is about something else than the index says")
        if key is not None and event.entity_key != key:
            raise StoreCorrupt(f"entry {log}/{index} is about something else than the index says")
        if gone is not None and event.supersedes is not None:
            target = target_of(reader, record)
            if target is not None:
                gone.add(target)
        if event.type not in types or record.entry.kind is not Kind.EVENT:
            continue
        try:
            data = books.decode(record)
        except (FormatError, UnknownSchema):
            continue
        if isinstance(data, dict):
            yield Found(record, data)


def text(data: Mapping[str, Any], name: str) -> str | None:
    """A field that is a text; None when it is none."""
    value = data.get(name)
    return value if isinstance(value, str) else None


def number(data: Mapping[str, Any], name: str) -> int | None:
    """A field that is an integer; None when it is none."""
    value = data.get(name)
    return value if type(value) is int else None


def moment(data: Mapping[str, Any], name: str) -> int | None:
    """A field that is a time which a calendar has, in microseconds; None when it is none."""
    value = number(data, name)
    return None if value is None or not MIN_TIME_US <= value <= MAX_TIME_US else value


def texts(data: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A field that is a list of texts."""
    return tuple(value for value in items(data, name) if isinstance(value, str))


def items(data: Mapping[str, Any], name: str) -> list[Any]:
    """A field that is a list; empty when it is none."""
    value = data.get(name)
    return value if isinstance(value, list) else []


def fields(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A field that is an object; empty when it is none."""
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def named(data: object) -> Named | None:
    """A ModelRef or FeatureRef; None when it is none."""
    if not isinstance(data, dict):
        return None
    name, version = text(data, "name"), text(data, "version")
    return None if name is None or version is None else Named(name, version, text(data, "digest"))


def all_named(data: Mapping[str, Any], name: str) -> tuple[Named, ...]:
    """A field that is a list of ModelRef or FeatureRef."""
    return tuple(one for one in map(named, items(data, name)) if one is not None)


def log_points(data: Mapping[str, Any]) -> tuple[LogPoint, ...]:
    """The field `logs`, or origin, size and root_hash as model_run.v1 has them."""
    given = items(data, "logs") or ([data] if "origin" in data else [])
    points = []
    for one in given[:MAX_POINTS]:
        if not isinstance(one, dict):
            continue
        origin, size, root_hash = text(one, "origin"), number(one, "size"), one.get("root_hash")
        if origin is not None and size is not None:
            points.append(
                LogPoint(origin, size, root_hash if isinstance(root_hash, bytes) else None)
            )
    return tuple(points)


def data_use(data: object) -> DataUse | None:
    """A DataRef, or the RunInput of model_run.v1; None when it is neither."""
    if not isinstance(data, dict):
        return None
    return DataUse(
        name=text(data, "name"),
        kind=text(data, "kind"),
        digest=text(data, "digest"),
        rows=number(data, "rows"),
        bytes=number(data, "bytes"),
        path=text(data, "path"),
        dataset=text(data, "dataset"),
        entity_type=text(data, "entity_type"),
        logs=log_points(data),
        as_of_us=moment(data, "as_of_us"),
        valid_at_us=moment(data, "valid_at_us"),
        blob_digest=text(data, "blob_digest"),
        profile_digest=text(data, "profile_digest"),
        columns=fields(data, "columns"),
    )


def data_uses(data: Mapping[str, Any], name: str) -> tuple[DataUse, ...]:
    """A field that is a list of DataRef; those of one input, one for each log, are put together."""
    found: list[DataUse] = []
    for one in map(data_use, items(data, name)):
        if one is None:
            continue
        last = found[-1] if found else None
        if last is not None and _is_part_of(one, last):
            found[-1] = last._replace(logs=(*last.logs, *one.logs))
        else:
            found.append(one)
    return tuple(found)


def _is_part_of(one: DataUse, last: DataUse) -> bool:
    """Whether a reference is the one before it, in a further log: not at another point of one."""
    if not one.logs or len(last.logs) + len(one.logs) > MAX_POINTS:
        return False
    if last._replace(logs=()) != one._replace(logs=()):
        return False
    return {point.origin for point in last.logs}.isdisjoint(point.origin for point in one.logs)

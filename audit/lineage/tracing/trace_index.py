"""Runs, models, datasets and feature definitions by what they are made from, kept per reader.

They are few and small, so a reader's are read once, and what came since is added when the log grew.
Predictions are many: they are never in here. A *view* is what of it was recorded below a cut.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from audit.errors import FormatError, LimitExceeded, StoreCorrupt, UnknownSchema
from audit.event.types import DATASET_VERSION, FEATURE_DEFINITION, MODEL_VERSION
from audit.lineage.recorded.in_force import target_of
from audit.lineage.recorded.models import MODEL_ENTITY
from audit.lineage.recorded.records import (
    DATASET_ENTITY,
    FEATURES_PREFIX,
    RUN_ENTITY,
    DataUse,
    Found,
    Named,
    all_named,
    data_use,
    items,
    named,
    text,
)
from audit.lineage.recorded.runs import RUN_TYPES, STARTED, Run, run_of
from audit.lineage.tracing.trace_records import (
    DatasetEntry,
    FeatureEntry,
    ModelEntry,
    dataset_entry,
    feature_entry,
    model_entry,
)
from audit.log.entry import Kind
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.fold import Position
from audit.replay.points import Cut
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

MAX_RECORDS = 500_000
"""Records of runs, models and datasets that one trace may have to know, START events included."""
VIEWS_KEPT = 4

_READ = {
    RUN_ENTITY: RUN_TYPES,
    MODEL_ENTITY: frozenset((MODEL_VERSION,)),
    DATASET_ENTITY: frozenset((DATASET_VERSION, FEATURE_DEFINITION)),
}

T = TypeVar("T")
Thing = Found | ModelEntry | DatasetEntry | FeatureEntry
"""What one record says. Found: a run, read wholly only when it is asked for."""


class PointUse(NamedTuple):
    """Something that was read from a dataset of the ledger: by a run, or as a dataset version."""

    use: DataUse
    run: Run | None
    dataset: DatasetEntry | None


class View:
    """Look-ups over what was recorded below one cut, superseded records left out."""

    def __init__(self, things: Iterable[Thing]) -> None:
        self._found: dict[str, Found] = {}
        self._runs: dict[str, Run] = {}
        self._making: dict[str, list[str]] = {}
        self._reading: dict[str, list[str]] = {}
        self._of_model: dict[Named, list[str]] = {}
        self._of_features: dict[tuple[str, str], list[str]] = {}
        self._parts: dict[str, list[str]] = {}
        self._reading_points: dict[str, list[str]] = {}
        self.models: dict[tuple[str, str], list[ModelEntry]] = {}
        self.models_by_digest: dict[str, list[ModelEntry]] = {}
        self.models_of_run: dict[str, list[ModelEntry]] = {}
        self.models_of_features: dict[tuple[str, str], list[ModelEntry]] = {}
        self.models_of_member: dict[tuple[str, str], list[ModelEntry]] = {}
        self.datasets: dict[tuple[str, str], list[DatasetEntry]] = {}
        self.datasets_by_digest: dict[str, list[DatasetEntry]] = {}
        self.datasets_of_run: dict[str, list[DatasetEntry]] = {}
        self.datasets_of_parent: dict[str, list[DatasetEntry]] = {}
        self.datasets_of_model: dict[tuple[str, str], list[DatasetEntry]] = {}
        self.features: dict[tuple[str, str], list[FeatureEntry]] = {}
        self._points: dict[str, list[PointUse]] = {}
        for thing in things:
            if isinstance(thing, Found):
                self._add_to_runs(thing)
            elif isinstance(thing, ModelEntry):
                self._model(thing)
            elif isinstance(thing, DatasetEntry):
                self._dataset(thing)
            else:
                _put(self.features, (thing.name, thing.version), thing)
        for run_id, found in self._found.items():
            self._run(run_id, found.data)

    def run(self, run_id: str) -> Run | None:
        """The run with an id."""
        if run_id not in self._runs and run_id in self._found:
            self._runs[run_id] = run_of(self._found[run_id])
        return self._runs.get(run_id)

    def run_ids(self) -> list[str]:
        """The ids of all runs."""
        return list(self._found)

    def runs_making(self, digest: str) -> list[Run]:
        """The runs that made a content."""
        return self._all(self._making.get(digest))

    def runs_reading(self, digest: str) -> list[Run]:
        """The runs that read a content."""
        return self._all(self._reading.get(digest))

    def runs_of_model(self, model: Named) -> list[Run]:
        """The runs that say that they made a model version, of this very artifact."""
        return self._all(self._of_model.get(model))

    def runs_of_features(self, name: str, version: str) -> list[Run]:
        """The runs that say that they used a feature definition."""
        return self._all(self._of_features.get((name, version)))

    def parts(self, run_id: str) -> list[Run]:
        """The runs that are parts of a run."""
        return self._all(self._parts.get(run_id))

    def points(self, entity_type: str) -> list[PointUse]:
        """All that was read from a dataset of the ledger."""
        runs = self._all(self._reading_points.get(entity_type))
        uses = [
            PointUse(use, run, None)
            for run in runs
            for use in run.inputs
            if use.entity_type == entity_type and use.logs
        ]
        return uses + self._points.get(entity_type, [])

    def _all(self, run_ids: list[str] | None) -> list[Run]:
        found = (self.run(run_id) for run_id in dict.fromkeys(run_ids or ()))
        return [run for run in found if run is not None]

    def _add_to_runs(self, found: Found) -> None:
        run_id = found.data["run_id"]
        if run_id not in self._found or found.data.get("status") != STARTED:
            self._found[run_id] = found

    def _run(self, run_id: str, data: Mapping[str, Any]) -> None:
        for name, by_digest in (("inputs", self._reading), ("outputs", self._making)):
            for use in map(data_use, items(data, name)):
                if use is not None:
                    if use.identity is not None:
                        _put(by_digest, use.identity, run_id)
                    if use.entity_type is not None and name == "inputs":
                        _put(self._reading_points, use.entity_type, run_id)
        for model in items(data, "models") or [data.get("model")]:
            made = named(model)
            if made is not None:
                _put(self._of_model, made, run_id)
        for features in all_named(data, "features"):
            _put(self._of_features, (features.name, features.version), run_id)
        parent = text(data, "parent_run_id")
        if parent is not None:
            _put(self._parts, parent, run_id)

    def _model(self, model: ModelEntry) -> None:
        _put(self.models, (model.name, model.version), model)
        if model.digest is not None:
            _put(self.models_by_digest, model.digest, model)
        if model.run_id is not None:
            _put(self.models_of_run, model.run_id, model)
        for features in model.features:
            _put(self.models_of_features, (features.name, features.version), model)
        for member in model.members:
            _put(self.models_of_member, (member.name, member.version), model)

    def _dataset(self, entry: DatasetEntry) -> None:
        _put(self.datasets, (entry.name, entry.version), entry)
        if entry.digest is not None:
            _put(self.datasets_by_digest, entry.digest, entry)
        if entry.run_id is not None:
            _put(self.datasets_of_run, entry.run_id, entry)
        for parent in entry.parents:
            _put(self.datasets_of_parent, parent, entry)
        for model in entry.predictions_of:
            _put(self.datasets_of_model, (model.name, model.version), entry)
        if entry.entity_type is not None and entry.logs:
            _put(self._points, entry.entity_type, PointUse(entry.point, None, entry))


def _put(found: "dict[K, list[T]]", key: "K", thing: T) -> None:
    found.setdefault(key, []).append(thing)


K = TypeVar("K")


class TraceIndex:
    """The records of one reader, read as far as anybody asked. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sizes: dict[int, int] = {}
        self._records: list[Record] = []
        self._superseded: list[tuple[Position, Position]] = []
        """(the entry that takes another out, the one that it takes out)."""
        self._decoded: dict[tuple[int, int], Thing | None] = {}
        self._views: dict[tuple[tuple[int, int], ...], View] = {}

    def view(self, reader: Reader, cut: Cut) -> View:
        """What was recorded below a cut. Raises LimitExceeded, StoreCorrupt, Unavailable."""
        key = tuple(sorted((log, size) for log, size in cut.sizes.items() if size))
        with self._lock:
            view = self._views.get(key)
            if view is None:
                self._read(reader, cut)
                view = View(self._things(reader, cut))
                while len(self._views) >= VIEWS_KEPT:
                    del self._views[next(iter(self._views))]
                self._views[key] = view
            return view

    def _read(self, reader: Reader, cut: Cut) -> None:
        new: list[Record] = []
        superseded: list[tuple[Position, Position]] = []
        for log, size in cut.sizes.items():
            start = self._sizes.get(log, 0)
            if size <= start:
                continue
            for entity_type, types in _READ.items():
                for index, leaf in reader.entity(log, entity_type, None, size, start):
                    record = trusted_record(log, index, leaf)
                    target = target_of(reader, record)
                    if target is not None:
                        superseded.append(((log, index), target))
                    if _is_wanted(record, entity_type, types):
                        new.append(record)
                    if len(self._records) + len(new) > MAX_RECORDS:
                        raise LimitExceeded(
                            f"{reader.address} has more than {MAX_RECORDS:,} records of runs, "
                            "models and datasets; trace as of an earlier point"
                        )
        self._superseded.extend(superseded)
        if new:
            self._records.extend(new)
            self._records.sort(key=lambda record: (record.recorded_time_us, record.log))
        for log, size in cut.sizes.items():
            self._sizes[log] = max(size, self._sizes.get(log, 0))

    def _things(self, reader: Reader, cut: Cut) -> Iterator[Thing]:
        """The records below the cut, decoded; a START whose end is there stays as it is."""
        below = [one for one in self._records if cut.holds((one.log, one.index))]
        gone = {target for correction, target in self._superseded if cut.holds(correction)}
        books = Books(reader, cut)
        ended: set[str] = set()
        starts: list[Record] = []
        for record in below:
            event = record.event
            assert event is not None
            if (record.log, record.index) in gone:
                continue
            if event.event_id == f"{event.entity_key}:{STARTED}":
                starts.append(record)
                continue
            thing = self._thing(books, record)
            if thing is not None:
                if isinstance(thing, Found):
                    ended.add(thing.data["run_id"])
                yield thing
        for record in starts:
            assert record.event is not None
            if record.event.entity_key not in ended:
                thing = self._thing(books, record)
                if thing is not None:
                    yield thing

    def _thing(self, books: Books, record: Record) -> Thing | None:
        position = record.log, record.index
        if position not in self._decoded:
            self._decoded[position] = _decoded(books, record)
        return self._decoded[position]


def _is_wanted(record: Record, entity_type: str, types: frozenset[str]) -> bool:
    event = record.event
    if event is None or event.entity_type != entity_type:
        raise StoreCorrupt(
            f"entry {record.log}/{record.index} is about something else than the index says; "
            "run audit verify"
        )
    return event.type in types and record.entry.kind is Kind.EVENT


_DECODERS: dict[str, Callable[[Found], ModelEntry | DatasetEntry | FeatureEntry | None]] = {
    MODEL_VERSION: model_entry,
    DATASET_VERSION: dataset_entry,
    FEATURE_DEFINITION: feature_entry,
}


def _decoded(books: Books, record: Record) -> Thing | None:
    """What a record says; None for one that cannot be read, or names nothing."""
    assert record.event is not None
    try:
        data = books.decode(record)
    except (FormatError, UnknownSchema, LimitExceeded):
        return None
    if not isinstance(data, dict):
        return None
    found = Found(record, data)
    # A thing is known by the key that it is recorded under: who may write one writes only that.
    decoder = _DECODERS.get(record.event.type)
    if decoder is not None:
        thing = decoder(found)
        prefix = FEATURES_PREFIX if record.event.type == FEATURE_DEFINITION else ""
        if thing is None or record.event.entity_key != f"{prefix}{thing.name}@{thing.version}":
            return None
        return thing
    is_run = text(data, "name") and data.get("run_id") == record.event.entity_key
    return found if is_run else None


_kept: "WeakKeyDictionary[Reader, TraceIndex]" = WeakKeyDictionary()
_kept_lock = threading.Lock()


def view_of(reader: Reader, cut: Cut) -> View:
    """The runs, models, datasets and feature definitions of a ledger at a cut."""
    with _kept_lock:
        index = _kept.get(reader)
        if index is None:
            index = _kept[reader] = TraceIndex()
    return index.view(reader, cut)

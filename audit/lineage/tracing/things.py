"""Model and dataset versions and feature definitions by what leads to them, at any cut."""

from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from audit.lineage.tracing.trace_records import DatasetEntry, FeatureEntry, ModelEntry

K = TypeVar("K")
T = TypeVar("T")
Thing = ModelEntry | DatasetEntry | FeatureEntry
Version = tuple[str, str]


class Entered(NamedTuple):
    """A thing, and the index from which on its payload can be read."""

    thing: Thing
    since: int


Table = dict[K, list[Entered]]


class Things:
    """All of a ledger. Lists are only ever added to, so that they may be read meanwhile."""

    def __init__(self) -> None:
        """There is nothing yet."""
        self.models: Table[Version] = {}
        self.models_by_digest: Table[str] = {}
        self.models_of_run: Table[str] = {}
        self.models_of_features: Table[Version] = {}
        self.models_of_member: Table[Version] = {}
        self.datasets: Table[Version] = {}
        self.datasets_by_digest: Table[str] = {}
        self.datasets_of_run: Table[str] = {}
        self.datasets_of_parent: Table[str] = {}
        self.datasets_of_model: Table[Version] = {}
        self.datasets_of_type: Table[str] = {}
        self.features: Table[Version] = {}

    def add(self, thing: Thing, since: int) -> None:
        """Enter a thing under all that leads to it."""
        entered = Entered(thing, since)
        if isinstance(thing, ModelEntry):
            self._model(thing, entered)
        elif isinstance(thing, DatasetEntry):
            self._dataset(thing, entered)
        else:
            _put(self.features, (thing.name, thing.version), entered)

    def _model(self, model: ModelEntry, entered: Entered) -> None:
        _put(self.models, (model.name, model.version), entered)
        if model.digest is not None:
            _put(self.models_by_digest, model.digest, entered)
        if model.run_id is not None:
            _put(self.models_of_run, model.run_id, entered)
        for features in model.features:
            _put(self.models_of_features, (features.name, features.version), entered)
        for member in model.members:
            _put(self.models_of_member, (member.name, member.version), entered)

    def _dataset(self, entry: DatasetEntry, entered: Entered) -> None:
        _put(self.datasets, (entry.name, entry.version), entered)
        if entry.digest is not None:
            _put(self.datasets_by_digest, entry.digest, entered)
        if entry.run_id is not None:
            _put(self.datasets_of_run, entry.run_id, entered)
        for parent in entry.parents:
            _put(self.datasets_of_parent, parent, entered)
        for model in entry.predictions_of:
            _put(self.datasets_of_model, (model.name, model.version), entered)
        if entry.entity_type is not None and entry.logs:
            _put(self.datasets_of_type, entry.entity_type, entered)


def _put(found: Table[K], key: K, entered: Entered) -> None:
    found.setdefault(key, []).append(entered)


class Below(Generic[K, T]):
    """One look-up at one cut: what is there of a key, in the order of being recorded."""

    def __init__(
        self, table: Mapping[K, list[Entered]], kind: type[T], there: Callable[[Entered], bool]
    ) -> None:
        """`kind`: of the things in the table."""
        self._table, self._kind, self._there = table, kind, there

    def get(self, key: K) -> list[T]:
        """The things; none for an unknown key."""
        kind = self._kind
        there = filter(self._there, self._table.get(key, ()))
        things = sorted((one.thing for one in there), key=_order)
        return [thing for thing in things if isinstance(thing, kind)]


def _order(thing: Thing) -> tuple[int, int]:
    return thing.record.recorded_time_us, thing.record.log

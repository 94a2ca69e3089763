"""Feature definitions: functions from the ledger's data to features, recorded and never redefined.

    @audit.features("late-history", version="1", reads=["inquiry"])
    def late_history(data, request):
        own = data["inquiry"]
        return {"late": int((own["CustomerID"] == request["CustomerID"]).sum())}

    late_history(ledger.at("2026-01-31"), {"CustomerID": "003"})

Training and serving call the same definition. It is recorded before it is first used: the event
says its name, version and digest, the blob store has the function itself as a capsule. A name and
version that is recorded with another digest already is refused: a change gets a new version.
"""

import functools
import inspect
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from audit.capture.delivery.bus import ENV_STORE, is_kafka
from audit.capture.emitter import Emitter
from audit.capture.pipeline.target import Target
from audit.errors import InvalidInput, StoreMissing
from audit.event.types import FEATURE_DEFINITION
from audit.lineage.again.made_features import MadeFeatures, request_text
from audit.lineage.recorded.features import definition_key, find_definitions
from audit.lineage.recorded.records import DATASET_ENTITY, Named
from audit.lineage.recorded.run_inputs import describe_data
from audit.lineage.source.capsule import Capsule, Subject, capture
from audit.replay.refs import parse_entity
from audit.store.blobs import BlobStore, digest_of

if TYPE_CHECKING:
    import pandas

Function = Callable[[Mapping[str, Any], Any], Mapping[str, Any]]
Data = Mapping[str, "pandas.DataFrame"]


def features(
    name: str,
    *,
    version: str,
    reads: Sequence[str],
    replaces: str | None = None,
    owner: str | None = None,
    description: str | None = None,
    emitter: Emitter | None = None,
    bus: str | None = None,
    blobs: BlobStore | str | None = None,
    source: str | None = None,
) -> Callable[[Function], "FeatureDefinition"]:
    """Record how features are made: ``@audit.features("late-history", version="1", reads=[...])``.

    The function takes (data, request): `data` has a data frame for each dataset in `reads`, and
    `request` says whose features are asked for. It returns them by name. `replaces`: the version
    that this one takes the place of. Where the definition goes: see `model_run`.
    Raises InvalidInput, LimitExceeded.
    """
    key = definition_key(name, version)
    if isinstance(reads, str) or not all(isinstance(read, str) for read in reads):
        raise InvalidInput('reads is a list of datasets, for example reads=["inquiry"]')
    about = {
        "name": name,
        "version": version,
        "entity_types": [parse_entity(read) for read in reads],
        "replaces": replaces,
        "description": description,
        "owner": owner,
    }
    target = Target(emitter, bus, blobs, source)

    def decorate(function: Function) -> FeatureDefinition:
        return FeatureDefinition(function, key, about, target)

    return decorate


class FeatureDefinition:
    """A recorded definition. Call it like the function; safe for several threads."""

    __wrapped__: Function

    def __init__(self, function: Function, key: str, about: dict[str, Any], target: Target) -> None:
        """Use `features`."""
        if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
            raise InvalidInput("a feature definition is a plain function of (data, request)")
        functools.update_wrapper(self, function)
        # A capsule of code that calls this one takes in the function, not what records it.
        self.__audit_function__ = function
        self.name: str = about["name"]
        self.version: str = about["version"]
        self.reads: tuple[str, ...] = tuple(about["entity_types"])
        self._function = function
        self._about = about
        self._key = key
        self._target = target
        self._lock = threading.Lock()
        self._recorded: tuple[Capsule, Named] | None = None
        self._moment: tuple[weakref.ref[Any], dict[str, tuple[Any, dict[str, Any]]]] | None = None

    @property
    def named(self) -> Named:
        """Name, version and digest. The definition is recorded by this, if it was not.

        Raises InvalidInput when this version is recorded with another digest.
        """
        recorded = self._recorded
        if recorded is not None and recorded[0].is_current():
            return recorded[1]
        with self._lock:
            capsule = capture(self._function, Subject(_NOTHING, _NOTHING, self))
            named = Named(self.name, self.version, capsule.digest)
            self._record(capsule)
            self._recorded = capsule, named
        return named

    @property
    def digest(self) -> str:
        """Digest of the recorded function; see `named`."""
        return str(self.named.digest)

    def __call__(self, data: Data, request: Any) -> MadeFeatures:
        """The features. `data`: ``ledger.at(T)``, or frames by name (then they cannot be remade).

        Raises InvalidInput for what cannot be recorded, NotFound for a dataset that is not there;
        what the function itself raises passes unchanged.
        """
        if not isinstance(data, Mapping):
            raise InvalidInput("data is ledger.at(T), or a mapping of dataset to data frame")
        named = self.named
        text = request_text(request)
        frames, reads = self._read(data)
        made = self._function(frames, request)
        if not isinstance(made, Mapping) or not all(isinstance(key, str) for key in made):
            raise InvalidInput(f"{self._key} returns features by name, in a dictionary")
        return MadeFeatures(made, named, text, reads)

    def _read(self, data: Data) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The frames, and how each is cited."""
        frames, reads = {}, []
        for name in self.reads:
            frame, reference = self._frame(data, name)
            frames[name] = frame
            reads.append(reference)
        return frames, reads

    def _frame(self, data: Data, name: str) -> tuple[Any, dict[str, Any]]:
        if isinstance(data, dict):
            try:
                return data[name], _reference(data[name], name)
            except KeyError:
                raise InvalidInput(f"{self._key} reads {name}, which data does not have") from None
        # A point of the ledger: always the same data, so it is replayed and hashed once.
        kept = self._moment
        if kept is None or kept[0]() is not data:
            kept = self._moment = weakref.ref(data), {}
        if name not in kept[1]:
            frame = data[name]
            kept[1][name] = frame, _reference(frame, name)
        frame, reference = kept[1][name]
        return frame.copy(), reference

    def _record(self, capsule: Capsule) -> None:
        """Keep the function, then say so; once for a version and digest."""
        target = self._target
        for data in (*capsule.blobs.values(), capsule.document):
            target.blobs.put(data)
        if self._is_known(capsule.digest):
            return
        source = inspect.getsource(self._function).encode() if not capsule.missing else None
        target.emitter.record(
            FEATURE_DEFINITION,
            {
                **self._about,
                "digest": capsule.digest,
                "source_digest": None if source is None else digest_of(source),
            },
            entity_type=DATASET_ENTITY,
            entity_key=self._key,
        )
        # Sealed at once: whoever defines this version otherwise must be told.
        target.emitter.flush()

    def _is_known(self, digest: str) -> bool:
        """Whether this very definition is recorded. Raises InvalidInput if it is another one."""
        store = os.environ.get(ENV_STORE) if is_kafka(self._target.bus) else self._target.bus
        if store is None:
            return False
        from audit.replay.points import resolve
        from audit.store import open_reader

        try:
            with open_reader(store) as reader:
                found = find_definitions(reader, self.name, self.version, resolve(reader, None, 0))
        except StoreMissing:
            return False
        known = {definition.digest for definition in found}
        if known - {digest}:
            raise InvalidInput(
                f"{self._key} is recorded with other code ({sorted(known)[0]}); a version is never "
                "redefined: give this one a new version, and replaces="
            )
        return digest in known


_NOTHING = object()
"""Stands for a model where there is none: no name is bound to it."""


def _reference(frame: Any, name: str) -> dict[str, Any]:
    """The DataRef of a dataset as it was read."""
    reference = describe_data(frame, name)[0]
    return {**reference, "entity_type": name if reference.get("logs") else None}

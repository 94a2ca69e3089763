"""Training runs: what went in, with which parameters and code, and the model that came out.

One ``model.run`` event is emitted when the block ends, COMPLETE or FAIL, and one ``model.version``
event for each registered model, at once. Artifacts, the caller's source text and the traceback of a
failure go to the blob store; the events name them by digest. What is true after a crash inside the
block: the models registered so far are recorded, the run is not.
"""

import os
import sys
import time
import traceback
from collections.abc import Mapping
from types import CodeType, TracebackType
from typing import Any, Self

from audit.capture.bus import ENV_STORE, is_kafka
from audit.capture.emitter import Emitter
from audit.errors import AuditError, InvalidInput
from audit.event.build import new_event_id
from audit.event.types import MODEL_RUN, MODEL_VERSION
from audit.event.values import normalize, normalize_fields
from audit.lineage.artifact import serialise
from audit.lineage.code_state import code_state
from audit.lineage.environment import environment
from audit.lineage.models import MODEL_ENTITY, ModelVersion, model_key
from audit.lineage.run_inputs import describe_input
from audit.lineage.runner import error_name
from audit.store.blobs import BlobStore, default_blobs_url, digest_of

RUN_ENTITY = "run"
DEFAULT_BUS = "sqlite:///audit.db"
BUS_VARIABLES = ("AUDIT_BUS", "AUDIT_STORE")
VERSION_DIGITS = 12
"""A version that nobody named is this many hex digits of the artifact's digest."""
MAX_ERROR_CHARS = 500


def model_run(
    name: str,
    params: Mapping[str, Any] | None = None,
    seed: int | None = None,
    *,
    emitter: Emitter | None = None,
    bus: str | None = None,
    blobs: BlobStore | str | None = None,
    source: str | None = None,
) -> "ModelRun":
    """Record a training run: ``with audit.model_run("credit-risk", seed=7) as run:``.

    It is emitted through `emitter`; else to `bus`, AUDIT_BUS, AUDIT_STORE or sqlite:///audit.db, in
    the name of `source`. `blobs`: a blob store or its address (default AUDIT_BLOBS, else
    audit-blobs/ beside the store). `seed` is recorded, not set. Raises InvalidInput, Unavailable.
    """
    code = sys._getframe(1).f_code
    return ModelRun(name, params or {}, seed, Target(emitter, bus, blobs, source), code)


class Target:
    """Where events and blobs go: a given emitter, or one of our own, opened when first used."""

    def __init__(
        self,
        emitter: Emitter | None,
        bus: str | None,
        blobs: BlobStore | str | os.PathLike[str] | None,
        source: str | None,
    ) -> None:
        if emitter is not None and (bus is not None or source is not None):
            raise InvalidInput("give an emitter, or a bus and a source, not both")
        self.owned = emitter is None
        self._emitter = emitter
        self._source = source
        self.bus = emitter.bus if emitter is not None else bus or _default_bus()
        if not isinstance(blobs, BlobStore):
            blobs = BlobStore(blobs if blobs is not None else default_blobs_url(self._store()))
        self.blobs = blobs

    def _store(self) -> str | None:
        """The ledger that blobs lie beside; with Kafka it is known only when somebody said it."""
        if self._emitter is not None:
            return self._emitter.store
        return os.environ.get(ENV_STORE) if is_kafka(self.bus) else self.bus

    @property
    def emitter(self) -> Emitter:
        """The emitter. Opening our own raises InvalidInput, Unavailable, StoreCorrupt."""
        if self._emitter is None:
            self._emitter = Emitter(self.bus, self._source)
        return self._emitter

    def finish(self) -> None:
        """Seal what was emitted; close an emitter of our own. Raises as `Emitter.flush`."""
        emitter = self._emitter
        if emitter is None:
            return
        if self.owned:
            self._emitter = None
            emitter.close()
        else:
            emitter.flush()


def _default_bus() -> str:
    named = (os.environ.get(variable) for variable in BUS_VARIABLES)
    return next((url for url in named if url), DEFAULT_BUS)


class ModelRun:
    """One run, to be used as a context manager. An exception of the block passes unchanged."""

    def __init__(
        self, name: str, params: Mapping[str, Any], seed: int | None, target: Target, code: CodeType
    ) -> None:
        """Use `model_run`."""
        model_key(name, "0")
        self.name = name
        self.run_id = new_event_id()
        self._params = normalize_fields(params)
        self._seed = _checked_seed(seed)
        self._target = target
        self._code = code
        self._metrics: dict[str, float] = {}
        self._inputs: list[dict[str, Any]] = []
        self._model: ModelVersion | None = None
        self._started_us: int | None = None
        self._done = False

    def param(self, name: str, value: Any) -> None:
        """A parameter; naming it again replaces it. Raises InvalidInput."""
        self._check_running()
        self._params.update(normalize_fields({name: value}))

    def metric(self, name: str, value: float) -> None:
        """A measured number; naming it again replaces it. Raises InvalidInput."""
        self._check_running()
        number = normalize(value)
        if type(number) is int:
            number = float(number)
        if type(number) is not float:
            raise InvalidInput(f"metric {name!r:.80} is a number, not {type(value).__name__}")
        self._metrics.update({str(key): number for key in normalize_fields({name: number})})

    def input(self, data: Any, name: str | None = None) -> str:
        """Something that the run reads: a frame, an array, bytes or a file. Returns its digest.

        Where `Ledger.replay` made the frame, the point it was replayed at is recorded too.
        Raises InvalidInput, NotFound, Unavailable.
        """
        self._check_running()
        described = describe_input(data, name)
        self._inputs.extend(described)
        return str(described[0]["digest"])

    def model(
        self, model: Any, version: str | None = None, name: str | None = None
    ) -> ModelVersion:
        """Register a model: its artifact goes to the blob store, and a model.version event out.

        A model is pickled (protocol 5); bytes, or the file at a path, are taken as they are.
        Without a `version` it is the first 12 hex digits of the artifact's digest: the same bytes
        have the same version. `name`: default the run's. Raises InvalidInput, Unavailable.
        """
        self._check_running()
        artifact = serialise(model)
        name = self.name if name is None else name
        digest = digest_of(artifact.data)
        if version is None:
            version = digest.removeprefix("sha256:")[:VERSION_DIGITS]
        key = model_key(name, version)
        # First the bytes, then the event: an event never names an artifact that was not kept.
        self._target.blobs.put(artifact.data)
        event_id = self._target.emitter.record(
            MODEL_VERSION,
            {
                "name": name,
                "version": version,
                "digest": digest,
                "artifact_bytes": len(artifact.data),
                "format": artifact.format,
                "run_id": self.run_id,
                "packages": environment(artifact.modules),
            },
            entity_type=MODEL_ENTITY,
            entity_key=key,
        )
        self._model = ModelVersion(
            name,
            version,
            digest,
            format=artifact.format,
            artifact_bytes=len(artifact.data),
            event_id=event_id,
            run_id=self.run_id,
            blobs=self._target.blobs,
            object=artifact.object,
        )
        return self._model

    def __enter__(self) -> Self:
        """The run begins."""
        if self._started_us is not None:
            raise InvalidInput("a run is used once; make a new one")
        self._started_us = time.time_ns() // 1_000
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """The run ends: COMPLETE, or FAIL when the block raised."""
        self._done = True
        try:
            self._emit(error)
            self._target.finish()
        except AuditError as problem:
            if error is None:
                raise
            error.add_note(f"and the failed run could not be recorded: {problem}")

    def _emit(self, error: BaseException | None) -> None:
        state = code_state(self._code)
        blobs = self._target.blobs
        surroundings: dict[str, Any] = {**environment()}
        if state.dirty is not None:
            surroundings["git_dirty"] = state.dirty
        model = self._model
        self._target.emitter.record(
            MODEL_RUN,
            {
                "run_id": self.run_id,
                "name": self.name,
                "status": "COMPLETE" if error is None else "FAIL",
                "started_us": self._started_us,
                "ended_us": time.time_ns() // 1_000,
                "params": self._params,
                "metrics": self._metrics,
                "seed": self._seed,
                "inputs": self._inputs,
                "model": model
                and {"name": model.name, "version": model.version, "digest": model.digest},
                "code_digest": None if state.source is None else blobs.put(state.source),
                "code_commit": state.commit,
                "environment": surroundings,
                "error": None if error is None else _described(error, blobs),
            },
            entity_type=RUN_ENTITY,
            entity_key=self.run_id,
            event_id=self.run_id,
        )

    def _check_running(self) -> None:
        if self._started_us is None or self._done:
            raise InvalidInput("a run records only inside its with block")


def _checked_seed(seed: Any) -> int | None:
    value = normalize(seed)
    if value is not None and type(value) is not int:
        raise InvalidInput(f"a seed is an integer, not {type(seed).__name__}")
    return value


def _described(error: BaseException, blobs: BlobStore) -> str:
    """Type and words of an error, and the digest of its traceback, which the blob store holds."""
    text = "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace")
    words = str(error).encode("utf-8", "backslashreplace").decode()
    return f"{error_name(error)}: {words[:MAX_ERROR_CHARS]} (traceback {blobs.put(text)})"

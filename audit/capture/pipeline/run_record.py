"""What a run writes down while it is going on: START when it begins; COMPLETE, FAIL or ABORT.

Two events of run.v1 about run/RUN_ID: the START has the id RUN_ID:START, the end the id RUN_ID. The
START says all that is known then: arguments, parameters, code, environment. The end says it again,
with outputs, models, tests, metrics and the error. What is true after a crash inside the run: the
START and the models registered so far are recorded, the end is not.

What running it again needs besides is the field ``rerun``, JSON::

    {"kind": "function", "async": false, "arguments": [ARGUMENT, ...], "missing": [why, ...]}
    {"kind": "script", "file": name, "argv": [...], "missing": [...]}

function: ``function_digest`` is its capsule (`audit.lineage.source.capsule`) in the blob store.
ARGUMENT is {"name": parameter of the function, ...ITEM}: put the things in `arguments` of an
`inspect.BoundArguments` of its signature; *args is a tuple there, **kwargs a dict. What is not
named has its default. A ``seed`` that is recorded is among the arguments, or nobody set it. ITEM::

    {"is": "value", "value": JSON, "form": FORM}     as in capsules: served.rebuild(from_json(..))
    {"is": "input", "name", "digest", "kind", "blob", "series": bool}   the entry of `inputs` with
                                         this name and digest: it has the citation, if there is one;
                                         blob: digest of the copy (audit.lineage.content.kept_data),
                                         or null
    {"is": "path", "path": text}         a pathlib.Path of no file then: somewhere to write to
    {"is": "version", "model": its name, "version", "digest", "format"}  a ModelVersion
    {"is": "tuple" | "list", "items": [ITEM, ...]}
    {"is": "dict", "items": [[key, ITEM], ...]}
    {"is": "missing", "why": text}       it cannot be made again: so the run cannot be run again

An input of kind file is given as pathlib.Path: write the copy to a file first. script: the source
text is ``code_digest``; run it with these arguments (argv[0] is the script) in an empty folder.
``missing`` (left out when empty) says what was not kept: the blob store was not reachable.
Code that is run again calls `current_run` like any other: run it inside ``with
running(Unrecorded()) as run``; run.params, run.metrics and run.models are what it said.
"""

import logging
import os
import time
import traceback
from collections.abc import Mapping
from contextvars import Token
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from audit.capture.pipeline.outbox import NOT_REACHED, OnUnavailable, Outbox, compact
from audit.capture.pipeline.registering import ModelOptions, feature_ref, register
from audit.capture.pipeline.target import Target
from audit.capture.pipeline.unrecorded import (
    Unrecorded,
    checked_metric,
    current_run,
    going_on,
    running,
)
from audit.errors import AuditError, InvalidInput, LimitExceeded
from audit.event.build import new_event_id
from audit.event.values import normalize, normalize_fields
from audit.lineage.again.runner import error_name, words_of
from audit.lineage.recorded.models import ModelVersion
from audit.lineage.recorded.records import RUN_ENTITY
from audit.lineage.recorded.run_inputs import describe_data
from audit.lineage.recorded.runs import ABORT, COMPLETE, FAIL, STARTED
from audit.lineage.source.code_state import CodeState
from audit.lineage.source.environment import environment, lock_text, machine
from audit.store.blobs import digest_of

__all__ = ["About", "OnUnavailable", "RunRecorder", "Unrecorded", "current_run", "running"]

MAX_ERROR_CHARS = 500

_log = logging.getLogger("audit.capture")


class About(NamedTuple):
    """What is known of a run before it begins."""

    type: str
    name: str
    description: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    seed: int | None = None
    keep: bool = False
    profile: bool = False
    on_unavailable: OnUnavailable = "continue"


class RunRecorder:
    """One run going on: say here what it reads, makes and measures. Not for several threads."""

    def __init__(self, about: About, target: Target) -> None:
        """Use `audit.component` or `audit.model_run`."""
        self.run_id = new_event_id()
        self.name = about.name
        what = f"run {self.run_id} of {about.name}"
        self.outbox = Outbox(target, what, self.run_id, about.type, about.on_unavailable)
        self.about = about
        self.target = target
        self.params: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self.inputs: list[dict[str, Any]] = []
        self.outputs: list[dict[str, Any]] = []
        self.models: list[ModelVersion] = []
        self.features: list[dict[str, Any]] = []
        self.tests: list[dict[str, Any]] = []
        self.rerun: dict[str, Any] | None = None
        self.modules: frozenset[str] = frozenset()
        self.function_digest: str | None = None
        self.seed = checked_seed(about.seed)
        self.going = False
        self._constant: dict[str, Any] = {}
        self._started_us: int | None = None
        self._process_id: int | None = None
        self._token: Token[RunRecorder | Unrecorded | None] | None = None

    def param(self, name: str, value: Any) -> None:
        """A parameter; naming it again replaces it. Raises InvalidInput."""
        self._check_going()
        self.params.update(normalize_fields({name: value}))

    def metric(self, name: str, value: float) -> None:
        """A measured number; naming it again replaces it. Raises InvalidInput."""
        self._check_going()
        self.metrics.update(checked_metric(name, value))

    def input(self, data: Any, name: str | None = None, *, keep: bool | None = None) -> str:
        """Something that the run reads: a frame, an array, bytes, a file, a model, a value.

        A text is the path of a file. Where `Ledger.replay` made the frame, the point it was
        replayed at is recorded too. `keep`: a copy goes to the blob store (default: as the run
        says). Returns the digest. Raises InvalidInput, NotFound, Unavailable.
        """
        self._check_going()
        described = self.described(data, name, keep)
        self.inputs.extend(described)
        return str(described[0]["digest"])

    def output(self, data: Any, name: str | None = None, *, keep: bool | None = None) -> str:
        """Something that the run makes; as `input`."""
        self._check_going()
        described = self.described(data, name, keep)
        self.outputs.extend(described)
        return str(described[0]["digest"])

    def feature(self, definition: Any) -> None:
        """A feature definition that the run uses: what `@audit.features` made. Raises."""
        self._check_going()
        reference = feature_ref(definition)
        if reference not in self.features:
            self.features.append(reference)

    def model(
        self,
        model: Any,
        version: str | None = None,
        name: str | None = None,
        **options: Unpack[ModelOptions],
    ) -> ModelVersion:
        """Register a model that the run made, as `register` does; raises as it."""
        self._check_going()
        made = register(self, model, version, name, **options)
        self.models.append(made)
        return made

    def described(self, data: Any, name: str | None, keep: bool | None) -> list[dict[str, Any]]:
        """The DataRefs of something, with copy and profile as the run says.

        Where those cannot be kept that is noted, unless the run was asked to raise.
        """
        about = self.about
        thing = Path(data) if isinstance(data, str) else data
        keep = about.keep if keep is None else keep
        try:
            return describe_data(
                thing, name, profile=about.profile, keep=keep, blobs=self.target.blobs
            )
        except (*NOT_REACHED, LimitExceeded) as error:
            if self.outbox.raises:
                raise
            self.outbox.miss(f"no copy or profile of {name} was kept: {error}")
            return describe_data(thing, name)

    def begin(self, code: CodeState) -> None:
        """The run begins: START. Raises Unavailable only where it was asked to."""
        if self._started_us is not None:
            raise InvalidInput("a run is used once; make a new one")
        parent = going_on.get()
        parent_id = None
        if isinstance(parent, RunRecorder):
            self.target.borrow(parent.target)
            parent_id = parent.run_id
        self._started_us = time.time_ns() // 1_000
        self._process_id = os.getpid()
        lock = lock_text()
        self.outbox.keep("the list of packages", lock)
        self._constant = {
            "parent_run_id": parent_id,
            "code_digest": self.outbox.keep("the source text", code.source),
            "code_commit": code.commit,
            "code_dirty": code.dirty,
            "environment": {**environment(self.modules), **machine()},
            "lock_digest": digest_of(lock),
        }
        self._emit(self._record(STARTED), f"{self.run_id}:START")
        self.outbox.begun()
        self.going = True
        self._token = going_on.set(self)

    def end(self, error: BaseException | None) -> None:
        """The run ends. What cannot be recorded of a failure is a note of its exception."""
        self.going = False
        if self._token is not None:
            try:
                going_on.reset(self._token)
            except ValueError:  # ended in another context than it began in
                going_on.set(None)
        if os.getpid() != self._process_id:
            return  # a forked child left the block: the run is its parent's, which says the end
        try:
            self._end(error)
        except Exception as problem:  # whatever it is: the result of the run matters more
            if error is not None:
                error.add_note(f"and the failed run could not be recorded: {words_of(problem)}")
            elif self.outbox.raises and isinstance(problem, AuditError):
                raise
            else:
                _log.error("the end of run %s is not recorded: %s", self.run_id, words_of(problem))

    def _end(self, error: BaseException | None) -> None:
        text, lines = None, None
        status = status_of(error)
        if error is not None and status != COMPLETE:
            text = error_text(error)
            full = "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace")
            lines = self.outbox.keep("the traceback", full)
        said = {"error": text, "traceback_digest": lines, "ended_us": time.time_ns() // 1_000}
        self.outbox.release()
        self._emit(self._record(status, said), self.run_id)
        self.outbox.finish()

    def _emit(self, record: dict[str, Any], event_id: str) -> None:
        self.outbox.emit_or_hold(self.about.type, record, RUN_ENTITY, self.run_id, event_id)

    def _record(self, status: str, said: Mapping[str, Any] | None = None) -> dict[str, Any]:
        rerun = self.rerun
        if self.outbox.missing:
            rerun = {**(rerun or {"kind": "none"}), "missing": self.outbox.missing}
        models = [
            {"name": made.name, "version": made.version, "digest": made.digest}
            for made in self.models
        ]
        return {
            "run_id": self.run_id,
            "name": self.name,
            "status": status,
            "started_us": self._started_us,
            "description": self.about.description,
            "owner": self.about.owner,
            "tags": list(self.about.tags),
            "params": self.params,
            "metrics": self.metrics,
            "seed": self.seed,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "model": models[-1] if models else None,
            "models": models if len(models) > 1 else [],
            "features": self.features,
            "tests": self.tests,
            "function_digest": self.function_digest,
            "rerun": None if rerun is None else compact(rerun),
            **self._constant,
            **(said or {}),
        }

    def _check_going(self) -> None:
        if not self.going:
            raise InvalidInput("a run records only while it is going on, inside its with block")


def status_of(error: BaseException | None) -> str:
    """How a run ended: an interrupted one was aborted, and `sys.exit(0)` is no failure."""
    if error is None:
        return COMPLETE
    if isinstance(error, SystemExit) and isinstance(error.code, int | None) and not error.code:
        return COMPLETE
    aborted = isinstance(error, (KeyboardInterrupt, GeneratorExit))
    return ABORT if aborted or type(error).__name__ == "CancelledError" else FAIL


def error_text(error: BaseException) -> str:
    """Type and words of an error."""
    return f"{error_name(error)}: {words_of(error)[:MAX_ERROR_CHARS]}"


def checked_seed(seed: Any) -> int | None:
    """An integer of 64 bits, or None. Raises InvalidInput."""
    value = normalize(seed)
    if value is not None and type(value) is not int:
        raise InvalidInput(f"a seed is an integer, not {type(seed).__name__}")
    return value

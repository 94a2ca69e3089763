"""Training runs: what went in, with which parameters and code, and the models that came out.

A ``model.run`` event is emitted when the run begins, START, and when it ends, COMPLETE or FAIL, and
one ``model.version`` event for each registered model, at once. Artifacts, source texts, functions
and tracebacks go to the blob store; the events name them by digest. What is true after a crash
inside the run: its START and the models registered so far are recorded, its end is not.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from audit.capture.emitter import Emitter
from audit.capture.pipeline.arguments import feature_refs
from audit.capture.pipeline.component import (
    Place,
    Settings,
    checked_params,
    checked_tags,
    decorator,
)
from audit.capture.pipeline.run_record import About, OnUnavailable, RunRecorder
from audit.capture.pipeline.target import DEFAULT_BUS, Target
from audit.event.types import MODEL_RUN
from audit.lineage.recorded.models import model_key
from audit.lineage.source.code_state import code_state
from audit.store.blobs import BlobStore

__all__ = ["DEFAULT_BUS", "ModelRun", "Target", "model_run"]

P = ParamSpec("P")
R = TypeVar("R")


def model_run(
    name: str,
    params: Mapping[str, Any] | None = None,
    seed: int | None = None,
    *,
    features: Sequence[Any] = (),
    owner: str | None = None,
    tags: Sequence[str] = (),
    description: str | None = None,
    keep: bool = False,
    profile: bool = True,
    on_unavailable: OnUnavailable = "continue",
    emitter: Emitter | None = None,
    bus: str | None = None,
    blobs: BlobStore | str | None = None,
    source: str | None = None,
) -> "ModelRun":
    """Record a training run: ``with audit.model_run("credit-risk", seed=7) as run:``.

    It is emitted through `emitter`; else to `bus`, AUDIT_BUS, AUDIT_STORE or sqlite:///audit.db, in
    the name of `source`. `blobs`: a blob store or its address (default AUDIT_BLOBS, else
    audit-blobs/ beside the store). `seed` is recorded, not set. `features`: the definitions that
    it uses. `keep`, `profile`, `on_unavailable`: see `audit.component`.

    As a decorator of a training function each call of it is a run, recorded like a component's, and
    the models that it returns are registered: alone, or in a tuple or dict; an object with a method
    predict, transform or fit is a model. Raises InvalidInput, Unavailable.
    """
    model_key(name, "0")
    about = About(
        MODEL_RUN, name, description, owner, checked_tags(tags), seed, keep, profile, on_unavailable
    )
    frame = sys._getframe(1)
    script = script_of(frame.f_globals, frame.f_code)
    settings = Settings(params=checked_params(params or {}), features=tuple(feature_refs(features)))
    return ModelRun(about, settings, Place(emitter, bus, blobs, source), frame.f_code, script)


class ModelRun(RunRecorder):
    """One training run, to be used as a context manager or decorator.

    An exception of the block passes unchanged.
    """

    def __init__(
        self,
        about: About,
        settings: Settings,
        place: Place,
        code: CodeType,
        script: dict[str, Any] | None,
    ) -> None:
        """Use `model_run`."""
        super().__init__(about, place.target())
        self._settings = settings
        self._place = place
        self._code = code
        self.params.update(settings.params)
        self.features.extend(settings.features)
        self.rerun = script

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, so that each call of it is a run. Raises InvalidInput."""
        return decorator(self.about, self._settings, self._place)(function)

    def __enter__(self) -> Self:
        """The run begins. Raises Unavailable only where it was asked to."""
        self.begin(code_state(self._code))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """The run ends: COMPLETE, or FAIL when the block raised."""
        self.end(error)


def script_of(namespace: Mapping[str, Any], code: CodeType) -> dict[str, Any] | None:
    """How to run the caller again when it is a script; None in a module, notebook or prompt."""
    file = namespace.get("__file__")
    if namespace.get("__name__") != "__main__" or not isinstance(file, str):
        return None
    if code.co_filename != file:
        return None
    arguments = [text.encode("utf-8", "backslashreplace").decode() for text in sys.argv]
    return {"kind": "script", "file": file, "argv": arguments}

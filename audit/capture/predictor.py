"""Predictions logged as they are made: features as served, output, model, code, latency, failure.

Life of a call: the features are described exactly, the function runs, the output is described, and
one ``prediction`` event is emitted. The code goes to the blob store as a capsule (what the function
is, and what its names mean) before the first prediction that it makes, and again when a name that
it uses was bound to something else. So a replay can run exactly this again.

What is never the case: that an answer is handed out and not recorded. Where it cannot be recorded,
the call raises instead. What the function itself raises is recorded and passes unchanged.
"""

import functools
import inspect
import json
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec, TypeVar

from audit.capture.context import current
from audit.capture.emitter import Emitter
from audit.capture.runs import Target
from audit.errors import AuditError, InvalidInput
from audit.event.build import new_event_id
from audit.event.types import PREDICTION
from audit.event.values import Value, key_text
from audit.lineage.capsule import Capsule, Subject, capture
from audit.lineage.environment import environment
from audit.lineage.forms import Form
from audit.lineage.models import ModelVersion
from audit.lineage.predictions import ERROR_STATUS, OK_STATUS, PREDICTION_ENTITY
from audit.lineage.runner import error_name
from audit.lineage.served import describe, describe_fields
from audit.store.blobs import BlobStore

MAX_ERROR_CHARS = 500

P = ParamSpec("P")
R = TypeVar("R")
Key = str | Callable[[Any], Any] | None


def predictor(
    model: ModelVersion,
    *,
    emitter: Emitter | None = None,
    bus: str | None = None,
    key: Key = None,
    threshold: float | None = None,
    blobs: BlobStore | str | None = None,
    source: str | None = None,
) -> Callable[[Callable[P, R]], "Predictor[P, R]"]:
    """Log every call of a function that answers with a model: ``@audit.predictor(model=version)``.

    `model`: what `run.model` returned. Where events go: see `model_run`. `key`: what a prediction
    is about - the name of a feature, or a function of the features; without one, or where there is
    none, it is known by its own id. `threshold`: the number that the output is compared with to
    decide; a replay then tells whether the decision is the same. `blobs`: default the model's.

    The function takes a dictionary, list, one-row data frame or array (or several arguments) and
    returns a number, text, dictionary, list or array. Raises InvalidInput for anything else.
    """
    if not isinstance(model, ModelVersion):
        raise InvalidInput(
            f"model is a version that run.model() returned, not a {type(model).__qualname__}"
        )
    if threshold is not None and not isinstance(threshold, (int, float)):
        raise InvalidInput("a threshold is a number")
    target = Target(emitter, bus, model.blobs if blobs is None else blobs, source)

    def decorate(function: Callable[P, R]) -> Predictor[P, R]:
        return Predictor(function, model, target, key, threshold)

    return decorate


class Predictor(Generic[P, R]):
    """A logged function. Call it like the function; safe for several threads."""

    __wrapped__: Callable[P, R]

    def __init__(
        self,
        function: Callable[P, R],
        model: ModelVersion,
        target: Target,
        key: Key,
        threshold: float | None,
    ) -> None:
        """Use `predictor`."""
        if not inspect.isfunction(function):
            raise InvalidInput("a predictor is a plain function: decorate that, under all others")
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise InvalidInput(f"{function.__name__} is a coroutine or generator; use a function")
        functools.update_wrapper(self, function)
        self.model = model
        self._function = function
        self._signature = inspect.signature(function)
        self._target = target
        self._key = key
        self._threshold = None if threshold is None else float(threshold)
        self._last_id: ContextVar[str | None] = ContextVar("last_prediction_id", default=None)
        self._captured: tuple[Capsule, dict[str, str]] | None = None

    @property
    def last_id(self) -> str | None:
        """Id of the newest prediction made in this thread or task; None before the first."""
        return self._last_id.get()

    def flush(self, timeout: float | None = None) -> None:
        """Return when all predictions so far are sealed; `timeout` in seconds."""
        self._target.emitter.flush(timeout)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Answer, and record the answer."""
        arguments, features = self._features(args, kwargs)
        fields, form = describe_fields(features)
        key = self._key_of(features)
        capsule, surroundings = self._code()
        call: dict[str, Any] = {
            "arguments": arguments,
            "features": form,
            "output": None,
            "format": self.model.format,
            "threshold": self._threshold,
            "environment": surroundings,
        }
        begin_ns = time.perf_counter_ns()
        try:
            output: R = self._function(*args, **kwargs)
        except BaseException as error:
            latency_ns = time.perf_counter_ns() - begin_ns
            self._emit_failure(error, fields, key, capsule, call, latency_ns)
            raise
        latency_ns = time.perf_counter_ns() - begin_ns
        try:
            value, call["output"] = describe(output)
        except AuditError as error:
            self._emit_failure(error, fields, key, capsule, call, latency_ns)
            raise
        self._emit(fields, key, capsule, call, latency_ns, value, None)
        return output

    def _features(self, args: Any, kwargs: Any) -> tuple[str, Any]:
        """How the function is called, and its one argument, or all of them by name."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError:
            # The function itself says best what is wrong with the call; nothing was predicted.
            self._function(*args, **kwargs)
            raise
        parameters = list(self._signature.parameters.values())
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        if len(parameters) == 1 and parameters[0].kind not in variable and bound.arguments:
            return "one", bound.arguments[parameters[0].name]
        return "many", dict(bound.arguments)

    def _key_of(self, features: Any) -> str | None:
        key = self._key
        if key is None:
            return None
        if callable(key):
            found = key(features)
        else:
            try:
                found = features[key]
            except (KeyError, IndexError, TypeError):
                return None
            if type(found).__module__.startswith("pandas") and type(found).__name__ == "Series":
                found = found.iloc[0] if len(found) == 1 else None
        plain = describe(found).value
        return None if plain is None else key_text(plain)

    def _code(self) -> tuple[Capsule, dict[str, str]]:
        """The capsule of the code as it is now, and what it runs on.

        Several threads may make it at once: they make the same one.
        """
        captured = self._captured
        if captured is None or not captured[0].is_current():
            capsule = capture(self._function, Subject(self.model.object, self.model, self))
            # Kept before the first prediction that names them: a record never names code that
            # nobody has.
            for data in (*capsule.blobs.values(), capsule.document):
                self._target.blobs.put(data)
            captured = self._captured = capsule, environment(capsule.modules)
        return captured

    def _emit_failure(
        self,
        error: BaseException,
        fields: dict[str, Value],
        key: str | None,
        capsule: Capsule,
        call: dict[str, Any],
        latency_ns: int,
    ) -> None:
        """Record a failure; when that fails too, the first error still is the one that passes."""
        words = str(error).encode("utf-8", "backslashreplace").decode()
        text = f"{error_name(error)}: {words[:MAX_ERROR_CHARS]}"
        try:
            self._emit(fields, key, capsule, call, latency_ns, None, text)
        except AuditError as problem:
            error.add_note(f"and the failed prediction could not be recorded: {problem}")

    def _emit(
        self,
        fields: dict[str, Value],
        key: str | None,
        capsule: Capsule,
        call: dict[str, Any],
        latency_ns: int,
        output: Value,
        error: str | None,
    ) -> None:
        prediction_id = new_event_id()
        self._target.emitter.record(
            PREDICTION,
            {
                "request_id": current().request_id,
                "model_name": self.model.name,
                "model_version": self.model.version,
                "model_digest": self.model.digest,
                "code_digest": capsule.digest,
                "features": fields,
                "output": output,
                "status": OK_STATUS if error is None else ERROR_STATUS,
                "error": error,
                "latency_us": latency_ns // 1_000,
                "call": _json(call),
            },
            entity_type=PREDICTION_ENTITY,
            entity_key=prediction_id if key is None else key,
            event_id=prediction_id,
        )
        self._last_id.set(prediction_id)


def _json(call: dict[str, Form | Any]) -> str:
    return json.dumps(call, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

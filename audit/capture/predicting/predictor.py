"""Predictions logged as they are made: features as served, output, model, code, latency, failure.

Life of a call: the features are described exactly and checked, the function runs, the output is
described, and one ``prediction`` event is emitted. The code goes to the blob store as a capsule
(what the function is, and what its names mean) before the first prediction that it makes, and again
when a name that it uses was bound to something else. So a replay can run exactly this again.

What is never the case: that an answer is handed out and not recorded. Where it cannot be recorded,
the call raises instead. What the function itself raises is recorded and passes unchanged.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from audit.capture.emitter import Emitter
from audit.capture.pipeline.target import Target
from audit.capture.predicting.logged import Predictor
from audit.capture.predicting.prediction_call import Key, Settings, Shadows
from audit.errors import InvalidInput
from audit.lineage.content.expects import Expects
from audit.lineage.recorded.models import ModelVersion
from audit.lineage.recorded.predictions import PRIMARY, ROLES
from audit.store.blobs import BlobStore

if TYPE_CHECKING:
    Shadow = Predictor[Any, Any] | ModelVersion

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["Predictor", "predictor"]


def predictor(
    model: ModelVersion,
    *,
    emitter: Emitter | None = None,
    bus: str | None = None,
    key: Key = None,
    threshold: float | None = None,
    expects: Mapping[str, Any] | None = None,
    role: str = PRIMARY,
    shadow: "Shadow | Sequence[Shadow] | None" = None,
    batch: bool = False,
    seed: int | None = None,
    blobs: BlobStore | str | None = None,
    source: str | None = None,
) -> Callable[[Callable[P, R]], Predictor[P, R]]:
    """Log every call of a function that answers with a model: ``@audit.predictor(model=version)``.

    The function takes a dictionary, list, one-row data frame or array (or several arguments) and
    returns a number, text, dictionary, list or array. It may be a coroutine function. With `batch`
    it takes many rows (a data frame, an array, a list) and returns as many outputs: one event
    stands for all, see `audit.capture.predicting.prediction_batch`. Raises InvalidInput for
    anything else.

    `model`: what `run.model` returned. Where events go: see `model_run`. `key`: what a prediction
    is about - the name of a feature, or a function of the features; without one, or where there is
    none, it is known by its own id. `threshold`: the number that the output is compared with to
    decide; a replay then tells whether the decision is the same. `expects`: what the features must
    be (see `audit.lineage.content.expects`); others are recorded as REJECTED_INPUT and raise
    RejectedInput, and the function is not run. Both: default the version's. `role`: see
    prediction.v2. `seed` is recorded, not set. `blobs`: default the model's.

    `shadow`: other logged functions, or model versions to run through this one; they run beside it
    and are recorded only, see `audit.capture.predicting.shadow`. A prediction made inside the call
    of another one is its parent; if it is by one of the version's members, its member.
    """
    if not isinstance(model, ModelVersion):
        raise InvalidInput(
            f"model is a version that run.model() returned, not a {type(model).__qualname__}"
        )
    if role not in ROLES:
        raise InvalidInput(f"a role is one of {', '.join(ROLES)}")
    if isinstance(seed, bool) or not isinstance(seed, int | None):
        raise InvalidInput(f"a seed is an integer, not {type(seed).__name__}")
    settings = Settings(key, _threshold(model, threshold), _expects(model, expects), role, seed)
    target = Target(emitter, bus, model.blobs if blobs is None else blobs, source)
    shadows = _listed(shadow)
    if batch and shadows:
        raise InvalidInput("a batch has no shadow; let the shadow's function take the rows, too")

    def decorate(function: Callable[P, R]) -> Predictor[P, R]:
        made = _kind_for(function, batch)(function, model, target, settings)
        made.shadows = _beside(shadows)
        return made

    return decorate


def _beside(shadows: "tuple[Shadow, ...]") -> Shadows | None:
    if not shadows:
        return None
    from audit.capture.predicting.shadow import ShadowModels

    return ShadowModels(shadows)


def _kind_for(function: object, batch: bool) -> type[Predictor[Any, Any]]:
    if not inspect.isfunction(function):
        raise InvalidInput("a predictor is a plain function: decorate that, under all others")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidInput(f"{function.__name__} is a generator; use a function that returns")
    if inspect.iscoroutinefunction(function):
        if batch:
            raise InvalidInput(f"{function.__name__} is a coroutine; a batch needs a function")
        from audit.capture.predicting.predictor_async import AsyncPredictor

        return AsyncPredictor
    if batch:
        from audit.capture.predicting.prediction_batch import BatchPredictor

        return BatchPredictor
    return Predictor


def _threshold(model: ModelVersion, given: float | None) -> float | None:
    value = model.threshold if given is None else given
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput("a threshold is a number")
    return float(value)


def _expects(model: ModelVersion, given: Mapping[str, Any] | None) -> Expects | None:
    declared = model.expects if given is None else given
    return Expects(declared) if declared else None


def _listed(shadow: Any) -> "tuple[Shadow, ...]":
    if shadow is None:
        return ()
    listed = tuple(shadow) if isinstance(shadow, list | tuple) else (shadow,)
    for one in listed:
        if not isinstance(one, Predictor | ModelVersion):
            raise InvalidInput(
                "a shadow is a function under @audit.predictor, or a version from run.model()"
            )
    return listed

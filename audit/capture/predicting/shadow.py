"""Shadows: other models that get what the primary got, and whose answers are recorded only.

A shadow runs after the primary's answer was recorded, in one of a few threads of this process, with
the features as served (made again from what was recorded, so what the primary did to them does not
matter), the same request time and the same context. Whatever it raises, however slow it is: nothing
reaches the caller; what cannot even be recorded is logged. A coroutine function gets an event loop
of its own there.

When MAX_WAITING of them wait already, the next is not run: a failed prediction says so. When no
thread can be begun any more (the interpreter ends), it runs in the caller's thread.

A model version as shadow is run through the primary's own function: a copy of it, and of those of
one's own functions that it uses, in which every name of the model means the other one. The copy
sees the globals as they were at its making.
"""

import contextvars
import inspect
import logging
import os
import threading
import time
import types
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any
from weakref import WeakKeyDictionary

from audit.capture.predicting.logged import Predictor
from audit.capture.predicting.prediction_call import Beside, Given
from audit.capture.predicting.running import running
from audit.errors import InvalidInput, RejectedInput, Unavailable
from audit.lineage.content.expects import Expects
from audit.lineage.content.served import rebuild
from audit.lineage.recorded.models import ModelVersion
from audit.lineage.recorded.predictions import SHADOW
from audit.lineage.source.capsule import is_installed

THREADS = 2
MAX_WAITING = 1_000
"""Shadows of one primary that may wait for a thread."""

_log = logging.getLogger("audit.capture")
_lock = threading.RLock()  # unpickling a model may call anything
_pools: list[ThreadPoolExecutor] = []
"""One, once it was needed."""
_pending: WeakKeyDictionary[Predictor[Any, Any], set[Future[None]]] = WeakKeyDictionary()
"""The shadows of each primary that are not done."""
_made: WeakKeyDictionary[Predictor[Any, Any], dict[ModelVersion, Predictor[Any, Any]]] = (
    WeakKeyDictionary()
)
"""The primary's function with each version that is its shadow."""


class ShadowModels:
    """The shadows of one logged function: others, or versions of models to run through it."""

    def __init__(self, shadows: tuple[Predictor[Any, Any] | ModelVersion, ...]) -> None:
        self._shadows = shadows

    def run(self, primary: Predictor[Any, Any], given: Given, beside: Beside) -> None:
        """See `prediction_call.Shadows.run`."""
        for one in self._shadows:
            _run_beside(primary, one, given, beside)

    def wait(self, primary: Predictor[Any, Any], timeout_s: float | None) -> None:
        """See `prediction_call.Shadows.wait`."""
        _wait_for(primary, timeout_s)


def _run_beside(
    primary: Predictor[Any, Any],
    shadow: Predictor[Any, Any] | ModelVersion,
    given: Given,
    beside: Beside,
) -> None:
    """Run a shadow soon. Never raises; `_wait_for` waits for it."""
    context = contextvars.copy_context()
    pending = _pending.setdefault(primary, set())
    is_late = len(pending) >= MAX_WAITING
    if not is_late:
        try:
            future = _pool().submit(context.run, _run, primary, shadow, given, beside, False)
        except RuntimeError:  # no thread can be begun any more
            pass
        else:
            pending.add(future)
            future.add_done_callback(pending.discard)
            return
    context.run(_run, primary, shadow, given, beside, is_late)


def _wait_for(primary: Predictor[Any, Any], timeout_s: float | None) -> None:
    """Return when all shadows of a primary so far were run. Raises Unavailable."""
    left = wait(_pending.get(primary, set()).copy(), timeout_s).not_done
    if left:
        raise Unavailable(f"{len(left)} shadows still run")


def _pool() -> ThreadPoolExecutor:
    with _lock:
        if not _pools:
            _pools.append(ThreadPoolExecutor(THREADS, "audit-shadow"))
        return _pools[0]


def _forget() -> None:
    """A forked child has none of its parent's threads, and waits for nothing that they do."""
    global _lock
    _lock = threading.RLock()
    _pools.clear()
    _pending.clear()


os.register_at_fork(after_in_child=_forget)


def _run(
    primary: Predictor[Any, Any],
    shadow: Predictor[Any, Any] | ModelVersion,
    given: Given,
    beside: Beside,
    is_late: bool,
) -> None:
    running.set(None)  # it is beside the primary, in nobody's call
    try:
        logged = _through(primary, shadow) if isinstance(shadow, ModelVersion) else shadow
        args, kwargs = _arguments(logged, given)
        call = logged.begin(args, kwargs, beside)
        running.set(call.running)
        begin_ns = time.perf_counter_ns()
        try:
            if is_late:
                raise Unavailable(f"not run: {MAX_WAITING} shadows wait already")
            output = logged.__wrapped__(*args, **kwargs)
            if inspect.iscoroutine(output):
                import asyncio

                output = asyncio.run(output)
        except BaseException as error:
            logged.failed(call, error, time.perf_counter_ns() - begin_ns)
            for note in getattr(error, "__notes__", ()):
                _log.error("shadow %s: %s", logged.model, note)
            return
        logged.answered(call, output, time.perf_counter_ns() - begin_ns)
    except RejectedInput:
        pass  # recorded
    except BaseException as error:  # nothing that a shadow does may reach anybody
        _log.error("shadow %s: %s: %s", shadow, type(error).__name__, error)


def _arguments(shadow: Predictor[Any, Any], given: Given) -> tuple[tuple[Any, ...], dict[str, Any]]:
    features = rebuild(given.fields, given.form)
    if given.arguments == "one":
        return (features,), {}
    bound = inspect.signature(shadow.__wrapped__).bind_partial()
    bound.arguments.update(features)
    return bound.args, bound.kwargs


def _through(primary: Predictor[Any, Any], version: ModelVersion) -> Predictor[Any, Any]:
    """The primary's function with another model; made when it first runs.

    Not before: what the function uses may be defined below it.
    """
    with _lock:
        known = _made.setdefault(primary, {})
        if version not in known:
            known[version] = _make(primary, version)
        return known[version]


def _make(primary: Predictor[Any, Any], version: ModelVersion) -> Predictor[Any, Any]:
    replaced: dict[int, Any] = {id(primary.model): version}
    if primary.model.object is not None:
        replaced[id(primary.model.object)] = version.load()
    work = _Rebinding(replaced)
    function: Callable[..., Any] = work.copy(primary.__wrapped__)
    if not work.found:
        name, ref = primary.__wrapped__.__name__, primary.model.ref

        def refuse(*args: Any, **kwargs: Any) -> Any:
            raise InvalidInput(f"{name} uses no name that is {ref}; decorate one for the shadow")

        function = refuse  # so each of its predictions says why there is none
    expects = version.expects
    settings = primary.settings._replace(
        threshold=version.threshold,
        expects=Expects(expects) if expects else None,
        role=SHADOW,
    )
    return type(primary)(function, version, primary.target, settings)


class _Rebinding:
    """Copies of functions in which some objects are others. `found`: whether one was met."""

    def __init__(self, replaced: dict[int, Any]) -> None:
        self.found = False
        self._replaced = replaced
        self._copies: dict[int, types.FunctionType] = {}
        self._kept: list[object] = []  # an id is one object's only while that lives

    def copy(self, function: Callable[..., Any]) -> types.FunctionType:
        """A copy of a function."""
        assert isinstance(function, types.FunctionType)
        if id(function) in self._copies:
            return self._copies[id(function)]
        namespace = dict(function.__globals__)
        cells = tuple(types.CellType() for _ in function.__closure__ or ())
        code = function.__code__
        made = types.FunctionType(code, namespace, function.__name__, None, cells)
        self._copies[id(function)] = made
        self._kept.append(function)
        for name in _names(code):
            if name in namespace:
                namespace[name] = self._other(namespace[name])
        for cell, old in zip(cells, function.__closure__ or (), strict=True):
            try:
                cell.cell_contents = self._other(old.cell_contents)
            except ValueError:
                continue  # not bound yet
        made.__defaults__ = tuple(map(self._other, function.__defaults__ or ())) or None
        keywords = function.__kwdefaults__ or {}
        made.__kwdefaults__ = {n: self._other(value) for n, value in keywords.items()} or None
        made.__doc__, made.__module__ = function.__doc__, function.__module__
        made.__qualname__ = function.__qualname__
        return made

    def _other(self, thing: Any) -> Any:
        if id(thing) in self._replaced:
            self.found = True
            return self._replaced[id(thing)]
        if isinstance(thing, types.FunctionType) and not is_installed(thing.__code__.co_filename):
            return self.copy(thing)
        return thing


def _names(code: types.CodeType) -> frozenset[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return frozenset(found)

"""Actions of business code: who did what to what, how it ended, and how long it took.

An action is a row of the dataset ``action``: its key is the action's id, and nothing happens to it
but what this module says. (No type of record fits: a run is of a pipeline, a review of a
prediction.) So actions are found, replayed and joined like any other data::

    action        what was done: invoice.approve
    outcome       succeeded, failed (it raised), cancelled (its task was); started: see `attempt`
    entity_type, entity_key     what it was done to; null where it was not told
    arguments     those that the decorator names; null where one cannot be recorded, then
    unrecorded    says why, by name; left out otherwise
    error, message    the exception's type and words; null
    started       when it began
    requested     when the request began that it is a part of; null
    duration_us   how long it took, microseconds
    parent        the id of the action inside which it ran; null

Actor, reason, request id, trace id and transaction are the event's, from `audit.context`.

It is written when the function ended, not in the function's transaction: decorate what begins and
commits that, and a rollback is a failure of the action. What is true after a crash inside it:
nothing is recorded, or with `attempt` that it was started.
"""

import asyncio
import functools
import inspect
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple, TypeVar, cast
from uuid import UUID

from audit.capture.context import current
from audit.capture.emitter import Emitter
from audit.capture.shared import shared_emitter
from audit.errors import AuditError, InvalidInput, LimitExceeded
from audit.event.build import new_event_id
from audit.event.normal import key_text, normalize
from audit.event.times import time_of_us
from audit.event.valuejson import dumps
from audit.lineage.again.runner import error_name, words_of
from audit.store import clock_us

ACTION_ENTITY = "action"
"""The dataset of actions."""
RETURNED = "return"
"""In a `key`: what the function returned. No argument can have this name."""
MAX_ACTION_CHARS = 128
MAX_MESSAGE_CHARS = 500
MAX_ARGUMENT_BYTES = 8_192
"""Longest argument that is recorded, as JSON; larger ones belong into data of their own."""
MAX_ARGUMENTS = 5
"""With all of them the event still fits into a leaf."""
MAX_WHY_CHARS = 200

STARTED, SUCCEEDED, FAILED, CANCELLED = "started", "succeeded", "failed", "cancelled"

KeyOf = str | Sequence[str] | Callable[[Mapping[str, Any]], Any] | None
EmitterOf = Emitter | Callable[[], Emitter] | None
F = TypeVar("F", bound=Callable[..., Any])

_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_log = logging.getLogger("audit.capture")
_running: ContextVar[str | None] = ContextVar("audit_action", default=None)


class _About(NamedTuple):
    """What a decorator said."""

    action: str
    entity: str | None
    key: KeyOf
    arguments: tuple[str, ...]
    attempt: bool
    raises: bool
    emitter: Callable[[], Emitter]


def audited(
    action: str,
    *,
    entity: str | None = None,
    key: KeyOf = None,
    arguments: Sequence[str] = (),
    attempt: bool = False,
    on_unrecorded: Literal["raise", "log"] = "raise",
    emitter: EmitterOf = None,
    bus: str | None = None,
    source: str | None = None,
) -> Callable[[F], F]:
    """Record each call: ``@audit.audited("invoice.approve", key="invoice_id")``.

    For functions, methods and coroutine functions. `entity`: the type of what it is done to, by
    default what stands before the action's last dot, if there is a `key`. `key`: the argument that
    holds its key ("invoice_id"), or the way to it ("invoice.id", "return.id" of what is returned),
    a list of such for a composite key, or a function of the arguments by name. `arguments`: names
    of at most 5 to record; none by default, for they may hold secrets.

    What the function raises passes unchanged, and is recorded. With `attempt` a row that says
    "started" is written before it runs, and changed at the end: then an end that never came shows.
    `on_unrecorded`: when the ledger cannot take an action, "raise" Unavailable (before it runs with
    `attempt`, else after it was done), or "log" it and go on. Where events go: `emitter` or a
    function that gives it, else the process's own for `bus` (AUDIT_BUS, AUDIT_STORE) and `source`.
    Raises InvalidInput.
    """
    if not isinstance(action, str) or len(action) > MAX_ACTION_CHARS or not _NAME.fullmatch(action):
        raise InvalidInput(f"{action!r:.80} is no name of an action: write invoice.approve")
    if on_unrecorded not in ("raise", "log"):
        raise InvalidInput('on_unrecorded is "raise" or "log"')
    if emitter is not None and (bus is not None or source is not None):
        raise InvalidInput("give an emitter, or a bus and a source, not both")
    if isinstance(arguments, str) or len(arguments) > MAX_ARGUMENTS:
        raise InvalidInput(f"arguments is a list of at most {MAX_ARGUMENTS} names")
    if entity is not None and not isinstance(entity, str):
        raise InvalidInput(f"entity is a type of entities, not {type(entity).__name__}")
    if entity is None and key is not None:
        entity = action.rpartition(".")[0] or action
    about = _About(
        action,
        entity,
        key,
        tuple(arguments),
        attempt,
        on_unrecorded == "raise",
        _emitter_of(emitter, bus, source),
    )

    def decorate(function: F) -> F:
        return _decorated(function, about)

    return decorate


def _emitter_of(given: EmitterOf, bus: str | None, source: str | None) -> Callable[[], Emitter]:
    if given is None:
        return lambda: shared_emitter(bus, source)
    if isinstance(given, Emitter):
        return lambda: given
    return given


def _decorated(function: F, about: _About) -> F:
    if isinstance(function, staticmethod | classmethod) or not inspect.isroutine(function):
        raise InvalidInput("audited decorates a plain function: put it under all other decorators")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidInput(f"{function.__name__} is a generator, which runs after its call")
    signature = inspect.signature(function)
    _check_names(signature, about)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wait_and_record(*args: Any, **kwargs: Any) -> Any:
            call = _Call.begin(about, signature, args, kwargs)
            if call is None:
                return await function(*args, **kwargs)
            token = _running.set(call.id)
            try:
                result = await function(*args, **kwargs)
            except BaseException as error:
                call.raised(error)
                raise
            finally:
                _running.reset(token)
            call.returned(result)
            return result

        return cast(F, wait_and_record)

    @functools.wraps(function)
    def call_and_record(*args: Any, **kwargs: Any) -> Any:
        call = _Call.begin(about, signature, args, kwargs)
        if call is None:
            return function(*args, **kwargs)
        token = _running.set(call.id)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            call.raised(error)
            raise
        finally:
            _running.reset(token)
        call.returned(result)
        return result

    return cast(F, call_and_record)


def _check_names(signature: inspect.Signature, about: _About) -> None:
    """Each name is one of an argument. Raises InvalidInput."""
    wanted = list(about.arguments)
    for path in _paths(about.key):
        if not isinstance(path, str):
            raise InvalidInput(f"a key names arguments, not {type(path).__name__}")
        wanted.append(path.partition(".")[0])
    for name in wanted:
        if name != RETURNED and name not in signature.parameters:
            listed = ", ".join(signature.parameters) or "none"
            raise InvalidInput(
                f"{about.action}: there is no argument {name!r:.80}; there are {listed}"
            )
    if RETURNED in about.arguments:
        raise InvalidInput(f"{about.action}: {RETURNED!r} stands in a key; it is no argument")


def _paths(key: KeyOf) -> Sequence[Any]:
    if key is None or callable(key):
        return ()
    return (key,) if isinstance(key, str) else key


class _Call:
    """One call while it is going on."""

    def __init__(self, about: _About, arguments: Mapping[str, Any]) -> None:
        self.id = new_event_id()
        self._about = about
        self._arguments = arguments
        self._is_known = False
        requested_us = current().request_us
        # Read before it runs: a function may change what it was given, or delete it.
        paths = _paths(about.key)
        self._later = any(path.partition(".")[0] == RETURNED for path in paths)
        key = None if self._later else self._key(None)
        recorded, unrecorded = _recorded(about.arguments, arguments)
        self._row: dict[str, Any] = {
            "action": about.action,
            "outcome": STARTED,
            "entity_type": about.entity,
            "entity_key": key,
            "arguments": recorded,
            "error": None,
            "message": None,
            "started": time_of_us(clock_us()),
            "requested": None if requested_us is None else time_of_us(requested_us),
            "duration_us": None,
            "parent": _running.get(),
        }
        if unrecorded:
            self._row["unrecorded"] = unrecorded
        self._begin_ns = time.perf_counter_ns()

    @classmethod
    def begin(
        cls, about: _About, signature: inspect.Signature, args: Any, kwargs: Any
    ) -> "_Call | None":
        """A call that began; None for arguments that do not fit: the function itself says so.

        Raises Unavailable with `attempt`, when it cannot be recorded.
        """
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return None
        bound.apply_defaults()
        call = cls(about, bound.arguments)
        if about.attempt:
            try:
                about.emitter().create(ACTION_ENTITY, call.id, call._row, event_id=call.id)
                call._is_known = True
            except AuditError as error:
                if about.raises:
                    raise
                call._say(error)
            call._begin_ns = time.perf_counter_ns()
        return call

    def returned(self, result: Any) -> None:
        """It was done. Raises Unavailable when that cannot be recorded, unless it is logged."""
        ended: dict[str, Any] = {"outcome": SUCCEEDED}
        if self._later:
            ended["entity_key"] = self._key(result)
        try:
            self._end(ended)
        except AuditError as error:
            if self._about.raises:
                raise
            self._say(error)

    def raised(self, error: BaseException) -> None:
        """It raised; nothing that goes wrong here hides that."""
        is_cancelled = isinstance(error, asyncio.CancelledError)
        ended = {
            "outcome": CANCELLED if is_cancelled else FAILED,
            "error": error_name(error),
            "message": words_of(error)[:MAX_MESSAGE_CHARS] or None,
        }
        try:
            self._end(ended)
        except Exception as problem:
            self._say(problem)

    def _end(self, ended: dict[str, Any]) -> None:
        ended["duration_us"] = (time.perf_counter_ns() - self._begin_ns) // 1_000
        emitter = self._about.emitter()
        if self._is_known:
            emitter.update(ACTION_ENTITY, self.id, ended)
        else:
            row = {**self._row, **ended}
            emitter.create(ACTION_ENTITY, self.id, row, event_id=self.id)

    def _say(self, problem: BaseException) -> None:
        why = words_of(problem).replace("\n", "; ")
        _log.error("the action %s %s is not recorded: %s", self._about.action, self.id, why)

    def _key(self, result: Any) -> str | None:
        """The key of what it is done to; None, with a line in the log, where it has none."""
        key = self._about.key
        if key is None:
            return None
        try:
            if callable(key):
                return _key_text(key(self._arguments))
            found = [self._follow(path, result) for path in _paths(key)]
            return _key_text(found[0] if isinstance(key, str) else found)
        except (
            Exception
        ) as error:  # whatever an object's attributes raise is no fault of the action
            why = words_of(error)[:MAX_WHY_CHARS]
            _log.warning("the action %s has no key: %s", self._about.action, why)
            return None

    def _follow(self, path: str, result: Any) -> Any:
        first, *rest = path.split(".")
        found = result if first == RETURNED else self._arguments[first]
        for name in rest:
            found = found[name] if isinstance(found, Mapping) else getattr(found, name)
        return found


def _key_text(found: Any) -> str:
    if isinstance(found, list | tuple):
        return key_text([str(part) if isinstance(part, UUID) else part for part in found])
    return key_text(str(found) if isinstance(found, UUID) else found)


def _recorded(
    names: Sequence[str], arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of these arguments, and why some of them cannot be recorded."""
    recorded: dict[str, Any] = {}
    unrecorded: dict[str, str] = {}
    for name in names:
        value = arguments[name]
        try:
            plain = normalize(str(value) if isinstance(value, UUID) else value)
            size = len(dumps(plain).encode())
            if size > MAX_ARGUMENT_BYTES:
                raise LimitExceeded(f"{size} bytes as JSON are over {MAX_ARGUMENT_BYTES}")
            recorded[name] = plain
        except Exception as error:  # what an argument's own methods raise, as well
            recorded[name] = None
            unrecorded[name] = f"{type(value).__name__}: {words_of(error)}"[:MAX_WHY_CHARS]
    return recorded, unrecorded

"""Components of a pipeline: functions whose every call is a run, with what went in and came out.

Life of a call: the arguments are read by content, START is emitted, the tests before it run, the
function runs, its output is read by content, the tests after it run, and COMPLETE or FAIL is
emitted. What the function raises passes unchanged. The code goes to the blob store as a capsule,
with which the call can be run again.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

from audit.capture.emitter import Emitter
from audit.capture.pipeline.arguments import Arguments, safely_described
from audit.capture.pipeline.data_tests import Test, check_tests, failures, run_tests
from audit.capture.pipeline.run_record import About, OnUnavailable, RunRecorder
from audit.capture.pipeline.target import Target
from audit.errors import AuditError, FailedTest, InvalidInput
from audit.event.types import COMPONENT_RUN, MODEL_RUN
from audit.event.values import normalize_fields
from audit.lineage.again.runner import words_of
from audit.lineage.recorded.models import model_key
from audit.lineage.recorded.run_inputs import MODEL, kind_of
from audit.lineage.source.capsule import Capsule, Subject, capture
from audit.lineage.source.code_state import code_state
from audit.store.blobs import BlobStore

P = ParamSpec("P")
R = TypeVar("R")
RAISE, RECORD = "raise", "record"
OUTPUT_NAME = "output"


class Place(NamedTuple):
    """Where events and blobs of the runs go: as `Target` takes it."""

    emitter: Emitter | None
    bus: str | None
    blobs: BlobStore | str | None
    source: str | None

    def target(self) -> Target:
        """A target for one run. Raises InvalidInput."""
        return Target(*self)


class Settings(NamedTuple):
    """What a decorator said besides `About` and `Place`."""

    before: tuple[Test, ...] = ()
    after: tuple[Test, ...] = ()
    on_failed_test: str = RAISE
    params: Mapping[str, Any] = {}  # never written to
    features: tuple[dict[str, Any], ...] = ()


def component(
    name: str,
    *,
    owner: str | None = None,
    tags: Sequence[str] = (),
    description: str | None = None,
    before: Sequence[Test] | Test = (),
    after: Sequence[Test] | Test = (),
    on_failed_test: str = RAISE,
    keep: bool = False,
    profile: bool = True,
    on_unavailable: OnUnavailable = "continue",
    emitter: Emitter | None = None,
    bus: str | None = None,
    blobs: BlobStore | str | None = None,
    source: str | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Record every call of a function: ``@audit.component("cleaning", owner="plumber")``.

    Arguments and the returned value are recorded by content: data frames, arrays, bytes, models,
    and the files that a pathlib.Path names (those that the call writes are outputs). Plain values
    are parameters. Inside, `audit.current_run()` adds to the run. A call inside a call is part of
    it. Coroutine functions too.

    `before`, `after`: tests of what goes in and comes out, see `audit.capture.pipeline.data_tests`
    and `audit.quality`. `on_failed_test`: "raise" FailedTest, or "record" it and go on. `keep`:
    copies of all inputs and outputs go into the blob store; `profile`: profiles of frames do.
    `on_unavailable`: while the log cannot be reached "continue", and record it later, or "raise"
    Unavailable before the function runs. Where events go: see `model_run`. Raises InvalidInput.
    """
    if on_failed_test not in (RAISE, RECORD):
        raise InvalidInput('on_failed_test is "raise" or "record"')
    model_key(name, "0")
    about = About(
        COMPONENT_RUN, name, description, owner, checked_tags(tags),
        keep=keep, profile=profile, on_unavailable=on_unavailable,
    )  # fmt: skip
    settings = Settings(check_tests(before), check_tests(after), on_failed_test)
    return decorator(about, settings, Place(emitter, bus, blobs, source))


def decorator(
    about: About, settings: Settings, place: Place
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """What decorates a function so that its calls are runs. Raises InvalidInput."""
    RunRecorder(about, Target(place.emitter, place.bus, place.blobs or ".", place.source))

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        return _decorated(function, Recorded(function, about, settings, place))

    return decorate


def checked_tags(tags: Any) -> tuple[str, ...]:
    """Words. Raises InvalidInput."""
    if isinstance(tags, str) or not all(isinstance(tag, str) for tag in tags):
        raise InvalidInput('tags is a list of words: tags=["taxi"]')
    return tuple(tags)


def _decorated(function: Callable[P, R], recorded: "Recorded") -> Callable[P, R]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wait_and_record(*args: P.args, **kwargs: P.kwargs) -> Any:
            call = recorded.begin(args, kwargs)
            if call is None:
                return await cast(Any, function)(*args, **kwargs)
            try:
                call.test_before()
                result = await cast(Any, function)(*args, **kwargs)
                call.returned(result)
            except BaseException as error:
                call.run.end(error)
                raise
            call.run.end(None)
            return result

        wrapper = cast("Callable[P, R]", wait_and_record)
    else:

        @functools.wraps(function)
        def call_and_record(*args: P.args, **kwargs: P.kwargs) -> R:
            call = recorded.begin(args, kwargs)
            if call is None:
                return function(*args, **kwargs)
            try:
                call.test_before()
                result = function(*args, **kwargs)
                call.returned(result)
            except BaseException as error:
                call.run.end(error)
                raise
            call.run.end(None)
            return result

        wrapper = call_and_record
    # A capsule of code that calls this one takes in the function, not what records it.
    wrapper.__audit_function__ = function  # type: ignore[attr-defined]
    return wrapper


class Recorded:
    """A function whose calls are recorded, and its capsule. Safe for several threads."""

    def __init__(
        self, function: Callable[..., Any], about: About, settings: Settings, place: Place
    ) -> None:
        """Raises InvalidInput for anything but a function."""
        if not inspect.isfunction(function):
            raise InvalidInput("a component is a plain function: decorate that, under all others")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise InvalidInput(f"{function.__name__} is a generator; use a function that returns")
        self.function = function
        self.about = about
        self.settings = settings
        self._place = place
        self._signature = inspect.signature(function)
        self._capsule: Capsule | None = None

    def begin(self, args: Any, kwargs: Any) -> "Call | None":
        """A run that began; None for arguments that do not fit: the function itself says so."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError:
            return None
        run = RunRecorder(self.about, self._place.target())
        run.params.update(self.settings.params)
        run.features.extend(self.settings.features)
        arguments = Arguments(run, bound)
        self._keep_function(run)
        run.rerun = {
            "kind": "function",
            "async": inspect.iscoroutinefunction(self.function),
            "arguments": arguments.items,
        }
        run.begin(code_state(self.function.__code__))
        return Call(run, arguments, self.settings)

    def _keep_function(self, run: RunRecorder) -> None:
        try:
            capsule = self._captured()
        except Exception as error:  # whatever the objects that the code names raise
            run.outbox.miss(f"the function cannot be kept: {words_of(error)}"[:1_000])
            return
        run.modules = capsule.modules
        parts = [*capsule.blobs.values(), capsule.document]
        kept = [run.outbox.keep("the function", data) for data in parts]
        run.function_digest = None if None in kept else kept[-1]
        for what in capsule.missing:
            run.outbox.miss(what)

    def _captured(self) -> Capsule:
        """The capsule of the code as it is now; several threads may make it at once, the same."""
        capsule = self._capsule
        if capsule is None or not capsule.is_current():
            nothing = Subject(object(), object(), object())  # no model, nothing known by identity
            capsule = self._capsule = capture(self.function, nothing)
        return capsule


class Call:
    """One call while it is going on."""

    def __init__(self, run: RunRecorder, arguments: Arguments, settings: Settings) -> None:
        """The run has begun."""
        self.run = run
        self._arguments = arguments
        self._settings = settings

    def test_before(self) -> None:
        """Run the tests of what goes in. Raises FailedTest."""
        self._judge(run_tests(self._settings.before, self._arguments.named))

    def returned(self, result: Any) -> None:
        """Note what came out, and run its tests. Raises FailedTest."""
        try:
            self._note(result)
        except Exception as error:  # what the result's own methods raise is no failure of the call
            if isinstance(error, AuditError) and self.run.outbox.raises:
                raise
            self.run.outbox.miss(f"what came out cannot be read: {words_of(error)}"[:1_000])
        self._judge(run_tests(self._settings.after, self._arguments.named, result))

    def _note(self, result: Any) -> None:
        run = self.run
        self._register(result)
        if result is not None:
            known = {made.digest for made in run.models}
            described = safely_described(run, result, OUTPUT_NAME)
            run.outputs.extend(one for one in described if one["digest"] not in known)
        run.outputs.extend(self._arguments.made_files())

    def _register(self, result: Any) -> None:
        """The models that a training returned, unless it registered them itself."""
        if self.run.about.type != MODEL_RUN:
            return
        parts = result if isinstance(result, (tuple, list)) else (result,)
        values = result.values() if isinstance(result, dict) else parts
        known = {id(made.object) for made in self.run.models} | {id(m) for m in self.run.models}
        for model in values:
            if kind_of(model) == MODEL and id(model) not in known:
                try:
                    self.run.model(model)
                except AuditError as error:
                    if self.run.about.on_unavailable == RAISE:
                        raise
                    self.run.outbox.miss(f"the model was not registered: {error}")

    def _judge(self, results: list[dict[str, Any]]) -> None:
        self.run.tests.extend(results)
        failed = failures(results)
        if failed and self._settings.on_failed_test == RAISE:
            raise FailedTest(f"{self.run.name}: {'; '.join(failed)}"[:1_000])


def checked_params(params: Any) -> dict[str, Any]:
    """Parameters by name. Raises InvalidInput."""
    return normalize_fields(params)

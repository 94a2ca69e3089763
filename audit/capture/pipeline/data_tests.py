"""Tests of what goes into a run and comes out of it: how each is called, and what it said.

A test is a function, or one of `audit.capture.pipeline.quality`. Its parameters are filled by name:
the arguments of the run, and after the run ``output``, which is what it returned. A test with one
parameter of another name is given the first argument, after the run the output. It says

    PASSED   it returns nothing, True, or a dict of what it measured
    FAILED   it returns False, or raises AssertionError or FailedTest
    ERROR    it raises anything else, or cannot be called
"""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from audit.errors import AuditError, FailedTest, InvalidInput
from audit.event.values import normalize_fields
from audit.lineage.source.code import source_of
from audit.store.blobs import digest_of

PASSED, FAILED, ERROR = "PASSED", "FAILED", "ERROR"
BEFORE, AFTER = "BEFORE", "AFTER"
OUTPUT = "output"
"""By this name a test is given what the run returned."""
MAX_MESSAGE_CHARS = 500
MAX_MEASURED = 100
"""How many measured values one test records."""

Test = Callable[..., Any]
_NOTHING = object()


class QualityTest:
    """A ready-made test: call it with data, or give it to `before` or `after` of a component.

    `name`; `digest`: of its source text and settings; `measured`: what the last call measured.
    """

    name = "test"

    def __init__(self, **settings: Any) -> None:
        """`settings`: what else than the code decides what it says."""
        self.settings = settings
        self.measured: dict[str, Any] = {}
        source = inspect.getsource(type(self))
        self.digest = digest_of(f"{source}\n{sorted(settings.items())!r}".encode())

    def check(self, named: Mapping[str, Any], output: Any) -> dict[str, Any]:
        """What was measured. Raises FailedTest when it is not as it must be."""
        raise NotImplementedError

    def __call__(self, *things: Any, **named: Any) -> dict[str, Any]:
        """Test things that are given by position or name; what was measured. Raises FailedTest."""
        given = {f"{index}": thing for index, thing in enumerate(things)} | named
        self.measured = {}
        self.measured = self.check(given, _NOTHING)
        return self.measured


def is_given(output: Any) -> bool:
    """Whether there is an output: before a run there is none, which is not None."""
    return output is not _NOTHING


def check_tests(tests: Sequence[Test] | Test) -> tuple[Test, ...]:
    """The tests of one phase. Raises InvalidInput for what cannot be called."""
    several = tuple(tests) if isinstance(tests, (list, tuple)) else (tests,)
    for test in several:
        if not callable(test):
            raise InvalidInput(f"a test is a function, not a {type(test).__qualname__}")
        if isinstance(test, type):
            raise InvalidInput(f"{test.__qualname__} is a class: give an object of it")
    return several


def run_tests(
    tests: Sequence[Test], named: Mapping[str, Any], output: Any = _NOTHING
) -> list[dict[str, Any]]:
    """A TestResult for each test, in order. Never raises for what a test does."""
    return [_run(test, named, output) for test in tests]


def failures(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names and messages of the tests that did not pass."""
    return [
        f"{one['name']} {one['status']}: {one['message'] or 'it returned False'}"
        for one in results
        if one["status"] != PASSED
    ]


def _run(test: Test, named: Mapping[str, Any], output: Any) -> dict[str, Any]:
    begin_ns = time.perf_counter_ns()
    status, message, measured = PASSED, None, {}
    try:
        if isinstance(test, QualityTest):
            said: Any = test.check(named, output)
            test.measured = said
        else:
            said = test(**_arguments(test, named, output))
        if isinstance(said, Mapping):
            measured = dict(said)
        elif said is not None and not bool(said):
            status = FAILED
    except FailedTest as error:
        status, message, measured = FAILED, str(error), error.measured
    except AssertionError as error:
        status, message = FAILED, str(error) or "an assertion does not hold"
    except Exception as error:  # a test is the user's own code
        status, message = ERROR, f"{type(error).__name__}: {error}"
    return {
        "name": _name(test),
        "phase": AFTER if is_given(output) else BEFORE,
        "status": status,
        "digest": _digest(test),
        "message": None if message is None else _words(message),
        "measured": _measured(measured),
        "latency_us": (time.perf_counter_ns() - begin_ns) // 1_000,
    }


def _arguments(test: Test, named: Mapping[str, Any], output: Any) -> dict[str, Any]:
    """What a test is called with, by the names of its parameters. Raises InvalidInput."""
    given = dict(named)
    if is_given(output):
        given[OUTPUT] = output
    parameters = inspect.signature(test).parameters.values()
    wanted = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return given
    found = {one.name: given[one.name] for one in wanted if one.name in given}
    lacking = [one.name for one in wanted if one.name not in given and one.default is one.empty]
    if len(lacking) == 1 and not found and given:
        found[lacking.pop()] = output if is_given(output) else next(iter(given.values()))
    if lacking:
        raise InvalidInput(f"there is no {', '.join(lacking)} here; there is {', '.join(given)}")
    return found


def _name(test: Test) -> str:
    name = getattr(test, "name", None) or getattr(test, "__name__", None)
    return str(name) if name else type(test).__qualname__


def _digest(test: Test) -> str | None:
    """The digest of a test's source text; of a ready-made one with its settings."""
    if isinstance(test, QualityTest):
        return test.digest
    code = getattr(inspect.unwrap(test), "__code__", None)
    try:
        source = None if code is None else source_of(code)
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    return None if source is None else digest_of(source.encode("utf-8", "surrogatepass"))


def _measured(measured: Mapping[Any, Any]) -> dict[str, Any]:
    """What can be recorded of it: never a reason to lose the rest."""
    found: dict[str, Any] = {}
    for name, value in list(measured.items())[:MAX_MEASURED]:
        try:
            found |= normalize_fields({str(name): value})
        except AuditError:
            found[str(name).encode("utf-8", "backslashreplace").decode()] = None
    return found


def _words(message: str) -> str:
    return message.encode("utf-8", "backslashreplace").decode()[:MAX_MESSAGE_CHARS]

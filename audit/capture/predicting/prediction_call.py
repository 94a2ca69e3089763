"""What one call of a logged function consists of, from its beginning until it is recorded."""

import inspect
import json
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from audit.capture.context import Context
from audit.capture.predicting.running import Running
from audit.event.values import Value
from audit.lineage.again.made_features import MadeFeatures
from audit.lineage.content.expects import Expects
from audit.lineage.content.forms import Form
from audit.lineage.source.capsule import Capsule

SERVED_ROLES = frozenset(("PRIMARY", "CANARY", "FALLBACK"))
"""Roles whose answers are given to whoever asked."""

Key = str | Callable[[Any], Any] | None


class Settings(NamedTuple):
    """What a logged function was told besides its model."""

    key: Key
    threshold: float | None
    expects: Expects | None
    role: str
    seed: int | None


class Given(NamedTuple):
    """The features of a call: as fields, encoded, and the form that makes the very objects again.

    `arguments`: "one" or "many". `fields` may be the caller's own dictionary, which the function
    may change: look at it only before it runs.
    """

    arguments: str
    fields: dict[str, Value]
    form: Form
    encoded: bytes
    sets: tuple[dict[str, Any], ...] = ()


class Beside(NamedTuple):
    """For a shadow: whose, and what it has from there."""

    primary: str
    request_us: int
    statuses: dict[str, str]
    sets: tuple[dict[str, Any], ...]


class Shadows(Protocol):
    """What runs beside a logged function: see `audit.capture.predicting.shadow`."""

    def run(self, primary: Any, given: Given, beside: Beside) -> None:
        """Run them all soon. Never raises."""
        ...

    def wait(self, primary: Any, timeout_s: float | None) -> None:
        """Return when all so far were run. Raises Unavailable."""
        ...


class Call:
    """One call, from its beginning until it is recorded."""

    __slots__ = (
        *("beside", "before", "capsule", "context", "environment", "given", "key", "outer"),
        *("request_us", "role", "running", "statuses"),
    )

    context: Context
    outer: Running | None
    beside: Beside | None
    request_us: int
    statuses: dict[str, str]
    given: Given
    key: str | None
    capsule: Capsule
    environment: dict[str, str]
    role: str
    running: Running


def takes_one(signature: inspect.Signature) -> bool:
    """Whether a function has exactly one parameter, by position."""
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return len(kinds) == 1 and kinds[0] not in several


def without_origin(thing: Any, sets: list[dict[str, Any]]) -> Any:
    """Features that a definition made as a plain dictionary; their origin goes to `sets`."""
    if not isinstance(thing, MadeFeatures):
        return thing
    sets.append(thing.origin())
    return dict(thing)


def is_flat(form: Form) -> bool:
    """Whether it is the form of a dictionary of plain values."""
    return form is None or (form["is"] == "dict" and "items" not in form)


def json_text(call: dict[str, Any]) -> str:
    """The field `call`."""
    return json.dumps(call, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

"""What a model expects of its input: types, ranges, allowed values; and how an input is not so.

Declared as JSON, by feature::

    {"amount": {"type": "number", "min": 0, "max": 1e6, "required": true},
     "status": {"type": "string", "allowed": ["Open", "Closed"]}}

``type``: number (integers too), integer, string, boolean or any (default). ``min`` and ``max`` are
in the range. ``required``: the feature must be there and must have a value. Without it a feature
that is absent, null or NaN is fine: NaN and null are no values. Features that are not named here
are not looked at.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from audit.errors import InvalidInput, LimitExceeded
from audit.event.shown import shown
from audit.event.values import Value, normalize

MAX_EXPECTED = 10_000
"""Features that one model may say something about."""
MAX_ALLOWED = 10_000
"""Values that a feature may be restricted to."""
MAX_VIOLATIONS = 100
"""Violations that are named; beyond, only their number is."""

_TYPES: dict[str, tuple[type, ...]] = {
    "number": (int, float, Decimal),
    "integer": (int,),
    "string": (str,),
    "boolean": (bool,),
    "any": (),
}
_MEMBERS = frozenset(("type", "min", "max", "required", "allowed"))


class Expected(NamedTuple):
    """What is expected of one feature."""

    type: str
    min: int | float | Decimal | None
    max: int | float | Decimal | None
    required: bool
    allowed: tuple[Value, ...] | None


class Expects:
    """What a model expects of its input."""

    def __init__(self, declared: Mapping[str, Any]) -> None:
        """Raises InvalidInput, LimitExceeded for a declaration that is not as it must be."""
        if not isinstance(declared, Mapping) or not all(type(name) is str for name in declared):
            raise InvalidInput("expects is an object of feature names and what each must be")
        if len(declared) > MAX_EXPECTED:
            raise LimitExceeded(f"expects names {len(declared)} features; at most {MAX_EXPECTED}")
        self.features = {name: _expected(name, one) for name, one in declared.items()}

    def violations(self, fields: Mapping[str, Value], where: str = "") -> list[str]:
        """How an input is not as expected, a short sentence each; `where` goes before each."""
        found = []
        for name, expected in self.features.items():
            why = _violation(expected, name in fields, fields.get(name))
            if why is not None:
                found.append(f"{where}{name:.80} {why}")
        return capped(found)


def capped(violations: list[str]) -> list[str]:
    """The first violations, and how many more there are."""
    if len(violations) <= MAX_VIOLATIONS:
        return violations
    return [*violations[:MAX_VIOLATIONS], f"and {len(violations) - MAX_VIOLATIONS} more"]


def _expected(name: str, said: Any) -> Expected:
    if not isinstance(said, Mapping) or not _MEMBERS.issuperset(said):
        raise InvalidInput(
            f"expects of {name!r:.80} is an object with {', '.join(sorted(_MEMBERS))}"
        )
    kind, required, allowed = said.get("type", "any"), said.get("required", False), None
    if not isinstance(kind, str) or kind not in _TYPES:
        raise InvalidInput(f"expects of {name!r:.80}: type is one of {', '.join(_TYPES)}")
    if not isinstance(required, bool):
        raise InvalidInput(f"expects of {name!r:.80}: required is true or false")
    if said.get("allowed") is not None:
        given = said["allowed"]
        if not isinstance(given, list | tuple):
            raise InvalidInput(f"expects of {name!r:.80}: allowed is a list")
        if len(given) > MAX_ALLOWED:
            raise LimitExceeded(f"expects of {name!r:.80}: at most {MAX_ALLOWED} allowed values")
        allowed = tuple(normalize(value) for value in given)
    return Expected(kind, _bound(name, said, "min"), _bound(name, said, "max"), required, allowed)


def _bound(name: str, said: Mapping[str, Any], side: str) -> int | float | Decimal | None:
    value = normalize(said.get(side))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or value != value:
        raise InvalidInput(f"expects of {name!r:.80}: {side} is a number")
    return value


def _violation(expected: Expected, is_there: bool, value: Value) -> str | None:
    if value is None or value != value:
        if not expected.required:
            return None
        return "has no value, and must have one" if is_there else "is missing"
    kinds = _TYPES[expected.type]
    if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
        return f"is {shown(value)}, not of type {expected.type}"
    for bound, side in ((expected.min, "below the least"), (expected.max, "above the most")):
        if bound is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            return f"is {shown(value)}, no number to compare with {bound}"
        if value < bound if side.startswith("below") else value > bound:
            return f"is {shown(value)}, {side} expected: {bound}"
    if expected.allowed is not None and not any(_same(value, one) for one in expected.allowed):
        return f"is {shown(value)}, which is not among the allowed values"
    return None


def _same(one: Value, other: Value) -> bool:
    """Equal, and not a number beside a truth value: True is not 1 here."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)

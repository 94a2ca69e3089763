"""Compare what a model answered then and now: by bits, then in ULPs, by tolerance, by decision.

    IDENTICAL          the same types, and every float the same 64 bits (every NaN counts as one)
    WITHIN_TOLERANCE   floats differ, none by more than the tolerance; all else is the same
    SAME_DECISION      floats differ by more, but what is decided by them does not
    DIVERGED           anything else

One ULP is a step from a double to the next one. The decision is which side of the recorded
threshold a number is on (at or above it, or below); without a threshold, the parts of the answer
that are not floats, if it has any.
"""

import json
import math
import struct
from collections.abc import Iterator
from typing import NamedTuple

from audit.event.values import Value
from audit.lineage.content.forms import Served

IDENTICAL = "IDENTICAL"
WITHIN_TOLERANCE = "WITHIN_TOLERANCE"
SAME_DECISION = "SAME_DECISION"
DIVERGED = "DIVERGED"

DEFAULT_MAX_ULPS = 4
"""How many ULPs a float may differ when no tolerance is given: the order of rounding in a sum."""


class Comparison(NamedTuple):
    """The verdict, and how far the floats are apart (None where that is no number)."""

    verdict: str
    max_ulps: int | None
    max_difference: float | None


def compare(
    then: Served, now: Served, tolerance: float | None = None, threshold: float | None = None
) -> Comparison:
    """Compare two answers.

    `tolerance`: the largest difference, relative to the larger number or absolute, whichever
    allows more; None for DEFAULT_MAX_ULPS. `threshold`: the number that decides, if one does.
    """
    pairs = list(_pairs(then.value, now.value)) if _same_form(then, now) else None
    if pairs is None or any(pair is None for pair in pairs):
        return Comparison(DIVERGED, None, None)
    floats = [pair for pair in pairs if pair is not None]
    changed = [(a, b) for a, b in floats if bits(a) != bits(b)]
    if not changed:
        return Comparison(IDENTICAL, 0, 0.0)
    finite = all(math.isfinite(a) and math.isfinite(b) for a, b in changed)
    max_ulps = max(ulps_between(a, b) for a, b in changed) if finite else None
    difference = max(abs(a - b) for a, b in changed) if finite else None
    if finite and _is_within(changed, tolerance):
        verdict = WITHIN_TOLERANCE
    elif _same_decision(then.value, floats, threshold):
        verdict = SAME_DECISION
    else:
        verdict = DIVERGED
    return Comparison(verdict, max_ulps, difference)


def bits(number: float) -> int:
    """The 64-bit pattern of a double; every NaN has the quiet one's."""
    return int(struct.unpack("<q", struct.pack("<d", number if number == number else math.nan))[0])


def ulps_between(left: float, right: float) -> int:
    """How many doubles one has to step over from one number to the other; -0.0 to 0.0 is one."""
    return abs(_ordinal(left) - _ordinal(right))


def _ordinal(number: float) -> int:
    """A place on the line of all doubles, in the order of the numbers."""
    pattern = bits(number)
    return pattern if pattern >= 0 else -(pattern & 0x7FFF_FFFF_FFFF_FFFF) - 1


def _same_form(then: Served, now: Served) -> bool:
    return json.dumps(then.form, sort_keys=True) == json.dumps(now.form, sort_keys=True)


def _pairs(then: Value, now: Value) -> Iterator[tuple[float, float] | None]:
    """The pairs of floats at the same places; None where anything else differs."""
    if type(then) is not type(now):
        yield None
    elif isinstance(then, float) and isinstance(now, float):
        yield then, now
    elif isinstance(then, dict) and isinstance(now, dict):
        if sorted(then) != sorted(now):
            yield None
            return
        for name in then:
            yield from _pairs(then[name], now[name])
    elif isinstance(then, list) and isinstance(now, list):
        if len(then) != len(now):
            yield None
            return
        for left, right in zip(then, now, strict=True):
            yield from _pairs(left, right)
    elif str(then) != str(now):  # by text, because Decimal("1.0") == Decimal("1.00")
        yield None


def _is_within(changed: list[tuple[float, float]], tolerance: float | None) -> bool:
    if tolerance is None:
        return all(ulps_between(a, b) <= DEFAULT_MAX_ULPS for a, b in changed)
    return all(math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) for a, b in changed)


def _same_decision(then: Value, floats: list[tuple[float, float]], threshold: float | None) -> bool:
    if threshold is not None:
        return all((a >= threshold) == (b >= threshold) for a, b in floats)
    return _has_discrete(then)


def decides(value: Value, threshold: float | None) -> bool:
    """Whether an answer decides something: by a threshold, or by a part that is no float."""
    return threshold is not None or _has_discrete(value)


def _has_discrete(value: Value) -> bool:
    """Whether there is a part that is no float: it is the same on both sides."""
    if isinstance(value, dict):
        return any(_has_discrete(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_discrete(item) for item in value)
    return value is not None and not isinstance(value, float)

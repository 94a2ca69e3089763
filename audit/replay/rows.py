"""Rows and their values: what absent means, what equal means, what differs. Pure."""

import math
from decimal import Decimal
from typing import Final

from audit.event.values import Value

UNAVAILABLE = "__debezium_unavailable_value"
"""What Debezium writes for a column whose value its source did not send: unchanged."""
_UNAVAILABLE_BYTES = UNAVAILABLE.encode()

Row = dict[str, Value]


class Absent:
    """The type of `ABSENT`: there is no such field (null is a value, this is none)."""

    _only: "Absent | None" = None

    def __new__(cls) -> "Absent":
        """The one instance there is."""
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __repr__(self) -> str:
        """As it reads in a table."""
        return "ABSENT"

    def __bool__(self) -> bool:
        """Nothing is there."""
        return False

    def __reduce__(self) -> str:
        """Copies and pickles are the same instance."""
        return "ABSENT"


ABSENT: Final = Absent()
"""Stands where a field has no value, not even null."""


def unchanged(value: Value) -> bool:
    """True for Debezium's placeholder, as text or as bytes."""
    return value in (UNAVAILABLE, _UNAVAILABLE_BYTES)


def same_value(left: Value | Absent, right: Value | Absent) -> bool:
    """Equality that keeps apart what is stored differently: 1 and 1.0, 0.0 and -0.0, 1.5 and 1.50.

    NaN equals NaN. Timestamps compare as instants.
    """
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):
        if left == right:
            return math.copysign(1.0, left) == math.copysign(1.0, right)
        return left != left and right != right
    if isinstance(left, Decimal) and isinstance(right, Decimal):
        return left.as_tuple() == right.as_tuple()
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_value, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_value(left[k], right[k]) for k in left)
    return left == right


def changed_fields(
    before: Row | None, after: Row | None
) -> dict[str, tuple[Value | Absent, Value | Absent]]:
    """Field -> (old, new) of the fields that differ, sorted by name; ABSENT where there is none."""
    old = before or {}
    new = after or {}
    changes: dict[str, tuple[Value | Absent, Value | Absent]] = {}
    for name in sorted(old.keys() | new.keys()):
        pair = old.get(name, ABSENT), new.get(name, ABSENT)
        if not same_value(*pair):
            changes[name] = pair
    return changes

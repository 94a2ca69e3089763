"""Named values side by side: which differ, a short line each."""

from collections.abc import Mapping
from typing import Any

from audit.event.valuejson import dumps, to_json
from audit.lineage.tracing.graph import short
from audit.lineage.tracing.trace_nodes import value_text
from audit.replay.fold import Absent

MAX_DETAILS = 50
"""Differing values, columns or rows of one thing that are listed."""


def value_lines(a: Any, b: Any, what: str = "") -> list[str]:
    """`name: old -> new` for named values that differ."""
    one = a if isinstance(a, Mapping) else {}
    other = b if isinstance(b, Mapping) else {}
    head = f"{what} " if what else ""
    names = [
        name
        for name in dict.fromkeys((*one, *other))
        if (name in one) != (name in other) or not same_json(one[name], other[name])
    ]
    lines = [
        f"{head}{short(name, 100)}: {_told(one, name)} -> {_told(other, name)}"
        for name in names[:MAX_DETAILS]
    ]
    if len(names) > MAX_DETAILS:
        lines.append(f"... and {len(names) - MAX_DETAILS:,} more")
    return lines


def column_lines(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Which columns differ, by their digests."""
    lines = []
    for name in dict.fromkeys((*a, *b)):
        if name not in b or name not in a:
            lines.append(f"{short(name, 100)} is only in {'a' if name in a else 'b'}")
        elif not same_json(a[name], b[name]):
            lines.append(f"{short(name, 100)} differs")
    return lines[:MAX_DETAILS]


def same_json(a: Any, b: Any) -> bool:
    """Whether two JSON values are the same to the type: 1 is not 1.0, nor true."""
    return dumps(a) == dumps(b)


def _told(values: Mapping[str, Any], name: str) -> str:
    return value_text(values[name]) if name in values else "absent"


def shown(value: Any) -> str:
    """A field of a row in a few characters."""
    if isinstance(value, Absent):
        return "absent"
    return value_text(to_json(value))

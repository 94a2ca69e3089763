"""Which entries a statement can use at all, told by plain comparisons in its WHERE.

Only what is simple is looked at: one SELECT from `events` alone, and comparisons of `log`, `index`,
`recorded_time` and `entity_type` with literals that all must hold. The engine still applies the
whole WHERE; what is left out here would not have passed it.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from audit.errors import InvalidInput
from audit.event.times import parse_rfc3339
from audit.event.wire import MAX_INT64

MAX_DIGITS = 18
SECOND_US = 1_000_000
"""Times are taken so much wider: how an engine rounds a text does not matter then."""

_INTEGER = re.compile(rf"-?[0-9]{{1,{MAX_DIGITS}}}")
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9:]{8}(?:\.[0-9]{1,6})?)(Z|\+00)?)?")
_TURNED = {
    "COMPARE_EQUAL": "COMPARE_EQUAL",
    "COMPARE_LESSTHAN": "COMPARE_GREATERTHAN",
    "COMPARE_LESSTHANOREQUALTO": "COMPARE_GREATERTHANOREQUALTO",
    "COMPARE_GREATERTHAN": "COMPARE_LESSTHAN",
    "COMPARE_GREATERTHANOREQUALTO": "COMPARE_LESSTHANOREQUALTO",
}
"""A comparison, and what it is with its sides exchanged."""


class Bounds(NamedTuple):
    """Both ends of a span count: logs, indexes, recorded times in microseconds; an entity type."""

    log: tuple[int, int] = (0, MAX_INT64)
    index: tuple[int, int] = (0, MAX_INT64)  # type: ignore[assignment]  # hides tuple.index
    recorded_us: tuple[int, int] | None = None
    entity_type: str | None = None


EVERYTHING = Bounds()


def bounds_of(tree: dict[str, Any], nodes: list[dict[str, Any]]) -> Bounds:
    """The bounds of a statement's only scan of `events`; EVERYTHING where that is not plain."""
    node = tree["statements"][0].get("node") or {}
    table = node.get("from_table") or {}
    tables = sum(other.get("type") == "BASE_TABLE" for other in nodes)
    plain = (
        node.get("type") == "SELECT_NODE"
        and table.get("type") == "BASE_TABLE"
        and str(table.get("table_name")).lower() == "events"
        and tables == 1
        # A function may look up the table by its name, as query_table() does.
        and not any(other.get("type") == "TABLE_FUNCTION" for other in nodes)
        and not (node.get("cte_map") or {}).get("map")
        and not any(table.get(name) for name in ("sample", "column_name_alias", "at_clause"))
        and not node.get("sample")
    )
    if not plain:
        return EVERYTHING
    named = {"events", str(table.get("alias") or "events").lower()}
    hidden = {str(other["alias"]).lower() for other in nodes if other.get("alias")}
    bounds = EVERYTHING
    for column, comparison, literal in _comparisons(node.get("where_clause") or {}, named):
        if column not in hidden:
            bounds = _narrowed(bounds, column, comparison, literal)
    return bounds


def _comparisons(
    node: dict[str, Any], named: set[str]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(column, comparison, literal) of all that must hold."""
    kind = node.get("type")
    if kind == "CONJUNCTION_AND":
        for child in node.get("children") or ():
            yield from _comparisons(child, named)
    elif kind == "COMPARE_BETWEEN":
        column = _column(node.get("input"), named)
        for side, comparison in (("lower", "GREATERTHANOREQUALTO"), ("upper", "LESSTHANOREQUALTO")):
            literal = _literal(node.get(side))
            if column and literal:
                yield column, f"COMPARE_{comparison}", literal
    elif kind in _TURNED:
        left, right = node.get("left"), node.get("right")
        column, literal = _column(left, named), _literal(right)
        if column and literal:
            yield column, kind, literal
        column, literal = _column(right, named), _literal(left)
        if column and literal:
            yield column, _TURNED[kind], literal


def _column(node: dict[str, Any] | None, named: set[str]) -> str | None:
    if not node or node.get("class") != "COLUMN_REF":
        return None
    *table, column = [str(part).lower() for part in node.get("column_names") or ("",)]
    return column if not table or (len(table) == 1 and table[0] in named) else None


def _literal(node: dict[str, Any] | None) -> dict[str, Any] | None:
    literal = node.get("literal") if node and node.get("class") == "CONSTANT" else None
    return literal if isinstance(literal, dict) else None


def _narrowed(bounds: Bounds, column: str, comparison: str, literal: dict[str, Any]) -> Bounds:
    kind, text = literal.get("kind"), str(literal.get("text"))
    if column in ("log", "index") and kind == "INTEGER" and _INTEGER.fullmatch(text):
        old = bounds.log if column == "log" else bounds.index
        strict = 0 if comparison.endswith("EQUALTO") else 1
        span = _meet(old, comparison, int(text), strict)
        return bounds._replace(log=span) if column == "log" else bounds._replace(index=span)
    if column == "recorded_time" and kind == "STRING":
        time_us = _time_us(text)
        if time_us is not None:
            old = bounds.recorded_us or (0, MAX_INT64)
            return bounds._replace(recorded_us=_meet(old, comparison, time_us, -SECOND_US))
    if column == "entity_type" and kind == "STRING" and comparison == "COMPARE_EQUAL":
        return bounds._replace(entity_type=text)
    return bounds


def _meet(span: tuple[int, int], comparison: str, value: int, inside: int) -> tuple[int, int]:
    """A span cut down; an end that does not count itself lies `inside` further."""
    low, high = span
    if comparison == "COMPARE_EQUAL":
        wide = max(0, -inside)
        return max(low, value - wide), min(high, value + wide)
    if comparison.startswith("COMPARE_GREATER"):
        return max(low, value + inside), high
    return low, min(high, value - inside)


def _time_us(text: str) -> int | None:
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    try:
        return parse_rfc3339(f"{match[1]}T{match[2] or '00:00:00'}Z")
    except InvalidInput:
        return None

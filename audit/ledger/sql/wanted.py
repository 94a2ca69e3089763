"""What a statement reads: its tables, its calls of asof(), and the columns that it names.

DuckDB itself parses the statement; its tree comes as JSON. Only what is one SELECT (or DESCRIBE,
SHOW, SUMMARIZE, EXPLAIN of one) has such a tree, so nothing else is ever run.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from audit.errors import InvalidInput, LimitExceeded
from audit.ledger.sql.bounds import Bounds, bounds_of

MAX_STATEMENT_CHARS = 1_000_000
MAX_ASOF_CALLS = 100
"""Datasets at different points that one statement may compare."""

ASOF = "asof"
_EXPLAIN = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*explain(?:\s+analyze)?\b", re.I | re.S)
_HINT = (
    "asof takes literals: asof('user', '2026-01-31') or asof('user', '2026-01-31', '2020-06-01')"
)


class AsofCall(NamedTuple):
    """asof(entity_type, point, valid_at); None for what was left out or is NULL."""

    entity_type: str
    point: str | None
    valid_at: str | None


class Wanted(NamedTuple):
    """What a statement reads. `tables` and `columns` are case-folded; `columns` None: all.

    `lists`: it asks which tables there are. `bounds`: which entries it can use at all.
    """

    tables: frozenset[str]
    asof: tuple[AsofCall, ...]
    columns: frozenset[str] | None
    lists: bool
    bounds: Bounds


def wanted(connection: Any, statement: str) -> Wanted:
    """What one statement reads. Raises InvalidInput for what is no single SELECT."""
    if len(statement) > MAX_STATEMENT_CHARS:
        raise LimitExceeded(f"a statement has at most {MAX_STATEMENT_CHARS:,} characters")
    text = _EXPLAIN.sub("", statement, count=1) if _EXPLAIN.match(statement) else statement
    found = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchone()
    try:
        tree = json.loads(found[0])
        if tree.get("error"):
            raise InvalidInput(_refusal(tree))
        nodes = list(_nodes(tree))
    except RecursionError:
        raise LimitExceeded("the statement is nested too deeply") from None
    if len(tree.get("statements", ())) != 1:
        raise InvalidInput("give one statement, and no more")
    tables = frozenset(_folded(n.get("table_name")) for n in nodes if n.get("type") == "BASE_TABLE")
    calls = tuple(_call(node) for node in nodes if _is_asof(node))
    if len(calls) > MAX_ASOF_CALLS:
        raise LimitExceeded(f"a statement has at most {MAX_ASOF_CALLS} calls of asof()")
    lists = any(node.get("type") == "SHOW_REF" and not node.get("query") for node in nodes)
    return Wanted(tables, calls, _columns(nodes, tables), lists, bounds_of(tree, nodes))


def _refusal(tree: dict[str, Any]) -> str:
    message = str(tree.get("error_message") or "the statement cannot be read")
    if "Only SELECT" in message:
        return "only SELECT (and DESCRIBE, SHOW, SUMMARIZE, EXPLAIN): the ledger is read-only here"
    return message.partition("\n")[0]


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _nodes(item)


def _folded(name: Any) -> str:
    return str(name).lower()


def _is_asof(node: dict[str, Any]) -> bool:
    function = node.get("function")
    if node.get("type") != "TABLE_FUNCTION" or not isinstance(function, dict):
        return False
    return _folded(function.get("function_name")) == ASOF


def _call(node: dict[str, Any]) -> AsofCall:
    given: dict[str, str | None] = {}
    for at, argument in enumerate(node["function"].get("arguments", ())):
        name = _folded(argument.get("name") or "") or ("e", "t", "v", "?")[min(at, 3)]
        if name not in ("e", "t", "v") or name in given:
            raise InvalidInput(_HINT)
        given[name] = _constant(argument.get("expression") or {})
    entity_type = given.get("e")
    if entity_type is None:
        raise InvalidInput(_HINT)
    return AsofCall(entity_type, given.get("t"), given.get("v"))


def _constant(node: dict[str, Any]) -> str | None:
    literal = node.get("literal")
    if node.get("class") != "CONSTANT" or not isinstance(literal, dict):
        raise InvalidInput(_HINT)
    return None if literal.get("kind") == "NULL_LITERAL" else str(literal.get("text"))


def _columns(nodes: list[dict[str, Any]], tables: frozenset[str]) -> frozenset[str] | None:
    """Every name that may be a column's; None where all columns may be meant."""
    names: set[str] = set()
    rows = set(tables) | {_folded(node["alias"]) for node in nodes if node.get("alias")}
    for node in nodes:
        if node.get("class") in ("STAR", "POSITIONAL_REFERENCE") or node.get("type") == "PIVOT":
            return None
        if node.get("ref_type") == "NATURAL" or node.get("column_name_alias"):
            return None
        if node.get("class") == "COLUMN_REF":
            parts = [_folded(part) for part in node.get("column_names", ())]
            if parts and parts[-1] in rows:
                return None  # a whole row by the name of its table
            names.update(parts)
        names.update(_folded(name) for name in node.get("using_columns") or ())
    return frozenset(names)

"""Reading a statement's own parts: which columns its condition names, and what it sets."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    BooleanClauseList,
    ColumnClause,
    Grouping,
)
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import SelectBase, TableClause

Parameters = Mapping[str, Any]

_UNSTEADY = frozenset({"random", "randomblob", "changes", "total_changes", "last_insert_rowid"})


class NotUnderstood(Exception):
    """The hooks cannot tell which rows a statement changes. Says why; never leaves the package."""


def own_table(statement: Any) -> Table:
    """The Table that a statement changes. Raises NotUnderstood for all else."""
    table = target_of(statement)
    if not isinstance(table, Table):
        raise NotUnderstood("it changes an alias, a join or a table() without types")
    return table


def target_of(statement: Any) -> Any:
    """What a statement changes: of a class over several tables the one that it is about now."""
    found = statement._annotations
    own = found.get("_emit_insert_table", found.get("_emit_update_table"))
    return statement.table if own is None else own


def tables_in(selectable: Any) -> list[Any]:
    """The tables that a statement's target stands for, lightweight ones of `table()` too."""
    if isinstance(selectable, TableClause):
        return [selectable]
    return [each for each in visitors.iterate(selectable) if isinstance(each, TableClause)]


def equalities(criteria: Iterable[Any], table: Table) -> tuple[dict[str, Any], bool]:
    """By column of the table: the parameter that it must be equal to. True: and nothing else."""
    found: dict[str, Any] = {}
    is_all = True
    waiting = list(criteria)
    while waiting:
        each = waiting.pop()
        if isinstance(each, Grouping):
            waiting.append(each.element)
        elif isinstance(each, BooleanClauseList) and each.operator is operators.and_:
            waiting.extend(each.clauses)
        else:
            name, value = _equality(each, table)
            is_all &= name is not None and name not in found
            if name is not None:
                found.setdefault(name, value)
    return found, is_all


def _equality(clause: Any, table: Table) -> tuple[str | None, Any]:
    if not isinstance(clause, BinaryExpression) or clause.operator is not operators.eq:
        return None, None
    for left, right in ((clause.left, clause.right), (clause.right, clause.left)):
        name = column_of(left, table)
        if name is not None and isinstance(right, BindParameter) and not right.expanding:
            return name, right
    return None, None


def column_of(element: Any, table: Table) -> str | None:
    """The name in the database of a column of this very table, else None."""
    if not isinstance(element, ColumnClause):
        return None
    own = getattr(element, "table", None)
    if not isinstance(own, Table) or (own.schema, own.name) != (table.schema, table.name):
        return None
    return str(element.name)


def given(parameter: Any, values: Parameters) -> Any:
    """The value that a parameter has in an execution."""
    key = parameter.key
    return values[key] if key in values else parameter.effective_value  # noqa: SIM401


def parameters_in(criteria: Iterable[Any]) -> set[str]:
    """The names of all parameters of a condition."""
    return {
        str(each.key)
        for clause in criteria
        for each in visitors.iterate(clause)
        if isinstance(each, BindParameter)
    }


def is_unsteady(criteria: Iterable[Any]) -> bool:
    """True when a condition holds for other rows each time that it is asked."""
    return any(
        isinstance(each, FunctionElement) and str(each.name).lower() in _UNSTEADY
        for clause in criteria
        for each in visitors.iterate(clause)
    )


def asks_elsewhere(criteria: Iterable[Any]) -> bool:
    """True when a condition holds a SELECT."""
    return any(
        isinstance(each, SelectBase) for clause in criteria for each in visitors.iterate(clause)
    )


def set_columns(statement: Any, table: Table, named: Iterable[str]) -> dict[str, Any]:
    """By column: what an UPDATE sets it to. None: a parameter of the column's key.

    `named`: keys of the parameters that are not of its condition.
    """
    values = statement._values or {}
    ordered = getattr(statement, "_ordered_values", None)
    pairs: Sequence[tuple[Any, Any]] = list(ordered) if ordered else list(values.items())
    found: dict[str, Any] = {}
    for key, value in pairs:
        found[_set_name(statement, table, key)] = value
    for key in named:
        found.setdefault(_set_name(statement, table, key), None)
    for column in table.columns:
        if column.name not in found and (column.onupdate is not None or column.server_onupdate):
            if column.primary_key:
                raise NotUnderstood("its key changes by itself")
            found[column.name] = None
    return found


def _set_name(statement: Any, table: Table, key: Any) -> str:
    name = column_of(key, table)
    if name is not None:
        return name
    if isinstance(key, str):
        if key in table.columns:
            return table.columns[key].name
        mapper = mapper_of(statement)
        attribute = None if mapper is None else mapper.column_attrs.get(key)
        if attribute is not None:
            for column in attribute.columns:
                name = column_of(column, table)
                if name is not None:
                    return name
    raise NotUnderstood("it sets something that is no column of its table")


def mapper_of(statement: Any) -> Any:
    """The mapper of an ORM-enabled statement, else None."""
    subject = statement._propagate_attrs.get("plugin_subject")
    return getattr(subject, "mapper", None)


def criteria_of(statement: Any) -> tuple[Any, ...]:
    """The conditions of an UPDATE or DELETE; of one class of several in a table also its own."""
    mapper = mapper_of(statement)
    single = getattr(mapper, "_single_table_criterion", None)
    criteria = tuple(statement._where_criteria)
    return criteria if single is None else (*criteria, single)


def require_plain(statement: Any) -> None:
    """Raises NotUnderstood for additions that only the database's own SQL gives a meaning."""
    for name in ("_suffixes", "_hints", "_post_criteria_clause"):
        if getattr(statement, name, None):
            raise NotUnderstood("it carries SQL of its own")

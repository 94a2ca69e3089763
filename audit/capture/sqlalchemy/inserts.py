"""INSERT: how the rows that it made are found again, and what an upsert will change.

Where the parameters hold the keys, the rows are those. Else SQLAlchemy knows the key (of a single
row, and of a flush), or the statement is given a RETURNING of the key, which the application does
not see. An upsert may change only rows that hold the same values in the columns of its conflict:
these are read before and after it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, select, tuple_
from sqlalchemy.engine.cursor import FullyBufferedCursorFetchStrategy
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BindParameter

from audit.capture.sqlalchemy.cascades import Cascades
from audit.capture.sqlalchemy.catalogue import Catalogue, Entry, columns_by_name
from audit.capture.sqlalchemy.conditions import Raw, by_given
from audit.capture.sqlalchemy.images import EXCLUSIVE, Watch
from audit.capture.sqlalchemy.understood import (
    NotUnderstood,
    Parameters,
    own_table,
    require_plain,
)
from audit.capture.sqlalchemy.updates import Planned
from audit.errors import InvalidInput

IN_PARAMETERS = "in parameters"
KNOWN = "known to SQLAlchemy"
RETURNED = "returned"
"""How the keys of an INSERT's rows are known after it."""

_IGNORE, _REPLACE = "OR IGNORE", "OR REPLACE"


class Keys(NamedTuple):
    """How the keys of the rows are known. `size`: how many rows there are, None: any number.

    `was_added`: the RETURNING is not the application's own.
    """

    how: str
    size: int | None
    was_added: bool = False
    had_returning: bool = False


class Inserting:
    """One INSERT on its way."""

    def __init__(
        self,
        connection: Connection,
        statement: Any,
        values: Sequence[Parameters],
        entry: Entry,
        catalogue: Catalogue,
        options: Any,
    ) -> None:
        """`values`: the parameters of each execution. Raises NotUnderstood."""
        require_plain(statement)
        self._connection = connection
        self._statement = statement
        self._table: Table = own_table(statement)
        self._values = values or [{}]
        self._entry = entry
        self._own = columns_by_name(self._table)
        self._watch = Watch(entry, self._table, connection, options)
        self._cascades = Cascades(catalogue, self._watch, connection, options)
        self._prefix = _prefix(statement)

    def plan(self) -> Planned:
        """The statement as it is to run. Raises NotUnderstood, LimitExceeded."""
        clause = self._statement._post_values_clause
        if clause is not None:
            kind = type(clause).__visit_name__
            if kind == "on_conflict_do_update":
                return self._upsert([self._target(clause)], _set_names(clause, self._table))
            if kind != "on_conflict_do_nothing":
                raise NotUnderstood("it has a conflict clause that is not known")
        if self._prefix == _REPLACE:
            return self._replace()
        is_skipping = clause is not None or self._prefix == _IGNORE
        return self._insert(is_skipping)

    # Plain ones, and those that skip what is there already

    def _insert(self, is_skipping: bool) -> Planned:
        statement = self._statement
        is_many = len(self._values) > 1
        has_own = bool(statement._returning)
        is_single = not is_many and not statement._multi_values and statement.select is None
        count = None
        if statement.select is None and not is_skipping:
            sets = statement._multi_values
            count = len(self._values) if not sets else sum(len(each) for each in sets)
        if not is_skipping and is_many and self._gives_key():
            return self._planned(statement, Keys(IN_PARAMETERS, count))
        # SQLAlchemy asks for the keys of many rows only where a flush has told it to.
        is_known = bool(statement._return_defaults) or (
            is_single and not statement._inline and not has_own
        )
        primary = {column.name for column in self._table.primary_key.columns}
        if is_known and not is_skipping and primary.issuperset(self._entry.captured.key):
            return self._planned(statement, Keys(KNOWN, count))
        if not self._connection.dialect.insert_returning:
            raise NotUnderstood("its rows' keys are not known, and this database has no RETURNING")
        if is_many and not self._connection.dialect.insert_executemany_returning:
            raise NotUnderstood("its rows' keys are not known, and this driver returns none")
        if has_own and self._returns_key():
            return self._planned(statement, Keys(RETURNED, count, False, True))
        key = [self._column(name) for name in self._entry.captured.key]
        return self._planned(statement.returning(*key), Keys(RETURNED, count, True, has_own))

    def _planned(self, statement: Any, keys: Keys) -> Planned:
        return Planned(statement, [self._watch], keys=keys)

    def _column(self, name: str) -> Any:
        return self._watch.reader.columns[name]

    def _gives_key(self) -> bool:
        """True when each execution names its row's key, or Python makes it."""
        for name in self._entry.captured.key:
            column: Any = self._own.get(name)
            if column is None or self._has_value(column):
                return False
            default: Any = getattr(column, "default", None)
            made = default is not None and (default.is_scalar or default.is_callable)
            if not made and any(values.get(column.key) is None for values in self._values):
                return False
            if any(_is_expression(values.get(column.key)) for values in self._values):
                return False
        return True

    def _has_value(self, column: Any) -> bool:
        """True when the statement itself says a column's value, for all executions."""
        return column in (self._statement._values or {})

    def _returns_key(self) -> bool:
        returned = list(self._statement.exported_columns)
        return all(
            any(each is self._own.get(name) or _is_same(each, self._own.get(name)) for each in
                returned)
            for name in self._entry.captured.key
        )  # fmt: skip

    # Upserts

    def _target(self, clause: Any) -> tuple[str, ...]:
        """The columns whose values decide whether there is a conflict."""
        constraint = getattr(clause, "constraint_target", None)
        if constraint is not None:
            found = self._entry.unique.get(str(constraint))
            if found is None:
                raise NotUnderstood("its conflict is of a constraint that is not known")
            return found
        elements = clause.inferred_target_elements
        if elements is None:
            raise NotUnderstood("its conflict may be of any unique columns")
        names = []
        for each in elements:
            column: Any = self._table.columns.get(each) if isinstance(each, str) else each
            name = each if column is None and isinstance(each, str) else column.name
            if name not in self._watch.reader.columns:
                raise NotUnderstood("its conflict is of an expression")
            names.append(name)
        return tuple(names)

    def _upsert(self, targets: Sequence[tuple[str, ...]], sets: Mapping[str, Any]) -> Planned:
        for target in targets:
            for name in target:
                if name in sets and not _is_excluded(sets[name], name):
                    raise NotUnderstood(f"it changes {name[:64]!r}, by which it finds its rows")
        conditions = [c for target in targets for c in self._conflicts(target)]
        self._watch.look(conditions, EXCLUSIVE)
        self._watch.again += conditions
        self._watch.is_upsert = True
        self._cascades.updated(self._watch, list(self._watch.before.values()), sets)
        return Planned(self._statement, list(self._cascades.watches.values()))

    def _conflicts(self, target: tuple[str, ...]) -> list[Any]:
        if self._statement.select is not None:
            return [self._selected(target)]
        values = [
            value for row in self._rows() if None not in (value := self._values_of(row, target))
        ]
        columns = [self._column(name) for name in target]
        kinds = [self._watch.reader.kinds[name] for name in target]
        return list(by_given(columns, kinds, values, self._watch.dialect))

    def _selected(self, target: tuple[str, ...]) -> Any:
        """The rows of an INSERT ... FROM SELECT: those that the SELECT names, asked twice."""
        source = self._statement.select
        if self._table in set(_froms(source)):
            raise NotUnderstood("it selects from the table that it changes")
        given = [_name_of(name, self._table) for name in self._statement._select_names]
        if not set(target) <= set(given):
            raise NotUnderstood("it does not select the columns of its conflict")
        chosen = source.subquery()
        places = [list(chosen.columns)[given.index(name)] for name in target]
        columns = [self._column(name) for name in target]
        left = columns[0] if len(columns) == 1 else tuple_(*columns)
        return left.in_(select(*places))

    def _rows(self) -> Iterable[Mapping[Any, Any]]:
        """The values of each row, by column or key."""
        common = self._statement._values or {}
        multi = self._statement._multi_values
        if multi:
            for part in multi:
                for row in part:
                    yield (
                        row if isinstance(row, Mapping)
                        else dict(zip(self._table.columns, row, strict=False))
                    )  # fmt: skip
            return
        for values in self._values:
            yield {**common, **values}

    def _values_of(self, row: Mapping[Any, Any], target: tuple[str, ...]) -> Raw:
        return tuple(self._value_of(row, name) for name in target)

    def _value_of(self, row: Mapping[Any, Any], name: str) -> Any:
        column: Any = self._own.get(name)
        if column is None:
            raise NotUnderstood(f"{name[:64]!r} of its conflict is no column it knows")
        value = row.get(column, row.get(column.key))
        if isinstance(value, BindParameter):
            value = value.effective_value
        if _is_expression(value):
            raise NotUnderstood(f"{name[:64]!r} of its conflict is an expression")
        if value is None and (column.default is not None or column.server_default is not None):
            # What is made now conflicts with nothing, unless it is always the same.
            if not column.primary_key:
                raise NotUnderstood(f"{name[:64]!r} of its conflict has a default")
            default = column.default
            if default is not None and default.is_scalar:
                return default.arg
        return value

    def _replace(self) -> Planned:
        """SQLite's OR REPLACE deletes every row that stands in its way."""
        if self._entry.has_unique_expressions:
            raise NotUnderstood("it replaces by an expression")
        targets = list(self._entry.unique.values())
        conditions = [c for target in targets for c in self._conflicts(target)]
        self._watch.look(conditions, EXCLUSIVE)
        self._watch.again += conditions
        self._cascades.deleted(self._watch, list(self._watch.before.values()))
        watches = list(self._cascades.watches.values())
        planned = self._insert(False)
        keys = planned.keys._replace(size=None)
        return Planned(planned.statement, watches, keys=keys)


def _prefix(statement: Any) -> str:
    prefixes = [" ".join(str(each).upper().split()) for each, _ in statement._prefixes]
    for name in (_IGNORE, _REPLACE):
        if prefixes == [name]:
            return name
    if prefixes:
        raise NotUnderstood("it has a prefix")
    return ""


def _set_names(clause: Any, table: Table) -> dict[str, Any]:
    return {_name_of(key, table): value for key, value in dict(clause.update_values_to_set).items()}


def _name_of(key: Any, table: Table) -> str:
    if isinstance(key, str):
        return str(table.columns[key].name) if key in table.columns else key
    return str(key.name)


def _is_excluded(value: Any, name: str) -> bool:
    """True for `excluded.<the same column>`: after a conflict that is the value it had."""
    own = getattr(value, "table", None)
    return getattr(own, "name", None) == "excluded" and getattr(value, "name", None) == name


def _is_expression(value: Any) -> bool:
    return hasattr(value, "__clause_element__") or (
        hasattr(value, "_traverse_internals") and not isinstance(value, BindParameter)
    )


def _is_same(returned: Any, column: Any) -> bool:
    if column is None or getattr(returned, "name", None) != column.name:
        return False
    own = getattr(returned, "table", None)
    return isinstance(own, Table) and own.name == column.table.name


def _froms(source: Any) -> Iterable[Any]:
    return (each for each in visitors.iterate(source) if isinstance(each, Table))


def keys_after(result: Any, planned: Planned) -> None:
    """Tell the watch which rows an INSERT has made, once it has run."""
    keys: Keys = planned.keys
    watch = planned.watches[0]
    names = watch.entry.captured.key
    context = result.context
    if keys.how == RETURNED:
        found = _returned(result, watch, keys)
        watch.again_keys += found
        return
    if keys.how == IN_PARAMETERS:
        own = columns_by_name(watch.table)
        given = [tuple(row[own[n].key] for n in names) for row in context.compiled_parameters]
    else:
        primary = [column.name for column in watch.table.primary_key.columns]
        places = [primary.index(name) for name in names]
        given = [tuple(row[at] for at in places) for row in context.inserted_primary_key_rows]
    watch.look_again_at([key for key in given if None not in key])


def _returned(result: Any, watch: Watch, keys: Keys) -> list[Raw]:
    """The keys in the rows that a statement returned; the application still gets its own."""
    strategy, context = result.cursor_strategy, result.context
    if isinstance(strategy, FullyBufferedCursorFetchStrategy):
        rows = list(strategy._rowbuffer)
    else:
        rows = list(result.cursor.fetchall())
        result.cursor_strategy = FullyBufferedCursorFetchStrategy(result.cursor, None, rows)
    columns = context.compiled._result_columns
    names = watch.entry.captured.key
    places = [_place(columns, watch.reader.columns[name]) for name in names]
    found = [tuple(row[at] for at in places) for row in rows]
    if keys.was_added and keys.had_returning:
        result.columns(*range(len(columns) - len(names) - context._num_sentinel_cols))
    elif keys.was_added:
        context._rowcount = len(rows)
        context._is_explicit_returning = False
        if not context.executemany:
            context.inserted_primary_key_rows = found or [(None,) * len(names)]
        result._soft_close()
        result._metadata = result._no_result_metadata
    return found


def _place(columns: Sequence[Any], wanted: Any) -> int:
    """Where a column is among those that are returned; the last, if it is there twice."""
    for at in range(len(columns) - 1, -1, -1):
        if any(each is wanted or _is_same(each, wanted) for each in columns[at].objects):
            return at
    raise InvalidInput(
        f"an INSERT did not return {str(wanted.name)[:64]!r}, by which its row is known"
    )

"""UPDATE and DELETE: the rows that they will change are read, and locked, before they run.

Nothing is missed when others write meanwhile (PostgreSQL, READ COMMITTED): a condition may hold for
more rows by the time the statement runs, so the statement is bound to the rows that were read, as
if it had run at that moment. One that names its rows by their keys is left as it is, and the number
of rows that it says it changed is compared instead. SQLite has one writer at a time.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, and_, cast, false, or_
from sqlalchemy.sql.elements import BindParameter

from audit.capture.database.connect import POSTGRESQL
from audit.capture.sqlalchemy.cascades import Cascades
from audit.capture.sqlalchemy.catalogue import Catalogue, Entry
from audit.capture.sqlalchemy.conditions import Raw, by_given, by_raw, is_plain, raw
from audit.capture.sqlalchemy.images import EXCLUSIVE, SHARED_KEY, Watch
from audit.capture.sqlalchemy.understood import (
    NotUnderstood,
    Parameters,
    criteria_of,
    equalities,
    given,
    is_unsteady,
    own_table,
    parameters_in,
    require_plain,
    set_columns,
)

UNKNOWN = None
"""A number of rows that nothing is compared with."""


class Planned(NamedTuple):
    """A statement as it is to run, and the rows to look at again after it."""

    statement: Any
    watches: Sequence[Watch]
    most: int | None = UNKNOWN
    """More rows than this cannot be changed, or somebody wrote between reading and changing."""
    keys: Any = None
    """Of an INSERT: how the keys of its rows are known afterwards."""


class Changing:
    """One UPDATE or DELETE on its way."""

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
        if statement._prefixes:
            raise NotUnderstood("it has a prefix")
        self._statement = statement
        self._table: Table = own_table(statement)
        self._values = values or [{}]
        self._criteria = criteria_of(statement)
        self._entry = entry
        self._is_delete = bool(statement.is_delete)
        self._watch = Watch(entry, self._table, connection, options)
        self._cascades = Cascades(catalogue, self._watch, connection, options)
        self._sets: dict[str, Any] = {}
        if not self._is_delete:
            aside = parameters_in(self._criteria) if self._values[0] else ()
            named = [key for key in self._values[0] if key not in aside]
            self._sets = set_columns(statement, self._table, named)
        referred = {n for r in entry.references if r.on_update for n in r.referred}
        important = dict.fromkeys((*entry.captured.key, *sorted(referred)))
        self._moved = [name for name in important if name in self._sets]
        """Columns that say which row it is, here or in others, and get new values."""
        unique = {name for names in entry.unique.values() for name in names}
        is_light = not self._is_delete and not unique & set(self._sets)
        self._lock = SHARED_KEY if is_light else EXCLUSIVE

    def plan(self) -> Planned:
        """Read the rows before. Raises NotUnderstood, LimitExceeded."""
        found, is_all = equalities(self._criteria, self._table)
        key = self._entry.captured.key
        is_many = len(self._values) > 1
        if all(name in found for name in key) and (is_many or not self._moved):
            return self._by_key([found[name] for name in key])
        if is_many:
            return self._many(found, is_all)
        return self._by_condition()

    def _by_key(self, parameters: Sequence[Any]) -> Planned:
        """As flushes do it: one row for each execution, named by its key."""
        keys = [tuple(given(each, values) for each in parameters) for values in self._values]
        rows = self._watch.look_given(keys, self._lock)
        missing = len(set(keys)) - len(self._watch.before)
        self._follow(rows, self._given_values(keys))
        most = len(keys) - missing if missing > 0 else UNKNOWN
        return Planned(self._statement, self._watches(), most)

    def _given_values(self, keys: Sequence[Raw]) -> list[Raw]:
        """The new values of the columns that say which row it is, for each execution."""
        found = []
        for key, values in zip(keys, self._values, strict=True):
            old = dict(zip(self._entry.captured.key, key, strict=True))
            found.append(tuple(self._given_value(name, values, old) for name in self._shown()))
        return found if self._moved else []

    def _given_value(self, name: str, values: Parameters, old: dict[str, Any]) -> Any:
        if name not in self._sets:
            return old[name]
        value, column = self._sets[name], self._watch.reader.columns[name]
        if not is_plain(column.type):
            raise NotUnderstood(f"it changes {name[:64]!r}, whose type converts its values")
        if value is None:
            key = next((c.key for c in self._table.columns if c.name == name), name)
            if key not in values:
                raise NotUnderstood(f"it changes {name[:64]!r} to what is not known before")
            return values[key]
        if not isinstance(value, BindParameter):
            raise NotUnderstood(f"it changes {name[:64]!r} by an expression, many times")
        return given(value, values)

    def _shown(self) -> list[str]:
        """The columns of new values: all of the key, and others that are referred to and moved."""
        return list(dict.fromkeys((*self._entry.captured.key, *self._moved)))

    def _many(self, found: dict[str, Any], is_all: bool) -> Planned:
        """Executed many times, by other columns than the key."""
        names = list(found)
        if not names or not is_all or set(names) & set(self._sets) or self._moved:
            raise NotUnderstood("it runs many times, by a condition that is not its rows' keys")
        asked = [tuple(given(found[name], values) for name in names) for values in self._values]
        if len(set(asked)) != len(asked):
            raise NotUnderstood("it runs many times for the same rows")
        reader = self._watch.reader
        columns = [reader.columns[name] for name in names]
        kinds = [reader.kinds[name] for name in names]
        rows = self._watch.look(by_given(columns, kinds, asked, self._watch.dialect), self._lock)
        count = len(self._watch.before)
        self._follow(rows, [])
        return Planned(self._statement, self._watches(), count)

    def _by_condition(self) -> Planned:
        """One execution, whatever its condition."""
        (values,) = self._values
        on_postgresql = self._watch.dialect == POSTGRESQL
        if not on_postgresql and is_unsteady(self._criteria):
            raise NotUnderstood("its condition is another each time it is asked")
        extra = self._new_values(values)
        aside = parameters_in((*self._criteria, *extra))
        rows = self._watch.look(
            [and_(*self._criteria) if self._criteria else None],
            self._lock,
            extra=extra,
            values={name: value for name, value in values.items() if name in aside},
            ordered=False,
        )
        statement = self._statement
        if on_postgresql:
            bound = self._watch.restriction()
            statement = statement.where(or_(*bound) if bound else false())
        width = self._watch.reader.width
        self._follow(rows, [tuple(row[width:]) for row in rows] if extra else [])
        return Planned(statement, self._watches())

    def _new_values(self, values: Parameters) -> list[Any]:
        """Expressions of the new values of the columns that say which row it is."""
        if not self._moved:
            return []
        found = []
        for name in self._shown():
            column, kind = self._watch.reader.columns[name], self._watch.reader.kinds[name]
            value: Any = self._sets.get(name)
            if name not in self._sets:
                found.append(raw(column))
                continue
            if value is None:
                key = next((c.key for c in self._table.columns if c.name == name), name)
                if key not in values:
                    raise NotUnderstood(f"it changes {name[:64]!r} to what is not known before")
                value = BindParameter(None, values[key], type_=column.type)
            if self._watch.dialect == POSTGRESQL or is_plain(kind):
                value = cast(value, kind)
            found.append(raw(value))
        return found

    def _follow(self, rows: Sequence[Any], new: Sequence[Raw]) -> None:
        if self._is_delete:
            self._cascades.deleted(self._watch, rows)
            return
        if not self._moved:
            return
        self._cascades.updated(self._watch, rows, self._moved)
        names, watch = self._shown(), self._watch
        key = self._entry.captured.key
        if new and set(self._moved) & set(key):
            places = [names.index(name) for name in key]
            keys = [tuple(value[at] for at in places) for value in new]
            conditions = list(by_raw(watch.reader.key, watch.reader.key_kinds, keys, watch.dialect))
            watch.look(conditions, EXCLUSIVE)
            watch.again += conditions
        if new:
            self._cascades.come(watch, names, new)

    def _watches(self) -> list[Watch]:
        return list(self._cascades.watches.values())

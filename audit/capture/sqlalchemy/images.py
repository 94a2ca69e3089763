"""The rows of a table before and after a statement, read in the statement's own transaction."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Table, Text, cast, column, select, type_coerce
from sqlalchemy.sql.elements import ColumnElement

from audit.capture.database.connect import POSTGRESQL
from audit.capture.sqlalchemy.catalogue import Entry, columns_by_name
from audit.capture.sqlalchemy.conditions import (
    KEYS_AT_ONCE,
    Condition,
    Raw,
    by_given,
    by_raw,
    fits_array,
    is_plain,
    is_raw,
    many_given,
    many_prepared,
    one_given,
    one_prepared,
    parts,
    present,
    raw,
    spelled,
)
from audit.errors import InvalidInput, LimitExceeded

MAX_ROWS_A_STATEMENT = 1_000_000
"""Most rows that one statement may change: the values of all of them are held in memory."""
MAX_READERS = 64
"""Table objects of the application for one table whose SELECT is kept made."""

EXCLUSIVE = "exclusive"
"""The lock of a row that a DELETE takes, or a change of its key."""
SHARED_KEY = "shared key"
"""The lock that any other UPDATE takes: others may still refer to the row."""


class Reader:
    """Reads an entry's captured columns through one Table object, as the database's types say."""

    def __init__(self, entry: Entry, table: Table) -> None:
        """`table`: the one that the statement names, so that its own conditions fit."""
        own = columns_by_name(table)
        self.columns: dict[str, ColumnElement[Any]] = {}
        for each in entry.table.columns:
            mine = own.get(each.name)
            if mine is None:
                # The application does not know this column, and the database has it.
                mine = column(each.name, each.type)
                mine.table = table
            self.columns[each.name] = mine
        self.kinds = {each.name: each.type for each in entry.table.columns}
        kept = entry.captured.columns
        shown: list[ColumnElement[Any]] = [
            type_coerce(self.columns[name], self.kinds[name]) for name in kept
        ]
        self.raw_at: dict[str, int] = {}
        for name in entry.raw_names:
            if name in kept and is_plain(self.kinds[name]):
                self.raw_at[name] = kept.index(name)
            else:
                self.raw_at[name] = len(shown)
                shown.append(raw(self.columns[name]))
        self.width = len(shown)
        self.key = tuple(self.columns[name] for name in entry.captured.key)
        self.key_kinds = tuple(self.kinds[name] for name in entry.captured.key)
        self.key_at = tuple(self.raw_at[name] for name in entry.captured.key)
        labelled = [each.label(f"c{index}") for index, each in enumerate(shown)]
        self.select: Select[Any] = select(*labelled).select_from(table)
        self._table = table
        self._by_key: dict[tuple[bool, str | None], Select[Any]] = {}

    def by_key(self, is_many: bool, lock: str | None, dialect: str) -> Select[Any]:
        """The SELECT of one row, or many, by the key: the same each time, and so made once."""
        found = self._by_key.get((is_many, lock))
        if found is None:
            if is_many:
                condition = many_prepared(self.key, self.key_kinds, dialect)
            else:
                condition = one_prepared(self.key)
            found = self.locked(self.select, lock, is_many, dialect).where(condition)
            self._by_key[is_many, lock] = found
        return found

    def locked(
        self, query: Select[Any], lock: str | None, is_ordered: bool, dialect: str
    ) -> Select[Any]:
        """The query with the lock of its rows, which SQLite does not have."""
        if lock is None or dialect != POSTGRESQL:
            return query
        query = query.with_for_update(of=self._table, key_share=lock == SHARED_KEY)
        # As flushes do: two transactions that lock the same rows do so in one order.
        return query.order_by(*self.key) if is_ordered else query

    def raw_of(self, row: Sequence[Any], names: Sequence[str]) -> Raw:
        """Values of a row as the driver has them."""
        return tuple(row[self.raw_at[name]] for name in names)


def reader(entry: Entry, table: Table) -> Reader:
    """The reader of an entry through a Table, made once."""
    found: Reader | None = entry.readers.get(table)
    if found is None:
        if len(entry.readers) >= MAX_READERS:
            entry.readers.clear()
        found = entry.readers[table] = Reader(entry, table)
    return found


class Watch:
    """The rows of one table that a statement may change, before it and after it.

    Every row that the statement touches is in one of the two: then what differs between them is
    exactly what it changed.
    """

    def __init__(self, entry: Entry, table: Table | None, connection: Connection, options: Any):
        """`table`: the application's, or None for the reflected one. `options`: of execution."""
        self.entry = entry
        self.table = entry.table if table is None else table
        self.reader = reader(entry, self.table)
        self.dialect = connection.dialect.name
        self.before: dict[Raw, Sequence[Any]] = {}
        self.after: dict[Raw, Sequence[Any]] = {}
        self.again: list[Condition] = []
        """Asked after the statement besides the keys that were there before."""
        self.again_keys: list[Raw] = []
        """The same of keys as the driver has them."""
        self.is_upsert = False
        self.others: set[Raw] = set()
        """Keys of rows that somebody made between reading and the upsert, which changed them."""
        self._connection = connection
        self._options = options

    def look(
        self,
        conditions: Iterable[Condition | None],
        lock: str | None = None,
        *,
        extra: Sequence[ColumnElement[Any]] = (),
        values: Mapping[str, Any] | None = None,
        ordered: bool = True,
    ) -> list[Sequence[Any]]:
        """Rows before the statement, kept; `extra` columns stand behind `reader.width` in them."""
        found: list[Sequence[Any]] = []
        for condition in conditions:
            query = self.reader.select
            if extra:
                labelled = [each.label(f"x{index}") for index, each in enumerate(extra)]
                query = query.add_columns(*labelled)
            query = self.reader.locked(query, lock, ordered, self.dialect)
            found += self._rows(query, condition, values)
            self._check(len(found))
        self._keep(found)
        return found

    def look_given(self, keys: Sequence[Raw], lock: str) -> list[Sequence[Any]]:
        """The same of the rows with these keys, as the application gives them."""
        if not is_raw(self.reader.key, keys):
            return self.look(
                by_given(self.reader.key, self.reader.key_kinds, keys, self.dialect), lock
            )
        found: list[Sequence[Any]] = []
        for rows in self._with_keys(keys, lock):
            found += rows
            self._check(len(found))
        self._keep(found)
        return found

    def look_again_at(self, keys: Sequence[Raw]) -> None:
        """Ask after the statement for these keys too, as the application gives them."""
        if is_raw(self.reader.key, keys):
            self.again_keys += keys
        else:
            self.again += by_given(self.reader.key, self.reader.key_kinds, keys, self.dialect)

    def look_after(self) -> None:
        """The rows as they are now: those that were there before, and those to ask for again."""
        for rows in self._with_keys([*self.before, *self.again_keys], None):
            self.after.update(zip(self._keys(rows), rows, strict=True))
            self._check(len(self.after))
        for condition in self.again:
            rows = self._rows(self.reader.select, condition, None)
            self.after.update(zip(self._keys(rows), rows, strict=True))
            self._check(len(self.after))

        if self.is_upsert and self.dialect == POSTGRESQL:
            self._find_others([key for key in self.after if key not in self.before])

    def _find_others(self, keys: Sequence[Raw]) -> None:
        """A row that was made by this statement has no xmax; one that was locked and changed has.

        What such a row held is not known here: it is told by whoever made it.
        """
        locked = column("xmax", Text())
        locked.table = self.table
        query = self.reader.select.where(cast(locked, Text()) != "0")
        for condition in by_raw(self.reader.key, self.reader.key_kinds, keys, self.dialect):
            self.others.update(self._keys(self._rows(query, condition, None)))

    def restriction(self) -> list[Condition]:
        """The condition of being one of the rows before: one for each block of keys."""
        return list(by_raw(self.reader.key, self.reader.key_kinds, self.before, self.dialect))

    def _keep(self, rows: Sequence[Sequence[Any]]) -> None:
        for key, row in zip(self._keys(rows), rows, strict=True):
            self.before.setdefault(key, row)

    def _with_keys(
        self, keys: Sequence[Raw], lock: str | None
    ) -> Iterator[Sequence[Sequence[Any]]]:
        """Rows by their keys, as the driver has them, block by block."""
        chosen = present(keys)
        reader, dialect = self.reader, self.dialect
        if len(chosen) == 1:
            query = reader.by_key(False, lock, dialect)
            yield self._rows(query, None, one_given(chosen[0]))
        elif fits_array(chosen, dialect):
            query = reader.by_key(True, lock, dialect)
            for part in parts(chosen, KEYS_AT_ONCE):
                yield self._rows(query, None, many_given(part, dialect))
        else:
            query = reader.locked(reader.select, lock, True, dialect)
            for condition in spelled(reader.key, chosen):
                yield self._rows(query, condition, None)

    def _rows(
        self, query: Select[Any], condition: Condition | None, values: Mapping[str, Any] | None
    ) -> Sequence[Any]:
        if condition is not None:
            query = query.where(condition)
        given = dict(values) if values else None
        return self._connection.execute(query, given, execution_options=self._options).all()

    def key(self, row: Sequence[Any]) -> Raw:
        """The key of a row, as the driver has it."""
        return self._keys([row])[0]

    def _keys(self, rows: Sequence[Sequence[Any]]) -> list[Raw]:
        places = self.reader.key_at
        if len(places) == 1:
            at = places[0]
            keys: list[Raw] = [(row[at],) for row in rows]
        else:
            keys = [tuple([row[at] for at in places]) for row in rows]
        try:
            set(keys)
        except TypeError:
            raise InvalidInput(
                f"a row of {self.entry.captured.table[:64]!r} has a key that is no plain value"
            ) from None
        return keys

    def _check(self, count: int) -> None:
        if count > MAX_ROWS_A_STATEMENT:
            raise LimitExceeded(
                f"a statement changes more than {MAX_ROWS_A_STATEMENT} rows of "
                f"{self.entry.captured.table[:64]!r}: change them in parts"
            )

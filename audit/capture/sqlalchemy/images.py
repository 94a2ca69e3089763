"""The rows of a table before and after a statement, read in the statement's own transaction."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, Table, column, select, type_coerce
from sqlalchemy.sql.elements import ColumnElement

from audit.capture.database.connect import POSTGRESQL
from audit.capture.sqlalchemy.catalogue import Entry, columns_by_name
from audit.capture.sqlalchemy.conditions import Condition, Raw, by_raw, is_plain, raw
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
            if lock is not None and self.dialect == POSTGRESQL:
                query = query.with_for_update(of=self.table, key_share=lock == SHARED_KEY)
                if ordered:
                    # As flushes do: two transactions that lock the same rows do so in one order.
                    query = query.order_by(*self.reader.key)
            found += self._rows(query, condition, values)
            self._check(len(found))
        for row in found:
            self.before.setdefault(self.key(row), row)
        return found

    def look_after(self) -> None:
        """The rows as they are now. `again` is asked, and the keys that were there before."""
        keys = by_raw(self.reader.key, self.reader.key_kinds, self.before, self.dialect)
        for condition in (*keys, *self.again):
            for row in self._rows(self.reader.select, condition, None):
                self.after[self.key(row)] = row
            self._check(len(self.after))

    def restriction(self) -> list[Condition]:
        """The condition of being one of the rows before: one for each block of keys."""
        return list(by_raw(self.reader.key, self.reader.key_kinds, self.before, self.dialect))

    def _rows(
        self, query: Select[Any], condition: Condition | None, values: Mapping[str, Any] | None
    ) -> Sequence[Any]:
        if condition is not None:
            query = query.where(condition)
        given = dict(values) if values else None
        return self._connection.execute(query, given, execution_options=self._options).all()

    def key(self, row: Sequence[Any]) -> Raw:
        """The key of a row, as the driver has it."""
        key = tuple(row[index] for index in self.reader.key_at)
        try:
            hash(key)
        except TypeError:
            raise InvalidInput(
                f"a row of {self.entry.captured.table[:64]!r} has a key that is no plain value"
            ) from None
        return key

    def _check(self, count: int) -> None:
        if count > MAX_ROWS_A_STATEMENT:
            raise LimitExceeded(
                f"a statement changes more than {MAX_ROWS_A_STATEMENT} rows of "
                f"{self.entry.captured.table[:64]!r}: change them in parts"
            )

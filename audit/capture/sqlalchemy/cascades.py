"""What the database itself changes because of a change: ON DELETE and ON UPDATE of foreign keys."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from audit.capture.sqlalchemy.catalogue import Catalogue, Reference
from audit.capture.sqlalchemy.conditions import Raw, by_raw
from audit.capture.sqlalchemy.images import EXCLUSIVE, SHARED_KEY, Watch

CASCADE = "CASCADE"


class Cascades:
    """The watches of the tables that follow from one statement.

    The parents' rows are read, and locked, before: from then on nobody can add children to them.
    """

    def __init__(
        self, catalogue: Catalogue, main: Watch, connection: Connection, options: Any
    ) -> None:
        """`main`: the watch of the statement's own table, which may refer to itself."""
        self._catalogue = catalogue
        self._connection = connection
        self._options = options
        self.watches: dict[int, Watch] = {id(main.entry): main}
        self._followed: set[tuple[int, Raw, bool]] = set()

    def deleted(self, parent: Watch, rows: Iterable[Sequence[Any]]) -> None:
        """Watch what follows from deleting rows of a table."""
        rows = list(rows)
        for reference in parent.entry.references:
            if reference.on_delete and rows:
                self._follow(parent, reference, rows, reference.on_delete == CASCADE)

    def updated(self, parent: Watch, rows: Iterable[Sequence[Any]], names: Iterable[str]) -> None:
        """Watch what follows from giving columns of rows other values."""
        rows, changed = list(rows), set(names)
        for reference in parent.entry.references:
            if reference.on_update and rows and changed & set(reference.referred):
                self._follow(parent, reference, rows, False)

    def come(self, parent: Watch, names: Sequence[str], given: Sequence[Raw]) -> None:
        """Look after the statement also for children that refer to new values of a parent."""
        for reference in parent.entry.references:
            if reference.on_update == CASCADE and set(reference.referred) <= set(names):
                watch = self._watch(reference)
                places = [list(names).index(name) for name in reference.referred]
                values = [tuple(value[at] for at in places) for value in given]
                conditions = list(by_raw(*_columns(watch, reference), values, watch.dialect))
                watch.look(conditions, SHARED_KEY)
                watch.again += conditions

    def _watch(self, reference: Reference) -> Watch:
        entry = self._catalogue.entries[reference.child]
        watch = self.watches.get(id(entry))
        if watch is None:
            watch = Watch(entry, None, self._connection, self._options)
            self.watches[id(entry)] = watch
        return watch

    def _follow(
        self, parent: Watch, reference: Reference, rows: Sequence[Sequence[Any]], is_deleted: bool
    ) -> None:
        watch = self._watch(reference)
        values = {parent.reader.raw_of(row, reference.referred) for row in rows}
        lock = EXCLUSIVE if is_deleted else SHARED_KEY
        found = watch.look(by_raw(*_columns(watch, reference), values, watch.dialect), lock)
        fresh = []
        for row in found:
            mark = (id(watch), watch.key(row), is_deleted)
            if mark not in self._followed:
                # What was followed already is not followed again: that ends every circle.
                self._followed.add(mark)
                fresh.append(row)
        if is_deleted:
            self.deleted(watch, fresh)
        else:
            self.updated(watch, fresh, reference.columns)


def _columns(watch: Watch, reference: Reference) -> tuple[list[Any], list[Any]]:
    names = reference.columns
    return [watch.reader.columns[n] for n in names], [watch.reader.kinds[n] for n in names]

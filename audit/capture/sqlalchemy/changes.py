"""From rows before and after a statement to rows of the outbox: what differs, and nothing else."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Integer, LargeBinary, String

from audit.capture.context import Context, current
from audit.capture.database.cells import cell, key_of
from audit.capture.database.events import GAP
from audit.capture.database.outbox import Row
from audit.capture.sqlalchemy.images import Watch
from audit.event.normal import key_text
from audit.event.row import FULL, PATCH
from audit.event.valuejson import dumps
from audit.store import clock_us

_SIMPLE = (Integer, String, LargeBinary)
"""Types whose values are equal in Python only when they are the same in the database."""


_PLAIN = frozenset({str, int, type(None)})
"""Values that JSON has as they are."""
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_VARIANTS = "89ab"


def new_id() -> str:
    """A random UUID (version 4), as text."""
    digits = os.urandom(16).hex()
    variant = _VARIANTS[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


class Maker:
    """Makes the rows of one statement: they share its time, its context and its transaction."""

    def __init__(self, origin: str, transaction_id: str) -> None:
        """`origin`: orm or core."""
        context = current()
        self._origin = origin
        self._actor, self._reason = context.actor, context.reason
        self._request_id, self._trace_id = context.request_id, context.trace_id
        self._transaction = _transaction(context, transaction_id)
        self._time_us = clock_us() if context.valid_time_us is None else context.valid_time_us

    def gap(self, entity_type: str | None, details: Mapping[str, Any]) -> Row:
        """A row that says that a change was made which capture could not see."""
        return self._row(GAP, entity_type, None, None, dumps(dict(details)), PATCH)

    def changes(self, watch: Watch) -> Iterator[Row]:
        """Deletes, then updates, then creates: a row that takes another's place comes after it."""
        before, after = watch.before, watch.after
        make = _Cells(watch)
        entity = make.entity
        for key, row in before.items():
            if key not in after:
                yield self._row("delete", entity, make.key(row), make.whole(row), None, PATCH)
        for key, row in before.items():
            new = after.get(key)
            if new is not None:
                changed = make.changed(row, new)
                if changed:
                    old_cells, new_cells = make.some(row, changed), make.some(new, changed)
                    yield self._row("update", entity, make.key(new), old_cells, new_cells, PATCH)
        for key, row in after.items():
            if key not in before:
                yield self._row("create", entity, make.key(row), None, make.whole(row), FULL)

    def _row(
        self,
        op: str,
        entity: str | None,
        key: str | None,
        before: str | None,
        after: str | None,
        image: str,
    ) -> Row:
        return Row(
            op,
            entity,
            key,
            before,
            after,
            image,
            self._origin,
            new_id(),
            self._actor,
            self._reason,
            self._request_id,
            self._trace_id,
            self._transaction,
            self._time_us,
        )


def _transaction(context: Context, transaction_id: str) -> str:
    return transaction_id if context.transaction is None else context.transaction


class _Cells:
    """The cells of a table's rows."""

    def __init__(self, watch: Watch) -> None:
        captured, table = watch.entry.captured, watch.entry.table
        self.entity = captured.entity_type
        self._captured, self._table = captured, table
        self._columns = [table.columns[name] for name in captured.columns]
        self._names = captured.columns
        self._places = range(len(self._names))
        self._escaped = ["$" + name if name.startswith("$") else name for name in self._names]
        self._key_at = [(name, self._names.index(name)) for name in captured.key]
        self._simple = [isinstance(column.type, _SIMPLE) for column in self._columns]
        self._all_simple = all(self._simple)

    def key(self, row: Sequence[Any]) -> str:
        """The key of a row, as text."""
        if len(self._key_at) == 1:
            at = self._key_at[0][1]
            if self._simple[at] and type(row[at]) is int:
                return str(row[at])
        named = {name: row[at] for name, at in self._key_at}
        return key_text(key_of(named, self._captured, self._table))

    def whole(self, row: Sequence[Any]) -> str:
        """All captured columns, as JSON."""
        return self.some(row, self._places)

    def some(self, row: Sequence[Any], places: Sequence[int]) -> str:
        """Columns of a row, as JSON."""
        if all(self._simple[at] and self._is_plain(row[at]) for at in places):
            return _ENCODER.encode({self._escaped[at]: row[at] for at in places})
        return dumps({self._names[at]: cell(row[at], self._columns[at]) for at in places})

    @staticmethod
    def _is_plain(value: Any) -> bool:
        """Text with more than ASCII is looked at by the one who refuses what UTF-8 cannot spell."""
        return type(value) in _PLAIN and (type(value) is not str or value.isascii())

    def changed(self, old: Sequence[Any], new: Sequence[Any]) -> list[int]:
        """Places of the columns whose values differ."""
        if self._all_simple and old == new:
            return []
        return [
            at
            for at in self._places
            if (old[at] != new[at] if self._simple[at] else self._differ(at, old[at], new[at]))
        ]

    def _differ(self, at: int, old: Any, new: Any) -> bool:
        if type(old) is not type(new):
            return True
        if isinstance(old, float | Decimal):
            # Not by ==: NaN is NaN, 1.50 is not 1.5, and -0.0 is not 0.0.
            return repr(old) != repr(new)
        if isinstance(old, dict | list):
            column = self._columns[at]
            return dumps([cell(old, column)]) != dumps([cell(new, column)])
        return bool(old != new)

"""From rows before and after a statement to rows of the outbox: what differs, and nothing else."""

import os
from collections.abc import Mapping
from typing import Any

from audit.capture.context import Context, current
from audit.capture.database.events import GAP
from audit.capture.database.outbox import Row
from audit.capture.sqlalchemy.images import Watch
from audit.event.row import FULL, PATCH
from audit.event.valuejson import dumps
from audit.store import clock_us

_NODE_BITS = 48
_COUNTED_BITS = 47
"""A statement counts on from a number of so many bits; the rest is room for its rows."""


class _Ids:
    """Ids of one statement's rows, in their order: UUIDs of version 7, with 73 random bits.

    The last 48 bits count on from a random number: one look at the system's source of randomness
    for a statement, not for each row.
    """

    def __init__(self) -> None:
        given = int.from_bytes(os.urandom(10), "big")
        ms = clock_us() // 1_000 & (1 << 48) - 1
        self._next = given & (1 << _COUNTED_BITS) - 1
        rest = given >> _NODE_BITS
        upper, lower = rest & 0xFFF, rest >> 12 & 0x3FFF | 0x8000
        self._start = f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7{upper:03x}-{lower:04x}-"

    def new(self) -> str:
        """The next one, as text."""
        self._next += 1
        return f"{self._start}{self._next:012x}"


class Maker:
    """Makes the rows of one statement: they share its time, its context and its transaction."""

    def __init__(self, origin: str, transaction_id: str) -> None:
        """`origin`: orm or core."""
        context = current()
        self._origin = origin
        self._shared = (
            context.actor,
            context.reason,
            context.request_id,
            context.trace_id,
            _transaction(context, transaction_id),
            clock_us() if context.valid_time_us is None else context.valid_time_us,
        )
        self._ids = _Ids()

    def gap(self, entity_type: str | None, details: Mapping[str, Any]) -> Row:
        """A row that says that a change was made which capture could not see."""
        given = (GAP, entity_type, None, None, dumps(dict(details)), PATCH)
        return Row(*given, self._origin, self._ids.new(), *self._shared)

    def changes(self, watch: Watch) -> list[tuple[Any, ...]]:
        """Deletes, then updates, then creates: a row that takes another's place comes after it.

        Rows as plain tuples, which Python's collector of garbage soon leaves alone.
        """
        before, after = watch.before, watch.after
        texts = watch.entry.texts
        entity, origin, shared = texts.entity_type, self._origin, self._shared
        key, whole, changed, new_id = texts.key, texts.whole, texts.changed, self._ids.new
        made: list[tuple[Any, ...]] = [
            ("delete", entity, key(row), whole(row), None, PATCH, origin, new_id(), *shared)
            for at, row in before.items()
            if at not in after
        ]
        for at, row in before.items():
            new = after.get(at)
            if new is not None and (sides := changed(row, new)) is not None:
                made.append(("update", entity, key(new), *sides, PATCH, origin, new_id(), *shared))
        others = watch.others
        made += [
            (
                *("update" if at in others else "create", entity, key(row), None, whole(row)),
                *(FULL, origin, new_id(), *shared),
            )
            for at, row in after.items()
            if at not in before
        ]
        return made


def _transaction(context: Context, transaction_id: str) -> str:
    return transaction_id if context.transaction is None else context.transaction

"""The rows of a dataset, or one row, at a cut, on either axis.

A dataset is read once, in recorded order, and folded as it comes: memory holds the rows, not the
events. A key whose events must fold in another order (one was superseded, or is valid before one
recorded earlier) is read again on its own. Where there are more keys than ROWS_IN_MEMORY, each key
is read on its own instead, in byte order: flat memory, more queries.
"""

from collections.abc import Iterator
from typing import NamedTuple

from audit.errors import NotFound
from audit.replay.columns import ColumnMode, Columns, columns_at, renames_at
from audit.replay.fold import NOTHING, Position, Row, State, Step, advance, fold, in_force
from audit.replay.history import require_recorded
from audit.replay.points import Cut, resolve
from audit.replay.refs import RESERVED_WORDS, Ref, parse_entity
from audit.replay.steps import Steps
from audit.store.contract import Reader

ROWS_IN_MEMORY = 250_000
"""Keys folded in memory at once; beyond, rows are read key by key."""
MAX_KNOWN_LISTED = 20
"""Entity types that an error lists."""
MAX_HINT_ENTRIES = 1_000
"""Entries looked at to find out whether a dataset was imported later than its valid times."""


class RowAt(NamedTuple):
    """One row at a cut. `row` is None where it is not there; `entries` are those that folded."""

    ref: Ref
    row: Row | None
    entries: tuple[Position, ...]
    undecodable: int


class Dataset:
    """The rows of one dataset at a cut. Iterate `rows()` as often as needed: it gives the same."""

    def __init__(
        self,
        steps: Steps,
        valid_at_us: int | None,
        read: "OnePass",
        columns: Columns,
        states: dict[str, State] | None,
    ) -> None:
        """Made by `dataset`. `states` is None when there are too many keys to hold."""
        self.entity_type = steps.entity_type
        self.cut = steps.cut
        self.valid_at_us = valid_at_us
        self.events = read.events
        self.undecodable = read.undecodable
        self.columns = columns.names
        self._project = columns.only
        self._steps = steps
        self._states = states

    def rows(self) -> Iterator[tuple[str, Row]]:
        """(key, row) in byte order of the keys."""
        for key, row in self._all_rows():
            if self._project is not None:
                row = {name: value for name, value in row.items() if name in self._project}
            yield key, row

    def _all_rows(self) -> Iterator[tuple[str, Row]]:
        if self._states is not None:
            for key in sorted(self._states, key=str.encode):
                row = self._states[key].row
                if row is not None:
                    yield key, row
            return
        for key in self._steps.keys():  # noqa: SIM118 - a method that reads the store, no dict
            row = fold(self._steps.of_key(key), self.valid_at_us).row
            if row is not None:
                yield key, row


class OnePass:
    """Folds all events of a dataset in recorded order, and notes which keys need more care."""

    def __init__(self, valid_at_us: int | None, max_keys: int) -> None:
        """Nothing read yet."""
        self.fields: set[str] = set()
        self.events = 0
        self.undecodable = 0
        self.too_many = False
        self._valid_at_us = valid_at_us
        self._max_keys = max_keys
        self._live: dict[str, State] = {}
        self._gone: dict[str, State] = {}
        self._again: set[str] = set()
        self._all_again = False
        self._folded_to_us: dict[str, int] = {}
        self._truncated_to_us: int | None = None

    def read(self, steps: Steps) -> None:
        """Read everything below the cut."""
        for step in steps.all():
            self.take(step)

    def take(self, step: Step) -> None:
        """Take the next event in recorded order."""
        if step.op is not None:
            self.events += 1
            if step.problem is not None:
                self.undecodable += 1
            elif step.change is not None and step.change.after:
                self.fields.update(step.change.after)
        if not self.too_many:
            self._fold(step)
            if len(self._live) + len(self._gone) > self._max_keys:
                self.too_many = True
                self._live, self._gone, self._folded_to_us = {}, {}, {}
                self._again = set()

    def _fold(self, step: Step) -> None:
        event = step.record.event
        key = None if event is None else event.entity_key
        if event is not None and event.supersedes is not None:
            # Which event it takes out is known from the key's own events alone.
            if key is None:
                self._all_again = True
            else:
                self._again.add(key)
        if step.op is None:
            return
        if self._valid_at_us is not None and step.valid_time_us > self._valid_at_us:
            return
        if step.op == "truncate":
            self._truncate(step)
        elif key is not None:
            self._one(key, step)

    def _one(self, key: str, step: Step) -> None:
        if self._valid_at_us is not None and self._is_late(key, step):
            self._again.add(key)
        state = self._live.pop(key, None) or self._gone.pop(key, NOTHING)
        self._keep(key, advance(state, step))

    def _keep(self, key: str, state: State) -> None:
        (self._gone if state.row is None else self._live)[key] = state

    def _is_late(self, key: str, step: Step) -> bool:
        """True when the event is valid before one that is folded already."""
        valid_us = step.valid_time_us
        folded_us = self._folded_to_us.get(key)
        if folded_us is None or folded_us < valid_us:
            self._folded_to_us[key] = valid_us
        if self._truncated_to_us is not None and valid_us < self._truncated_to_us:
            return True
        return folded_us is not None and valid_us < folded_us

    def _truncate(self, step: Step) -> None:
        if self._valid_at_us is not None:
            valid_us = step.valid_time_us
            if self._truncated_to_us is not None and valid_us < self._truncated_to_us:
                self._all_again = True
            else:
                self._truncated_to_us = valid_us
            self._again.update(k for k, us in self._folded_to_us.items() if us > valid_us)
            # What is valid before any of these is valid before this truncate: found late by that.
            self._folded_to_us = {}
        live, self._live = self._live, {}
        for key, state in live.items():
            self._keep(key, advance(state, step))

    def states(self, steps: Steps) -> dict[str, State] | None:
        """Key -> its state, the careful ones read again; None when there are too many keys."""
        if self.too_many:
            return None
        states = {**self._live, **self._gone}
        again = self._again | states.keys() if self._all_again else self._again
        for key in again:
            states[key] = fold(steps.of_key(key), self._valid_at_us)
        return states


def dataset(
    reader: Reader,
    entity_type: str,
    cut: Cut,
    valid_at_us: int | None = None,
    mode: ColumnMode = ColumnMode.UNION,
    rows_in_memory: int = ROWS_IN_MEMORY,
) -> Dataset:
    """The dataset at a cut.

    Where nothing of it was recorded by then it has no rows, and the columns it has today. Raises
    NotFound for an entity type that this ledger does not know, listing those it knows.
    """
    require_dataset(reader, entity_type)
    steps = Steps(reader, entity_type, cut, renames_at(reader, entity_type, cut, mode))
    read = OnePass(valid_at_us, rows_in_memory)
    read.read(steps)
    states = read.states(steps)
    columns = columns_at(reader, steps, mode, _fields(reader, steps, read))
    return Dataset(steps, valid_at_us, read, columns, states)


def _fields(reader: Reader, steps: Steps, read: OnePass) -> set[str]:
    if read.events:
        return read.fields
    head = resolve(reader, None, 0)
    today = OnePass(None, 0)
    today.read(Steps(reader, steps.entity_type, head, renames_at(reader, steps.entity_type, head)))
    return today.fields


def datasets(reader: Reader) -> list[str]:
    """The entity types of this ledger that are datasets, sorted."""
    found = {name for info in reader.logs() for name in reader.entity_types(info.log)}
    return sorted(found - RESERVED_WORDS)


def require_dataset(reader: Reader, entity_type: str) -> None:
    """Raise NotFound, listing the datasets there are, unless this is one; InvalidInput for a word
    that can be none.
    """
    known = datasets(reader)
    if parse_entity(entity_type) in known:
        return
    if not known:
        raise NotFound(f"no dataset {entity_type}: this ledger has none yet")
    listed = ", ".join(known[:MAX_KNOWN_LISTED]) + (", ..." if len(known) > MAX_KNOWN_LISTED else "")
    raise NotFound(f"no dataset {entity_type}; this ledger has {listed}")


def row(reader: Reader, ref: Ref, cut: Cut, valid_at_us: int | None = None) -> RowAt:
    """One row at a cut, from its own entries alone; `.row` is None where it is not there.

    Raises NotFound for an unknown entity type, and for a key of which nothing is recorded at all.
    """
    steps = Steps(reader, ref.entity_type, cut, renames_at(reader, ref.entity_type, cut))
    found = steps.of_key(ref.entity_key)
    if not any(step.record.event and step.record.event.entity_key is not None for step in found):
        require_dataset(reader, ref.entity_type)
        require_recorded(reader, ref, cut)
    folding = in_force(found, valid_at_us)
    state = NOTHING
    for step in folding:
        state = advance(state, step)
    entries = tuple(step.position for step in folding if step.op is not None)
    undecodable = sum(step.problem is not None for step in folding)
    return RowAt(ref, state.row, entries, undecodable)


def hint(reader: Reader, entity: str | Ref, cut: Cut) -> str | None:
    """What to tell somebody whose answer is empty only because the data was imported later.

    Given when nothing of the dataset, or of the row, was recorded by the time asked for, and what
    was recorded later has valid times at or before it; None otherwise. The first MAX_HINT_ENTRIES
    entries are looked at.
    """
    if cut.as_of_us is None or cut.position is not None:
        return None
    entity_type = entity.entity_type if isinstance(entity, Ref) else entity
    key = entity.entity_key if isinstance(entity, Ref) else None
    steps = Steps(reader, entity_type, cut)
    for log, size in cut.sizes.items():
        if size and next(iter(reader.entity(log, entity_type, key, size)), None) is not None:
            return None
    earliest_us = _earliest_valid(reader, steps, key)
    if earliest_us is None or earliest_us > cut.as_of_us:
        return None
    return (
        f"nothing of {entity} was recorded by {cut.asked}, but it has valid times from "
        f"{_day(earliest_us)}\nfor the data as it was in the world then, use --valid-at {cut.asked}"
    )


def _earliest_valid(reader: Reader, steps: Steps, key: str | None) -> int | None:
    earliest_us: int | None = None
    looked_at = 0
    for log, size in steps.cut.sizes.items():
        for index, _ in reader.entity(log, steps.entity_type, key, None, size):
            looked_at += 1
            if looked_at > MAX_HINT_ENTRIES:
                return earliest_us
            event = steps.record_at(log, index).event
            valid_us = None if event is None else event.valid_time_us
            if valid_us is not None and (earliest_us is None or valid_us < earliest_us):
                earliest_us = valid_us
    return earliest_us


def _day(time_us: int) -> str:
        return format_time(time_us)[:10]

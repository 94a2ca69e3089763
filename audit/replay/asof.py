"""The rows of a dataset, or one row, at a cut, on either axis.

Where the reader has a read model (see `fastpath`) a dataset comes from there, with the same rows.
Else it is read in one pass (`onepass`). Where there are more keys than ROWS_IN_MEMORY, so many at
a time are folded, in byte order, each time in a pass of its own: bounded memory, more passes.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.event.times import format_time
from audit.replay.columns import ColumnMode, Naming
from audit.replay.fastpath import fast_dataset
from audit.replay.fold import NOTHING, Position, Row, State, advance, in_force
from audit.replay.known import require_dataset, require_recorded
from audit.replay.onepass import OnePass, batches
from audit.replay.points import Cut, resolve
from audit.replay.refs import Ref
from audit.replay.steps import Steps
from audit.store.contract import Reader

if TYPE_CHECKING:
    import pandas as pd

    from audit.replay.columnar.fold.fast import FastDataset

ROWS_IN_MEMORY = 250_000
"""Keys folded in memory at once."""
MAX_HINT_ENTRIES = 1_000
"""Entries looked at to find out whether a dataset was imported later than its valid times."""


class RowAt(NamedTuple):
    """One row at a cut. `row` is None where it is not there; `entries` are those that folded."""

    ref: Ref
    row: Row | None
    entries: tuple[Position, ...]
    undecodable: int
    cut: Cut


class Dataset:
    """The rows of one dataset at a cut. Iterate `rows()` as often as needed: it gives the same."""

    def __init__(self, steps: Steps, valid_at_us: int | None, rows_in_memory: int) -> None:
        """Read it. Columns are all fields that were ever set below the cut, sorted."""
        read = OnePass(valid_at_us, rows_in_memory)
        read.read(steps)
        self.entity_type = steps.entity_type
        self.cut = steps.cut
        self.naming = steps.naming
        self.valid_at_us = valid_at_us
        self.events = read.events
        self.undecodable = read.undecodable
        self.columns: tuple[str, ...] = tuple(sorted(read.fields))
        self._steps = steps
        self._rows_in_memory = rows_in_memory
        self._states = read.states(steps)
        self._only: frozenset[str] | None = None

    def show(self, columns: Iterable[str]) -> None:
        """Show these columns and no others."""
        self.columns = tuple(sorted(columns))
        self._only = frozenset(self.columns)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """(key, row) in byte order of the keys."""
        for key, row in self._all_rows():
            if self._only is None:
                yield key, row
            else:
                yield key, {name: value for name, value in row.items() if name in self._only}

    def frame(self, citation: Mapping[str, Any]) -> "pd.DataFrame":
        """As `audit.replay.frame.build_frame` makes it of the rows."""
        from audit.replay.frame import build_frame

        return build_frame(self.rows(), self.columns, citation)

    def held(self) -> Iterator[str]:
        """The columns that any row has a value in, be it null."""
        yield from {name for _, row in self.rows() for name in row}

    def _all_rows(self) -> Iterator[tuple[str, Row]]:
        if self._states is not None:
            yield from _sorted_rows(self._states)
            return
        for some in batches(self._steps.keys(), max(1, self._rows_in_memory)):
            read = OnePass(self.valid_at_us, len(some))
            read.read(self._steps, frozenset(some))
            yield from _sorted_rows(read.states(self._steps) or {})


def _sorted_rows(states: dict[str, State]) -> Iterator[tuple[str, Row]]:
    for key in sorted(states, key=str.encode):
        row = states[key].row
        if row is not None:
            # Rows out of columns have their fields in this order, too.
            yield key, {name: row[name] for name in sorted(row)}


def rows_at(
    steps: Steps, valid_at_us: int | None, rows_in_memory: int = ROWS_IN_MEMORY
) -> "Dataset | FastDataset":
    """All rows at the cut of some steps, from the read model or else in one pass over the log."""
    fast = fast_dataset(steps, valid_at_us)
    return Dataset(steps, valid_at_us, rows_in_memory) if fast is None else fast


def dataset(
    reader: Reader,
    entity_type: str,
    cut: Cut,
    valid_at_us: int | None = None,
    mode: ColumnMode = ColumnMode.UNION,
    rows_in_memory: int = ROWS_IN_MEMORY,
) -> "Dataset | FastDataset":
    """The dataset at a cut, with the columns that `mode` asks for.

    Where nothing of it was recorded by then it has no rows, and the columns it has today. Raises
    NotFound for an entity type that this ledger does not know, listing those it knows.
    """
    require_dataset(reader, entity_type)
    named_at = cut if mode is not ColumnMode.LATEST else resolve(reader, None, 0)
    steps = Steps(reader, entity_type, cut, Naming(reader, entity_type, named_at))
    found = rows_at(steps, valid_at_us, rows_in_memory)
    if not found.events:
        found.show(_columns_today(reader, entity_type))
    elif mode is ColumnMode.THEN:
        found.show(_columns_of_newest(found))
    elif mode is ColumnMode.LATEST:
        today = dataset(reader, entity_type, named_at, None, ColumnMode.THEN, rows_in_memory)
        found.show(today.columns)
    return found


def _columns_today(reader: Reader, entity_type: str) -> tuple[str, ...]:
    head = resolve(reader, None, 0)
    return rows_at(Steps(reader, entity_type, head), None, 0).columns


def _columns_of_newest(found: "Dataset | FastDataset") -> Iterable[str]:
    """The columns of the newest declared schema; without one, those that any row still has."""
    declared = found.naming.columns(found.naming.names_of_dataset())
    if declared is not None:
        return declared
    return found.held()


def row(reader: Reader, ref: Ref, cut: Cut, valid_at_us: int | None = None) -> RowAt:
    """One row at a cut, from its own entries alone; `.row` is None where it is not there.

    Raises NotFound for an unknown entity type, and for a key of which nothing is recorded at all.
    """
    steps = Steps(reader, ref.entity_type, cut)
    found = steps.of_key(ref.entity_key)
    if all(step.is_keyless for step in found):
        require_dataset(reader, ref.entity_type)
        require_recorded(reader, ref)
    folding = in_force(found, valid_at_us)
    state = NOTHING
    for step in folding:
        state = advance(state, step)
    entries = tuple(step.position for step in folding if step.op is not None)
    undecodable = sum(step.problem is not None for step in folding)
    return RowAt(ref, state.row, entries, undecodable, cut)


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
    if any(_holds(reader, log, entity_type, key, size) for log, size in cut.sizes.items() if size):
        return None
    earliest_us = _earliest_valid(reader, steps, key)
    if earliest_us is None or earliest_us > cut.as_of_us:
        return None
    return (
        f"nothing of {entity} was recorded by {cut.asked}, but it has valid times from "
        f"{format_time(earliest_us)[:10]}\n"
        f"for the data as it was in the world then, use --valid-at {cut.asked}"
    )


def _holds(reader: Reader, log: int, entity_type: str, key: str | None, size: int) -> bool:
    """True when the log has something of the dataset, or of the key, below a size."""
    if key is None:
        return entity_type in reader.entity_types(log, size)
    return next(iter(reader.entity(log, entity_type, key, size)), None) is not None


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

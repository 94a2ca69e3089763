"""A part of a dataset: some columns, some keys, the rows that conditions fit.

What is asked of a few keys is read from their own entries. The answer is then what it would be if
nothing but these keys (and the truncates) had ever been recorded: its columns are those that were
set for them. A condition on the key that leaves only certain keys asks for these. Other conditions
choose among rows and change nothing else: columns and dtypes are those of the rows chosen from.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from audit.errors import InvalidInput
from audit.event.values import key_text
from audit.replay.asof import dataset
from audit.replay.columns import ColumnMode, Naming
from audit.replay.conditions import (
    Condition,
    Filters,
    field_of,
    fields_used,
    fits,
    keys_wanted,
    parse_filters,
)
from audit.replay.fold import Row, fold
from audit.replay.known import require_dataset
from audit.replay.names import KEY_COLUMN, output_name
from audit.replay.onepass import OnePass
from audit.replay.points import Cut, resolve
from audit.replay.refs import checked_key
from audit.replay.steps import MAX_SINGLE_KEYS, Steps
from audit.store.contract import Reader

if TYPE_CHECKING:
    import numpy as np
    import pandas
    import pyarrow

    from audit.replay.columnar.scatter import Ints
    from audit.replay.masks import Mask

MAX_COLUMNS_NAMED = 20
"""Columns that an error lists."""


class Found(Protocol):
    """The rows of a dataset at a cut, wherever they come from: see `audit.replay.asof.Dataset`."""

    entity_type: str
    cut: Cut
    valid_at_us: int | None
    events: int
    undecodable: int
    columns: tuple[str, ...]

    def rows(self) -> Iterator[tuple[str, Row]]:
        """(key, row) in byte order of the keys; as often as asked."""
        ...

    def show(self, columns: Iterable[str]) -> None:
        """Show these columns and no others."""
        ...


@runtime_checkable
class Columnar(Protocol):
    """A `Found` that has its columns at hand, and makes the same frame and table of them."""

    def frame(self, citation: dict[str, Any]) -> "pandas.DataFrame":
        """As `audit.replay.frame.build_frame` of its rows."""
        ...

    def arrow(self) -> "pyarrow.Table":
        """As `audit.replay.rows_out.build_table` of its rows."""
        ...

    def rows_between(self, first: int, end: int) -> Iterator[tuple[str, Row]]:
        """Of its rows those from the place `first`, counted from 0, to before `end`."""
        ...

    def rows_at(self, places: "Ints") -> Iterator[tuple[str, Row]]:
        """Of its rows those at these places, ascending."""
        ...

    def fitting(self, filters: Filters) -> "Mask":
        """For each of its rows whether `audit.replay.conditions.fits` says so."""
        ...


class Selection(NamedTuple):
    """What is wanted of a dataset. `columns`: of the output, in this order; None: as `mode` says.

    `keys`: None for all.
    """

    mode: ColumnMode = ColumnMode.UNION
    columns: tuple[str, ...] | None = None
    keys: frozenset[str] | None = None
    filters: Filters = ()

    @property
    def is_all(self) -> bool:
        """Whether the whole dataset is wanted, as `mode` shows it."""
        return self.columns is None and self.keys is None and not self.filters


def selection(
    columns: str | Iterable[str] | None = None,
    keys: Iterable[Any] | None = None,
    filters: object = None,
) -> Selection:
    """What is wanted: a mode of columns or their names; keys; filters. Raises InvalidInput."""
    mode, names = _columns(columns)
    wanted = None if keys is None else _keys(keys)
    return Selection(mode, names, wanted, parse_filters(filters))


def _columns(columns: object) -> tuple[ColumnMode, tuple[str, ...] | None]:
    if columns is None:
        return ColumnMode.UNION, None
    if isinstance(columns, str):
        if columns not in set(ColumnMode):
            raise InvalidInput(
                f"columns are then, latest or union, or a list of names, not {columns!r:.40}"
            )
        return ColumnMode(columns), None
    names: list[str] = []
    for name in columns if isinstance(columns, Iterable) else [columns]:
        if not isinstance(name, str):
            raise InvalidInput(f"a column's name is a string, not {name!r:.40}")
        if name != KEY_COLUMN:  # it is there anyway
            names.append(name)
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InvalidInput(f"columns name {min(twice)!r:.80} twice")
    return ColumnMode.UNION, tuple(names)


def _keys(keys: object) -> frozenset[str]:
    if isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
        raise InvalidInput(f"keys are a list of keys, not {keys!r:.40}")
    return frozenset(checked_key(key_text(key)) for key in keys)


class KeyedRows:
    """The rows of some keys at a cut, from their own entries where they are few."""

    def __init__(self, steps: Steps, keys: frozenset[str], valid_at_us: int | None) -> None:
        """Read them. Columns are all fields that were ever set for them below the cut, sorted."""
        self.entity_type = steps.entity_type
        self.cut = steps.cut
        self.valid_at_us = valid_at_us
        read = OnePass(valid_at_us, len(keys))
        if len(keys) <= MAX_SINGLE_KEYS:
            states = {}
            keyless = set()
            for key, own in steps.of_keys(keys).items():
                states[key] = fold(own, valid_at_us)
                for step in own:
                    if not step.is_keyless or step.position not in keyless:
                        read.count(step)
                    if step.is_keyless:
                        keyless.add(step.position)
        else:
            read.read(steps, keys)
            states = read.states(steps) or {}
        self.events = read.events
        self.undecodable = read.undecodable
        self.columns = tuple(sorted(read.fields))
        self._rows = [
            (key, row)
            for key in sorted(states, key=str.encode)
            if (row := states[key].row) is not None
        ]
        self._only: frozenset[str] | None = None

    def show(self, columns: Iterable[str]) -> None:
        """Show these columns and no others."""
        self.columns = tuple(sorted(columns))
        self._only = frozenset(self.columns)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """(key, row) in byte order of the keys."""
        for key, row in self._rows:
            yield key, row if self._only is None else _only(row, self._only)


def _only(row: Row, fields: Iterable[str]) -> Row:
    return {name: row[name] for name in fields if name in row}


class Selected:
    """The wanted part of what was found: rows as often as asked, a frame, an Arrow table."""

    def __init__(self, found: Found, wanted: Selection, columns: tuple[str, ...]) -> None:
        """`columns`: the fields to show, in the order of the output."""
        self.found = found
        self.wanted = wanted
        self.entity_type = found.entity_type
        self.cut = found.cut
        self.valid_at_us = found.valid_at_us
        self.events = found.events
        self.undecodable = found.undecodable
        self.columns = columns

    def rows(self) -> Iterator[tuple[str, Row]]:
        """(key, row) in byte order of the keys."""
        if self.wanted.is_all:
            yield from self.found.rows()
        elif isinstance(self.found, Columnar):
            yield from self.rows_between(0, sys.maxsize)
        else:
            for key, row in self.found.rows():
                if fits(self.wanted.filters, key, row):
                    yield key, _only(row, self.columns)

    def rows_between(self, first: int, end: int) -> Iterator[tuple[str, Row]]:
        """Of `rows` those from the place `first`, counted from 0, to before `end`."""
        found = self.found
        if not isinstance(found, Columnar):
            yield from islice(self.rows(), first, end)
            return
        mask = self._mask(found)
        if mask is None:
            rows = found.rows_between(first, end)
        else:
            rows = found.rows_at(mask.nonzero()[0][first:end])
        for key, row in rows:
            yield key, row if self.wanted.is_all else _only(row, self.columns)

    def frame(self, citation: dict[str, Any]) -> "pandas.DataFrame":
        """A pandas data frame that carries the citation: see `audit.replay.frame`."""
        from audit.replay.frame import ATTRS_KEY, build_frame

        fitting: list[bool] = []
        if isinstance(self.found, Columnar):
            mask = self._mask(self.found)
            frame = self.found.frame(citation)
        else:
            frame = build_frame(self._noting(fitting), self.found.columns, citation)
            mask = _mask(fitting) if self.wanted.filters else None
        if mask is not None:
            frame = frame.loc[mask]
        if self.wanted.columns is not None:
            frame = frame[list(self.wanted.columns)]
        elif len(frame.columns) != len(self.columns):
            frame = frame[sorted(map(output_name, self.columns))]
        frame.attrs[ATTRS_KEY] = citation
        return frame

    def arrow(self) -> "pyarrow.Table":
        """An Arrow table, `entity_key` first: see `audit.replay.rows_out.build_table`."""
        import pyarrow as pa

        from audit.replay.rows_out import build_table

        fitting: list[bool] = []
        if isinstance(self.found, Columnar):
            mask = self._mask(self.found)
            table = self.found.arrow()
        else:
            table = build_table(self._noting(fitting), self.found.columns)
            mask = _mask(fitting) if self.wanted.filters else None
        if mask is not None:
            table = table.filter(pa.array(mask))
        names = self.wanted.columns
        shown = sorted(map(output_name, self.columns)) if names is None else names
        return table.select([KEY_COLUMN, *shown])

    def _mask(self, found: Columnar) -> "Mask | None":
        """The rows wanted; None without filters."""
        return found.fitting(self.wanted.filters) if self.wanted.filters else None

    def _noting(self, fitting: list[bool]) -> Iterator[tuple[str, Row]]:
        """All rows found, noting which of them are wanted."""
        filters = self.wanted.filters
        for key, row in self.found.rows():
            if filters:
                fitting.append(fits(filters, key, row))
            yield key, row


def _mask(fitting: list[bool]) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    import numpy as np

    return np.array(fitting, dtype=bool)


Whole = Callable[[ColumnMode], Found]
"""Finds the whole dataset, with the columns of a mode."""


def select(
    reader: Reader,
    entity_type: str,
    cut: Cut,
    valid_at_us: int | None = None,
    wanted: Selection | None = None,
    whole: Whole | None = None,
) -> Selected:
    """A part of a dataset at a cut. `whole` finds all of it; default the plain replay.

    Raises NotFound for an unknown entity type, InvalidInput for unknown columns.
    """
    wanted = wanted or Selection()

    def plainly(mode: ColumnMode) -> Found:
        return dataset(reader, entity_type, cut, valid_at_us, mode)

    wanted = _with_keys(wanted)
    if wanted.keys is not None and wanted.mode is ColumnMode.UNION:
        require_dataset(reader, entity_type)
        steps = Steps(reader, entity_type, cut, Naming(reader, entity_type, cut))
        found: Found = KeyedRows(steps, wanted.keys, valid_at_us)
        if not found.events and wanted.columns is None:
            found.show(columns_known(reader, entity_type, cut))
    else:
        found = (whole or plainly)(wanted.mode)
        if wanted.keys is not None:
            wanted = wanted._replace(filters=_and_keys(wanted.filters, wanted.keys))
    columns = check_columns(reader, entity_type, cut, found.columns, wanted)
    if wanted.columns is not None or not fields_used(wanted.filters) <= set(columns):
        found.show({*columns, *fields_used(wanted.filters)})
    return Selected(found, wanted, columns)


def _with_keys(wanted: Selection) -> Selection:
    """Keys that the filters name are read alone, too."""
    named = keys_wanted(wanted.filters)
    if named is None:
        return wanted
    return wanted._replace(keys=named if wanted.keys is None else named & wanted.keys)


def _and_keys(filters: Filters, keys: frozenset[str]) -> Filters:
    of_keys = Condition(KEY_COLUMN, "in", {str: keys})
    return tuple((of_keys, *all_of) for all_of in filters or ((),))


def check_columns(
    reader: Reader, entity_type: str, cut: Cut, found: tuple[str, ...], wanted: Selection
) -> tuple[str, ...]:
    """The fields to show, of those found unless others are named.

    Raises InvalidInput for a column, also of a filter, that the dataset has never had.
    """
    columns = found if wanted.columns is None else tuple(map(field_of, wanted.columns))
    unknown = {*columns, *fields_used(wanted.filters)} - set(found)
    if unknown:
        known = {*found, *columns_known(reader, entity_type, cut)}
        for name in sorted(unknown - known):
            raise InvalidInput(_no_column(entity_type, output_name(name), known))
    return columns


def columns_known(reader: Reader, entity_type: str, cut: Cut) -> frozenset[str]:
    """Every field that a dataset has had, up to today, under the names of today and of the cut."""
    head = resolve(reader, None, 0)
    known: set[str] = set()
    for point in (cut, head):
        naming = Naming(reader, entity_type, point)
        known |= set(naming.columns(naming.names_of_dataset()) or ())
    today = dataset(reader, entity_type, head)
    return frozenset(known | set(today.columns))


def _no_column(entity_type: str, name: str, known: set[str]) -> str:
    names = sorted(map(output_name, known))
    close = get_close_matches(name, names, 1)
    more = ", ..." if len(names) > MAX_COLUMNS_NAMED else ""
    listed = ", ".join(names[:MAX_COLUMNS_NAMED]) + more
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{entity_type} has no column {name!r:.80}{hint}\nit has {listed or 'none yet'}"

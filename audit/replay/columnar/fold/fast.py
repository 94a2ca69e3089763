"""A dataset at a cut from the read model: the same answers as the plain fold gives, sooner.

Keys that need care (see `DatasetPart.careful`, and keys seen in two logs) are folded plainly, from
the store, and put in their place. A dataset that needs more care than that is left to the plain
fold as a whole: `fast_dataset` then gives None.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from audit.replay.columnar.column import ABSENT, Column
from audit.replay.columnar.fold.careful import careful_of
from audit.replay.columnar.fold.fitting import fitting
from audit.replay.columnar.fold.folded import Folded, LogFold
from audit.replay.columnar.fold.held import Held
from audit.replay.columnar.fold.ranks import Ranks, places_of
from audit.replay.columnar.fold.rowkeys import key_texts_of, keys_of
from audit.replay.columnar.fold.snapshots import MIN_EVENTS, Kept, Snapshots
from audit.replay.columnar.fold.source import PartSource
from audit.replay.columnar.fold.spans import Span, spans_of, told_after
from audit.replay.columnar.fold.state import empty_state
from audit.replay.columnar.fold.tail import Tail
from audit.replay.columnar.parts import Codes
from audit.replay.columnar.pool import MAX_SMALL_BYTES, Objects
from audit.replay.columnar.scatter import Ints
from audit.replay.columnar.threads import each
from audit.replay.conditions import Filters
from audit.replay.fold import Row
from audit.replay.masks import Mask
from audit.replay.steps import Steps

if TYPE_CHECKING:
    import pandas as pd

MAX_CAREFUL = 2_000
"""Keys folded plainly beside the fast ones. With more, the whole dataset is folded plainly."""
ROWS_AT_ONCE = 16_384
"""Rows turned into Python values at once."""

_MISSING = object()


class FastReplay:
    """Answers from one read model. What is worth keeping between answers is kept here."""

    def __init__(self, source: PartSource, min_events: int = MIN_EVENTS) -> None:
        """Nothing is read yet. `min_events`: see `Snapshots`."""
        self.source = source
        self.snapshots = Snapshots(source, min_events)
        self.held: Held[Folded] = Held(source)
        self._ranks: dict[str, Ranks] = {}

    def can_answer(self, *cuts: Steps) -> bool:
        """Whether cuts of one dataset are for it; then all below them is in the read model."""
        sizes: dict[int, int] = {}
        for steps in cuts:
            if steps.naming.moved or not steps.reader.complete:
                return False
            for log, size in steps.cut.sizes.items():
                sizes[log] = max(size, sizes.get(log, 0))
        if any(self.source.covered(log) < size for log, size in sizes.items() if size):
            return False
        return not any(self.source.must_be_plain(s.entity_type, s.cut) for s in cuts)

    def dataset(self, steps: Steps, valid_at_us: int | None = None) -> "FastDataset | None":
        """The dataset at the cut of `steps`; None where it must be folded plainly."""
        if not self.can_answer(steps):
            return None
        sizes = {log: size for log, size in sorted(steps.cut.sizes.items()) if size}
        name = steps.entity_type, tuple(sizes.items()), valid_at_us
        # On the recorded axis a snapshot is near, and holding states is its business.
        folded = None if valid_at_us is None else self.held.get(name)
        if folded is None:
            epoch = self.source.epoch
            folded = self._folded(steps, sizes, valid_at_us)
            if folded is not None and valid_at_us is not None:
                self.held.put(name, folded, epoch)
        return None if folded is None else FastDataset(steps, valid_at_us, folded)

    def _folded(
        self, steps: Steps, sizes: Mapping[int, int], valid_at_us: int | None
    ) -> Folded | None:
        ranks = self.ranks_of(steps.entity_type, tuple(sizes))
        folds = {}
        for log, size in sizes.items():
            found = self._fold(steps.entity_type, log, size, ranks.of[log], valid_at_us)
            if found is None:
                return None
            folds[log] = found
        careful = careful_keys(folds, ranks)
        if sum(len(codes) for codes in careful.values()) > MAX_CAREFUL:
            return None
        return Folded(steps, valid_at_us, folds, ranks, careful)

    def transactions(self, log: int, start: int, stop: int) -> dict[str, int] | None:
        """How many entries in [start, stop) of a log each transaction has there."""
        if self.source.covered(log) < stop:
            return None
        counts: dict[str, int] = {}
        for part in self.source.events_parts(log, stop, start):
            column = part.transaction_id
            codes = column.codes[max(0, start - part.start) : stop - part.start]
            found, times = np.unique(codes[codes >= 0], return_counts=True)
            for code, count in zip(found.tolist(), times.tolist(), strict=True):
                name = column.texts[code].decode()
                counts[name] = counts.get(name, 0) + count
        return counts

    def _fold(
        self, entity_type: str, log: int, size: int, rank: Codes, valid_at_us: int | None
    ) -> LogFold | None:
        book = self.source.key_book(log, entity_type)
        recorded = valid_at_us is None
        kept, spans = self.snapshots.before(log, entity_type, size, rank, recorded)
        if valid_at_us is not None and not _may_begin_with(kept, spans, valid_at_us):
            kept = Kept(empty_state(log), False)
            parts = self.source.parts(log, entity_type, 0, size)
            spans = spans_of(parts, 0, size)
        told = told_after(kept.state.told, spans)
        if told.plain or len(told.careful) > MAX_CAREFUL:
            return None
        tail = Tail(kept.state, kept.finder, spans, rank, valid_at_us)
        hold = None
        if recorded:
            hold = self.snapshots.holder(log, entity_type, size, kept, tail.told.events)
        return LogFold(kept, tail, book, hold)

    def ranks_of(self, entity_type: str, logs: tuple[int, ...]) -> Ranks:
        """The places of a dataset's keys in byte order, over these logs."""
        books = tuple(self.source.key_book(log, entity_type) for log in logs)
        known = self._ranks.get(entity_type)
        if known is not None and tuple(map(id, known.books)) == tuple(map(id, books)):
            return known
        made = self._ranks[entity_type] = places_of(logs, books)
        return made


def _may_begin_with(kept: Kept, spans: list[Span], valid_at_us: int) -> bool:
    """True when nothing of a snapshot, in the order of valid time, comes after an event of `spans`
    or after the asked time: then it is the same on both axes.
    """
    told = kept.state.told
    if not told.in_order or told.valid_to_us > valid_at_us:
        return False
    later = [part.valid_us[lo:hi] for part, lo, hi, _ in spans if lo < hi]
    return all(int(valid_us.min()) >= told.valid_to_us for valid_us in later)


def careful_keys(folds: Mapping[int, LogFold], ranks: Ranks) -> dict[int, list[int]]:
    """Log -> codes of the keys to fold plainly: careful in some log, or seen in several."""
    return careful_of({log: one.tail.told for log, one in folds.items()}, ranks)


class FastDataset:
    """The rows of one dataset at a cut, as columns. The interface of `audit.replay.asof.Dataset`,
    and `frame` and `arrow`. Columns are folded when they are first asked for.
    """

    def __init__(self, steps: Steps, valid_at_us: int | None, folded: Folded) -> None:
        """Use `FastReplay.dataset`."""
        self.entity_type = steps.entity_type
        self.cut = steps.cut
        self.naming = steps.naming
        self.valid_at_us = valid_at_us
        self.events = folded.events
        self.undecodable = folded.undecodable
        self.columns = folded.columns
        self.folded = folded
        self._made: dict[str, Column] = {}
        self._own: list[dict[str, Column]] = [{} for _ in folded.logs]
        self._own_keys: list[Objects | pa.Array | None] = [None for _ in folded.logs]
        self._keys: Objects | None = None

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.folded)

    def show(self, columns: Iterable[str]) -> None:
        """Show these columns and no others."""
        self.columns = tuple(sorted(columns))

    def held(self) -> Iterator[str]:
        """The columns that any row has a cell in, be it null."""
        for name in self.columns:
            if (self.column(name).state != ABSENT).any():
                yield name

    def column(self, name: str) -> Column:
        """The cells of a field, in byte order of the keys; n of them."""
        made = self._made.get(name) or self.folded.known_column(name)
        if made is None:
            logs = range(len(self.folded.logs))
            own = [self._column_of(number, name) for number in logs]
            made = self._made[name] = self.folded.joined(name, own)
        return made

    def kept_column(self, name: str) -> Column:
        """The same, kept as long as what was folded is; not to be changed."""
        return self.folded.column(name)

    def _column_of(self, number: int, name: str) -> Column:
        """The cells of a field in one log; noted where the state of the log is to be held."""
        one, own = self.folded.logs[number], self._own[number]
        column = own.get(name)
        if column is None:
            column = one.tail.column(name)
            if one.hold is not None:
                own[name] = column
        return column

    def keys(self) -> Objects:
        """The keys as texts, in byte order; n of them. Not to be changed."""
        if self._keys is None:
            folded, at = self.folded, self.folded.arranged
            made = [keys_of(one.kept, one.tail, one.book) for one in folded.logs]
            self._own_keys = [*made]
            if at.moves is not None:
                self._keys = made[0].take(at.moves.source)
                self._keys[at.plain_places] = folded.plain_keys
            elif at.is_plain_log:
                self._keys = made[0]
            else:
                self._keys = np.empty(at.count, np.object_)
                for keys, taken, places in zip(made, at.taken, at.places, strict=True):
                    self._keys[places] = keys if taken is None else keys[taken]
                self._keys[at.plain_places] = folded.plain_keys
        return self._keys

    def rows(self) -> Iterator[tuple[str, Row]]:
        """(key, row) in byte order of the keys."""
        return self.rows_between(0, len(self))

    def rows_between(self, first: int, end: int) -> Iterator[tuple[str, Row]]:
        """The rows from the place `first`, counted from 0, to before `end`."""
        return self.rows_at(np.arange(first, max(first, min(end, len(self)))))

    def rows_at(self, places: Ints) -> Iterator[tuple[str, Row]]:
        """The rows at these places, ascending."""
        names = self.columns
        if self.folded.are_few(places):
            some = self.folded.some(places)
            yield from _rows(some.keys().to_pylist(), names, [some.column(one) for one in names])
            return
        columns = [self.column(name) for name in names]
        for start in range(0, len(places), ROWS_AT_ONCE):
            at = places[start : start + ROWS_AT_ONCE]
            own = [column.take(at) for column in columns]
            yield from _rows(self.keys()[at].tolist(), names, own)

    def fitting(self, filters: Filters) -> Mask:
        """bool[n], the rows that one of the filters fits."""
        return fitting(self, filters)

    def _given(self) -> list[tuple[str, Column]]:
        """The columns shown, for somebody who may change what can be written of them.

        Nothing of it stays here but what is held, and that can be written no longer.
        """
        made = each(self.column, self.columns, len(self))
        columns = list(zip(self.columns, made, strict=True))
        self._made = {}
        for one, own, keys in zip(self.folded.logs, self._own, self._own_keys, strict=True):
            names = [name for name in one.tail.fields if name in one.tail.told.fields]
            if one.hold is not None and own.keys() >= set(names):
                held = {name: own[name] for name in names}
                one.hold(one.tail.told, one.tail.codes, held, keys)
        self._own = [{} for _ in self.folded.logs]
        return columns

    def frame(self, citation: Mapping[str, Any]) -> "pd.DataFrame":
        """As `audit.replay.frame.build_frame` makes it of the rows, cell for cell."""
        from audit.replay.columnar.fold.frames import frame_of

        keys = self.keys()
        return frame_of(keys, self._given(), citation)

    def arrow(self) -> "pa.Table":
        """The rows as an Arrow table, see `audit.replay.columnar.fold.frames.table_of`."""
        from audit.replay.columnar.fold.frames import table_of

        return table_of(self._key_texts(), self._given())

    def _key_texts(self) -> "pa.Array | Objects":
        """The keys in byte order, without Python texts where they are all of one log."""
        if not self.folded.arranged.is_plain_log:
            return self.keys()
        (one,) = self.folded.logs
        made = key_texts_of(one.kept, one.tail, one.book)
        if self._own_keys[0] is None:
            self._own_keys[0] = made
        return made.cast(pa.string()) if made.nbytes <= MAX_SMALL_BYTES else self.keys()


def _rows(
    keys: list[str], names: tuple[str, ...], columns: list[Column]
) -> Iterator[tuple[str, Row]]:
    """Columns as (key, row), an absent cell left out."""
    cells = [column.objects(None, _MISSING).tolist() for column in columns]
    for number, key in enumerate(keys):
        row = {}
        for name, column in zip(names, cells, strict=True):
            value = column[number]
            if value is not _MISSING:
                row[name] = value
        yield key, row

"""A dataset at a cut from the read model: the same answers as the plain fold gives, sooner.

Keys that need care (see `DatasetPart.careful`, and keys seen in two logs) are folded plainly, from
the store, and put in their place. A dataset that needs more care than that is left to the plain
fold as a whole: `fast_dataset` then gives None.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from audit.replay.columnar.column import (
    ABSENT,
    Column,
    Piece,
    column_of_values,
    combine,
    nothing,
)
from audit.replay.columnar.fold.careful import careful_of
from audit.replay.columnar.fold.ranks import Ranks, places_of
from audit.replay.columnar.fold.rowkeys import key_texts_of, keys_of, texts
from audit.replay.columnar.fold.snapshots import MIN_EVENTS, Hold, Kept, Snapshots
from audit.replay.columnar.fold.source import PartSource
from audit.replay.columnar.fold.state import empty_state
from audit.replay.columnar.fold.tail import Span, Tail, spans_of, told_after
from audit.replay.columnar.parts import Codes, KeyBook
from audit.replay.columnar.pool import MAX_SMALL_BYTES, Objects
from audit.replay.columnar.scatter import Ints, Moves, moves, ranked_below
from audit.replay.columnar.threads import each
from audit.replay.fold import Row, fold
from audit.replay.steps import Steps

if TYPE_CHECKING:
    import pandas as pd

MAX_CAREFUL = 2_000
"""Keys folded plainly beside the fast ones. With more, the whole dataset is folded plainly."""
WALK_PER_KEY = 50
"""Keys are read one by one while that is fewer reads than this share of the events to walk."""
ROWS_AT_ONCE = 16_384
"""Rows turned into Python values at once."""

_MISSING = object()


class FastReplay:
    """Answers from one read model. What is worth keeping between answers is kept here."""

    def __init__(self, source: PartSource, min_events: int = MIN_EVENTS) -> None:
        """Nothing is read yet. `min_events`: see `Snapshots`."""
        self.source = source
        self.snapshots = Snapshots(source, min_events)
        self._ranks: dict[str, Ranks] = {}

    def dataset(self, steps: Steps, valid_at_us: int | None = None) -> "FastDataset | None":
        """The dataset at the cut of `steps`; None where it must be folded plainly."""
        if steps.naming.moved or not steps.reader.complete:
            return None
        sizes = {log: size for log, size in sorted(steps.cut.sizes.items()) if size}
        if any(self.source.covered(log) < size for log, size in sizes.items()):
            return None
        if self.source.must_be_plain(steps.entity_type, steps.cut):
            return None
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
        return FastDataset(steps, valid_at_us, folds, ranks, careful)

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
    ) -> "LogFold | None":
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


class LogFold(NamedTuple):
    """What one log gives to a dataset. `hold`: takes its state at the cut, for later questions."""

    kept: Kept
    tail: Tail
    book: KeyBook
    hold: Hold | None = None


def careful_keys(folds: Mapping[int, LogFold], ranks: Ranks) -> dict[int, list[int]]:
    """Log -> codes of the keys to fold plainly: careful in some log, or seen in several."""
    return careful_of({log: one.tail.told for log, one in folds.items()}, ranks)


class FastDataset:
    """The rows of one dataset at a cut, as columns. The interface of `audit.replay.asof.Dataset`,
    and `frame` and `arrow`. Columns are folded when they are first asked for.
    """

    def __init__(
        self,
        steps: Steps,
        valid_at_us: int | None,
        folds: Mapping[int, LogFold],
        ranks: Ranks,
        careful: Mapping[int, list[int]],
    ) -> None:
        """Use `FastReplay.dataset`."""
        self.entity_type = steps.entity_type
        self.cut = steps.cut
        self.naming = steps.naming
        self.valid_at_us = valid_at_us
        self.events = sum(one.tail.told.events for one in folds.values())
        self.undecodable = 0
        self._folds = list(folds.values())
        self._ranks = [ranks.of[log] for log in folds]
        fields = {name for one in self._folds for name in one.tail.told.fields}
        self._care_keys: list[str] = []
        self._care_rows: list[Row] = []
        self._care_ranks: list[int] = []
        self._fold_careful(steps, careful, folds, ranks, fields)
        self.columns: tuple[str, ...] = tuple(sorted(fields))
        self._made: dict[str, Column] = {}
        self._own: list[dict[str, Column]] = [{} for _ in self._folds]
        self._own_keys: list[Objects | pa.Array | None] = [None for _ in self._folds]
        self._keys: Objects | None = None
        self._arrange(careful)

    def _fold_careful(
        self,
        steps: Steps,
        careful: Mapping[int, list[int]],
        folds: Mapping[int, LogFold],
        ranks: Ranks,
        fields: set[str],
    ) -> None:
        """Fold the keys that need care from the store, and look at what could not be read."""
        rank_of: dict[str, int] = {}
        for log, codes in careful.items():
            book = folds[log].book
            for key, code in zip(texts(book.keys, np.array(codes, np.int32)), codes, strict=True):
                rank_of[key] = int(ranks.of[log][code])
        one_by_one = len(rank_of) * WALK_PER_KEY < self.events
        keys = sorted(rank_of, key=rank_of.__getitem__)
        own = {} if one_by_one else steps.of_keys(keys)
        for key in keys:
            found = steps.of_key(key) if one_by_one else own[key]
            for step in found:
                if step.op is None or step.is_keyless:
                    continue
                if step.problem is not None:
                    self.undecodable += 1
                elif step.change is not None and step.change.after:
                    fields.update(step.change.after)
            row = fold(found, self.valid_at_us).row
            if row is not None:
                self._care_keys.append(key)
                self._care_rows.append(row)
                self._care_ranks.append(rank_of[key])
        for log, one in folds.items():
            for index in one.tail.told.unread:
                step = steps.step(steps.record_at(log, index))
                if step.problem is not None:
                    self.undecodable += 1
                elif step.change is not None and step.change.after:
                    fields.update(step.change.after)

    def _arrange(self, careful: Mapping[int, list[int]]) -> None:
        """Where the rows of each log, and those folded plainly, stand among all rows."""
        self._taken: list[Ints | None] = []
        self._places: list[Ints | None] = []
        self._care_places = np.empty(0, np.intp)
        self._moves: Moves | None = None
        if len(self._folds) == 1 and not any(careful.values()):
            self._taken, self._places = [None], [None]
            self._count = len(self._folds[0].tail.codes)
            return
        if len(self._folds) == 1 and len(self._folds[0].tail.codes):
            (codes,) = careful.values()
            self._arrange_one(np.array(codes, np.int32))
            return
        ranks = []
        for one, rank, codes in zip(self._folds, self._ranks, careful.values(), strict=True):
            held = one.tail.codes
            left = np.flatnonzero(~np.isin(held, np.array(codes, np.int32)))
            self._taken.append(None if len(left) == len(held) else left)
            ranks.append(rank[held[left]])
        ranks.append(np.array(self._care_ranks, np.int32))
        # Runs that ascend already: a stable sort merges them.
        order = np.argsort(np.concatenate(ranks), kind="stable")
        place = np.empty(len(order), np.intp)
        place[order] = np.arange(len(order))
        bounds = np.cumsum([0, *(len(some) for some in ranks)])
        pieces = [place[bounds[i] : bounds[i + 1]] for i in range(len(ranks))]
        self._places = [*pieces[:-1]]
        self._care_places = pieces[-1]
        self._count = len(order)

    def _arrange_one(self, careful: Codes) -> None:
        """The same for one log: nearly all rows stay, so that only the others are looked for."""
        held, rank = self._folds[0].tail.codes, self._ranks[0]
        careful = careful[np.argsort(rank[careful])]
        at = np.minimum(ranked_below(rank, held, rank[careful]), len(held) - 1)
        gone = at[held[at] == careful]
        before = ranked_below(rank, held, np.array(self._care_ranks, np.int32))
        self._moves = moves(len(held), gone, before)
        self._care_places = self._moves.new_at
        self._count = len(self._moves.source)

    def __len__(self) -> int:
        """How many rows there are."""
        return self._count

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
        made = self._made.get(name)
        if made is not None:
            return made
        if self._moves is not None:
            own = self._column_of(0, name).take(self._moves.source)
            pieces = [Piece(None, own), Piece(self._care_places, nothing(len(self._care_rows)))]
        else:
            pieces = []
            for number, (taken, places) in enumerate(zip(self._taken, self._places, strict=True)):
                column = self._column_of(number, name)
                pieces.append(Piece(places, column if taken is None else column.take(taken)))
        if len(self._care_rows):
            cells = [row.get(name, _MISSING) for row in self._care_rows]
            pieces.append(Piece(self._care_places, column_of_values(cells, _MISSING)))
        made = self._made[name] = combine(self._count, pieces, self._moves is not None)
        return made

    def _column_of(self, number: int, name: str) -> Column:
        """The cells of a field in one log; noted where the state of the log is to be held."""
        one, own = self._folds[number], self._own[number]
        column = own.get(name)
        if column is None:
            column = one.tail.column(name)
            if one.hold is not None:
                own[name] = column
        return column

    def keys(self) -> Objects:
        """The keys as texts, in byte order; n of them. Not to be changed."""
        if self._keys is None:
            made = [keys_of(one.kept, one.tail, one.book) for one in self._folds]
            self._own_keys = [*made]
            if self._moves is not None:
                self._keys = made[0].take(self._moves.source)
                self._keys[self._care_places] = self._care_keys
            elif len(made) == 1 and self._places[0] is None:
                self._keys = made[0]
            else:
                self._keys = np.empty(self._count, np.object_)
                for keys, taken, places in zip(made, self._taken, self._places, strict=True):
                    self._keys[places] = keys if taken is None else keys[taken]
                self._keys[self._care_places] = self._care_keys
        return self._keys

    def rows(self) -> Iterator[tuple[str, Row]]:
        """(key, row) in byte order of the keys."""
        return self.rows_between(0, self._count)

    def rows_between(self, first: int, end: int) -> Iterator[tuple[str, Row]]:
        """The rows from the place `first`, counted from 0, to before `end`."""
        end = min(end, self._count)
        keys = self.keys()
        names = self.columns
        columns = [self.column(name) for name in names]
        for start in range(first, end, ROWS_AT_ONCE):
            stop = min(start + ROWS_AT_ONCE, end)
            cells: list[list[Any]] = [
                column.slice(start, stop).objects(None, _MISSING).tolist() for column in columns
            ]
            some = keys[start:stop].tolist()
            for number, key in enumerate(some):
                row = {}
                for name, column in zip(names, cells, strict=True):
                    value = column[number]
                    if value is not _MISSING:
                        row[name] = value
                yield key, row

    def _given(self) -> list[tuple[str, Column]]:
        """The columns shown, for somebody who may change what can be written of them.

        Nothing of it stays here but what is held, and that can be written no longer.
        """
        made = each(self.column, self.columns, self._count)
        columns = list(zip(self.columns, made, strict=True))
        self._made = {}
        for one, own, keys in zip(self._folds, self._own, self._own_keys, strict=True):
            names = [name for name in one.tail.fields if name in one.tail.told.fields]
            if one.hold is not None and own.keys() >= set(names):
                held = {name: own[name] for name in names}
                one.hold(one.tail.told, one.tail.codes, held, keys)
        self._own = [{} for _ in self._folds]
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
        if self._moves is not None or len(self._folds) != 1 or self._places[0] is not None:
            return self.keys()
        (one,) = self._folds
        made = key_texts_of(one.kept, one.tail, one.book)
        if self._own_keys[0] is None:
            self._own_keys[0] = made
        return made.cast(pa.string()) if made.nbytes <= MAX_SMALL_BYTES else self.keys()

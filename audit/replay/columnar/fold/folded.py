"""All logs of a dataset folded to a cut: which rows there are, and their cells as they are asked.

It may be held, and be behind several answers at once: nothing of it is changed, and what is added
while it is used is the same whoever adds it.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from audit.replay.columnar.column import (
    Column,
    Piece,
    column_of_values,
    combine,
    held_by,
    nothing,
)
from audit.replay.columnar.fold.arranged import Arranged, Placed
from audit.replay.columnar.fold.ranks import Ranks
from audit.replay.columnar.fold.rowkeys import key_texts, texts
from audit.replay.columnar.fold.snapshots import Hold, Kept
from audit.replay.columnar.fold.tail import Chosen, Tail
from audit.replay.columnar.parts import Codes, KeyBook
from audit.replay.columnar.scatter import Ints
from audit.replay.fold import Row, fold
from audit.replay.steps import Steps

WALK_PER_KEY = 50
"""Keys are read one by one while that is fewer reads than this share of the events to walk."""
SOME_ROWS = 8
"""Up to this share of the rows they are made alone, and not whole columns."""

_MISSING = object()


class LogFold(NamedTuple):
    """What one log gives to a dataset. `hold`: takes its state at the cut, for later questions."""

    kept: Kept
    tail: Tail
    book: KeyBook
    hold: Hold | None = None


class Folded:
    """The rows of a dataset at a cut. `columns`: every field that was mentioned, sorted.

    `plain_keys` and `plain_rows`: those that were folded plainly, in byte order of the keys.
    """

    def __init__(
        self,
        steps: Steps,
        valid_at_us: int | None,
        folds: Mapping[int, LogFold],
        ranks: Ranks,
        careful: Mapping[int, list[int]],
    ) -> None:
        """`careful`: log -> codes of the keys to fold plainly, from the store."""
        self.logs = list(folds.values())
        self.undecodable = 0
        self.events = sum(one.tail.told.events for one in self.logs)
        self._names = tuple(folds)
        fields = {name for one in self.logs for name in one.tail.told.fields}
        self.plain_keys: list[str] = []
        self.plain_rows: list[Row] = []
        self._plain_codes: list[tuple[int, int]] = []
        self._fold_plainly(steps, valid_at_us, careful, ranks, fields)
        self.columns = tuple(sorted(fields))
        self._made: dict[str, Column] = {}
        self.arranged = Arranged(
            [one.tail.codes for one in self.logs],
            [ranks.of[log] for log in folds],
            list(careful.values()),
            self._plain_ranks(ranks),
        )

    def _fold_plainly(
        self,
        steps: Steps,
        valid_at_us: int | None,
        careful: Mapping[int, list[int]],
        ranks: Ranks,
        fields: set[str],
    ) -> None:
        """Fold the keys that need care from the store, and look at what could not be read."""
        code_of: dict[str, tuple[int, int]] = {}
        rank_of: dict[str, int] = {}
        for number, (log, codes) in enumerate(careful.items()):
            book = self.logs[number].book
            for key, code in zip(texts(book.keys, np.array(codes, np.int32)), codes, strict=True):
                code_of[key] = log, code
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
            row = fold(found, valid_at_us).row
            if row is not None:
                self.plain_keys.append(key)
                self.plain_rows.append(row)
                self._plain_codes.append(code_of[key])
        for log, one in zip(self._names, self.logs, strict=True):
            for index in one.tail.told.unread:
                step = steps.step(steps.record_at(log, index))
                if step.problem is not None:
                    self.undecodable += 1
                elif step.change is not None and step.change.after:
                    fields.update(step.change.after)

    def _plain_ranks(self, ranks: Ranks) -> Codes:
        return np.array([ranks.of[log][code] for log, code in self._plain_codes], np.int32)

    def __len__(self) -> int:
        """How many rows there are."""
        return self.arranged.count

    def bytes_held(self) -> int:
        """What it takes in memory, or keeps others from letting go, beside the parts."""
        own = sum(one.tail.nbytes + sum(one.kept.bytes_held().values()) for one in self.logs)
        return own + self.arranged.nbytes + sum(held_by(list(self._made.values())).values())

    def ranks(self, ranks: Ranks) -> Codes:
        """The rank of each row's key; `ranks` may be of more logs, and of later books."""
        codes = [one.tail.codes for one in self.logs]
        of = [ranks.of[log] for log in self._names]
        return self.arranged.ranks(codes, of, self._plain_ranks(ranks))

    def joined(self, name: str, own: list[Column]) -> Column:
        """The cells of a field in all rows, out of those of each log."""
        at = self.arranged
        if at.is_plain_log:
            return combine(at.count, [Piece(None, own[0])])
        if at.moves is not None:
            moved = own[0].take(at.moves.source)
            count = len(at.plain_places)
            pieces = [Piece(None, moved), Piece(at.plain_places, nothing(count))]
        else:
            pieces = [
                Piece(places, column if taken is None else column.take(taken))
                for column, taken, places in zip(own, at.taken, at.places, strict=True)
            ]
        if self.plain_rows:
            cells = [row.get(name, _MISSING) for row in self.plain_rows]
            pieces.append(Piece(at.plain_places, column_of_values(cells, _MISSING)))
        return combine(at.count, pieces, at.moves is not None)

    def column(self, name: str) -> Column:
        """The cells of a field in all rows, kept here; not to be changed."""
        made = self._made.get(name)
        if made is None:
            made = self.joined(name, [one.tail.column(name) for one in self.logs])
            made.data.flags.writeable = False
            made.state.flags.writeable = False
            self._made[name] = made
        return made

    def known_column(self, name: str) -> Column | None:
        """The same where it is here already."""
        return self._made.get(name)

    def are_few(self, places: Ints) -> bool:
        """Whether `some` costs less than whole columns."""
        return len(places) * SOME_ROWS < len(self)

    def columns_at(self, places: Ints) -> Callable[[str], Column]:
        """Gives the cells of a field in the rows at these places, ascending, anew each time."""
        if self.are_few(places):
            return self.some(places).column

        def column(name: str) -> Column:
            known = self._made.get(name)
            own = [one.tail.column(name) for one in self.logs] if known is None else []
            return (known or self.joined(name, own)).take(places)

        return column

    def some(self, places: Ints) -> "SomeRows":
        """The rows at these places, ascending."""
        return SomeRows(self, places)


class SomeRows:
    """Some rows of a dataset: what they cost does not depend on how many others there are."""

    def __init__(self, folded: Folded, places: Ints) -> None:
        """Use `Folded.some`."""
        self._folded = folded
        self._places = places
        self._of_logs, self._plain = folded.arranged.split(places)
        self._chosen: list[Chosen | None] = [None for _ in self._of_logs]

    def column(self, name: str) -> Column:
        """The cells of a field in these rows."""
        known = self._folded.known_column(name)
        if known is not None:
            return known.take(self._places)
        pieces = []
        for number, one in enumerate(self._of_logs):
            if len(one.rows):
                pieces.append(Piece(one.places, self._of_log(number, one, name)))
        numbers, at = self._plain
        if len(numbers):
            rows = self._folded.plain_rows
            cells = [rows[number].get(name, _MISSING) for number in numbers.tolist()]
            pieces.append(Piece(at, column_of_values(cells, _MISSING)))
        return combine(len(self._places), pieces, True)

    def _of_log(self, number: int, one: Placed, name: str) -> Column:
        tail = self._folded.logs[number].tail
        chosen = self._chosen[number]
        if chosen is None:
            chosen = self._chosen[number] = tail.chosen(one.rows)
        return tail.column(name, chosen)

    def keys(self) -> "pa.Array":
        """Their keys, an Arrow array of large strings."""
        folded = self._folded
        if folded.arranged.is_plain_log:
            (one,) = folded.logs
            return key_texts(one.book.keys, one.tail.codes[self._places])
        found, stand = [], []
        for fold_, (rows, at) in zip(folded.logs, self._of_logs, strict=True):
            found.append(key_texts(fold_.book.keys, fold_.tail.codes[rows]))
            stand.append(at)
        numbers, at = self._plain
        own = [folded.plain_keys[number] for number in numbers.tolist()]
        found.append(pa.array(own, pa.large_string()))
        stand.append(at)
        order = np.empty(len(self._places), np.intp)
        order[np.concatenate([one for one in stand if one is not None])] = np.arange(len(order))
        return pa.concat_arrays(found).take(pa.array(order))

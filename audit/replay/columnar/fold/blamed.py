"""Who gave each cell of a dataset its value, as columns: see `audit.replay.blame`.

A cell was set by the newest event that brought it its value: one that repeats it has not set it,
unless the row was reset in between.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from audit.replay.columnar.column import Column
from audit.replay.columnar.fold.fast import MAX_CAREFUL
from audit.replay.columnar.fold.ordered import Ordered
from audit.replay.columnar.fold.rowkeys import texts
from audit.replay.columnar.fold.said import SaidColumns, joined, said_columns
from audit.replay.columnar.fold.sameness import different
from audit.replay.columnar.fold.whole_log import WholeLog, whole_logs
from audit.replay.columnar.parts import NO_CODE, Codes
from audit.replay.columnar.pool import Objects
from audit.replay.columnar.scatter import Ints

if TYPE_CHECKING:
    from audit.replay.columnar.fold.fast import FastReplay
    from audit.replay.steps import Steps


class Blamed(NamedTuple):
    """n cells, in no order. `rank`: the place of each cell's key among all keys, in byte order;
    `field`: the number of its name in `names`, which are sorted. `said`: entries; `entry`: which
    one of them set the cell. `careful`: the keys left to the plain fold, and their ranks.
    """

    rank: Codes
    key: Objects
    names: tuple[str, ...]
    field: Ints
    value: Objects
    said: SaidColumns
    entry: Ints
    careful: dict[str, int]


class _OfLog(NamedTuple):
    code: Codes
    field: Ints
    value: Objects
    entry_index: Ints


def blamed(
    fast: "FastReplay",
    steps: "Steps",
    valid_at_us: int | None = None,
    keys: Collection[str] | None = None,
) -> Blamed | None:
    """Of all keys or these; None where all is to be found plainly."""
    logs = whole_logs(fast, steps)
    if logs is None:
        return None
    names = tuple(sorted(logs.fields))
    found, entries, saids, ranks, texts_of = [], [], [], [], []
    careful: dict[str, int] = {}
    before = 0
    for log, own in logs.logs.items():
        plain = own.is_careful()
        wanted = ~plain
        if keys is not None:
            asked = np.zeros(len(plain), np.bool_)
            codes = own.codes_of(list(keys))
            asked[codes[codes != NO_CODE]] = True
            plain, wanted = plain & asked, wanted & asked
        left = np.flatnonzero(plain).astype(np.int32)
        if len(left) > MAX_CAREFUL:
            return None
        rank = logs.ranks.of[log]
        left_keys = texts(own.book.keys, left).tolist()
        careful.update(zip(left_keys, rank[left].tolist(), strict=True))
        one = _of_log(own, None if wanted.all() else wanted, names, valid_at_us)
        indexes, entry = np.unique(one.entry_index, return_inverse=True)
        said = said_columns(steps, log, indexes)
        found.append(one)
        entries.append(entry.reshape(-1) + before)
        before += len(indexes)
        saids.append(said)
        ranks.append(rank[one.code])
        texts_of.append(texts(own.book.keys, one.code))
    if not found:
        return None
    return Blamed(
        np.concatenate(ranks),
        np.concatenate(texts_of),
        names,
        np.concatenate([one.field for one in found]),
        np.concatenate([one.value for one in found]),
        joined(saids),
        np.concatenate(entries),
        careful,
    )


def _of_log(
    own: WholeLog,
    wanted: "np.ndarray[tuple[int], np.dtype[np.bool_]] | None",
    names: tuple[str, ...],
    valid_at_us: int | None,
) -> _OfLog:
    spans = own.spans(wanted, None)
    ordered = Ordered(spans, valid_at_us is not None, valid_at_us)
    index_of = np.concatenate(
        [np.empty(0, np.int64)]
        + [s.part.start + s.part.offset[s.lo : s.hi].astype(np.int64) for s in spans]
    )[ordered.position]
    ends = ordered.ends()
    codes, fields, values, indexes = [], [], [], []
    for number, name in enumerate(names):
        places, column = ordered.cells(name)
        if not len(places):
            continue
        setter = _setters(ordered, places, column)
        newest = np.searchsorted(places, ends, "right") - 1
        held = np.flatnonzero((newest >= 0) & (places[newest] >= ordered.floor[ends]))
        cell = newest[held]
        codes.append(ordered.key[ends[held]].astype(np.int32))
        fields.append(np.full(len(cell), number, np.intp))
        values.append(column.take(cell).objects(None, None))
        indexes.append(index_of[places[setter[cell]]])
    if not codes:
        none = np.empty(0, np.intp)
        return _OfLog(np.empty(0, np.int32), none, np.empty(0, np.object_), none)
    each = np.concatenate(codes), np.concatenate(fields), np.concatenate(values)
    return _OfLog(*each, np.concatenate(indexes))


def _setters(ordered: Ordered, places: Ints, column: Column) -> Ints:
    """For each cell the number of the one that brought its value, itself or an earlier one."""
    count = len(places)
    sets = np.ones(count, np.bool_)
    before, place = places[:-1], places[1:]
    stays = ~ordered.begins[place]
    # Nothing in between may have reset the row; whatever begins a key has.
    stays &= ordered.floor[place - 1] <= before
    stays &= ~different(column.slice(0, count - 1), column.slice(1, count))
    sets[1:] = ~stays
    numbers: Ints = np.maximum.accumulate(np.where(sets, np.arange(count), 0))
    return numbers

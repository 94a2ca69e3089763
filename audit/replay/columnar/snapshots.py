"""Snapshots: the live rows at some sizes, so that a later cut folds only what came after.

The first is due after MIN_EVENTS events, the next when as many events came as there were rows in
the one before. So all together they hold no more rows than there are events, and from one to the
next it is never longer than a dataset is large. Where they are depends on the log alone: whoever
makes one makes the same one.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa

from audit.errors import Unavailable
from audit.replay.columnar.checked import are_times, are_values, is_count, is_text, within
from audit.replay.columnar.column import ABSENT, DTYPES, VALUE, Column
from audit.replay.columnar.parts import Codes, KeyBook
from audit.replay.columnar.pool import POOLED, Kind, Objects, Pool
from audit.replay.columnar.source import PartSource
from audit.replay.columnar.state import Finder, LogState, Told, empty_state
from audit.replay.columnar.tail import Span, Tail, spans_of

MIN_EVENTS = 65_536
"""A snapshot is not made for fewer events than that."""
MAX_GAP_EVENTS = 4_194_304
"""So many events are folded at once where newer snapshots are kept, but none nearer."""
MAX_IN_MEMORY = 4
"""Snapshots held in memory at once, with what was derived from them."""
MAX_ONLY_IN_MEMORY = 24
"""The same where they cannot be kept on disk."""
FORMAT = 1


class Kept:
    """A snapshot in memory, with what is made from it once and used again."""

    def __init__(self, state: LogState, on_disk: bool) -> None:
        """`on_disk`: it can be read again."""
        self.state = state.frozen()
        self.on_disk = on_disk
        self.finder = Finder(state.codes)
        self._keys: Objects | None = None

    def keys(self, book: "pa.Array") -> Objects:
        """The keys of its rows as texts; `book` holds them by code."""
        if self._keys is None:
            self._keys = texts(book, self.state.codes)
        return self._keys


def texts(book: "pa.Array", codes: Codes) -> Objects:
    """The keys with these codes as Python texts."""
    made: Objects = (
        book.take(pa.array(codes)).cast(pa.large_string()).to_numpy(zero_copy_only=False)
    )
    return made


class Snapshots:
    """Finds and makes the snapshots of a read model."""

    def __init__(self, source: PartSource, min_events: int = MIN_EVENTS) -> None:
        """None is read yet."""
        self._source = source
        self._min_events = min_events
        self._epoch = source.epoch
        self._held: OrderedDict[tuple[int, str, int], Kept] = OrderedDict()

    def __len__(self) -> int:
        """How many are in memory."""
        return len(self._held)

    def newest(self, log: int, entity_type: str, size: int) -> Kept:
        """The one at the largest size up to `size`; at size 0 there is always one."""
        if self._epoch != self._source.epoch:
            self._epoch = self._source.epoch
            self._held.clear()
        sizes = {name[2] for name in self._held if name[:2] == (log, entity_type)}
        sizes.update(self._source.snapshot_sizes(log, entity_type))
        for found in sorted((s for s in sizes if 0 < s <= size), reverse=True):
            kept = self._get(log, entity_type, found)
            if kept is not None:
                return kept
        return Kept(empty_state(log), False)

    def before(self, log: int, entity_type: str, size: int, rank: Codes) -> tuple[Kept, list[Span]]:
        """The newest one up to a size, made if it is due, and the events from there to the size.

        `rank`: see `Tail`.
        """
        kept = self.newest(log, entity_type, size)
        parts = self._source.parts(log, entity_type, kept.state.size, size)
        is_old = any(at > size for at in self._source.snapshot_sizes(log, entity_type))
        while True:
            spans = spans_of(parts, kept.state.size, size)
            due = max(self._min_events, len(kept.state.codes))
            stop = _index_of(spans, due)
            if is_old and _index_of(spans, MAX_GAP_EVENTS) is None:
                # Those between were thinned out: one more would not stay, and costs more than it
                # saves.
                return kept, spans
            if stop is None or kept.state.told.plain:
                return kept, spans
            below = spans_of(parts, kept.state.size, stop)
            state = Tail(kept.state, kept.finder, below, rank).state(stop)
            kept = self._keep(entity_type, state)

    def _get(self, log: int, entity_type: str, size: int) -> Kept | None:
        name = log, entity_type, size
        kept = self._held.get(name)
        if kept is None:
            arrays = self._source.read_snapshot(log, entity_type, size)
            book = self._source.key_book(log, entity_type)
            state = None if arrays is None else from_arrays(log, size, arrays, book)
            if state is None:
                return None
            kept = Kept(state, True)
            self._hold(name, kept)
        self._held.move_to_end(name)
        return kept

    def _keep(self, entity_type: str, state: LogState) -> Kept:
        log, size = state.log, state.size
        on_disk = False
        if size <= self._source.sealed(log):
            with suppress(Unavailable):  # a full disk costs time later, and nothing else
                self._source.write_snapshot(log, entity_type, size, to_arrays(state))
            on_disk = size in self._source.snapshot_sizes(log, entity_type)
        kept = Kept(state, on_disk)
        self._hold((log, entity_type, size), kept)
        return kept

    def _hold(self, name: tuple[int, str, int], kept: Kept) -> None:
        self._held[name] = kept
        self._held.move_to_end(name)
        on_disk = [n for n, k in self._held.items() if k.on_disk]
        others = [n for n, k in self._held.items() if not k.on_disk]
        for some, most in ((on_disk, MAX_IN_MEMORY), (others, MAX_ONLY_IN_MEMORY)):
            for old in some[: max(0, len(some) - most)]:
                del self._held[old]


def _index_of(spans: Sequence[Span], position: int) -> int | None:
    """The index in the log of the event at a position of the spans; None beyond their end."""
    for part, lo, hi, at in spans:
        if position < at + hi - lo:
            return part.start + int(part.offset[lo + position - at])
    return None


def to_arrays(state: LogState) -> dict[str, "pa.Array"]:
    """A snapshot as named Arrow arrays."""
    told = state.told
    names = sorted(state.columns)
    about = {
        "format": FORMAT,
        **told._asdict(),
        "fields": sorted(told.fields),
        "careful": sorted(told.careful),
        "columns": [[name, int(state.columns[name].kind)] for name in names],
    }
    arrays = {"about": pa.array([json.dumps(about)]), "codes": pa.array(state.codes)}
    for number, name in enumerate(names):
        column = state.columns[name]
        data = column.data.view(np.uint8) if column.kind is Kind.BOOL else column.data
        arrays[f"data{number}"] = pa.array(data)
        arrays[f"state{number}"] = pa.array(column.state)
        if column.pool is not None:
            arrays[f"pool{number}"] = column.pool.values
    return arrays


def from_arrays(
    log: int, size: int, arrays: Mapping[str, "pa.Array"], book: KeyBook
) -> LogState | None:
    """The snapshot in named arrays; None where they are not what `to_arrays` makes.

    `book`: the keys that its codes stand for.
    """
    try:
        _require(arrays["about"].type == pa.string())
        about = json.loads(arrays["about"][0].as_py())
        told = _told(about, size)
        codes = arrays["codes"].to_numpy()
        rank = np.empty(len(book.order), np.int32)
        rank[book.order] = np.arange(len(rank), dtype=np.int32)
        _require(codes.dtype == np.int32 and told.keys <= len(rank))
        _require(within(codes, 0, told.keys) and bool((np.diff(rank[codes]) > 0).all()))
        columns = {}
        for number, (name, kind) in enumerate(about["columns"]):
            _require(name in told.fields)
            columns[name] = _column(arrays, number, Kind(kind), len(codes))
    except (LookupError, ValueError, TypeError, RecursionError, pa.ArrowException):
        return None
    return LogState(log, size, told, codes, columns)


def _told(about: dict[str, Any], size: int) -> Told:
    """What a snapshot tells beside its rows. Raises ValueError, KeyError, TypeError."""
    events, keys, valid_to_us = about["events"], about["keys"], about["valid_to_us"]
    fields, careful, unread = about["fields"], about["careful"], about["unread"]
    plain, in_order = about["plain"], about["in_order"]
    _require(about["format"] == FORMAT and type(plain) is bool and type(in_order) is bool)
    _require(is_count(events) and is_count(keys) and type(valid_to_us) is int)
    _require(all(map(is_text, fields)))
    _require(all(is_count(code) and code < keys for code in careful))
    _require(all(is_count(index) and index < size for index in unread))
    told = frozenset(fields), frozenset(careful), tuple(unread)
    return Told(events, keys, *told, plain, valid_to_us, in_order)


def _column(arrays: Mapping[str, "pa.Array"], number: int, kind: Kind, count: int) -> Column:
    data = arrays[f"data{number}"].to_numpy()
    state = arrays[f"state{number}"].to_numpy()
    _require(len(data) == count and len(state) == count)
    _require(state.dtype == np.uint8 and within(state, ABSENT, VALUE + 1))
    there = state == VALUE
    if kind is Kind.BOOL:
        _require(data.dtype == np.uint8 and within(data, 0, 2))
        data = data.view(np.bool_)
    _require(data.dtype == DTYPES[kind])
    if kind is Kind.TIME:
        _require(are_times(data[there]))
    pool = None
    if kind in POOLED:
        values = arrays[f"pool{number}"]
        _require(values.type == POOLED[kind] and not values.null_count and are_values(values))
        _require(within(data[there], 0, len(values)))
        pool = Pool(kind, [values])
    return Column(kind, data, state, pool)


def _require(right: bool) -> None:
    """The digest fits: nobody but a forger can have written what is refused here."""
    if not right:
        raise ValueError

"""Snapshots: the live rows at some sizes, so that a later cut folds only what came after.

The first is due after MIN_EVENTS events; the next, far from the size that is asked for, when as
many events came as there were rows in the one before; near to it after a share of that. So what is
left to fold is bounded by the rows, however long the log is.

What was folded for an answer is held, too, in this process, if it was much or was asked before: the
next question, at the same size or after it, begins there. It is never written.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import RLock
from typing import NamedTuple, Protocol

import pyarrow as pa

from audit.errors import Unavailable
from audit.replay.columnar.column import Column, held_by
from audit.replay.columnar.fold.rowkeys import key_texts, texts
from audit.replay.columnar.fold.snapshotfile import from_arrays, to_arrays
from audit.replay.columnar.fold.source import PartSource
from audit.replay.columnar.fold.spans import Span, spans_of
from audit.replay.columnar.fold.state import Finder, LogState, Told, empty_state
from audit.replay.columnar.fold.tail import Tail
from audit.replay.columnar.parts import Codes
from audit.replay.columnar.pool import OBJECT_BYTES, Objects

MIN_EVENTS = 65_536
"""A snapshot is not made for fewer events than that."""
NEAR_SHARE = 4
"""Near to the size that is asked for one is due after so many parts of its rows have come."""
END_SHARE = 16
"""A snapshot at the very end is made when so many parts of its rows, or of MIN_EVENTS, came."""
MAX_GAP_EVENTS = 4_194_304
"""So many events are folded at once where newer snapshots are kept, but none nearer."""
MAX_IN_MEMORY = 4
"""Snapshots held in memory at once, with what was derived from them."""
MAX_ONLY_IN_MEMORY = 24
"""The same where they cannot be kept on disk."""
MAX_ASKED = 4
"""States of earlier answers held in memory at once."""
MAX_SIZES_ASKED = 256
"""So many sizes that were asked for are remembered."""
MAX_HELD_BYTES = 805_306_368
"""All of them together take no more than that, more or less, but for the last one used."""


class Base(NamedTuple):
    """The snapshot that an answer began with: its size, the data events below it, its rows."""

    size: int
    events: int
    rows: int


class Kept:
    """A snapshot in memory, with what is made from it once and used again."""

    def __init__(self, state: LogState, on_disk: bool, base: Base | None = None) -> None:
        """`on_disk`: it can be read again. `base`: given where it is the state of an answer."""
        self.state = state.frozen()
        self.on_disk = on_disk
        self.base = base
        self._finder: Finder | None = None
        self._keys: Objects | None = None
        self._key_texts: pa.Array | None = None

    @property
    def finder(self) -> Finder:
        """Finds its rows."""
        if self._finder is None:
            self._finder = Finder(self.state.codes)
        return self._finder

    def keys(self, book: "pa.Array") -> Objects:
        """The keys of its rows as texts; `book` holds them by code."""
        if self._keys is None:
            self._keys = texts(book, self.state.codes)
        return self._keys

    def key_texts(self, book: "pa.Array") -> "pa.Array":
        """The same as an Arrow array of large strings."""
        if self._key_texts is None:
            self._key_texts = key_texts(book, self.state.codes)
        return self._key_texts

    def know_keys(self, keys: "Objects | pa.Array | None") -> None:
        """Somebody has made them already, in one form or the other."""
        if isinstance(keys, pa.Array):
            self._key_texts = keys
        else:
            self._keys = keys

    def bytes_held(self) -> dict[int, int]:
        """What it holds, by identity, and how many bytes each takes."""
        held = {id(self.state.codes): self.state.codes.nbytes}
        if self._finder is not None:
            held[id(self._finder)] = self._finder.nbytes
        if self._keys is not None:
            held[id(self._keys)] = len(self._keys) * (OBJECT_BYTES + KEY_BYTES)
        if self._key_texts is not None:
            held[id(self._key_texts)] = self._key_texts.nbytes
        return held | held_by(self.state.columns.values())


KEY_BYTES = 12
"""What a key is taken to say, where its memory is told."""


class Hold(Protocol):
    """Takes the state of an answer: what is told, n codes, columns of n cells, n keys if made."""

    def __call__(
        self,
        told: Told,
        codes: Codes,
        columns: Mapping[str, Column],
        keys: "Objects | pa.Array | None",
    ) -> None:
        """Nothing of it is written to from now on."""
        ...


class Snapshots:
    """Finds and makes the snapshots of a read model."""

    def __init__(self, source: PartSource, min_events: int = MIN_EVENTS) -> None:
        """None is read yet."""
        self._source = source
        self._min_events = min_events
        self._epoch = source.epoch
        self._held: OrderedDict[tuple[int, str, int, bool], Kept] = OrderedDict()
        self._sizes_asked: OrderedDict[tuple[int, str, int], None] = OrderedDict()
        self._lock = RLock()

    def __len__(self) -> int:
        """How many are in memory."""
        return len(self._held)

    def bytes_held(self) -> int:
        """What those in memory take, more or less."""
        held: dict[int, int] = {}
        for kept in self._held.values():
            held.update(kept.bytes_held())
        return sum(held.values())

    def newest(self, log: int, entity_type: str, size: int) -> Kept:
        """The one at the largest size up to `size`; at size 0 there is always one."""
        with self._lock:
            asked = self._asked(log, entity_type, size)
            if asked is not None and asked.state.size >= self._newest_size(log, entity_type, size):
                return asked
            return self._newest(log, entity_type, size)

    def _sizes(self, log: int, entity_type: str, size: int) -> list[int]:
        """The sizes of the snapshots up to one, the newest first."""
        if self._epoch != self._source.epoch:
            self._epoch = self._source.epoch
            self._held.clear()
        sizes = {name[2] for name in self._held if name[:2] == (log, entity_type) and not name[3]}
        sizes.update(self._source.snapshot_sizes(log, entity_type))
        return sorted((found for found in sizes if 0 < found <= size), reverse=True)

    def _newest_size(self, log: int, entity_type: str, size: int) -> int:
        return next(iter(self._sizes(log, entity_type, size)), 0)

    def _newest(self, log: int, entity_type: str, size: int) -> Kept:
        for found in self._sizes(log, entity_type, size):
            kept = self._get(log, entity_type, found)
            if kept is not None:
                return kept
        return Kept(empty_state(log), False)

    def _asked(self, log: int, entity_type: str, size: int) -> Kept | None:
        """The newest state of an answer up to a size."""
        self._sizes(log, entity_type, size)
        found = (n for n in self._held if n[:2] == (log, entity_type) and n[3] and n[2] <= size)
        name = max(found, default=None)
        if name is None:
            return None
        self._held.move_to_end(name)
        return self._held[name]

    def before(
        self, log: int, entity_type: str, size: int, rank: Codes, asked: bool = True
    ) -> tuple[Kept, list[Span]]:
        """What to begin with for a size, and the events from there to the size.

        Snapshots that are due are made. `rank`: see `Tail`. Without `asked` it is a snapshot, and
        not the state of an answer.
        """
        with self._lock:
            # What is derived from those held is made later, by the answers that begin there.
            self._let_go()
            near = self._asked(log, entity_type, size) if asked else None
            if near is not None and near.base is not None:
                spans = self._spans(log, entity_type, near, size)
                base = near.base
                events = near.state.told.events - base.events + _count(spans)
                is_next = self._newest_size(log, entity_type, size) == base.size
                if is_next and events < max(self._min_events, base.rows // NEAR_SHARE):
                    return near, spans
            kept, spans = self._snapshot(log, entity_type, size, rank)
            if near is not None and near.state.size > kept.state.size:
                near.base = _base(kept)
                return near, self._spans(log, entity_type, near, size)
            return kept, spans

    def _spans(self, log: int, entity_type: str, kept: Kept, size: int) -> list[Span]:
        start = kept.state.size
        return spans_of(self._source.parts(log, entity_type, start, size), start, size)

    def _snapshot(
        self, log: int, entity_type: str, size: int, rank: Codes
    ) -> tuple[Kept, list[Span]]:
        """The newest snapshot up to a size, made if it is due, and the events after it."""
        kept = self._newest(log, entity_type, size)
        parts = self._source.parts(log, entity_type, kept.state.size, size)
        is_old = any(at > size for at in self._source.snapshot_sizes(log, entity_type))
        while True:
            spans = spans_of(parts, kept.state.size, size)
            rows = len(kept.state.codes)
            is_near = _count(spans) < 2 * max(self._min_events, rows)
            due = max(self._min_events, rows // NEAR_SHARE if is_near else rows)
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

    def at_end(self, log: int, entity_type: str, size: int, rank: Codes) -> None:
        """Make those that are due up to a size, and one at the size if it saves anything."""
        with self._lock:
            kept, spans = self._snapshot(log, entity_type, size, rank)
            least = max(self._min_events, len(kept.state.codes)) // END_SHARE
            if _count(spans) > least and not kept.state.told.plain:
                self._keep(entity_type, Tail(kept.state, kept.finder, spans, rank).state(size))

    def holder(self, log: int, entity_type: str, size: int, base: Kept, events: int) -> Hold | None:
        """Takes the state at a size, folded from `base`, with so many events below it.

        None where that is not worth it: another copy of all rows, and the time to make it.
        """
        if base.state.size == size:
            return None
        with self._lock:
            name = log, entity_type, size
            is_again = name in self._sizes_asked
            self._sizes_asked[name] = None
            self._sizes_asked.move_to_end(name)
            if len(self._sizes_asked) > MAX_SIZES_ASKED:
                self._sizes_asked.popitem(last=False)
            epoch = self._epoch
        folded = events - base.state.told.events
        if not is_again and folded < max(self._min_events, len(base.state.codes) // NEAR_SHARE):
            return None
        began = base.base or _base(base)

        def hold(
            told: Told,
            codes: Codes,
            columns: Mapping[str, Column],
            keys: "Objects | pa.Array | None",
        ) -> None:
            # Whoever is at it just now may build for long: an answer does not wait for that.
            if not self._lock.acquire(blocking=False):
                return
            try:
                if epoch == self._epoch == self._source.epoch:
                    left = {n: c.tidy() for n, c in columns.items() if c.state.any()}
                    kept = Kept(LogState(log, size, told, codes, left), False, began)
                    kept.know_keys(keys)
                    self._hold((log, entity_type, size, True), kept)
            finally:
                self._lock.release()

        return hold

    def _get(self, log: int, entity_type: str, size: int) -> Kept | None:
        name = log, entity_type, size, False
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
        self._hold((log, entity_type, size, False), kept)
        return kept

    def _hold(self, name: tuple[int, str, int, bool], kept: Kept) -> None:
        self._held[name] = kept
        self._held.move_to_end(name)
        asked = [n for n in self._held if n[3]]
        on_disk = [n for n, k in self._held.items() if k.on_disk]
        others = [n for n, k in self._held.items() if not k.on_disk and not n[3]]
        limits = (asked, MAX_ASKED), (on_disk, MAX_IN_MEMORY), (others, MAX_ONLY_IN_MEMORY)
        for some, most in limits:
            for old in some[: max(0, len(some) - most)]:
                del self._held[old]
        self._let_go()

    def _let_go(self) -> None:
        while len(self._held) > 1 and self.bytes_held() > MAX_HELD_BYTES:
            self._held.popitem(last=False)


def _base(kept: Kept) -> Base:
    return Base(kept.state.size, kept.state.told.events, len(kept.state.codes))


def _count(spans: Sequence[Span]) -> int:
    return sum(span.hi - span.lo for span in spans)


def _index_of(spans: Sequence[Span], position: int) -> int | None:
    """The index in the log of the event at a position of the spans; None beyond their end."""
    for part, lo, hi, at in spans:
        if position < at + hi - lo:
            return part.start + int(part.offset[lo + position - at])
    return None

"""Events that match a query, at a cut, oldest or newest first.

What the query pins down is looked up in the store's indexes: recorded times become index ranges,
an event id, an entity or a key become look-ups. For everything else the read model's columns, where
there is one, say which entries may fit (`audit.replay.columnar.kept.search`). Without it the leaves
are walked through, and those that lack the bytes of what is asked for are not decoded. Every record
given out is judged by its leaf, whichever way it was found.
"""

import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice, takewhile
from typing import TYPE_CHECKING, NamedTuple

from audit.errors import InvalidInput
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.points import Cut, event_positions
from audit.replay.query import EARLIEST_US, LATEST_US, Payload, Query
from audit.replay.trusted import trusted_record
from audit.store.contract import Located, Reader

if TYPE_CHECKING:
    from audit.replay.columnar.kept.search import Columns, Found, Indexes

FIRST_WINDOW = 256
"""Entries of the first piece read when going backwards; each next piece is WINDOW_GROWTH larger.

So it is with a query that entries may not fit, or without a limit; else it is the limit.
"""
WINDOW_GROWTH = 4
MAX_WINDOW = 65_536
FIRST_FETCH = 64
"""Entries of the first piece read of those that the read model names, without a limit; it grows
likewise."""
MAX_FETCH = 4_096
DENSE = 4
"""Entries are read as one range when it is at most so many times as long as what is wanted."""
MILESTONE = 4_096
"""Where time is limited, one of so many entries is judged though it lacks the bytes: to see how far
the search is."""
LOOKED_AT_LEAST = 1_000
"""Records that are judged even when the time for a search is over."""
MAX_TYPES_FOR_KEY = 100
"""Up to so many entity types are asked for a key named without one."""

GetColumns = Callable[[Query], "Columns | None"]
"""Gives the read model, where it is to be asked; itself asked only when a query needs it."""

_Fetch = Callable[[int, int], Iterable[Located]]
"""Located entries with start <= index < stop, in order."""


class Counted(NamedTuple):
    """How many records match, and how many of them were decided without reading their leaf.

    `complete`: False when the time was over before: there are at least so many.
    """

    number: int
    by_columns: int
    complete: bool = True


class Within:
    """A time that a search may take, but LOOKED_AT_LEAST records are looked at however long that
    takes: what small ledgers answer does not hang on the clock. `last`: what it saw last.
    """

    def __init__(self, seconds: float) -> None:
        """It begins now."""
        self._until = time.monotonic() + seconds
        self._free = LOOKED_AT_LEAST
        self.last: Record | None = None
        self.is_over = False

    def __call__(self, record: Record) -> bool:
        """Whether this record is still to be judged."""
        if self._free > 0:
            self._free -= 1
        elif time.monotonic() > self._until:
            self.is_over = True
            return False
        self.last = record
        return True


def no_columns(_: Query) -> None:
    """There is no read model, or it is not to be asked."""
    return None


def events(
    reader: Reader,
    query: Query,
    cut: Cut,
    newest_first: bool = False,
    limit: int | None = None,
    since: Mapping[int, int] | None = None,
    below: Mapping[int, int] | None = None,
    columns: GetColumns = no_columns,
    scan: bool = False,
    within: Within | None = None,
) -> Iterator[Record]:
    """The records that match, ordered by recorded time, then log.

    `since`, `below`: log -> size; only what came after, or stands below, those sizes. `scan`: take
    no short cut: every entry that the store's indexes do not rule out is decoded and judged.
    `within`: end when its time is over.
    """
    search = _Search(reader, query, cut, newest_first, no_columns if scan else columns, scan)
    search.has_milestones = within is not None
    search.limit = limit
    streams = [
        search.of_log(log, *_bounds(reader, query, cut, log, since, below))
        for log in sorted(cut.sizes)
        if not query.leaves_out(log)
    ]
    if len(streams) == 1:
        records = streams[0]
    else:
        records = heapq.merge(*streams, key=_order, reverse=newest_first)
    if within is not None:
        records = takewhile(within, records)
    matching = filter(search.judge(), records)
    return matching if limit is None else islice(matching, limit)


def count_events(
    reader: Reader,
    query: Query,
    cut: Cut,
    columns: GetColumns = no_columns,
    scan: bool = False,
    within: Within | None = None,
) -> Counted:
    """How many records match. What the columns are sure of is counted without reading its leaf.

    So is, but with `scan`, what is all that applications said in a range of the log. `within`: see
    `Counted.complete`.
    """
    search = _Search(reader, query, cut, False, no_columns if scan else columns, scan)
    search.has_milestones = within is not None
    judge = search.judge()
    unread = judged = 0

    def fitting(records: Iterator[Record]) -> int:
        seen = records if within is None else takewhile(within, records)
        return sum(1 for _ in filter(judge, seen))

    for log in sorted(cut.sizes):
        if query.leaves_out(log) or (within is not None and within.is_over):
            continue
        start, stop = _bounds(reader, query, cut, log, None, None)
        if not scan and not query.narrows and query.hides_special and reader.complete:
            special = sum(1 for one in reader.special(log, stop) if one.index >= start)
            unread += max(0, stop - start) - special
            continue
        found = search.candidates(log, start, stop)
        if found is None:
            judged += fitting(search.of_log(log, start, stop))
            continue
        for piece in found:
            unread += int(piece.sure.sum())
            if within is None or not within.is_over:
                doubtful = search.read(log, iter([piece.indexes[~piece.sure]]))
                judged += fitting(search.records(log, doubtful))
    complete = within is None or not within.is_over
    return Counted(unread + judged, unread, complete)


class _Search:
    """How the entries that may match are found and read."""

    def __init__(
        self,
        reader: Reader,
        query: Query,
        cut: Cut,
        newest_first: bool,
        columns: GetColumns,
        scan: bool,
    ) -> None:
        self._reader = reader
        self._query = query
        self._newest_first = newest_first
        self._columns = columns
        self._marks = () if scan else query.marks()
        self._decode = partial(_payload, Books(reader, cut))
        self.has_milestones = False
        self.limit: int | None = None
        """So many are wanted: to read more at first would be for nothing."""

    def judge(self) -> Callable[[Record], bool]:
        return partial(self._query.matches, decode=self._decode)

    def of_log(self, log: int, start: int, stop: int) -> Iterator[Record]:
        """The records of a log that may match, in the order asked for."""
        if start >= stop:
            return
        few = _few(self._reader, self._query, log, start, stop)
        if few is not None:
            located: Iterable[Located] = reversed(list(few)) if self._newest_first else few
            yield from self.records(log, located)
            return
        found = self._by_columns(log, start, stop)
        if found is not None:
            yield from self.records(log, self.read(log, (piece.indexes for piece in found)))
            return
        fetch = _many(self._reader, self._query, log)
        width = FIRST_WINDOW if self.limit is None else min(max(1, self.limit), MAX_WINDOW)
        if self._query.narrows:
            width = max(width, FIRST_WINDOW)
        backwards = self._newest_first
        located = _backwards(fetch, start, stop, width) if backwards else fetch(start, stop)
        yield from self.records(log, self._marked(located))

    def candidates(self, log: int, start: int, stop: int) -> "Iterator[Found] | None":
        """What the columns say about a log; None when its entries are found without them."""
        query = self._query
        if start >= stop or query.only_special or not query.wanted.keys().isdisjoint(("id", "key")):
            return None
        return self._by_columns(log, start, stop)

    def _by_columns(self, log: int, start: int, stop: int) -> "Iterator[Found] | None":
        columns = self._columns(self._query) if self._query.narrows else None
        if columns is None:
            return None
        from audit.replay.columnar.kept.search import found_in

        return found_in(columns, log, self._query, start, stop, self._newest_first)

    def records(self, log: int, located: Iterable[Located]) -> Iterator[Record]:
        for index, leaf in located:
            yield trusted_record(log, index, leaf)

    def read(self, log: int, found: "Iterator[Indexes]") -> Iterator[Located]:
        """The leaves at these indexes, in their order; few at first, as few may be asked for."""
        width = FIRST_FETCH if self.limit is None else min(max(1, self.limit), MAX_FETCH)
        for indexes in found:
            at = 0
            while at < len(indexes):
                piece = [int(index) for index in indexes[at : at + width]]
                at += width
                width = min(width * WINDOW_GROWTH, MAX_FETCH)
                located = self._at(log, sorted(piece))
                yield from reversed(list(located)) if self._newest_first else located

    def _at(self, log: int, indexes: list[int]) -> Iterator[Located]:
        first, stop = indexes[0], indexes[-1] + 1
        if stop - first > DENSE * len(indexes):
            return self._reader.leaves_at(log, indexes)
        wanted = frozenset(indexes)
        return (one for one in self._reader.leaves(log, first, stop) if one.index in wanted)

    def _marked(self, located: Iterable[Located]) -> Iterable[Located]:
        """Without the leaves that lack the bytes of what is asked for."""
        if self._marks and self.has_milestones:
            return (
                one
                for number, one in enumerate(located, 1)
                if number % MILESTONE == 0 or all(_holds(some, one) for some in self._marks)
            )
        for alternatives in self._marks:
            located = filter(partial(_holds, alternatives), located)
        return located


def _holds(alternatives: tuple[bytes, ...], located: Located) -> bool:
    leaf = located[1]
    if type(leaf) is not bytes:
        return True  # a store that was tampered with: decoding it says what is wrong
    return any(mark in leaf for mark in alternatives)


def _order(record: Record) -> tuple[int, int]:
    return record.entry.recorded_time_us, record.log


def _payload(books: Books, record: Record) -> Payload | None:
    try:
        return books.decode(record)
    except InvalidInput:
        return None


def _bounds(
    reader: Reader,
    query: Query,
    cut: Cut,
    log: int,
    since: Mapping[int, int] | None,
    below: Mapping[int, int] | None,
) -> tuple[int, int]:
    """start and stop index of what can match in a log."""
    start = 0 if since is None else since.get(log, 0)
    stop = cut.size(log) if below is None else min(cut.size(log), below.get(log, 0))
    span = query.recorded
    if span.first_us > EARLIEST_US:
        start = max(start, reader.size_at(log, span.first_us - 1))
    if span.last_us < LATEST_US:
        stop = min(stop, reader.size_at(log, span.last_us))
    return start, stop


def _few(reader: Reader, query: Query, log: int, start: int, stop: int) -> Iterator[Located] | None:
    """What the query names so closely that it is little; None when it does not."""
    ids = query.wanted.get("id")
    if ids is not None:
        places = {place for wanted in ids for place in event_positions(reader, wanted)}
        indexes = sorted(index for found, index in places if found == log and start <= index < stop)
        return (Located(index, reader.leaf(log, index)) for index in indexes)
    if query.only_special:
        return (found for found in reader.special(log, stop) if found.index >= start)
    keys = query.wanted.get("key")
    if keys is not None:
        types = query.wanted.get("entity") or reader.entity_types(log, stop)
        if len(types) * len(keys) <= MAX_TYPES_FOR_KEY:
            parts = [reader.entity(log, t, key, stop, start) for t in types for key in keys]
            return heapq.merge(*parts)
    return None


def _many(reader: Reader, query: Query, log: int) -> _Fetch:
    types = query.wanted.get("entity")
    if types is None or len(types) != 1:
        return partial(reader.leaves, log)
    return partial(_entity_range, reader, log, next(iter(types)))


def _entity_range(
    reader: Reader, log: int, entity_type: str, start: int, stop: int
) -> Iterator[Located]:
    return reader.entity(log, entity_type, None, stop, start)


def _backwards(fetch: _Fetch, start: int, stop: int, width: int) -> Iterator[Located]:
    """The same entries from the last to the first, in pieces that grow: few may be asked for."""
    while stop > start:
        first = max(start, stop - width)
        yield from reversed(list(fetch(first, stop)))
        stop = first
        width = min(width * WINDOW_GROWTH, MAX_WINDOW)

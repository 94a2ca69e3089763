"""Events that match a query, at a cut, oldest or newest first.

What the query pins down is looked up in the store's indexes: recorded times become index ranges,
an event id, an entity or a key become look-ups. Everything read is judged by its leaf.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice

from audit.errors import InvalidInput
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.points import Cut, event_positions
from audit.replay.query import EARLIEST_US, LATEST_US, Payload, Query
from audit.replay.trusted import trusted_record
from audit.store.contract import Located, Reader

FIRST_WINDOW = 256
"""Entries of the first piece read when going backwards; each next piece is WINDOW_GROWTH larger."""
WINDOW_GROWTH = 4
MAX_WINDOW = 65_536
MAX_TYPES_FOR_KEY = 100
"""Up to so many entity types are asked for a key named without one."""

_Fetch = Callable[[int, int], Iterable[Located]]
"""Located entries with start <= index < stop, in order."""


def events(
    reader: Reader,
    query: Query,
    cut: Cut,
    newest_first: bool = False,
    limit: int | None = None,
    since: Mapping[int, int] | None = None,
) -> Iterator[Record]:
    """The records that match, ordered by recorded time, then log.

    `since`: log -> size; only what came after those sizes (for following a log).
    """
    books = Books(reader, cut)
    decode = partial(_payload, books)
    streams = [
        _of_log(reader, query, log, *_bounds(reader, query, cut, log, since), newest_first)
        for log in sorted(cut.sizes)
        if query.logs is None or log in query.logs
    ]
    if len(streams) == 1:
        records = streams[0]
    else:
        records = heapq.merge(*streams, key=_order, reverse=newest_first)
    matching = (record for record in records if query.matches(record, decode))
    return matching if limit is None else islice(matching, limit)


def _order(record: Record) -> tuple[int, int]:
    return record.entry.recorded_time_us, record.log


def _payload(books: Books, record: Record) -> Payload | None:
    try:
        return books.decode(record)
    except InvalidInput:
        return None


def _bounds(
    reader: Reader, query: Query, cut: Cut, log: int, since: Mapping[int, int] | None
) -> tuple[int, int]:
    """start and stop index of what can match in a log."""
    start = 0 if since is None else since.get(log, 0)
    stop = cut.size(log)
    span = query.recorded
    if span.first_us > EARLIEST_US:
        start = max(start, reader.size_at(log, span.first_us - 1))
    if span.last_us < LATEST_US:
        stop = min(stop, reader.size_at(log, span.last_us))
    return start, stop


def _of_log(
    reader: Reader, query: Query, log: int, start: int, stop: int, newest_first: bool
) -> Iterator[Record]:
    if start >= stop:
        return
    few = _few(reader, query, log, start, stop)
    if few is not None:
        located: Iterable[Located] = reversed(list(few)) if newest_first else few
    else:
        fetch = _many(reader, query, log)
        located = _backwards(fetch, start, stop) if newest_first else fetch(start, stop)
    for index, leaf in located:
        yield trusted_record(log, index, leaf)


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


def _backwards(fetch: _Fetch, start: int, stop: int) -> Iterator[Located]:
    """The same entries from the last to the first, in pieces that grow: few may be asked for."""
    width = FIRST_WINDOW
    while stop > start:
        first = max(start, stop - width)
        yield from reversed(list(fetch(first, stop)))
        stop = first
        width = min(width * WINDOW_GROWTH, MAX_WINDOW)

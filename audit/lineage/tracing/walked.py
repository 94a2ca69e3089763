"""Walking through the predictions of a ledger: all of them, or a stretch of the log at a time."""

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from audit.errors import StoreCorrupt
from audit.lineage.recorded.predictions import PREDICTION_ENTITY
from audit.lineage.tracing.graph import LookedThrough
from audit.lineage.tracing.trace_records import PredictionEntry
from audit.lineage.tracing.trace_up import read_entry
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.points import Cut
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

FIRST_STRETCH = 1_024
"""Entries of a log that are looked at first; each next stretch is STRETCH_GROWTH times longer."""
STRETCH_GROWTH = 4


class Part(NamedTuple):
    """At most `most` predictions, recorded after a time; None: since what they may come from."""

    after_us: int | None
    most: int


def all_predictions(reader: Reader, cut: Cut) -> Iterator[PredictionEntry]:
    """All predictions below the cut, log by log."""
    books = Books(reader, cut)
    for log, size in cut.sizes.items():
        if size:
            for record in _between(reader, log, 0, size):
                entry = read_entry(books, record)
                if entry is not None:
                    yield entry


def some_predictions(
    reader: Reader, cut: Cut, keys: Sequence[str], after_us: int, most: int
) -> tuple[list[PredictionEntry], LookedThrough]:
    """The predictions about these keys, and those of a stretch of the log, `most` of each.

    Of the logs together, in the order of being recorded; what was recorded in the same microsecond
    as the last of them is in it, so that the next stretch begins after it.
    """
    books = Books(reader, cut)
    own = {
        (record.log, record.index): record
        for key in keys
        for log, size in cut.sizes.items()
        if size
        for record in islice(_of_key(reader, log, key, size), most)
    }
    streams = [
        _stretches(reader, log, reader.size_at(log, after_us), size)
        for log, size in cut.sizes.items()
    ]
    along: list[Record] = []
    until_us = None
    for record in heapq.merge(*streams, key=lambda one: (one.recorded_time_us, one.log)):
        if len(along) >= most and record.recorded_time_us > along[-1].recorded_time_us:
            until_us = along[-1].recorded_time_us
            break
        along.append(record)
    records = {**own, **{(one.log, one.index): one for one in along}}
    found = [read_entry(books, records[position]) for position in sorted(records)]
    entries = [entry for entry in found if entry is not None]
    return entries, LookedThrough(len(entries), after_us, until_us)


def _stretches(reader: Reader, log: int, start: int, stop: int) -> Iterator[Record]:
    width = FIRST_STRETCH
    while start < stop:
        yield from _between(reader, log, start, min(stop, start + width))
        start += width
        width *= STRETCH_GROWTH


def _of_key(reader: Reader, log: int, key: str, stop: int) -> Iterator[Record]:
    for index, leaf in reader.entity(log, PREDICTION_ENTITY, key, stop):
        yield _checked(trusted_record(log, index, leaf))


def _between(reader: Reader, log: int, start: int, stop: int) -> Iterator[Record]:
    for index, leaf in reader.entity(log, PREDICTION_ENTITY, None, stop, start):
        yield _checked(trusted_record(log, index, leaf))


def _checked(record: Record) -> Record:
    event = record.event
    if event is None or event.entity_type != PREDICTION_ENTITY:
        raise StoreCorrupt(
            f"entry {record.log}/{record.index} is about something else than the index says; "
            "run audit verify"
        )
    return record

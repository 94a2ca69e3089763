"""Which entries a query can fit, told by columns: a comparison of codes instead of a decoding.

Nothing here is believed for a hit: of every entry the answer is "no", "yes" or "perhaps", and
whoever lists entries reads the leaf of all but the "no", and judges that. What the columns cannot
tell (a key, an event id, a field of what is no change of a row) is "perhaps". A "no" is believed,
as is a "yes" that is only counted: the read model was verified when it was opened, and the plain
path (`audit log --scan`) needs none.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from audit.errors import AuditError
from audit.replay.columnar.parts import (
    Bools,
    Coded,
    DatasetPart,
    EventsPart,
    Ordinals,
    Sort,
    Times,
)
from audit.replay.fold import DATA_PREFIX
from audit.replay.query import EARLIEST_US, LATEST_US, Query, Span

Indexes = npt.NDArray[np.uint64]

GAP_ENTRIES = 4_096
"""Entries that no part covers are given out, as "perhaps", so many at a time."""

_SORTS = {
    "event": Sort.EVENT,
    "schema": Sort.SCHEMA,
    "control": Sort.CONTROL,
    "quarantined": Sort.QUARANTINED,
}


FIRST_STRETCH = 16_384
"""Entries that are judged at first; each next stretch is STRETCH_GROWTH times longer."""
STRETCH_GROWTH = 16
MAX_STRETCH = 4_194_304


class Columns(Protocol):
    """The read model as searching sees it. Parts are in order, do not overlap, and may begin before
    what is asked for and end after it. What no part covers is not left out of the answer.
    """

    def events_parts(self, log: int, size: int, start: int = 0) -> Sequence[EventsPart]:
        """The parts that hold entries in [start, size)."""
        ...

    def parts(self, log: int, entity_type: str, start: int, stop: int) -> Sequence[DatasetPart]:
        """The parts of a dataset that hold entries in [start, stop)."""
        ...


class Found(NamedTuple):
    """Entries that may fit: `indexes` uint64[n] in the order asked for, and `sure` bool[n]."""

    indexes: Indexes
    sure: Bools


class _Verdict(NamedTuple):
    """Of each entry of a part: may it fit, and does it surely; `sure` implies `may`."""

    may: Bools
    sure: Bools


Datasets = Callable[[str], Sequence[DatasetPart]]
"""Gives the parts of a dataset in the log that is searched."""


def found_in(
    columns: Columns, log: int, query: Query, start: int, stop: int, newest_first: bool
) -> Iterator[Found]:
    """What may fit in the entries [start, stop) of a log, stretch by stretch as it is asked for."""
    width = FIRST_STRETCH
    while start < stop:
        low, high = start, stop
        if newest_first:
            low = max(start, stop - width)
        else:
            high = min(stop, start + width)
        parts = _parts(columns, log, low, high)

        @cache
        def datasets(entity_type: str, low: int = low, high: int = high) -> Sequence[DatasetPart]:
            return columns.parts(log, entity_type, low, high)

        yield from matching(parts, query, low, high, newest_first, datasets)
        start, stop = (start, low) if newest_first else (high, stop)
        width = min(width * STRETCH_GROWTH, MAX_STRETCH)


def _parts(columns: Columns, log: int, start: int, stop: int) -> Sequence[EventsPart]:
    try:
        return columns.events_parts(log, stop, start)
    except AuditError:
        return ()  # a read model that cannot be built here: the leaves tell, or say what is wrong


def matching(
    parts: Sequence[EventsPart],
    query: Query,
    start: int,
    stop: int,
    newest_first: bool = False,
    datasets: Datasets = lambda _: (),
) -> Iterator[Found]:
    """The entries of [start, stop) that a query may fit, in order, a part at a time.

    `parts`: of one log. What they leave out comes as "perhaps": it is never skipped.
    """
    pieces: Iterable[EventsPart | range] = _pieces(parts, start, stop, newest_first)
    for piece in pieces:
        if isinstance(piece, range):
            indexes = np.arange(piece.start, piece.stop, dtype=np.uint64)
            sure = np.zeros(len(indexes), np.bool_)
        else:
            asked = _between(piece, start, stop)
            may, all_sure = _judge(asked, query, datasets)
            at = np.flatnonzero(may)
            indexes = at.astype(np.uint64) + np.uint64(asked.start)
            sure = all_sure[at]
        if len(indexes):
            yield Found(indexes[::-1], sure[::-1]) if newest_first else Found(indexes, sure)


def _pieces(
    parts: Sequence[EventsPart], start: int, stop: int, newest_first: bool
) -> Iterator[EventsPart | range]:
    """The parts that touch [start, stop), and the gaps between them, from the side asked for."""
    if newest_first:
        at = stop
        for part in reversed(parts):
            if part.start >= at:
                continue
            yield from reversed(list(_gap(max(start, part.stop), at)))
            if part.stop > start:
                yield part
            at = max(start, min(at, part.start))
            if at <= start:
                return
        yield from reversed(list(_gap(start, at)))
        return
    at = start
    for part in parts:
        if part.stop <= at:
            continue
        yield from _gap(at, min(part.start, stop))
        if part.start >= stop:
            return
        yield part
        at = part.stop
    yield from _gap(at, stop)


def _between(part: EventsPart, start: int, stop: int) -> EventsPart:
    """The entries of a part in [start, stop), as views of its columns."""
    start, stop = max(part.start, start), min(part.stop, stop)
    if (start, stop) == (part.start, part.stop):
        return part
    own = slice(start - part.start, stop - part.start)
    return part._replace(
        start=start,
        stop=stop,
        recorded_us=part.recorded_us[own],
        valid_us=part.valid_us[own],
        sort=part.sort[own],
        type=_coded_between(part.type, own),
        entity_type=_coded_between(part.entity_type, own),
        source=_coded_between(part.source, own),
        actor=_coded_between(part.actor, own),
        transaction_id=_coded_between(part.transaction_id, own),
        reason=_coded_between(part.reason, own),
    )


def _coded_between(column: Coded, own: slice) -> Coded:
    return Coded(column.codes[own], column.texts)


def _gap(start: int, stop: int) -> Iterator[range]:
    for at in range(start, stop, GAP_ENTRIES):
        yield range(at, min(at + GAP_ENTRIES, stop))


def _judge(part: EventsPart, query: Query, datasets: Datasets) -> _Verdict:
    count = part.stop - part.start
    may = np.ones(count, np.bool_)
    if query.hides_special:
        may &= part.sort == Sort.EVENT
    for name, span in query.spans:
        may &= _inside(part, name, span)
    for name, span in query.unwanted_spans:
        may &= ~_inside(part, name, span)
    sure = may.copy()
    for name, values in query.wanted.items():
        if not may.any():
            break
        fits = _term(part, name, values, datasets, query)
        may &= fits.may
        sure &= fits.sure
    for name, values in query.unwanted.items():
        if not may.any():
            break
        fits = _term(part, name, values, datasets, query)
        may &= ~fits.sure
        sure &= ~fits.may
    return _Verdict(may, sure)


def _inside(part: EventsPart, name: str, span: Span) -> Bools:
    times: Times = part.recorded_us if name == "recorded" else part.valid_us
    first = max(span.first_us, EARLIEST_US)
    last = min(span.last_us, LATEST_US)
    return (times >= first) & (times <= last)


def _term(
    part: EventsPart, name: str, values: frozenset[str], datasets: Datasets, query: Query
) -> _Verdict:
    """One qualifier with its alternatives, over all entries of a part."""
    said = part.sort != Sort.QUARANTINED
    if name == "kind":
        return _certain(np.isin(part.sort, [_SORTS[value] for value in values]))
    if name == "log":
        return _certain(np.full(len(said), str(part.log) in values))
    if name == "field":
        return _fields(part, values, datasets, query)
    if name == "reason":
        return _reason(part, values, said)
    if name == "op":
        types = frozenset(DATA_PREFIX + value for value in values)
        return _certain(_among(part.type, types) & said)
    if name == "has":
        present = [_column(part, value) for value in values]
        codes = [column.codes for column in present if column is not None]
        return _certain(np.any([one >= 0 for one in codes], axis=0) & said)
    column = _column(part, name)
    if column is None:  # a key, an id: the leaf tells
        return _Verdict(said, np.zeros(len(said), np.bool_))
    return _certain(_among(column, values) & said)


def _column(part: EventsPart, name: str) -> Coded | None:
    return {
        "actor": part.actor,
        "entity": part.entity_type,
        "reason": part.reason,
        "source": part.source,
        "transaction": part.transaction_id,
        "type": part.type,
    }.get(name)


def _certain(fits: Bools) -> _Verdict:
    return _Verdict(fits, fits)


def _among(column: Coded, values: frozenset[str]) -> Bools:
    """Where a column has one of these texts."""
    wanted = [code for value in values for code in _codes(column.texts, value)]
    if not wanted:
        return np.zeros(len(column.codes), np.bool_)
    if len(wanted) == 1:
        only: Bools = column.codes == wanted[0]
        return only
    # One place more: NO_CODE is -1, the last of them.
    fits = np.zeros(len(column.texts) + 1, np.bool_)
    fits[wanted] = True
    found: Bools = fits[column.codes]
    return found


def _codes(texts: Sequence[bytes], value: str) -> Iterator[int]:
    """Where a text stands; a part that spells it twice must not hide the second."""
    spelled = value.encode(errors="surrogatepass")
    at = -1
    while True:
        try:
            at = texts.index(spelled, at + 1)
        except ValueError:
            return
        yield at


def _reason(part: EventsPart, values: frozenset[str], said: Bools) -> _Verdict:
    """An event's reason; what is quarantined has another kind of reason, and is rare."""
    events = _among(part.reason, values) & said
    return _Verdict(events | ~said, events)


def _fields(part: EventsPart, values: frozenset[str], datasets: Datasets, query: Query) -> _Verdict:
    """Events that set a field: known of changes of rows, of everything else the leaf tells."""
    may = part.sort != Sort.QUARANTINED
    sure = np.zeros(len(may), np.bool_)
    for entity_type in _datasets_in(part, query):
        for piece in _changes(datasets, entity_type):
            if piece.stop <= part.start or piece.start >= part.stop or piece.log != part.log:
                continue
            own = _range(piece.offset, part.start - piece.start, part.stop - piece.start)
            at = piece.offset[own].astype(np.int64) + (piece.start - part.start)
            may[at] = False
            for value in values:
                cells = piece.fields.get(value)
                if cells is not None:
                    set_by = cells.at[_range(cells.at, own.start, own.stop)]
                    hit = at[set_by.astype(np.int64) - own.start]
                    may[hit] = sure[hit] = True
            doubtful = _doubtful(piece, own)
            if doubtful is not None:
                may[at[doubtful]] = True
                sure[at[doubtful]] = False
    return _Verdict(may, sure & may)


def _range(rising: Ordinals, start: int, stop: int) -> slice:
    """Where the numbers of [start, stop) stand among rising ones."""
    most = np.iinfo(rising.dtype).max
    # Bounds of another type would have all the numbers converted first.
    bounds = np.clip((start, stop), 0, most).astype(rising.dtype)
    first, last = np.searchsorted(rising, bounds)
    return slice(int(first), int(last))


def _changes(datasets: Datasets, entity_type: str) -> Sequence[DatasetPart]:
    try:
        return datasets(entity_type)
    except AuditError:
        return ()


def _datasets_in(part: EventsPart, query: Query) -> list[str]:
    """What a part has entries of, and the query does not exclude: datasets, and perhaps others."""
    texts = part.entity_type.texts
    seen = np.zeros(len(texts) + 1, np.bool_)
    seen[part.entity_type.codes] = True
    codes = np.flatnonzero(seen[:-1])
    wanted = query.wanted.get("entity")
    names = [texts[code].decode(errors="replace") for code in codes.tolist()]
    return [name for name in names if wanted is None or name in wanted]


def _doubtful(piece: DatasetPart, own: slice) -> Bools | None:
    """Which of these events have fields that the part may not know in full: unread ones, and those
    folded plainly. None where it knows all of them.
    """
    unread = piece.unread[own]
    if piece.plain_from is None and not len(piece.careful):
        return unread if unread.any() else None
    doubtful = unread.copy()
    ordinals, key = np.arange(own.start, own.stop), piece.key[own]
    if piece.plain_from is not None:
        doubtful |= ordinals >= piece.plain_from
    if len(piece.careful):
        never = piece.events
        codes = 1 + max(int(piece.careful.max()), int(key.max(initial=-1)))
        first = np.full(codes, never, np.int64)
        np.minimum.at(first, piece.careful, piece.careful_from.astype(np.int64))
        keyed = key >= 0
        doubtful[keyed] |= ordinals[keyed] >= first[key[keyed]]
    return doubtful

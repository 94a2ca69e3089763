"""One row or record at a point with its newest versions, read once: what a page about it shows.

The row, who gave its fields their values, and the versions all come from one reading of the entries
of its key. What is recorded after the point is not decoded but for its envelope: it is there to be
counted, and to be reached. Of a row of very many versions only those shown are read.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from audit.errors import InvalidInput, StoreCorrupt
from audit.log.entry import Kind
from audit.replay.blame import Blame, blame_of
from audit.replay.fold import DATA_PREFIX, OPS, Judged, Position, Row, superseded
from audit.replay.history import Version, history, moves_of, version_of
from audit.replay.known import require_recorded
from audit.replay.many_versions import LongRow, Mark, long_row
from audit.replay.points import Cut
from audit.replay.refs import Ref
from audit.replay.steps import Steps
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

_PLACE = re.compile(r"(0|[1-9][0-9]{0,18})/(0|[1-9][0-9]{0,18})")


class Thing(NamedTuple):
    """A row or record at a point. `row` and `blame` are None for what is no row.

    `versions`: some of those by the point, newest first; `older`: the token of those before them.
    `marks`: every version, those by the point and then those after it, each oldest first; `shown`:
    how many of them are by the point.
    """

    row: Row | None
    blame: Blame | None
    versions: list[Version]
    older: str | None
    marks: Sequence[Mark]
    shown: int


def thing(
    reader: Reader,
    ref: Ref,
    cut: Cut,
    valid_at_us: int | None,
    limit: int,
    before: str | None = None,
) -> Thing:
    """A thing as known at the cut, and at most `limit` of its versions.

    `before`: the token that came with the newer versions. As `history` and `blame` tell them at
    the cut; raises NotFound for what was never recorded, InvalidInput for a token that is none.
    """
    # Not in one transaction: to the read model, which others bring up to what is written meanwhile,
    # a log that seems to have fewer entries than before is another log.
    long = long_row(reader, ref, cut, valid_at_us) if ref.is_row else None
    if long is not None:
        return _long(long, limit, before)
    with reader.steady():
        if ref.is_row:
            return _row(reader, ref, cut, valid_at_us, limit, before)
        return _record(reader, ref, cut, limit, before)


def _long(long: LongRow, limit: int, before: str | None) -> Thing:
    at = None if before is None else long.place_of(_place(before))
    first, stop = _window(long.shown, limit, before, at)
    versions = long.versions(first, stop)[::-1]
    return Thing(long.row, long.blame, versions, _token(versions, first), long.marks, long.shown)


def _row(
    reader: Reader, ref: Ref, cut: Cut, valid_at_us: int | None, limit: int, before: str | None
) -> Thing:
    found = Steps(reader, ref.entity_type, cut).of_key(ref.entity_key)
    row, blamed = blame_of(found, valid_at_us)
    moves = list(moves_of(found))
    marks = [_mark(move) for move in moves]
    later = _later(reader, ref, cut)
    if not moves and not later:
        require_recorded(reader, ref)
    gone = superseded(found)
    first, stop = _window_in([mark.position for mark in marks], limit, before)
    versions = [version_of(move, gone) for move in reversed(moves[first:stop])]
    return Thing(row, blamed, versions, _token(versions, first), marks + later, len(marks))


def _record(reader: Reader, ref: Ref, cut: Cut, limit: int, before: str | None) -> Thing:
    """A record's versions are few: a run has its start and its end."""
    every = history(reader, ref, _head(reader, cut))
    by_then = history(reader, ref, cut)  # not out of `every`: later ones may take some of them out
    first, stop = _window_in([(one.log, one.index) for one in by_then], limit, before)
    versions = by_then[first:stop][::-1]
    later = [one for one in every if not cut.holds((one.log, one.index))]
    marks = [Mark((o.log, o.index), o.recorded_time_us, o.op) for o in by_then + later]
    return Thing(None, None, versions, _token(versions, first), marks, len(by_then))


def _window_in(places: Sequence[Position], limit: int, before: str | None) -> tuple[int, int]:
    """Which of the versions at these places are to be shown. Raises InvalidInput."""
    place = None if before is None else _place(before)
    at = places.index(place) if place in places else None
    return _window(len(places), limit, before, at)


def _window(count: int, limit: int, before: str | None, at: int | None) -> tuple[int, int]:
    """Which of so many versions are to be shown: those before number `at`, else the newest ones."""
    if before is not None and at is None:
        raise InvalidInput("before= names no version of this by this point")
    stop = count if at is None else at
    return max(0, stop - limit), stop


def _place(token: str) -> Position:
    """What a token names; one that is none names no entry."""
    told = _PLACE.fullmatch(token)
    return (int(told[1]), int(told[2])) if told else (-1, -1)


def _token(versions: Sequence[Version], first: int) -> str | None:
    """The oldest version shown, as LOG/INDEX; None where there are none before it."""
    return f"{versions[-1].log}/{versions[-1].index}" if first and versions else None


def _mark(move: Judged) -> Mark:
    step = move.step
    return Mark(step.position, step.recorded_time_us, step.op or "")


def _head(reader: Reader, cut: Cut) -> Cut:
    return cut._replace(sizes=reader.sizes(), position=None)


def _later(reader: Reader, ref: Ref, cut: Cut) -> list[Mark]:
    """The versions of a row after the cut, in recorded order; their payloads are not read."""
    sizes = reader.sizes()
    found: list[Mark] = []
    for log, size in sizes.items():
        start = cut.size(log)
        if start >= size:
            continue
        if any(one.index >= start for one in reader.keyless(log, ref.entity_type, size)):
            return _folded_later(reader, ref, cut)
        for index, leaf in reader.entity(log, ref.entity_type, ref.entity_key, size, start):
            record = trusted_record(log, index, leaf)
            event = record.event
            if event is None or (event.entity_type, event.entity_key) != tuple(ref):
                raise StoreCorrupt(
                    f"entry {log}/{index} is about something else than the index says; "
                    "run audit verify"
                )
            op = event.type.removeprefix(DATA_PREFIX)
            if record.entry.kind is Kind.EVENT and op != event.type and op in OPS:
                if op == "truncate":  # of one key: no emitter writes it, but anybody can
                    return _folded_later(reader, ref, cut)
                found.append(Mark((log, index), record.recorded_time_us, op))
    return sorted(found, key=lambda mark: (mark.recorded_time_us, mark.position[0]))


def _folded_later(reader: Reader, ref: Ref, cut: Cut) -> list[Mark]:
    """Whether a truncate concerns a row is known only from what is folded before it."""
    steps = Steps(reader, ref.entity_type, _head(reader, cut)).of_key(ref.entity_key)
    return [_mark(one) for one in moves_of(steps) if not cut.holds(one.step.position)]

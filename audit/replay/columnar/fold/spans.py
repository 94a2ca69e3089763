"""The events of a dataset after a size, part by part: what they tell, and where their cells are."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audit.replay.columnar.fold.state import Told
from audit.replay.columnar.parts import NO_CODE, Cells, DatasetPart
from audit.replay.columnar.scatter import Ints, Ranks

Bools = npt.NDArray[np.bool_]

FEW_EVENTS = 16
"""Up to this share of some cells events are looked up singly: most cells are then not looked at."""


class Span(NamedTuple):
    """The events [lo, hi) of a part; the first has position `at` in the tail."""

    part: DatasetPart
    lo: int
    hi: int
    at: int


def below(numbers: npt.NDArray[np.uint32], bound: int) -> int:
    """How many of some ascending numbers are below a bound (below 2**32)."""
    # In their own type: numpy would turn all of them into that of a Python int first.
    return int(np.searchsorted(numbers, np.uint32(bound)))


def spans_of(parts: Sequence[DatasetPart], start: int, stop: int) -> list[Span]:
    """The events of the parts that are in [start, stop); a part may have none there."""
    spans = []
    at = 0
    for part in parts:
        if part.stop <= start or part.start >= stop:
            continue
        lo, hi = (
            below(part.offset, max(0, min(size, part.stop) - part.start)) for size in (start, stop)
        )
        spans.append(Span(part, lo, hi, at))
        at += hi - lo
    return spans


def told_after(before: Told, spans: Sequence[Span]) -> Told:
    """What is told below the end of the spans, from what was told below their start."""
    fields, careful, unread = set(before.fields), set(before.careful), list(before.unread)
    events, keys, plain = before.events, before.keys, before.plain
    valid_to_us, in_order = before.valid_to_us, before.in_order
    for part, lo, hi, _ in spans:
        events += hi - lo
        # What was mentioned below the spans is told already, so the first mention says it all.
        fields.update(name for name, first in part.first.items() if first < hi)
        # Up to `hi` itself: what needs care may be no data event, with no ordinal of its own.
        here = (part.careful_from >= lo) & (part.careful_from <= hi)
        careful.update(part.careful[here].tolist())
        plain = plain or (part.plain_from is not None and part.plain_from <= hi)
        for ordinal in (np.flatnonzero(part.unread[lo:hi]) + lo).tolist():
            code = int(part.key[ordinal])
            if code == NO_CODE:
                unread.append(part.start + int(part.offset[ordinal]))
            else:
                careful.add(code)
        if lo < hi:
            keys = max(keys, int(part.key[lo:hi].max()) + 1)
            valid = part.valid_us[lo:hi]
            ascending = valid[0] >= valid_to_us and (valid[1:] >= valid[:-1]).all()
            in_order = in_order and bool(ascending)
            valid_to_us = max(valid_to_us, int(valid.max()))
    # A part may go on after `hi` by now, with keys that nobody has a place for yet.
    seen = frozenset(code for code in careful if code < keys)
    told = frozenset(fields), seen, tuple(unread)
    return Told(events, keys, *told, plain, valid_to_us, in_order)


class Events:
    """Some events of the spans of a tail. `position`: ascending, among all events of the spans;
    `number`: among those that the tail folds; None: these are those.
    """

    def __init__(self, position: Ints, number: Ints | None) -> None:
        """What finds them among cells is made once for each span."""
        self.position = position
        self._number = number
        self._tables: dict[int, tuple[Bools, Ranks]] = {}

    def among(self, span: Span, cells: Cells) -> tuple[Ints, Ranks]:
        """Which cells of a span they set, and the numbers of their events."""
        begin, end = np.searchsorted(self.position, (span.at, span.at + span.hi - span.lo))
        position = self.position[begin:end]
        shift = span.at - span.lo
        if len(position) * FEW_EVENTS > len(cells.at):
            first, last = below(cells.at, span.lo), below(cells.at, span.hi)
            keep, number_of = self._table(span, position - span.at)
            event = cells.at[first:last] - np.uint32(span.lo)
            here = np.flatnonzero(keep[event])
            found = number_of[event[here]]
            here += first
        else:
            # Few are looked for: most cells are not looked at.
            ordinal = (position - shift).astype(np.uint32)
            at = np.minimum(np.searchsorted(cells.at, ordinal), max(0, len(cells.at) - 1))
            found = np.flatnonzero(cells.at[at] == ordinal) if len(cells.at) else at[:0]
            here = at[found]
        number = found + begin
        return here, (number if self._number is None else self._number[number]).astype(np.int32)

    def _table(self, span: Span, event: Ints) -> tuple[Bools, Ranks]:
        """For each event of a span whether it is one of these, and which."""
        made = self._tables.get(span.part.start)
        if made is None:
            keep = np.zeros(span.hi - span.lo, np.bool_)
            keep[event] = True
            number = np.cumsum(keep, dtype=np.int32) - np.int32(1)
            made = self._tables[span.part.start] = keep, number
        return made

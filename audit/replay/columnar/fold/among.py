"""Some keys of a dataset from the read model: what a difference needs, whatever else there is.

The events after the newest snapshot before the earlier cut are looked through for the keys; the
rest costs what these keys cost. Of a key that is in several logs all of them are looked at.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.replay.columnar.fold.fast import MAX_CAREFUL, FastDataset, careful_keys
from audit.replay.columnar.fold.folded import Folded, LogFold
from audit.replay.columnar.fold.ranks import Ranks
from audit.replay.columnar.fold.snapshots import Kept
from audit.replay.columnar.fold.spans import Span, spans_of, told_after
from audit.replay.columnar.fold.state import LogState, empty_state
from audit.replay.columnar.fold.tail import Tail
from audit.replay.columnar.parts import (
    NO_CODE,
    Cells,
    Codes,
    DatasetPart,
    KeyBook,
    Ordinals,
    Times,
)
from audit.replay.columnar.scatter import FEW, Ints, distinct

if TYPE_CHECKING:
    from audit.replay.columnar.fold.fast import FastReplay
    from audit.replay.steps import Steps

Bools = npt.NDArray[np.bool_]


def touched(parts: Sequence[DatasetPart], start: int, stop: int) -> Codes | None:
    """The keys with events in [start, stop); None where an event there concerns other keys too."""
    found = [np.empty(0, np.int32)]
    for part, lo, hi, _ in spans_of(parts, start, stop):
        if part.plain_from is not None and part.plain_from <= hi:
            return None
        here = (part.careful_from >= lo) & (part.careful_from <= hi)
        found += part.careful[here], part.key[lo:hi]
    codes = np.concatenate(found)
    return None if (codes == NO_CODE).any() else distinct(codes)[0]


def pair(
    fast: "FastReplay",
    a: "Steps",
    b: "Steps",
    valid_at_us: int | None = None,
    explained: bool = False,
) -> tuple[FastDataset, FastDataset] | None:
    """The rows at two cuts of the keys that have events between them; None: all may differ.

    Both are cuts that `fast` can answer.
    `explained`: a schema came between, so that what needs care may differ, too: all that could not
    be read at the one cut and can be at the other. None as well where all is to be folded plainly.
    """
    sizes_a, sizes_b = ({log: n for log, n in s.cut.sizes.items() if n} for s in (a, b))
    logs = tuple(sorted(sizes_a.keys() | sizes_b.keys()))
    if not logs:
        return None
    spans = {log: sorted((sizes_a.get(log, 0), sizes_b.get(log, 0))) for log in logs}
    of_logs = {}
    for log in logs:
        codes = _may_differ(fast, log, a.entity_type, (spans[log][0], spans[log][1]), explained)
        if codes is None:
            return None
        of_logs[log] = codes
    ranks = fast.ranks_of(a.entity_type, logs)
    chosen = np.zeros(max((int(r.max(initial=-1)) for r in ranks.of.values()), default=-1) + 1, "?")
    for log, codes in of_logs.items():
        chosen[ranks.of[log][codes]] = True
    wanted = {log: chosen[ranks.of[log]] for log in logs}
    shared = {log: codes[wanted[log][codes]] for log, codes in ranks.shared.items()}
    ranks = ranks._replace(shared=shared)
    begins = {
        log: _begin(fast, log, a.entity_type, spans[log], wanted[log], valid_at_us) for log in logs
    }
    at_a = _dataset(a, begins, ranks, valid_at_us)
    at_b = _dataset(b, begins, ranks, valid_at_us)
    return None if at_a is None or at_b is None else (at_a, at_b)


def _may_differ(
    fast: "FastReplay", log: int, entity_type: str, span: tuple[int, int], explained: bool
) -> Codes | None:
    """The keys of a log that may differ between two sizes; None where all may."""
    start, stop = span
    codes = touched(fast.source.parts(log, entity_type, start, stop), start, stop)
    if codes is None or not explained:
        return codes
    base = fast.snapshots.newest(log, entity_type, start).state
    parts = fast.source.parts(log, entity_type, base.size, stop)
    careful = told_after(base.told, spans_of(parts, base.size, stop)).careful
    if len(careful) > MAX_CAREFUL:
        return None
    return np.union1d(codes, np.array(sorted(careful), np.int32))


class _Begin(NamedTuple):
    """Where the fold of some keys of a log begins, and their events after that."""

    kept: Kept
    parts: Sequence[DatasetPart]
    book: KeyBook
    wanted: Bools


def _begin(
    fast: "FastReplay",
    log: int,
    entity_type: str,
    span: Sequence[int],
    wanted: Bools,
    valid_at_us: int | None,
) -> _Begin:
    start, stop = span
    base = fast.snapshots.newest(log, entity_type, start).state
    parts = fast.source.parts(log, entity_type, base.size, stop)
    if valid_at_us is not None:
        told = base.told
        later = (_wanted_times(s, wanted) for s in spans_of(parts, base.size, stop))
        in_order = told.in_order and told.valid_to_us <= valid_at_us
        if not in_order or any((valid_us < told.valid_to_us).any() for valid_us in later):
            # What came later may be valid before what the snapshot holds.
            base = empty_state(log)
            parts = fast.source.parts(log, entity_type, 0, stop)
    kept = Kept(_only_rows(base, wanted), False)
    return _Begin(kept, parts, fast.source.key_book(log, entity_type), wanted)


def _wanted_times(span: Span, wanted: Bools) -> Times:
    """The valid times of the events of these keys, and of those that concern every key."""
    keep = np.append(wanted, True)[span.part.key[span.lo : span.hi]]
    times: Times = span.part.valid_us[span.lo : span.hi][keep]
    return times


def _dataset(
    steps: "Steps", begins: Mapping[int, _Begin], ranks: Ranks, valid_at_us: int | None
) -> FastDataset | None:
    folds = {}
    for log, (kept, parts, book, wanted) in begins.items():
        spans = spans_of(parts, kept.state.size, steps.cut.size(log))
        tail = Tail(kept.state, kept.finder, spans, ranks.of[log], valid_at_us, wanted)
        if tail.told.plain:
            return None
        folds[log] = LogFold(kept, tail, book)
    careful = careful_keys(folds, ranks)
    if sum(len(codes) for codes in careful.values()) > MAX_CAREFUL:
        return None
    folded = Folded(steps, valid_at_us, folds, ranks, careful)
    return FastDataset(steps, valid_at_us, folded)


def _only_rows(state: LogState, wanted: Bools) -> LogState:
    """The rows of these keys."""
    rows = np.flatnonzero(wanted[state.codes])
    careful = frozenset(code for code in state.told.careful if wanted[code])
    columns = {name: column.take(rows) for name, column in state.columns.items()}
    told = state.told._replace(careful=careful)
    return LogState(state.log, state.size, told, state.codes[rows], columns)


def only_events(part: DatasetPart, wanted: Bools) -> DatasetPart:
    """The events of these keys, and those that concern every key; numbered anew."""
    key = part.key
    if not len(key):
        return part
    # A place of its own for NO_CODE, which is the last one: what concerns every key is kept.
    keep = np.append(wanted, True)[key]
    taken = np.flatnonzero(keep).astype(np.uint32)
    number = np.cumsum(keep, dtype=np.uint32) - np.uint32(1)
    fields = {}
    for name, cells in part.fields.items():
        here, at = _among(cells.at, taken, keep, number)
        fields[name] = Cells(at, cells.values.take(pa.array(here)))
    # How many of those kept stand before the first mention, and so on.
    first = {name: int(np.searchsorted(taken, at)) for name, at in part.first.items()}
    of_wanted = wanted[part.careful]
    return part._replace(
        offset=part.offset[taken],
        recorded_us=part.recorded_us[taken],
        valid_us=part.valid_us[taken],
        op=part.op[taken],
        whole=part.whole[taken],
        key=key[taken],
        unread=part.unread[taken],
        fields=fields,
        first=first,
        careful=part.careful[of_wanted],
        careful_from=np.searchsorted(taken, part.careful_from[of_wanted]).astype(np.uint32),
        plain_from=None
        if part.plain_from is None
        else int(np.searchsorted(taken, part.plain_from)),
    )


def _among(at: Ordinals, taken: Ordinals, keep: Bools, number: Ordinals) -> tuple[Ints, Ordinals]:
    """Which of the cells at these ordinals are kept, and what numbers their events get.

    `taken`: the ordinals that are kept, ascending; `keep`: for each ordinal whether it is; `number`
    the numbers of those that are.
    """
    if len(taken) * FEW > len(at):
        here = np.flatnonzero(keep[at])
        return here, number[at[here]]
    # Few are looked for: most cells are not looked at.
    place = np.minimum(np.searchsorted(at, taken), len(at) - 1)
    found = np.flatnonzero(at[place] == taken) if len(at) else place[:0]
    return place[found].astype(np.intp), found.astype(np.uint32)

"""Some keys of a dataset from the read model: what a difference needs, whatever else there is.

The events after the newest snapshot before the earlier cut are looked through for the keys; the
rest costs what these keys cost. One log alone: a key may be in two.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.replay.columnar.fast import MAX_CAREFUL, FastDataset, LogFold, Ranks
from audit.replay.columnar.parts import NO_CODE, Cells, Codes, DatasetPart
from audit.replay.columnar.snapshots import Kept
from audit.replay.columnar.state import LogState
from audit.replay.columnar.tail import Tail, spans_of

if TYPE_CHECKING:
    from audit.replay.columnar.fast import FastReplay
    from audit.replay.steps import Steps

Bools = npt.NDArray[np.bool_]


def touched(parts: Sequence[DatasetPart], start: int, stop: int) -> Codes | None:
    """The keys with events in [start, stop); None where an event there concerns other keys too."""
    found = [np.empty(0, np.int32)]
    for part, lo, hi, _ in spans_of(parts, start, stop):
        if part.plain_from is not None and part.plain_from <= hi:
            return None
        here = (part.careful_from >= lo) & (part.careful_from <= hi)
        found.append(part.careful[here])
        found.append(np.unique(part.key[lo:hi]))
    codes = np.unique(np.concatenate(found))
    return None if len(codes) and codes[0] == NO_CODE else codes


def pair(fast: "FastReplay", a: "Steps", b: "Steps") -> tuple[FastDataset, FastDataset] | None:
    """The rows at two cuts of the keys that have events between them; None: compare plainly."""
    sizes_a, sizes_b = ({log: n for log, n in s.cut.sizes.items() if n} for s in (a, b))
    logs = sizes_a.keys() | sizes_b.keys()
    if len(logs) != 1 or a.naming.moved or not a.reader.complete:
        return None
    (log,) = logs
    start, stop = sorted((sizes_a.get(log, 0), sizes_b.get(log, 0)))
    if fast.source.covered(log) < stop:
        return None
    if any(fast.source.must_be_plain(s.entity_type, s.cut) for s in (a, b)):
        return None
    codes = touched(fast.source.parts(log, a.entity_type, start, stop), start, stop)
    if codes is None:
        return None
    base = fast.snapshots.newest(log, a.entity_type, start)
    parts = fast.source.parts(log, a.entity_type, base.state.size, stop)
    ranks = fast.ranks_of(a.entity_type, (log,))
    wanted = np.zeros(len(ranks.of[log]), np.bool_)
    wanted[codes] = True
    kept = Kept(_only_rows(base.state, wanted), False)
    own = [only_events(part, wanted) for part in parts]
    at_a = _dataset(a, log, kept, own, ranks)
    at_b = _dataset(b, log, kept, own, ranks)
    return None if at_a is None or at_b is None else (at_a, at_b)


def _dataset(
    steps: "Steps", log: int, kept: Kept, parts: Sequence[DatasetPart], ranks: Ranks
) -> FastDataset | None:
    spans = spans_of(parts, kept.state.size, steps.cut.size(log))
    tail = Tail(kept.state, kept.finder, spans, ranks.of[log])
    told = tail.told
    if told.plain or told.unread or len(told.careful) > MAX_CAREFUL:
        return None
    folds = {log: LogFold(kept, tail, ranks.books[0])}
    return FastDataset(steps, None, folds, ranks, {log: sorted(told.careful)})


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
    taken = np.flatnonzero(keep)
    # before[i]: how many of those kept stand before the ordinal i.
    before = np.zeros(len(key) + 1, np.uint32)
    np.cumsum(keep, out=before[1:])
    fields = {}
    for name, cells in part.fields.items():
        here = np.flatnonzero(keep[cells.at])
        fields[name] = Cells(before[cells.at[here]], cells.values.take(pa.array(here)))
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
        first={name: int(before[min(at, len(key))]) for name, at in part.first.items()},
        careful=part.careful[of_wanted],
        careful_from=before[np.minimum(part.careful_from[of_wanted], len(key))],
        plain_from=None if part.plain_from is None else int(before[part.plain_from]),
    )

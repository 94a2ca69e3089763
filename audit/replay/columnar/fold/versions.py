"""One row of very many versions, from the read model: where they are, and the row after each.

Only for a row whose versions are all in one log, each an event of its own key, and none of them in
need of care: no truncate, nothing superseded, nothing that could not be read.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from audit.replay.columnar.fold.ordered import Longs, Ordered
from audit.replay.columnar.fold.whole_log import whole_logs
from audit.replay.columnar.parts import NO_CODE, Op
from audit.replay.fold import Row

if TYPE_CHECKING:
    from audit.replay.columnar.fold.fast import FastReplay
    from audit.replay.steps import Steps

_MISSING = object()


class RowVersions(NamedTuple):
    """n versions of a row, oldest first: where each is, when it was recorded, what it did."""

    log: int
    index: Longs  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    recorded_us: Longs
    op: Longs
    ordered: Ordered

    def row_after(self, at: int) -> Row | None:
        """The row right after a version; None where it is gone."""
        if self.ordered.gone[at]:
            return None
        place = np.array([at], np.intp)
        row: Row = {}
        for name in sorted(self.ordered.fields):
            cell = self.ordered.column(name, place).objects(None, _MISSING)[0]
            if cell is not _MISSING:
                row[name] = cell
        return row

    def word(self, at: int) -> str:
        """What a version did: create, update or delete."""
        return Op(self.op[at]).name.lower()


def row_versions(fast: "FastReplay", steps: "Steps", key: str) -> RowVersions | None:
    """All versions of a row below the cut of `steps`; None where they are to be found plainly."""
    logs = whole_logs(fast, steps)
    if logs is None:
        return None
    codes = {log: int(own.codes_of([key])[0]) for log, own in logs.logs.items()}
    homes = [log for log, code in codes.items() if code != NO_CODE]
    if len(homes) != 1:
        return None
    log, own = homes[0], logs.logs[homes[0]]
    code = codes[log]
    if own.is_careful()[code]:
        return None
    wanted = np.zeros(len(own.book.keys), np.bool_)
    wanted[code] = True
    spans = own.spans(wanted, None)
    if any((s.part.key[s.lo : s.hi] == NO_CODE).any() for s in spans):
        return None
    return RowVersions(
        log,
        _longs([s.part.start + s.part.offset[s.lo : s.hi].astype(np.int64) for s in spans]),
        _longs([s.part.recorded_us[s.lo : s.hi] for s in spans]),
        _longs([s.part.op[s.lo : s.hi] for s in spans]),
        Ordered(spans),
    )


def _longs(arrays: Sequence[npt.NDArray[Any]]) -> Longs:
    return np.concatenate([np.empty(0, np.int64), *arrays]).astype(np.int64)

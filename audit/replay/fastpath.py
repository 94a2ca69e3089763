"""The fast way to a dataset: the read model that goes with a reader, opened when first needed.

Whoever opens a ledger attaches a `FastPath` to its reader; all that replays datasets from this
reader then asks it first. It never fails: whatever is wrong with a read model, or too much for it,
is left to the plain replay, which gives the same answer and the error if there is one.
"""

from collections.abc import Callable, Collection, Sequence
from threading import RLock
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

from audit.errors import AuditError
from audit.store.contract import Reader

if TYPE_CHECKING:
    from audit.replay.columnar.fold.blamed import Blamed
    from audit.replay.columnar.fold.differ import Differences
    from audit.replay.columnar.fold.fast import FastDataset, FastReplay
    from audit.replay.columnar.fold.held import Held
    from audit.replay.columnar.fold.moments import Known
    from audit.replay.columnar.fold.source import PartSource
    from audit.replay.columnar.fold.versions import RowVersions
    from audit.replay.steps import Steps

FAST_FROM_ENTRIES = 4_000
"""Below so many entries in all logs the plain replay is as fast as building columns first.

In a new process that is: importing numpy and pyarrow takes as long as folding so many plainly.
"""


class FastPath:
    """Opens a read model when a dataset is worth it, and asks it. Safe for several threads."""

    def __init__(
        self,
        open_source: "Callable[[], PartSource]",
        from_entries: int = FAST_FROM_ENTRIES,
        is_building: Callable[[], bool] = lambda: False,
    ) -> None:
        """Nothing is opened yet. Cuts with fewer entries than `from_entries` are not for it.

        `is_building`: whether asking it would mean to wait for long just now.
        """
        self._is_building = is_building
        self._open = open_source
        self._from_entries = from_entries
        self._replay: FastReplay | None = None
        self._compared: Held[Differences] | None = None
        self._lock = RLock()

    def replay(self) -> "FastReplay":
        """What answers from the read model. Raises what opening it raises."""
        with self._lock:
            if self._replay is None:
                from audit.replay.columnar.fold.fast import FastReplay

                self._replay = FastReplay(self._open())
            return self._replay

    def dataset(self, steps: "Steps", valid_at_us: int | None) -> "FastDataset | None":
        """The dataset at the cut of `steps`; None where the plain replay is to do it."""
        if sum(steps.cut.sizes.values()) < self._from_entries:
            return None
        if steps.naming.moved or not steps.reader.complete:
            return None
        try:
            with self._lock:
                return self.replay().dataset(steps, valid_at_us)
        except (AuditError, ImportError):
            # Without numpy or pyarrow, too: the plain replay needs neither.
            return None

    def differences(
        self,
        a: "Steps",
        b: "Steps",
        valid_a_us: int | None,
        valid_b_us: int | None,
        explained: bool,
    ) -> "Differences | None":
        """How the rows at two points differ; None where that is to be found plainly.

        `explained`: a schema came into some log between the cuts.
        """
        if max(sum(s.cut.sizes.values()) for s in (a, b)) < self._from_entries:
            return None
        try:
            from audit.replay.columnar.fold.differ import differences
            from audit.replay.columnar.fold.held import Held

            with self._lock:
                replay = self.replay()
                if self._compared is None:
                    self._compared = Held(replay.source)
                times_us = valid_a_us, valid_b_us
                return differences(replay, self._compared, a, b, times_us, explained)
        except (AuditError, ImportError):
            return None

    def known_at(
        self,
        steps: "Steps",
        keys: Sequence[str | None],
        times_us: Sequence[int | None],
        columns: Collection[str] | None,
        valid: bool,
    ) -> "Known | None":
        """The row of each key at its time; None: they are to be found plainly."""
        if sum(steps.cut.sizes.values()) < self._from_entries:
            return None
        try:
            from audit.replay.columnar.fold.moments import known_at

            with self._lock:
                return known_at(self.replay(), steps, keys, times_us, columns, valid)
        except (AuditError, ImportError):
            return None

    def blamed(
        self, steps: "Steps", valid_at_us: int | None, keys: Collection[str] | None
    ) -> "Blamed | None":
        """Who gave each cell its value; None: that is to be found plainly."""
        if sum(steps.cut.sizes.values()) < self._from_entries:
            return None
        try:
            from audit.replay.columnar.fold.blamed import blamed

            with self._lock:
                return blamed(self.replay(), steps, valid_at_us, keys)
        except (AuditError, ImportError):
            return None

    def versions(self, steps: "Steps", key: str) -> "RowVersions | None":
        """All versions of a row; None: they are to be found plainly.

        So they are until somebody has opened the read model: it is not worth waiting for that.
        """
        if (
            self._replay is None
            or self._is_building()
            or sum(steps.cut.sizes.values()) < self._from_entries
        ):
            return None
        try:
            from audit.replay.columnar.fold.versions import row_versions

            with self._lock:
                return row_versions(self.replay(), steps, key)
        except (AuditError, ImportError):
            return None

    def transactions(self, log: int, start: int, stop: int) -> dict[str, int] | None:
        """How many entries of [start, stop) each transaction has there; None: look for yourself."""
        if stop < self._from_entries or self._is_building():
            return None
        try:
            with self._lock:
                replay = self.replay()
                return replay.transactions(log, start, stop)
        except (AuditError, ImportError):
            return None


_PATHS: "WeakKeyDictionary[Reader, ref[FastPath]]" = WeakKeyDictionary()


def attach(reader: Reader, path: FastPath) -> None:
    """Let a read model answer for a reader, as long as the caller holds on to `path`."""
    _PATHS[reader] = ref(path)


def open_fast_path(reader: Reader) -> None:
    """Open the read model of a reader now, so that what would not wait for that has it, too."""
    path = _path_of(reader)
    if path is not None:
        path.replay()


def _path_of(reader: Reader) -> FastPath | None:
    held = _PATHS.get(reader)
    return None if held is None else held()


def fast_dataset(steps: "Steps", valid_at_us: int | None) -> "FastDataset | None":
    """The dataset from the read model of its reader; None where it is replayed plainly."""
    path = _path_of(steps.reader)
    return None if path is None else path.dataset(steps, valid_at_us)


def fast_transactions(reader: Reader, log: int, start: int, stop: int) -> dict[str, int] | None:
    """Transaction -> its entries in [start, stop), from the read model; None without one."""
    path = _path_of(reader)
    return None if path is None else path.transactions(log, start, stop)


def fast_differences(
    a: "Steps", b: "Steps", valid_a_us: int | None, valid_b_us: int | None, explained: bool
) -> "Differences | None":
    """How the rows at two points differ, from the read model; None: find it plainly."""
    path = _path_of(a.reader)
    return None if path is None else path.differences(a, b, valid_a_us, valid_b_us, explained)


def fast_known_at(
    steps: "Steps",
    keys: Sequence[str | None],
    times_us: Sequence[int | None],
    columns: Collection[str] | None,
    valid: bool,
) -> "Known | None":
    """The row of each key at its time, from the read model; None without one."""
    path = _path_of(steps.reader)
    return None if path is None else path.known_at(steps, keys, times_us, columns, valid)


def fast_blamed(
    steps: "Steps", valid_at_us: int | None, keys: Collection[str] | None
) -> "Blamed | None":
    """Who gave each cell of a dataset its value, from the read model; None without one."""
    path = _path_of(steps.reader)
    return None if path is None else path.blamed(steps, valid_at_us, keys)


def fast_versions(steps: "Steps", key: str) -> "RowVersions | None":
    """All versions of a row, from the read model of its reader; None without one."""
    path = _path_of(steps.reader)
    return None if path is None else path.versions(steps, key)

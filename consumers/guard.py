"""The rollback guard: a store that is behind what was published of it, or differs, is refused.

Checkpoints are published to a second place, the compacted topic `audit.checkpoints`. Whoever takes
over a log reads back the newest one there. A store restored from an older copy would otherwise go
on from there, and its log sign two histories under one name; nobody could tell which is right.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from audit.errors import InvalidInput, StoreCorrupt
from audit.kafka.published import check_holds, open_published
from audit.store.contract import Reader
from audit.tlog.keys import Verifier
from consumers.metrics import Metrics

REMEMBERED_S = 5.0
"""How long what was read back is good for: the logs of many partitions are taken over at once."""

ReadBack = Callable[[Iterable[str]], Mapping[str, bytes]]
"""Origins -> what was published last of each, unverified."""


class Guard:
    """Compares logs with what was published of them. Safe for several threads."""

    def __init__(
        self,
        read_back: ReadBack,
        origins: Iterable[str],
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`origins`: all that will be asked for, read in one pass; others are added to them."""
        self._read_back = read_back
        self._origins = set(origins)
        self._metrics = metrics
        self._clock = clock
        self._notes: Mapping[str, bytes] = {}
        self._read_s: float | None = None
        self._lock = threading.Lock()

    def check(self, store: Reader, log: int, verifier: Verifier) -> None:
        """Return when the store holds all that was published of a log, with the same root.

        `verifier` is the log's own key. Raises StoreCorrupt when it does not, InvalidInput when
        what was published under this name is by another key or is no checkpoint, Unavailable while
        nothing can be read.
        """
        note = self._newest(verifier.name)
        if note is None:
            return
        try:
            checkpoint = open_published(note, verifier)
            self._metrics.published_to(checkpoint.origin, checkpoint.size)
            check_holds(store, log, checkpoint)
        except (StoreCorrupt, InvalidInput):
            with self._lock:
                self._metrics.guard_refusals += 1
            raise

    def _newest(self, origin: str) -> bytes | None:
        with self._lock:
            return self._read(origin)

    def _read(self, origin: str) -> bytes | None:
        # A store never shrinks, so it must hold what was published some seconds ago as well.
        now_s = self._clock()
        is_old = self._read_s is None or now_s - self._read_s > REMEMBERED_S
        if is_old or origin not in self._origins:
            self._origins.add(origin)
            self._notes = self._read_back(self._origins)
            self._read_s = now_s
        return self._notes.get(origin)

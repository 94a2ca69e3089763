"""`--once`: when the ledger holds all that the topic held at the start."""

import time
from collections.abc import Callable, Mapping

from audit.errors import Unavailable
from audit.store.contract import Reader
from audit.store.positions import source_position
from consumers.partitions import Partitions
from consumers.sequencer import log_of

LOOK_EVERY_S = 0.5
PATIENCE_S = 60.0
"""When nothing gets nearer to its end for so long, it is given up: somebody waits for an answer."""


class Once:
    """Knows when everything is sealed, by this process or by others of the group."""

    def __init__(
        self,
        ends: Mapping[int, int],
        store: Reader,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ends`: partition -> the offset after its last message."""
        self._ends = dict(ends)
        self._reached: dict[int, int] = {}
        self._store = store
        self._clock = clock
        self._looked_s = clock() - LOOK_EVERY_S
        self._moved_s = clock()

    def is_done(self, partitions: Partitions) -> bool:
        """Whether nothing is missing but what is refused.

        Raises Unavailable when nothing moves any more: store or broker do not answer, or another
        consumer of the group has a partition and does not seal it.
        """
        now_s = self._clock()
        looks = now_s - self._looked_s >= LOOK_EVERY_S
        if looks:
            self._looked_s = now_s
        for partition, end in list(self._ends.items()):
            buffer = partitions.get(partition)
            if buffer is not None and buffer.refused is not None:
                del self._ends[partition]
                continue
            reached = self._reached.get(partition, -1)
            if buffer is not None and buffer.reading:
                reached = buffer.sealed_to
            elif buffer is None and looks:
                reached = self._sealed_by_others(partition)
            if reached != self._reached.get(partition, -1):
                self._reached[partition] = reached
                self._moved_s = now_s
            if reached >= end:
                del self._ends[partition]
        if self._ends and now_s - self._moved_s > PATIENCE_S:
            raise Unavailable(
                f"nothing was sealed for a minute, partitions {sorted(self._ends)} are not at "
                "their end\nwhat is sealed is sealed; run it again for the rest"
            )
        return not self._ends

    def _sealed_by_others(self, partition: int) -> int:
        """Up to where the log of a partition that is not ours accounts for it; -1: no such log."""
        log = log_of(partition)
        try:
            if all(known.log != log for known in self._store.logs()):
                return -1
            found = source_position(self._store, log)
        except Unavailable:
            return self._reached.get(partition, -1)
        return 0 if found is None else found.next_offset

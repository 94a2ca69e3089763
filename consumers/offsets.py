"""Telling the group how far it is: a hint, given after the log has it and its checkpoint is out."""

import time
from collections.abc import Callable
from typing import NamedTuple

from audit.kafka.transport import Consumer
from consumers import failpoints

COMMIT_EVERY_S = 0.5
PUBLISHED_WITHIN_S = 2.0
"""An offset whose checkpoint is not published by then is committed all the same."""


class _Noted(NamedTuple):
    next_offset: int
    origin: str
    size: int
    noted_s: float


class OffsetCommits:
    """Collects offsets and commits them now and then, with the ledger's name beside each."""

    def __init__(
        self, consumer: Consumer, published: Callable[[str], int], ledger_origin: str
    ) -> None:
        """`published` gives the size of an origin's newest published checkpoint."""
        self._consumer = consumer
        self._published = published
        self._ledger_origin = ledger_origin
        self._noted: dict[int, _Noted] = {}
        self._flushed_s = 0.0

    def note(self, partition: int, next_offset: int, origin: str, size: int) -> None:
        """The log of this origin accounts for the partition up to here, with so many entries."""
        self._noted[partition] = _Noted(next_offset, origin, size, time.monotonic())

    def forget(self, partition: int) -> None:
        """It is no longer ours to speak of."""
        self._noted.pop(partition, None)

    def flush(self, final: bool = False) -> None:
        """Commit what may be committed; not more often than it should, unless it is `final`."""
        now_s = time.monotonic()
        if not self._noted or (not final and now_s - self._flushed_s < COMMIT_EVERY_S):
            return
        ready = {
            partition: noted.next_offset
            for partition, noted in self._noted.items()
            if final
            or self._published(noted.origin) >= noted.size
            or now_s - noted.noted_s > PUBLISHED_WITHIN_S
        }
        if not ready:
            return
        self._flushed_s = now_s
        self._consumer.commit(ready, self._ledger_origin)
        for partition in ready:
            del self._noted[partition]
        failpoints.reach(failpoints.AFTER_OFFSET_COMMIT)

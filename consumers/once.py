"""`--once`: when the ledger holds all that the topic held at the start."""

import time
from collections.abc import Mapping

from audit.errors import Unavailable
from audit.store.contract import Reader
from audit.store.positions import source_position
from consumers.metrics import Metrics
from consumers.partitions import Partitions
from consumers.sequencer import log_of

LOOK_EVERY_S = 0.5
PATIENCE_S = 60.0
"""Without a store or a broker for so long, it is given up: somebody waits for the end."""


class Once:
    """Knows when everything is sealed, by this process or by others of the group."""

    def __init__(self, ends: Mapping[int, int], store: Reader, metrics: Metrics) -> None:
        """`ends`: partition -> the offset after its last message."""
        self._ends = dict(ends)
        self._store = store
        self._metrics = metrics
        self._looked_s = 0.0
        self._well_s = time.monotonic()

    def is_done(self, partitions: Partitions) -> bool:
        """Whether nothing is missing but what is refused. Raises Unavailable after long waiting."""
        now_s = time.monotonic()
        if self._metrics.broker_ok and self._metrics.database_ok:
            self._well_s = now_s
        elif now_s - self._well_s > PATIENCE_S:
            raise Unavailable(
                "the store or the broker did not answer for a minute; "
                "what is sealed is sealed, run it again for the rest"
            )
        looks = now_s - self._looked_s > LOOK_EVERY_S
        if looks:
            self._looked_s = now_s
        for partition, end in list(self._ends.items()):
            buffer = partitions.get(partition)
            if buffer is not None:
                done = buffer.refused is not None or (buffer.reading and buffer.sealed_to >= end)
            else:
                done = looks and self._is_sealed(partition, end)
            if done:
                del self._ends[partition]
        return not self._ends

    def _is_sealed(self, partition: int, end: int) -> bool:
        """Whether another consumer of the group has sealed it."""
        log = log_of(partition)
        try:
            if all(known.log != log for known in self._store.logs()):
                return False
            found = source_position(self._store, log)
        except Unavailable:
            return False
        return (0 if found is None else found.next_offset) >= end

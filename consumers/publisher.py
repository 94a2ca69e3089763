"""Publisher: sends each log's newest checkpoint to the topic `audit.checkpoints`, on a thread.

Sealing never waits for it: what was overtaken by a newer checkpoint before it was sent is not sent
at all. When the broker does not answer, the newest ones wait here, and are sent when it does. A
crash loses nothing: whoever takes over a log offers its newest checkpoint again.

The last one in the topic is the largest, because compaction leaves no other. A process that was
held up may publish a checkpoint after the log's next owner published a larger one, and who came
last cannot be seen beforehand. So some time after a log's last checkpoint was acknowledged the
store is asked for its newest one: if that is larger, another process sealed it, and it is
published once more, behind ours. Whatever was published before ours was in the store by then.
"""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from audit.errors import AuditError
from audit.kafka.transport import Producer
from audit.store.contract import StoredCheckpoint
from consumers import failpoints
from consumers.logs import alarm, warn
from consumers.metrics import Metrics
from consumers.pauses import Pauses

ACKNOWLEDGED_WITHIN_S = 10.0
ENDS_WITHIN_S = 1.0
LEAST_INTERVAL_S = 0.1
"""Between two rounds: what is sealed meanwhile is one checkpoint of each log, not many."""


CHECK_AFTER_S = 1.0
"""So long after a log's last checkpoint the store is asked for a newer one: busy logs never are."""


class _Waiting(NamedTuple):
    size: int
    note: bytes


Send = Callable[[Producer, str, bytes], None]
"""Hands the producer a checkpoint of an origin."""
Newest = Callable[[str], StoredCheckpoint | None]
"""An origin -> the newest checkpoint of its log in the store. Called on the publisher's thread."""


class Publisher:
    """Publishes what it is offered. `offer` and `published` may be called from any thread."""

    def __init__(
        self, open_producer: Callable[[], Producer], send: Send, newest: Newest, metrics: Metrics
    ) -> None:
        """Start its thread."""
        self._open = open_producer
        self._send = send
        self._newest = newest
        self._metrics = metrics
        self._waiting: dict[str, _Waiting] = {}
        self._published: dict[str, int] = {}
        self._unchecked: dict[str, float] = {}
        self._busy = False
        self._draining = False
        self._closed = False
        self._round_s = 0.0
        self._changed = threading.Condition()
        self._producer: Producer | None = None
        self._pauses = Pauses()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def offer(self, origin: str, size: int, note: bytes) -> None:
        """Publish this checkpoint soon, unless a newer one comes first."""
        with self._changed:
            self._metrics.sealed_to(origin, size)
            known = self._waiting.get(origin)
            if size > self._published.get(origin, 0) and (known is None or size > known.size):
                self._waiting[origin] = _Waiting(size, note)
                self._changed.notify_all()

    def published(self, origin: str) -> int:
        """The size of the newest checkpoint of an origin that the broker acknowledged."""
        return self._published.get(origin, 0)

    @property
    def alive(self) -> bool:
        """False when its thread has ended."""
        return self._thread.is_alive()

    def drain(self, timeout_s: float) -> bool:
        """Wait until all that was offered is published, and checked; False when time was over."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_done or not self.alive, timeout_s)
            self._draining = False
            return self._is_done

    @property
    def _is_done(self) -> bool:
        return not (self._waiting or self._busy or self._unchecked)

    def close(self) -> None:
        """End the thread; what waits is given up. Safe to repeat."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(ENDS_WITHIN_S)

    def _run(self) -> None:
        try:
            while True:
                self._check()
                with self._changed:
                    while not (self._waiting or self._closed or self._due()):
                        first_s = min(self._unchecked.values(), default=None)
                        left_s = None if first_s is None else first_s - time.monotonic()
                        self._changed.wait(left_s)
                    if not self._waiting and not self._closed:
                        continue
                    left_s = self._round_s + LEAST_INTERVAL_S - time.monotonic()
                    if left_s > 0 and not self._draining:
                        self._changed.wait_for(lambda: self._closed or self._draining, left_s)
                    if self._closed:
                        return
                    self._round_s = time.monotonic()
                    batch, self._waiting = self._waiting, {}
                    self._busy = True
                self._publish(batch)
        finally:
            self._discard()

    def _due(self) -> list[str]:
        """Origins whose last checkpoint is old enough to be compared with the store."""
        now_s = time.monotonic()
        return [o for o, due_s in self._unchecked.items() if self._draining or due_s <= now_s]

    def _check(self) -> None:
        """Offer what is newer in the store than what was published last of a log."""
        with self._changed:
            due = self._due()
        for origin in due:
            try:
                newest = self._newest(origin)
            except AuditError:
                # Whoever seals tells that the store is away.
                with self._changed:
                    if self._draining:
                        del self._unchecked[origin]
                    else:
                        self._unchecked[origin] = time.monotonic() + CHECK_AFTER_S
                    self._changed.notify_all()
                continue
            if newest is not None:
                self.offer(origin, newest.size, newest.note)
            with self._changed:
                del self._unchecked[origin]
                self._changed.notify_all()

    def _publish(self, batch: dict[str, _Waiting]) -> None:
        failpoints.reach(failpoints.BEFORE_PUBLISH)
        try:
            if self._producer is None:
                self._producer = self._open()
            for origin, waiting in batch.items():
                self._send(self._producer, origin, waiting.note)
            self._producer.flush(ACKNOWLEDGED_WITHIN_S)
        except AuditError as error:
            self._failed(batch, error)
            return
        if self._pauses.over():
            warn("checkpoints are published again")
        for origin, waiting in batch.items():
            self._metrics.published_to(origin, waiting.size)
        with self._changed:
            for origin, waiting in batch.items():
                self._published[origin] = waiting.size
                self._unchecked[origin] = time.monotonic() + CHECK_AFTER_S
            self._busy = False
            self._changed.notify_all()
        failpoints.reach(failpoints.AFTER_PUBLISH)

    def _failed(self, batch: dict[str, _Waiting], error: AuditError) -> None:
        self._metrics.publish_errors += 1
        if self._pauses.begins():
            alarm("checkpoints are not published; sealing goes on", why=error)
        self._discard()
        with self._changed:
            # None overtakes a newer one of the same log that was offered meanwhile.
            self._waiting = {**batch, **self._waiting}
            self._busy = False
            self._changed.notify_all()
            if not self._closed:
                self._changed.wait_for(lambda: self._closed, self._pauses.next_s())

    def _discard(self) -> None:
        if self._producer is not None:
            self._producer.close()
            self._producer = None

"""The loop: poll, decode, hand to the store, commit offsets; on one thread, which never waits long.

What is true at any moment: a message is in the topic, or it is in the log. What lies between them
here may be forgotten: on a crash, when a partition is taken away, when another consumer claimed its
log. Whoever takes the log over next asks it where to read on.
"""

import threading
import time
from collections.abc import Sequence

from audit.errors import AuditError, InvalidInput, Unavailable
from audit.kafka.transport import Consumer, Fetched, OffsetsAstray
from consumers import failpoints, tally
from consumers.buffer import Buffer
from consumers.logs import alarm, info, warn
from consumers.metrics import Metrics
from consumers.offsets import OffsetCommits
from consumers.partitions import Partitions
from consumers.pauses import Pauses
from consumers.worker import Append, Failed, Look, Sealed, TakenOver, TakeOver, Worker

LONGEST_POLL_S = 0.2
BUSY_POLL_S = 0.01
"""While a batch waits only for the one before it."""
TRAILING_S = 1.0
"""How often offsets behind the last message are accounted for: markers, what has expired."""
LOOK_EVERY_S = 5.0
"""How often the lag is measured, and an idle store is asked whether it is there."""
JOINED_WITHIN_S = 15.0
"""A member that polls without error for so long and got nothing waits in its group."""


class Loop:
    """The rounds of one process. Everything here runs on the thread that polls."""

    def __init__(
        self,
        consumer: Consumer,
        worker: Worker,
        partitions: Partitions,
        commits: OffsetCommits,
        metrics: Metrics,
        *,
        batch: int,
        linger_s: float,
        stop: threading.Event,
    ) -> None:
        """`stop` cuts pauses short."""
        self.store_refused: AuditError | None = None
        self._consumer = consumer
        self._worker = worker
        self._partitions = partitions
        self._commits = commits
        self._metrics = metrics
        self._batch = batch
        self._linger_s = linger_s
        self._stop = stop
        self._broker = Pauses()
        self._began_s = time.monotonic()
        self._trailing_s = self._looked_s = 0.0

    def turn(self) -> None:
        """One round: poll, take what the store has done, hand it what is due."""
        self._poll()
        self.take_results()
        now_s = time.monotonic()
        for buffer in self._partitions:
            self._cut_due(buffer, now_s)
            self._decode_left(buffer, now_s)
            self._partitions.retry(buffer, now_s)
            self._partitions.hold(buffer)
        if now_s - self._trailing_s >= TRAILING_S:
            self._trailing_s = now_s
            self.account_trailing()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            self._partitions.measure_lag()
            if not self._worker.unfinished:
                self._worker.submit(Look())
        self._commits.flush()
        self._show(now_s)

    def _poll(self) -> None:
        try:
            fetched = self._consumer.poll(self._poll_s(), self._batch)
        except Unavailable as error:
            self._broker_away(error)
            return
        except OffsetsAstray as error:
            self._refuse(error.partition, error)
            return
        if self._broker.over():
            info("the broker answers again")
        self._metrics.broker_ok = True
        if fetched:
            failpoints.reach(failpoints.AFTER_POLL)
            now_s = time.monotonic()
            for partition, messages in fetched.items():
                self._add(partition, messages, now_s)

    def _poll_s(self) -> float:
        now_s = time.monotonic()
        wait_s = LONGEST_POLL_S
        for buffer in self._partitions:
            due_s = buffer.due_s(self._linger_s)
            if due_s is not None:
                wait_s = min(wait_s, due_s - now_s)
            elif buffer.pending:
                wait_s = min(wait_s, BUSY_POLL_S)
        return max(0.0, wait_s)

    def _broker_away(self, error: Unavailable) -> None:
        self._metrics.broker_ok = False
        self._metrics.broker_errors += 1
        if self._broker.begins():
            alarm("the broker does not answer as it should", why=error)
        self._partitions.check_positions()
        self._stop.wait(self._broker.next_s())

    def _add(self, partition: int, messages: Sequence[Fetched], now_s: float) -> None:
        buffer = self._partitions.get(partition)
        if buffer is None or not buffer.reading:
            return  # taken away, or refused: what was fetched before that is not ours
        try:
            buffer.add(messages, now_s)
        except Unavailable as error:
            self._cannot_decode(buffer, error, now_s)
        except OffsetsAstray as error:
            self._refuse(partition, error)

    def _refuse(self, partition: int, error: AuditError) -> None:
        buffer = self._partitions.get(partition)
        if buffer is not None and buffer.reading:
            self._partitions.failed(buffer, error)

    def _decode_left(self, buffer: Buffer, now_s: float) -> None:
        if not buffer.is_stuck or buffer.retry_s is None or now_s < buffer.retry_s:
            return
        try:
            buffer.decode_left(now_s)
            info("messages are judged again", partition=buffer.partition)
        except Unavailable as error:
            self._cannot_decode(buffer, error, now_s)

    def _cannot_decode(self, buffer: Buffer, error: Unavailable, now_s: float) -> None:
        self._metrics.intake_waits += 1
        buffer.retry_s = now_s + buffer.pauses.next_s()
        if buffer.pauses.begins():
            alarm("messages cannot be judged now; waiting", partition=buffer.partition, why=error)

    def _cut_due(self, buffer: Buffer, now_s: float) -> None:
        while buffer.reading:
            due_s = buffer.due_s(self._linger_s)
            if due_s is None or due_s > now_s or not self._cut(buffer, now_s):
                return

    def _cut(self, buffer: Buffer, now_s: float) -> bool:
        try:
            position = self._consumer.position(buffer.partition)
        except (Unavailable, InvalidInput):
            position = 0  # what is behind the last message is accounted for later
        batch = buffer.cut(position, now_s)
        if batch is not None:
            self._worker.submit(Append(buffer.sequencer, batch))
        return batch is not None

    def account_trailing(self) -> None:
        """Account for offsets behind the last message, where nothing else is to be done."""
        now_s = time.monotonic()
        for buffer in self._partitions:
            if buffer.reading and buffer.is_idle:
                self._cut(buffer, now_s)

    def cut_all(self) -> None:
        """Hand over everything that was read and decoded."""
        now_s = time.monotonic()
        for buffer in self._partitions:
            while buffer.reading and self._cut(buffer, now_s):
                pass

    def take_results(self, timeout_s: float = 0.0) -> None:
        """Deal with what the worker has done; wait for the first of it if a time is given."""
        result = self._worker.next(timeout_s)
        while result is not None:
            if isinstance(result, Sealed):
                self._sealed(result)
            elif isinstance(result, TakenOver):
                buffer = self._partitions.of(result.sequencer)
                if buffer is not None:
                    self._partitions.taken_over(buffer, result.next_offset)
            elif isinstance(result, Failed):
                self._failed(result)
            result = self._worker.next()

    def _sealed(self, result: Sealed) -> None:
        batch, appended = result.batch, result.appended
        tally.count(self._metrics, result)
        buffer = self._partitions.of(result.sequencer)
        if buffer is not None and buffer.reading:
            buffer.sealed(batch, appended)
            self._commits.note(
                buffer.partition, appended.next_offset, result.sequencer.origin, appended.size
            )

    def _failed(self, result: Failed) -> None:
        if isinstance(result.job, TakeOver | Append):
            buffer = self._partitions.of(result.job.sequencer)
            if buffer is not None and buffer.refused is None:
                self._partitions.failed(buffer, result.error)
        elif isinstance(result.error, Unavailable):
            warn("the store does not answer", why=result.error)
        else:
            self.store_refused = result.error
            alarm("the store is refused", why=result.error)

    def _show(self, now_s: float) -> None:
        metrics = self._metrics
        buffers = list(self._partitions)
        metrics.assigned = len(buffers)
        metrics.opened = sum(buffer.reading for buffer in buffers)
        refused = sum(buffer.refused is not None for buffer in buffers)
        metrics.refused = refused + (self.store_refused is not None)
        metrics.waiting_messages = sum(buffer.messages for buffer in buffers)
        metrics.waiting_bytes = sum(buffer.bytes for buffer in buffers)
        metrics.ticked_s = metrics.clock()
        if now_s - self._began_s > JOINED_WITHIN_S and metrics.broker_ok:
            metrics.joined = True

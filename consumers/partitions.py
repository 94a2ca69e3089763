"""The partitions of this process, from the group's assigning one until it is given back.

assigned -> its log is taken over -> read -> given back, lost, or refused
                 ^                     |
                 +-- after a pause ----+   claimed by another consumer, or not possible now
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from audit.errors import AuditError, Fenced, InvalidInput, Unavailable
from audit.kafka.transport import Consumer
from consumers.buffer import Buffer
from consumers.logs import alarm, info, warn
from consumers.metrics import Metrics
from consumers.offsets import OffsetCommits
from consumers.sequencer import Sequencer
from consumers.worker import TakeOver, Worker

FENCED_PAUSE_S = 10.0
"""Claimed by somebody else, but still ours in the group: after so long it is claimed again. Whoever
is not the group's choice has heard that by then, so two do not take turns."""
RECHECKS = 5
RECHECK_S = 1.0
"""How often, and how far apart, an end before our position is looked at again: a broker that was
just started may not know its end yet."""


class Partitions:
    """What this process reads. Everything here runs on the thread that polls."""

    def __init__(
        self,
        consumer: Consumer,
        worker: Worker,
        commits: OffsetCommits,
        new_buffer: Callable[[int], Buffer],
        metrics: Metrics,
        accepted: int,
    ) -> None:
        """`accepted`: how many partitions the ledger accepts; others wait in `unaccepted`.

        `refusals` counts the partitions that were refused since the start.
        """
        self.accepted = accepted
        self.unaccepted: set[int] = set()
        self.refusals = 0
        self._buffers: dict[int, Buffer] = {}
        self._consumer = consumer
        self._worker = worker
        self._commits = commits
        self._new_buffer = new_buffer
        self._metrics = metrics

    def __iter__(self) -> Iterator[Buffer]:
        """All of them; what changes meanwhile does not disturb."""
        return iter(list(self._buffers.values()))

    def get(self, partition: int) -> Buffer | None:
        """The one of this number, if this process has it."""
        return self._buffers.get(partition)

    def of(self, sequencer: Sequencer) -> Buffer | None:
        """The one of this sequencer, unless it was taken away or taken over anew since."""
        buffer = self._buffers.get(sequencer.partition)
        return buffer if buffer is not None and buffer.sequencer is sequencer else None

    # What the group says

    def assigned(self, partitions: Sequence[int]) -> None:
        """Take over their logs."""
        info("partitions assigned", partitions=sorted(partitions))
        self._metrics.joined = True
        for partition in partitions:
            self._forget(partition)
            if partition < self.accepted:
                self._begin(partition, None)
            else:
                self.unaccepted.add(partition)

    def accept(self, accepted: int) -> None:
        """The ledger accepts so many partitions from now on."""
        self.accepted = accepted
        for partition in sorted(self.unaccepted):
            if partition < accepted:
                self.unaccepted.discard(partition)
                self._begin(partition, None)

    def given_back(self, partitions: Sequence[int]) -> None:
        """Forget what was read of them: somebody else goes on where their logs end."""
        info("partitions given back", partitions=sorted(partitions))
        for partition in partitions:
            self._forget(partition)

    def lost(self, partitions: Sequence[int]) -> None:
        """The same, after this process was silent for too long."""
        warn("partitions lost: the group did not hear of us", partitions=sorted(partitions))
        for partition in partitions:
            self._forget(partition)

    def _begin(self, partition: int, at_s: float | None) -> None:
        """Take over a partition's log, now or at a later time."""
        buffer = self._buffers[partition] = self._new_buffer(partition)
        buffer.retry_s = at_s
        if at_s is None:
            self._worker.submit(TakeOver(buffer.sequencer))

    def _forget(self, partition: int) -> None:
        buffer = self._buffers.pop(partition, None)
        if buffer is not None:
            buffer.sequencer.released = True
        self.unaccepted.discard(partition)
        self._commits.forget(partition)
        self._metrics.lag.pop(partition, None)

    # What the store says

    def taken_over(self, buffer: Buffer, next_offset: int) -> None:
        """Compare what the log says with what the broker has; read on, or refuse."""
        partition = buffer.partition
        try:
            first, end = self._consumer.offsets([partition])[partition]
            if next_offset > end:
                self._beyond_end(buffer, next_offset, end)
                return
            if next_offset < first:
                self._expired(partition, next_offset, first)
            self._consumer.seek(partition, max(first, next_offset))
        except Unavailable as error:
            if buffer.pauses.begins():
                warn("the broker does not say what it holds", partition=partition, why=error)
            self._put_off(buffer, buffer.pauses.next_s())
            return
        except InvalidInput as error:
            # Taken away in this very moment: the callback comes with the next poll.
            warn("a partition cannot be read", partition=partition, why=error)
            return
        buffer.begin(next_offset, first)
        self._commits.note(partition, next_offset, buffer.sequencer.origin, 0)
        info("reading", partition=partition, offset=next_offset, first=first, end=end)

    def failed(self, buffer: Buffer, error: AuditError) -> None:
        """A job for it failed: claimed by another consumer, not possible now, or never."""
        if isinstance(error, Fenced):
            self._metrics.fenced += 1
            warn("another consumer claimed the log; dropping what was read", log=error)
            self._put_off(buffer, FENCED_PAUSE_S)
        elif isinstance(error, Unavailable):
            if buffer.pauses.begins():
                warn("a log cannot be taken over now", partition=buffer.partition, why=error)
            self._put_off(buffer, buffer.pauses.next_s())
        else:
            self._refuse(buffer, error)

    def retry(self, buffer: Buffer, now_s: float) -> None:
        """Take over now what was put off, if it is time."""
        if not buffer.reading and buffer.retry_s is not None and now_s >= buffer.retry_s:
            buffer.retry_s = None
            self._worker.submit(TakeOver(buffer.sequencer))

    def _put_off(self, buffer: Buffer, pause_s: float) -> None:
        """Take over after a pause, with a new sequencer; pauses of one trouble go on growing."""
        partition = buffer.partition
        self._hold_still(partition)
        self._forget(partition)
        self._begin(partition, time.monotonic() + pause_s)
        self._buffers[partition].pauses = buffer.pauses
        self._buffers[partition].rechecks = buffer.rechecks

    def _refuse(self, buffer: Buffer, error: AuditError) -> None:
        self.refusals += 1
        alarm("a partition is refused", partition=buffer.partition, why=error)
        buffer.refuse(error)
        self._commits.forget(buffer.partition)
        self._hold_still(buffer.partition)

    def _hold_still(self, partition: int) -> None:
        with suppress(InvalidInput):  # it was taken away in this very moment
            self._consumer.pause([partition])

    # What the broker says

    def _beyond_end(self, buffer: Buffer, next_offset: int, end: int) -> None:
        buffer.rechecks += 1
        if buffer.rechecks <= RECHECKS:
            self._put_off(buffer, RECHECK_S)
            return
        sequencer = buffer.sequencer
        error = InvalidInput(
            f"log {sequencer.log} accounts for all offsets below {next_offset} of "
            f"{sequencer.topic}/{buffer.partition}, the broker holds none from {end} on: the topic "
            "was made anew, or the broker lost data\nbring the topic's data back; what was sealed "
            "is in the log"
        )
        self._refuse(buffer, error)

    def _expired(self, partition: int, next_offset: int, first: int) -> None:
        self._metrics.expired += first - next_offset
        alarm(
            "messages expired before they were read; the log says so",
            partition=partition,
            offsets=f"{next_offset} to {first - 1}",
        )

    def check_positions(self) -> None:
        """After a poll failed: has what comes next expired, or does the broker lack it?"""
        try:
            for partition, (first, end) in self._held().items():
                buffer = self._buffers[partition]
                position = self._consumer.position(partition)
                if position < first:
                    self._consumer.seek(partition, first)
                    self._expired(partition, position, first)
                    buffer.skip_to(first)
                elif position > end:
                    # The log knows best where to read on; it is asked anew, and checked.
                    self._put_off(buffer, RECHECK_S)
        except (Unavailable, InvalidInput):
            return  # it is away altogether, or they are: the next poll tells

    def measure_lag(self) -> None:
        """Note how far each log is behind its partition."""
        try:
            for partition, (_, end) in self._held().items():
                buffer = self._buffers[partition]
                self._metrics.lag[partition] = max(0, end - buffer.sealed_to)
        except (Unavailable, InvalidInput):
            return

    def _held(self) -> dict[int, tuple[int, int]]:
        reading = [number for number, buffer in self._buffers.items() if buffer.reading]
        return {**self._consumer.offsets(reading)} if reading else {}

    def hold(self, buffer: Buffer) -> None:
        """Pause one that is read faster than it is sealed, until there is room: memory is flat."""
        if not buffer.reading:
            return
        with suppress(InvalidInput):  # it was taken away in this very moment
            if not buffer.paused and buffer.is_full:
                self._consumer.pause([buffer.partition])
                buffer.paused = True
            elif buffer.paused and buffer.has_room:
                self._consumer.resume([buffer.partition])
                buffer.paused = False

"""The thread that talks to the store, so that the one that polls the broker never waits for it.

A member that does not poll loses its partitions; a database may be away for minutes. So everything
that takes a transaction is a job for this thread. Jobs are done one after the other, in the order
they came: the batches of a partition never overtake each other. An append that fails because the
store is busy or away is repeated until it succeeds or its partition is released.
"""

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import NamedTuple

from audit.errors import AuditError, Fenced, Unavailable
from audit.store.contract import AppendedFrom
from consumers.logs import alarm, info
from consumers.metrics import Metrics
from consumers.pauses import Pauses
from consumers.sequencer import Batch, Sequencer


class TakeOver(NamedTuple):
    """Take over the log of a partition."""

    sequencer: Sequencer


class Append(NamedTuple):
    """Append a batch to the log of a partition."""

    sequencer: Sequencer
    batch: Batch


class Look(NamedTuple):
    """Ask the store for something small, to know whether it answers."""


class WriteHeads(NamedTuple):
    """Write the heads of all logs into log 0; `final`: however young the newest are."""

    final: bool


Job = TakeOver | Append | WriteHeads | Look


class TakenOver(NamedTuple):
    """A log was taken over; its source is read on at `next_offset`."""

    sequencer: Sequencer
    next_offset: int


class Sealed(NamedTuple):
    """A batch was committed."""

    sequencer: Sequencer
    batch: Batch
    appended: AppendedFrom


class Failed(NamedTuple):
    """A job was given up: for good, or to be asked for again if the error is Unavailable."""

    job: Job
    error: AuditError


class Done(NamedTuple):
    """A job that needs no answer ended, or one whose partition was released."""

    job: Job


Result = TakenOver | Sealed | Failed | Done


class Worker:
    """Does jobs on a thread of its own. `submit` and `next` are for one other thread."""

    def __init__(
        self, look: Callable[[], object], write_heads: Callable[[bool], None], metrics: Metrics
    ) -> None:
        """Start the thread. `look` asks the store for something; `write_heads` takes `final`."""
        self._look = look
        self._write_heads = write_heads
        self._metrics = metrics
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._results: SimpleQueue[Result | BaseException] = SimpleQueue()
        self._giving_up = threading.Event()
        self._pauses = Pauses()
        self.unfinished = 0
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """False when its thread has ended."""
        return self._thread.is_alive()

    def submit(self, job: Job) -> None:
        """Have a job done after those before it. Each is answered by one result."""
        self.unfinished += 1
        self._jobs.put(job)

    def next(self, timeout_s: float = 0.0) -> Result | None:
        """The next result; None when there is none in time. Raises what broke the thread."""
        try:
            result = self._results.get(timeout_s > 0, timeout_s or None)
        except Empty:
            return None
        if isinstance(result, BaseException):
            raise result
        self.unfinished -= 1
        return result

    def give_up(self) -> None:
        """Repeat nothing any more: what fails now is answered as failed."""
        self._giving_up.set()

    def close(self, timeout_s: float) -> None:
        """End the thread after the job it is at. Safe to repeat."""
        self.give_up()
        self._jobs.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                self._results.put(self._do(job))
        except BaseException as error:
            self._results.put(error)

    def _do(self, job: Job) -> Result:
        while True:
            if isinstance(job, TakeOver | Append) and job.sequencer.released:
                return Done(job)
            try:
                result = self._attempt(job)
            except Fenced as error:
                return Failed(job, error)
            except Unavailable as error:
                if not self._again(job, error):
                    return Failed(job, error)
            except AuditError as error:
                return Failed(job, error)
            else:
                self._metrics.database_ok = True
                if isinstance(job, Append) and self._pauses.over():
                    info("the store answers again")
                return result

    def _attempt(self, job: Job) -> Result:
        if isinstance(job, WriteHeads):
            self._write_heads(job.final)
            return Done(job)
        if isinstance(job, Look):
            self._look()
            return Done(job)
        if isinstance(job, TakeOver):
            return TakenOver(job.sequencer, job.sequencer.take_over())
        began_s = time.monotonic()
        appended = job.sequencer.append(job.batch)
        ended_s = time.monotonic()
        self._metrics.batch_seconds.observe(ended_s - began_s)
        self._metrics.seal_seconds.observe(ended_s - job.batch.arrived_s)
        return Sealed(job.sequencer, job.batch, appended)

    def _again(self, job: Job, error: Unavailable) -> bool:
        """Wait before the next attempt; False when the job is not for this thread to repeat.

        Only an append is: what was read behind it must not get ahead of it.
        """
        self._metrics.database_errors += 1
        if isinstance(job, TakeOver):
            return False  # it may be the broker that does not answer
        self._metrics.database_ok = False
        if not isinstance(job, Append):
            return False
        if self._pauses.begins():
            alarm("the store does not answer; what was read is kept and tried again", why=error)
        return not self._giving_up.wait(self._pauses.next_s())

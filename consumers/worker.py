"""The threads that talk to the store, so that the one that polls the broker never waits for it.

A member that does not poll loses its partitions; a database may be away for minutes. So everything
that takes a transaction is a job for these threads. Jobs of a partition are done one after the
other, in the order they came: its batches never overtake each other. An append that fails because
the store is busy or away is repeated until it succeeds or its partition is released.
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
    began_s: float
    ended_s: float


class Failed(NamedTuple):
    """A job was given up: for good, or to be asked for again if the error is Unavailable."""

    job: Job
    error: AuditError


class Done(NamedTuple):
    """A job that needs no answer ended, or one whose partition was released."""

    job: Job


Result = TakenOver | Sealed | Failed | Done


class Worker:
    """Does jobs on threads of its own. `submit` and `next` are for one other thread."""

    def __init__(
        self,
        look: Callable[[], object],
        write_heads: Callable[[bool], None],
        metrics: Metrics,
        threads: int = 1,
    ) -> None:
        """Start the threads. `look` asks the store for something; `write_heads` takes `final`.

        More threads than one help where the store works in another process: while one waits for
        it, another one prepares. All jobs of a partition are done by the same one.
        """
        self._look = look
        self._write_heads = write_heads
        self._metrics = metrics
        self._results: SimpleQueue[Result | BaseException] = SimpleQueue()
        self._giving_up = threading.Event()
        self._lock = threading.Lock()
        self._pauses = Pauses()
        self.unfinished = 0
        self._queues: list[SimpleQueue[Job | None]] = [SimpleQueue() for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._run, args=(jobs,), name=f"store-{number}", daemon=True)
            for number, jobs in enumerate(self._queues)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """False when one of its threads has ended."""
        return all(thread.is_alive() for thread in self._threads)

    def submit(self, job: Job) -> None:
        """Have a job done after those before it. Each is answered by one result."""
        self.unfinished += 1
        of = job.sequencer.partition if isinstance(job, TakeOver | Append) else 0
        self._queues[of % len(self._queues)].put(job)

    def next(self, timeout_s: float = 0.0) -> Result | None:
        """The next result; None when there is none in time. Raises what broke a thread."""
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
        """End the threads after the jobs they are at. Safe to repeat."""
        self.give_up()
        for jobs in self._queues:
            jobs.put(None)
        for thread in self._threads:
            thread.join(timeout_s)

    def _run(self, jobs: "SimpleQueue[Job | None]") -> None:
        try:
            while (job := jobs.get()) is not None:
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
                self._answered(job)
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
        return Sealed(job.sequencer, job.batch, appended, began_s, time.monotonic())

    def _answered(self, job: Job) -> None:
        self._metrics.database_ok = True
        with self._lock:
            again = isinstance(job, Append) and self._pauses.over()
        if again:
            info("the store answers again")

    def _again(self, job: Job, error: Unavailable) -> bool:
        """Wait before the next attempt; False when the job is not for this thread to repeat.

        Only an append is: what was read behind it must not get ahead of it.
        """
        with self._lock:
            self._metrics.database_errors += 1
            if isinstance(job, TakeOver):
                return False  # it may be the broker that does not answer
            self._metrics.database_ok = False
            if not isinstance(job, Append):
                return False
            first, pause_s = self._pauses.begins(), self._pauses.next_s()
        if first:
            alarm("the store does not answer; what was read is kept and tried again", why=error)
        return not self._giving_up.wait(pause_s)

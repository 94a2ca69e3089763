"""The thread that delivers what an emitter has put: sealed in a ledger, or sent to a topic.

The first event goes at once; while they come fast, one group (in a ledger: one transaction with one
checkpoint) goes every GROUP_PAUSE_S. When the destination cannot be reached, events wait in the
spool, the thread tries again with growing pauses, and `flush` says what is wrong.

A crash anywhere: what is in the spool is delivered by the next writer, and what of it was delivered
already is dropped in the log as a duplicate. Writing the spool is the only step that matters to
that.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from audit.capture.delivery.backlog import Backlog
from audit.capture.delivery.destination import Destination
from audit.capture.delivery.leftover import drain
from audit.errors import AuditError, Unavailable
from audit.log.intake import Message
from audit.store.contract import Status

GROUP_EVENTS = 4_096
"""Most events in one group."""
GROUP_PAUSE_S = 0.02
"""While events come fast, a group begins this long after the one before."""
FIRST_RETRY_S = 0.1
CHECK_S = 1.0
"""How often a waiting caller looks whether the thread still lives."""
LEAVE_S = 1.0
"""How long the end waits for a thread that waits for a broker which is away."""

_log = logging.getLogger("audit.capture")


class Sealer:
    """Takes events in order, keeps them safe, delivers them in the background.

    `backlog.lock` is held by whoever calls `put`. `counts` says what became of the events as far as
    the destination knows, `delivered` how many it took. `error` is what keeps events from being
    delivered now; None when nothing is known to.
    """

    def __init__(
        self, destination: Destination, folder: Path, producer_id: str, settles: bool = False
    ) -> None:
        """Make the spool file and start; the destination is closed at the end. Raises Unavailable.

        `settles`: while the destination is away, a synced spool is good enough for `flush`.
        """
        try:
            self.backlog = Backlog(folder, destination.name, producer_id, _log.error)
        except BaseException:
            destination.close()
            raise
        self.counts = dict.fromkeys(Status, 0)
        self.delivered = 0
        self.error: AuditError | None = None
        self._destination = destination
        self._folder = folder
        self._settles = settles
        self._said = ""
        self._changed = threading.Condition(self.backlog.lock)
        # Ends a pause before its time. Apart from `_changed`: pausing must not need the lock.
        self._nudge = threading.Event()
        self._idle = False
        self._hurry = 0
        self._attempt = 0
        self._wanted_attempt = 0
        self._failed_attempt = 0
        # Draining what dead processes left is asked for at the start and once more at the end.
        self._drain_wanted = 1
        self._drain_done = 0
        self._closing = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="audit-sealer", daemon=True)
        self._thread.start()

    def put(self, sequence: int | None, event: bytes, signature: bytes | None) -> None:
        """Take one event; the caller holds the lock. Raises Unavailable: then it was not taken."""
        if self._stopping:
            raise Unavailable("the emitter is closed; make a new one")
        self.backlog.put(sequence, event, signature)
        if self._idle:
            self._idle = False
            self._changed.notify_all()

    @property
    def close_s(self) -> float | None:
        """How long the end waits at most; None: as long as the destination answers."""
        return self._destination.close_s

    def flush(
        self, timeout_s: float | None = None, again: bool = True, say_always: bool = True
    ) -> None:
        """Return when all that was put before, and what dead processes left, is delivered.

        Raises the reason, with how many events wait and where, once an attempt that began after
        this call has failed; Unavailable when the time is up. A sealer that settles then syncs the
        spool and logs a line instead, and raises Unavailable only when even that fails; without
        `again` it does so at once while the destination is known to be away, or when the attempt
        going on fails, and without `say_always` it logs one line for each time that it is.
        """
        if not self._settles:
            self._wait_until_delivered(timeout_s)
            return
        error = None if again else self.error
        if error is None:
            try:
                self._wait_until_delivered(timeout_s, again)
                return
            except AuditError as failure:
                error = failure
        else:
            error = self._waiting_error(error)
        self.backlog.sync()
        self._say(error, say_always)

    def _wait_until_delivered(self, timeout_s: float | None, again: bool = True) -> None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self.backlog.lock:
            target = self.backlog.put_count
            drain_target = self._drain_wanted
            before = self._attempt if again else self._attempt - 1
            self._wanted_attempt = before + 1
            self._hurry += 1
            self._nudge.set()
            self._changed.notify_all()
            try:
                while self.backlog.done_count < target or self._drain_done < drain_target:
                    if self.error is not None and self._failed_attempt > before:
                        raise self._waiting_error(self.error) from self.error
                    if not self._thread.is_alive():
                        raise self._waiting_error(Unavailable("the emitter is closed"))
                    left_s = CHECK_S if deadline is None else deadline - time.monotonic()
                    if left_s <= 0:
                        late = Unavailable(f"{self._destination.name} did not answer in time")
                        raise self._waiting_error(late)
                    self._changed.wait(min(left_s, CHECK_S))
            finally:
                self._hurry -= 1

    def _waiting_error(self, cause: AuditError) -> AuditError:
        count = self.backlog.waiting
        reason = str(cause).partition("\n")[0]
        if not count:
            return type(cause)(reason)
        events = "1 event waits" if count == 1 else f"{count:,} events wait"
        later = f"the next writer {self._destination.does} what waits there"
        if self._settles and not self._closing:
            later = "they go when it is back"
        return type(cause)(f"{reason}\n{events} in {self.backlog.path}; {later}")

    def _say(self, error: AuditError, always: bool) -> None:
        """Log why events wait: once for each outage, and whenever a caller must know."""
        text = str(error).replace("\n", "; ")
        what = text.rpartition("; ")[0] or text  # a flush and the end after it say the same
        if what != self._said and (always or not self._said):
            self._said = what
            _log.warning("%s", text)

    def close(self, timeout_s: float | None = None) -> None:
        """Flush, take what other processes left meanwhile, end the thread, close the destination.

        Raises as `flush`; thread and files are closed all the same.
        """
        if timeout_s is None:
            timeout_s = self.close_s
        with self.backlog.lock:
            retired = self._stopping
            self._closing = True
            if not retired:
                # Processes forked from this one may have ended since, with events in their spools.
                self._drain_wanted += 1
        if retired:
            # Nobody held its emitter any more: the thread delivers what it can and ends by itself.
            self._thread.join(timeout_s)
            if self.backlog.waiting:
                raise self._waiting_error(self.error or Unavailable("the emitter was given up"))
            return
        try:
            self.flush(timeout_s, again=not self._settles and not self.error)
        finally:
            self.retire()
            if self._thread is not threading.current_thread():
                # While it waits for an answer it holds nothing but what is safe in the spool.
                left = self._settles and (self.error or self.backlog.waiting)
                self._thread.join(LEAVE_S if left else timeout_s)

    def retire(self) -> None:
        """Tell the thread to deliver what it can and then end; it closes files and destination."""
        with self.backlog.lock:
            self._stopping = True
            self._nudge.set()
            self._changed.notify_all()

    def before_fork(self) -> None:
        """Let the destination come to rest, and hold the files still."""
        try:
            self._destination.before_fork()
        finally:
            self.backlog.lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.backlog.lock.release()
        self._destination.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Let go of the parent's files. There is no thread here: this object is of no more use."""
        self._stopping = True
        self.backlog.abandon()
        self.backlog.lock.release()
        self._destination.after_fork_in_child()

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while self._wait_for_work():
            self._attempt += 1
            try:
                self._work()
            except AuditError as error:
                self._fail(error)
            except Exception as error:
                # Whatever it was: the events are safe in the spool, and the thread must go on.
                failure = Unavailable(f"cannot deliver events: {type(error).__name__}: {error}")
                failure.__cause__ = error
                self._fail(failure)
            else:
                self.error = None
                self._said = ""
                retry_s = FIRST_RETRY_S
                if self._hurry:
                    with self.backlog.lock:
                        self._changed.notify_all()
                continue
            if self._stopping:
                break
            if self._pause(retry_s, lambda: self._wanted_attempt > self._attempt):
                retry_s = min(2 * retry_s, self._destination.longest_pause_s)
            if self._stopping and self._settles:
                break  # it was away a moment ago, and the next writer sends what waits
        self.backlog.close()
        self._destination.close()

    def _fail(self, error: AuditError) -> None:
        with self.backlog.lock:
            self.error = error
            self._failed_attempt = self._attempt
            self._changed.notify_all()
        if self._settles and not self._hurry:
            self._say(self._waiting_error(error), False)

    def _wait_for_work(self) -> bool:
        """Wait for events or for the end; False when there is nothing left to do."""
        if self._nothing_to_do():
            with self.backlog.lock:
                self.backlog.tidy()
                while self._nothing_to_do():
                    if self._stopping:
                        return False
                    self._idle = True
                    self._changed.wait()
                self._idle = False
        return True

    def _nothing_to_do(self) -> bool:
        return self._drain_done >= self._drain_wanted and not self.backlog.waiting

    def _pause(self, pause_s: float, skip: Callable[[], bool]) -> bool:
        """Wait, unless told to hurry; True when the whole time went by."""
        self._nudge.clear()
        return not (self._stopping or skip()) and not self._nudge.wait(pause_s)

    def _work(self) -> None:
        if not self._drain_done:
            # Whoever emits last and ends at once finds it ready: Python 3.12 begins no more threads
            # then, and a wrong address shows in the log before it matters.
            self._destination.connect()
        if self._drain_done < self._drain_wanted:
            wanted = self._drain_wanted
            drain(self._folder, self._destination.name, self._deliver, _log.error)
            self._drain_done = wanted
        started_s = time.monotonic()
        group = self.backlog.take(GROUP_EVENTS)
        if group:
            self._deliver(group)
            self.backlog.done()
        if self.backlog.waiting:
            rest_s = started_s + GROUP_PAUSE_S - time.monotonic()
            self._pause(max(0.0, rest_s), lambda: self._hurry > 0)

    def _deliver(self, group: list[Message]) -> None:
        for status, count in self._destination.deliver(group).items():
            self.counts[status] += count
        self.delivered += len(group)

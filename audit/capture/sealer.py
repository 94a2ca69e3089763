"""The thread that seals what an emitter has put, many events in one transaction.

The first event goes at once; while they come fast, one transaction with one checkpoint is made
every GROUP_PAUSE_S. When the ledger cannot be reached, events wait in the spool, the thread tries
again with growing pauses, and `flush` says what is wrong.

A crash anywhere: what is in the spool is sealed by the next writer, and what of it was sealed
already is dropped there as a duplicate. Writing the spool is the only step that matters to that.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from audit.capture.backlog import Backlog
from audit.capture.embedded import EmbeddedLedger
from audit.capture.leftover import drain
from audit.errors import AuditError, Unavailable
from audit.log.intake import Message
from audit.store.contract import Status

GROUP_EVENTS = 4_096
"""Most events in one transaction."""
GROUP_PAUSE_S = 0.02
"""While events come fast, a transaction begins this long after the one before."""
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 30.0
CHECK_S = 1.0
"""How often a waiting caller looks whether the thread still lives."""

Tell = Callable[[str], None]


class Sealer:
    """Takes events in order, keeps them safe, seals them in the background.

    `backlog.lock` is held by whoever calls `put`. `counts` says what became of the events.
    `error` is what keeps events from being sealed now; None when nothing is known to.
    """

    def __init__(self, ledger: EmbeddedLedger, folder: Path, producer_id: str, tell: Tell) -> None:
        """Make the spool file and start; the ledger is closed at the end. Raises Unavailable."""
        self.ledger = ledger
        self.backlog = Backlog(folder, ledger.origin, producer_id, tell)
        self.counts = dict.fromkeys(Status, 0)
        self.error: AuditError | None = None
        self._folder = folder
        self._tell = tell
        self._changed = threading.Condition(self.backlog.lock)
        # Ends a pause before its time. Apart from `_changed`: pausing must not need the lock.
        self._nudge = threading.Event()
        # Held while the store is used, so that a fork can wait for it (see `before_fork`).
        self._store_lock = threading.Lock()
        self._idle = False
        self._hurry = 0
        self._attempt = 0
        self._wanted_attempt = 0
        self._failed_attempt = 0
        # Draining what dead processes left is asked for at the start and once more at the end.
        self._drain_wanted = 1
        self._drain_done = 0
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

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when all that was put before, and what dead processes left, is sealed.

        Raises the reason, with how many events wait and where, once an attempt that began after
        this call has failed; Unavailable when the time is up.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self.backlog.lock:
            target = self.backlog.put_count
            drain_target = self._drain_wanted
            before = self._attempt
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
                        raise self._waiting_error(Unavailable("the ledger did not answer in time"))
                    self._changed.wait(min(left_s, CHECK_S))
            finally:
                self._hurry -= 1

    def _waiting_error(self, cause: AuditError) -> AuditError:
        count = self.backlog.waiting
        events = "1 event waits" if count == 1 else f"{count} events wait"
        reason = str(cause).partition("\n")[0]
        text = f"{reason}\n{events} in {self.backlog.path}; the next writer seals what waits there"
        return type(cause)(text)

    def close(self, timeout_s: float | None = None) -> None:
        """Flush, take what other processes left meanwhile, end the thread, close the ledger.

        Raises as `flush`; thread and files are closed all the same.
        """
        # Processes forked from this one may have ended since, with events in their spools.
        self._drain_wanted += 1
        try:
            self.flush(timeout_s)
        finally:
            self.retire()
            if self._thread is not threading.current_thread():
                self._thread.join(timeout_s)

    def retire(self) -> None:
        """Tell the thread to seal what it can and then end; it closes the files and the ledger."""
        with self.backlog.lock:
            self._stopping = True
            self._nudge.set()
            self._changed.notify_all()

    def before_fork(self) -> None:
        """Wait for the store to be at rest and close its connections.

        SQLite keeps in memory which file locks its process holds; a child would inherit that belief
        without the locks. (https://www.sqlite.org/howtocorrupt.html section 2.6)
        """
        self._store_lock.acquire()
        self.backlog.lock.acquire()
        self.ledger.close()

    def after_fork_in_parent(self) -> None:
        """Go on; the store opens again by itself."""
        self.backlog.lock.release()
        self._store_lock.release()

    def after_fork_in_child(self) -> None:
        """Let go of the parent's files. There is no thread here: this object is of no more use."""
        self._stopping = True
        self.backlog.abandon()
        self.backlog.lock.release()
        self._store_lock.release()

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
                failure = Unavailable(f"cannot seal events: {type(error).__name__}: {error}")
                failure.__cause__ = error
                self._fail(failure)
            else:
                self.error = None
                retry_s = FIRST_RETRY_S
                if self._hurry:
                    with self.backlog.lock:
                        self._changed.notify_all()
                continue
            if self._stopping:
                break
            if self._pause(retry_s, lambda: self._wanted_attempt > self._attempt):
                retry_s = min(2 * retry_s, LAST_RETRY_S)
        self.backlog.close()
        with contextlib.suppress(AuditError):
            self.ledger.close()

    def _fail(self, error: AuditError) -> None:
        with self.backlog.lock:
            self.error = error
            self._failed_attempt = self._attempt
            self._changed.notify_all()

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
        if self._drain_done < self._drain_wanted:
            wanted = self._drain_wanted
            with self._store_lock:
                drain(self._folder, self.ledger.origin, self._seal, self._tell)
            self._drain_done = wanted
        started_s = time.monotonic()
        group = self.backlog.take(GROUP_EVENTS)
        if group:
            with self._store_lock:
                self._seal(group)
            self.backlog.done()
        if self.backlog.waiting:
            rest_s = started_s + GROUP_PAUSE_S - time.monotonic()
            self._pause(max(0.0, rest_s), lambda: self._hurry > 0)

    def _seal(self, group: list[Message]) -> None:
        for outcome in self.ledger.append(group).outcomes:
            self.counts[outcome.status] += 1

"""The thread that seals what an emitter has put into its spool, many events in one transaction.

Life of an event here: `put` writes it to the spool (from now on it survives the process) and into
a queue; the thread takes what is queued, up to GROUP_EVENTS, and appends it to the ledger; when all
is sealed the spool file is emptied. The first event goes at once; while they come fast, one
transaction and one checkpoint are made every GROUP_PAUSE_S. When the ledger cannot be reached,
events wait in the spool, the thread tries again with growing pauses, and `flush` says so.

A crash anywhere: what is in the spool file is sealed by the next writer, and what of it was sealed
already is dropped there as a duplicate.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path

from audit.capture.embedded import EmbeddedLedger
from audit.capture.leftover import drain
from audit.capture.spool import Read, Spool, encode_record
from audit.errors import AuditError, Unavailable
from audit.log.intake import Message
from audit.store.contract import Status

GROUP_EVENTS = 4_096
"""Most events in one transaction."""
GROUP_PAUSE_S = 0.02
"""While events come fast, this long after one transaction the next one begins."""
QUEUE_EVENTS = 20_000
"""Events held in memory; what waits beyond them is read from the spool when its turn comes."""
ROTATE_BYTES = 64 * 2**20
"""A spool file that grows over this is followed by a new one, and removed once it is sealed."""
FIRST_RETRY_S = 0.1
LAST_RETRY_S = 30.0

Tell = Callable[[str], None]


class Sealer:
    """Takes events in order, keeps them safe, seals them in the background.

    `lock` is held by the caller around `put`, so that what he numbers is what comes next in the
    file. `counts` says what became of the events (a `Status` each). `error` is what keeps events
    from being sealed right now, None when nothing does.
    """

    def __init__(self, ledger: EmbeddedLedger, folder: Path, producer_id: str, tell: Tell) -> None:
        """Make the spool file and start. The ledger is closed at the end. Raises Unavailable."""
        self.lock = threading.RLock()
        self.counts = dict.fromkeys(Status, 0)
        self.error: AuditError | None = None
        self._ledger = ledger
        self._folder = folder
        self._tell = tell
        self._names = (f"{producer_id}-{number:06}" for number in count())
        self._spool = self._new_spool()
        # A sealed file waits here with the number of the event after its last one.
        self._full: deque[tuple[int, Spool]] = deque()
        self._queue: deque[Message] = deque()
        # Where in the spool the events begin that were too many for the queue; None: none were.
        self._unread_at: int | None = None
        self._put = 0
        self._sealed = 0
        self._changed = threading.Condition(self.lock)
        self._idle = False
        self._hurry = 0
        self._attempts = 0
        self._failed_attempt = 0
        self._drained = False
        self._stopping = False
        self._store_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="audit-sealer", daemon=True)
        self._thread.start()

    def _new_spool(self) -> Spool:
        return Spool.create(self._folder, self._ledger.origin, lambda: next(self._names))

    @property
    def waiting(self) -> int:
        """How many events are in the spool and not yet sealed."""
        return self._put - self._sealed

    @property
    def where(self) -> Path:
        """The spool file."""
        return self._spool.path

    def put(self, sequence: int | None, event: bytes, signature: bytes | None) -> None:
        """Take one event; the caller holds `lock`. Raises Unavailable: then it was not taken."""
        spool = self._spool
        start = spool.end
        if start > ROTATE_BYTES and self._unread_at is None:
            spool = self._spool = self._next_spool(spool)
            start = spool.end
        spool.append(encode_record(sequence, event, signature))
        if self._unread_at is None:
            if len(self._queue) < QUEUE_EVENTS:
                self._queue.append(Message(event, signature))
            else:
                self._unread_at = start
        self._put += 1
        if self._idle:
            self._idle = False
            self._changed.notify_all()

    def _next_spool(self, spool: Spool) -> Spool:
        new = self._new_spool()
        self._full.append((self._put, spool))
        return new

    def flush(self, timeout_s: float | None = None) -> None:
        """Return when all that was put before, and what dead processes left, is sealed.

        Raises the reason, an Unavailable or StoreCorrupt that says how many events wait and where,
        once an attempt begun after this call has failed, or the time is up.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self.lock:
            target = self._put
            before = self._attempts
            self._hurry += 1
            try:
                self._changed.notify_all()
                while self._sealed < target or not self._drained:
                    if self.error is not None and self._failed_attempt > before:
                        raise self._waiting_error(self.error)
                    left_s = None if deadline is None else deadline - time.monotonic()
                    if left_s is not None and left_s <= 0:
                        raise self._waiting_error(
                            self.error or Unavailable("the time to seal them is up")
                        )
                    self._changed.wait(left_s)
            finally:
                self._hurry -= 1

    def _waiting_error(self, cause: AuditError) -> AuditError:
        text = f"{cause}\n{self.waiting} events wait in {self.where}; the next writer seals them"
        return type(cause)(text)

    def close(self, timeout_s: float | None = None) -> None:
        """Flush, take what other processes left meanwhile, end the thread, close the ledger.

        Raises as `flush`; the thread and the files are closed all the same.
        """
        with self.lock:
            # Processes forked from this one may have ended since, with events in their spools.
            self._drained = False
        try:
            self.flush(timeout_s)
        finally:
            self.retire()
            if self._thread is not threading.current_thread():
                self._thread.join(timeout_s)

    def retire(self) -> None:
        """Tell the thread to seal what it can and end; it then closes the files and the ledger."""
        with self.lock:
            self._stopping = True
            self._changed.notify_all()

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while self._wait_for_work():
            self._attempts += 1
            try:
                self._work()
            except AuditError as error:
                self._fail(error)
            except Exception as error:
                # Whatever it is, events are safe in the spool, and the thread must go on.
                self._fail(Unavailable(f"cannot seal: {type(error).__name__}: {error}"))
            else:
                self.error = None
                retry_s = FIRST_RETRY_S
                self._settle()
                continue
            if self._stopping:
                break
            with self.lock:
                before = self._hurry
                self._changed.wait_for(lambda: self._stopping or self._hurry > before, retry_s)  # noqa: B023
            retry_s = min(2 * retry_s, LAST_RETRY_S)
        self._end()

    def _fail(self, error: AuditError) -> None:
        with self.lock:
            self.error = error
            self._failed_attempt = self._attempts
            self._changed.notify_all()

    def _wait_for_work(self) -> bool:
        """Wait for events or for the end; False when there is nothing left to do."""
        if not self._drained:
            return True
        if self._queue:
            if not (self._hurry or self._stopping):
                # Not under `lock`: emitters in a tight loop would hardly ever leave it to us.
                time.sleep(GROUP_PAUSE_S)
            return True
        with self.lock:
            while not self._queue and self._unread_at is None and self._drained:
                if self._stopping:
                    return False
                self._idle = True
                self._changed.wait()
                self._idle = False
        return True

    def _work(self) -> None:
        if not self._drained:
            with self._store_lock:
                drain(self._folder, self._ledger.origin, self._append, self._tell)
            self._drained = True
            return
        group, read_to = self._group()
        if group:
            with self._store_lock:
                self._append(group)
        self._forget(len(group), read_to)

    def _append(self, group: list[Message]) -> None:
        for outcome in self._ledger.append(group).outcomes:
            self.counts[outcome.status] += 1

    def _group(self) -> tuple[list[Message], int | None]:
        """What to seal next, left where it is until it is sealed; where its last one ends in the
        spool file when it was read from there."""
        size = min(len(self._queue), GROUP_EVENTS)
        if size:
            return [self._queue[i] for i in range(size)], None
        return [], None

    def _forget(self, size: int, read_to: int | None) -> None:
        pass

    def _settle(self) -> None:
        pass

    def _end(self) -> None:
        with contextlib.suppress(AuditError):
            self._ledger.close()

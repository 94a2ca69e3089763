"""What an emitter put and the ledger does not have yet: in the spool file, and in a queue.

One side puts, under a lock; the other, one thread, takes groups in the same order and says when
they are sealed. The queue is bounded: what does not fit is read back from the file when its turn
comes. The files are bounded too: emptied when all is sealed, and followed by a new one when one
grows while there is always something waiting.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path

from audit.capture.spool import Spool, encode_record
from audit.errors import AuditError
from audit.log.intake import Message

QUEUE_EVENTS = 20_000
"""Events held in memory."""
ROTATE_BYTES = 64 * 2**20
"""A spool file that grows over this is followed by a new one, and removed once it is sealed."""

Tell = Callable[[str], None]


class Backlog:
    """Events in order, from `put` until `done`.

    `lock` is the emitter's: whoever calls `put` holds it, so that what he numbers is what comes
    next in the file. `take` and `done` belong to one thread; they never wait for `lock` while the
    queue holds something, for emitters in a tight loop would hardly ever let go of it.
    """

    def __init__(self, folder: Path, destination: str, producer_id: str, tell: Tell) -> None:
        """Make the first file. Raises Unavailable."""
        self.lock = threading.RLock()
        self.put_count = 0
        self.done_count = 0
        self._folder = folder
        self._destination = destination
        self._names = (f"{producer_id}-{number:06}" for number in count())
        self._tell = tell
        self._spool = self._new_spool()
        # A full file, and how many events had been put when the next one was begun.
        self._full: deque[tuple[int, Spool]] = deque()
        self._queue: deque[tuple[bytes, bytes | None]] = deque()
        # Where in the file the events begin that did not fit the queue; None when all did.
        self._unread_at: int | None = None
        self._group: list[Message] = []

    def _new_spool(self) -> Spool:
        return Spool.create(self._folder, self._destination, lambda: next(self._names))

    @property
    def waiting(self) -> int:
        """How many events are not sealed."""
        return self.put_count - self.done_count

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return self._spool.path

    def put(self, sequence: int | None, event: bytes, signature: bytes | None) -> None:
        """Take one event; it survives the process. Raises Unavailable: then it was not taken."""
        spool = self._spool
        if spool.end > ROTATE_BYTES and self._unread_at is None:
            new = self._new_spool()
            self._full.append((self.put_count, spool))
            self._spool = spool = new
        start = spool.end
        fits = self._unread_at is None and len(self._queue) < QUEUE_EVENTS
        spool.append(encode_record(sequence, event, signature))
        # From here on nothing can raise, and no call lets a KeyboardInterrupt in before the last.
        self.put_count += 1
        if fits:
            self._queue.append((event, signature))
        elif self._unread_at is None:
            self._unread_at = start

    def sync(self) -> None:
        """Return when a power cut can no longer lose what was put. Raises Unavailable."""
        for _, spool in list(self._full):
            spool.sync()
        self._spool.sync()

    def take(self, limit: int) -> list[Message]:
        """The next group to seal; the same one again until `done`. Empty when nothing waits."""
        if not self._group:
            size = min(len(self._queue), limit)
            if size:
                self._group = [Message(*self._queue.popleft()) for _ in range(size)]
            elif self._unread_at is not None:
                self._group = self._read_back(self._unread_at, limit)
        return self._group

    def _read_back(self, start: int, limit: int) -> list[Message]:
        spool = self._spool
        reads = spool.read(start, spool.end, limit)
        group = [Message(r.waiting.event, r.waiting.signature) for r in reads if r.waiting]
        at = reads[-1].end if reads else spool.end
        lost = 0
        with self.lock:
            if at < spool.end:
                self._unread_at = at
            else:
                # All of the file is read: what is counted and not in the group cannot be read.
                self._unread_at = None
                lost = self.waiting - len(group)
                self.done_count += lost
        if lost:
            self._tell(f"{spool.path} is damaged: {lost} events in it cannot be read")
        return group

    def done(self) -> None:
        """The group that `take` gave is sealed."""
        self.done_count += len(self._group)
        self._group = []
        while self._full and self._full[0][0] <= self.done_count:
            _, spool = self._full.popleft()
            spool.end = spool.start
            spool.close()
        if self.lock.acquire(blocking=False):
            try:
                self.tidy()
            finally:
                self.lock.release()

    def tidy(self) -> None:
        """Empty the file if all in it is sealed; the caller holds `lock`."""
        if not self.waiting and self._spool.end > self._spool.start:
            # If that fails, the next writer finds events that the ledger drops as duplicates.
            with contextlib.suppress(AuditError):
                self._spool.empty()

    def close(self) -> None:
        """Give up the files; what waits in them is left for the next writer."""
        with self.lock:
            self.tidy()
            for _, spool in self._full:
                spool.close()
            self._spool.close()

    def abandon(self) -> None:
        """In a forked child: close the parent's files without touching them."""
        for _, spool in self._full:
            spool.abandon()
        self._spool.abandon()

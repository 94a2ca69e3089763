"""What an emitter put and is not delivered yet: in spool files, and in a queue.

One side puts, under a lock; the other, one thread, takes groups in the same order and says when
they are delivered. The queue is bounded: what does not fit is read back from the files when its
turn comes. The files are bounded too: emptied when all is delivered, followed by a new one when one
grows, removed one by one as they are delivered, and all together limited to MAX_SPOOL_BYTES.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path

from audit.capture.delivery.spool import Spool, encode_record
from audit.errors import AuditError, Unavailable
from audit.log.intake import Message

QUEUE_EVENTS = 20_000
"""Events held in memory."""
QUEUE_BYTES = 64 * 2**20
"""Bytes of events held in memory."""
GROUP_BYTES = 8 * 2**20
"""A group is complete when it has so many bytes of events, however few they are."""
ROTATE_BYTES = 64 * 2**20
"""A spool file that grows over this is followed by a new one, and removed once it is delivered."""
MAX_SPOOL_BYTES = 8 * 2**30
"""How much of one emitter may wait: some twenty million small events. Beyond, nothing is taken."""

Tell = Callable[[str], None]


class Backlog:
    """Events in order, from `put` until `done`.

    `lock` is the emitter's: whoever calls `put` holds it, so that what he numbers is what comes
    next in the file. `take` and `done` belong to one thread; they never wait for `lock` while the
    queue holds something, for emitters in a tight loop would hardly ever let go of it.
    """

    def __init__(self, folder: Path, destination: str, producer_id: str, tell: Tell) -> None:
        """Make the first file. Raises Unavailable, LimitExceeded for the destination's name."""
        self.lock = threading.RLock()
        self.put_count = 0
        self.done_count = 0
        self._folder = folder
        self._destination = destination
        self._names = (f"{producer_id}-{number:06}" for number in count())
        self._tell = tell
        self._spool = self._new_spool()
        # Full files, and how many events had been put when the next one was begun.
        self._full: deque[tuple[int, Spool]] = deque()
        self._queue: deque[tuple[bytes, bytes | None]] = deque()
        # Where the events begin that did not fit the queue; None when all did.
        self._unread: tuple[Spool, int] | None = None
        self._group: list[Message] = []
        self._generation = 0
        # Sums that only one side writes: together they say what is in the full files, in the queue.
        self._filled_bytes = 0
        self._freed_bytes = 0
        self._queued_bytes = 0
        self._taken_bytes = 0

    def _new_spool(self) -> Spool:
        return Spool.create(self._folder, self._destination, lambda: next(self._names))

    @property
    def waiting(self) -> int:
        """How many events are not delivered."""
        return self.put_count - self.done_count

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return self._spool.path

    def prepare(self) -> int:
        """Choose the file for the next events; the caller holds `lock`. Raises Unavailable.

        Returns a number that is another one whenever the file is another one or was emptied: what
        must stand before the events in each file is then to be put again.
        """
        spool = self._spool
        if spool.end > ROTATE_BYTES:
            self._spool = self._new_spool()
            self._filled_bytes += spool.end
            self._full.append((self.put_count, spool))
            self._generation += 1
        return self._generation

    def put(self, sequence: int | None, event: bytes, signature: bytes | None) -> None:
        """Take one event; it survives the process. Raises Unavailable: then it was not taken."""
        spool = self._spool
        start = spool.end
        record = encode_record(sequence, event, signature)
        if self._filled_bytes - self._freed_bytes + start + len(record) > MAX_SPOOL_BYTES:
            raise Unavailable(
                f"the spool in {self._folder} is full: {self.waiting:,} events wait\n"
                f"nothing more can be emitted before {self._destination} is reachable again"
            )
        fits = (
            self._unread is None
            and len(self._queue) < QUEUE_EVENTS
            and self._queued_bytes - self._taken_bytes < QUEUE_BYTES
        )
        spool.append(record)
        # From here on nothing can raise, and no call lets a KeyboardInterrupt in before the last.
        self.put_count += 1
        if fits:
            self._queued_bytes += len(event)
            self._queue.append((event, signature))
        elif self._unread is None:
            self._unread = (spool, start)

    def sync(self) -> None:
        """Return when a power cut can no longer lose what was put. Raises Unavailable."""
        with self.lock:
            spools = [*(spool for _, spool in self._full), self._spool]
        for spool in spools:
            spool.sync()

    def take(self, limit: int) -> list[Message]:
        """The next group to deliver; the same one again until `done`. Empty when nothing waits."""
        if not self._group:
            if self._queue:
                self._group = self._from_queue(limit)
            elif self._unread is not None:
                self._group = self._read_back(*self._unread, limit)
        return self._group

    def _from_queue(self, limit: int) -> list[Message]:
        queue = self._queue
        group: list[Message] = []
        size = 0
        for _ in range(min(len(queue), limit)):
            message = Message(*queue.popleft())
            group.append(message)
            size += len(message.event)
            if size >= GROUP_BYTES:
                break
        self._taken_bytes += size
        return group

    def _read_back(self, spool: Spool, start: int, limit: int) -> list[Message]:
        """The next events of a file; what is counted in it and cannot be read is told."""
        stop = spool.end
        reads = spool.read(start, stop, limit, GROUP_BYTES)
        group = [Message(r.waiting.event, r.waiting.signature) for r in reads if r.waiting]
        at = reads[-1].end if reads else stop
        with self.lock:
            if at < spool.end:
                self._unread = (spool, at)
                return group
            # All of the file is read: what was put up to its end is delivered, or in the group.
            self._unread = None
            upto = self.put_count
            files = [*self._full, (upto, self._spool)]
            for (put, each), (_, after) in pairwise(files):
                if each is spool:
                    upto = put
                    # Nothing stands in a file that was begun just now: the queue takes what comes.
                    self._unread = (after, after.start) if after.end > after.start else None
            lost = upto - self.done_count - len(group)
            self.done_count += lost
        if lost:
            self._tell(f"{spool.path} is damaged: {lost} events in it cannot be read")
        if not group:
            self._remove_delivered()
        return group

    def done(self) -> None:
        """The group that `take` gave is delivered."""
        self.done_count += len(self._group)
        self._group = []
        self._remove_delivered()
        if self.lock.acquire(blocking=False):
            try:
                self.tidy()
            finally:
                self.lock.release()

    def _remove_delivered(self) -> None:
        while self._full and self._full[0][0] <= self.done_count:
            _, spool = self._full.popleft()
            self._freed_bytes += spool.end
            spool.end = spool.start
            spool.close()

    def tidy(self) -> None:
        """Empty the file if all in it is delivered; the caller holds `lock`."""
        if not self.waiting and self._spool.end > self._spool.start:
            # If that fails, the next writer finds events that the log drops as duplicates.
            with contextlib.suppress(AuditError):
                self._spool.empty()
                self._generation += 1

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

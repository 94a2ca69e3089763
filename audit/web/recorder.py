"""Access events on their way: written by one thread, waited for by requests only for a while.

A disk that hangs or a spool that is full must not take the threads that make pages with it. So a
request hands its event over and waits until it is in the emitter's spool, but not for long, and not
at all while an earlier one is stuck.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from audit.errors import AuditError, Unavailable

if TYPE_CHECKING:
    from audit.capture.emitter import Emitter

WAIT_SECONDS = 1.0
"""So long a request waits until its event is safe."""
MAX_WAITING = 10_000
"""Events that are handed over and not yet safe, some 10 MB; further ones are lost, and said."""
SAY_SECONDS = 60.0
"""So often, at most, the log says that events are not safe, and how many."""
CLOSE_SECONDS = 5.0
"""So long the end waits until events are sealed; what is not then waits in the spool."""

_log = logging.getLogger("audit.web.access")


class _Look:
    """One event: who looked at what."""

    def __init__(self, who: str, row: Mapping[str, Any]) -> None:
        self.who = who
        self.row = row
        self.over = threading.Event()
        self.error: AuditError | None = None


class Recorder:
    """Hands access events to an emitter, which it closes at the end."""

    def __init__(self, emitter: "Emitter", entity: str, clock: Callable[[], float]) -> None:
        """`clock`: seconds, never going back."""
        self._emitter = emitter
        self._entity = entity
        self._clock = clock
        self._looks: Queue[_Look | None] = Queue(MAX_WAITING)
        self._stuck = False
        self._lock = threading.Lock()
        self._unsafe = 0
        self._said_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="audit-access", daemon=True)
        self._thread.start()

    def record(self, who: str, row: Mapping[str, Any]) -> bool:
        """Whether the event is safe in the spool; if not, the log says why."""
        look = _Look(who, row)
        try:
            self._looks.put_nowait(look)
        except Full:
            self._say(f"over {MAX_WAITING:,} wait, further ones are lost")
            return False
        if not look.over.wait(0.0 if self._stuck else WAIT_SECONDS):
            self._stuck = True
            self._say("the spool takes none; those handed over wait in memory")
            return False
        if look.error is not None:
            self._say(str(look.error).replace("\n", "; "))
        return look.error is None

    def _say(self, why: str) -> None:
        with self._lock:
            self._unsafe += 1
            now = self._clock()
            if self._said_at is not None and now - self._said_at < SAY_SECONDS:
                return
            self._said_at = now
            count, self._unsafe = self._unsafe, 0
        events = "an access event is" if count == 1 else f"{count:,} access events are"
        _log.error("%s not safe: %s", events, why)

    def _run(self) -> None:
        from audit.capture.context import context

        while (look := self._looks.get()) is not None:
            try:
                with context(actor=look.who or "unknown"):
                    self._emitter.create(self._entity, str(uuid4()), look.row)
            except AuditError as error:
                look.error = error
            except Exception as error:  # else nothing would be recorded from here on
                _log.exception("an access event is lost by a bug")
                look.error = Unavailable(f"a bug in this server: {type(error).__name__}")
            finally:
                self._stuck = False
                look.over.set()

    def close(self) -> None:
        """End within some CLOSE_SECONDS; what is lost or waits then is said. Safe to repeat."""
        until = time.monotonic() + CLOSE_SECONDS
        with suppress(Full):
            self._looks.put(None, timeout=CLOSE_SECONDS)
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            _log.error("%d access events are lost: the spool takes none", self._left())
            return
        try:
            self._emitter.close(CLOSE_SECONDS)
        except AuditError as error:
            _log.error("%s", str(error).replace("\n", "; "))

    def _left(self) -> int:
        count = 1  # the one that is stuck
        while True:
            try:
                count += self._looks.get_nowait() is not None
            except Empty:
                return count

"""An emitter whose bus may be away: what it gets waits until the bus is back, or it must end.

For whatever brings events from somewhere else and notes what it has brought only when they are
safe: the relay of an outbox, the capture of a topic. After a crash what was not noted comes again.
"""

import logging
import threading
import time
from collections.abc import Callable

from audit.capture.emitter import Emitter
from audit.errors import StoreCorrupt, Unavailable
from audit.event.build import Built

FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 5.0
PATIENCE_S = 30.0
"""How long a bus may take to answer, saying nothing, before that is an outage."""

Pause = Callable[[float], object]
"""Waits so many seconds, or less. May raise: then there is nothing to wait for any more."""

_log = logging.getLogger("audit.capture")


class Backoff:
    """Pauses that double, from FIRST_RETRY_S to LONGEST_RETRY_S."""

    def __init__(self, pause: Pause) -> None:
        """Not waited yet."""
        self._pause = pause
        self._next_s = FIRST_RETRY_S

    def wait(self) -> None:
        """Pause once more. Raises as the pause does."""
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, LONGEST_RETRY_S)
        self._pause(pause_s)

    def begin_again(self) -> None:
        """It went well: the next pause is short."""
        self._next_s = FIRST_RETRY_S


class PatientEmitter:
    """Opened when first needed. `stop` ends all waiting; so does `once`: an outage is raised then.

    `outages`: how often something stopped answering; `outage`: why it does not answer now.
    """

    def __init__(
        self, opened: Callable[[], Emitter], who: str, stop: threading.Event, turn_s: float
    ) -> None:
        """`who` waits, as the log says it; `turn_s`: how long one flush may take before a pause."""
        self.once = False
        self.outages = 0
        self.outage: str | None = None
        self._opened = opened
        self._who = who
        self._stop = stop
        self._turn_s = turn_s
        self._emitter: Emitter | None = None

    @property
    def emitter(self) -> Emitter:
        """The emitter itself. Raises as opening it does."""
        if self._emitter is None:
            self._emitter = self._opened()
        return self._emitter

    @property
    def rejected(self) -> int:
        """How many events were quarantined since it was opened."""
        if self._emitter is None:
            return 0
        return self._emitter.conflicts + self._emitter.quarantined

    def send(self, built: Built, pause: Pause) -> None:
        """Put an event in, waiting while the bus is away or the spool cannot be written.

        Raises InvalidInput for what is no event; as `flush` besides.
        """
        try:
            self.emitter.send(built)
            return
        except Unavailable:
            backoff = Backoff(pause)
        while True:
            self.flush(pause)  # comes back when the bus does
            try:
                self.emitter.send(built)
                return
            except Unavailable as error:
                if self.once or self._stop.is_set():
                    raise
                self.note(error)
            backoff.wait()

    def flush(self, pause: Pause) -> None:
        """Return when all is sealed, or acknowledged. Raises Unavailable when told to end.

        A flush that is only slow is no outage until PATIENCE_S are over. Raises StoreCorrupt, and
        what the pause raises.
        """
        backoff = Backoff(pause)
        began_s = time.monotonic()
        while True:
            asked_s = time.monotonic()
            try:
                self.emitter.flush(self._turn_s)
            except Unavailable as error:
                now_s = time.monotonic()
                is_slow = now_s - asked_s >= self._turn_s and now_s - began_s < PATIENCE_S
                if self._stop.is_set() or (self.once and not is_slow):
                    raise
                if not is_slow:
                    self.note(error)
            else:
                self.outage = None
                return
            backoff.wait()

    def note(self, error: Unavailable) -> None:
        """Something does not answer: said once for each outage."""
        text = str(error).replace("\n", "; ")
        if self.outage is None:
            self.outages += 1
            _log.warning("%s waits: %s", self._who, text)
        self.outage = text

    def close(self) -> None:
        """Close it; what did not get out is in the spool, and said. It may be used again."""
        emitter, self._emitter = self._emitter, None
        if emitter is not None:
            say_instead(emitter.close)


class Bringing:
    """What brings events from elsewhere until told to stop, and waits while something is away."""

    def __init__(self, opened: Callable[[], Emitter], who: str, turn_s: float) -> None:
        """As `PatientEmitter`; nothing is opened yet."""
        self._stop = threading.Event()
        self._out = PatientEmitter(opened, who, self._stop, turn_s)

    @property
    def outages(self) -> int:
        """How often something stopped answering: where events come from, or where they go."""
        return self._out.outages

    @property
    def outage(self) -> str | None:
        """Why it does not answer now."""
        return self._out.outage

    def stop(self) -> None:
        """End after the batch that is under way."""
        self._stop.set()


def say_instead(close: Callable[[], object]) -> None:
    """Close something at the end, where what goes wrong can only be told."""
    try:
        close()
    except (Unavailable, StoreCorrupt) as error:
        _log.warning("%s", str(error).replace("\n", "; "))

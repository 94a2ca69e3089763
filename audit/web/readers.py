"""Ledgers open for reading, lent to one request at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, LifoQueue
from threading import Lock

from audit.errors import StoreBusy
from audit.ledger import Ledger
from audit.web.options import WebOptions

MAX_LEDGERS = 4
"""Open at once. Each holds a connection and what its read model keeps in memory."""
WAIT_SECONDS = 20.0
"""So long a request waits for one."""


class Readers:
    """The ledger of the view, opened as often as requests need it, at most MAX_LEDGERS times."""

    def __init__(self, options: WebOptions) -> None:
        """Opens one at once, so that a wrong address is said at the start. Raises StoreMissing."""
        self._options = options
        self._idle: LifoQueue[Ledger] = LifoQueue()
        self._lock = Lock()
        self._opened = 1
        self._idle.put(self._open())

    def _open(self) -> Ledger:
        return Ledger(self._options.store, read_model=self._options.read_model)

    @contextmanager
    def lent(self) -> Iterator[Ledger]:
        """A ledger for one request. Raises StoreBusy when none gets free, Unavailable."""
        ledger = self._take()
        try:
            yield ledger
        finally:
            self._idle.put(ledger)

    def _take(self) -> Ledger:
        try:
            return self._idle.get_nowait()
        except Empty:
            pass
        with self._lock:
            more = self._opened < MAX_LEDGERS
            self._opened += more
        if more:
            try:
                return self._open()
            except BaseException:
                with self._lock:
                    self._opened -= 1
                raise
        try:
            return self._idle.get(timeout=WAIT_SECONDS)
        except Empty:
            raise StoreBusy("all readers are busy; ask again in a moment") from None

    def close(self) -> None:
        """Close those that nobody has. Safe to repeat."""
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return

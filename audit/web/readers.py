"""Ledgers open for reading, lent to one request at a time, and kept up to their logs."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from queue import Empty, LifoQueue
from threading import Lock

from audit.errors import AuditError, StoreBusy
from audit.ledger import Ledger
from audit.lineage.tracing.record_index import index_of
from audit.replay.fastpath import FAST_FROM_ENTRIES
from audit.web.lanes import DEAR, PLACES, QUICK
from audit.web.options import WebOptions

MAX_STREAMS = 2
"""So many tables at once are given out, which takes about as long as who reads them likes."""
MAX_LEDGERS = PLACES[QUICK] + PLACES[DEAR] + MAX_STREAMS
"""Open at once, each with a connection of its own: one for each request that has a place. The read
model is one for all."""
WAIT_SECONDS = 20.0
"""So long a page waits for one. A table does not wait: those that do would stand in the way."""
FRESH_SECONDS = 5.0
"""So often the read models are brought up to their logs, so that no page has to do much of it."""

_log = logging.getLogger("audit.web")


class Readers:
    """The ledger of the view, opened as often as requests need it, at most MAX_LEDGERS times."""

    def __init__(self, options: WebOptions) -> None:
        """Opens one at once, so that a wrong address is said at the start. Raises StoreMissing."""
        self._options = options
        self._idle: LifoQueue[Ledger] = LifoQueue()
        self._lock = Lock()
        self._opened = 1
        self._streams = threading.BoundedSemaphore(MAX_STREAMS)
        self._closing = threading.Event()
        self._freshener: threading.Thread | None = None
        # Never lent: its connection is that of the read model alone, which has a lock of its own.
        self._model = Ledger(options.store, read_model=options.read_model)
        self._idle.put(self._open())

    def _open(self) -> Ledger:
        ledger = Ledger(self._options.store, read_model="off")
        ledger.share_read_model(self._model)
        return ledger

    @contextmanager
    def lent(self) -> Iterator[Ledger]:
        """A ledger for one request. Raises StoreBusy when none gets free, Unavailable."""
        ledger = self._take()
        try:
            yield ledger
        finally:
            self._idle.put(ledger)
            if self._closing.is_set():
                self._close_idle()

    @contextmanager
    def lent_for_stream(self) -> Iterator[Ledger]:
        """A ledger for one table. Raises StoreBusy when MAX_STREAMS are given out already."""
        if not self._streams.acquire(blocking=False):
            raise StoreBusy(f"{MAX_STREAMS} tables are given out already; ask again in a moment")
        with ExitStack() as held:
            held.callback(self._streams.release)
            yield held.enter_context(self.lent())

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

    def keep_fresh(self, then: Callable[[], object] = lambda: None) -> None:
        """Begin to bring the read models up to their logs, now and again, on a thread of its own.

        Without that the first one who asks for a dataset of a large ledger would wait for it.
        `then` is called there when it was done for the first time.
        """
        if self._freshener is None:
            self._freshener = threading.Thread(target=self._freshen_all, args=(then,), daemon=True)
            self._freshener.start()

    def _freshen_all(self, then: Callable[[], object]) -> None:
        _freshen(self._model)
        then()
        while not self._closing.wait(FRESH_SECONDS):
            _freshen(self._model)
        self._model.close()

    def close(self) -> None:
        """Close those that nobody has; the others when they are given back. Safe to repeat."""
        self._closing.set()
        self._close_idle()
        if self._freshener is None:
            self._model.close()

    def _close_idle(self) -> None:
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return


def _freshen(ledger: Ledger) -> None:
    """Bring a read model up to its log; the work is little where nothing was recorded since."""
    try:
        logs = [info.log for info in ledger.reader.logs()]
        if sum(ledger.reader.size(log) for log in logs) < FAST_FROM_ENTRIES:
            return
        model = ledger.read_model
        if model is not None and ledger.reader.complete:
            for log in logs:
                model.covered(log)
        # Runs, models and datasets as well, which the first trace would have to wait for.
        index_of(ledger.reader, ledger.cut())
    except (AuditError, ImportError) as error:
        _log.info("the read model is not up to its log: %s", error)

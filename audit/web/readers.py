"""Ledgers open for reading, lent to one request at a time, and kept up to their logs."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, LifoQueue
from threading import Lock

from audit.errors import AuditError, StoreBusy, StoreMissing
from audit.ledger import Ledger
from audit.ledger.open import BUNDLE_SCHEME, bundle_path, store_file
from audit.lineage.tracing.record_index import index_of
from audit.replay.fastpath import FAST_FROM_ENTRIES, open_fast_path
from audit.web.lanes import DEAR, PLACES, QUICK
from audit.web.options import WebOptions

MAX_STREAMS = 3
"""So many tables at once are given out, which takes about as long as who reads them likes."""
MAX_STREAMS_OF_ONE = 2
"""To one client: nobody else should find all of them taken."""
MAX_LEDGERS = PLACES[QUICK] + PLACES[DEAR] + MAX_STREAMS
"""Open at once, each with a connection of its own: one for each request that has a place. The read
model is one for all."""
WAIT_SECONDS = 20.0
"""So long a page waits for one. A table does not wait: those that do would stand in the way."""
FRESH_SECONDS = 5.0
"""So often the read models are brought up to their logs, so that no page has to do much of it."""

_log = logging.getLogger("audit.web")


class _Shown:
    """The ledger that lies at the address, opened as often as requests need it."""

    def __init__(self, options: WebOptions, identity: object) -> None:
        """`identity`: of what lies there. Raises StoreMissing."""
        self.identity = identity
        self._store = options.store
        self._idle: LifoQueue[Ledger] = LifoQueue()
        self._lock = Lock()
        self._opened = 1
        self._users = 0
        self._over = False
        # Never lent: its connection is that of the read model alone, which has a lock of its own.
        self.model = Ledger(options.store, read_model=options.read_model)
        try:
            _import_columns(self.model)
            self._idle.put(self._open())
        except BaseException:
            self.model.close()
            raise

    def _open(self) -> Ledger:
        ledger = Ledger(self._store, read_model="off")
        ledger.share_read_model(self.model)
        return ledger

    def begin(self) -> bool:
        """One more uses it, and says `end` later; False: it is over."""
        with self._lock:
            self._users += not self._over
            return not self._over

    def end(self) -> None:
        """One less uses it."""
        with self._lock:
            self._users -= 1
        self._close_unused()

    def close(self) -> None:
        """Nobody begins any more; it is closed when nobody uses it. Safe to repeat."""
        with self._lock:
            self._over = True
        self._close_unused()

    def _close_unused(self) -> None:
        with self._lock:
            if self._users or not self._over:
                return
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                break
        self.model.close()

    @contextmanager
    def lent(self) -> Iterator[Ledger]:
        """A ledger, to one of its users. Raises StoreBusy, Unavailable."""
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


class Readers:
    """The ledger of the view, opened at most MAX_LEDGERS times.

    A file that was put in the place of another is another ledger: the old one, which is open and
    would answer for ever, is not asked any more.
    """

    def __init__(self, options: WebOptions) -> None:
        """Opens one at once, so that a wrong address is said at the start. Raises StoreMissing."""
        self._options = options
        self._lock = Lock()
        self._streams: Counter[str] = Counter()
        self._closing = threading.Event()
        self._freshener: threading.Thread | None = None
        bundled = options.store.startswith(BUNDLE_SCHEME)
        self._file = bundle_path(options.store) if bundled else store_file(options.store)
        found: object = None
        with suppress(StoreMissing):  # which opening it says better
            found = self._identity()
        self._shown = _Shown(options, found)

    def _identity(self) -> object:
        """What lies at the address now; always the same of a server. Raises StoreMissing."""
        if self._file is None:
            return None
        try:
            found = self._file.stat()
        except OSError as error:
            # The name of the folder is for who runs this, not for who looks.
            reason = error.strerror or type(error).__name__
            raise StoreMissing(f"{self._file.name} cannot be reached now: {reason}") from None
        # Not another file's by chance: while we have it open its number is not given again.
        return found.st_dev, found.st_ino

    @contextmanager
    def _used(self) -> Iterator[_Shown]:
        """What lies at the address now, which is not closed meanwhile. Raises Unavailable."""
        identity = self._identity()
        with self._lock:
            if identity != self._shown.identity and not self._closing.is_set():
                _log.warning("another file lies at the address of the ledger: it is opened")
                old, self._shown = self._shown, _Shown(self._options, identity)
                old.close()
            shown = self._shown
            if not shown.begin():
                raise StoreBusy("this server ends")
        try:
            yield shown
        finally:
            shown.end()

    @contextmanager
    def lent(self) -> Iterator[Ledger]:
        """A ledger for one request. Raises StoreBusy when none gets free, Unavailable."""
        with self._used() as shown, shown.lent() as ledger:
            yield ledger

    @contextmanager
    def lent_for_stream(self, client: str) -> Iterator[Ledger]:
        """A ledger for one table of a client. Raises StoreBusy when too many are given out."""
        with self._lock:
            if self._streams.total() >= MAX_STREAMS:
                raise StoreBusy(f"{MAX_STREAMS} tables are given out now; ask again in a moment")
            if self._streams[client] >= MAX_STREAMS_OF_ONE:
                raise StoreBusy(f"you are given {MAX_STREAMS_OF_ONE} tables already; let one end")
            self._streams[client] += 1
        try:
            with self.lent() as ledger:
                yield ledger
        finally:
            with self._lock:
                self._streams -= Counter((client,))

    def keep_fresh(self, then: Callable[[], object] = lambda: None) -> None:
        """Begin to bring the read models up to their logs, now and again, on a thread of its own.

        Without that the first one who asks for a dataset of a large ledger would wait for it.
        `then` is called there when it was done for the first time.
        """
        if self._freshener is None:
            self._freshener = threading.Thread(target=self._freshen_all, args=(then,), daemon=True)
            self._freshener.start()

    def _freshen_all(self, then: Callable[[], object]) -> None:
        self._freshen()
        then()
        while not self._closing.wait(FRESH_SECONDS):
            self._freshen()

    def _freshen(self) -> None:
        try:
            with self._used() as shown:
                _freshen(shown.model)
        except (AuditError, ImportError) as error:
            _log.info("the read model is not up to its log: %s", error)

    def close(self) -> None:
        """Close it once nobody uses it. Safe to repeat."""
        self._closing.set()
        with self._lock:
            self._shown.close()


def _import_columns(ledger: Ledger) -> None:
    """Import what a read model needs, where there will be one.

    No other thread runs for most of that time: the first page would wait for it.
    """
    if _is_large(ledger):
        with suppress(ImportError):
            import audit.replay.columnar.fold.fast
            import audit.replay.columnar.kept.model  # noqa: F401


def _is_large(ledger: Ledger) -> bool:
    reader = ledger.reader
    return sum(reader.size(info.log) for info in reader.logs()) >= FAST_FROM_ENTRIES


def _freshen(ledger: Ledger) -> None:
    """Bring a read model up to its log; the work is little where nothing was recorded since."""
    if not _is_large(ledger):
        return
    model = ledger.read_model
    if model is not None and ledger.reader.complete:
        for info in ledger.reader.logs():
            model.covered(info.log)
        open_fast_path(ledger.reader)
    # Runs, models and datasets as well, which the first trace would have to wait for.
    index_of(ledger.reader, ledger.cut())

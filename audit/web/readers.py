"""Ledgers open for reading, lent to one request at a time, and kept up to their logs."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, LifoQueue
from threading import Lock

from audit.errors import AuditError, InvalidInput, StoreBusy, StoreMissing, Unavailable
from audit.ledger import Ledger
from audit.ledger.open import open_any_reader
from audit.web.freshening import Freshening
from audit.web.lanes import DEAR, PLACES, QUICK
from audit.web.options import WebOptions
from audit.web.same_store import Address, Place

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


class ServerEnds(Exception):
    """What was asked would take long, and the server ends, or shows another ledger by now."""


class _Shown:
    """The ledger that lies at the address, opened as often as requests need it."""

    def __init__(
        self, options: WebOptions, address: Address, is_ending: Callable[[], bool]
    ) -> None:
        """Open it. Raises StoreMissing, Unavailable."""
        self._is_ending = is_ending
        self._place = address.look()
        self._heads = address.heads()
        self._address = address
        self._store = options.store
        self._idle: LifoQueue[Ledger] = LifoQueue()
        self._lock = Lock()
        self._opened = 1
        self._users = 0
        self._over = False
        self._stale: set[Ledger] = set()
        # Never lent: its connection is that of the read model alone, which has a lock of its own.
        self.model = Ledger(options.store, read_model=options.read_model)
        self.freshening = Freshening(self.model, self._go_on)
        try:
            self.freshening.prepare()
            self._ledgers = {first := self._open()}
            self._idle.put(first)
        except BaseException:
            self.model.close()
            raise

    def is_at(self, place: Place | None) -> bool:
        """Whether this is the file that lies there."""
        known = self._place
        return place is known or (
            place is not None and known is not None and place.file == known.file
        )

    def is_whole(self, place: Place | None) -> bool:
        """Whether the file still holds what was opened, or that has only grown."""
        with self._lock:
            if place is None or (place == self._place and place.stamp is not None):
                return True
            if self._heads is None and self._address.may_grow:
                # What it was is not known: a store in which something is wrong. Nothing to compare.
                self._place = place
            else:
                found = self._address.heads(self._heads)
                if found is None:
                    return False
                self._place, self._heads = place, found
            # SQLite has pages in memory; whoever wrote here may not have told it.
            self._stale = set(self._ledgers)
        self.model.reader.close()
        return True

    def _go_on(self, done: int, of: int) -> None:
        """Told how far the read model is; ends its building where nobody will ask any more."""
        if self._over or self._is_ending():
            raise ServerEnds("this server ends, or shows another ledger by now; ask again")

    @property
    def is_over(self) -> bool:
        """Whether nobody may begin any more."""
        return self._over

    @property
    def is_used(self) -> bool:
        """Whether somebody has begun, and not ended."""
        return self._users > 0

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
            return self._fresh(self._idle.get_nowait())
        except Empty:
            pass
        with self._lock:
            more = self._opened < MAX_LEDGERS
            self._opened += more
        if more:
            try:
                ledger = self._open()
            except BaseException:
                with self._lock:
                    self._opened -= 1
                raise
            with self._lock:
                self._ledgers.add(ledger)
            return ledger
        try:
            return self._fresh(self._idle.get(timeout=WAIT_SECONDS))
        except Empty:
            raise StoreBusy("all readers are busy; ask again in a moment") from None

    def _fresh(self, ledger: Ledger) -> Ledger:
        """A ledger that nobody uses, without what its connection had in memory, if that is old."""
        with self._lock:
            is_stale = ledger in self._stale
            self._stale.discard(ledger)
        if is_stale:
            ledger.reader.close()  # which connects again
        return ledger


class Readers:
    """The ledger of the view, opened at most MAX_LEDGERS times.

    A file that was put in the place of another, or written over it, is another ledger: the old one
    would be answered from for ever, or mixed with the new one. It is not asked any more.
    """

    def __init__(self, options: WebOptions, is_ending: Callable[[], bool] = lambda: False) -> None:
        """Opens one at once, so that a wrong address is said at the start. Raises StoreMissing.

        `is_ending`: whether the server is told to end; then nobody waits for a read model.
        """
        self._options = options
        self._is_ending = is_ending
        self._lock = Lock()
        self._streams: Counter[str] = Counter()
        self._closing = threading.Event()
        self._freshener: threading.Thread | None = None
        self._said = ""
        self._address = Address(options.store)
        with open_any_reader(options.store):
            pass  # which says better than a look at the file what is missing
        self._shown = _Shown(options, self._address, is_ending)

    @contextmanager
    def _used(self) -> Iterator[_Shown]:
        """What lies at the address now, which is not closed meanwhile. Raises Unavailable.

        In the end, too, where it was written over meanwhile: what was read may be of both.
        """
        place = self._address.look()
        with self._lock:
            if not self._closing.is_set():
                self._look_after(place)
            shown = self._shown
            if not shown.begin():
                raise StoreBusy("this server ends")
        try:
            try:
                yield shown
            except AuditError:
                self._require_whole(shown)
                raise
            self._require_whole(shown)
        finally:
            shown.end()

    def _look_after(self, place: Place | None) -> None:
        """Open what lies at the address, where it is another ledger. Raises Unavailable."""
        old = self._shown
        if old.is_at(place):
            if not old.is_over:
                if old.is_whole(place):
                    return
                _log.warning("the file of the ledger was written over: it is opened anew")
                old.close()
            if old.is_used:  # SQLite shares what it knows of a file among all that have it open
                raise StoreBusy("the file of the ledger was written over; ask again in a moment")
            self._address.require_alone()
        else:
            _log.warning("another file lies at the address of the ledger: it is opened")
        try:
            self._shown = _Shown(self._options, self._address, self._is_ending)
        except InvalidInput as error:  # not of who asks
            raise Unavailable(str(error)) from None
        old.close()

    def _require_whole(self, shown: _Shown) -> None:
        """Raise Unavailable where the file was written over since it was last looked at."""
        try:
            place = self._address.look()
        except StoreMissing:
            return  # moved away: it was read as it was
        if shown.is_at(place) and (shown.is_over or not shown.is_whole(place)):
            if self._closing.is_set():
                return
            raise StoreBusy("the file of the ledger was written over meanwhile; ask again")

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
        words = ""
        try:
            with self._used() as shown:
                shown.freshening.bring_up()
        except ServerEnds:
            return
        except (AuditError, ImportError) as error:
            words = f"the read model is not up to its log: {error}"
        except Exception:  # else nobody would bring it up any more
            _log.exception("the read model is not up to its log, by a bug")
        if words and words != self._said:
            _log.info("%s", words)
        self._said = words

    def close(self) -> None:
        """Close it once nobody uses it. Safe to repeat."""
        self._closing.set()
        with self._lock:
            self._shown.close()

"""The relay: brings what waits in the outbox to the ledger or the topic, in order, and marks it.

Read, emit, flush, mark. A crash between any two of them repeats what was not marked: at least once
on the bus, and once in the log, where a repeat of (source, event_id) is dropped. Every relay starts
with the oldest rows that are not marked, so of each key what a repeat brings stands behind its
first copy, and a new row behind all of them: order survives, whoever was stopped where.

While the bus is away nothing is marked and no row is judged: one batch waits in the spool of the
emitter.
"""

import logging
import time
from typing import Any, NamedTuple

from sqlalchemy import Engine, func, select

from audit.capture.database.connect import reaching
from audit.capture.database.events import Waiting, built, check_source, failure_text
from audit.capture.database.leases import LEASE_S, Leases
from audit.capture.database.moves import Moves
from audit.capture.database.purge import CONFLICT, is_sealed, purge
from audit.capture.database.tables import require_installed
from audit.capture.delivery.bus import is_kafka
from audit.capture.emitter import DEFAULT_SOURCE, Emitter
from audit.capture.patient import Backoff, Bringing, Pause, say_instead
from audit.errors import Fenced, InvalidInput, Unavailable
from audit.store import open_reader

BATCH_ROWS = 2_000
MAX_BATCH_ROWS = 20_000
POLL_S = 0.2
"""How long a new row waits at most while nothing else does."""
PURGE_EVERY_S = 10.0

_log = logging.getLogger("audit.capture")


class Settings(NamedTuple):
    """What a relay is told.

    `bus`: a ledger or kafka://. `source`: in every event; another one is another application, so
    it must stay. `store`: with Kafka, the ledger in which acknowledged rows are looked up; without
    one they are kept for `keep_s` seconds (None: for ever). `shards`: into how many parts relays
    share the outbox (None: as it is). `emitter`: more arguments for `audit.Emitter`.
    """

    bus: str
    source: str = DEFAULT_SOURCE
    schema: str | None = None
    store: str | None = None
    keep_s: float | None = None
    shards: int | None = None
    lease_s: float = LEASE_S
    batch: int = BATCH_ROWS
    poll_s: float = POLL_S
    emitter: dict[str, Any] = {}  # noqa: RUF012 - never changed


class Blocked:
    """The keys in a batch behind which nothing may go (see `moves.is_blocked`)."""

    def __init__(self) -> None:
        """None."""
        self._keys: set[tuple[Any, Any]] = set()
        self._whole: set[Any] = set()
        self._any: set[Any] = set()

    def add(self, row: Waiting) -> None:
        """This row does not go."""
        if row.entity_type is None:
            return
        self._any.add(row.entity_type)
        if row.entity_key is None:
            self._whole.add(row.entity_type)
        else:
            self._keys.add((row.entity_type, row.entity_key))

    def holds(self, row: Waiting) -> bool:
        """Whether a row must wait behind one before it."""
        entity, key = row.entity_type, row.entity_key
        if entity not in self._any:
            return False
        return key is None or entity in self._whole or (entity, key) in self._keys


class Judged(NamedTuple):
    """What became of the rows of a batch."""

    emitted: list[Waiting]
    failed: list[tuple[int, str]]
    behind: list[int]


class Relay(Bringing):
    """Empties one outbox. `stop` may be called from anywhere, signal handlers included.

    `emitted`, `failed`, `behind`, `purged`: rows so far. `fenced`: lost leases.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        """Nothing is opened yet. Raises InvalidInput (there is no outbox), Unavailable."""
        check_source(settings.source)
        self._kafka = is_kafka(settings.bus)
        if not self._kafka and (settings.store is not None or settings.keep_s is not None):
            raise InvalidInput(
                "with a ledger as the bus rows are deleted as soon as their events are sealed: "
                "leave out what says when"
            )
        if not 1 <= settings.batch <= MAX_BATCH_ROWS:
            raise InvalidInput(f"a batch has 1 to {MAX_BATCH_ROWS} rows")
        if settings.lease_s <= 0 or settings.poll_s < 0:
            raise InvalidInput("a lease is longer than no time, and a pause is not negative")
        super().__init__(self._open, "the relay", settings.lease_s / 3)
        self.engine = engine
        self.settings = settings
        self.emitted = self.failed = self.behind = self.purged = 0
        self.fenced = 0
        tables = require_installed(engine, settings.schema)
        self.leases = Leases(engine, tables, settings.shards, settings.lease_s)
        self._tables = tables
        self._moves = Moves(engine, tables, self.leases, settings.batch)
        self._rejected = 0
        self._begun = False
        self._taken_s = self._purged_s = -float("inf")

    def run(self, once: bool = False) -> None:
        """Relay until `stop`; with `once` until what waits now has left the outbox.

        With `once` an outage is raised, else waited out. Raises Unavailable, InvalidInput,
        StoreCorrupt (the ledger contradicts itself: nothing more is appended).
        """
        self._out.once = once
        self._begin()
        last = self._last_id() if once else None
        backoff = Backoff(self._stop.wait)
        try:
            while not self._stop.is_set():
                try:
                    moved = self._round()
                    done = last is not None and not moved and self._is_past(last)
                except Fenced as error:
                    self.fenced += 1
                    _log.warning("%s", error)
                    self._taken_s, self._begun = -float("inf"), False
                    moved, done = 0, False
                except Unavailable as error:
                    self._out.note(error)
                    if once:
                        raise
                    backoff.wait()
                    continue
                backoff.begin_again()
                self._out.outage = None
                if done:
                    return
                if not moved:
                    self._stop.wait(self.settings.poll_s)
        finally:
            self._end()

    def _end(self) -> None:
        """Give the leases back and close; what was not marked the next relay takes up."""
        self._taken_s, self._begun = -float("inf"), False  # it may be run again
        say_instead(self.leases.release)
        self._out.close()

    def _last_id(self) -> int:
        query = select(func.max(self._tables.outbox.c.id))
        with reaching(self.engine), self.engine.connect() as connection:
            return int(connection.execute(query).scalar() or 0)

    def _is_past(self, last: int) -> bool:
        query = select(self._tables.outbox.c.id).where(self._tables.outbox.c.id <= last).limit(1)
        with reaching(self.engine), self.engine.connect() as connection:
            return connection.execute(query).first() is None

    def _round(self) -> int:
        """Once through all shards held; how many rows were read."""
        self._begin()
        self._renew()
        moved = 0
        for shard in list(self.leases.held):
            if self._stop.is_set():
                break
            moved += self._pump(shard)
        self._purge()
        return moved

    def _begin(self) -> None:
        if not self._begun:
            self.leases.begin()
            self._begun = True

    def _renew(self) -> None:
        now_s = time.monotonic()
        if now_s - self._taken_s >= self.settings.lease_s / 3:
            self.leases.take()
            self._taken_s = now_s

    def _pump(self, shard: int) -> int:
        rows = self._moves.read(shard)
        if not rows:
            return 0
        judged = self._emit(shard, rows)
        if judged.emitted:
            self._flush(shard)
        judged = self._without_conflicts(judged)
        sent_as = self.settings.source if self._kafka else None
        done = [row.id for row in judged.emitted]
        self._moves.finish(shard, done, judged.failed, judged.behind, sent_as)
        self.emitted += len(done)
        self.failed += len(judged.failed)
        self.behind += len(judged.behind)
        for number, why in judged.failed:
            _log.error("row %d of the outbox is set aside, and its key waits: %s", number, why)
        return len(rows)

    def _open(self) -> Emitter:
        settings = self.settings
        self._rejected = 0
        return Emitter(settings.bus, settings.source, on_unavailable="raise", **settings.emitter)

    def _emit(self, shard: int, rows: list[Waiting]) -> Judged:
        """Give every row that is an event, and waits for none before it, to the emitter."""
        pause = self._pause_of(shard)
        judged = Judged([], [], [])
        blocked = Blocked()
        for row in rows:
            if row.blocked or blocked.holds(row):
                blocked.add(row)
                judged.behind.append(row.id)
                continue
            try:
                self._out.send(built(row, self.settings.source), pause)
            except InvalidInput as error:
                blocked.add(row)
                judged.failed.append((row.id, failure_text(error)))
            else:
                judged.emitted.append(row)
        return judged

    def _flush(self, shard: int) -> None:
        """Return when all is sealed, or acknowledged. Raises Fenced, Unavailable, StoreCorrupt."""
        self._out.flush(self._pause_of(shard))

    def _pause_of(self, shard: int) -> Pause:
        """Pauses, and keeps the leases meanwhile. Raises Fenced when the shard is lost."""

        def pause(pause_s: float) -> None:
            self._renew()
            if shard not in self.leases.held:
                raise Fenced(f"shard {shard} of the outbox is another relay's now")
            self._stop.wait(min(pause_s, self.settings.lease_s / 3))

        return pause

    def _without_conflicts(self, judged: Judged) -> Judged:
        """With a ledger: what was quarantined, for its id is another event's, is set aside."""
        rejected = self._out.rejected
        if self._kafka or rejected == self._rejected:
            return judged
        self._rejected = rejected
        good: list[Waiting] = []
        failed = list(judged.failed)
        with open_reader(self.settings.bus) as ledger:
            for row in judged.emitted:
                if is_sealed(ledger, row, self.settings.source):
                    good.append(row)
                else:
                    failed.append((row.id, CONFLICT))
        return Judged(good, failed, judged.behind)

    def _purge(self) -> None:
        """With Kafka, now and then, by whoever holds the first shard: see `purge`."""
        settings = self.settings
        now_s = time.monotonic()
        if not self._kafka or 0 not in self.leases.held:
            return
        if now_s - self._purged_s < PURGE_EVERY_S:
            return
        self._purged_s = now_s
        try:
            if settings.store is None:
                found = purge(self.engine, keep_s=settings.keep_s, schema=settings.schema)
            else:
                with open_reader(settings.store) as ledger:
                    found = purge(self.engine, ledger, schema=settings.schema)
        except Unavailable as error:
            _log.warning("nothing is purged: %s", str(error).replace("\n", "; "))
        else:
            self.purged += found.deleted

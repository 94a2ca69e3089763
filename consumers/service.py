"""The service: puts the stages together, runs them until it is told to stop, and ends cleanly.

On SIGTERM or SIGINT: seal what is in hand, write the heads, publish, commit the offsets, leave the
group; all within STOP_WITHIN_S. What was not sealed by then is still in the topic. A second signal
ends the process at once, which costs nothing either.
"""

import gc
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from audit.capture.delivery.embedded import EmbeddedLedger, open_for_writing
from audit.errors import Unavailable
from audit.kafka.address import KafkaAddress, parse_address
from audit.kafka.checkpoints import newest_checkpoints, publish_checkpoint
from audit.kafka.clients import open_consumer, open_producer
from audit.store import clock_us
from audit.store.blobs import BlobStore, default_blobs_url
from audit.store.contract import LOG_OF_THE_LEDGER, Appended, StoredCheckpoint
from audit.store.positions import source_position
from consumers import failpoints
from consumers.buffer import Buffer
from consumers.decode import Decoder
from consumers.guard import Guard
from consumers.heads import Heads
from consumers.health import HealthServer
from consumers.logs import alarm, info, warn
from consumers.loop import Loop
from consumers.metrics import Metrics
from consumers.offsets import OffsetCommits
from consumers.once import Once
from consumers.partitions import Partitions
from consumers.pauses import Pauses
from consumers.publisher import Publisher
from consumers.sequencer import Sequencer, log_named, log_of, origin_of
from consumers.settings import Settings, Signatures
from consumers.signatures import PinnedProducers
from consumers.watch import SourceWatch
from consumers.worker import Worker, WriteHeads

STOP_WITHIN_S = 5.0
PUBLISH_WITHIN_S = 2.0
THREAD_END_S = 1.0
START_WITHIN_S = 60.0
"""How long a store or broker may be away at the start: they may be being started as well."""
COLLECT_EVERY = 100_000
"""New objects between two looks of the garbage collector at the youngest of them."""
STORE_THREADS = 2
"""Of a database server: while one waits for its transaction, the other one encodes and hashes."""
SQLITE_SCHEME = "sqlite:"
REFUSED = 1
"""Exit code when something was refused; the rest was sealed."""


def run(settings: Settings, stop: threading.Event | None = None) -> int:
    """Consume until `stop` is set, a signal comes, or with `once` all is sealed: the exit code.

    A store or broker that is not there at the start is waited for up to START_WITHIN_S, but not
    with `once`. Raises InvalidInput (topic, group or settings are not right), StoreCorrupt (the
    ledger's own log was rolled back), Unavailable.
    """
    failpoints.check()
    stop = threading.Event() if stop is None else stop
    gives_up_s = time.monotonic() + (0.0 if settings.once else START_WITHIN_S)
    pauses = Pauses()
    with _stopped_by_signals(stop):
        while not stop.is_set():
            with ExitStack() as stack:
                try:
                    service = Service(settings, stop, stack)
                except Unavailable as error:
                    if time.monotonic() >= gives_up_s:
                        raise
                    if pauses.begins():
                        alarm("cannot start yet; trying again", why=error)
                else:
                    _calm_collector()
                    return service.run()
            stop.wait(pauses.next_s())
    return 0


def _calm_collector() -> None:
    """Have the cyclic garbage collector look less often, and not at what is here to stay.

    Batches are tens of thousands of tuples that live until they are sealed and hold no cycles; with
    its usual threshold the collector takes a tenth of the time to find that out.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)


class Service:
    """One consumer process: its parts, in the order they are made."""

    def __init__(self, settings: Settings, stop: threading.Event, stack: ExitStack) -> None:
        """Open everything; `stack` closes it again, in the opposite order."""
        self.settings = settings
        self.metrics = Metrics()
        self._stop = stop
        self._address = parse_address(settings.bus)
        if settings.health is not None:
            health = HealthServer(*settings.health, self.metrics)
            stack.callback(health.close)
            info("health is served", host=settings.health[0], port=health.port)
        self.ledger = stack.enter_context(open_for_writing(settings.store))
        self.metrics.database_ok = True
        group = settings.group_of(self.ledger.origin)
        address = self._address
        self._publisher = Publisher(
            lambda: open_producer(address), publish_checkpoint, self._newest_of, self.metrics
        )
        stack.callback(self._publisher.close)
        self._heads = Heads(self.ledger, settings.heads_every_s * 1_000_000)
        self._worker = Worker(
            self.ledger.store.logs, self._write_heads, self.metrics, _threads(settings.store)
        )
        stack.callback(self._worker.close, THREAD_END_S)
        self.consumer = open_consumer(address, group, session_timeout_s=settings.session_timeout_s)
        stack.callback(self.consumer.close)
        self._watch = SourceWatch(address, self.ledger, self.consumer, group, self._say_sealed)
        self._watch.require_checkpoints_topic()
        self._guard_log_0()
        accepted = self._watch.look(settings.accept_partitions)
        self._commits = OffsetCommits(self.consumer, self._publisher.published, self.ledger.origin)
        origins = [origin_of(self.ledger.origin, address.topic, p) for p in range(accepted)]
        self._guard = Guard(lambda names: newest_checkpoints(address, names), origins, self.metrics)
        self._decoder = _decoder(settings, address, self.ledger)
        self.partitions = Partitions(
            self.consumer, self._worker, self._commits, self._new_buffer, self.metrics, accepted
        )
        self._loop = Loop(
            self.consumer,
            self._worker,
            self.partitions,
            self._commits,
            self.metrics,
            batch=settings.batch,
            linger_s=settings.linger_s,
            stop=stop,
        )
        self.metrics.working = lambda: self._worker.alive and self._publisher.alive
        info("consuming", ledger=self.ledger.origin, bus=address.url, group=group)

    def run(self) -> int:
        """Go round until it is over; the exit code."""
        partitions, topic = self.partitions, self._address.topic
        once, lost = None, []
        if self.settings.once:
            held = self.consumer.offsets(range(partitions.accepted))
            lost = [p for p, kept in held.items() if self._next_offset(p) > kept.end]
            if lost:
                alarm("the broker lost what the logs have read already", partitions=lost)
            once = Once({p: kept.end for p, kept in held.items()}, self.ledger.store)
        self.consumer.subscribe(topic, partitions.assigned, partitions.given_back, partitions.lost)
        looked_s = time.monotonic()
        try:
            while not self._stop.is_set():
                self._loop.turn()
                if once is not None:
                    self._loop.account_trailing()
                    if once.is_done(partitions):
                        break
                now_s = time.monotonic()
                if partitions.unaccepted or now_s - looked_s >= self.settings.heads_every_s:
                    looked_s = now_s
                    self._now_and_then()
        finally:
            self._finish()
        refused = partitions.refusals or lost or self._loop.store_refused is not None
        return REFUSED if refused else 0

    def _next_offset(self, partition: int) -> int:
        found = source_position(self.ledger.store, log_of(partition))
        return 0 if found is None else found.next_offset

    def _now_and_then(self) -> None:
        self._worker.submit(WriteHeads(final=False))
        if self.metrics.broker_ok:
            accepted = self._watch.look_again()
            if accepted is not None:
                self.partitions.accept(accepted)

    def _finish(self) -> None:
        """Seal what is in hand, publish, commit, leave the group: what fails is left to others."""
        self.metrics.stopping = True
        deadline_s = time.monotonic() + STOP_WITHIN_S
        self._loop.cut_all()
        self._worker.submit(WriteHeads(final=True))
        while self._worker.unfinished and self._worker.alive and time.monotonic() < deadline_s:
            self._loop.take_results(0.1)
        self._worker.give_up()
        if not self._publisher.drain(PUBLISH_WITHIN_S):
            warn("the newest checkpoints are not published; the next consumer does it")
        self._commits.flush(final=True)
        self.consumer.close()
        metrics = self.metrics
        info(
            "ended",
            messages=metrics.messages,
            sealed=metrics.sealed,
            quarantined=metrics.quarantined + metrics.conflicts,
            duplicates=metrics.duplicates,
        )

    def _guard_log_0(self) -> None:
        """The ledger's own log, before anything is appended to it."""
        address = self._address
        guard = Guard(
            lambda names: newest_checkpoints(address, names), [self.ledger.origin], self.metrics
        )
        guard.check(self.ledger.store, LOG_OF_THE_LEDGER, self.ledger.signer().verifier)
        newest = self.ledger.store.newest_checkpoint(LOG_OF_THE_LEDGER)
        if newest is not None:
            self._publisher.offer(self.ledger.origin, newest.size, newest.note)

    def _newest_of(self, origin: str) -> StoredCheckpoint | None:
        """The newest checkpoint in the store, of whoever sealed it. Called by the publisher."""
        return self.ledger.store.newest_checkpoint(log_named(origin, self.ledger.origin))

    def _new_buffer(self, partition: int) -> Buffer:
        sequencer = Sequencer(
            self.ledger, self._guard, self._publisher, self._address.topic, partition
        )
        return Buffer(sequencer, self._decoder, self.settings.batch)

    def _write_heads(self, final: bool) -> None:
        """Runs on the worker's thread."""
        if self.metrics.guard_refusals:
            return  # a store that was rolled back: its log 0 must not go on from there either
        appended = self._heads.write(clock_us(), final)
        if appended is not None:
            self.metrics.heads += 1
            self._say_sealed(appended)

    def _say_sealed(self, appended: Appended) -> None:
        if appended.checkpoint is not None:
            self._publisher.offer(self.ledger.origin, appended.size, appended.checkpoint)


def _threads(store: str) -> int:
    """How many threads talk to the store; SQLite works in this process, and for one at a time."""
    return 1 if store.startswith(SQLITE_SCHEME) else STORE_THREADS


def _decoder(settings: Settings, address: KafkaAddress, ledger: EmbeddedLedger) -> Decoder:
    framing = None
    if address.registry is not None:
        from audit.kafka.registry import Registry, RegistryFraming

        framing = RegistryFraming(Registry(address.registry), address.topic)
    pinned = None
    if settings.signatures is Signatures.REQUIRE:
        pinned = PinnedProducers(ledger.policy_path, reader=ledger.store)
    return Decoder(
        address.topic,
        BlobStore(default_blobs_url(settings.store)),
        signatures=settings.signatures,
        pinned=pinned,
        ledger_origin=ledger.origin,
        framing=framing,
    )


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` at the first signal; the second one does what it does without us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def told(number: int, _: FrameType | None) -> None:
        for each in known:
            signal.signal(each, signal.SIG_DFL)
        stop.set()

    for number in known:
        signal.signal(number, told)
    try:
        yield
    finally:
        for number, handler in known.items():
            signal.signal(number, handler)

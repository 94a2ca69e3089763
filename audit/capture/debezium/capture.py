"""Debezium's topics into a ledger, or onto our own: read, turn into events, emit, flush, tell.

The group is told of an offset only when all events up to it are sealed, or acknowledged. A crash
anywhere repeats what it was not told of: at least once on the bus, and once in the log, where a
repeat of (source, event_id) is dropped. Of each key what a repeat brings stands behind its first
copy, and a new change behind all of them: order survives, whoever was stopped where.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from audit.capture.database.events import check_source
from audit.capture.debezium.aside import lost
from audit.capture.debezium.decode import Decoder
from audit.capture.debezium.entities import Entities
from audit.capture.debezium.envelope import event_of, forms
from audit.capture.debezium.identity import Place
from audit.capture.debezium.judge import GAP_SOURCE, SET_ASIDE, Judge, Outcome
from audit.capture.debezium.topic import EventName, Topic
from audit.capture.delivery.bus import is_kafka
from audit.capture.delivery.kafka_sender import destination_name
from audit.capture.emitter import Emitter
from audit.capture.patient import Backoff, Bringing
from audit.errors import InvalidInput, LimitExceeded, Unavailable
from audit.event.build import Built
from audit.kafka.address import KAFKA_SCHEME, KafkaAddress, parse_address
from audit.kafka.transport import Fetched
from audit.store import open_reader
from audit.store.blobs import BlobStore, default_blobs_url

MAX_TOPICS = 256
BATCH_MESSAGES = 2_000
TURN_S = 0.2
"""How long all topics together are waited for while nothing comes."""
FLUSH_TURN_S = 5.0
FIRST_LOOK_MESSAGES = 10
"""A topic that was never read and begins with so many that are no change events is a mistake."""

_log = logging.getLogger("audit.capture")


class Settings(NamedTuple):
    """What a capture is told.

    `bus`: a ledger or kafka://. `source`: of all events, in place of each connector's own name.
    `entities`: see `Entities`. `group`: the consumer group (None: one for each bus). `registry`: of
    Avro messages (None: the one of the topics' address). `placeholder`: the connectors'
    unavailable.value.placeholder. `emitter`: more arguments for `audit.Emitter`.
    """

    bus: str
    source: str | None = None
    entities: tuple[str, ...] = ()
    group: str | None = None
    registry: str | None = None
    placeholder: str | None = None
    batch: int = BATCH_MESSAGES
    emitter: dict[str, Any] = {}  # noqa: RUF012 - never changed


def topic_addresses(url: str) -> list[KafkaAddress]:
    """kafka://host:9092/topic[,topic ...] as addresses of one topic each. Raises InvalidInput."""
    if not isinstance(url, str) or not url.startswith(KAFKA_SCHEME):
        raise InvalidInput(f"topics are given as {KAFKA_SCHEME}host:9092/topic[,topic ...]")
    place, mark, query = url.partition("?")
    servers, slash, names = place.removeprefix(KAFKA_SCHEME).partition("/")
    topics = names.split(",")
    if not slash or not all(topics):
        raise InvalidInput("name the topics of the tables: kafka://host:9092/shop.public.orders")
    if len(topics) > MAX_TOPICS or len(set(topics)) != len(topics):
        raise InvalidInput(f"name each topic once, and at most {MAX_TOPICS}")
    return [parse_address(f"{KAFKA_SCHEME}{servers}/{topic}{mark}{query}") for topic in topics]


class DebeziumCapture(Bringing):
    """Takes change events in. `stop` may be called from anywhere, signal handlers included.

    `counts`: messages by what became of them: create, update, delete, truncate, set aside,
    expired (offsets), tombstone, schema change, transaction, heartbeat, message.
    """

    def __init__(self, topics: str, settings: Settings) -> None:
        """Nothing is connected yet. Raises InvalidInput."""
        super().__init__(self._open, "the capture", FLUSH_TURN_S)
        self._addresses = topic_addresses(topics)
        self.settings = settings
        if settings.source is not None:
            check_source(settings.source)
        if not 1 <= settings.batch <= 20_000:
            raise InvalidInput("a batch has 1 to 20000 messages")
        registry = settings.registry or self._addresses[0].registry
        decoder = Decoder(registry, settings.placeholder)
        self._judge = Judge(decoder, Entities(settings.entities), settings.source)
        self.counts: Counter[str] = Counter()
        self.conflicts = self.quarantined = 0
        self._topics: list[Topic] = []

    def run(self, once: bool = False) -> None:
        """Capture until `stop`; with `once` until what the topics hold now is taken in.

        With `once` an outage is raised, else waited out. Raises Unavailable, InvalidInput (a topic
        that does not hold change events, another's group), NotFound (no such topic), StoreCorrupt.
        """
        self._out.once = once
        backoff = Backoff(self._stop.wait)
        try:
            while not self._stop.is_set():
                try:
                    self._begin()
                    if once and all(topic.caught_up() for topic in self._topics):
                        return
                    self._round()
                except Unavailable as error:
                    self._leave(at_once=True)  # and begin again with what was not committed
                    if once:
                        raise
                    self._out.note(error)
                    backoff.wait()
                    continue
                backoff.begin_again()
                self._out.outage = None
        finally:
            self._end()

    def _open(self) -> Emitter:
        given = {"on_unavailable": "raise", **self.settings.emitter}
        emitter = Emitter(self.settings.bus, self.settings.source, **given)
        if not is_kafka(self.settings.bus):
            self._judge.keep = BlobStore(default_blobs_url(self.settings.bus)).put
        return emitter

    def _begin(self) -> None:
        """Open what is not open. The emitter comes first: it makes a ledger that is not there."""
        _ = self._out.emitter
        if not self._topics:
            destination = self._destination()
            digest = sha256(destination.encode()).hexdigest()[:12]
            group = self.settings.group or f"attestory-debezium-{digest}"
            for address in self._addresses:
                topic = Topic(address, group, destination, self._is_there, self._out.once)
                self._topics.append(topic)

    def _destination(self) -> str:
        """Whose group it is: the ledger by its verifier key, or the topic."""
        if is_kafka(self.settings.bus):
            return destination_name(parse_address(self.settings.bus))
        with open_reader(self.settings.bus) as ledger:
            return ledger.logs()[0].vkey

    def _is_there(self, name: EventName) -> bool:
        """Of a topic nobody can say: then it is believed."""
        if is_kafka(self.settings.bus):
            return True
        with open_reader(self.settings.bus) as ledger:
            return bool(ledger.find_event(name[1], name[0]))

    def _round(self) -> None:
        """Once through all topics."""
        for topic in self._topics:
            if self._stop.is_set():
                break
            found = topic.poll(TURN_S / len(self._topics), self.settings.batch)
            self._say_expired(topic)
            if found:
                self._take(topic, found)

    def _take(self, topic: Topic, found: Mapping[int, Sequence[Fetched]]) -> None:
        """All that was polled: into events, safe, and only then committed."""
        outcomes = {
            partition: [self._judge.outcome(topic.name, partition, each) for each in messages]
            for partition, messages in found.items()
        }
        everything = [each for some in outcomes.values() for each in some]
        self._look(topic, everything)
        counts: Counter[str] = Counter()
        last: dict[int, EventName | None] = {}
        for partition, some in outcomes.items():
            last[partition] = None
            for message, outcome in zip(found[partition], some, strict=True):
                place = Place(topic.name, partition, message.offset)
                word, sent = self._emit(place, message, outcome)
                counts[word] += 1
                if sent is not None:
                    last[partition] = sent
        self._flush()
        topic.commit(last)
        self.counts += counts

    def _look(self, topic: Topic, outcomes: Sequence[Outcome]) -> None:
        """Refuse a topic that was never read and holds nothing of Debezium's.

        A ledger forgets nothing: a wrong name must not fill it with what could not be read.
        """
        if not topic.is_new or len(outcomes) < FIRST_LOOK_MESSAGES:
            return
        if all(each.aside is not None for each in outcomes):
            raise InvalidInput(
                f"topic {topic.name} begins with nothing that could be read: {outcomes[0].why}"
            )

    def _emit(
        self, place: Place, message: Fetched, outcome: Outcome
    ) -> tuple[str, EventName | None]:
        """Give it to the emitter; what became of it, and the event's name."""
        if outcome.aside is not None:
            return outcome.word, self._send(outcome.aside)
        change = outcome.change
        if change is None:
            return outcome.word, None
        refused: InvalidInput | None = None
        for form in forms(change):
            try:
                return outcome.word, self._send(event_of(change, form))
            except InvalidInput as error:
                refused = refused or error
                if not isinstance(error, LimitExceeded):
                    break  # saying less does not help
        assert refused is not None  # there is one form at least
        return SET_ASIDE, self._send(self._judge.aside(place, message, refused, change))

    def _send(self, built: Built) -> EventName:
        """Raises InvalidInput for what is no event; waits while the bus is away."""
        self._out.send(built, self._stop.wait)
        return built.event.source, built.event.event_id

    def _flush(self) -> None:
        """Return when all is sealed, or acknowledged. Raises Unavailable when told to stop."""
        self._out.flush(self._stop.wait)
        emitter = self._out.emitter
        self.conflicts, self.quarantined = emitter.conflicts, emitter.quarantined

    def _say_expired(self, topic: Topic) -> None:
        """Messages that nobody can read any more are a gap, and said."""
        if not topic.expired:
            return
        for gone in topic.expired:
            source = self.settings.source or GAP_SOURCE
            self._send(lost(topic.name, *gone, source))
            _log.error("%s/%d: %d messages expired unread", topic.name, gone[0], gone[2] - gone[1])
        self._flush()
        self.counts["expired"] += sum(gone.stop - gone.first for gone in topic.expired)
        topic.expired.clear()

    def _leave(self, at_once: bool = False) -> None:
        topics, self._topics = self._topics, []
        for topic in topics:
            try:
                topic.give_up() if at_once else topic.close()
            except (Unavailable, InvalidInput) as error:
                _log.warning("%s", str(error).replace("\n", "; "))

    def _end(self) -> None:
        """Close all; what was not committed is read again by whoever comes next."""
        self._leave()
        self._out.close()

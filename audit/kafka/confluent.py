"""The faster client, confluent-kafka (librdkafka): sending, and what the cluster says of topics.

Reading through it is in `confluent_consumer`.
"""

import time
from contextlib import suppress
from typing import Any
from uuid import UUID

from confluent_kafka import KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic as ConfluentTopic

from audit.errors import AuditError, NotFound, Unavailable
from audit.kafka.address import KafkaAddress
from audit.kafka.clients import NewTopic, TopicInfo
from audit.kafka.confluent_consumer import ConfluentConsumer
from audit.kafka.confluent_link import Link
from audit.kafka.translate import TOPIC_ALREADY_EXISTS
from audit.kafka.transport import SIGNATURE_HEADER
from audit.kafka.tuning import BATCH_BYTES, LINGER_MS, PartitionCounts, check_message

MAX_QUEUED = 100_000
"""Most messages that wait to be acknowledged; `send` waits for room above."""
MAX_QUEUED_KBYTES = 262_144
QUEUE_WAIT_S = 60.0
"""How long `send` waits for room in the queue before it gives the broker up."""
SENDS_PER_LOOK = 1_000
"""After so many messages librdkafka's complaints are looked at."""
QUEUE_TURN_S = 0.05
FLUSH_TURN_S = 0.5
REPORT_TURNS = 10
"""So often reports are asked for after librdkafka gave up."""
METADATA_TURN_S = 0.1
"""Pause before a topic just made is looked for again."""


def describe_topic(address: KafkaAddress, topic: str, timeout_s: float) -> TopicInfo:
    """Ask the cluster. Raises NotFound."""
    link = Link(address)
    return _describe(link, link.open(AdminClient, timeout_s), topic, timeout_s)


def make_topics(address: KafkaAddress, topics: list[NewTopic], timeout_s: float) -> list[str]:
    """Make those that are missing; return the names of those made now."""
    link = Link(address)
    admin = link.open(AdminClient, timeout_s)
    wanted = [topic for topic in topics if not _is_there(link, admin, topic.name, timeout_s)]
    made = [topic.name for topic in wanted if _make(link, admin, topic, timeout_s)]
    deadline = time.monotonic() + timeout_s
    for topic in wanted:
        while not _is_there(link, admin, topic.name, timeout_s):
            if time.monotonic() > deadline:
                raise Unavailable(f"Kafka at {address.bootstrap} does not show {topic.name} yet")
            time.sleep(METADATA_TURN_S)
    return made


def _make(link: Link, admin: AdminClient, topic: NewTopic, timeout_s: float) -> bool:
    new = ConfluentTopic(
        topic.name, topic.partitions, topic.replication, config=dict(topic.settings)
    )
    answer = link.call(topic.name, lambda: admin.create_topics([new], request_timeout=timeout_s))
    try:
        answer[topic.name].result(timeout_s)
    except KafkaException as error:
        if error.args[0].code() == TOPIC_ALREADY_EXISTS:
            return False  # somebody made it meanwhile
        raise link.translated(error, topic.name) from None
    except TimeoutError as error:
        raise link.translated(error, topic.name) from None
    return True


def _is_there(link: Link, admin: AdminClient, topic: str, timeout_s: float) -> bool:
    try:
        return _describe(link, admin, topic, timeout_s).partitions > 0
    except NotFound:
        return False


def _describe(link: Link, admin: AdminClient, topic: str, timeout_s: float) -> TopicInfo:
    names = TopicCollection([topic])
    answer = link.call(topic, lambda: admin.describe_topics(names, request_timeout=timeout_s))
    try:
        found: Any = answer[topic].result(timeout_s)
    except (KafkaException, TimeoutError) as error:
        raise link.translated(error, topic) from None
    return TopicInfo(len(found.partitions), _hex_id(found.topic_id))


def _hex_id(topic_id: Any) -> str | None:
    """A topic's id as both clients write it."""
    if topic_id is None:
        return None
    most, least = topic_id.get_most_significant_bits(), topic_id.get_least_significant_bits()
    return str(UUID(int=(most % 2**64) << 64 | least % 2**64))


class ConfluentProducer:
    """Sends through confluent-kafka: idempotent, and stopped by the first message that fails."""

    def __init__(
        self, address: KafkaAddress, compression: str | None, connect_timeout_s: float
    ) -> None:
        self._link = Link(address)
        self._counts = PartitionCounts(
            lambda topic: describe_topic(address, topic, connect_timeout_s).partitions
        )
        self._sent = 0
        self._failure: AuditError | None = None
        self._closed = False
        self._client = self._link.open(
            Producer,
            connect_timeout_s,
            acks="all",
            enable_idempotence=True,
            # Nothing overtakes a message that failed: librdkafka stops altogether.
            enable_gapless_guarantee=True,
            # No message gives up by itself; `close` gives up all together.
            message_timeout_ms=0,
            linger_ms=LINGER_MS,
            batch_size=BATCH_BYTES,
            queue_buffering_max_messages=MAX_QUEUED,
            queue_buffering_max_kbytes=MAX_QUEUED_KBYTES,
            compression_type=compression or "none",
            delivery_report_only_error=True,
            on_delivery=self._undelivered,
        )

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has; may be a minute old. Raises NotFound."""
        return self._counts.of(topic)

    def send(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes,
        signature: bytes | None = None,
    ) -> None:
        """Queue one message. A failure is raised here or by the next `flush`."""
        self._sent += 1
        if self._sent % SENDS_PER_LOOK == 0 and not self._closed:
            self._serve(0)
        if self._failure is not None or self._closed:
            raise self._why()
        check_message(key, value)
        self._counts.check(topic, partition)
        headers: Any = None if signature is None else [(SIGNATURE_HEADER, signature)]
        deadline = 0.0
        while True:
            try:
                self._client.produce(topic, value, key, partition, headers=headers)
                return
            except BufferError:
                deadline = deadline or time.monotonic() + QUEUE_WAIT_S
                self._serve(QUEUE_TURN_S)
                if self._failure is None and time.monotonic() > deadline:
                    self._failure = self._unacknowledged(QUEUE_WAIT_S)
            except KafkaException as error:
                self._fail(error, topic)
            if self._failure is not None:
                raise self._why()

    def flush(self, timeout_s: float) -> None:
        """Return when the broker acknowledged all that was sent. Raises Unavailable otherwise."""
        if self._failure is not None or self._closed:
            raise self._why()
        deadline = time.monotonic() + timeout_s
        # Not by librdkafka's `flush`: a fatal error in there ends in Python's SystemError.
        while len(self._client) and self._failure is None:
            left = deadline - time.monotonic()
            if left <= 0:
                self._failure = self._unacknowledged(timeout_s)
            else:
                self._serve(min(left, FLUSH_TURN_S))
        if self._failure is not None:
            raise self._why()

    def close(self) -> None:
        """Give up what was not acknowledged, at once. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        try:
            self._client.purge(in_queue=True, in_flight=True, blocking=False)
        except KafkaException as error:
            self._fail(error, self._link.address.topic)

    def _serve(self, timeout_s: float) -> None:
        """Have librdkafka report; what it cannot go on from comes as an exception."""
        try:
            self._client.poll(timeout_s)
        except KafkaException as error:
            self._fail(error, self._link.address.topic)

    def _fail(self, error: KafkaException, topic: str) -> None:
        """Remember why nothing more is sent: rather what failed first than that it is over."""
        for _ in range(REPORT_TURNS):
            with suppress(KafkaException):
                self._client.poll(QUEUE_TURN_S)
            if self._failure is not None:
                return
        self._failure = self._link.translated(error, topic)

    def _undelivered(self, error: Any, message: Any) -> None:
        if error is not None and self._failure is None and not self._closed:
            self._failure = self._link.translated(error, message.topic())

    def _unacknowledged(self, seconds: float) -> Unavailable:
        why = f" ({self._link.last_error})" if self._link.last_error else ""
        servers, topic = self._link.address.bootstrap, self._link.address.topic
        return Unavailable(
            f"Kafka at {servers}, topic {topic}: not acknowledged within {seconds:g} s{why}"
        )

    def _why(self) -> AuditError:
        if self._failure is not None:
            return self._failure
        return Unavailable(f"this producer of Kafka at {self._link.address.bootstrap} is closed")


# As `clients.ClientModule` asks for them.
producer, consumer = ConfluentProducer, ConfluentConsumer

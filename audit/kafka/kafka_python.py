"""The default client, kafka-python 3: sending through it; reading is in `kafka_python_consumer`."""

import atexit
import time
from typing import Any

import kafka
from kafka import KafkaProducer, TopicPartition
from kafka import errors as kafka_errors

from audit.errors import AuditError, Unavailable
from audit.kafka.address import KafkaAddress
from audit.kafka.kafka_python_consumer import KafkaPythonConsumer
from audit.kafka.kafka_python_link import describe_topic, make_topics, open_client, translated
from audit.kafka.transport import SIGNATURE_HEADER
from audit.kafka.tuning import BATCH_BYTES, LINGER_MS, PartitionCounts, check_message

__all__ = ["KafkaPythonProducer", "consumer", "describe_topic", "make_topics", "producer"]

FAST_RELEASES = ("3.0.",)
"""Releases of kafka-python whose accumulator was looked at; in others `send` itself is called."""

DELIVERY_TIMEOUT_MS = 2**31 - 1
"""No batch gives up by itself: later ones would overtake it. `close` gives up all together."""
CLOSE_WAIT_S = 1.0


class KafkaPythonProducer:
    """Sends through kafka-python: idempotent, one batch of a partition under way at a time."""

    def __init__(
        self, address: KafkaAddress, compression: str | None, connect_timeout_s: float
    ) -> None:
        self._address = address
        self._counts = PartitionCounts(
            lambda topic: describe_topic(address, topic, connect_timeout_s).partitions
        )
        self._known: dict[tuple[str, int], Any] = {}
        self._last: dict[tuple[str, int], Any] = {}
        self._failure: Exception | None = None
        self._closed = False
        self._client = open_client(
            KafkaProducer,
            address,
            connect_timeout_s,
            acks="all",
            enable_idempotence=True,
            delivery_timeout_ms=DELIVERY_TIMEOUT_MS,
            linger_ms=LINGER_MS,
            batch_size=BATCH_BYTES,
            max_block_ms=int(connect_timeout_s * 1000),
            compression_type=compression,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        # Whoever opened it closes it: its own end of the process would come too early for a last
        # flush, and in a forked child it would take the parent's sockets out of the parent's poll.
        if (cleanup := getattr(self._client, "_cleanup", None)) is not None:
            atexit.unregister(cleanup)
        fast = kafka.__version__.startswith(FAST_RELEASES)
        self._append = self._append_fast if fast else self._append_public

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
        if self._failure is not None or self._closed:
            raise self._why(topic)
        check_message(key, value)
        place = self._known.get((topic, partition)) or self._learn(topic, partition)
        headers = [] if signature is None else [(SIGNATURE_HEADER, signature)]
        try:
            future = self._append(place, key, value, headers)
        except kafka_errors.KafkaError as error:
            self._failure = self._failure or error
            raise self._why(topic) from None
        future.add_errback(self._failed)
        self._last[topic, partition] = future

    def flush(self, timeout_s: float) -> None:
        """Return when the broker acknowledged all that was sent. Raises Unavailable otherwise."""
        if self._failure is not None:
            raise self._why(self._address.topic)
        deadline = time.monotonic() + timeout_s
        # A partition's batches are acknowledged in order: the last message speaks for all before.
        for (topic, _), future in self._last.items():
            try:
                future.get(max(0.0, deadline - time.monotonic()))
            except kafka_errors.KafkaError as error:
                late = kafka_errors.KafkaTimeoutError(f"not acknowledged within {timeout_s:g} s")
                self._failure = self._failure or (error if future.is_done else late)
                raise self._why(topic) from None
        self._last.clear()

    def close(self) -> None:
        """Give up what was not acknowledged, at once. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        self._abandon()
        sender = getattr(self._client, "_sender", None)
        if sender is not None:
            sender.join(CLOSE_WAIT_S)
        try:
            self._client.close(timeout=0)
        except kafka_errors.KafkaError:
            # Its thread is still on the way out; it sends nothing more.
            self._client._closed = True

    def _learn(self, topic: str, partition: int) -> Any:
        self._counts.check(topic, partition)
        try:
            self._client.partitions_for(topic)
        except Exception as error:
            raise translated(error, topic, self._address) from None
        place = TopicPartition(topic, partition)
        self._known[topic, partition] = place
        return place

    def _append_fast(self, place: Any, key: bytes | None, value: bytes, headers: Any) -> Any:
        """What `KafkaProducer.send` does in the end, without a third of a debug line each time."""
        future, full, new, _ = self._client._accumulator.append(place, None, key, value, headers)
        if full or new:
            self._client._sender.wakeup()
        return future

    def _append_public(self, place: Any, key: bytes | None, value: bytes, headers: Any) -> Any:
        return self._client.send(place.topic, value, key, headers, place.partition)

    def _failed(self, error: Exception) -> None:
        """On the sender's thread, before it sends anything more of this partition."""
        if self._failure is None:
            self._failure = error
            self._abandon()

    def _abandon(self) -> None:
        """Send nothing more: what comes after a batch that failed must not overtake it."""
        sender = getattr(self._client, "_sender", None)
        if sender is not None:
            sender.force_close()

    def _why(self, topic: str) -> AuditError:
        if self._failure is None:
            return Unavailable(f"this producer of Kafka at {self._address.bootstrap} is closed")
        return translated(self._failure, topic, self._address)


# As `clients.ClientModule` asks for them.
producer, consumer = KafkaPythonProducer, KafkaPythonConsumer

"""Sends spooled events to a Kafka topic: where each goes, what goes before it, what if it fails.

Why each log has an entity's events in the order in which they were emitted, without a loss:

1. The spool hands out groups in order, and the next one only when the broker acknowledged all of
   this one (`deliver`). So at any time only events of one group are of unknown fate.
2. All events of an entity go to one partition, chosen by their key alone.
3. What one connection writes to a partition is a beginning of what it was given for it: the
   producer is idempotent, and once something failed it sends nothing more of it (`Producer`).
4. After a failure the connection is given up, and the whole group goes through a new one, from its
   first event. So the partition holds several beginnings of one sequence, the last of them whole;
   even if the network delivers the older ones late and in between. Take two events of the sequence
   and the first copy of the later one: the earlier one stands before it, in the same beginning.
5. The log drops every copy but the first. What is left is the sequence.

A process that dies leaves its group in its spool file, and whoever drains that file goes on at 4.

Schemas are not sent as they come out of the spool but remembered, and put on a partition before the
first event there that needs them, once for each connection: so every log decodes by itself. If the
number of partitions grew, which is looked up for each connection, an entity's later events may go
to another log; consumers refuse such a topic until somebody accepted that.
"""

import ctypes
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from audit.errors import InvalidInput
from audit.event.build import schema_event
from audit.event.canonical import PAYLOAD_BUILTINS, builtin, schema_hash
from audit.event.envelope import Event, decode_event, encode_event
from audit.event.types import DATA_TRUNCATE, SCHEMA
from audit.kafka.address import KAFKA_SCHEME, KafkaAddress
from audit.kafka.topics import entity_partition_key, partition_of
from audit.log.intake import Message
from audit.store.contract import Status

if TYPE_CHECKING:
    from audit.kafka.transport import Producer

CONNECT_TIMEOUT_S = 5.0
"""How long a broker may take to answer before it counts as being away."""
DELIVERY_TIMEOUT_S = 10.0
"""How long it may take to acknowledge a group before the broker counts as being away."""
CLOSE_S = 20.0
"""How long the end of an emitter takes at most; orchestrators often allow a process 30 seconds."""
MAX_PLACES = 100_000
"""How many entities' partitions are remembered."""
FIRST_PARTITION = 0
"""Where an event without a key goes, and what is no event at all, for the quarantine there."""

_NOTHING_KNOWN: Mapping[Status, int] = {}


class _Connection:
    """One producer, and what it was given: the hashes of the schemas on each partition."""

    def __init__(
        self, producer: "Producer", count: int, frame: Callable[[bytes], bytes] | None
    ) -> None:
        self.producer = producer
        self.frame = frame
        self.schemas: list[set[bytes]] = [set() for _ in range(count)]
        self._places: dict[bytes, int] = {}

    def place(self, key: bytes) -> int:
        """The partition of a key; what is known takes a tenth of finding it out."""
        partition = self._places.get(key)
        if partition is None:
            partition = partition_of(key, len(self.schemas))
            if len(self._places) >= MAX_PLACES:
                self._places.clear()
            self._places[key] = partition
        return partition


class KafkaSender:
    """A topic as a destination: delivered means acknowledged by all replicas in sync.

    What the log makes of the events (sealed, duplicate, conflict) only the consumer knows.
    """

    does = "sends"
    longest_pause_s = 5.0
    close_s: float | None = CLOSE_S

    def __init__(self, address: KafkaAddress) -> None:
        """Nothing is connected before it is needed."""
        self.name = destination_name(address)
        self._address = address
        self._connection: _Connection | None = None
        self._schemas: dict[bytes, bytes] = {}

    def connect(self) -> None:
        """Return when a broker answered and has the topic. Raises Unavailable, InvalidInput."""
        if self._connection is None:
            self._connection = self._connected()

    def deliver(self, messages: list[Message]) -> Mapping[Status, int]:
        """Send them and wait for all acknowledgements. Raises Unavailable, InvalidInput."""
        try:
            self.connect()
            connection = self._connection
            assert connection is not None
            for message in messages:
                self._send(connection, message)
            connection.producer.flush(DELIVERY_TIMEOUT_S)
        except BaseException:
            self.close()
            raise
        return _NOTHING_KNOWN

    def close(self) -> None:
        """Give up the connection, and at once what it has not acknowledged."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.producer.close()

    def before_fork(self) -> None:
        """A connection under way is not waited for: it may take long, and stays the parent's."""

    def after_fork_in_parent(self) -> None:
        """Nothing was stopped."""

    def after_fork_in_child(self) -> None:
        """Leave the parent's connection alone.

        A client closes when nobody refers to it any more, and no client is made for that in a
        child, where its threads are not and its sockets are the parent's. So this one stays.
        """
        if self._connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection.producer))

    def _connected(self) -> _Connection:
        from audit.kafka.clients import open_producer

        address = self._address
        producer = open_producer(address, connect_timeout_s=CONNECT_TIMEOUT_S)
        try:
            count = producer.partitions(address.topic)
            frame = None
            if address.registry is not None:
                from audit.kafka.registry import Registry, RegistryFraming

                frame = RegistryFraming(Registry(address.registry), address.topic).encode
        except BaseException:
            producer.close()
            raise
        return _Connection(producer, count, frame)

    def _send(self, connection: _Connection, message: Message) -> None:
        data, signature, _ = message
        try:
            event = decode_event(data)
        except InvalidInput:
            event = None
        if event is None or (event.type == SCHEMA and not self._remember(event, data)):
            connection.producer.send(self._address.topic, FIRST_PARTITION, None, data, signature)
            return
        if event.type == SCHEMA:
            return
        frame = connection.frame
        value = data if frame is None else frame(data)
        if event.type == DATA_TRUNCATE:
            # Each log holds some of the dataset's keys.
            for partition in range(len(connection.schemas)):
                self._put(connection, partition, None, value, signature, event.payload_schema)
            return
        key = entity_partition_key(event)
        partition = FIRST_PARTITION if key is None else connection.place(key)
        self._put(connection, partition, key, value, signature, event.payload_schema)

    def _remember(self, event: Event, data: bytes) -> bool:
        """Keep a schema until it is needed; False for what claims to be one and is not."""
        found = schema_hash(event.payload)
        if event.event_id != found.hex():
            return False
        self._schemas[found] = data
        return True

    def _put(
        self,
        connection: _Connection,
        partition: int,
        key: bytes | None,
        value: bytes,
        signature: bytes | None,
        schema: bytes | None,
    ) -> None:
        there = connection.schemas[partition]
        if schema is not None and schema not in there:
            # An unknown one is the business of whoever reads the log: there it may be known.
            data = self._schemas.get(schema) or _builtin_events().get(schema)
            if data is not None:
                if connection.frame is not None:
                    data = connection.frame(data)
                connection.producer.send(self._address.topic, partition, None, data)
            there.add(schema)
        connection.producer.send(self._address.topic, partition, key, value, signature)


def destination_name(address: KafkaAddress) -> str:
    """A topic's name in spool files: without settings, and however its servers are ordered."""
    return f"{KAFKA_SCHEME}{','.join(sorted(address.servers))}/{address.topic}"


@cache
def _builtin_events() -> dict[bytes, bytes]:
    """Hash -> event of every schema that this library brings for payloads."""
    texts = [builtin(name) for name in PAYLOAD_BUILTINS]
    return {schema_hash(text): encode_event(schema_event(text)) for text in texts}

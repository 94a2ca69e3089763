"""Every transport test runs with both clients, against the broker that all tests share."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from kafka import KafkaProducer

from audit.kafka.address import CLIENTS, KafkaAddress, parse_address
from audit.kafka.clients import open_consumer, open_producer
from audit.kafka.transport import Consumer, Fetched, Producer
from tests.services.kafka import KafkaServer

PATIENCE = 480
"""Polls of a quarter of a second after which what has not come will not come."""


@dataclass
class Bus:
    """One client on the shared broker; what it opens is closed after the test."""

    server: KafkaServer
    client: str
    opened: list[Producer | Consumer] = field(default_factory=list)

    def topic(self, partitions: int = 1, **config: object) -> KafkaAddress:
        return self.address(self.server.new_topic(partitions, **config))

    def address(self, topic: str) -> KafkaAddress:
        return parse_address(f"{self.server.url(topic)}?client={self.client}", {})

    def producer(self, address: KafkaAddress, **settings: object) -> Producer:
        self.opened.append(producer := open_producer(address, **settings))  # type: ignore[arg-type]
        return producer

    def member(self, address: KafkaAddress, group: str | None, **settings: object) -> Consumer:
        consumer = open_consumer(address, group, **settings)  # type: ignore[arg-type]
        self.opened.append(consumer)
        return consumer

    def reader(self, address: KafkaAddress, *partitions: int) -> Consumer:
        """Reads these partitions (0 if none is named) from their beginnings."""
        consumer = self.member(address, None)
        consumer.assign(address.topic, partitions or [0])
        for partition in partitions or [0]:
            consumer.seek(partition, 0)
        return consumer

    def raw_producer(self, **settings: object) -> KafkaProducer:
        """kafka-python's own: for what our producers never send."""
        return KafkaProducer(bootstrap_servers=self.server.bootstrap, **settings)


def read(consumer: Consumer, count: int, partition: int = 0, most: int = 1_000) -> list[Fetched]:
    """The next so many messages of one partition."""
    found: list[Fetched] = []
    for _ in range(PATIENCE):
        found += consumer.poll(0.25, most).get(partition, ())
        if len(found) >= count:
            return found
    raise AssertionError(f"{len(found)} of {count} messages came")


def poll_until(done: Callable[[], bool], *consumers: Consumer) -> None:
    """Poll these in turn, as their processes would, until it is so."""
    for _ in range(PATIENCE):
        for consumer in consumers:
            consumer.poll(0.25 / len(consumers), 1_000)
        if done():
            return
    raise AssertionError("it did not come to that")


def new_group() -> str:
    return f"g-{uuid.uuid4().hex[:8]}"


@pytest.fixture(params=CLIENTS)
def bus(request: pytest.FixtureRequest, kafka_server: KafkaServer) -> Iterator[Bus]:
    bus = Bus(kafka_server, request.param)
    yield bus
    for one in bus.opened:
        one.close()

"""Partitions of keys, and the topics of a ledger."""

import os

import pytest
from kafka.partitioner.default import murmur2 as kafka_python_murmur2

from audit.errors import InvalidInput, NotFound
from audit.event.envelope import Event
from audit.kafka.clients import describe_topic
from audit.kafka.topics import (
    CHECKPOINTS_TOPIC,
    create_topics,
    entity_partition_key,
    murmur2,
    partition_of,
    topic_id,
)
from tests.kafka.conftest import Bus

# From Kafka's own UtilsTest.testMurmur2, as numbers with sign.
VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", VECTORS)
def test_murmur2_is_kafkas(key: bytes) -> None:
    assert murmur2(key) == VECTORS[key] % 2**32


def test_murmur2_agrees_with_kafka_python_at_every_length() -> None:
    for size in range(70):
        key = os.urandom(size)
        assert murmur2(key) == kafka_python_murmur2(key)


def test_partitions_of_keys() -> None:
    assert partition_of(b"21", 1_000) == (-973932308 & 0x7FFFFFFF) % 1_000
    assert {partition_of(b"%d" % n, 7) for n in range(100)} == set(range(7))
    assert partition_of(None, 7) == 0
    with pytest.raises(InvalidInput, match="at least one partition"):
        partition_of(b"key", 0)


def test_the_key_of_an_event_is_its_entity() -> None:
    event = Event("1", "data.create", "app", "invoice", "Ä/1")
    assert entity_partition_key(event) == "invoice/Ä/1".encode()
    assert entity_partition_key(event._replace(entity_key=None)) is None
    assert entity_partition_key(Event("1", "app.note", "app")) is None


def test_missing_topics_are_made_and_others_left_alone(bus: Bus) -> None:
    existing = bus.topic(2)
    assert existing.topic not in create_topics(existing, 5, 1)
    assert describe_topic(existing, existing.topic).partitions == 2

    new = existing._replace(topic=existing.topic + "-new")
    with pytest.raises(NotFound, match="no topic"):
        topic_id(new)
    assert create_topics(new, 3, 1) == [new.topic]
    assert create_topics(new, 3, 1) == []
    assert describe_topic(new, new.topic).partitions == 3
    assert describe_topic(new, CHECKPOINTS_TOPIC).partitions == 1
    other_client = new._replace(client="confluent")
    assert topic_id(new) == topic_id(other_client) != topic_id(existing)


def test_numbers_that_cannot_be_are_refused(bus: Bus) -> None:
    address = bus.address("never-made")
    with pytest.raises(InvalidInput, match="partitions must be"):
        create_topics(address, 0, 1)
    with pytest.raises(InvalidInput, match="at least 1"):
        create_topics(address, 1, 0)
    with pytest.raises(InvalidInput, match="another topic"):
        create_topics(address._replace(topic=CHECKPOINTS_TOPIC), 1, 1)
    with pytest.raises(InvalidInput, match="more than there are brokers"):
        create_topics(address, 1, 30)

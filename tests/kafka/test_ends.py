"""Confluent's memory of a partition's end may be older than the messages it hands out."""

from typing import Any

import pytest

from audit.errors import Unavailable
from audit.kafka import confluent_consumer
from audit.kafka.transport import Offsets
from tests.kafka.conftest import PATIENCE, Bus, read
from tests.services.kafka import KafkaServer


@pytest.fixture
def bus(kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch) -> Bus:
    """With a client that remembers an end from before anything was sent."""
    monkeypatch.setattr(confluent_consumer, "known_end", lambda *_: 0)
    return Bus(kafka_server, "confluent")


def test_nobody_is_accused_before_the_broker_was_asked(bus: Bus) -> None:
    address = bus.topic()
    producer = bus.producer(address)
    for n in range(100):
        producer.send(address.topic, 0, b"k", b"%d" % n)
    producer.flush(30)
    reader = bus.reader(address)
    assert [message.offset for message in read(reader, 100)] == list(range(100))
    assert reader.position(0) == 100
    reader.close()


def test_a_broker_that_does_not_say_costs_no_message(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages of both partitions are at hand, and only the first one's end can be asked for."""
    address = bus.topic(2)
    producer = bus.producer(address)
    for n in range(20):
        producer.send(address.topic, n % 2, b"k", b"%d" % n)
    producer.flush(30)
    reader: Any = bus.reader(address, 0, 1)
    ask, failures = reader.offsets, [1]

    def offsets(partitions: list[int]) -> dict[int, Offsets]:
        if len(asked) == 1 and failures:
            failures.pop()
            raise Unavailable("no answer")
        asked.append(partitions[0])
        found: dict[int, Offsets] = ask(partitions)
        return found

    asked: list[int] = []
    monkeypatch.setattr(reader, "offsets", offsets)
    take = reader._client.consume

    def consume(count: int, timeout_s: float) -> list[Any]:
        """All of both partitions at once."""
        found: list[Any] = []
        for _ in range(PATIENCE):
            found += take(100, 0.25)
            if len([one for one in found if one.error() is None]) >= 20:
                break
        return found

    class Client:
        def __getattr__(self, name: str) -> Any:
            return consume if name == "consume" else getattr(client, name)

    client = reader._client
    monkeypatch.setattr(reader, "_client", Client())
    with pytest.raises(Unavailable, match="no answer"):
        reader.poll(1, 1)
    found = reader.poll(1, 1)
    assert {p: len(messages) for p, messages in found.items()} == {0: 10, 1: 10}
    monkeypatch.undo()
    assert [reader.position(p) for p in (0, 1)] == [10, 10]
    reader.close()

"""Batches whose producer numbered the messages inside as it liked: brokers do not look."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.record.default_records import DefaultRecordBatchBuilder

from audit.errors import AuditError, Unavailable
from audit.kafka import completeness, confluent_consumer, kafka_python_consumer
from audit.kafka.address import parse_address
from audit.kafka.transport import OffsetsAstray
from consumers.service import run
from consumers.settings import Settings
from tests.cli.conftest import Cli, cli
from tests.consumers.support import an_event, control, sealed
from tests.kafka.conftest import Bus, read
from tests.services.kafka import KafkaServer

__all__ = ["cli"]
"""A fixture that these tests borrow."""

SHAPES = [[0, 1000], [0, 0, 0], [2, 1, 0], [0, -3, 2]]


@contextmanager
def numbered(deltas: list[int]) -> Iterator[None]:
    """Messages of a batch get these numbers; its header stays as brokers want it."""
    append = DefaultRecordBatchBuilder.append

    def wrong(self: Any, offset: int, *args: Any, **rest: Any) -> Any:
        done = append(self, deltas[offset], *args, **rest)
        if done is not None:
            self._last_offset = offset
        return done

    DefaultRecordBatchBuilder.append = wrong
    try:
        yield
    finally:
        DefaultRecordBatchBuilder.append = append


def send(server: KafkaServer, topic: str, first: int, count: int, **rest: Any) -> None:
    """One batch of events."""
    settings = {"linger_ms": 200, "enable_idempotence": False}
    with closing(KafkaProducer(bootstrap_servers=server.bootstrap, **settings)) as producer:
        for n in range(first, first + count):
            producer.send(topic, an_event(n), b"user/1", rest.get("headers", []), partition=0)
        producer.flush(30)


def hostile(server: KafkaServer, deltas: list[int]) -> str:
    """Five good events, a batch with these numbers inside, and three good ones."""
    topic = server.new_topic()
    send(server, topic, 0, 5)
    with numbered(deltas):
        send(server, topic, 5, len(deltas))
    send(server, topic, 5 + len(deltas), 3)
    return topic


@pytest.mark.parametrize("deltas", SHAPES, ids=str)
def test_offsets_are_the_brokers(
    kafka_server: KafkaServer, cli: Cli, tmp_path: Path, deltas: list[int]
) -> None:
    topic = hostile(kafka_server, deltas)
    bus, store = kafka_server.url(topic), f"sqlite:///{tmp_path / 'audit.db'}"
    count = 8 + len(deltas)
    assert run(Settings(bus=bus, store=store, once=True)) == 0
    assert [(e.source.offset, e.source.next_offset) for e in sealed(store, 1) if e.source] == [
        (n, n + 1) for n in range(count)
    ]
    assert [entry.event for entry in sealed(store, 1)] == [an_event(n) for n in range(count)]
    assert control(store, 1, "source.skipped") == []
    assert cli("verify", "--store", store, "--source", bus)[0] == 0


@pytest.mark.parametrize("deltas", SHAPES, ids=str)
@pytest.mark.parametrize("client", ["confluent", "another kafka-python"])
def test_who_follows_the_producer_refuses_the_partition(
    kafka_server: KafkaServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    client: str,
    deltas: list[int],
) -> None:
    bus = kafka_server.url(hostile(kafka_server, deltas))
    if client == "confluent":
        bus += "?client=confluent"
    else:
        monkeypatch.setattr(kafka_python_consumer, "fast_records", lambda: None)
    store = f"sqlite:///{tmp_path / 'audit.db'}"
    assert run(Settings(bus=bus, store=store, once=True)) != 0
    assert [e.source.offset for e in sealed(store, 1) if e.source] in ([], [0, 1, 2, 3, 4])
    assert control(store, 1, "source.skipped") == []


def test_an_offset_beyond_the_end_is_refused(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_python_consumer, "fast_records", lambda: None)
    address = bus.topic()
    with numbered([0, 1000]):
        send(bus.server, address.topic, 0, 2)
    reader = bus.reader(address)
    with pytest.raises(OffsetsAstray, match=r"/0: offset 1000 is not below the end, 2") as found:
        read(reader, 2)
    assert found.value.partition == 0
    with pytest.raises(OffsetsAstray):
        reader.position(0)
    reader.seek(0, 2)
    assert reader.position(0) == 2


def test_a_header_that_is_no_text_does_not_stop_the_poll(
    kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Name(str):
        def encode(self, *_: Any) -> bytes:
            return b"\xff\xfe"

    monkeypatch.setattr(kafka_python_consumer, "fast_records", lambda: None)
    bus = Bus(kafka_server, "kafka-python")
    address = bus.topic()
    send(kafka_server, address.topic, 0, 2)
    send(kafka_server, address.topic, 2, 1, headers=[(Name("x"), b"v")])
    reader = bus.reader(address)
    assert len(read(reader, 2)) == 2
    with pytest.raises(Unavailable, match="Corrupt"):
        read(reader, 1)
    with pytest.raises(Unavailable, match="Corrupt"):
        read(reader, 1)
    reader.close()


def test_what_confluent_gave_is_not_lost_with_an_error(
    kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from confluent_kafka import KafkaError, KafkaException

    class Flaky(confluent_consumer.Consumer):  # type: ignore[misc]
        failures = 1

        def consume(self, count: int, timeout: float) -> Any:
            if count > 1 and self.failures:
                self.failures -= 1
                raise KafkaException(KafkaError(KafkaError._STATE, "rebalancing"))
            return super().consume(count, timeout)

    monkeypatch.setattr(confluent_consumer, "Consumer", Flaky)
    bus = Bus(kafka_server, "confluent")
    address = bus.topic()
    send(kafka_server, address.topic, 0, 20)
    reader = bus.reader(address)
    with pytest.raises(AuditError):
        read(reader, 20)
    assert reader.position(0) == 0
    assert [message.offset for message in read(reader, 20)] == list(range(20))
    reader.close()


def test_verify_says_so_too(kafka_server: KafkaServer, tmp_path: Path) -> None:
    bus, store = kafka_server.url(hostile(kafka_server, [2, 1, 0])), tmp_path / "audit.db"
    assert run(Settings(bus=bus, store=f"sqlite:///{store}", once=True)) == 0
    from audit.store import open_reader

    with open_reader(f"sqlite:///{store}") as reader, pytest.raises(OffsetsAstray):
        completeness.compare(parse_address(bus + "?client=confluent", {}), reader)

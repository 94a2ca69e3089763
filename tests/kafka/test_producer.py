"""Sending: order, acknowledgement, and what is said when it does not work."""

import socket
import sys

import pytest

from audit.errors import InvalidInput, LimitExceeded, NotFound, Unavailable
from audit.kafka import kafka_python, kafka_python_records
from audit.kafka.address import parse_address
from audit.kafka.clients import open_consumer, open_producer
from tests.kafka.conftest import Bus, read
from tests.services.kafka import KafkaServer


def test_messages_arrive_once_and_in_order_with_all_they_have(bus: Bus) -> None:
    address = bus.topic(2)
    producer = bus.producer(address)
    assert producer.partitions(address.topic) == 2
    many = [b"value %d" % n for n in range(5_000)]
    for n, value in enumerate(many):
        producer.send(address.topic, 0, b"key %d" % n, value, b"s" * 68 if n % 2 else None)
    producer.send(address.topic, 1, None, b"")
    producer.flush(30)

    reader = bus.reader(address, 0, 1)
    found = read(reader, len(many))
    assert [message.offset for message in found] == list(range(len(many)))
    assert [message.value for message in found] == many
    assert found[7][1:] == (b"key 7", b"value 7", b"s" * 68)
    assert found[8][1:] == (b"key 8", b"value 8", None)
    (alone,) = read(bus.reader(address, 1), 1, partition=1)
    assert alone == (0, None, b"", None)


@pytest.mark.parametrize("compression", ["gzip"])
def test_compressed_batches_are_read_as_any_others(bus: Bus, compression: str) -> None:
    address = bus.topic()
    producer = bus.producer(address, compression=compression)
    values = [b"%d" % n * 100 for n in range(500)]
    for value in values:
        producer.send(address.topic, 0, b"k", value)
    producer.flush(30)
    assert [message.value for message in read(bus.reader(address), 500)] == values


def test_a_producer_says_what_is_wrong(bus: Bus) -> None:
    address = bus.topic()
    producer = bus.producer(address)
    with pytest.raises(NotFound, match="has no topic missing"):
        producer.partitions("missing")
    with pytest.raises(NotFound, match="has no topic missing"):
        producer.send("missing", 0, b"k", b"v")
    with pytest.raises(InvalidInput, match="there is no 1"):
        producer.send(address.topic, 1, b"k", b"v")
    with pytest.raises(LimitExceeded, match="over 1000000 bytes"):
        producer.send(address.topic, 0, b"k", b"v" * 1_000_000)
    with pytest.raises(InvalidInput, match="compression"):
        open_producer(address, compression="rar")
    producer.send(address.topic, 0, b"k", b"v")
    producer.flush(30)  # it is of use all the same
    producer.close()
    producer.close()
    with pytest.raises(Unavailable, match="closed"):
        producer.send(address.topic, 0, b"k", b"v")


def test_nothing_overtakes_a_message_that_the_broker_refuses(bus: Bus) -> None:
    address = bus.topic(max_message_bytes=20_000)
    producer = bus.producer(address)
    producer.send(address.topic, 0, b"k", b"before")
    producer.flush(30)
    producer.send(address.topic, 0, b"k", b"x" * 30_000)
    with pytest.raises(LimitExceeded, match=r"max\.message\.bytes"):
        for n in range(1_000_000):  # a batch after the other, as long as it takes
            producer.send(address.topic, 0, b"k", b"after %d" % n * 100)
        producer.flush(30)
    with pytest.raises(LimitExceeded):
        producer.flush(30)
    producer.close()
    reader = bus.reader(address)
    assert [message.value for message in read(reader, 1)] == [b"before"]
    assert reader.offsets([0])[0].end == 1


def test_a_compacted_topic_refuses_messages_without_a_key(bus: Bus) -> None:
    address = bus.topic(cleanup_policy="compact")
    producer = bus.producer(address)
    producer.send(address.topic, 0, None, b"v")
    with pytest.raises(InvalidInput, match="needs keys"):
        producer.flush(30)


@pytest.mark.parametrize("listens", [False, True], ids=["nobody", "mute"])
def test_no_broker_is_said_in_bounded_time(bus: Bus, listens: bool) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        if listens:
            mute.listen()
        server = f"127.0.0.1:{mute.getsockname()[1]}"
        address = bus.address("t")._replace(servers=(server,))
        with pytest.raises(Unavailable, match=f"no Kafka broker answers at {server} within"):
            open_producer(address, connect_timeout_s=0.3)
        with pytest.raises(Unavailable, match=r"within 0\.3 s"):
            open_consumer(address, None, connect_timeout_s=0.3)


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_a_client_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, client: str
) -> None:

    library = {"kafka-python": "kafka", "confluent": "confluent_kafka"}[client]
    for name in list(sys.modules):
        if name == library or name.startswith(
            (f"{library}.", "audit.kafka.kafka_", "audit.kafka.conf")
        ):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    address = parse_address(f"kafka://b/t?client={client}", {})
    with pytest.raises(Unavailable, match=r"pip install 'attestory\[(kafka|confluent)\]'"):
        open_producer(address)


def test_kafka_python_of_another_release_works_slower(
    kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_python, "FAST_RELEASES", ("2.",))
    monkeypatch.setattr(kafka_python_records, "FAST_RELEASES", ("2.",))
    bus = Bus(kafka_server, "kafka-python")
    address = bus.topic()
    producer, reader = bus.producer(address), bus.reader(address)
    for n in range(300):
        producer.send(address.topic, 0, None, b"%d" % n, b"s" * 68 if n % 2 else None)
    producer.flush(30)
    assert read(reader, 300) == [
        (n, None, b"%d" % n, b"s" * 68 if n % 2 else None) for n in range(300)
    ]
    assert reader.position(0) == 300
    for one in bus.opened:
        one.close()

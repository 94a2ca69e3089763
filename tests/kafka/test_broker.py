"""The broker goes and comes back: nothing is lost, nothing hangs, and it is said."""

import contextlib

import pytest

from audit.errors import Unavailable
from audit.kafka import confluent_link, tuning
from audit.kafka.address import CLIENTS
from tests.kafka.conftest import Bus, new_group, poll_until, read
from tests.services.kafka import KafkaServer


@pytest.mark.slow
def test_an_outage(private_kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    buses = [Bus(private_kafka, client) for client in CLIENTS]
    sets = []
    for bus in buses:
        address = bus.topic()
        producer, member = bus.producer(address), bus.member(address, new_group())
        member.subscribe(
            address.topic,
            lambda _, member=member: member.seek(0, 0),
            lambda _: None,
            lambda _: None,
        )
        for n in range(100):
            producer.send(address.topic, 0, b"k", b"%d" % n)
        producer.flush(30)
        assert len(read(member, 100)) == 100
        sets.append((bus, address, producer, member))

    private_kafka.kill()
    # Not before: a broker that is held up for so long is none that is away.
    monkeypatch.setattr(tuning, "SILENCE_S", 0.5)
    monkeypatch.setattr(confluent_link, "PROBE_S", 0.2)
    for bus, address, producer, member in sets:
        with pytest.raises(Unavailable, match=r"not acknowledged within 0\.5 s"):
            for n in range(100, 200):
                producer.send(address.topic, 0, b"k", b"%d" % n)
            producer.flush(0.5)
        producer.close()
        with pytest.raises(Unavailable, match="no Kafka broker answers"):
            bus.producer(address, connect_timeout_s=0.5)
        with pytest.raises(Unavailable, match="no Kafka broker answers"):
            for _ in range(100):
                assert member.poll(0.2, 100) == {}

    monkeypatch.undo()
    private_kafka.start()
    for bus, address, _, member in sets:
        producer = bus.producer(address, connect_timeout_s=30)
        for n in range(100, 200):
            producer.send(address.topic, 0, b"k", b"%d" % n)
        producer.flush(30)
        found: list[bytes | None] = []

        def came(member=member, found=found) -> bool:  # type: ignore[no-untyped-def]
            with contextlib.suppress(Unavailable):  # it may need a moment longer
                found += [message.value for message in member.poll(0.2, 1_000).get(0, ())]
            return found == [b"%d" % n for n in range(100, 200)]

        poll_until(came)
        assert member.position(0) == 200
        for one in bus.opened:
            one.close()

"""Members of a group come, go and are thrown out: who reads what, and from where."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from audit.kafka import tuning
from audit.kafka.address import CLIENTS, KafkaAddress
from audit.kafka.transport import Consumer, Fetched
from tests.kafka.conftest import PATIENCE, Bus, new_group
from tests.services.kafka import KafkaServer

PARTITIONS = 4
POLLS_WITHIN_S = 6
LASTING = {"session_timeout_s": 60.0}
"""Whoever is held up by a busy machine is a member still."""


@pytest.fixture(autouse=True)
def quick_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members hear of each other with them."""
    monkeypatch.setattr(tuning, "MAX_HEARTBEAT_INTERVAL_S", 1.0)


@dataclass
class Log:
    """What the members wrote together, as a database would hold it."""

    next_offset: dict[int, int] = field(default_factory=dict)
    values: dict[int, list[bytes | None]] = field(default_factory=dict)

    def append(self, partition: int, messages: Sequence[Fetched]) -> None:
        begin = self.next_offset.get(partition, 0)
        assert [m.offset for m in messages] == list(range(begin, begin + len(messages)))
        self.next_offset[partition] = begin + len(messages)
        self.values.setdefault(partition, []).extend(m.value for m in messages)


class Member:
    """Reads on from where the log ends, only what it holds; notes what it was told."""

    def __init__(self, consumer: Consumer, topic: str, log: Log) -> None:
        self.consumer, self.log = consumer, log
        self.held: set[int] = set()
        self.told: list[str] = []
        consumer.subscribe(topic, self.assigned, self.revoked, self.lost)

    def assigned(self, partitions: Sequence[int]) -> None:
        assert not self.held & set(partitions)
        self.told.append("assigned")
        self.held.update(partitions)
        for partition in partitions:
            self.consumer.seek(partition, self.log.next_offset.get(partition, 0))

    def revoked(self, partitions: Sequence[int]) -> None:
        assert self.held >= set(partitions)
        self.told.append("revoked")
        self.held.difference_update(partitions)

    def lost(self, partitions: Sequence[int]) -> None:
        assert self.held >= set(partitions)
        self.told.append("lost")
        self.held.difference_update(partitions)

    def step(self) -> None:
        for partition, messages in self.consumer.poll(0.1, 50).items():
            assert partition in self.held
            self.log.append(partition, messages)


@pytest.fixture(params=[*((c, c) for c in CLIENTS), CLIENTS], ids="+".join)
def buses(request: pytest.FixtureRequest, kafka_server: KafkaServer) -> Iterator[tuple[Bus, Bus]]:
    """Two members with one client, and with one of each."""
    pair = tuple(Bus(kafka_server, client) for client in request.param)
    yield pair
    for bus in pair:
        for one in bus.opened:
            one.close()


def send(bus: Bus, address: KafkaAddress, count: int) -> None:
    producer = bus.producer(address)
    for n in range(count):
        producer.send(address.topic, n % PARTITIONS, b"k", b"%d" % n)
    producer.flush(30)
    producer.close()


def steps_until(wanted: object, *members: Member) -> None:
    for _ in range(PATIENCE * 2):
        for member in members:
            member.step()
        if wanted():  # type: ignore[operator]
            return
    raise AssertionError([(member.held, member.told) for member in members])


def test_partitions_change_hands_without_loss_or_repetition(buses: tuple[Bus, Bus]) -> None:
    one, two = buses
    address = one.topic(PARTITIONS)
    group, log = new_group(), Log()
    send(one, address, 400)
    first = Member(one.member(address, group, **LASTING), address.topic, log)
    steps_until(lambda: sum(log.next_offset.values()) == 400, first)
    assert first.held == set(range(PARTITIONS))

    other_address = address._replace(client=two.client)
    second = Member(two.member(other_address, group, **LASTING), address.topic, log)
    send(one, address, 400)
    steps_until(lambda: len(first.held) == len(second.held) == 2, first, second)
    assert first.held | second.held == set(range(PARTITIONS))
    # What stayed was never taken: it was assigned once, and only what moved was revoked.
    assert first.told == ["assigned", "revoked"]
    send(one, address, 400)
    steps_until(lambda: sum(log.next_offset.values()) == 1_200, first, second)

    first.consumer.close()
    assert first.held == set() and first.told[-1] == "revoked"
    send(one, address, 400)
    steps_until(lambda: sum(log.next_offset.values()) == 1_600, second)
    assert second.held == set(range(PARTITIONS))
    assert "lost" not in first.told + second.told
    for partition in range(PARTITIONS):
        of_one_round = [b"%d" % n for n in range(partition, 400, PARTITIONS)]
        assert log.values[partition] == of_one_round * 4


def test_members_may_be_busy_between_their_polls(bus: Bus) -> None:
    # The group's answers then come while nobody polls.
    address = bus.topic(PARTITIONS)
    group, log = new_group(), Log()
    consumers = [bus.member(address, group, **LASTING) for _ in range(2)]
    members = [Member(consumer, address.topic, log) for consumer in consumers]
    send(bus, address, 400)
    for _ in range(PATIENCE * 4):
        for member in members:
            for partition, messages in member.consumer.poll(0.001, 50).items():
                log.append(partition, messages)
        time.sleep(0.05)
        if [len(m.held) for m in members] == [2, 2] and sum(log.next_offset.values()) == 400:
            return
    raise AssertionError([(member.held, member.told) for member in members])


@pytest.mark.slow
def test_who_polls_too_late_has_lost_its_partitions(bus: Bus) -> None:
    address = bus.topic(PARTITIONS)
    send(bus, address, 400)
    limits = {"session_timeout_s": POLLS_WITHIN_S, "max_poll_interval_s": POLLS_WITHIN_S}
    consumer = bus.member(address, new_group(), **limits)
    member = Member(consumer, address.topic, Log())
    steps_until(lambda: len(member.held) == PARTITIONS, member)
    time.sleep(POLLS_WITHIN_S + 1.5)  # the database was slow
    send(bus, address, 400)
    steps_until(lambda: sum(member.log.next_offset.values()) == 800, member)
    assert member.told == ["assigned", "lost", "assigned"]

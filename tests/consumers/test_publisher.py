"""Publishing checkpoints to a real topic: the last one of a log there is the largest."""

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from audit.capture.delivery.embedded import EmbeddedLedger
from audit.errors import Unavailable
from audit.kafka.address import KafkaAddress, parse_address
from audit.kafka.checkpoints import publish_checkpoint
from audit.kafka.clients import open_consumer, open_producer
from audit.kafka.topics import CHECKPOINTS_PARTITIONS, CHECKPOINTS_TOPIC, create_topics
from audit.log.intake import Message
from audit.store.contract import StoredCheckpoint
from consumers import publisher as module
from consumers.metrics import Metrics
from consumers.publisher import Publisher
from tests.consumers.processes import PATIENCE_S, wait_until
from tests.consumers.support import an_event, the_schema
from tests.services.kafka import KafkaServer

assert CHECKPOINTS_PARTITIONS == 1


@pytest.fixture
def address(kafka_server: KafkaServer) -> KafkaAddress:
    address = parse_address(kafka_server.url(kafka_server.new_topic()))
    create_topics(address, 1, 1)
    return address


class Processes:
    """Publishers of one ledger, as in several processes; the topic is the one of all tests."""

    def __init__(self, address: KafkaAddress, ledger: EmbeddedLedger) -> None:
        self.address = address
        self.ledger = ledger
        self.begin = self._end()
        self.asked = 0
        self.away = False
        self.open: list[Publisher] = []

    def publisher(self) -> Publisher:
        made = Publisher(
            lambda: open_producer(self.address), publish_checkpoint, self._newest, Metrics()
        )
        self.open.append(made)
        return made

    def seal(self, number: int) -> StoredCheckpoint:
        messages = [Message(the_schema()), Message(an_event(number))]
        self.ledger.append(messages)
        newest = self.ledger.store.newest_checkpoint(0)
        assert newest is not None
        return newest

    def offer(self, publisher: Publisher, checkpoint: StoredCheckpoint) -> None:
        publisher.offer(self.ledger.origin, *checkpoint)

    def topic(self) -> list[bytes]:
        """All that was published since, in order."""
        with closing(open_consumer(self.address, None)) as reader:
            reader.assign(CHECKPOINTS_TOPIC, [0])
            reader.seek(0, self.begin)
            end, found = reader.offsets([0])[0].end, []
            while reader.position(0) < end:
                found += reader.poll(0.2, 1_000).get(0, ())
        key = self.ledger.origin.encode()
        return [m.value for m in found if m.key == key and m.value is not None]

    def _end(self) -> int:
        with closing(open_consumer(self.address, None)) as reader:
            reader.assign(CHECKPOINTS_TOPIC, [0])
            return reader.offsets([0])[0].end

    def _newest(self, origin: str) -> StoredCheckpoint | None:
        assert origin == self.ledger.origin
        self.asked += 1
        if self.away:
            raise Unavailable("the store is away")
        return self.ledger.store.newest_checkpoint(0)


@pytest.fixture
def processes(address: KafkaAddress, ledger: EmbeddedLedger) -> Iterator[Processes]:
    processes = Processes(address, ledger)
    yield processes
    for one in processes.open:
        one.close()


def test_one_that_was_held_up_does_not_have_the_last_word(processes: Processes) -> None:
    older, newer = processes.seal(1), processes.seal(2)
    late, owner = processes.publisher(), processes.publisher()
    processes.offer(owner, newer)
    assert owner.drain(PATIENCE_S)
    processes.offer(late, older)
    assert late.drain(PATIENCE_S)
    assert processes.topic() == [newer.note, older.note, newer.note]
    assert late.published(processes.ledger.origin) == newer.size


def test_it_is_found_without_an_end_too(processes: Processes) -> None:
    older, newer = processes.seal(1), processes.seal(2)
    late = processes.publisher()
    processes.away = True
    processes.offer(late, older)
    wait_until("the store was asked", lambda: processes.asked >= 2)
    processes.away = False
    origin = processes.ledger.origin
    wait_until("the newer one is published", lambda: late.published(origin) >= newer.size)
    assert processes.topic() == [older.note, newer.note]


def test_a_busy_log_costs_the_store_nothing(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECK_AFTER_S", PATIENCE_S)
    publisher = processes.publisher()
    for number in range(5):
        processes.offer(publisher, processes.seal(number))
        time.sleep(0.15)
    assert processes.asked == 0
    assert publisher.drain(PATIENCE_S)
    newest = processes.seal(9)
    processes.offer(publisher, newest)
    processes.away = True
    assert publisher.drain(PATIENCE_S), "an end does not wait for a store that is away"
    assert processes.topic()[-1] == newest.note

"""Published checkpoints: the newest of each log, however much lies around it."""

import uuid

import pytest

from audit.errors import LimitExceeded, NotFound
from audit.kafka import checkpoints
from audit.kafka.address import KafkaAddress
from audit.kafka.checkpoints import (
    MAX_CHECKPOINT_BYTES,
    newest_checkpoint,
    newest_checkpoints,
    publish_checkpoint,
)
from audit.kafka.topics import CHECKPOINTS_TOPIC, create_topics
from tests.kafka.conftest import Bus


@pytest.fixture
def address(bus: Bus) -> KafkaAddress:
    address = bus.topic()
    create_topics(address, 1, 1)
    return address


@pytest.fixture
def ledger() -> str:
    """The topic is shared by all tests: a ledger of this one's own."""
    return f"example.com/{uuid.uuid4().hex[:8]}"


def test_the_newest_of_each_log_is_found_among_many(
    bus: Bus, address: KafkaAddress, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "FIRST_WINDOW", 20)
    producer = bus.producer(address)
    publish_checkpoint(producer, f"{ledger}/old", b"the only one")
    for n in range(3_000):
        publish_checkpoint(producer, f"{ledger}/{n % 10}", b"note %d" % n)
    producer.flush(30)

    assert newest_checkpoint(address, f"{ledger}/3") == b"note 2993"
    assert newest_checkpoint(address, f"{ledger}/old") == b"the only one"
    assert newest_checkpoint(address, f"{ledger}/never") is None
    names = [f"{ledger}/{n}" for n in ("old", "never", *range(10))]
    assert newest_checkpoints(address, names) == {
        f"{ledger}/old": b"the only one",
        **{f"{ledger}/{n}": b"note %d" % (2_990 + n) for n in range(10)},
    }
    assert newest_checkpoints(address, []) == {}


def test_one_that_was_published_late_does_not_hide_a_larger_one(
    bus: Bus, address: KafkaAddress, ledger: str
) -> None:
    producer = bus.producer(address)
    notes = [f"{ledger}\n{size}\nroot\n".encode() for size in (9, 24, 14)]
    for note in notes:
        publish_checkpoint(producer, ledger, note)
    producer.flush(30)
    assert newest_checkpoint(address, ledger) == notes[1]
    publish_checkpoint(producer, ledger, b"garbage in its place is a finding")
    producer.flush(30)
    assert newest_checkpoint(address, ledger) == b"garbage in its place is a finding"


def test_what_a_dishonest_writer_put_there(bus: Bus, address: KafkaAddress, ledger: str) -> None:
    producer, raw = bus.producer(address), bus.raw_producer(transactional_id=ledger)
    publish_checkpoint(producer, f"{ledger}/1", b"the note")
    publish_checkpoint(producer, f"{ledger}/2", b"the note")
    producer.flush(30)
    raw.init_transactions()
    raw.begin_transaction()
    mine = f"{ledger}/1".encode()
    raw.send(CHECKPOINTS_TOPIC, b"x" * (MAX_CHECKPOINT_BYTES + 1), mine, partition=0)
    raw.send(CHECKPOINTS_TOPIC, None, mine, partition=0)
    raw.send(CHECKPOINTS_TOPIC, b"of another key", mine + b"/0", partition=0)
    raw.send(CHECKPOINTS_TOPIC, b"garbage", f"{ledger}/2".encode(), partition=0)
    raw.commit_transaction()  # and its marker lies at the end
    raw.begin_transaction()
    raw.send(CHECKPOINTS_TOPIC, b"never committed", mine, partition=0)
    raw.abort_transaction()
    raw.close()
    found = newest_checkpoints(address, [f"{ledger}/1", f"{ledger}/2"])
    assert found == {f"{ledger}/1": b"the note", f"{ledger}/2": b"garbage"}


def test_what_cannot_be_published(bus: Bus, address: KafkaAddress, ledger: str) -> None:
    producer = bus.producer(address)
    with pytest.raises(LimitExceeded, match="over 65536 bytes"):
        publish_checkpoint(producer, ledger, b"x" * (MAX_CHECKPOINT_BYTES + 1))
    with pytest.raises(LimitExceeded, match="logs at once"):
        newest_checkpoints(address, (str(n) for n in range(checkpoints.MAX_ORIGINS + 1)))


def test_a_topic_that_is_missing_is_not_an_empty_one(
    bus: Bus, address: KafkaAddress, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINTS_TOPIC", "no-checkpoints")
    with pytest.raises(NotFound, match="no-checkpoints"):
        newest_checkpoint(address, ledger)
    with pytest.raises(NotFound, match="no-checkpoints"):
        publish_checkpoint(bus.producer(address), ledger, b"note")

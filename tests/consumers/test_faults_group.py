"""The group moves partitions while their owners are at work, stopped, or dead: one writer a log."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka.structs import OffsetAndMetadata

from audit.errors import InvalidInput
from audit.kafka.kafka_python_consumer import KafkaPythonConsumer
from audit.store import sqlite_path
from consumers import partitions
from tests.consumers.faults import (
    Feed,
    Flow,
    Forked,
    Member,
    Place,
    consume,
    lines,
    put,
    reader_of,
    sleep,
    some_events,
)
from tests.consumers.processes import free_port, metrics, wait_until
from tests.consumers.rederive import check, rederive
from tests.services.kafka import KafkaServer

GONE = ("partitions lost", "partitions given back", "another consumer claimed the log")


def waiting(port: int) -> float:
    """How many messages a consumer has in hand."""
    try:
        return metrics(port)["attestory_waiting_messages"]
    except (OSError, KeyError):
        return 0


@pytest.mark.parametrize("where", ["in its buffer", "before its transaction"])
def test_stopped_beyond_its_session(
    kafka_server: KafkaServer, ledger_dir: Path, where: str
) -> None:
    place = Place.new(kafka_server, ledger_dir)
    port = free_port()
    linger = "60000" if where == "in its buffer" else "20"
    options = ("--health", f"127.0.0.1:{port}", "--linger", linger)
    with (
        closing(sqlite3.connect(sqlite_path(place.store), isolation_level=None)) as other,
        Feed(place) as feed,
        Forked(place, *options) as zombie,
    ):
        wait_until("it reads", lambda: "reading" in zombie.said)
        if where == "before its transaction":
            other.execute("BEGIN IMMEDIATE")
        feed.say(100)
        feed.flush()
        wait_until("it has them in hand", lambda: waiting(port) >= 1)
        zombie.pause()
        if other.in_transaction:
            other.execute("ROLLBACK")
        with Member(place):
            place.wait_sealed()
            zombie.go_on()
            feed.say(100)
            feed.flush()
            place.wait_sealed()
            wait_until("it notices", lambda: any(words in zombie.said for words in GONE))
        place.wait_sealed()
        assert zombie.stop() == 0, zombie.said
    check(place)


def test_two_groups_fence_each_other(
    kafka_server: KafkaServer, ledger_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after a mistake in a deployment: both are sure that the partition is theirs.
    monkeypatch.setattr(partitions, "FENCED_PAUSE_S", 0.2)
    place = Place.new(kafka_server, ledger_dir)
    with lines() as said, Feed(place) as feed, Flow(feed):
        with Member(place, group=f"{place.group}/1"), Member(place, group=f"{place.group}/2"):
            wait_until("both were fenced", lambda: said.count("another consumer claimed") >= 4)
        feed.flush()
    assert consume(place) == 0
    check(place)


@pytest.mark.slow
def test_members_come_and_go(kafka_server: KafkaServer, ledger_dir: Path) -> None:
    place = Place.new(kafka_server, ledger_dir, partitions=4)
    options = ("--batch", "40", "--linger", "30")
    with Feed(place) as feed, Member(place, batch=40, linger_ms=30):
        with Flow(feed):
            for number, ending in enumerate(("stop", "kill")):
                with Forked(place, *options, name=f"member{number}") as one:
                    wait_until("it reads", lambda one=one: "reading" in one.said)
                    with Member(place, batch=40, linger_ms=30):
                        sleep(0.3)
                    if ending == "stop":
                        assert one.stop() == 0, one.said
                    else:
                        one.kill()
        feed.flush()
        place.wait_sealed()
    check(place)


def test_delivered_again_from_the_start(
    kafka_server: KafkaServer, ledger_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place.new(kafka_server, ledger_dir, partitions=2)
    put(place, some_events(place, range(100)))
    put(place, some_events(place, range(100, 200)), partition=1)
    assert consume(place) == 0
    # What the group is told to have read is a hint, and so is where the client was sent.
    with closing(reader_of(place, group_id=place.group)) as reader:
        zero = OffsetAndMetadata(0, "", -1)
        reader.assign(place.places())
        reader.commit({partition: zero for partition in place.places()})
    put(place, some_events(place, range(200, 250)))
    assert consume(place) == 0
    rederive(place)
    seek = KafkaPythonConsumer.seek
    sought: list[int] = []

    def to_the_start(self: Any, partition: int, offset: int) -> None:
        sought.append(offset)
        seek(self, partition, 0)

    monkeypatch.setattr(KafkaPythonConsumer, "seek", to_the_start)
    put(place, some_events(place, range(250, 300)), partition=1)
    assert consume(place) == 0
    assert {100, 150} <= set(sought)
    check(place)


def test_another_ledger_in_the_same_group_is_refused(
    kafka_server: KafkaServer, ledger_dir: Path
) -> None:
    place = Place.new(kafka_server, ledger_dir)
    folder = ledger_dir / "other"
    folder.mkdir()
    other = Place.new(kafka_server, folder)
    other.topic = place.topic
    with Feed(place) as feed, Member(place, group=f"{place.group}/shared"):
        feed.say(50)
        feed.flush()
        place.wait_sealed()
        wait_until("the group knows whose it is", lambda: committed(place, f"{place.group}/shared"))
        with pytest.raises(InvalidInput, match=f"reads for the ledger {place.origin}") as refused:
            consume(other, group=f"{place.group}/shared")
        assert "--group" in str(refused.value)
        feed.say(50)
        feed.flush()
        place.wait_sealed()
    check(place)
    assert other.positions() == {0: 0}


def committed(place: Place, group: str) -> bool:
    """Whether the group committed anything."""
    with closing(reader_of(place, group_id=group)) as reader:
        found = reader.committed(place.places()[0])
        return found is not None and found > 0

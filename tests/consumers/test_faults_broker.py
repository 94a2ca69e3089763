"""The broker is restarted, dies, loses data; the topic grows, expires, is made anew."""

import shutil
from pathlib import Path

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaError

from audit.errors import InvalidInput
from consumers import partitions
from tests.consumers.faults import (
    SESSION_S,
    Feed,
    Flow,
    Forked,
    Member,
    Place,
    consume,
    lines,
    put,
    sleep,
    some_events,
)
from tests.consumers.processes import wait_until
from tests.consumers.rederive import check, records_of, skips
from tests.services.kafka import JarBroker, KafkaServer


@pytest.mark.slow
def test_the_broker_dies_is_away_and_loses_a_disk(
    private_kafka: KafkaServer, ledger_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place.new(private_kafka, ledger_dir, partitions=2)
    lost = Place.new(private_kafka, ledger_dir, store=f"sqlite:///{ledger_dir}/lost/audit.db")
    put(lost, some_events(lost, range(40)))
    assert consume(lost) == 0
    with Feed(place) as feed, Forked(place) as consumer:
        wait_until("it reads", lambda: "reading" in consumer.said)
        with Flow(feed):
            private_kafka.kill()
            lose_disk(private_kafka, f"{lost.topic}-0")
            sleep(SESSION_S + 0.5)
            private_kafka.start()
        feed.flush()
        place.wait_sealed()
        assert consumer.stop() == 0, consumer.said
    check(place)
    if lost.ends()[0]:
        return  # a broker whose disk is not ours
    # The topic is the same one, but empty: what was sealed is nowhere else now.
    monkeypatch.setattr(partitions, "RECHECKS", 1)
    monkeypatch.setattr(partitions, "RECHECK_S", 0.2)
    put(lost, [b"nobody may take this for what follows"])
    with lines() as said:
        member = Member(lost)
        wait_until("it is refused", lambda: "a partition is refused" in said.text)
        assert member.stop() == 1
    assert f"accounts for all offsets below 40 of {lost.topic}/0" in said.text
    assert "bring the topic's data back" in said.text
    assert lost.positions() == {0: 40}


def lose_disk(server: KafkaServer, folder: str) -> None:
    """Remove what a broker that is down holds of a partition, if it is on this machine."""
    broker = server._broker
    if isinstance(broker, JarBroker):
        shutil.rmtree(broker._folder / "data" / folder)


def test_the_topic_is_made_anew(kafka_server: KafkaServer, ledger_dir: Path) -> None:
    place = Place.new(kafka_server, ledger_dir)
    put(place, some_events(place, range(50)))
    with Member(place, heads_every_s=1) as member:
        place.wait_sealed()
        with place.admin() as admin:
            admin.delete_topics([place.topic])
            wait_until("it is gone", lambda: place.topic not in admin.list_topics())
            make_again(place)
        put(place, some_events(place, range(50, 60)))
        assert member.ended() != 0
        refused = member.error
        member.error, member.code = None, 0
    assert isinstance(refused, InvalidInput)
    assert place.positions() == {0: 50}
    put(place, some_events(place, range(60, 120)))
    with pytest.raises(InvalidInput, match="is not the one that was read before") as again:
        consume(place)
    assert "--store" in str(again.value)
    assert place.positions() == {0: 50}


def make_again(place: Place) -> None:
    """The broker takes a moment to forget a topic's name."""

    def made() -> bool:
        try:
            with place.admin() as admin:
                wanted = {"num_partitions": place.partitions, "replication_factor": 1}
                admin.create_topics({place.topic: wanted}, wait_for_metadata=True)
        except KafkaError:
            return False
        return True

    wait_until("the topic is made", made)


def test_retention_deletes_what_was_not_read(kafka_server: KafkaServer, ledger_dir: Path) -> None:
    place = Place.new(kafka_server, ledger_dir, partitions=2)
    put(place, some_events(place, range(30)))
    assert consume(place) == 0
    put(place, [*some_lost(range(20)), *some_events(place, range(30, 40))])
    put(place, some_lost(range(100, 105)), partition=1)
    delete_below(place, {0: 50, 1: 5})
    with Forked(place) as consumer:
        wait_until("it reads both", lambda: consumer.said.count("reading") >= 2)
        place.wait_sealed()
        assert "messages expired before they were read; the log says so" in consumer.said
        assert "offsets=30 to 49" in consumer.said
        entries = check(place)
        assert skips(entries[1]) == [(30, 50, "EXPIRED")]
        assert skips(entries[2]) == [(0, 5, "EXPIRED")]
        # It happens to a consumer that runs but is held up, too.
        consumer.pause()
        sleep(1)  # a request for more, sent before, must not be answered with these
        put(place, some_lost(range(20, 60)))
        delete_below(place, {0: 90})
        put(place, some_events(place, range(40, 50)))
        consumer.go_on()
        place.wait_sealed()
        assert consumer.stop() == 0
    entries = check(place)
    assert (60, 90, "EXPIRED") in skips(entries[1]) or (60, 100, "EXPIRED") in skips(entries[1])


def some_lost(numbers: range) -> list[bytes]:
    """Messages that nobody will read."""
    return [b"lost %d" % number for number in numbers]


def delete_below(place: Place, offsets: dict[int, int]) -> None:
    """As retention does."""
    with place.admin() as admin:
        admin.delete_records({TopicPartition(place.topic, p): at for p, at in offsets.items()})


def test_the_topic_grows(kafka_server: KafkaServer, ledger_dir: Path) -> None:
    place = Place.new(kafka_server, ledger_dir)
    put(place, some_events(place, range(20)))
    with Member(place, heads_every_s=1) as member:
        place.wait_sealed()
        with place.admin() as admin:
            admin.create_partitions({place.topic: 3})
        place.partitions = 3
        put(place, some_events(place, range(20, 40)), partition=2)
        member.ended()
        refused, member.error, member.code = member.error, None, 0
    assert isinstance(refused, InvalidInput)
    assert "has 3 partitions, the ledger accepted 1" in str(refused)
    assert "--accept-partitions 3" in str(refused)
    with pytest.raises(InvalidInput, match=r"(?s)has 3 partitions.*--accept-partitions 3"):
        consume(place)
    assert place.positions() == {0: 20, 1: 0, 2: 0}
    assert consume(place, accept_partitions=3) == 0
    put(place, some_events(place, range(40, 50)), partition=1)
    assert consume(place) == 0
    entries = check(place)
    accepted = [record["partitions"] for record in records_of(entries[0], "source.accepted")]
    assert accepted == [1, 3]

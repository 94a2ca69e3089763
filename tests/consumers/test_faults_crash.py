"""A consumer dies at every point of its write order, and the next one goes on; nothing is lost."""

import signal
from pathlib import Path

import pytest

from consumers import failpoints
from tests.consumers.faults import Feed, Forked, Member, Place, consume
from tests.consumers.processes import wait_until
from tests.consumers.rederive import check, records_of, rederive
from tests.services.kafka import KafkaServer
from tests.services.postgres import PostgresServer
from tests.store.proxy import Proxy

FIRST = (failpoints.AFTER_LOG_OPENED, failpoints.AFTER_LOG_ADDED, failpoints.AFTER_CLAIM)
"""Points that lie before the first message is read."""
LATER = (failpoints.IN_TRANSACTION, failpoints.AFTER_COMMIT, failpoints.BEFORE_PUBLISH)
"""Points that are reached in the middle of a stream, too."""


def die_at(place: Place, feed: Feed, point: str) -> None:
    """Have a consumer die there, while events come."""
    # With groups of their own, so that none waits until the one before is missed.
    options = ("--linger", "20", "--group", f"{place.group}/{point}")
    with Forked(place, *options, AUDIT_FAILPOINT=point) as consumer:

        def died() -> bool:
            feed.say(3)
            return not consumer.alive

        wait_until(f"it dies at {point}", died)
        assert consumer.ended() == -signal.SIGKILL, consumer.said


@pytest.mark.slow
def test_killed_at_every_point(kafka_server: KafkaServer, ledger_dir: Path) -> None:
    # Each dies over what the one before left, and so do the claims: a crash on top of a crash.
    place = Place.new(kafka_server, ledger_dir, partitions=2)
    with Feed(place) as feed:
        others = [point for point in failpoints.POINTS if point not in FIRST]
        for point in [*FIRST, *others]:
            die_at(place, feed, point)
            feed.flush()
            rederive(place)
    assert consume(place) == 0
    entries = check(place)
    assert [record["log"] for record in records_of(entries[0], "log.added")] == [1, 2]
    for log in (1, 2):
        assert records_of(entries[log], "source.skipped") == []


def test_killed_around_a_commit_of_postgresql(
    kafka_server: KafkaServer, postgres_server: PostgresServer, ledger_dir: Path
) -> None:
    place = Place.new(kafka_server, ledger_dir, store=postgres_server.new_database())
    with Feed(place) as feed:
        for point in LATER:
            die_at(place, feed, f"{point}:3")
            feed.flush()
            rederive(place)
    assert consume(place) == 0
    check(place)


def test_a_commit_whose_answer_is_lost(
    kafka_server: KafkaServer, postgres_server: PostgresServer, ledger_dir: Path
) -> None:
    place = Place.new(kafka_server, ledger_dir, store=postgres_server.new_database())
    with Proxy(place.store) as proxy, Feed(place) as feed, Member(place, store=proxy.url):
        feed.say(20)
        feed.flush()
        place.wait_sealed()
        for kept in (True, False, True, False):
            proxy.cut_at_commit(kept)
            feed.say(20)
            feed.flush()
            place.wait_sealed()
            assert proxy._kept is None, "no commit was cut"
    check(place)

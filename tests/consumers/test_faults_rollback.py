"""A store is put back to an older copy: it is refused, whatever was published of it is more."""

from pathlib import Path

import pytest

from audit.errors import StoreCorrupt
from audit.store import open_reader
from consumers import service
from consumers.heads import Heads
from tests.backends import BACKENDS, Backend, PostgresqlBackend, SqliteBackend
from tests.consumers.faults import Feed, Place, consume, lines
from tests.consumers.processes import PATIENCE_S
from tests.consumers.rederive import check
from tests.services.kafka import KafkaServer


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, ledger_dir: Path) -> Backend:
    if request.param == SqliteBackend.name:
        return SqliteBackend(ledger_dir)
    server = request.getfixturevalue("postgres_server")
    backend = PostgresqlBackend(server.new_database())
    request.addfinalizer(backend.close)
    return backend


def sizes(place: Place) -> dict[int, int]:
    with open_reader(place.store) as reader:
        return {info.log: reader.size(info.log) for info in reader.logs()}


def seal_without_heads(place: Place, feed: Feed) -> None:
    """As a consumer that dies after it published what it sealed, before it writes heads."""
    feed.say(60)
    feed.flush()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Heads, "write", lambda *_: None)
        patch.setattr(service, "PUBLISH_WITHIN_S", PATIENCE_S)
        assert consume(place) == 0


def test_an_older_copy_is_refused(
    kafka_server: KafkaServer, backend: Backend, ledger_dir: Path
) -> None:
    place = Place.new(kafka_server, ledger_dir, partitions=2, store=backend.url)
    empty = backend.restorable()
    with Feed(place) as feed:
        seal_without_heads(place, feed)
        older = backend.restorable()
        seal_without_heads(place, feed)
        newest = backend.restorable()
        feed.say(60)
        feed.flush()
    # Its log 0 is the newest one, so only the logs of partitions are refused, one by one.
    older()
    before = sizes(place)
    with lines() as said:
        assert consume(place) == 1
    assert said.count("a partition is refused") == 2
    assert said.count("it was rolled back or changed") == 2
    assert "restore the newest copy of the store" in said.text
    assert sizes(place) == before
    # Here log 0 lacks something, too.
    empty()
    before = sizes(place)
    with pytest.raises(StoreCorrupt, match=r"log 0 .* it was rolled back or changed") as caught:
        consume(place)
    assert "restore the newest copy of the store" in str(caught.value)
    assert sizes(place) == before
    # Nothing of that stands in the way of the right one.
    newest()
    assert consume(place) == 0
    check(place)

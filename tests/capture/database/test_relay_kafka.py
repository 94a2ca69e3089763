"""The relay to Kafka: acknowledged rows are kept until they are found sealed; the broker away."""

import time
from pathlib import Path
from statistics import median

import pytest
from sqlalchemy import Engine, text

from audit.capture import patient
from audit.capture.database import outbox
from audit.capture.database.backlog import backlog
from audit.capture.database.failed import failed_rows
from audit.capture.database.purge import Purged, purge
from audit.capture.database.relay import Relay, Settings
from audit.capture.delivery import kafka_sender
from audit.capture.delivery.embedded import open_for_writing
from audit.log.intake import Message
from audit.store import open_reader
from tests.capture.database.outbox_support import (
    by_key,
    change,
    new_database,
    new_outbox,
    put,
    running,
)
from tests.capture.kafka_support import all_events, fetched
from tests.capture.support import events, url
from tests.consumers.processes import wait_until
from tests.services.kafka import KafkaServer


@pytest.fixture
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return new_outbox(new_database("sqlite", request, tmp_path), request)


def seal(bus: str, folder: Path) -> None:
    """What a consumer does, into one log."""
    with open_for_writing(url(folder)) as ledger:
        for messages in fetched(bus):
            ledger.append([Message(each.value or b"") for each in messages])


def test_acknowledged_rows_stay_until_they_are_found_sealed(
    kafka_server: KafkaServer, engine: Engine, tmp_path: Path
) -> None:
    bus = kafka_server.url(kafka_server.new_topic(3))
    put(engine, *(change(n % 7, n) for n in range(40)), outbox.row("truncate", "order"))
    settings = Settings(bus, emitter={"spool": tmp_path / "spool"}, batch=16)
    Relay(engine, settings).run(once=True)
    assert backlog(engine)[:3] == (0, None, 41)
    told = by_key(event for event in all_events(bus) if event.type == "data.update")
    assert told == {f"user/{k}": list(range(k, 40, 7)) for k in range(7)}

    assert purge(engine) == Purged(0, 0, 0)
    assert purge(engine, keep_s=3600) == Purged(0, 0, 0)
    open_for_writing(url(tmp_path)).close()
    with open_reader(url(tmp_path)) as ledger:
        assert purge(engine, ledger) == Purged(0, 41, 0)
    seal(bus, tmp_path)
    with engine.begin() as connection:  # the ledger has another event of this id
        connection.execute(text("UPDATE attestory_sent SET actor = 'mallory' WHERE id = 5"))
    with open_reader(url(tmp_path)) as ledger:
        assert purge(engine, ledger) == Purged(40, 0, 1)
    assert "another event has its id" in failed_rows(engine)[0].failure
    assert backlog(engine)[:4] == (0, None, 0, 1)
    assert len({e.event_id for e in events(tmp_path)}) == 41

    put(engine, change("more", 1))
    again = Relay(engine, settings._replace(keep_s=0.0))
    again.run(once=True)
    assert backlog(engine).sent + again.purged == 1
    purge(engine, keep_s=0)
    assert backlog(engine).sent == 0


@pytest.mark.slow
def test_the_broker_goes_away_and_comes_back(
    private_kafka: KafkaServer,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_sender, "CONNECT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(kafka_sender, "DELIVERY_TIMEOUT_S", 2.0)
    monkeypatch.setattr(patient, "PATIENCE_S", 4.0)
    bus = private_kafka.url(private_kafka.new_topic(3))
    moving = Relay(
        engine,
        Settings(bus, batch=10, poll_s=0.01, lease_s=1.5, emitter={"spool": tmp_path / "spool"}),
    )
    with running(moving):
        put(engine, *(change(n % 7, n) for n in range(50)))
        wait_for(lambda: moving.emitted == 50)
        private_kafka.stop()
        took_s = []
        for n in range(50, 150):
            began_s = time.monotonic()
            put(engine, change(n % 7, n))
            took_s.append(time.monotonic() - began_s)
        # The application does not wait for a broker. What it writes may wait for the machine.
        assert median(took_s) < kafka_sender.CONNECT_TIMEOUT_S
        wait_for(lambda: moving.outage is not None)
        held = moving.leases.held.copy()
        private_kafka.start()
        wait_for(lambda: moving.emitted == 150)
        assert moving.leases.held == held  # it was kept all the time
    assert moving.failed == 0 and moving.outages == 1
    assert by_key(all_events(bus)) == {f"user/{k}": list(range(k, 150, 7)) for k in range(7)}


def wait_for(condition: object) -> None:
    wait_until("it came to that", condition, pause_s=0.01)

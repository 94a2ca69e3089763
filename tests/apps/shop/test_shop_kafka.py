"""The broker is away while the shop is busy, and comes back: nobody notices, nothing is lost."""

from functools import partial
from pathlib import Path

import pytest

from audit.event.envelope import Event
from tests.apps.shop.load import Load, until
from tests.apps.shop.support import (
    SOURCE,
    Shop,
    require_busy,
    require_order,
    require_reconciled,
    require_told,
    said_in,
)
from tests.capture.kafka_support import all_events
from tests.cli.conftest import run
from tests.consumers.processes import Consumer, audit
from tests.services.kafka import KafkaServer
from tests.services.postgres import PostgresServer

CLIENTS = 6
REQUESTS = 160
PARTITIONS = 2


@pytest.mark.slow
def test_kafka_away_for_the_whole_run_and_back(
    private_kafka: KafkaServer, postgres_server: PostgresServer, ledger_dir: Path
) -> None:
    bus = private_kafka.url(private_kafka.new_topic(PARTITIONS))
    private_kafka.stop()
    with Shop(postgres_server.new_database(), ledger_dir, "hooks", bus) as shop:
        shop.start_app()
        shop.start_relay()
        with Load(shop.port, CLIENTS, REQUESTS, seed=11) as load:
            load.wait(REQUESTS // 2)
            shop.kill("relay")
            shop.start_relay()
            load.wait(REQUESTS)
        assert all(told.status for told in load.done)  # each was answered
        require_busy(load.done, "hooks")
        waiting = shop.count("outbox")
        assert waiting > REQUESTS and shop.count("sent") == 0

        private_kafka.start()
        for part in (1, 2):  # killed with some acknowledged and some not, and once more
            until(partial(sent, shop, min(waiting, part * 200)), pause_s=0.005)
            shop.kill("relay")
            shop.start_relay()
        shop.drain()
        shop.end("relay")
        require_order(all_events(bus))
        found = sealed(shop, bus)
    require_told(found, load)
    assert require_order(found) > 30 and len(found) == waiting


def sent(shop: Shop, count: int) -> bool:
    """Whether the broker has acknowledged so many rows."""
    return shop.count("sent") >= count


def sealed(shop: Shop, bus: str) -> list[Event]:
    """What a consumer makes of the topic, after it was compared with the tables."""
    folder, store = shop.folder, f"sqlite:///{shop.folder}/audit.db"
    run("init", "--store", store, "--origin", "example.com/shop")
    counts = shop.reconcile(store)  # acknowledged, and not sealed yet
    assert all(found["pending"] for found in counts.values())
    consumer = Consumer(folder, bus, store, "--once")
    assert consumer.ended() == 0, consumer.said
    require_reconciled(shop.reconcile(store))
    code, printed = audit(
        *(folder, "relay", "--database", shop.address, "--source", SOURCE),
        *("--once", "--look-up", store),
        AUDIT_BUS=bus,
    )
    assert code == 0 and shop.count("sent") == shop.count("failed") == 0, printed
    run("verify", "--store", store, "--source", bus)
    return said_in(store)

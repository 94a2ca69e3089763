"""The whole story on real services: nothing lost, nothing twice, everything in order, all provable.

Three applications emit events of all kinds over four partitions while two consumers seal them into
PostgreSQL; one of these is killed and replaced, the broker is restarted, the database is restarted.
"""

from pathlib import Path
from typing import Any

import pytest

from audit.ledger import Ledger
from audit.store import open_reader
from tests.consumers.processes import Application, Consumer, audit, audit_json, ending, wait_until
from tests.consumers.truth import check_once_and_in_order, read_truth, rows_of
from tests.services.kafka import KafkaServer
from tests.services.postgres import PostgresServer

SOURCES = ("crm", "shop", "model")
EVENTS = 10_000
"""Of each application."""
LASTING_S = 18
"""How long the applications take at least: what happens meanwhile happens to events on the way."""
PARTITIONS = 4
PAUSE_S = 0.3
"""Between two looks into the ledger: each takes from the consumers what they need themselves."""


@pytest.mark.slow
def test_the_whole_story(
    private_kafka: KafkaServer, private_postgres: PostgresServer, tmp_path: Path
) -> None:
    bus = private_kafka.url(private_kafka.new_topic(partitions=PARTITIONS))
    store = private_postgres.new_database()
    code, printed = audit(tmp_path, "init", "--store", store, "--origin", "example.com/story")
    assert code == 0, printed
    options = ("--session-timeout", "6", "--batch", "600")
    first = Consumer(tmp_path, bus, store, *options, name="first")
    second = Consumer(tmp_path, bus, store, *options, name="second")
    applications = [Application(tmp_path, bus, name, EVENTS, LASTING_S) for name in SOURCES]
    consumers = [first, second]

    def sealed() -> int:
        with open_reader(store) as reader:
            return sum(reader.size(info.log) for info in reader.logs())

    with ending(*applications, first, second):
        wait_until("the first events are sealed", lambda: sealed() > 900, pause_s=PAUSE_S)
        first.kill()
        third = Consumer(tmp_path, bus, store, *options, name="third")
        consumers = [second, third]
        with ending(third):
            before = sealed()
            goal = min(before + 1_500, len(SOURCES) * EVENTS)
            wait_until("the others go on", lambda: sealed() > goal, pause_s=PAUSE_S)
            private_kafka.restart()
            goal = min(sealed() + 1_500, len(SOURCES) * EVENTS)
            go_on = "they go on after the broker"
            wait_until(go_on, lambda: sealed() > goal, pause_s=PAUSE_S)
            private_postgres.restart()
            for application in applications:
                assert application.ended() == 0, application.said
            truth = read_truth(application.truth for application in applications)
            said = sum(map(len, truth.values()))
            wait_until("as much is sealed as was said", lambda: sealed() >= said, pause_s=PAUSE_S)
            done = "everything is sealed"
            wait_until(done, lambda: lag(tmp_path, store, bus) == 0, pause_s=PAUSE_S)
            for consumer in consumers:
                assert consumer.stop() == 0, consumer.said
    check(tmp_path, bus, store, truth)


def lag(folder: Path, store: str, bus: str) -> int:
    """How many offsets of the topic are not sealed yet, as `audit status` says."""
    status: Any = audit_json(folder, "status", "--store", store, "--source", bus)
    return sum(log["source_lag"] for log in status["logs"] if log["log"])


def check(folder: Path, bus: str, store: str, truth: dict[str, list[dict[str, object]]]) -> None:
    """Everything that the story promises."""
    with open_reader(store) as reader:
        assert len(reader.logs()) == PARTITIONS + 1
        check_once_and_in_order(reader, truth)
    code, printed = audit(folder, "verify", "--store", store, "--source", bus)
    assert code == 0, printed
    expected = rows_of(truth)
    with Ledger(store) as ledger:
        assert set(expected) == set(ledger.datasets())
        for dataset, rows in expected.items():
            assert dict(ledger.dataset(dataset).dataset.rows()) == rows

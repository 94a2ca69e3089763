"""A command that appends to a ledger of a topic: the store is held against what was published."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from audit.capture.delivery.embedded import open_for_writing
from audit.errors import InvalidInput, StoreCorrupt
from audit.ledger.guarded import check_not_rolled_back
from tests.cli.conftest import Cli, cli
from tests.consumers.support import an_event, consume, send, sizes
from tests.services.kafka import KafkaServer

__all__ = ["cli"]


def copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def test_a_rolled_back_store_is_not_appended_to(
    kafka_server: KafkaServer, cli: Cli, ledger_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka_server.new_topic()
    bus, path = kafka_server.url(topic), ledger_dir / "audit.db"
    store = f"sqlite:///{path}"
    send(bus, [b"poison", an_event(1)])
    assert consume(bus, store) == 0
    copy(path, ledger_dir / "old.db")
    send(bus, [an_event(2)])
    assert consume(bus, store) == 0
    copy(path, ledger_dir / "new.db")
    retry = ("quarantine", "retry", "--all", "--store", store)

    for name in ("audit.db-wal", "audit.db-shm"):
        (ledger_dir / name).unlink(missing_ok=True)
    shutil.copy(ledger_dir / "old.db", path)
    monkeypatch.setenv("AUDIT_BUS", bus)
    before = sizes(store)
    assert "were published: it was rolled back or changed" in cli(*retry, code=1).err
    assert sizes(store) == before
    with open_for_writing(store) as ledger:
        with pytest.raises(StoreCorrupt, match="log 0"):
            check_not_rolled_back(ledger)
        with pytest.raises(StoreCorrupt, match="log 1"):
            check_not_rolled_back(ledger, [1], bus=bus)
        # Where nothing can be compared it is said, and the command goes on.
        for unreachable, words in {
            "": f"AUDIT_BUS does not name the topic {topic}",
            store: f"AUDIT_BUS does not name the topic {topic}",
            kafka_server.url("other"): f"this ledger reads {topic}, not other",
            f"kafka://127.0.0.1:1/{topic}": "no Kafka broker answers at 127.0.0.1:1 within 3 s",
        }.items():
            monkeypatch.setenv("AUDIT_BUS", unreachable)
            why = check_not_rolled_back(ledger)
            assert why is not None and words in why and "\n" not in why
        with pytest.raises(InvalidInput):
            check_not_rolled_back(ledger, bus="kafka://")
    monkeypatch.delenv("AUDIT_BUS")
    ran = cli(*retry)
    assert "not compared with the published checkpoints" in ran.err

    for name in ("audit.db-wal", "audit.db-shm"):
        (ledger_dir / name).unlink(missing_ok=True)
    shutil.copy(ledger_dir / "new.db", path)
    monkeypatch.setenv("AUDIT_BUS", bus)
    assert "not compared" not in cli(*retry).err
    with open_for_writing(store) as ledger:
        assert check_not_rolled_back(ledger, [0, 1]) is None


def test_an_embedded_ledger_has_nothing_to_compare(
    ledger_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_BUS", "kafka://127.0.0.1:1/t")
    with open_for_writing(f"sqlite:///{ledger_dir}/audit.db") as ledger:
        assert check_not_rolled_back(ledger) is None

"""Commands that emit, with AUDIT_BUS naming a topic."""

from pathlib import Path

import pytest

from audit.capture.delivery import kafka_sender
from tests.capture.kafka_support import all_events
from tests.cli.conftest import INQUIRIES, Cli
from tests.services.kafka import KafkaServer

IMPORT = ("import", str(INQUIRIES), "--entity", "inquiry", "--key", "InquiryID")


@pytest.fixture
def topic(kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch, ledger_dir: Path) -> str:
    bus = kafka_server.url(kafka_server.new_topic(2))
    monkeypatch.setenv("AUDIT_BUS", bus)
    monkeypatch.setenv("AUDIT_SPOOL", "spool")
    return bus


def test_emit_through_kafka(cli: Cli, topic: str, ledger_dir: Path) -> None:
    first = cli("emit", "create", "user", "5", '{"dpt": "SCS"}', "--actor", "alice")
    second = cli("emit", "update", "user", "5", '{"dpt": "ISR"}', "--json").json
    assert (first.err, second.pop("event_id")) == ("", all_events(topic)[1].event_id)
    assert second == {"log": None, "index": None, "duplicate": None, "acknowledged": True}
    events = all_events(topic)
    assert events[0].event_id == first.out.strip()
    assert [event.type for event in events] == ["data.create", "data.update"]
    assert [path.name for path in ledger_dir.iterdir()] == ["spool"]
    assert list((ledger_dir / "spool").iterdir()) == []


def test_emit_while_the_broker_is_away(
    cli: Cli,
    ledger_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(kafka_sender, "CONNECT_TIMEOUT_S", 0.2)
    monkeypatch.setenv("AUDIT_BUS", "kafka://127.0.0.1:1/t")
    monkeypatch.setenv("AUDIT_SPOOL", "spool")
    assert cli("emit", "create", "user", "5", "{}", "--json").json["acknowledged"] is False
    (line,) = [record for record in caplog.records if record.name.startswith("audit")]
    assert "1 event waits in spool/" in line.getMessage()
    assert len(list((ledger_dir / "spool").iterdir())) == 1
    assert "no Kafka broker answers" in cli(*IMPORT, code=3).err


def test_import_through_kafka(
    cli: Cli, topic: str, ledger_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "AUDIT_STORE" in cli(*IMPORT, code=3).err
    monkeypatch.setenv("AUDIT_STORE", "sqlite:///elsewhere.db")
    cli("init", "--store", "sqlite:///elsewhere.db")
    assert cli(*IMPORT).out == "10 created; sent to Kafka\n"
    found = cli(*IMPORT, "--snapshot", "--json").json
    assert (found["created"], found["size"]) == (10, None)
    events = all_events(topic)
    assert len(events) == 20  # the ledger has seen none of them yet
    assert {event.type for event in events} == {"data.create"}

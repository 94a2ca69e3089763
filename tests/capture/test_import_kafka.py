"""Importing through Kafka: what is there is read from the ledger, what is new goes to the topic."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.capture.delivery import kafka_sender
from audit.capture.delivery.embedded import EmbeddedLedger, open_for_writing
from audit.capture.delivery.kafka_sender import KafkaSender
from audit.capture.importer import KafkaTarget, import_events, import_file
from audit.errors import InvalidInput, StoreMissing, Unavailable
from audit.event.build import data_event
from audit.event.envelope import Event, encode_event
from audit.event.jsonform import event_to_json
from audit.event.schema import SchemaBook
from audit.log.entry import SourceSpan
from audit.log.intake import Message, accept
from audit.log.source import SourceBatch
from tests.capture.kafka_support import all_events
from tests.capture.support import url
from tests.services.kafka import KafkaServer

CSV = "id,name\n1,a\n2,b\n3,c\n"


@pytest.fixture
def topic(kafka_server: KafkaServer) -> str:
    return kafka_server.url(kafka_server.new_topic(3))


def csv(text: str = CSV) -> io.BytesIO:
    file = io.BytesIO(text.encode())
    file.name = "rows.csv"
    return file


def load(target: EmbeddedLedger | KafkaTarget, text: str = CSV, **options: object) -> object:
    return import_file(target, csv(text), entity="item", key="id", **options)[:7]  # type: ignore[arg-type]


def said(events: list[Event]) -> list[tuple[str | None, str]]:
    return sorted((event.entity_key, event.type.removeprefix("data.")) for event in events)


def test_new_keys_are_creates_and_known_ones_updates(tmp_path: Path, topic: str) -> None:
    with open_for_writing(url(tmp_path)) as ledger:
        load(ledger)
    with KafkaTarget(topic, url(tmp_path)) as target:
        assert load(target, CSV + "4,d\n1,z\n") == (1, 1, 0, 0, 3, 0, 0)
        result = import_file(target, csv(CSV + "4,d\n"), entity="item", key="id")
        assert (result.created, result.skipped, result.size) == (1, 3, None)
    # The ledger had not seen the first import: the same event went twice, and counts once.
    assert said(all_events(topic)) == [("1", "update"), ("4", "create")]


def test_a_snapshot(tmp_path: Path, topic: str) -> None:
    with open_for_writing(url(tmp_path)) as ledger:
        load(ledger)
    with KafkaTarget(topic, url(tmp_path)) as target:
        found = load(target, "id,name\n1,a\n2,other\n4,d\n", snapshot=True)
        assert found == (1, 1, 1, 1, 0, 0, 0)
    events = all_events(topic)
    assert said(events) == [("2", "update"), ("3", "delete"), ("4", "create")]
    assert len({event.transaction_id for event in events}) == 1


def test_without_a_ledger_only_ready_made_events(tmp_path: Path, topic: str) -> None:
    lines = []
    for number in range(10):
        made = data_event("create", "u", number, event_id=f"e{number}", source="a", after={"n": 1})
        lines.append(json.dumps(event_to_json(made.event, SchemaBook.with_builtins())))
    with KafkaTarget(topic, url(tmp_path)) as target:
        with pytest.raises(StoreMissing, match=r"there is no ledger at .*\n.*AUDIT_STORE"):
            load(target)
        result = import_events(target, io.BytesIO("\n".join(lines).encode()))
        assert (result.created, result.size) == (10, None)
    assert sorted(event.event_id for event in all_events(topic)) == [f"e{n}" for n in range(10)]
    assert not (tmp_path / "audit.db").exists()


def test_what_goes_wrong_says_what_is_sent(
    tmp_path: Path, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_for_writing(url(tmp_path)).close()
    real = KafkaSender.deliver
    groups: list[int] = []

    def failing(self: KafkaSender, messages: list[Message]) -> object:
        groups.append(len(messages))
        if len(groups) == 3:
            raise Unavailable("cut off\nfor a test")
        return real(self, messages)

    monkeypatch.setattr(KafkaSender, "deliver", failing)
    monkeypatch.setattr("audit.capture.importer.sealing.BATCH_EVENTS", 10)
    rows = "id,name\n" + "".join(f"{number},x\n" for number in range(50))
    with (
        KafkaTarget(topic, url(tmp_path)) as target,
        pytest.raises(Unavailable, match=r"cut off\n20 events are sent; import it again"),
    ):
        load(target, rows)
    monkeypatch.setattr(KafkaSender, "deliver", real)
    with KafkaTarget(topic, url(tmp_path)) as target:
        assert load(target, rows) == (50, 0, 0, 0, 0, 0, 0)
    assert said(all_events(topic)) == sorted((str(number), "create") for number in range(50))


def test_a_broker_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_sender, "CONNECT_TIMEOUT_S", 0.2)
    with pytest.raises(Unavailable, match="no Kafka broker answers"):
        KafkaTarget("kafka://127.0.0.1:1/t", url(tmp_path))
    with pytest.raises(InvalidInput, match="not a Kafka server"):
        KafkaTarget("kafka:///t", url(tmp_path))


@pytest.fixture
def sharded(tmp_path: Path) -> Iterator[EmbeddedLedger]:
    """A ledger of three logs, with the dataset `item` over two of them and a truncate in each."""
    with open_for_writing(url(tmp_path)) as ledger:
        stories = {
            1: [("create", "1"), ("truncate", None), ("create", "3"), ("create", "5")],
            2: [("create", "2"), ("create", "4"), ("truncate", None), ("create", "2")],
        }
        for log, story in stories.items():
            origin = f"{ledger.origin}/t/{log - 1}"
            ledger.open_log(log, origin)
            lease = ledger.store.claim(log)
            incoming = []
            for at, (op, key) in enumerate(story):
                after = {"name": "x"} if op == "create" else None
                made = data_event(
                    op, "item", key, event_id=f"{log}-{at}", source="app", after=after, image="full"
                )
                span = SourceSpan("t", log - 1, at, at + 1)
                incoming.append(accept(Message(encode_event(made.event), None, span)))
            batch = SourceBatch("t", log - 1, 0, incoming, len(incoming))
            ledger.store.append_from(lease, batch, ledger.signer(log))
        yield ledger


@pytest.mark.parametrize("scan", [True, False])
def test_which_rows_are_there_is_known_over_several_logs(
    sharded: EmbeddedLedger, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scan: bool
) -> None:
    monkeypatch.setattr("audit.capture.importer.known.SCAN_IF_ROWS_OVER", 10**6 if scan else 0)
    rows = "id,name\n" + "".join(f"{number},y\n" for number in range(1, 7))
    with KafkaTarget(topic, url(tmp_path)) as target:
        load(target, rows)
    there = {"2", "3", "5"}
    expected = [(str(n), "update" if str(n) in there else "create") for n in range(1, 7)]
    assert said(all_events(topic)) == expected

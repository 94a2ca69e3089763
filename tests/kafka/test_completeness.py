"""A ledger beside the real topic that it was read from: status, verify, and what they find."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from audit.capture.delivery.embedded import open_for_writing
from audit.errors import InvalidInput, NotFound
from audit.kafka import completeness
from audit.kafka.address import CLIENTS, parse_address
from audit.kafka.completeness import compare, lag
from audit.kafka.transport import SIGNATURE_HEADER
from audit.ledger import Ledger
from audit.store import open_reader
from audit.verify.source_report import PartitionReport
from consumers.service import run
from consumers.settings import Settings
from tests.cli.conftest import Cli, cli
from tests.services.kafka import KafkaServer
from tests.verify.layout import SCHEMA, event

__all__ = ["cli"]
"""A fixture that these tests borrow."""


class Pair:
    """A topic of two partitions, and the ledger that a consumer makes of it."""

    def __init__(self, server: KafkaServer, folder: Path) -> None:
        self.server = server
        self.name = server.new_topic(2)
        self.bus = server.url(self.name)
        self.store = f"sqlite:///{folder / 'audit.db'}"

    def send(self, partition: int, *values: bytes | None) -> None:
        with closing(KafkaProducer(bootstrap_servers=self.server.bootstrap)) as producer:
            for value in values:
                producer.send(self.name, value, b"user/1", [], partition)
            producer.flush(30)

    def transaction(self, partition: int, *values: bytes, commit: bool) -> None:
        """Messages with a marker behind them, which takes an offset of its own."""
        producer = KafkaProducer(
            bootstrap_servers=self.server.bootstrap, transactional_id=f"{self.name}-{commit}"
        )
        producer.init_transactions()
        producer.begin_transaction()
        for value in values:
            producer.send(self.name, value, b"user/1", [(SIGNATURE_HEADER, b"short")], partition)
        producer.flush()
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
        producer.close()

    def consume(self) -> None:
        assert run(Settings(bus=self.bus, store=self.store, once=True)) == 0

    def compare(self, client: str = CLIENTS[0]) -> list[PartitionReport]:
        address = parse_address(f"{self.bus}?client={client}", {})
        with open_reader(self.store) as reader:
            return compare(address, reader)

    def admin(self) -> Iterator[KafkaAdminClient]:
        return closing(KafkaAdminClient(bootstrap_servers=self.server.bootstrap))


@pytest.fixture
def pair(kafka_server: KafkaServer, tmp_path: Path) -> Pair:
    pair = Pair(kafka_server, tmp_path)
    for partition in range(2):
        pair.send(partition, SCHEMA, *(event(n) for n in range(partition, 40, 2)))
    pair.consume()
    return pair


@pytest.mark.parametrize("client", CLIENTS)
def test_all_that_a_topic_may_hold_is_accounted_for(pair: Pair, client: str) -> None:
    pair.send(0, event(0), b"junk", None, b"x" * 70_000, SCHEMA)
    pair.transaction(0, event(100), event(102), commit=True)
    pair.transaction(0, event(104), commit=False)
    pair.send(0, event(106))
    pair.consume()
    pair.send(0, event(108), event(110))
    first, second = pair.compare(client)
    assert first.findings == second.findings == () == first.warnings
    # 21 + junk, tombstone, oversize, two with a broken signature, 106; two repeats; the markers
    # of two transactions and the aborted message.
    assert (first.equal, first.repeats, first.without_message) == (27, 2, 3)
    assert (first.waiting, second.waiting, second.equal) == (2, 0, 21)
    with open_reader(pair.store) as reader:
        found = lag(parse_address(f"{pair.bus}?client={client}", {}), reader)
    assert [(one.log, one.waiting, one.words) for one in found] == [
        (1, 2, "2 offsets behind"),
        (2, 0, "caught up"),
    ]


def test_verify_and_status_tell_it(
    pair: Pair,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair.send(1, event(41))
    store = ("--store", pair.store)
    report = cli("verify", "--source", pair.bus, *store, "--json").json
    assert report["verdict"] == "ok" and report["findings"] == []
    logs = report["logs"]
    assert [log["source"] and log["source"]["equal"] for log in logs] == [None, 21, 21]
    assert all("source_completeness" not in log["not_proven"] for log in logs)
    assert "not_yet_read" in logs[2]["not_proven"] and "not_yet_read" not in logs[1]["not_proven"]
    text = cli("verify", "--source", pair.bus, *store).out
    assert f"source      {pair.name}/0: the broker keeps offsets 0 to 20, the log" in text
    assert "21 sealed and equal" in text and "1 wait to be read" in text

    monkeypatch.setenv("AUDIT_BUS", pair.bus)
    status = cli("status", "--source", *store, "--json").json
    assert [log["source_lag"] for log in status["logs"]] == [None, 0, 1]
    assert [one["words"] for one in status["source"]] == ["caught up", "1 offset behind"]
    lines = cli("status", "--source", *store).lines
    assert lines[3].split() == [
        *("LOG", "ORIGIN", "ENTRIES", "EVENTS", "QUARANTINED", "CONFLICTS", "NEWEST"),
        *("CHECKPOINT", "LAG"),
    ]
    assert f"{pair.name}/1: 1 offset behind" in "\n".join(lines)


def test_a_message_that_the_ledger_does_not_have_is_found(pair: Pair, cli: Cli) -> None:
    """Retention took what was read, and offsets were made up: nothing else can be faked here."""
    with pair.admin() as admin:
        admin.delete_topics([pair.name])
    recreate(pair)
    pair.send(0, SCHEMA, *(event(1_000 + n) for n in range(30)))
    ran = cli("verify", "--source", pair.bus, "--store", pair.store, "--json", code=1)
    found = {(f["code"], f["origin"].rpartition("/")[2]) for f in ran.json["findings"]}
    # The schema alone is the same in both; the second partition is empty.
    assert found == {("source_recreated", "0"), ("source_differs", "0"), ("source_recreated", "1")}
    assert ran.json["verdict"] == "tampered"
    words = cli("status", "--source", pair.bus, "--store", pair.store).out
    assert "the broker has it only up to 0: the topic was made anew, or lost data" in words


def recreate(pair: Pair) -> None:
    """The topic of the same name, empty; the broker may still be deleting the old one."""
    for _ in range(2_400):
        try:
            with pair.admin() as admin:
                admin.create_topics({pair.name: {"num_partitions": 2, "replication_factor": 1}})
            break
        except KafkaError:
            time.sleep(0.05)
    wait(lambda: all(m["error_code"] == 0 for m in describe(pair)))


def describe(pair: Pair) -> list[dict]:
    with pair.admin() as admin:
        (topic,) = admin.describe_topics([pair.name])
    return topic["partitions"] or [{"error_code": 1}]


def wait(done: Callable[[], bool]) -> None:
    for _ in range(2_400):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


def test_what_the_broker_no_longer_keeps(pair: Pair) -> None:
    with pair.admin() as admin:
        admin.delete_records({TopicPartition(pair.name, 0): 15})
    first, second = pair.compare()
    assert (first.equal, first.no_longer_kept, first.findings) == (6, 15, ())
    assert first.not_proven == ("expired_at_source",) and second.not_proven == ()
    pair.send(0, event(200), event(202))
    with pair.admin() as admin:
        admin.delete_records({TopicPartition(pair.name, 0): 22})
    first, _ = pair.compare()
    assert (first.lost, first.waiting) == (1, 1)
    assert [w.code for w in first.warnings] == ["source_expired"]
    pair.consume()
    first, _ = pair.compare()
    assert (first.expired, first.equal, first.findings) == (1, 1, ())


def test_a_ledger_of_another_topic_is_refused(pair: Pair, tmp_path: Path) -> None:
    with open_reader(pair.store) as reader, pytest.raises(InvalidInput, match="was not read from"):
        lag(parse_address(pair.server.url("never-made"), {}), reader)
    open_for_writing(f"sqlite:///{tmp_path}/empty.db").close()
    with open_reader(f"sqlite:///{tmp_path}/empty.db") as reader, pytest.raises(NotFound):
        lag(parse_address(pair.server.url("never-made"), {}), reader)


def test_a_partition_that_has_no_log_yet(kafka_server: KafkaServer, tmp_path: Path) -> None:
    pair = Pair(kafka_server, tmp_path)
    pair.send(1, event(1))
    open_for_writing(pair.store).close()
    first, second = pair.compare()
    assert (first.log, first.warnings, second.waiting) == (None, (), 1)
    assert second.words()[1] == "no log of it yet: 1 offsets wait"
    with Ledger(pair.store) as ledger:
        report = ledger.verify(source=pair.bus)
        assert ledger.status(source=pair.bus).source[1].words == "no log of it yet, 1 offset behind"
    assert report.ok and [w.code for w in report.warnings] == ["source_unread"]


def test_a_broker_that_is_away_is_said_at_once(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    patience = partial(completeness.open_consumer, connect_timeout_s=0.3)
    monkeypatch.setattr(completeness, "open_consumer", patience)
    cli("init")
    for command in ("status", "verify"):
        assert "127.0.0.1:1" in cli(command, "--source", "kafka://127.0.0.1:1/y", code=3).err


BAD = {
    "no bus": (("verify", "--source"), "AUDIT_BUS"),
    "no topic": (("status", "--source", "http://x"), "kafka://host:9092/topic"),
    "with a file": (("verify", "x.zip", "--source", "kafka://x/y"), "--source"),
    "with a log": (("verify", "--log", "1", "--source", "kafka://x/y"), "--source"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_asked_wrongly(cli: Cli, name: str) -> None:
    cli("init")
    args, words = BAD[name]
    assert words in cli(*args, code=2).err

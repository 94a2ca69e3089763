"""What `--once` makes of a real topic: every offset accounted for, exactly once, or a refusal."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from audit.capture.delivery.embedded import open_for_writing
from audit.errors import InvalidInput, NotFound, StoreCorrupt
from audit.event.fingerprint import SINGLE_OBJECT_MAGIC
from audit.kafka.address import parse_address
from audit.kafka.clients import open_consumer, open_producer
from audit.kafka.registry import Registry, RegistryFraming
from audit.kafka.topics import CHECKPOINTS_TOPIC, create_topics
from audit.log.entry import Kind
from audit.store import open_reader
from audit.store.positions import source_position
from audit.tlog.keys import Ed25519Signer, new_seed
from audit.verify.policy import ProducerKey, producer_line
from consumers.settings import Signatures
from tests.consumers.support import an_event, consume, control, sealed, send, sizes, the_schema
from tests.services.kafka import KafkaServer
from tests.services.postgres import PostgresServer

HUGE = b"x" * 100_000


@contextmanager
def admin(server: KafkaServer) -> Iterator[Any]:
    with closing(KafkaAdminClient(bootstrap_servers=server.bootstrap)) as client:
        yield client


def reasons(store: str, log: int) -> dict[int, str]:
    """Offset -> the first word of why it is quarantined."""
    return {
        entry.source.offset: (entry.reason or "").partition(":")[0]
        for entry in sealed(store, log)
        if entry.kind is Kind.QUARANTINED and entry.source is not None
    }


def position(store: str, log: int) -> int:
    with open_reader(store) as reader:
        found = source_position(reader, log)
        return 0 if found is None else found.next_offset


def skips(store: str, log: int) -> list[tuple[list[int], str]]:
    """(range, reason) of every `source.skipped`."""
    return [
        pair
        for entry in control(store, log, "source.skipped")
        for pair in zip(entry["ranges"], entry["reasons"], strict=True)  # type: ignore[call-overload]
    ]


@pytest.fixture
def store(ledger_dir: Path) -> str:
    return f"sqlite:///{ledger_dir}/audit.db"


@pytest.mark.parametrize("kind", ["sqlite kafka-python", "postgresql confluent"])
def test_every_message_is_accounted_for_exactly_once(
    kafka_server: KafkaServer, postgres_server: PostgresServer, store: str, kind: str
) -> None:
    database, client = kind.split()
    if database == "postgresql":
        store = postgres_server.new_database()
    bus = kafka_server.url(kafka_server.new_topic(3)) + f"?client={client}"
    first = [b"poison", the_schema(), an_event(1), an_event(1), an_event(2, event_id="e1")]
    second = [None, HUGE, an_event(3, source="audit"), the_schema(), an_event(4), b"poison 2"]
    send(bus, [*first, *second])
    send(bus, [b"alone"], partition=1)
    assert consume(bus, store, batch=4) == 0

    assert reasons(store, 1) == {
        **{0: "UNDECODABLE", 4: "EVENT_ID_CONFLICT", 5: "TOMBSTONE", 6: "OVERSIZE"},
        **{7: "RESERVED", 10: "UNDECODABLE"},
    }
    assert skips(store, 1) == [([3, 4], "DUPLICATE"), ([8, 9], "DUPLICATE")]
    offsets = [entry.source.offset for entry in sealed(store, 1) if entry.source is not None]
    assert offsets == [0, 1, 2, 4, 5, 6, 7, 9, 10]
    assert reasons(store, 2) == {0: "UNDECODABLE"}
    assert [position(store, log) for log in (1, 2, 3)] == [11, 1, 0]
    origins = [head[0] for head in control(store, 0, "ledger.heads")[-1]["heads"]]  # type: ignore[index, union-attr]
    assert [origin.rpartition("/")[2] for origin in origins] == ["0", "1", "2"]

    before = sizes(store)
    assert consume(bus, store) == 0
    assert sizes(store) == before


def test_markers_and_aborted_messages_are_accounted_for(
    kafka_server: KafkaServer, store: str
) -> None:
    topic = kafka_server.new_topic()
    bus = kafka_server.url(topic)
    producer = KafkaProducer(bootstrap_servers=kafka_server.bootstrap, transactional_id=topic)
    producer.init_transactions()
    for number, commits in enumerate((True, False, True)):
        producer.begin_transaction()
        producer.send(topic, an_event(2 * number), partition=0)
        producer.send(topic, an_event(2 * number + 1), partition=0)
        if commits:
            producer.commit_transaction()
        else:
            producer.flush()
            producer.abort_transaction()
    producer.close()
    assert consume(bus, store) == 0
    offsets = [entry.source.offset for entry in sealed(store, 1) if entry.source is not None]
    assert offsets == [0, 1, 6, 7]
    assert skips(store, 1) == [([2, 6], "NO_MESSAGE"), ([8, 9], "NO_MESSAGE")]
    assert position(store, 1) == 9


def test_what_expired_is_said(
    kafka_server: KafkaServer, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic = kafka_server.new_topic(2)
    bus = kafka_server.url(topic)
    for partition in (0, 1):
        send(bus, [an_event(n) for n in range(6)], partition=partition)
    with admin(kafka_server) as client:
        client.delete_records({TopicPartition(topic, 0): 4, TopicPartition(topic, 1): 6})
    assert consume(bus, store) == 0
    assert skips(store, 1) == [([0, 4], "EXPIRED")]
    assert [entry.source.offset for entry in sealed(store, 1) if entry.source] == [4, 5]
    assert skips(store, 2) == [([0, 6], "EXPIRED")]
    assert sum("expired before they were read" in text for text in caplog.messages) == 2


# Refusals


def test_a_topic_that_grew_waits_for_the_operator(kafka_server: KafkaServer, store: str) -> None:
    topic = kafka_server.new_topic()
    bus = kafka_server.url(topic)
    send(bus, [an_event(1)])
    assert consume(bus, store) == 0
    with admin(kafka_server) as client:
        client.create_partitions({topic: 3})
    send(bus, [an_event(2)], partition=2)
    with pytest.raises(InvalidInput, match="--accept-partitions 3"):
        consume(bus, store)
    assert consume(bus, store, accept_partitions=3) == 0
    assert [position(store, log) for log in (1, 2, 3)] == [1, 0, 1]
    assert consume(bus, store) == 0
    with pytest.raises(InvalidInput, match="one ledger has one topic"):
        consume(kafka_server.url(kafka_server.new_topic(3)), store)


def test_a_topic_made_anew_is_refused(kafka_server: KafkaServer, store: str) -> None:
    topic = kafka_server.new_topic()
    bus = kafka_server.url(topic)
    send(bus, [an_event(1), an_event(2)])
    assert consume(bus, store) == 0
    before = sizes(store)
    with admin(kafka_server) as client:
        client.delete_topics([topic])
        client.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})
    with pytest.raises(InvalidInput, match="was made anew"):
        consume(bus, store)
    assert sizes(store) == before


def test_a_group_of_another_ledger_is_refused(kafka_server: KafkaServer, store: str) -> None:
    bus = kafka_server.url(kafka_server.new_topic())
    send(bus, [an_event(1)])
    assert consume(bus, store, group="shared") == 0
    other = store.replace("audit.db", "other/audit.db")
    Path(other.removeprefix("sqlite:///")).parent.mkdir()
    with pytest.raises(InvalidInput, match="the group shared reads for the ledger attestory"):
        consume(bus, other, group="shared")
    with closing(open_consumer(parse_address(bus), "shared")) as reader:
        committed = reader.committed(0)
    with open_reader(store) as ledger:
        origin = ledger.logs()[0].origin
    assert committed is not None and (committed.offset, committed.metadata) == (1, origin)


def test_a_store_restored_from_an_older_copy_is_refused(
    kafka_server: KafkaServer, store: str
) -> None:
    bus = kafka_server.url(kafka_server.new_topic())
    path = Path(store.removeprefix("sqlite:///"))
    send(bus, [an_event(1)])
    assert consume(bus, store) == 0
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect("old.db")) as copy:
        source.backup(copy)
    send(bus, [an_event(2)])
    assert consume(bus, store) == 0
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.rename("newest.db")
    shutil.copy("old.db", path)
    before = sizes(store)
    with pytest.raises(StoreCorrupt, match="restore the newest copy"):
        consume(bus, store)
    assert sizes(store) == before
    Path("newest.db").rename(path)
    assert consume(bus, store) == 0


def test_one_refused_partition_does_not_stop_the_others(
    kafka_server: KafkaServer, store: str
) -> None:
    topic = kafka_server.new_topic(2)
    bus = kafka_server.url(topic)
    for partition in (0, 1):
        send(bus, [an_event(1)], partition=partition)
    with open_for_writing(store) as ledger:
        key = f"{ledger.origin}/{topic}/1".encode()

    create_topics(parse_address(bus), 2, 1)
    with closing(KafkaProducer(bootstrap_servers=kafka_server.bootstrap)) as producer:
        producer.send(CHECKPOINTS_TOPIC, b"nonsense", key, partition=0).get(30)
    assert consume(bus, store) == 1
    assert (position(store, 1), sizes(store).get(2)) == (1, None)


def test_a_topic_that_is_not_there_is_said(kafka_server: KafkaServer, store: str) -> None:
    with pytest.raises(NotFound, match="has no topic nowhere"):
        consume(kafka_server.url("nowhere"), store)


# Signatures and registries


def test_required_signatures_are_by_pinned_keys(kafka_server: KafkaServer, store: str) -> None:
    bus = kafka_server.url(kafka_server.new_topic())
    signer = Ed25519Signer.from_seed("crm", new_seed())
    with open_for_writing(store) as ledger, ledger.policy_path.open("a") as policy:
        policy.write(producer_line(ProducerKey("crm", signer.verifier)) + "\n")
    send(bus, [the_schema(), an_event(1)])
    send(bus, [an_event(2)], signer=signer)
    send(bus, [an_event(3)], signer=Ed25519Signer.from_seed("crm", new_seed()))
    assert consume(bus, store, signatures=Signatures.REQUIRE) == 0
    assert reasons(store, 1) == {1: "SIGNATURE_REQUIRED", 3: "SIGNATURE_REQUIRED"}
    assert [entry.signature is not None for entry in sealed(store, 1)] == [False, False, True, True]


def test_a_registrys_framing_never_gets_into_the_log(
    kafka_server: KafkaServer, registry_server: Any, store: str
) -> None:
    topic = kafka_server.new_topic()
    bus = f"{kafka_server.url(topic)}?registry={registry_server.url}"
    framing = RegistryFraming(Registry(registry_server.url), topic)
    framed = framing.encode(an_event(1))
    address = parse_address(bus)
    with closing(open_producer(address)) as producer:
        for value in (framed, an_event(2), b"\0\xff\xff\xff\xff" + framed[5:]):
            producer.send(topic, 0, None, value)
        producer.flush(30)
    assert framed[:1] == b"\0"
    assert consume(bus, store) == 0
    assert reasons(store, 1) == {2: "UNDECODABLE"}
    assert [entry.event for entry in sealed(store, 1)][:2] == [an_event(1), an_event(2)]
    assert sealed(store, 1)[0].event.startswith(SINGLE_OBJECT_MAGIC)

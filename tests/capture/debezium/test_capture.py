"""From real topics into a ledger, and onto a topic: the dataset is the table, whatever happens."""

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audit.capture import patient
from audit.capture.debezium.capture import DebeziumCapture, Settings, topic_addresses
from audit.capture.delivery.embedded import open_for_writing
from audit.errors import InvalidInput, NotFound, Unavailable
from audit.event.payload import decode_payload
from audit.event.schema import SchemaBook
from audit.kafka.address import CLIENTS
from audit.log.intake import Message
from tests.capture.debezium.samples import (
    KEY_SCHEMA,
    PLACEHOLDER,
    ROW,
    avro_schema,
    envelope,
    framed,
    mysql_source,
    put,
    source,
    text,
    typed,
    typed_key,
)
from tests.capture.debezium.test_values import TYPED_ROW
from tests.capture.debezium.victims import POINTS
from tests.capture.kafka_support import all_events, fetched
from tests.capture.support import events, rows, url
from tests.kafka.test_registry import registered
from tests.services.kafka import KafkaServer
from tests.services.registry import RegistryServer

LIMIT_S = 240.0
Messages = list[tuple[bytes | None, bytes | None]]


@pytest.fixture
def topic(kafka_server: KafkaServer) -> str:
    return kafka_server.url(kafka_server.new_topic(3))


def capture(topics: str, bus: str, **settings: Any) -> DebeziumCapture:
    """All that is there."""
    running = DebeziumCapture(topics, Settings(bus, **settings))
    running.run(once=True)
    return running


def change(op: str, row: dict[str, Any], lsn: int, **more: Any) -> tuple[bytes, bytes]:
    """A message without a schema; the key is `id`."""
    before = more.pop("before", None)
    after = None if op == "d" else row
    return text({"id": row["id"]}), text(envelope(op, before, after, source(lsn=lsn, **more)))


def story(seed: int, count: int, full: bool) -> tuple[Messages, dict[str, dict[str, Any]]]:
    """Random changes of a table, as a connector tells them, and the table in the end.

    With `full` as REPLICA IDENTITY FULL has it, without as DEFAULT.
    """
    chance = random.Random(seed)
    table: dict[str, dict[str, Any]] = {}
    messages: Messages = []
    for lsn in range(1, count + 1):
        key = chance.randrange(1, 9)
        old = table.get(str(key))
        new = {"id": key, "name": chance.choice(["a", "b", None]), "n": lsn, "doc": f"d{lsn}"}
        if old is None:
            messages.append(change("r" if lsn < 5 else "c", new, lsn))
            table[str(key)] = new
        elif chance.random() < 0.25:
            gone = old if full else {**dict.fromkeys(old), "id": key}
            messages.append(change("d", old, lsn, before=gone))
            messages.append((text({"id": key}), None))
            del table[str(key)]
        else:
            new["doc"] = old["doc"]
            said = {**new, "doc": PLACEHOLDER}
            messages.append(change("u", said, lsn, before=old if full else None))
            table[str(key)] = new
    return messages, table


@pytest.mark.parametrize(("client", "full"), [(CLIENTS[0], True), (CLIENTS[1], False)])
def test_the_dataset_is_the_table(topic: str, tmp_path: Path, client: str, full: bool) -> None:
    messages, table = story(7, 120, full)
    put(topic, messages)
    first = capture(f"{topic}?client={client}", url(tmp_path))
    assert rows(tmp_path, "orders") == table
    assert first.counts["tombstone"] == first.counts["delete"] > 0
    assert sum(first.counts.values()) == len(messages)
    count = len(events(tmp_path))
    # Another group, the same messages once more, and the connector's own repeats: nothing new.
    put(topic, story(7, 120, full)[0])
    again = capture(topic, url(tmp_path), group="another")
    assert again.counts["create"] == 2 * first.counts["create"]
    assert len(events(tmp_path)) == count
    assert rows(tmp_path, "orders") == table
    # The first group goes on where it was.
    assert capture(topic, url(tmp_path)).counts == first.counts


def test_drift_is_found_by_the_row_before(topic: str, tmp_path: Path) -> None:
    from audit.ledger import Ledger

    missed = change("u", {"id": 1, "n": 3}, 3, before={"id": 1, "n": 2})
    put(topic, [change("c", {"id": 1, "n": 1}, 1), missed])
    capture(topic, url(tmp_path))
    with Ledger(url(tmp_path)) as ledger:
        steps = ledger.history("orders/1")
        assert "DRIFT" in repr(list(steps)).upper()


def test_json_with_schemas_and_avro_say_the_same(
    kafka_server: KafkaServer, registry_server: RegistryServer, tmp_path: Path
) -> None:
    json_topic, avro_topic = (kafka_server.new_topic() for _ in range(2))
    message = envelope("c", None, ROW, source())
    toasted = {**ROW, "customer": "Bo", "photo": PLACEHOLDER.encode(), "tags": [PLACEHOLDER]}
    update = envelope("u", ROW, toasted, source(lsn=101))
    put(kafka_server.url(json_topic), [(typed_key({"id": 1}), typed(m)) for m in (message, update)])
    schema = avro_schema(message["source"])
    ids = [
        registered(registry_server.url, f"{avro_topic}-{side}", json.dumps(made))
        for side, made in (("key", KEY_SCHEMA), ("value", schema))
    ]
    put(
        kafka_server.url(avro_topic),
        [(framed(KEY_SCHEMA, ids[0], {"id": 1}), framed(schema, ids[1], m))
         for m in (message, update)],
    )  # fmt: skip
    folder = tmp_path / "json"
    folder.mkdir()
    capture(kafka_server.url(json_topic), url(folder))
    wanted = {"1": {**TYPED_ROW, "customer": "Bo"}}
    assert rows(folder, "orders") == wanted
    found = capture(kafka_server.url(avro_topic), url(tmp_path), registry=registry_server.url)
    assert not found.counts["set aside"]
    assert rows(tmp_path, "orders") == wanted
    names = [[event.event_id for event in events(each)] for each in (folder, tmp_path)]
    assert names[0] == names[1]
    put(kafka_server.url(avro_topic), [(b"1", framed(schema, 999_999, message))])
    capture(kafka_server.url(avro_topic), url(tmp_path), registry=registry_server.url)
    gap = decode_payload(events(tmp_path)[-1], SchemaBook.with_builtins())
    assert isinstance(gap, dict)
    assert "has no schema 999999" in gap["why"]


def test_several_tables_of_mysql_and_what_debezium_says_besides(
    kafka_server: KafkaServer, tmp_path: Path
) -> None:
    topics = [kafka_server.new_topic() for _ in range(3)]
    orders, users, other = (kafka_server.url(name) for name in topics)
    block = {"id": "file=binlog.000003,pos=154", "total_order": 1, "data_collection_order": 1}
    key = {"tenant": "x", "id": 1}
    moved = mysql_source(pos=200)
    put(
        orders,
        [
            (text(key), text(envelope("c", None, {**key, "n": 1}, mysql_source(), block))),
            # A change of the key: a delete of the old and a create of the new, in one transaction.
            (text(key), text(envelope("d", {**key, "n": 1}, None, moved, block))),
            (text(key), None),
            (
                text({**key, "id": 2}),
                text(envelope("c", None, {**key, "id": 2, "n": 1}, moved, block)),
            ),
        ],
    )
    put(users, [(text({"id": n}), text(envelope("r", None, {"id": n}, mysql_source("users"))))
                for n in range(3)])  # fmt: skip
    put(users, [(None, text(envelope("t", None, None, mysql_source("users", pos=300))))])
    put(
        other,
        [
            (
                b'{"databaseName":"store"}',
                text({"ddl": "CREATE TABLE x", "source": mysql_source()}),
            ),
            (b'{"id":"1"}', text({"status": "BEGIN", "id": "1", "event_count": None})),
            (b'{"serverName":"shop"}', text({"ts_ms": 1})),
        ],
    )
    found = capture(f"{orders},{topics[1]},{topics[2]}", url(tmp_path), entities=("users=user",))
    assert rows(tmp_path, "orders") == {'["x",2]': {"tenant": "x", "id": 2, "n": 1}}
    assert rows(tmp_path, "user") == {}
    words = ("create", "delete", "truncate", "schema change", "transaction", "heartbeat")
    assert [found.counts[word] for word in words] == [5, 1, 1, 1, 1, 1]
    said = events(tmp_path)
    assert {event.transaction_id for event in said if event.entity_type == "orders"} == {
        block["id"]
    }
    assert {event.source for event in said} == {"mshop"}


def test_poison_is_kept_with_its_reason_and_the_others_go_on(
    kafka_server: KafkaServer, tmp_path: Path
) -> None:
    topic = kafka_server.url(kafka_server.new_topic())
    big = {"id": 2, "doc": "x" * 70_000}
    good = [change("c", {"id": 1, "n": 0}, 1), change("u", {"id": 1, "n": 2}, 9)]
    bad: Messages = [
        (b"k", b"not json"),
        (None, text(envelope("c", None, {"id": 3}, source()))),
        change("c", big, 3),
        (text({"id": 5}), b"\0\0\0\0\x07avro"),
        (text({"id": 6}), text({"id": 6, "flat": True})),
    ]
    put(topic, [good[0], *bad, good[1]])
    found = capture(topic, url(tmp_path))
    assert found.counts["set aside"] == 5
    assert rows(tmp_path, "orders") == {"1": {"id": 1, "n": 2}}
    gaps = [event for event in events(tmp_path) if event.type == "capture.gap"]
    said = [decode_payload(event, SchemaBook.with_builtins()) for event in gaps]
    reasons = ("not JSON", "without a key", "64000", "--registry", "ExtractNewRecordState")
    for gap, reason, (key, value) in zip(said, reasons, bad, strict=True):
        assert isinstance(gap, dict)
        assert reason in gap["why"]
        assert gap.get("key") == key
        assert gap.get("value", value) == value
    assert [event.entity_key for event in gaps] == [None, None, "2", None, None]
    blob = tmp_path / "audit-blobs" / "sha256"
    [kept] = [path for path in blob.rglob("*") if path.is_file()]
    assert kept.read_bytes() == bad[2][1]
    count = len(events(tmp_path))
    capture(topic, url(tmp_path), group="another")
    assert len(events(tmp_path)) == count


def test_a_topic_of_something_else_is_refused_before_it_fills_the_ledger(
    topic: str, tmp_path: Path
) -> None:
    put(topic, [(b"%d" % n, b'{"id":1}') for n in range(20)], partition=0)
    with pytest.raises(InvalidInput, match=r"begins with nothing that could be read: no change"):
        capture(topic, url(tmp_path))
    assert events(tmp_path) == []


def test_onto_our_own_topic(kafka_server: KafkaServer, topic: str, tmp_path: Path) -> None:
    bus = kafka_server.url(kafka_server.new_topic(2))
    messages, table = story(3, 60, True)
    put(topic, [*messages, (b"x", b"poison")])
    emitter = {"spool": tmp_path / "spool"}
    for group in ("one", "two"):
        capture(topic, bus, group=group, emitter=emitter)
    found = all_events(bus)
    with open_for_writing(url(tmp_path)) as ledger:
        for some in fetched(bus):
            ledger.append([Message(each.value or b"") for each in some])
    assert rows(tmp_path, "orders") == table
    assert len(found) == len(events(tmp_path))


@pytest.mark.slow
def test_killed_between_any_two_steps(kafka_server: KafkaServer, tmp_path: Path) -> None:
    topic = kafka_server.url(kafka_server.new_topic(2))
    messages, table = story(5, 100, True)
    put(topic, messages)
    open_for_writing(url(tmp_path)).close()
    points = [*POINTS, *random.sample(POINTS, len(POINTS))]
    spec = {"topics": topic, "bus": url(tmp_path), "points": points}
    command = [sys.executable, "-m", "tests.capture.debezium.victims"]
    spec["spool"] = str(tmp_path / "audit-spool")
    done = subprocess.run(
        [*command, json.dumps(spec)], capture_output=True, text=True, timeout=480, check=False
    )
    assert done.returncode == 0, done.stderr
    capture(topic, url(tmp_path))
    assert rows(tmp_path, "orders") == table
    names = [event.event_id for event in events(tmp_path)]
    assert len(set(names)) == len(names) == len([m for m in messages if m[1] is not None])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"it did not come to that within {LIMIT_S} s"
        time.sleep(0.02)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_group_goes_on_as_messages_come(topic: str, tmp_path: Path, client: str) -> None:
    messages, table = story(11, 80, False)
    put(topic, messages[:50])
    running = DebeziumCapture(f"{topic}?client={client}", Settings(url(tmp_path)))
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        until(lambda: sum(running.counts.values()) == 50)
        put(topic, messages[50:])
        until(lambda: sum(running.counts.values()) == len(messages))
    finally:
        running.stop()
        thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert rows(tmp_path, "orders") == table
    put(topic, [change("c", {"id": 50, "n": 1}, 500)])
    assert capture(topic, url(tmp_path)).counts == {"create": 1}


def test_a_ledger_that_was_made_anew_gets_the_topic_from_its_beginning(
    topic: str, tmp_path: Path
) -> None:
    put(topic, [change("c", {"id": n}, n) for n in range(20)])
    capture(topic, url(tmp_path))
    (tmp_path / "audit.db").unlink()
    for rest in tmp_path.glob("audit.db-*"):
        rest.unlink()
    assert capture(topic, url(tmp_path)).counts["create"] == 20
    other = tmp_path / "other"
    other.mkdir()
    put(topic, [change("c", {"id": 30}, 30)])
    capture(topic, url(other), group="mine")
    with pytest.raises(InvalidInput, match=r"group mine reads .*\n.*--group"):
        capture(topic, url(tmp_path), group="mine")


def test_what_expired_unread_is_a_gap(kafka_server: KafkaServer, tmp_path: Path) -> None:
    from kafka import KafkaAdminClient, TopicPartition

    name = kafka_server.new_topic()
    topic = kafka_server.url(name)
    put(topic, [change("c", {"id": n}, n) for n in range(4)])
    capture(topic, url(tmp_path))
    put(topic, [change("c", {"id": n}, n) for n in range(4, 9)])
    admin = KafkaAdminClient(bootstrap_servers=kafka_server.bootstrap)
    admin.delete_records({TopicPartition(name, 0): 7})
    admin.close()
    found = capture(topic, url(tmp_path))
    assert (found.counts["expired"], found.counts["create"]) == (3, 2)
    [gap] = [event for event in events(tmp_path) if event.type == "capture.gap"]
    said = decode_payload(gap, SchemaBook.with_builtins())
    assert isinstance(said, dict)
    assert (said["first"], said["stop"]) == (4, 7)


def test_outages_are_waited_out_and_with_once_raised(
    topic: str, tmp_path: Path, registry_server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(topic, [(text({"id": 1}), b"\0\0\0\0\x01x"), change("c", {"id": 2}, 2)], partition=0)
    away = "http://127.0.0.1:1"
    with pytest.raises(Unavailable, match="registry"):
        capture(topic, url(tmp_path), registry=away)
    assert events(tmp_path) == []  # what was before it in the topic waits, too: it has its order
    monkeypatch.setattr(patient, "LONGEST_RETRY_S", 0.1)
    running = DebeziumCapture(topic, Settings(url(tmp_path), registry=away))
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        until(lambda: running.outage is not None)
    finally:
        running.stop()
        thread.join(LIMIT_S)
    assert running.outages == 1
    with pytest.raises(NotFound):
        capture("kafka://" + topic.split("/")[2] + "/no-such-topic", url(tmp_path))


@pytest.mark.slow
def test_brokers_that_are_killed_and_come_back(
    private_kafka: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient, "LONGEST_RETRY_S", 0.3)
    topic, bus = (private_kafka.url(private_kafka.new_topic(2)) for _ in range(2))
    messages, table = story(13, 90, True)
    put(topic, messages[:40])
    settings = Settings(bus, emitter={"spool": tmp_path / "spool"}, batch=5)
    running = DebeziumCapture(topic, settings)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        until(lambda: sum(running.counts.values()) >= 5)
        private_kafka.kill()
        time.sleep(1.5)
        private_kafka.start()
        put(topic, messages[40:])
        until(lambda: sum(running.counts.values()) >= len(messages))
    finally:
        running.stop()
        thread.join(LIMIT_S)
    assert not thread.is_alive()
    with open_for_writing(url(tmp_path)) as ledger:
        for some in fetched(bus):
            ledger.append([Message(each.value or b"") for each in some])
    assert rows(tmp_path, "orders") == table


def test_addresses() -> None:
    one, two = topic_addresses("kafka://a:1,b/x,y?client=confluent")
    assert (one.topic, two.topic, one.servers, two.client) == (
        *("x", "y"), ("a:1", "b:9092"), "confluent",
    )  # fmt: skip
    for bad in ("kafka://a", "kafka://a/", "kafka://a/x,,y", "kafka://a/x,x", "http://a/x", "x"):
        with pytest.raises(InvalidInput):
            topic_addresses(bad)
    with pytest.raises(InvalidInput):
        DebeziumCapture("kafka://a/x", Settings("sqlite:///x.db", source="audit"))


def test_the_command(topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.cli.conftest import run

    monkeypatch.chdir(tmp_path)
    put(topic, [change("c", {"id": n}, n) for n in range(3)])
    store = ("--store", url(tmp_path))
    ran = run("capture", "debezium", topic, "--once", *store)
    assert ran.out == "3 create\n"
    assert run("capture", "debezium", topic, "--once", "--to", url(tmp_path)).out == "nothing new\n"
    put(topic, [(b"1", b"poison"), (b"1", None), change("d", {"id": 1}, 9)])
    ran = run("capture", "debezium", topic, "--once", "--json", *store, code=1)
    told = {name: count for name, count in ran.json.items() if count}
    assert told == {"delete": 1, "tombstone": 1, "set_aside": 1}
    assert "not JSON" in run("log", "type:capture.gap", "--format", "jsonl", *store).out
    run("capture", "debezium", "nowhere", code=2)

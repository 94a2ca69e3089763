"""Consumers as the processes they are: sharing partitions, ending cleanly, showing their health."""

import signal
import sqlite3
import threading
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Self

import pytest
from kafka import KafkaAdminClient

from audit.kafka.address import parse_address
from audit.kafka.clients import open_consumer
from consumers.service import run
from consumers.settings import Settings
from tests.consumers.processes import PATIENCE_S, Consumer, ending, free_port, metrics, wait_until
from tests.consumers.support import an_event, consume, control, sealed, send, sizes
from tests.services.kafka import KafkaServer


@pytest.fixture
def store(ledger_dir: Path) -> str:
    return f"sqlite:///{ledger_dir}/audit.db"


def counted(port: int, name: str) -> float:
    try:
        return metrics(port).get(f"attestory_{name}", 0.0)
    except OSError:
        return -1.0  # it does not listen yet, or is held up


def probe(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def ids(store: str, log: int) -> list[int]:
    """The offsets that have an entry, in order of their index."""
    return [entry.source.offset for entry in sealed(store, log) if entry.source is not None]


@pytest.mark.slow
def test_two_members_share_and_take_over(
    kafka_server: KafkaServer, ledger_dir: Path, store: str
) -> None:
    bus = kafka_server.url(kafka_server.new_topic(4))
    ports = free_port(), free_port()

    def start(number: int) -> Consumer:
        health = f"127.0.0.1:{ports[number]}"
        return Consumer(
            ledger_dir, bus, store, "--health", health, "--json-logs", name=f"c{number}"
        )

    def say(first: int) -> None:
        for partition in range(4):
            send(bus, [an_event(n) for n in range(first, first + 50)], partition=partition)

    first = start(0)
    with ending(first):
        wait_until("it reads all", lambda: counted(ports[0], "opened_partitions") == 4)
        wait_until("it is ready", lambda: probe(ports[0], "/readyz") == (200, "ok\n"))
        second = start(1)
        with ending(second):
            say(0)
            wait_until("they share", lambda: counted(ports[1], "opened_partitions") == 2)
            wait_until("they share", lambda: counted(ports[0], "opened_partitions") == 2)
            say(50)
            wait_until("all is sealed", lambda: sum(map(len, all_ids(store, 4))) == 400)
            assert first.stop() == 0, first.said
            say(100)
            wait_until("one takes over", lambda: counted(ports[1], "opened_partitions") == 4)
            wait_until("all is sealed", lambda: sum(map(len, all_ids(store, 4))) == 600)
            assert second.stop() == 0, second.said
    assert all_ids(store, 4) == [list(range(150))] * 4
    assert "partitions given back" in first.said
    assert '"level": "error"' not in first.said + second.said


def all_ids(store: str, count: int) -> list[list[int]]:
    return [ids(store, log) for log in range(1, count + 1)]


def test_sigterm_seals_what_is_in_hand(
    kafka_server: KafkaServer, ledger_dir: Path, store: str
) -> None:
    bus = kafka_server.url(kafka_server.new_topic())
    port = free_port()
    options = ("--health", f"127.0.0.1:{port}", "--linger", "60000")
    consumer = Consumer(ledger_dir, bus, store, *options, patient=True)
    with ending(consumer):
        wait_until("it reads", lambda: counted(port, "opened_partitions") == 1)
        send(bus, [an_event(n) for n in range(5)])
        wait_until("it has them", lambda: counted(port, "waiting_messages") == 5)
        assert ids(store, 1) == []
        assert consumer.stop() == 0, consumer.said
    assert ids(store, 1) == list(range(5))
    assert control(store, 0, "ledger.heads")[-1]["heads"][0][1] == sizes(store)[1]  # type: ignore[index]
    assert "ended messages=5 sealed=5" in consumer.said
    with closing(open_consumer(parse_address(bus), group_of(store))) as reader:
        committed = reader.committed(0)
    assert committed is not None and committed.offset == 5


def group_of(store: str) -> str:
    from audit.store import open_reader

    with open_reader(store) as reader:
        return f"attestory.{reader.logs()[0].origin}"


def test_a_second_signal_ends_it_at_once(
    kafka_server: KafkaServer, ledger_dir: Path, store: str
) -> None:
    bus = kafka_server.url(kafka_server.new_topic())
    port = free_port()
    options = ("--health", f"127.0.0.1:{port}", "--session-timeout", "2")
    # The first signal has it wait for the store for longer than this test lasts.
    consumer = Consumer(ledger_dir, bus, store, *options, patient=True)
    path = store.removeprefix("sqlite:///")
    with ending(consumer), closing(sqlite3.connect(path, isolation_level=None)) as other:
        wait_until("it reads", lambda: counted(port, "opened_partitions") == 1)
        other.execute("BEGIN IMMEDIATE")
        send(bus, [an_event(1)])
        wait_until("it has it", lambda: counted(port, "waiting_messages") == 1)
        consumer.popen.terminate()
        wait_until("it is stopping", lambda: "stopping" in probe(port, "/readyz")[1])
        consumer.popen.terminate()
        assert consumer.ended() == -signal.SIGTERM
    assert consume(bus, store) == 0
    assert ids(store, 1) == [0]


class InProcess:
    """A consumer on a thread of this process."""

    def __init__(self, settings: Settings) -> None:
        self.stop = threading.Event()
        self.result: list[object] = []
        self._thread = threading.Thread(target=self._run, args=(settings,))
        self._thread.start()

    def _run(self, settings: Settings) -> None:
        try:
            self.result.append(run(settings, self.stop))
        except BaseException as error:
            self.result.append(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(PATIENCE_S)

    def ended(self) -> object:
        """What came of it."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.result[0]


def test_a_topic_that_grows_meanwhile_ends_it(kafka_server: KafkaServer, store: str) -> None:
    topic = kafka_server.new_topic()
    bus = kafka_server.url(topic)
    send(bus, [an_event(1)])

    with InProcess(Settings(bus=bus, store=store, heads_every_s=1)) as consumer:
        wait_until("it reads", lambda: sizes_of(store).get(1, 0) > 4)
        with closing(KafkaAdminClient(bootstrap_servers=kafka_server.bootstrap)) as admin:
            admin.create_partitions({topic: 2})
        assert "--accept-partitions 2" in str(consumer.ended())
    assert ids(store, 1) == [0]


def sizes_of(store: str) -> dict[int, int]:
    from audit.errors import AuditError

    try:
        return sizes(store)
    except AuditError:
        return {}  # it is being made


def test_heads_are_written_now_and_then(kafka_server: KafkaServer, store: str) -> None:
    bus = kafka_server.url(kafka_server.new_topic())

    with InProcess(Settings(bus=bus, store=store, heads_every_s=1)) as consumer:
        for number in range(2):
            send(bus, [an_event(number)])
            wait_until("heads say so", lambda size=5 + number: head_of(store) >= size)
        consumer.stop.set()
        assert consumer.ended() == 0


def head_of(store: str) -> int:
    """The size of log 1 in the newest heads."""
    if 1 not in sizes_of(store):
        return 0
    said = control(store, 0, "ledger.heads")
    return said[-1]["heads"][0][1] if said else 0  # type: ignore[index, no-any-return]

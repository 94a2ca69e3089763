"""A topic into a ledger: one consumer process, beside the same client that does less.

Beside it run (a) the same client only polling and (b) the same client copying the raw messages into
a table without indexes. Broker and database are on the same machine and take their share of it.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from audit.event.envelope import decode_event
from audit.event.signing import sign_event
from audit.kafka.address import parse_address
from audit.kafka.clients import open_producer
from audit.kafka.topics import entity_partition_key, partition_of
from audit.log.intake import Message
from audit.store import open_reader
from audit.tlog.keys import Ed25519Signer
from tests.benchmarks.common import Result, cases, make_messages, rate
from tests.services import kafka, postgres
from tests.services.kafka import KafkaServer
from tests.services.postgres import PostgresServer
from tests.services.process import Unobtainable

PARTITIONS = 4
CLIENTS = ("kafka-python", "confluent")
CHILD = "tests.benchmarks.pipeline_child"
SIGNED_SHARE = 10
"""Checking signatures is so slow that a tenth of the messages says enough."""
PRODUCER = Ed25519Signer.from_seed("bench", bytes([9]) * 32)
LATENCY_RATE = 5_000
LATENCY_S = 10
LOOK_S = 0.004
LEAST_FOR_LATENCY = 10_000
"""A run of fewer events than this is only to see that the benchmark runs: with one client."""


@contextmanager
def services() -> Iterator[tuple[KafkaServer, PostgresServer]]:
    """Both servers, for this benchmark alone."""
    broker = kafka.obtain(private=True)
    try:
        database = postgres.obtain(durable=True)
        try:
            yield broker, database
        finally:
            database.close()
    finally:
        broker.close()


def run(count: int = 300_000) -> list[Result]:
    """Rates of both clients into both stores, the cost of checking, the latency."""
    try:
        with services() as (broker, database), tempfile.TemporaryDirectory() as folder:
            return _run(broker, database, Path(folder), count)
    except Unobtainable as error:
        return [Result(f"pipeline: not measured, {error}", "0", "", "")]


def _run(broker: KafkaServer, database: PostgresServer, folder: Path, count: int) -> list[Result]:
    bus = broker.url(broker.new_topic(partitions=PARTITIONS))
    messages = make_messages(count)
    total = produce(bus, messages)
    signed = broker.url(broker.new_topic(partitions=PARTITIONS))
    some = [
        Message(event, sign_event(event, PRODUCER))
        for event, *_ in messages[: max(count // SIGNED_SHARE, 2)]
    ]
    total_signed = produce(signed, some)
    found = []
    for client in CLIENTS if count >= LEAST_FOR_LATENCY else CLIENTS[1:]:
        place = f"{bus}?client={client}"
        polled = child(folder, "poll", place, "", total)
        copied = child(folder, "raw", place, database.new_database(), total)
        places = (
            ("PostgreSQL", database.new_database()),
            ("SQLite", f"sqlite:///{folder / client}.db"),
        )
        for name, store in cases(places):
            ours = child(folder, "consume", place, store, total)
            found.append(_line(f"consume into {name}, {client}", ours, copied))
        found.append(_line(f"poll alone, {client}", polled, copied))
        policy = folder / "audit.policy"
        store = database.new_database()
        environment = {"AUDIT_POLICY": str(folder / f"{client}.policy")}
        _init(folder, store, **environment)
        policy = folder / f"{client}.policy"
        with policy.open("a") as file:
            file.write(f"producer bench {PRODUCER.verifier.vkey}\n")
        place = f"{signed}?client={client}"
        ours = child(folder, "consume", place, store, total_signed, "require", **environment)
        found.append(_line(f"the same with signatures required, {client}", ours, copied))
    if count >= LEAST_FOR_LATENCY:
        found.append(_latency(broker, database, folder))
    return found


def _line(name: str, ours: dict[str, float], bare: dict[str, float]) -> Result:
    def per_message(figures: dict[str, float]) -> float:
        return figures["seconds"] / figures["messages"]

    figure = rate(int(ours["messages"]), ours["seconds"])
    cpu_us = ours["cpu"] / ours["messages"] * 1e6
    return Result(
        name,
        f"{figure}, {cpu_us:.1f} us of its processor, {ours['rss_mib']:.0f} MiB",
        rate(int(bare["messages"]), bare["seconds"]),
        f"{per_message(bare) / per_message(ours):.2f}",
    )


def produce(bus: str, messages: Sequence[Message]) -> int:
    """Send events as an emitter would; how many messages that makes."""
    address = parse_address(f"{bus}?client=confluent")
    producer = open_producer(address)
    sent = 0
    for message in messages:
        event = decode_event(message.event)
        places = (
            range(PARTITIONS)
            if event.type == "schema"
            else [partition_of(entity_partition_key(event), PARTITIONS)]
        )
        for place in places:
            key = entity_partition_key(event)
            producer.send(address.topic, place, key, message.event, message.signature)
            sent += 1
    producer.flush(120)
    producer.close()
    return sent


def child(
    folder: Path, mode: str, bus: str, store: str, count: int, *options: str, **environment: str
) -> dict[str, float]:
    """Run one process of `pipeline_child` to its end; its figures."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", CHILD, mode, bus, store, str(count), *options],
        cwd=folder,
        env=_environment(**environment),
        stdout=subprocess.PIPE,
        check=True,
        timeout=1_800,
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _environment(**more: str) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root, **more}


def _init(folder: Path, store: str, **environment: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "audit", "init", "--store", store],
        cwd=folder,
        env=_environment(**environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )


def _latency(broker: KafkaServer, database: PostgresServer, folder: Path) -> Result:
    """From the call of `emit` to the moment another process sees the checkpoint over its entry."""
    bus, store = broker.url(broker.new_topic(partitions=PARTITIONS)), database.new_database()
    count = LATENCY_RATE * LATENCY_S
    consumer = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "consumers", "--bus", bus, "--store", store],
        cwd=folder,
        env=_environment(),
        stderr=subprocess.DEVNULL,
    )
    emitter = Path(__file__).with_name("steady_emitter.py")
    seen: list[tuple[float, dict[int, int]]] = []
    done = threading.Event()
    watcher = threading.Thread(target=_look, args=(store, seen, done))
    try:
        time.sleep(4)
        watcher.start()
        subprocess.run(
            [sys.executable, "-W", "ignore", str(emitter), bus, str(LATENCY_RATE), str(count)],
            cwd=folder,
            env=_environment(AUDIT_SPOOL=str(folder / "spool")),
            check=True,
        )
        time.sleep(1.5)
    finally:
        done.set()
        watcher.join()
        consumer.terminate()
        consumer.wait(30)
    late = sorted(_delays(store, seen))
    middle, p99 = late[len(late) // 2], late[len(late) * 99 // 100]
    return Result(
        f"emit to checkpoint at {LATENCY_RATE:,} events/s, kafka-python, {len(late):,} events",
        f"median {middle * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms",
        "",
        "",
    )


def _look(store: str, seen: list[tuple[float, dict[int, int]]], done: threading.Event) -> None:
    """Note when each log's newest checkpoint had which size."""
    from sqlalchemy import func, select

    from audit.store import tables

    columns = tables.checkpoints.c
    query = select(columns.log, func.max(columns.size)).group_by(columns.log)
    while not done.is_set():
        try:
            with open_reader(store) as reader:
                while not done.wait(LOOK_S):
                    sizes = dict(reader._rows(query))  # type: ignore[arg-type,var-annotated]
                    seen.append((time.time(), sizes))
        except Exception:
            done.wait(0.2)  # the consumer has not made the ledger yet


def _delays(store: str, seen: list[tuple[float, dict[int, int]]]) -> Iterator[float]:
    """Seconds from the claimed valid time, the moment of `emit`, to the first look that covers."""
    from audit.log.record import read_record

    with open_reader(store) as reader:
        for info in reader.logs()[1:]:
            at = 0
            for index, leaf in reader.leaves(info.log):
                event = read_record(info.log, leaf).event
                if event is None or event.valid_time_us is None:
                    continue
                while at < len(seen) and seen[at][1].get(info.log, 0) <= index:
                    at += 1
                if at < len(seen):
                    yield seen[at][0] - event.valid_time_us / 1e6

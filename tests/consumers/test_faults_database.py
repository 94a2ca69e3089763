"""The store is away, slow, full, or its clock is wrong; events wait in the topic meanwhile."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest

from audit.capture.emitter import Emitter
from audit.errors import Unavailable
from audit.store import open_reader
from audit.store.postgresql import parse_address
from consumers import service
from tests.consumers.faults import (
    Feed,
    Flow,
    Member,
    Place,
    lines,
    sleep,
)
from tests.consumers.processes import wait_until
from tests.consumers.rederive import check
from tests.services.kafka import KafkaServer
from tests.services.postgres import PostgresServer

POLLS_WITHIN_S = 6
"""What a consumer has to keep while its store does not answer: it may not take as long as a busy
machine holds it up."""
DAY_NS = 86_400_000_000_000


class Administrator:
    """Somebody with rights on the database, and a connection of his own."""

    def __init__(self, server: PostgresServer, place: Place) -> None:
        """`place` is in a database of the server."""
        self.schema = parse_address(place.store).schema
        self.connection = psycopg.connect(
            server.superuser_url(place.store), autocommit=True, application_name="a test"
        )

    def terminate(self, condition: str) -> int:
        """End the sessions of ledgers that do this; how many there were."""
        query = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE application_name = %s AND {condition}"
        )
        return len(self.connection.execute(query.encode(), [self.schema]).fetchall())

    @contextmanager
    def locked(self, statement: str) -> Iterator[None]:
        """Hold a lock while the block lasts."""
        with self.connection.transaction():
            self.connection.execute(statement.replace("SCHEMA", self.schema).encode())
            yield


@contextmanager
def administrator(server: PostgresServer, place: Place) -> Iterator[Administrator]:
    one = Administrator(server, place)
    # The ledger's own sessions bear the schema's name, to be told from those of other tests.
    place.store += f"&application_name={one.schema}"
    with closing(one.connection):
        yield one


def test_sessions_are_ended_before_and_within_a_transaction(
    kafka_server: KafkaServer, postgres_server: PostgresServer, ledger_dir: Path
) -> None:
    place = Place.new(kafka_server, ledger_dir, store=postgres_server.new_database())
    with (
        administrator(postgres_server, place) as admin,
        administrator(postgres_server, place) as other,
        Feed(place) as feed,
        lines() as said,
        Member(place),
    ):
        feed.say(10)
        feed.flush()
        place.wait_sealed()
        # While nothing is under way.
        assert admin.terminate("state = 'idle'") >= 1
        feed.say(10)
        feed.flush()
        place.wait_sealed()
        assert "the store does not answer" not in said.text
        # In the middle of the copy, and before the first statement that locks.
        for lock, statement in (
            ("LOCK TABLE SCHEMA.entries IN SHARE MODE", "COPY %%"),
            ("SELECT FROM SCHEMA.leases FOR UPDATE", "SELECT %%FOR UPDATE"),
        ):
            doing = f"query LIKE '{statement}' AND wait_event_type = 'Lock'"
            with admin.locked(lock):
                feed.say(300)
                feed.flush()
                wait_until("it waits there", partial(other.terminate, doing))
            feed.say(10)
            feed.flush()
            place.wait_sealed()
        assert said.count("the store does not answer; what was read is kept") >= 1
        assert said.count("the store answers again") >= 1
    check(place)


@pytest.mark.slow
def test_the_database_restarts_and_dies(
    kafka_server: KafkaServer, private_postgres: PostgresServer, ledger_dir: Path
) -> None:
    place = Place.new(kafka_server, ledger_dir, partitions=2, store=private_postgres.new_database())
    member = Member(place, session_timeout_s=POLLS_WITHIN_S)
    with Feed(place) as feed, lines() as said, member:
        wait_until("it reads", lambda: said.count("reading") == 2)
        with Flow(feed):
            private_postgres.stop()
            sleep(POLLS_WITHIN_S + 0.5)  # the group must not miss the consumer meanwhile
            private_postgres.start()
            before = place.positions()
            wait_until("it goes on", lambda: place.positions() != before)
            private_postgres.kill()
            private_postgres.start()
        feed.flush()
        place.wait_sealed()
        assert "partitions lost" not in said.text
        assert said.count("the store answers again") == 2
    check(place)


def test_a_slow_database_costs_no_partition(
    kafka_server: KafkaServer,
    postgres_server: PostgresServer,
    ledger_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Whoever does not poll for so long is thrown out of the group.
    impatient = partial(service.open_consumer, max_poll_interval_s=POLLS_WITHIN_S)
    monkeypatch.setattr(service, "open_consumer", impatient)
    place = Place.new(kafka_server, ledger_dir, store=postgres_server.new_database())
    with (
        administrator(postgres_server, place) as admin,
        Feed(place) as feed,
        lines() as said,
        Member(place, session_timeout_s=POLLS_WITHIN_S),
        Member(place, session_timeout_s=POLLS_WITHIN_S),
    ):
        wait_until("one of them reads", lambda: "reading" in said.text)
        with admin.locked("SELECT FROM SCHEMA.leases FOR UPDATE"), Flow(feed):
            sleep(1.5 * POLLS_WITHIN_S)
        feed.flush()
        place.wait_sealed()
        assert said.count("reading") == 1
        assert "partitions lost" not in said.text
    check(place)


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of one megabyte on this folder."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    command = [mount, "-t", "tmpfs", "-o", "size=1m", "attestory-test", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Leave no byte on the disk."""
    with path.open("ab", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue


def test_a_full_disk_under_store_and_spool(kafka_server: KafkaServer, ledger_dir: Path) -> None:
    disk = ledger_dir / "disk"
    disk.mkdir()
    filler = disk / "filler"
    with small_disk(disk):
        place = Place.new(kafka_server, ledger_dir, store=f"sqlite:///{disk}/audit.db")
        place.folder = disk  # the spool, too
        with Feed(place) as feed, lines() as said:
            with Member(place):
                feed.say(50)
                feed.flush()
                place.wait_sealed()
                fill(filler)
                # What `emit` took goes through; what it refused was never said.
                with pytest.raises(Unavailable, match="No space left"):
                    feed.say(5_000, "x" * 200)
                wait_until(
                    "the store is full, too", lambda: "the disk is full; nothing" in said.text
                )
                filler.unlink()
                feed.say(50)
                feed.flush()
                place.wait_sealed()
            assert "the store answers again" in said.text
        check(place)


def test_a_reader_costs_the_writer_of_its_process_no_lock(ledger_dir: Path) -> None:
    # POSIX drops all locks of a process on a file when any descriptor of it is closed; without its
    # own, the write-ahead log is removed under a writer by the next process that ends.
    store = f"sqlite:///{ledger_dir}/audit.db"
    with Emitter(store) as emit:
        emit.create("user", 1, {})
        emit.flush()
        with open_reader(store) as reader:
            before = reader.size(0)
        other = "import sys; from audit.store import open_store; open_store(sys.argv[1]).size(0)"
        subprocess.run([sys.executable, "-c", other, store], check=True)
        emit.create("user", 2, {})
        emit.flush()
    with open_reader(store) as reader:
        assert reader.size(0) == before + 1


def test_the_clock_jumps_back_a_day(
    kafka_server: KafkaServer, ledger_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The clock of everything in this process: emitter, Kafka's client, consumer, store.
    late_ns = [0]
    time_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: time_ns() - late_ns[0])
    monkeypatch.setattr(time, "time", lambda: (time_ns() - late_ns[0]) / 1e9)
    place = Place.new(kafka_server, ledger_dir)
    with Feed(place) as feed:
        with Member(place, heads_every_s=1):
            for late_ns[0] in (0, DAY_NS):
                feed.say(100)
                feed.flush()
                place.wait_sealed()
        feed.say(100)
        feed.flush()
        with Member(place):  # one that starts with the wrong clock
            place.wait_sealed()
    for entries in check(place).values():
        times = [entry.recorded_time_us for entry in entries]
        assert times == sorted(set(times))
        assert times[-1] - times[0] < DAY_NS // 1_000

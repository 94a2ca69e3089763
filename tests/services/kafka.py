"""A real Kafka broker for tests: one given, one in Docker, or one from Maven's jars."""

import contextlib
import itertools
import os
import secrets
import shutil
import signal
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.services import containers, folders
from tests.services.cache import HERE, cached, maven_copy, version_of
from tests.services.java import QUICK_START, QUIET_ARCHIVE, archive_name, find_java
from tests.services.process import Process, Unobtainable, free_ports, tail

GIVEN = "AUDIT_TEST_KAFKA"
POM = "kafka-pom.xml"
JAVA_MINIMUM = 17
START_LIMIT_S = 180.0

SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "inter.broker.listener.name": "PLAINTEXT",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # A topic that nobody created is a mistake of the test.
    "auto.create.topics.enable": "false",
    # One node holds everything, in few partitions, because each costs time on first use.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Members may vanish and come back quickly.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "200",
    "group.consumer.heartbeat.interval.ms": "1000",
    # Deleting and compacting start soon, for tests that wait for them.
    "log.initial.task.delay.ms": "1000",
    "log.retention.check.interval.ms": "1000",
    "log.cleaner.backoff.ms": "1000",
    # The default buffer alone is 128 MiB.
    "log.cleaner.threads": "1",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "num.network.threads": "2",
    "num.io.threads": "4",
}

BREAKABLE = {"broker.session.timeout.ms": "1000", "broker.heartbeat.interval.ms": "100"}
"""For a broker that will be killed: the next start waits until the session of the killed one is
over, 9 seconds by default. Not for the shared one, which a busy machine might hold up that long."""


class Broker(Protocol):
    """One broker, however it is run. `start` returns at once; the others when it is down."""

    description: str
    bootstrap: str

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def alive(self) -> bool: ...
    def log_tail(self) -> str: ...
    def close(self) -> None: ...


class KafkaServer:
    """A broker that tests use, and with `private_kafka` break."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._numbers = itertools.count(1)
        self.start_seconds = 0.0

    @property
    def bootstrap(self) -> str:
        """host:port. The same after every restart."""
        return self._broker.bootstrap

    @property
    def description(self) -> str:
        """Which broker this is, for the report of the test run."""
        return f"{self._broker.description} at {self.bootstrap}, up in {self.start_seconds:.1f} s"

    def url(self, topic: str) -> str:
        return f"kafka://{self.bootstrap}/{topic}"

    def new_topic(self, partitions: int = 1, **config: object) -> str:
        """Create a topic that nobody else uses; `cleanup_policy="compact"` sets cleanup.policy."""
        name = f"t{next(self._numbers)}-{secrets.token_hex(4)}"
        configs = {key.replace("_", "."): str(value) for key, value in config.items()}
        wanted = {"num_partitions": partitions, "replication_factor": 1, "configs": configs}
        with self._admin() as admin:
            admin.create_topics({name: wanted}, wait_for_metadata=True)
        return name

    def start(self) -> None:
        """Start it on the same port with the same data; return when it answers."""
        began = time.monotonic()
        self._broker.start()
        while not self._answers():
            if not self._broker.alive():
                raise RuntimeError(f"Kafka ended while it started:\n{self.log_tail()}")
            if time.monotonic() - began > START_LIMIT_S:
                raise RuntimeError(f"no Kafka after {START_LIMIT_S:.0f} s:\n{self.log_tail()}")
            time.sleep(0.02)
        self.start_seconds = time.monotonic() - began

    def stop(self) -> None:
        """SIGTERM: it leaves in order."""
        self._broker.stop()

    def kill(self) -> None:
        """SIGKILL: it recovers at the next start. What it acknowledged is there again."""
        self._broker.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def log_tail(self) -> str:
        return self._broker.log_tail()

    def close(self) -> None:
        """End it and forget its data."""
        self._broker.close()

    @contextlib.contextmanager
    def _admin(self, limit_ms: int = 60_000) -> Iterator[Any]:
        from kafka import KafkaAdminClient

        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=limit_ms)
        try:
            yield admin
        finally:
            admin.close()

    def _answers(self) -> bool:
        import socket

        from kafka.errors import KafkaError

        host, _, port = self.bootstrap.rpartition(":")
        try:
            socket.create_connection((host, int(port)), 5).close()
            with self._admin(5_000) as admin:
                admin.list_topics()
        except (OSError, KafkaError):
            return False
        # Somebody else on this port would answer as well.
        return self._broker.alive()


class GivenBroker:
    """The broker whose address the environment names: ours to use, not to stop."""

    def __init__(self, address: str) -> None:
        self.bootstrap = address
        self.description = f"Kafka given by {GIVEN}"

    def start(self) -> None: ...
    def close(self) -> None: ...

    def alive(self) -> bool:
        return True

    def stop(self) -> None:
        pytest.skip(f"{GIVEN} names a broker that tests cannot stop")

    kill = stop

    def log_tail(self) -> str:
        return f"(its log is not here: {GIVEN}={self.bootstrap})"


class SharedBroker(GivenBroker):
    """The broker of all workers of this run; see tests.services.shared."""

    def __init__(self, address: str, description: str) -> None:
        self.bootstrap = address
        self.description = description

    def stop(self) -> None:
        raise RuntimeError("all tests share this broker: take private_kafka to stop one")

    kill = stop


class JarBroker:
    """A broker from jars that Maven brought, run by Java in a temporary folder."""

    def __init__(
        self, jars: "Jars", more: Mapping[str, str] | None = None, flags: Sequence[str] = ()
    ) -> None:
        self._jars = jars
        self._flags = flags
        self._process: Process | None = None
        self._folder = folders.new_folder("kafka")
        self._log = self._folder / "kafka.log"
        port, controller_port = free_ports(2)
        self.bootstrap = f"127.0.0.1:{port}"
        self.description = f"Kafka {version_of(POM)} from jars, {jars.java}"
        listener = f"PLAINTEXT://{self.bootstrap}"
        settings = SETTINGS | {
            "listeners": f"{listener},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": listener,
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "log.dirs": str(self._folder / "data"),
            **(more or {}),
        }
        write_settings(self._folder / "server.properties", settings)
        shutil.copytree(jars.folder / "formatted", self._folder / "data")
        meta = self._folder / "data" / "meta.properties"
        own = {"cluster.id": new_kafka_id(), "directory.id": new_kafka_id()}
        meta.write_text("version=1\nnode.id=1\n" + "".join(f"{k}={v}\n" for k, v in own.items()))

    def start(self) -> None:
        if self._process is not None and self._process.alive:
            return
        command = self._jars.broker_command(self._folder / "server.properties", *self._flags)
        self._process = Process(command, self._log, cwd=self._folder)

    def stop(self) -> None:
        if self._process is not None:
            self._process.end(signal.SIGTERM)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    def log_tail(self) -> str:
        return tail(self._log)

    def close(self) -> None:
        self.kill()
        folders.remove(self._folder)


class Jars:
    """Kafka's jars, and two things for a quick start: a formatted folder, an archive of classes."""

    def __init__(self) -> None:
        self.java = find_java(JAVA_MINIMUM)
        self.folder = cached(f"kafka-{version_of(POM)}", self._fill)
        self._archive = self.folder / archive_name(self.java)

    def broker_command(self, settings: Path, *flags: str) -> list[str | Path]:
        if self._archive.exists() and self._archive.stat().st_size:
            flags = (*QUIET_ARCHIVE, f"-XX:SharedArchiveFile={self._archive}", *flags)
        return java_command(self.java, self.folder, *flags, "kafka.Kafka", settings)

    def _fill(self, part: Path) -> None:
        maven_copy(POM, part / "lib")
        settings = SETTINGS | {
            "listeners": "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093",
            "controller.quorum.voters": "1@127.0.0.1:9093",
            "log.dirs": str(part / "formatted"),
        }
        path = part / "format.properties"
        write_settings(path, settings)
        tool = ("kafka.tools.StorageTool", "format", "-t", new_kafka_id(), "-c", path)
        command = java_command(self.java, part, *tool)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"Kafka could not format a folder:\n{done.stdout}{done.stderr}")

    def train(self) -> None:
        """Write the archive of classes that a broker loads: a start takes half as long with it.

        Best effort: without the archive everything works, slower.
        """
        if self._archive.exists():
            return
        part = self._archive.with_name(f".{self._archive.name}.{uuid.uuid4().hex}")
        flags = (*QUIET_ARCHIVE, f"-XX:ArchiveClassesAtExit={part}")
        server = KafkaServer(JarBroker(self, flags=flags))
        try:
            server.start()
            exercise(server)
            server.stop()
            part.touch()  # a Java that cannot write one is not asked again
            part.rename(self._archive)
        finally:
            server.close()
            part.unlink(missing_ok=True)


def exercise(server: KafkaServer) -> None:
    """Write and read through a group, so that the broker loads what that takes."""
    from kafka import KafkaConsumer, KafkaProducer

    topic = server.new_topic()
    producer = KafkaProducer(bootstrap_servers=server.bootstrap)
    producer.send(topic, b"value").get(60)
    producer.close()
    consumer = KafkaConsumer(
        topic, bootstrap_servers=server.bootstrap, group_id=topic, auto_offset_reset="earliest"
    )
    consumer.poll(5_000)
    consumer.commit()
    consumer.close()


def java_command(java: Path, folder: Path, *arguments: str | Path) -> list[str | Path]:
    log4j = f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}"
    return [java, "-Xmx1g", *QUICK_START, log4j, "-cp", f"{folder / 'lib'}/*", *arguments]


def write_settings(path: Path, settings: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))


def new_kafka_id() -> str:
    """A random id as Kafka writes them, in particular without a leading dash."""
    while (text := urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


_jars: list[Jars | Unobtainable] = []
"""What came of looking for jars: looked for once a run, because failing can take minutes."""


def jars() -> Jars:
    if not _jars:
        try:
            found = Jars()
            found.train()
            _jars.append(found)
        except Unobtainable as error:
            _jars.append(error)
    if isinstance(_jars[0], Unobtainable):
        raise _jars[0]
    return _jars[0]


def obtain(*, private: bool = False) -> KafkaServer:
    """A started server of the caller's own, or the given one. Raises Unobtainable."""
    if address := os.environ.get(GIVEN):
        return _started(GivenBroker(address))
    more = BREAKABLE if private else {}
    try:
        return containers.attempt(
            lambda: _started(containers.ContainerBroker(version_of(POM), SETTINGS | more))
        )
    except Unobtainable as error:
        in_docker = error
    try:
        return _started(JarBroker(jars(), more))
    except Unobtainable as error:
        reasons = f"{GIVEN} is not set; Docker: {in_docker}; jars: {error}"
        raise Unobtainable(f"no Kafka: {reasons}") from None


def _started(broker: Broker) -> KafkaServer:
    server = KafkaServer(broker)
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server

"""The broker goes away and comes back, and applications die meanwhile."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from audit.capture import backlogs
from audit.capture.delivery import kafka_sender
from audit.capture.emitter import Emitter
from audit.errors import Unavailable
from audit.kafka.address import CLIENTS
from tests.capture.kafka_support import all_events, logs, names, require_whole
from tests.services.kafka import KafkaServer

PATIENCE_S = 240.0


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUDIT_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "spool"


def wait_until_delivered(*emitters: Emitter) -> None:
    """Flush until it is more than the spool."""
    deadline = time.monotonic() + PATIENCE_S
    for emit in emitters:
        emit.flush()
        while emit.waiting:
            assert time.monotonic() < deadline, f"{emit.waiting} events wait"
            emit.flush()


class Busy:
    """An application that goes on emitting, whatever the broker does."""

    def __init__(self, emit: Emitter) -> None:
        self.emit = emit
        self.count = 0
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.01):
                for _ in range(5):
                    self.emit.update("user", self.count % 50, {"n": self.count})
                    self.count += 1
        except BaseException as error:
            self.error = error

    def reach(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.count < count:
            assert time.monotonic() < deadline and self.error is None, (self.count, self.error)
            time.sleep(0.01)

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        assert self.error is None


def test_the_broker_comes_and_goes(
    private_kafka: KafkaServer, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_sender, "CONNECT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(kafka_sender, "DELIVERY_TIMEOUT_S", 2.0)
    buses = [f"{private_kafka.url(private_kafka.new_topic(3))}?client={c}" for c in CLIENTS]
    closed = f"{private_kafka.url(private_kafka.new_topic())}?client={CLIENTS[1]}"
    fails_closed = Emitter(closed, on_unavailable="raise")
    fails_closed.create("user", "in time", {})
    fails_closed.flush()

    private_kafka.stop()
    emitters = [Emitter(bus) for bus in buses]
    for emit in emitters:
        for number in range(300):
            emit.create("user", number, {})
        emit.flush()
        assert emit.waiting == 300
    fails_closed.create("user", "not known to be away yet", {})
    with pytest.raises(Unavailable, match="1 event waits"):
        fails_closed.flush()
    with pytest.raises(Unavailable, match="not emitted"):
        fails_closed.create("user", "refused", {})
    private_kafka.start()
    wait_until_delivered(*emitters, fails_closed)
    fails_closed.create("user", "again", {})

    busy = [Busy(emit) for emit in emitters]
    for application in busy:
        application.reach(500)
    private_kafka.kill()
    before = [application.count for application in busy]
    for application, count in zip(busy, before, strict=True):
        application.reach(count + 1_000)  # nobody waits for the broker
    private_kafka.start()
    for application in busy:
        application.reach(application.count + 500)
        application.end()
    wait_until_delivered(*emitters)
    fails_closed.close()
    for emit in emitters:
        emit.close()
    assert names(spool) == []
    for bus, application in zip(buses, busy, strict=True):
        events = all_events(bus)
        assert len(events) == 300 + application.count
        require_whole(events)
    keys = [event.entity_key for event in all_events(closed)]
    assert keys == ["in time", "not known to be away yet", "again"]


OFFLINE = """
import audit, os, signal, sys, time
emit = audit.Emitter(sys.argv[1], source="offline")
begin = time.perf_counter()
for number in range(int(sys.argv[2])):
    emit.update("user", number % 1_000, {"n": number, "text": "x" * 100})
took_s = time.perf_counter() - begin
assert emit.waiting == int(sys.argv[2])
print(took_s, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_many_events_while_the_broker_is_away(private_kafka: KafkaServer, spool: Path) -> None:
    count = 25_000
    bus = private_kafka.url(private_kafka.new_topic(4))
    private_kafka.stop()
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, bus, str(count)], capture_output=True, text=True
    )
    assert done.returncode == -9, done.stderr
    left = backlogs(spool)
    assert sum(file.events for file in left) == count
    assert not any(file.alive for file in left)
    private_kafka.start()
    with Emitter(f"{bus}?client=confluent", source="next") as emit:
        emit.flush()
        assert names(spool) == [f"{emit.producer_id}-000000.spool"]
    found = logs(bus)
    events = [event for said in found for event in said.events]
    assert len(events) == count
    require_whole(events)
    for said in found:
        numbers: dict[str | None, int] = {}
        for event in said.events:
            assert event.producer_sequence is not None
            expected = numbers.get(event.entity_key)
            if expected is not None:
                assert event.producer_sequence == expected + 1_000
            numbers[event.entity_key] = event.producer_sequence

"""The emitter on a topic: where each event goes, what goes before it, and nothing is lost."""

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pandas
import pytest

from audit.capture import backlogs
from audit.capture.context import context
from audit.capture.delivery import backlog, kafka_sender, sealer
from audit.capture.delivery.bus import spool_folder
from audit.capture.delivery.kafka_sender import KafkaSender, destination_name
from audit.capture.delivery.spool import encode_first_line, encode_record
from audit.capture.emitter import Emitter
from audit.capture.pipeline.runs import model_run
from audit.errors import InvalidInput, NotFound, Unavailable
from audit.event.build import data_event
from audit.event.envelope import decode_event, encode_event
from audit.event.signing import SignatureCheck, check_event
from audit.kafka.address import CLIENTS, parse_address
from audit.kafka.registry import Registry, RegistryFraming
from audit.tlog.keys import Ed25519Signer
from tests.capture.kafka_support import (
    all_events,
    fetched,
    logs,
    names,
    require_whole,
    undecodable,
)
from tests.capture.support import python, url
from tests.services.kafka import KafkaServer
from tests.services.registry import RegistryServer

AWAY = "kafka://127.0.0.1:1/audit.events"
SCHEMA = {
    "type": "record",
    "name": "Pet",
    "fields": [{"name": "name", "type": "string"}, {"name": "age", "type": "long"}],
}


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is written outside of the test's own folder."""
    monkeypatch.setenv("AUDIT_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "spool"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker counts as being away soon."""
    monkeypatch.setattr(kafka_sender, "CONNECT_TIMEOUT_S", 0.3)


@pytest.fixture(params=CLIENTS)
def bus(request: pytest.FixtureRequest, kafka_server: KafkaServer) -> str:
    """A topic of four partitions through each client."""
    return f"{kafka_server.url(kafka_server.new_topic(4))}?client={request.param}"


@pytest.fixture
def topic(kafka_server: KafkaServer) -> str:
    """The same through one client, where it does not matter which."""
    return kafka_server.url(kafka_server.new_topic(4))


def test_a_story_over_four_partitions(bus: str, spool: Path) -> None:
    signer = Ed25519Signer.from_seed("crm", bytes(range(32)))
    with Emitter(bus, source="crm", key=signer, schemas={"pet": SCHEMA}) as emit:
        ids = [emit.create("user", number, {"n": number}) for number in range(40)]
        ids += [emit.create("pet", number, {"name": "a", "age": number}) for number in range(40)]
        emit.flush()
        assert (emit.waiting, emit.sealed) == (0, 0)
        ids += [emit.update("user", number, {"n": -1}) for number in range(40)]
        ids.append(emit.truncate("pet"))
        ids.append(emit.record("review", {"wrong": True}))
        ids += [emit.create("pet", number, {"name": "b", "age": number}) for number in range(40)]
        ids += [emit.delete("user", number) for number in range(40)]
    assert (emit.waiting, names(spool)) == (0, [])
    events = all_events(bus)
    assert {event.event_id for event in events} == set(ids)
    assert len(events) == len(ids) + 3  # truncate is in each of the four logs
    require_whole(events)
    for said in logs(bus):
        types = [event.type for event in said.events if event.entity_type == "pet"]
        assert types.count("data.truncate") == 1
        assert set(types[: types.index("data.truncate")]) == {"data.create"}
        assert said.repeats == 0
        of_user = [event for event in said.events if event.entity_type == "user"]
        for key in {event.entity_key for event in of_user}:
            story = [event.type for event in of_user if event.entity_key == key]
            assert story == ["data.create", "data.update", "data.delete"]
    for messages in fetched(bus):
        for message in messages:
            assert message.value is not None
            check, _ = check_event(message.value, message.signature, [signer.verifier])
            is_schema = decode_event(message.value).type == "schema"
            unsigned, signed = SignatureCheck.UNSIGNED, SignatureCheck.VALID
            assert check is (unsigned if is_schema else signed)


def test_threads_share_an_emitter(bus: str) -> None:
    with Emitter(bus) as emit:

        def work(name: int) -> None:
            with context(actor=f"thread {name}"):
                for number in range(300):
                    emit.update("user", number % 20, {"thread": name})

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    events = all_events(bus)
    assert len(events) == 1_200
    require_whole(events)


def test_a_forked_child_is_a_producer_of_its_own(bus: str, spool: Path) -> None:
    code = """
import audit, os, sys
emit = audit.Emitter(sys.argv[1])
for number in range(100): emit.create("user", f"before {number}", {})
emit.flush()
for child in range(3):
    for number in range(200): emit.create("user", f"during {child} {number}", {})
    pid = os.fork()
    if not pid:
        for number in range(50): emit.create("user", f"child {child} {number}", {})
        if child == 0: emit.flush(); os._exit(0)
        if child == 1: os._exit(0)
        sys.exit(0)  # with all that Python does at the end of a process
    assert os.waitpid(pid, 0)[1] == 0
for number in range(100): emit.create("user", f"after {number}", {})
emit.close()
print(emit.waiting, emit.delivered)
"""
    done = python(code, bus)
    assert (done.code, done.err) == (0, "")
    assert int(done.out.split()[0]) == 0
    events = all_events(bus)
    assert len(events) == 100 + 3 * 250 + 100
    assert len({event.producer_id for event in events}) == 4
    require_whole(events)
    assert names(spool) == []


def test_the_end_of_a_process_flushes(bus: str, spool: Path) -> None:
    code = (
        "import audit, sys\nemit = audit.Emitter(sys.argv[1])\nemit.flush()\n"
        "for n in range(100): emit.create('user', n, {})"
    )
    done = python(code, bus)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert len(all_events(bus)) == 100
    assert names(spool) == []


KILLED = """
import audit, os, signal, sys
from audit.capture.delivery import backlog
from audit.capture.delivery import sealer
backlog.ROTATE_BYTES = 5_000
backlog.QUEUE_EVENTS = 50
schema = {"type": "record", "name": "P", "fields": [{"name": "n", "type": "long"}]}
emit = audit.Emitter(sys.argv[1], source=sys.argv[2], schemas={"pet": schema})
emit.create("pet", "first", {"n": 0})
emit.flush()
sealer.GROUP_EVENTS = 7
sealer.GROUP_PAUSE_S = 100 if sys.argv[2] == "a" else 0.0
for number in range(1, 400): emit.create("pet", number % 20, {"n": number})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_with_a_full_spool_and_drained_by_the_next(bus: str, spool: Path) -> None:
    for source in ("a", "b"):
        assert python(KILLED, bus, source).code == -9
    assert len(names(spool)) > 2
    with Emitter(bus, source="c") as emit:
        emit.create("pet", 1, {"own": True})
    assert names(spool) == []
    events = all_events(bus)
    for source in ("a", "b"):
        assert sum(event.source == source for event in events) == 400
    require_whole(events)
    # Declared schemas came out of the dead processes' files; nobody here ever declared one.
    assert len({event.payload_schema for event in events}) == 2
    # What ended first goes first, and all of it before what the drainer says itself.
    story = [
        event.source for event in events if (event.entity_type, event.entity_key) == ("pet", "1")
    ]
    assert story == ["a"] * 20 + ["b"] * 20 + ["c"]


def test_a_schema_is_in_each_file_that_needs_it(
    topic: str, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "ROTATE_BYTES", 3_000)
    monkeypatch.setattr(kafka_sender, "CONNECT_TIMEOUT_S", 0.2)
    emit = Emitter(AWAY, schemas={"pet": SCHEMA})
    for number in range(60):
        emit.create("pet", number, {"name": "x" * 20, "age": number})
    emit.close()
    files = sorted(spool.iterdir())
    assert len(files) > 3
    # As if others had drained its neighbours: what is left must do alone.
    data = files[2].read_bytes()
    for path in files:
        path.unlink()
    line = encode_first_line(destination_name(parse_address(topic)))
    (spool / "dead-000000.spool").write_bytes(line + data[data.index(b"\n") + 1 :])
    (file,) = backlogs(spool)
    Emitter(topic).close()
    assert len(all_events(topic)) == file.events > 5


def test_a_spool_that_was_emptied_gets_its_schema_again(topic: str, spool: Path) -> None:
    with Emitter(topic, schemas={"pet": SCHEMA}) as emit:
        for number in range(5):
            emit.create("pet", 1, {"name": "a", "age": number})
            emit.flush()
        assert emit.delivered == 10
        emit.create("user", 1, {})
        emit.flush()
        assert emit.delivered == 11  # built-in schemas need no place in the spool
    (messages,) = [found for found in fetched(topic) if len(found) > 2]
    types = [decode_event(message.value or b"").type for message in messages]
    assert types.count("schema") == 1


def test_poison_in_a_spool_goes_to_the_quarantine_of_the_first_log(topic: str, spool: Path) -> None:
    built = data_event("create", "user", 1, event_id="good", source="app", after={"a": 1})
    good = encode_event(built.event)
    false_schema = data_event("create", "user", 1, event_id="x", source="a", after={}).event
    false = encode_event(false_schema._replace(type="schema", entity_type=None, entity_key=None))
    spool.mkdir()
    name = destination_name(parse_address(topic))
    (spool / "dead-000000.spool").write_bytes(
        encode_first_line(name)
        + encode_record(0, b"junk", None)
        + encode_record(None, false, None)
        + encode_record(1, good, None)
    )
    Emitter(topic).close()
    assert undecodable(topic) == [(0, b"junk")]
    values = [message.value for found in fetched(topic) for message in found]
    assert len(values) == 4 and false in values and good in values
    assert names(spool) == []


def test_with_a_registry_events_are_framed_and_signed_as_before(
    kafka_server: KafkaServer, registry_server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_REGISTRY", registry_server.url)
    signer = Ed25519Signer.from_seed("crm", bytes(range(32)))
    topic = kafka_server.url(kafka_server.new_topic(2))
    with Emitter(topic, key=signer, schemas={"pet": SCHEMA}) as emit:
        ids = [emit.create("pet", number, {"name": "a", "age": number}) for number in range(20)]
    framing = RegistryFraming(Registry(registry_server.url), parse_address(topic).topic)
    found = []
    for messages in fetched(topic):
        for message in messages:
            assert message.value is not None and message.value[:1] == b"\x00"
            data = framing.decode(message.value)
            event = decode_event(data)
            if event.type != "schema":
                check, _ = check_event(data, message.signature, [signer.verifier])
                assert check is SignatureCheck.VALID
                found.append(event.event_id)
    assert sorted(found) == sorted(ids)


def test_a_registry_that_is_away_means_waiting(
    topic: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Emitter(topic + "?registry=http://127.0.0.1:1") as emit:
        emit.create("user", 1, {})
        emit.flush()
        assert emit.waiting == 1
    assert any("registry" in record.getMessage() for record in caplog.records)
    Emitter(topic).close()
    assert len(all_events(topic)) == 1


@pytest.mark.parametrize("client", CLIENTS)
def test_while_the_broker_is_away(
    client: str,
    spool: Path,
    quick: None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", noted)
    bus = f"{AWAY}?client={client}"
    with Emitter(bus, durable=True) as durable:
        for number in range(50):
            durable.create("user", number, {})
        assert durable.waiting == 50
    with Emitter(bus) as emit:
        for number in range(50):
            emit.create("user", number, {})
        caplog.clear()
        synced.clear()
        emit.flush()
        (file,) = [path for path in spool.iterdir() if path.name.startswith(emit.producer_id)]
        assert synced == [str(spool), str(file)]
        (line,) = [r.getMessage() for r in caplog.records if r.name == "audit.capture"]
        assert line.endswith(f"50 events wait in {file}; they go when it is back")
        assert "\n" not in line
        emit.create("user", 50, {})
        caplog.clear()
    (line,) = [r.getMessage() for r in caplog.records if "51 events wait" in r.getMessage()]
    assert line.endswith(".spool; the next writer sends what waits there")
    assert (emit.waiting, emit.delivered, len(names(spool))) == (51, 0, 2)
    assert all(record.levelno >= logging.WARNING for record in caplog.records)


@pytest.mark.parametrize("client", CLIENTS)
def test_who_must_fail_closed_is_refused_at_once(client: str, spool: Path, quick: None) -> None:
    with pytest.raises(Unavailable, match="no Kafka broker answers"):
        Emitter(f"{AWAY}?client={client}", on_unavailable="raise")
    assert names(spool) == []


def test_a_topic_that_is_not_there(
    kafka_server: KafkaServer, caplog: pytest.LogCaptureFixture
) -> None:
    missing = kafka_server.url("no-such-topic")
    with pytest.raises(NotFound, match="has no topic no-such-topic"):
        Emitter(missing, on_unavailable="raise")
    with Emitter(missing) as emit:
        emit.create("user", 1, {})
        emit.flush()
        assert emit.waiting == 1
    assert "has no topic no-such-topic" in caplog.text and "1 event waits" in caplog.text


def test_a_full_disk_under_the_spool_is_raised(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Emitter(AWAY) as emit:
        emit.create("user", 1, {})
        monkeypatch.setattr(backlog, "MAX_SPOOL_BYTES", 100)
        with pytest.raises(Unavailable, match=r"is full(.|\n)*127.0.0.1:1/audit.events"):
            emit.create("user", 2, {})
        assert emit.waiting == 1


def test_what_needs_the_rows_now_needs_a_ledger(
    tmp_path: Path, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Emitter(url(tmp_path)) as ledger:
        ledger.create("user", 1, {"n": 1})
        ledger.create("user", 2, {"n": 2})
    frame = pandas.DataFrame({"id": [1, 3], "n": [5, 6]})
    with Emitter(topic) as emit, pytest.raises(InvalidInput, match="AUDIT_STORE"):
        emit.frame("user", frame, key="id")
    with Emitter(topic, store=url(tmp_path)) as emit:
        assert emit.frame("user", frame, key="id") == (1, 1, 1, 0)
    types = sorted((event.entity_key, event.type) for event in all_events(topic))
    assert types == [("1", "data.update"), ("2", "data.delete"), ("3", "data.create")]
    monkeypatch.setenv("AUDIT_STORE", url(tmp_path))
    with Emitter(topic) as emit:
        assert emit.store == url(tmp_path)
        emit.frame("user", frame, key="id")
    for arguments in ({"store": "sqlite:///other.db"},):
        with pytest.raises(InvalidInput, match="store is for"):
            Emitter(url(tmp_path), **arguments)
    for arguments in ({"ledger_key": "audit.key"}, {"passphrase": "x"}):
        with pytest.raises(InvalidInput, match="the consumer's"):
            Emitter(topic, **arguments)


def test_a_run_through_kafka_keeps_its_blobs_beside_the_ledger(
    tmp_path: Path, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_BUS", topic)
    monkeypatch.setenv("AUDIT_STORE", url(tmp_path))
    with model_run("risk", seed=1) as run:
        run.metric("auc", 0.5)
        run.model({"weights": [1, 2]})
    assert sorted(event.type for event in all_events(topic)) == [
        *("model.run", "model.run", "model.version")  # START and COMPLETE
    ]
    assert (tmp_path / "audit-blobs").is_dir()


def test_an_address_is_one_destination_however_it_is_written() -> None:
    one = parse_address("kafka://b:9092,a:9093/t?client=confluent", {})
    other = parse_address("kafka://a:9093,b/t?registry=http://r:1", {})
    assert destination_name(one) == destination_name(other) == "kafka://a:9093,b:9092/t"
    assert destination_name(one) != destination_name(parse_address("kafka://a:9093,b/u", {}))


def test_where_the_spool_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert spool_folder(AWAY) == tmp_path / "spool"
    assert spool_folder(AWAY, "given") == Path("given")
    monkeypatch.delenv("AUDIT_SPOOL")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert spool_folder(AWAY) == tmp_path / "state" / "attestory" / "spool"
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert spool_folder(AWAY) == tmp_path / "home" / ".local" / "state" / "attestory" / "spool"
    assert spool_folder("sqlite:///x/audit.db") == Path("x/audit-spool")
    monkeypatch.setattr(kafka_sender, "CONNECT_TIMEOUT_S", 0.1)
    with Emitter(AWAY):
        (file,) = spool_folder(AWAY).iterdir()
        assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_sender_gives_up_a_connection_that_failed(
    topic: str, kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And sends the whole group again through a new one: repeats, but in order."""
    monkeypatch.setattr(sealer, "FIRST_RETRY_S", 0.01)
    real = KafkaSender._put
    count = 0

    def failing(self: KafkaSender, *args: object) -> None:
        nonlocal count
        count += 1
        if count in (300, 900):
            connection = self._connection
            assert connection is not None
            connection.producer.flush(10)  # some of the group is there already
            raise Unavailable("cut off")
        real(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(KafkaSender, "_put", failing)
    with Emitter(topic, schemas={"pet": SCHEMA}) as emit:
        for number in range(1_000):
            emit.create("pet", number % 30, {"name": "a", "age": number})
        while emit.waiting:
            emit.flush()
    assert sum(said.repeats for said in logs(topic)) > 0
    events = all_events(topic)
    assert len(events) == 1_000
    require_whole(events)


def test_a_program_says_nothing_but_that_it_waits(spool: Path) -> None:
    code = (
        "import audit, sys\nfrom audit.capture.delivery import kafka_sender\n"
        "kafka_sender.CONNECT_TIMEOUT_S = 0.3\n"
        "emit = audit.Emitter(sys.argv[1])\nemit.create('user', 1, {})\nemit.flush()\n"
    )
    for client in CLIENTS:
        done = python(code, f"{AWAY}?client={client}")
        assert (done.code, done.out) == (0, "")
        (line,) = done.err.splitlines()
        assert "1 event waits in" in line


def test_confluent_is_not_needed(topic: str, tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['confluent_kafka'] = None\nimport audit\n"
        "with audit.Emitter(sys.argv[1]) as emit: emit.create('user', 1, {})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, topic], capture_output=True, text=True, env=os.environ.copy()
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(all_events(topic)) == 1

"""Keys that are revoked and registered while a consumer runs, on a real topic."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from audit.capture.delivery.embedded import open_for_writing
from audit.capture.delivery.keyring import new_producer_key, register, revoke
from audit.log.entry import Kind
from audit.store import open_reader
from audit.tlog.keyfile import read_key
from audit.tlog.keys import Ed25519Signer
from audit.verify.policy import Policy
from audit.verify.verifier import verify
from consumers.service import run
from consumers.settings import Settings, Signatures
from tests.cli.conftest import Cli, cli
from tests.consumers.processes import PATIENCE_S, wait_until
from tests.consumers.support import an_event, entries, sealed, send, sizes, the_schema
from tests.services.kafka import KafkaServer

__all__ = ["cli"]


@contextmanager
def consuming(bus: str, store: str) -> Iterator[None]:
    """A consumer that requires signatures, in a thread."""
    stop, ended = threading.Event(), []
    settings = Settings(bus=bus, store=store, signatures=Signatures.REQUIRE, linger_ms=5)

    def consume() -> None:
        try:
            ended.append(run(settings, stop))
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=consume)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert ended == [0]


def wait_for(condition: Callable[[], bool]) -> None:
    # The consumer runs in this process: whoever looks holds it up.
    wait_until("it came to that", condition, pause_s=0.1)


def came(store: str, log: int) -> list[str]:
    """What became of the messages of a log, in order."""
    return [
        "sealed"
        if entry.kind is Kind.EVENT
        else str(entry.reason).removeprefix("SIGNATURE_REQUIRED: ")
        for entry in sealed(store, log)
    ]


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_a_running_consumer_heeds_a_revocation(
    kafka_server: KafkaServer,
    request: pytest.FixtureRequest,
    cli: Cli,
    ledger_dir: Path,
    database: str,
) -> None:
    """It reads log 0, so nobody has to change the policy file for it."""
    store, policy = f"sqlite:///{ledger_dir}/audit.db", ledger_dir / "audit.policy"
    if database == "postgresql":
        store = request.getfixturevalue("postgres_server").new_database()
    topic = kafka_server.new_topic(2)
    bus = kafka_server.url(topic)
    with open_for_writing(store, origin=f"{database}.example") as ledger:
        key = new_producer_key(ledger, "crm", ledger_dir / "crm.key")
        signer = Ed25519Signer.from_seed("crm", read_key(ledger_dir / "crm.key", None)[1])
        policy.write_text(policy.read_text() + key.policy_line + "\n")
        with consuming(bus, store):
            send(bus, [the_schema(), *map(an_event, range(30))], signer=signer)
            send(bus, [the_schema()], partition=1)
            wait_for(lambda: len(sealed(store, 1)) == 31 and 2 in sizes(store))
            wait_for(lambda: len(sealed(store, 2)) == 1)
            ended = revoke(ledger, "crm")
            # Log 0 is longer than log 2: an index of the one would say nothing in the other.
            assert (
                ended.range_in(ledger.origin)[1] > ended.range_in(f"{ledger.origin}/{topic}/1")[1]
            )  # type: ignore[operator]
            time.sleep(1.2)
            for partition in (0, 1):
                send(bus, [an_event(100 + partition)], partition=partition, signer=signer)
            wait_for(lambda: (len(sealed(store, 1)), len(sealed(store, 2))) == (32, 2))
            again = register(ledger, "crm", key.verifier.vkey)
            time.sleep(1.2)
            send(bus, [an_event(200)], signer=signer)
            wait_for(lambda: len(sealed(store, 1)) == 33)
    words = "the key of crm is revoked: good up to entry {} of this log, says log 0"
    ends = [ended.range_in(f"{ledger.origin}/{topic}/{partition}")[1] for partition in (0, 1)]
    assert came(store, 1) == ["sealed"] * 31 + [words.format(ends[0]), "sealed"]
    assert came(store, 2) == ["sealed", words.format(ends[1])]
    # What was refused in between is recorded now that the key is good again; never before.
    done = cli("quarantine", "retry", "--all", "--store", store, "--json").json
    assert [one["event_index"] is not None for one in done] == [True, True]
    lines = [line for each in (ended, again) for line in each.policy_lines]
    policy.write_text(policy.read_text().replace(key.policy_line, "\n".join(lines)))
    with open_reader(store) as reader:
        report = verify(reader, Policy.from_file(policy))
    assert report.ok and report.warnings == (), report.to_json()
    checked = [log.producer_signatures for log in report.logs]
    assert [(each.checked, each.unknown_key) for each in checked] == [(0, 0), (33, 0), (1, 0)]


def test_a_key_that_is_still_revoked_is_not_retried(cli: Cli, ledger_dir: Path) -> None:
    from audit.event.signing import sign_event
    from audit.log.intake import Message, quarantine

    store = f"sqlite:///{ledger_dir}/audit.db"
    with open_for_writing(store) as ledger:
        key = new_producer_key(ledger, "crm", ledger_dir / "crm.key")
        signer = Ed25519Signer.from_seed("crm", read_key(ledger_dir / "crm.key", None)[1])
        with (ledger_dir / "audit.policy").open("a") as policy:
            policy.write(key.policy_line + "\n")
        revoke(ledger, "crm")
        message = Message(an_event(1), sign_event(an_event(1), signer))
        ledger.store.append(0, [quarantine(message, "SIGNATURE_REQUIRED: x")], ledger.signer())
        position = f"0/{ledger.store.size(0) - 1}"
    assert "revoked: good up to" in cli("quarantine", "retry", position, code=1).out
    cli("key", "register", "crm", key.verifier.vkey)
    assert "recorded as entry" in cli("quarantine", "retry", position).out
    assert [entry.kind for entry in entries(store, 0)].count(Kind.QUARANTINED) == 1

"""What the containers run, run here: against a real broker and a real database."""

import json
import re
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from audit.ledger.evidence import verify_ledger
from audit.store import open_reader
from audit.verify.policy import Policy
from tests.deploy.outside import ORIGIN, Outside
from tests.deploy.support import Labels, grouping_labels, metrics_of, panel_expressions, rules
from tests.services.kafka import KafkaServer
from tests.services.postgres import PostgresServer
from tests.services.process import free_ports

pytestmark = pytest.mark.needs("psql")

WAIT_S = 240.0
OF_PROMETHEUS = {"up": frozenset({"job", "instance"})}
ADDED_LABELS = frozenset({"job", "instance"})
"""What Prometheus itself says, and adds to everything."""


def wait_for(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def deployment(
    kafka_server: KafkaServer,
    postgres_server: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Outside:
    """`roles` and `setup` have run, as at the first `docker compose up`."""
    database = postgres_server.new_database(separate=True)
    [port] = free_ports(1)
    topic = f"deploy-{port}"
    folder = tmp_path_factory.mktemp("deployment")
    outside = Outside(folder, kafka_server.bootstrap, topic, database, port)
    done = outside.roles()
    assert done.returncode == 0, done.stderr
    done = outside.run("setup")
    assert done.returncode == 0, done.stderr
    assert f"topics made: {topic}" in done.stderr
    assert done.stdout.startswith(f"{ORIGIN}+")
    return outside


@pytest.fixture(scope="module")
def consuming(deployment: Outside) -> Iterator[Outside]:
    """The service `consumer` runs, and has sealed one event that the service `audit` emitted."""
    consumer = deployment.start("consumer")
    said = deployment.folder / "consumer.log"
    try:
        emitted = deployment.run("audit", "emit", "create", "user", "5", '{"name": "Christian"}')
        assert emitted.returncode == 0, emitted.stderr
        wait_for(lambda: deployment.get("/readyz")[0] == 200, said.read_text)
        sealed = re.compile(r"^attestory_sealed_total [1-9]", re.MULTILINE)
        wait_for(lambda: bool(sealed.search(deployment.get("/metrics")[1])), said.read_text)
        yield deployment
        consumer.send_signal(signal.SIGTERM)
        assert consumer.wait(WAIT_S) == 0, said.read_text()
    finally:
        if consumer.poll() is None:
            consumer.kill()
            consumer.wait()


def test_setup_and_roles_change_nothing_the_second_time(deployment: Outside) -> None:
    assert deployment.roles().returncode == 0
    done = deployment.run("setup")
    assert done.returncode == 0, done.stderr
    assert "topics made: none" in done.stderr
    assert f"already there: the ledger {ORIGIN}" in done.stderr


def test_setup_refuses_another_name_for_the_ledger(deployment: Outside) -> None:
    done = deployment.run("setup", AUDIT_ORIGIN="example.com/another")
    assert (done.returncode, done.stdout) == (2, "")
    assert ORIGIN in done.stderr


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"AUDIT_PARTITIONS": "four"}, "AUDIT_PARTITIONS"), ({"AUDIT_PARTITIONS": "0"}, "partitions")],
)
def test_setup_names_the_setting_that_is_wrong(
    settings: dict[str, str], says: str, deployment: Outside
) -> None:
    done = deployment.run("setup", **settings)
    assert done.returncode == 2
    assert says in done.stderr


def test_the_key_is_encrypted_and_for_its_user_alone(deployment: Outside) -> None:
    key = deployment.folder / "key" / "audit.key"
    assert "BEGIN ENCRYPTED PRIVATE KEY" in key.read_text()
    for path in (key, deployment.folder / "ledger" / "audit.policy"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_the_consumer_is_well_and_logs_json(consuming: Outside) -> None:
    assert consuming.get("/healthz") == (200, "ok\n")
    assert consuming.healthcheck("consumer") == 0
    lines = (consuming.folder / "consumer.log").read_text().splitlines()
    assert {"time", "level", "text"} <= json.loads(lines[0]).keys()


def test_no_secret_is_in_what_was_said(consuming: Outside) -> None:
    said = (consuming.folder / "consumer.log").read_text()
    for path in (consuming.folder / "secrets").iterdir():
        assert path.read_text().strip() not in said


def test_the_auditor_reads_and_verifies(consuming: Outside) -> None:
    done = consuming.run("auditor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("OK")
    done = consuming.run("auditor", "replay", "user", "--format", "jsonl")
    assert json.loads(done.stdout) == {"entity_key": "5", "name": "Christian"}


def test_the_auditor_cannot_write(consuming: Outside) -> None:
    done = consuming.run("auditor", "key", "new", "crm", "-o", str(consuming.folder / "no.key"))
    assert done.returncode != 0
    assert not (consuming.folder / "no.key").exists()


@pytest.mark.needs("pg_dump", "pg_restore")
def test_a_backup_verifies_against_the_published_checkpoints(
    consuming: Outside, postgres_server: PostgresServer
) -> None:
    kept = consuming.run("auditor", "checkpoints", "/backup")
    assert kept.returncode == 0, kept.stderr
    files = kept.stdout.split()
    assert len(files) == 3 and all(Path(file).is_file() for file in files)

    restored = postgres_server.new_database(separate=True)
    dump, source = consuming.folder / "audit.dump", consuming.database.geturl()
    for command in (
        ["pg_dump", "-Fc", "--file", str(dump), source],
        ["pg_restore", "--exit-on-error", "-d", restored, str(dump)],
    ):
        subprocess.run(command, check=True, capture_output=True, timeout=WAIT_S)

    # The rights came along with the tables.
    restored = restored.replace("//postgres@", "//audit_auditor@")
    options = [word for file in files for word in ("--checkpoint", file)]
    done = consuming.run("auditor", "verify", "--store", restored, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing newer was dropped" not in done.stdout
    # A store made from the dump lacks what was sealed later, and a checkpoint over that shows it.
    done = consuming.run("audit", "key", "new", "crm", "-o", str(consuming.folder / "crm.key"))
    assert done.returncode == 0, done.stderr
    with open_reader(source) as reader:
        stored = reader.newest_checkpoint(0)
    assert stored is not None
    policy = Policy.from_file(consuming.folder / "ledger" / "audit.policy")
    assert verify_ledger(source, policy, [stored.note]).ok
    report = verify_ledger(restored, policy, [stored.note])
    assert {finding.code for finding in report.findings} == {"rolled_back"}


def test_without_a_bus_checkpoints_says_so(deployment: Outside) -> None:
    done = deployment.run("auditor", "checkpoints")
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage" in done.stderr


# What dashboard and alerts ask for, against what a running consumer exports


@pytest.fixture(scope="module")
def exported(consuming: Outside) -> dict[str, Labels]:
    """Every series' name, with the labels it has."""

    def text() -> str:
        return consuming.get("/metrics")[1]

    # The lag is measured every few seconds, and has no series before.
    wait_for(lambda: "attestory_source_lag{" in text(), text)
    found: dict[str, Labels] = {}
    for family in text_string_to_metric_families(text()):
        for sample in family.samples:
            found[sample.name] = frozenset(sample.labels)
    return found


def asked() -> list[tuple[str, str]]:
    return [*((rule["alert"], rule["expr"]) for rule in rules()), *panel_expressions()]


def unknown(expression: str, exported: Mapping[str, Labels]) -> set[str]:
    """What an expression names and no consumer exports: metrics, and labels of them."""
    metrics = metrics_of(expression)
    found = set(metrics) - set(exported)
    had = {name: exported[name] | ADDED_LABELS for name in metrics.keys() - found}
    for name, labels in had.items():
        found |= {f"{name} has no {label}" for label in metrics[name] - labels}
    together = frozenset().union(*had.values())
    return found | {f"nothing has {label}" for label in grouping_labels(expression) - together}


def test_every_metric_that_is_asked_for_is_exported(exported: dict[str, Labels]) -> None:
    known = exported | OF_PROMETHEUS
    assert all(metrics_of(expression) for _, expression in asked())
    missing = {f"{who}: {expression}": unknown(expression, known) for who, expression in asked()}
    assert {where: what for where, what in missing.items() if what} == {}


def test_every_metric_that_is_exported_is_looked_at(exported: dict[str, Labels]) -> None:
    looked_at = {name for _, expression in asked() for name in metrics_of(expression)}
    unseen = {name for name in exported if not name.endswith(("_created", "_sum", "_count"))}
    assert unseen - looked_at == {"attestory_messages_total", "attestory_batch_messages_bucket"}

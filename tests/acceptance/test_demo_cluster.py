"""The demo's story through PostgreSQL, and through Kafka and PostgreSQL: the same claims hold."""

import json
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.acceptance.claims import AUDIT, Claims, Told, tell
from tests.services.kafka import KafkaServer
from tests.services.postgres import PostgresServer

pytestmark = pytest.mark.slow

PARTITIONS = 4
PASSWORD = "not-for-the-reader"
ROLE_WITHOUT_RIGHTS = "pg_signal_backend"
"""Every server has it."""


@pytest.fixture(scope="module")
def postgresql_told(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Told:
    """A demo with the ledger on a database server, events straight into it."""
    split = urlsplit(postgres_server.new_database())
    if split.password is None:
        user, _, host = split.netloc.rpartition("@")
        split = split._replace(netloc=f"{user}:{PASSWORD}@{host}")
    return tell(tmp_path_factory.mktemp("postgresql"), urlunsplit(split))


@pytest.fixture(scope="module")
def kafka_told(
    tmp_path_factory: pytest.TempPathFactory,
    kafka_server: KafkaServer,
    postgres_server: PostgresServer,
) -> Told:
    """A demo whose events go through a topic of several partitions, sealed by the consumer."""
    home = tmp_path_factory.mktemp("kafka")
    bus = kafka_server.url(kafka_server.new_topic(PARTITIONS))
    # Whoever forgot to say where the spool is would put it there.
    return tell(home, postgres_server.new_database(), bus, XDG_STATE_HOME=str(home))


class TestOnPostgresql(Claims):
    """What is so with a ledger on a database server."""

    @pytest.fixture
    def told(self, postgresql_told: Told) -> Told:
        return postgresql_told

    def test_the_ledger_is_in_the_schema_that_was_named(self, told: Told) -> None:
        assert told.store is not None
        assert list(told.settings) == ["AUDIT_STORE"]
        assert urlsplit(told.settings["AUDIT_STORE"]).query == urlsplit(told.store).query
        assert not list(told.folder.glob("**/*.db"))

    def test_the_password_is_not_shown(self, told: Told) -> None:
        assert str(urlsplit(told.store).password) not in told.text

    def test_a_schema_with_a_ledger_is_not_touched(self, told: Told, tmp_path: Path) -> None:
        assert told.store is not None
        assert "already" in _refused(tmp_path, "--store", told.store)

    def test_a_role_that_may_make_no_schema_is_told_first(self, told: Told, tmp_path: Path) -> None:
        url = f"{told.store}x%20-crole%3D{ROLE_WITHOUT_RIGHTS}"
        assert "this role may not" in _refused(tmp_path, "--store", url)


class TestOnKafkaAndPostgresql(Claims):
    """What is so with a topic between the applications and the ledger."""

    # A consumer refuses to write on in the rewritten ledger.
    refusals = 1

    @pytest.fixture
    def told(self, kafka_told: Told) -> Told:
        return kafka_told

    def test_each_partition_has_a_log_and_several_hold_events(self, told: Told) -> None:
        logs = json.loads(told.audit("status", "--json").stdout)["logs"]
        assert [log["log"] for log in logs] == list(range(PARTITIONS + 1))
        assert sum(log["events"] > 0 for log in logs[1:]) > 1
        # Ten inquiries, the life of a user, the features, the run's begin and end, the model, the
        # prediction and its replay, the flag, the correction.
        assert sum(log["events"] for log in logs) == 21
        assert [log["quarantined"] for log in logs] == [0] * (PARTITIONS + 1)

    def test_positions_are_named_with_their_log(self, told: Told) -> None:
        assert re.search(r"^\$ python credit_model.py \d/\d+$", told.text, re.MULTILINE)
        assert re.search(r"^\$ audit diff inquiry \d/\d+\.\.HEAD$", told.text, re.MULTILINE)
        assert re.search(r"^\$ audit prove \d/\d+ -o correction", told.text, re.MULTILINE)

    def test_the_logs_were_compared_with_the_topic(self, told: Told) -> None:
        chapter = told.text[told.text.index("Was anything changed?") :]
        chapter = chapter[: chapter.index("One entry that proves itself")]
        assert chapter.count("sealed and equal") == PARTITIONS
        assert chapter.count("0 wait to be read") == PARTITIONS

    def test_a_topic_that_holds_something_is_not_touched(self, told: Told, tmp_path: Path) -> None:
        assert "not empty" in _refused(tmp_path, "--bus", told.settings["AUDIT_BUS"])


def _refused(folder: Path, *options: str) -> str:
    """What a demo says that must not begin; it leaves nothing behind."""
    command = [*AUDIT, "demo", "--dir", "x", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2
    assert list(folder.iterdir()) == []
    return done.stderr

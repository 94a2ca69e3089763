"""The demo's story through Kafka and PostgreSQL: the same claims hold."""

import json
import re
from pathlib import Path

import pytest

from tests.acceptance.claims import Claims, Told, refused, tell
from tests.services.kafka import KafkaServer
from tests.services.postgres import PostgresServer

pytestmark = pytest.mark.slow

PARTITIONS = 4


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory,
    kafka_server: KafkaServer,
    postgres_server: PostgresServer,
) -> Told:
    """A demo whose events go through a topic of several partitions, sealed by the consumer."""
    home = tmp_path_factory.mktemp("kafka")
    bus = kafka_server.url(kafka_server.new_topic(PARTITIONS))
    # Whoever forgot to say where the spool is would put it there.
    return tell(home, postgres_server.new_database(), bus, XDG_STATE_HOME=str(home))


class TestOnKafkaAndPostgresql(Claims):
    """What is so with a topic between the applications and the ledger."""

    # A consumer refuses to write on in the rewritten ledger.
    refusals = 1

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
        assert "not empty" in refused(tmp_path, "--bus", told.settings["AUDIT_BUS"])

"""The alert rules: their form, the metrics they name, and with promtool whether they fire."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.support import DEPLOY, load_yaml, rules, tokens

RUNBOOK = (DEPLOY / "runbook.md").read_text()
HEADINGS = re.findall(r"^#+ (.+)$", RUNBOOK, re.MULTILINE)
NAMES = [rule["alert"] for rule in rules()]


def anchor(heading: str) -> str:
    """As Markdown viewers make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_prometheus_reads_the_rules_and_finds_every_consumer() -> None:
    config = load_yaml("prometheus.yml")
    assert config["rule_files"] == ["alerts.yml"]
    [job] = [job for job in config["scrape_configs"] if job["job_name"] == "attestory"]
    [found] = job["dns_sd_configs"]
    services = load_yaml("compose.yaml")["services"]
    consuming = {name for name, service in services.items() if _consumes(service)}
    assert set(found["names"]) == consuming
    assert str(found["port"]) in str(services["consumer"]["command"])


def _consumes(service: Mapping[str, Any]) -> bool:
    return "consume" in service.get("command", [])


@pytest.mark.parametrize("rule", rules(), ids=NAMES)
def test_a_rule_names_its_cause_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Attestory[A-Z][A-Za-z]+", rule["alert"])
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
    assert rule["labels"]["severity"] in ("page", "ticket")
    notes = rule["annotations"]
    assert notes.keys() == {"summary", "description", "runbook"}
    assert notes["runbook"] in map(anchor, HEADINGS)
    tokens(rule["expr"])
    for open_, close in ("()", "{}", "[]"):
        assert rule["expr"].count(open_) == rule["expr"].count(close)


def test_a_name_stands_once() -> None:
    assert len(NAMES) == len(set(NAMES))


WELL = {
    'up{job="attestory",instance="a"}': "1x90",
    'attestory_up{instance="a"}': "1x90",
    'attestory_ready{instance="a"}': "1x90",
    'attestory_database_up{instance="a"}': "1x90",
    'attestory_broker_up{instance="a"}': "1x90",
    'attestory_refused_partitions{instance="a"}': "0x90",
    'attestory_guard_refusals_total{instance="a"}': "0x90",
    'attestory_expired_offsets_total{instance="a"}': "0x90",
    'attestory_conflicts_total{instance="a"}': "0x90",
    'attestory_quarantined_total{instance="a"}': "7x90",
    'attestory_fenced_total{instance="a"}': "1x90",
    'attestory_intake_waits_total{instance="a"}': "0x90",
    'attestory_publish_errors_total{instance="a"}': "0x90",
    'attestory_publisher_lag{instance="a",origin="o/t/0"}': "9x90",
    'attestory_source_lag{instance="a",partition="0"}': "40x90",
    'attestory_batches_total{instance="a"}': "0+60x90",
    'attestory_sealed_total{instance="a"}': "0+600x90",
    'attestory_heads_total{instance="a"}': "0+1x90",
    'attestory_batch_seconds_bucket{instance="a",le="1.0"}': "0+60x90",
    'attestory_batch_seconds_bucket{instance="a",le="10.0"}': "0+60x90",
    'attestory_batch_seconds_bucket{instance="a",le="+Inf"}': "0+60x90",
}
"""Series of one consumer in good health, a value each minute; quarantined is an old story."""

ILL: dict[str, dict[str, str]] = {
    "AttestoryRollbackGuardRefuses": {
        "attestory_guard_refusals_total": "1x90",
        "attestory_refused_partitions": "1x90",
    },
    "AttestoryPartitionRefused": {"attestory_refused_partitions": "1x90"},
    "AttestoryOffsetsExpired": {"attestory_expired_offsets_total": "_x40 500x50"},
    "AttestoryConflictingEventIds": {"attestory_conflicts_total": "0x55 1x35"},
    "AttestoryNoConsumer": {"up": "1x50 _x40"},
    "AttestoryConsumerDown": {"up": "1x50 0x40"},
    "AttestoryConsumerHangs": {"attestory_up": "0x90"},
    "AttestoryStoreUnreachable": {"attestory_database_up": "0x90"},
    "AttestoryBrokerUnreachable": {"attestory_broker_up": "0x90"},
    "AttestoryIntakeWaits": {"attestory_intake_waits_total": "0+3x90"},
    "AttestoryStandsStill": {"attestory_batches_total": "60x90"},
    "AttestoryLagGrows": {"attestory_source_lag": "0+9000x90"},
    "AttestoryNotReady": {"attestory_ready": "0x90"},
    "AttestoryCheckpointsNotPublished": {"attestory_publish_errors_total": "0+1x90"},
    "AttestoryQuarantineGrows": {"attestory_quarantined_total": "7x55 8x35"},
    "AttestoryConsumersFenceEachOther": {"attestory_fenced_total": "0+1x90"},
    "AttestoryStoreSlow": {'attestory_batch_seconds_bucket{instance="a",le="1.0"}': "0x90"},
    "AttestoryHeadsMissing": {"attestory_heads_total": "5x90"},
}
"""What differs when the alert is to fire; by the metric's name, or the whole series."""

BESIDES = {"AttestoryConsumerDown": {"AttestoryNoConsumer"}}
"""What fires along: with one consumer, one that is down is all of them."""


def test_every_alert_has_a_case_and_the_cases_know_every_metric() -> None:
    assert list(ILL) == NAMES


def promtool(cases: list[dict[str, Any]], folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "cases.yml"
    document = {"rule_files": [str(DEPLOY / "alerts.yml")], "tests": cases}
    file.write_text(yaml.safe_dump(document))
    return subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, cwd=folder
    )


def series(changed: Mapping[str, str]) -> list[dict[str, str]]:
    values = {
        name: changed.get(name, changed.get(name.partition("{")[0], good))
        for name, good in WELL.items()
    }
    return [{"series": name, "values": text} for name, text in values.items()]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_each_alert_fires_for_its_cause_and_none_in_good_health(tmp_path: Path) -> None:
    def case(changed: Mapping[str, str], firing: set[str]) -> dict[str, Any]:
        samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(firing)]
        expr = 'count by (alertname) (ALERTS{alertstate="firing"})'
        check = {"expr": expr, "eval_time": "65m", "exp_samples": samples}
        return {"interval": "1m", "input_series": series(changed), "promql_expr_test": [check]}

    cases = [case({}, set())]
    cases += [case(changed, {ill} | BESIDES.get(ill, set())) for ill, changed in ILL.items()]
    done = promtool(cases, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr

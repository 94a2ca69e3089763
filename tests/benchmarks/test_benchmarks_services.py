"""The benchmarks run, so that they do not rot: those with brokers and databases."""

import pytest

from tests.benchmarks.tiny import lend, runs

KAFKA, POSTGRESQL = "kafka", "postgresql"
SERVICES = {
    "capture": {POSTGRESQL},  # and a broker of its own, which it stops
    "emit": {KAFKA},
    "hooks": {POSTGRESQL},
    "pipeline": {KAFKA, POSTGRESQL},
    "readmodel": {POSTGRESQL},
    "reconcile": {POSTGRESQL},
    "triggers": {POSTGRESQL},
}
"""What of the run's servers a benchmark may use."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVICES)
def test_a_benchmark_runs(
    name: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    needed = SERVICES[name]
    lend(
        monkeypatch,
        request.getfixturevalue("kafka_server") if KAFKA in needed else None,
        request.getfixturevalue("postgres_server") if POSTGRESQL in needed else None,
    )
    runs(name, monkeypatch)

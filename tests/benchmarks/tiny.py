"""A benchmark on a tiny size, to see that it runs. Nothing is said about time here."""

from collections.abc import Callable
from typing import TypeVar

import pytest

from audit.capture.delivery import kafka_sender
from tests.benchmarks import bench_readmodel, bench_reconcile, common, readmodel_child
from tests.benchmarks.run import BENCHES
from tests.services import kafka, postgres
from tests.services.kafka import KafkaServer
from tests.services.postgres import PostgresServer

TINY = 600
TINIER = {"asof": 200, "hooks": 60, "replay-predictions": 60}
"""Where each of TINY things is dear, and fewer run every line too."""

Found = TypeVar("Found")


def runs(name: str, patch: pytest.MonkeyPatch) -> None:
    """Run a benchmark; each of its lines has a name and a figure."""
    patch.setattr(common, "most_repeats", 1)
    # One of them emits while its broker is away, and would wait for it.
    patch.setattr(kafka_sender, "CONNECT_TIMEOUT_S", 1.0)
    for bench, child, here in (
        (bench_readmodel, "child", readmodel_child.figures),
        (bench_reconcile, "apart", bench_reconcile.reconciled),
    ):
        patch.setattr(bench, child, _apart_once(getattr(bench, child), here))
    results = list(BENCHES[name](TINIER.get(name, TINY)))
    assert results
    for result in results:
        assert result.name
        assert any(character.isdigit() for character in result.figure)


def _apart_once(apart: Callable[..., Found], here: Callable[..., Found]) -> Callable[..., Found]:
    """What is measured in processes of its own: the first time in one, then in this one, whose
    imports are done."""
    ways = iter([apart])
    return lambda *given: next(ways, here)(*given)


def lend(
    patch: pytest.MonkeyPatch, broker: KafkaServer | None, database: PostgresServer | None
) -> None:
    """Give benchmarks the servers of the run: their own matter only to what they measure."""
    if broker is not None:
        patch.setenv(kafka.GIVEN, broker.bootstrap)
    if database is not None:
        patch.setenv(postgres.GIVEN, database.superuser_url("postgresql:///postgres"))

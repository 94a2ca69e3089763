"""The benchmarks run: on a tiny size, so that they do not rot. Nothing is said about time here."""

from contextlib import nullcontext

import pytest

from audit.capture.delivery import kafka_sender
from tests.benchmarks import bench_pipeline, common
from tests.benchmarks.run import BENCHES, main

TINY = 600
TINIER = {"replay-predictions": 60, "hooks": 60}
"""Where each of TINY things is dear, and fewer run every line too."""


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHES)
def test_a_benchmark_runs(
    name: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(common, "most_repeats", 1)
    if name == "pipeline":  # servers of its own matter only to what it measures
        servers = [request.getfixturevalue(f"{kind}_server") for kind in ("kafka", "postgres")]
        monkeypatch.setattr(bench_pipeline, "services", lambda: nullcontext(servers))
    # One of them emits while its broker is away, and would wait for it.
    monkeypatch.setattr(kafka_sender, "CONNECT_TIMEOUT_S", 1.0)
    results = BENCHES[name](TINIER.get(name, TINY))
    assert results
    for result in results:
        assert result.name
        assert any(character.isdigit() for character in result.figure)


def test_an_unknown_benchmark_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nosuch"]) == 2
    assert "no benchmark nosuch; there are append" in capsys.readouterr().out

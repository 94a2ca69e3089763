"""The benchmarks run: on a tiny size, so that they do not rot. Nothing is said about time here."""

import subprocess
import sys
from contextlib import nullcontext

import pytest

from audit.capture.delivery import kafka_sender
from tests.benchmarks import bench_pipeline, common
from tests.benchmarks.run import BENCHES, main

TINY = 600
TINIER = {"hooks": 60, "replay-predictions": 60}
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
    if name == "hooks":
        run_alone(name)
        return
    results = BENCHES[name](TINIER.get(name, TINY))
    assert results
    for result in results:
        assert result.name
        assert any(character.isdigit() for character in result.figure)


def run_alone(name: str) -> None:
    """In a process of its own: SQLAlchemy-Continuum cannot be set up twice in one, and another
    benchmark has it as a peer."""
    program = (
        "import sys\nfrom tests.benchmarks import common, run\ncommon.most_repeats = 1\n"
        "for result in run.BENCHES[sys.argv[1]](int(sys.argv[2])):\n    print(result.figure)\n"
    )
    command = [sys.executable, "-c", program, name, str(TINIER[name])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = done.stdout.splitlines()
    assert figures and all(any(map(str.isdigit, figure)) for figure in figures)


def test_an_unknown_benchmark_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nosuch"]) == 2
    assert "no benchmark nosuch; there are append" in capsys.readouterr().out

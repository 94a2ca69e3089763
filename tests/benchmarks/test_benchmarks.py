"""The benchmarks run, so that they do not rot: those that need no service."""

import pytest

from tests.benchmarks.run import BENCHES, main
from tests.benchmarks.test_benchmarks_services import SERVICES
from tests.benchmarks.tiny import runs


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BENCHES if name not in SERVICES])
def test_a_benchmark_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(name, monkeypatch)


def test_an_unknown_benchmark_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nosuch"]) == 2
    assert "no benchmark nosuch; there are append" in capsys.readouterr().out

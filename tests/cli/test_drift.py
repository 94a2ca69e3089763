"""`audit drift`: the table, the exit codes, JSON, subgroups and skew."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.lineage.common_drift import COMPONENT, COUNTRIES, Pipeline, day


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return Pipeline(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture
def drift(cli: Cli, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("AUDIT_STORE", pipeline.url)
    return lambda *args, **options: cli("drift", *args, **options)


NOW = ("--since", day(8), "--until", day(12))
BEFORE = ("--since", day(4), "--until", day(8))


def test_drift_is_a_finding(drift: Cli) -> None:
    lines = drift("churn", *NOW, code=1).lines
    assert lines[0].split() == ["model", "churn"]
    assert lines[1].split()[:2] == ["then", "2026-02-02T00:00:00.000000Z"]
    assert lines[2].split()[-2:] == ["96", "rows"]
    assert "size" in lines[3] and "root" in lines[3]
    assert lines[4].split() == ["VERDICT", "DRIFTED"]
    cells = {line.split()[0]: line.split() for line in lines if line}
    assert cells["COLUMN"][-1] == "VERDICT"
    assert cells["country"][-1] == cells["hours"][-1] == "DRIFTED"
    assert cells["steady"][-1] == "STEADY" and "JS" in cells["steady"] and "KS" in cells["steady"]
    assert "L-inf" in cells["country"] and "chi2" in cells["country"]
    assert any(line.startswith("DRIFTED") and "MISSING_RATE 0.385 > 0.1" in line for line in lines)


def test_no_drift_is_no_finding(drift: Cli) -> None:
    ran = drift("churn", *BEFORE)
    assert "STEADY" in ran.out and "DRIFTED" not in ran.out


def test_json_has_all_of_it(drift: Cli) -> None:
    found = drift("churn", *NOW, "--side", "inputs", "--json", code=1).json
    assert found["verdict"] == "DRIFTED" and found["baseline"] == "the window before"
    columns = {one["column"]: one for one in found["columns"]}
    assert columns["country"]["drifted"] and not columns["steady"]["drifted"]
    assert columns["hours"]["statistics"][0]["edges"]
    assert found["citation"]["logs"][0]["root_hash"] and found["then"]["rows"] == 96
    assert "NaN" not in json.dumps(found)


def test_subgroups(drift: Cli) -> None:
    out = drift("churn", *NOW, "--by", "country", "--side", "outputs", code=1).out
    assert "OUTPUTS BY country" in out and "(all) DRIFTED" in out
    assert all(f"\n{country}" in out for country in COUNTRIES)
    assert "mean 0." in out and "%" in out


def test_a_threshold(drift: Cli) -> None:
    command = ("churn", *BEFORE, "--side", "inputs", "--json")
    distances = {
        one["threshold"]
        for column in drift(*command, "--threshold", "0.5").json["columns"]
        for one in column["statistics"]
        if one["statistic"] in ("JENSEN_SHANNON", "L_INFINITY")
    }
    assert distances == {0.5}
    assert "0 to 1" in drift("churn", "--threshold", "7", code=2).err


def test_skew_against_training(drift: Cli) -> None:
    ran = drift("churn", *NOW, "--baseline", "model/churn@1", code=1)
    assert "SKEW         model/churn@1: types and code as in training" in ran.out
    assert "churned: boolean in training, not there in serving (may be the label" in ran.out
    assert "distributed otherwise: country, hours, income" in ran.out
    assert "outputs are not compared" in ran.err


def test_a_component(drift: Cli) -> None:
    assert "component   weekly-scores" in drift(COMPONENT, *NOW, code=1).out
    drift(COMPONENT, *BEFORE)


def test_nobody_can_tell_of_an_empty_window(drift: Cli) -> None:
    ran = drift("churn", "--since", "2025-02-01", "--until", "2025-03-01", code=1)
    assert "CANNOT_TELL" in ran.out and "only 0 predictions now" in ran.err


def test_as_of(drift: Cli) -> None:
    early = drift("churn", *NOW, "--as-of", "HEAD~60", "--json", code=1).json
    assert early["now"]["rows"] < 96


def test_wrong_calls(drift: Cli) -> None:
    assert "called 'nobody'" in drift("nobody", code=2).err
    assert "is not before until" in drift("churn", "--since", "now", "--until", "-7d", code=2).err
    assert "subgroups" in drift(COMPONENT, "--by", "country", code=2).err
    drift("churn", "--side", "top", code=2)


def test_without_a_ledger(cli: Cli, ledger_dir: Path) -> None:
    assert cli("drift", "churn", code=3).err

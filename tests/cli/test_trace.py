"""`audit trace` and `audit trace-diff` on the command line."""

import json
from pathlib import Path

import pytest

import audit
from tests.cli.conftest import Cli
from tests.lineage.common_trace import MODEL, Pipeline, sha


@pytest.fixture
def ledger(cli: Cli, ledger_dir: Path) -> tuple[Cli, str]:
    """A ledger with two trained versions and one prediction; and the prediction's REF."""
    cli("init", "--origin", "test.example/log")
    url = f"sqlite:///{ledger_dir}/audit.db"
    with audit.Emitter(url, source="test") as emit:
        pipeline = Pipeline(url, emit)
        pipeline.inquiries()
        pipeline.trained("1", "artifact 1", "clean 1")
        prediction = pipeline.predict("1", sha("artifact 1"), "001")
        pipeline.emit.update("inquiry", "1002", {"PaymentStatus": "Current"}, actor="bob")
        pipeline.trained("2", "artifact 2", "clean 2", params={"note": "\x1b[31mred\u202e"})
        pipeline.run("training", status="FAIL", error="ValueError: \x1b]0;x\x07", run_id="failed")
    return cli, f"prediction/{prediction}"


def test_a_tree(ledger: tuple[Cli, str]) -> None:
    cli, prediction = ledger
    lines = cli("trace", prediction).lines
    assert lines[0].startswith(f"{prediction}  {MODEL}@1  OK")
    assert lines[1].startswith(f"  used: model/{MODEL}@1  sha256:")
    assert any(line.strip().startswith("wasGeneratedBy: run/") for line in lines)
    assert any("point  inquiry at test.example/log size" in line for line in lines)


def test_a_failed_run_and_text_that_is_not_harmless(ledger: tuple[Cli, str]) -> None:
    cli, _ = ledger
    assert "!! FAIL: ValueError: \\x1b]0;x\\x07" in cli("trace", "run/failed").out
    for command in (
        ("trace", f"model/{MODEL}@2"),
        ("trace", f"model/{MODEL}@2", "--format", "dot"),
        ("trace", f"model/{MODEL}@2", "--json"),
        ("trace-diff", f"model/{MODEL}@1", f"model/{MODEL}@2"),
    ):
        out = cli(*command).out
        assert "\x1b" not in out and "\u202e" not in out, command
        assert "red" in out


def test_json_is_the_same_in_both_spellings(ledger: tuple[Cli, str]) -> None:
    cli, prediction = ledger
    said = cli("trace", prediction, "--json").json
    assert said == json.loads(cli("trace", prediction, "--format", "json").out)
    assert said["asked"] == [prediction]
    (root,) = [node for node in said["nodes"] if node["id"] == said["roots"][0]]
    assert (root["ref"], root["kind"]) == (prediction, "prediction")


def test_dot(ledger: tuple[Cli, str]) -> None:
    cli, prediction = ledger
    lines = cli("trace", prediction, "--format", "dot").lines
    assert (lines[0], lines[-1]) == ("digraph lineage {", "}")
    assert sum(" -> " in line for line in lines) == len(
        cli("trace", prediction, "--json").json["edges"]
    )


def test_downstream_depth_and_as_of(ledger: tuple[Cli, str]) -> None:
    cli, prediction = ledger
    down = cli("trace", "inquiry/1002", "--downstream", "--json").json
    assert down["predictions"]["count"] == 1
    assert prediction in {node["ref"] for node in down["nodes"]}
    out = cli("trace", prediction, "--depth", "1").out
    assert "NOT SHOWN  " in out and "run/" not in out
    then = str(cli("log", "type:prediction", "--format", "jsonl").json["index"])
    first = cli("trace", "inquiry/1002", "--downstream", "--as-of", then, "--json").json
    assert f"model/{MODEL}@2" in {node["ref"] for node in down["nodes"]}
    assert f"model/{MODEL}@2" not in {node["ref"] for node in first["nodes"]}


def test_trace_diff(ledger: tuple[Cli, str]) -> None:
    cli, _ = ledger
    asked = ("trace-diff", f"model/{MODEL}@1", f"model/{MODEL}@2")
    assert "inquiry/1002 changed  PaymentStatus: Late -> Current  by bob" in cli(*asked).out
    said = cli(*asked, "--json").json
    assert said["same"] is False
    roles = {part["role"] for part in said["parts"] if not part["same"]}
    assert {"model", "params", "data"} <= roles
    assert cli("trace-diff", f"model/{MODEL}@1", f"model/{MODEL}@1", "--json").json["same"]


def test_what_is_wrong_exits_2(ledger: tuple[Cli, str]) -> None:
    cli, _ = ledger
    for command in (
        ("trace",),
        ("trace", "model/none@1"),
        ("trace", "inquiry"),
        ("trace", "run/failed", "--depth", "-1"),
        ("trace-diff", "run/failed", "run/none"),
    ):
        cli(*command, code=2)
    cli("trace", "run/failed", "--store", "sqlite:///none.db", code=3)

"""`audit import --openlineage`: runs of other systems from a file."""

import json
from pathlib import Path

from tests.cli.conftest import Cli
from tests.lineage.test_openlineage import THEIR_RUN


def test_a_file_of_run_events_is_taken_once(cli: Cli, tmp_path: Path) -> None:
    other = {**THEIR_RUN, "eventType": "OTHER"}
    file = tmp_path / "events.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in (other, THEIR_RUN)))
    for expected in ("1 other", "1 skipped"):
        assert expected in cli("import", str(file), "--openlineage", "--source", "airflow").out
    (line,) = cli("log", "type:component.run", "--format", "jsonl").lines
    event = json.loads(line)
    assert (event["source"], event["data"]["name"]) == ("airflow", "prod/nightly.clean")


def test_bad_lines_and_options_are_named(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps(THEIR_RUN) + "\n{}\n")
    assert "line 2" in cli("import", str(file), "--openlineage", code=2).err
    cli("import", str(file), "--openlineage", "--events", code=2)
    cli("import", str(file), "--openlineage", "--entity", "run", code=2)


def test_runs_go_out_and_into_another_ledger(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    start = {**THEIR_RUN, "eventType": "START", "eventTime": "2026-01-02T03:00:00Z"}
    file.write_text("".join(json.dumps(one) + "\n" for one in (start, THEIR_RUN)))
    cli("import", str(file), "--openlineage")
    out = cli("runs", "--format", "openlineage").lines
    assert [json.loads(line)["eventType"] for line in out] == ["START", "COMPLETE"]
    file.write_text("\n".join(out))
    other = ("--store", "sqlite:///other.db")
    assert "2 other" in cli("import", str(file), "--openlineage", *other).out
    (run,) = cli("runs", "--json", *other).json
    assert (run["status"], run["inputs"][0]["digest"]) == ("COMPLETE", "sha256:" + "ab" * 32)

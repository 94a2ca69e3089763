"""`audit runs` and `audit serving`."""

import csv
import io
import json
import time
from pathlib import Path

import pytest

from audit.capture.emitter import Emitter
from audit.store.blobs import BlobStore, digest_of
from tests.cli.conftest import Cli
from tests.lineage.run_records import DAY_US, DIGEST, checked, model, run, transition, use

URL = "sqlite:///audit.db"
FRAME = "frame-v2:sha256:" + "12" * 32


@pytest.fixture
def runs(cli: Cli) -> Cli:
    """Yesterday's cleaning, today's that failed, and an inference that never ended."""
    now_us = time.time_ns() // 1_000
    columns = {"gender": "sha256:1", "age": "sha256:2"}
    read = use(name="inquiries", digest=FRAME, rows=10, columns=columns, dataset="raw@7")
    with Emitter(URL, source="pipe") as emit:
        times = {"started_us": now_us - DAY_US, "ended_us": now_us - DAY_US + 1_500_000}
        made = use(name="clean", digest=DIGEST, rows=9)
        run(emit, "yesterday", owner="plumber", inputs=[read], outputs=[made], **times)
        run(emit, "today", status="FAIL", error="ValueError: no rows", started_us=now_us)
        run(emit, "lost", status="START", name="inference", started_us=now_us, ended_us=None)
    return cli


def test_runs_as_a_table(runs: Cli) -> None:
    header, *lines = runs("runs").lines
    assert header.split() == ["STARTED", "COMPONENT", "STATUS", "TOOK", "OWNER", "MADE", "RUN"]
    assert [line.split()[-1] for line in lines[-1:]] == ["yesterday"] and len(lines) == 3
    assert "START (no end)" in runs("runs", "inference").out
    assert "1.5 s  plumber  clean" in runs("runs", "--at", "yesterday").out


def test_runs_can_be_narrowed(runs: Cli) -> None:
    def found(*args: str) -> set[str]:
        return {one["run"] for one in runs("runs", *args, "--json").json}

    assert found() == {"yesterday", "today", "lost"}
    assert found("--at", "yesterday") == {"yesterday"}
    assert found("--status", "FAIL") == {"today"}
    assert found("--since", "-3h") == {"today", "lost"}
    assert found("--until", "-3h") == {"yesterday"}
    assert found("--column", "gender") == {"yesterday"}
    assert found("-n", "1") < {"today", "lost"}
    assert found("--as-of", "yesterday") == set()  # nothing was recorded by then
    lines = runs("runs", "--format", "jsonl").lines
    assert [json.loads(line)["component"] for line in lines][-1] == "cleaning"
    assert "no run fits" in runs("runs", "nothing").err


def test_what_a_run_read_and_made(runs: Cli) -> None:
    head, read, made = runs("runs", "cleaning", "--at", "yesterday", "--inputs").lines
    assert "COMPLETE  run/yesterday" in head
    assert read.startswith("  read  inquiries: frame, 10 rows, 2 columns; frame-v2:sha256:12")
    assert read.endswith("dataset/raw@7") and made.startswith("  made  clean: frame, 9 rows")


def test_wrong_calls_are_refused(runs: Cli) -> None:
    runs("runs", "--status", "sad", code=2)
    runs("runs", "--at", "yesterday", "--since", "-1d", code=2)
    runs("runs", "--compare", "cleaning", code=2)
    runs("runs", "cleaning", "--compare", "inference", "--inputs", code=2)
    runs("runs", "cleaning", "--compare", "nobody", code=2)
    runs("runs", "--at", "nonsense", code=2)


def test_two_components_compared(cli: Cli) -> None:
    blobs = BlobStore("audit-blobs")
    mine, theirs = b"def f(x):\n    return x\n", b"def f(x):\n    return -x\n"
    with Emitter(URL, source="pipe") as emit:
        for name, text, tests in (("online", mine, ["a"]), ("offline", theirs, ["a", "b"])):
            given = {"code_digest": blobs.put(text), "tests": [checked(test) for test in tests]}
            run(emit, name, name=name, owner=name, params={"k": len(tests)}, **given)
        run(emit, "twin", name="twin", code_digest=digest_of(mine), tests=[checked("a")])
    out = cli("runs", "online", "--compare", "offline", code=1).out
    assert "CODE         DIFFERENT: the source files differ" in out
    assert "TESTS        only offline (b): BEFORE b" in out and "PARAMS       k: 1 / 2" in out
    assert "OWNER        online / offline" in out and "+    return -x" in out
    said = cli("runs", "online", "--compare", "offline", "--json", code=1).json
    assert said["differences"] == ["code", "tests", "params"]
    assert said["tests"]["only_b"] == ["BEFORE b"] and said["tests"]["same"] == ["BEFORE a"]
    same = cli("runs", "run/online", "--compare", "run/online").out
    assert "DIFFER       nothing" in same


def test_which_version_served_when(cli: Cli, ledger_dir: Path) -> None:
    with Emitter(URL, source="ops") as emit:
        model(emit, "1")
        transition(emit, "1", "2026-01-01", approved_by="alice")
        transition(emit, "2", "2026-02-01", share=0.25)
        transition(emit, "2", "2026-03-01", approved_by="bob")
        transition(emit, None, "2026-04-01")
        transition(emit, "2", "2026-01-01", stage="staging")
    header, one, two, staging = cli("serving", "credit-risk", "--at", "2026-02-02").lines
    assert header.split()[:3] == ["STAGE", "VERSION", "SHARE"]
    assert "the rest" in one and "alice" in one and DIGEST[:40] in one
    assert "25%" in two and "staging" in staging
    found = cli("serving", "credit-risk", "--at", "2026-03-02", "--stage", "production", "--json")
    assert [one["version"] for one in found.json["serving"]] == ["2"]
    assert found.json["serving"][0]["approved_by"] == "bob"
    assert "(none)" in cli("serving", "credit-risk", "--stage", "production").out
    assert len(cli("serving", "credit-risk", "--history").lines) == 6
    assert (
        "no version of credit-risk served"
        in cli("serving", "credit-risk", "--at", "2020-01-01").err
    )
    cli("serving", "credit-risk", "--history", "--at", "now", code=2)
    cli("serving", "none", code=2)


def test_runs_for_other_programs(runs: Cli) -> None:
    with Emitter(URL, source="pipe") as emit:
        values = {"params": {"C": 0.5, "note": 'a "b", c'}, "metrics": {"auc": 0.75}}
        run(emit, "trained", name="credit-risk", inputs=[use(name="x", digest=FRAME)], **values)
    lines = list(csv.DictReader(io.StringIO(runs("runs", "--format", "csv").out)))
    (trained,) = [line for line in lines if line["run"] == "trained"]
    assert len(lines) == 4 and trained["inputs"] == FRAME
    said = [trained[name] for name in ("params.C", "params.note", "metrics.auc", "error")]
    assert said == ["0.5", 'a "b", c', "0.75", ""]
    assert {line["error"] for line in lines} == {"", "ValueError: no rows"}
    assert len(runs("runs", "nothing", "--format", "csv").lines) == 1
    events = [json.loads(line) for line in runs("runs", "--format", "openlineage").lines]
    states = [(one["job"]["name"], one["eventType"]) for one in events]
    assert sorted(states)[:4] == [
        *(("cleaning", state) for state in ("COMPLETE", "FAIL", "START", "START")),
    ]
    assert ("inference", "START") in states and ("inference", "COMPLETE") not in states
    assert runs("runs", "nothing", "--format", "openlineage").out == ""

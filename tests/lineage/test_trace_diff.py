"""How two lineages differ: parameters, packages, code, data, columns, rows, features, tests."""

import json
from typing import Any

import pytest

from audit.lineage.source.source_diff import source_diff
from audit.lineage.tracing.trace_diff import TraceDiff, trace_diff
from audit.replay.points import resolve
from audit.store import open_reader
from tests.lineage.common import Case
from tests.lineage.common_trace import MODEL, Pipeline, frame, sha


@pytest.fixture
def pipeline(case: Case) -> Pipeline:
    made = Pipeline(case.url, case.emit)
    made.inquiries()
    return made


def compare(case: Case, a: str, b: str) -> TraceDiff:
    case.emit.flush()
    with open_reader(case.url) as reader:
        return trace_diff(reader, case.blobs, a, b, resolve(reader, None, 0))


def differing(found: TraceDiff) -> set[tuple[str, str]]:
    return {(part.role, part.name) for part in found.differing}


def test_two_versions_of_a_model(case: Case, pipeline: Pipeline) -> None:
    old = case.blobs.put(b"def train(frame):\n    return frame.fillna(0)\n")
    new = case.blobs.put(b"def train(frame):\n    return frame.dropna()\n")
    tests = [{"name": "outliers", "phase": "BEFORE", "status": "PASSED", "digest": sha("t")}]
    pipeline.trained("1", "artifact 1", "clean 1", code_digest=old, tests=tests)
    pipeline.emit.update(
        "inquiry", "1002", {"PaymentStatus": "Current"}, actor="bob", reason="booked elsewhere"
    )
    pipeline.trained(
        "2", "artifact 2", "clean 2", code_digest=new, params={"depth": 3},
        environment={"sklearn": "1.9"}, tests=[{**tests[0], "status": "FAILED"}],
    )  # fmt: skip
    found = compare(case, f"model/{MODEL}@1", f"model/{MODEL}@2")
    assert {
        ("model", MODEL), ("params", "training"), ("code", "training"), ("tests", "training"),
        ("environment", "training"), ("data", "training: train"), ("data", "cleaning: raw"),
    } <= differing(found)  # fmt: skip
    code = found.part("code", "training")
    assert code is not None
    assert "-    return frame.fillna(0)" in code.details
    assert "+    return frame.dropna()" in code.details
    params = found.part("params", "training")
    assert params is not None and params.details == ("depth: absent -> 3",)
    raw = found.part("data", "cleaning: raw")
    assert raw is not None
    (row,) = [line for line in raw.details if line.startswith("row ")]
    assert "inquiry/1002 changed  PaymentStatus: Late -> Current  by bob" in row
    assert "because booked elsewhere" in row
    same = {(part.role, part.name) for part in found.parts if part.same}
    assert ("code", "cleaning") in same
    text = "\n".join(found.lines())
    assert "DIFFERENT  params training" in text and "same       code cleaning" in text
    assert json.loads(json.dumps(found.to_json()))["same"] is False


def test_the_same_thing_has_no_difference(case: Case, pipeline: Pipeline) -> None:
    pipeline.trained("1", "artifact", "clean")
    prediction = pipeline.predict("1", sha("artifact"), "001")
    for ref in (f"model/{MODEL}@1", f"prediction/{prediction}", "inquiry/1001"):
        assert compare(case, ref, ref).differing == []


def test_two_predictions(case: Case, pipeline: Pipeline) -> None:
    pipeline.trained("1", "artifact", "clean")
    a, b = (
        pipeline.predict(
            "1", sha("artifact"), customer, output=output,
            features={"CustomerID": customer, "late": late},
            feature_sets=[pipeline.asked(sha("late"), customer)],
        )
        for customer, late, output in (("001", 1, 0.75), ("002", 0, 0.25))
    )  # fmt: skip
    found = compare(case, f"prediction/{a}", f"prediction/{b}")
    values = found.part("feature values")
    assert values is not None and set(values.details) == {
        "CustomerID: 001 -> 002", "late: 1 -> 0"
    }  # fmt: skip
    output = found.part("output")
    assert output is not None and output.details == ("0.75 -> 0.25",)
    rows = {
        part.name: (part.a is None, part.b is None) for part in found.parts if part.role == "row"
    }
    assert rows["inquiry/1001"] == (False, True)
    assert rows["inquiry/1002"] == (True, False)
    model = found.part("model")
    assert model is not None and model.same


def test_columns_that_differ(case: Case, pipeline: Pipeline) -> None:
    columns = {"amount": sha("1"), "late": sha("2"), "age": sha("3")}
    pipeline.dataset("d", "1", frame("a"), rows=10, columns=columns)
    pipeline.dataset(
        "d", "2", frame("b"), rows=11, columns={"amount": sha("1"), "late": sha("x"), "zip": "y"}
    )
    found = compare(case, "dataset/d@1", "dataset/d@2")
    (data,) = [part for part in found.parts if part.role == "data"]
    assert {
        "rows: 10 -> 11", "column late differs", "column age is only in a",
        "column zip is only in b",
    } <= set(data.details)  # fmt: skip


def test_runs_of_which_one_failed(case: Case, pipeline: Pipeline) -> None:
    good = pipeline.run("training", params={"C": 1})
    bad = pipeline.run("training", status="FAIL", error="ValueError: x", params={"C": "1"})
    found = compare(case, f"run/{good}", f"run/{bad}")
    assert differing(found) == {("run", "training"), ("params", "training")}
    run = found.part("run")
    assert run is not None and "status: COMPLETE -> FAIL" in run.details


def test_things_of_different_kinds(case: Case, pipeline: Pipeline) -> None:
    run = pipeline.trained("1", "artifact", "clean")
    assert compare(case, f"run/{run}", "inquiry/1001").differing
    assert compare(case, f"model/{MODEL}@1", f"run/{run}").differing


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"{" * 100_000, "deep"),
        (b"\xff\xfe\x00", ""),
        (b'{"functions": [1]}', ""),
        (b'{"functions": {"0": {"source": "def f(): pass"}, "1": 5}}', "+def f(): pass"),
        (b"x\n" * 300_000, "too long"),
    ],
    ids=["nested", "binary", "list", "capsule", "long"],
)
def test_code_of_any_bytes(case: Case, data: bytes, says: str) -> None:
    a, b = case.blobs.put(b"print(1)\n"), case.blobs.put(data)
    lines = source_diff(case.blobs, a, b)
    assert lines
    assert says == "deep" or any(says in line for line in lines)


def test_code_that_is_not_there(case: Case) -> None:
    there = case.blobs.put(b"print(1)\n")
    odd: list[Any] = [sha("nothing"), "no digest", ""]
    for digest in odd:
        (line,) = source_diff(case.blobs, there, digest)
        assert line.startswith("the texts cannot be compared")

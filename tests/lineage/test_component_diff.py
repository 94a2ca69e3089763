"""How two components differ: functions, constants, tests, parameters, packages."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from audit.errors import NotFound
from audit.ledger import Ledger
from audit.lineage.recorded.component_diff import ComponentDiff
from audit.lineage.source.capsule import Subject, capture
from tests.lineage.common import CLOCK_US, Case
from tests.lineage.run_records import DIGEST, checked, run

ONLINE = '''
LIMIT = 10

def clean(text):
    return text.strip()

def inference(text):
    """What answers."""
    return clean(text)[:LIMIT]
'''
OFFLINE = ONLINE.replace(
    "def inference", "def offline(f):\n    return f\n\n@offline\ndef evaluation"
).replace("What answers", "What measures")
OTHER = "sha256:" + "cd" * 32


def module(folder: Path, name: str, text: str) -> ModuleType:
    path = folder / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def component(case: Case, name: str, text: str, **fields: Any) -> None:
    """A run of a component whose function is captured from a file with this text."""
    function = getattr(module(Path(), f"{name}_code", text), name)
    captured = capture(function, Subject(None, None, None))
    kept = {
        "code_digest": case.blobs.put(text.encode()),
        "function_digest": case.blobs.put(captured.document),
    }
    run(case.emit, f"r-{name}", **{"name": name, **kept, **fields})


def compare(case: Case, a: str = "inference", b: str = "evaluation") -> ComponentDiff:
    case.emit.flush()
    with Ledger(case.url) as ledger:
        found = ledger.compare_components(a, b)
    json.dumps(found.to_json(), allow_nan=False)
    return found


def test_names_decorators_and_docstrings_are_no_discrepancy(case: Case) -> None:
    component(case, "inference", ONLINE)
    component(case, "evaluation", OFFLINE)
    found = compare(case)
    assert (found.code.verdict, found.code.same_file) == ("SAME", False)
    assert "the files that they are in differ" in found.code.why
    assert found.differences == ()


def test_the_same_function_in_another_file(case: Case) -> None:
    same = {"function_digest": DIGEST}
    component(case, "inference", ONLINE, **same)
    component(case, "evaluation", OFFLINE, **same)
    found = compare(case)
    assert found.code.verdict == "SAME" and "file that it is in differs" in found.code.why


def test_a_helper_that_differs_is_found_with_its_diff(case: Case) -> None:
    component(case, "inference", ONLINE)
    component(case, "evaluation", OFFLINE.replace("strip()", "lower()"))
    found = compare(case)
    assert found.differences == ("code",)
    (helper,) = [one for one in found.code.functions if one.status != "SAME"]
    assert helper.name == "clean"
    assert "-    return text.strip()" in helper.diff and "+    return text.lower()" in helper.diff


def test_a_constant_that_differs_is_found(case: Case) -> None:
    component(case, "inference", ONLINE)
    component(case, "evaluation", OFFLINE.replace("LIMIT = 10", "LIMIT = 11"))
    (entry,) = [one for one in compare(case).code.functions if one.status != "SAME"]
    assert (entry.name, entry.bindings) == ("", ("LIMIT",))


@pytest.mark.parametrize("kept", [b"{", b"[]", b'{"functions": {"0": 1}, "entry": "0"}', None])
def test_without_readable_functions_the_files_are_compared(case: Case, kept: bytes | None) -> None:
    digest = OTHER if kept is None else case.blobs.put(kept)
    component(case, "inference", ONLINE, function_digest=digest)
    component(case, "evaluation", OFFLINE)
    found = compare(case)
    assert found.code.verdict == "DIFFERENT" and "+def evaluation(text):" in found.code.diff


def test_without_any_text_it_is_said(case: Case) -> None:
    run(case.emit, "a", name="inference", code_digest=DIGEST)
    run(case.emit, "b", name="evaluation", code_digest=OTHER)
    run(case.emit, "c", name="bare")
    found = compare(case)
    assert found.code.verdict == "DIFFERENT" and "cannot be shown" in found.code.why
    assert compare(case, "inference", "bare").code.verdict == "UNKNOWN"
    assert compare(case, "inference", "inference").code.verdict == "SAME"


def test_tests_that_one_side_lacks(case: Case) -> None:
    component(case, "inference", ONLINE, tests=[checked("a"), checked("b"), checked("n", None)])
    component(
        case,
        "evaluation",
        OFFLINE,
        tests=[checked("a"), checked("b", OTHER), checked("c", phase="AFTER"), checked("n")],
    )
    found = compare(case)
    assert found.differences == ("tests",)
    assert found.tests._asdict() == {
        "only_a": (),
        "only_b": ("AFTER c",),
        "other_code": ("BEFORE b",),
        "same": ("BEFORE a",),
        "unknown": ("BEFORE n",),
    }


def test_parameters_and_packages(case: Case) -> None:
    nan = float("nan")
    mine = {"params": {"C": 1, "n": nan}, "environment": {"numpy": "1", "python": "3"}}
    theirs = {"params": {"C": 1.0, "n": nan}, "environment": {"numpy": "2", "pandas": "3"}}
    component(case, "inference", ONLINE, **mine, lock_digest=DIGEST, owner="ann")
    component(case, "evaluation", OFFLINE, **theirs, lock_digest=OTHER, seed=7)
    found = compare(case)
    assert set(found.params) == {"C", "seed"} and found.environment == {"numpy": ("1", "2")}
    assert found.only_named == ("pandas", "python")
    assert found.differences == ("params", "environment")
    assert found.to_json()["params"]["seed"] == {"b": 7}


def test_the_newest_complete_run_counts_unless_one_is_named(case: Case) -> None:
    component(case, "inference", ONLINE)
    run(case.emit, "failed", name="inference", status="FAIL", started_us=CLOCK_US + 10)
    component(case, "evaluation", OFFLINE)
    assert compare(case).a.run_id == "r-inference"
    assert compare(case, "run/failed").a.run_id == "failed"
    with pytest.raises(NotFound, match="evaluation, inference"):
        compare(case, "nobody")

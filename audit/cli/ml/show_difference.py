"""Showing how two components differ."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from audit.cli.output import write, write_block
from audit.event.values import dumps
from audit.ledger.harmless import harmless

if TYPE_CHECKING:
    from audit.lineage.recorded.component_diff import ComponentDiff, Pairs
    from audit.lineage.recorded.function_diff import CodeDiff
    from audit.lineage.recorded.runs import Run


def show_difference(found: "ComponentDiff") -> None:
    """Each aspect with SAME or what differs; the differences of code at the end."""
    write_block(_pairs(found), label_columns=13)
    for line in _code_lines(found.code):
        write(harmless(line) + "\n")


def _pairs(found: "ComponentDiff") -> Iterator[tuple[str, str]]:
    yield "a", _side(found.a)
    yield "b", _side(found.b)
    yield "", ""
    yield "CODE", f"{found.code.verdict}: {found.code.why}"
    yield "COMMIT", _two(found.a.code_commit, found.b.code_commit)
    yield from _tests(found)
    yield from _values("PARAMS", found.params)
    yield from _values("ENVIRONMENT", found.environment)
    one, other = found.locks
    if one is not None and other is not None:
        yield "LOCK", "SAME" if one == other else f"{one} / {other}"
    yield "OWNER", _two(found.a.owner, found.b.owner)
    yield "", ""
    yield "DIFFER", ", ".join(found.differences) or "nothing"


def _side(run: "Run") -> str:
    dirty = " (with changes)" if run.code_dirty else ""
    commit = f", commit {run.code_commit[:12]}{dirty}" if run.code_commit else ""
    return f"{run.name}: {run.ref}, {run.status}{commit}"


def _two(one: str | None, other: str | None) -> str:
    if one == other:
        return "none recorded" if one is None else f"SAME: {one}"
    return f"{one or 'none recorded'} / {other or 'none recorded'}"


def _tests(found: "ComponentDiff") -> Iterator[tuple[str, str]]:
    tests, label = found.tests, "TESTS"
    lines = [
        *(f"only {found.a.name} (a): {name}" for name in tests.only_a),
        *(f"only {found.b.name} (b): {name}" for name in tests.only_b),
        *(f"other code: {name}" for name in tests.other_code),
        *(f"same: {name}" for name in tests.same),
        *(f"no digest to compare: {name}" for name in tests.unknown),
    ]
    for line in lines or ["none on either side"]:
        yield label, line
        label = ""


def _values(label: str, pairs: "Pairs") -> Iterator[tuple[str, str]]:
    from audit.lineage.recorded.component_diff import ABSENT

    if not pairs:
        yield label, "SAME"
    for name, pair in pairs.items():
        one, other = ("absent" if value is ABSENT else dumps(value) for value in pair)
        yield label, f"{name}: {one} / {other}"
        label = ""


def _code_lines(code: "CodeDiff") -> Iterator[str]:
    for one in code.functions:
        if one.status == "SAME":
            continue
        yield ""
        yield f"{one.name or 'the function itself'}: {one.status}"
        if one.bindings:
            yield f"  bound to something else: {', '.join(one.bindings)}"
        yield from one.diff
    if code.diff:
        yield ""
        yield from code.diff

"""Every question has an acceptance test of its name, or `tests/QUESTIONS.md` says why not yet."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).resolve().parent
TABLE = HERE.parent / "QUESTIONS.md"
POSTPONED = "postponed: "


def ids(letter: str, *numbers: int) -> set[str]:
    return {f"{letter}{number}" for number in numbers}


QUESTIONS = (
    ids("C", *range(1, 23))
    | ids("L", *range(1, 14))
    | ids("T", *range(1, 18))
    | ids("Q", *range(1, 9))
    | ids("V", *range(1, 12))
)
NEVER_POSTPONED = (
    ids("C", *range(1, 8), 10, *range(12, 17), 18, *range(20, 23))
    | ids("Q", *range(1, 9))
    | ids("T", 1, 2, 3, 5, 6, 10)
    | ids("L", *range(1, 6))
    | ids("V", *range(1, 10))
)


class Row(NamedTuple):
    """A line of the table."""

    id: str
    question: str
    tests: list[str]
    rest: str


def table() -> list[Row]:
    lines = re.findall(r"^\| ([A-Z]\d+) \| (.+?) \| (.+) \|$", TABLE.read_text(), re.MULTILINE)
    return [
        Row(
            id_,
            question,
            re.findall(r"`(test_\w+)`", cell),
            re.sub(r"`test_\w+`", "", cell).lstrip(", ."),
        )
        for id_, question, cell in lines
    ]


def written_tests() -> dict[str, str]:
    """Acceptance tests by name, of those that are named by a question, and where they are."""
    found: dict[str, str] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and re.match(r"test_[A-Z]\d+_", node.name):
                assert node.name not in found, f"{node.name} is in two files"
                found[node.name] = path.name
    return found


def test_every_question_has_one_row() -> None:
    named = [row.id for row in table()]
    assert len(named) == len(set(named)) == 71
    assert set(named) == QUESTIONS
    assert all(row.question for row in table())


def test_the_tests_of_the_table_are_those_that_there_are() -> None:
    listed = {name: row.id for row in table() for name in row.tests}
    assert listed.keys() == written_tests().keys()
    assert {name: name.split("_")[1] for name in listed} == listed


@pytest.mark.parametrize("row", table(), ids=lambda row: row.id)
def test_a_question_has_tests_or_a_reason(row: Row) -> None:
    if row.id in NEVER_POSTPONED:
        assert row.tests and not row.rest
    elif row.tests:
        assert not row.rest or row.rest.startswith("Not yet: ")
    else:
        assert row.rest.startswith(POSTPONED) and len(row.rest) > len(POSTPONED) + 40

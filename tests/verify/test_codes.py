"""Every code that the verifier can report is explained, and none is there for nothing."""

import ast
from pathlib import Path

import audit.ledger.evidence
import audit.verify
from audit.verify.codes import CANNOT_TELL, NOT_PROVEN, TAMPERED, WARNINGS, meaning

SOURCES = [
    *sorted(Path(audit.verify.__file__).parent.rglob("*.py")),
    Path(audit.ledger.evidence.__file__),
]
KNOWN = TAMPERED.keys() | CANNOT_TELL.keys() | WARNINGS.keys()
FROM_THE_STORE = {
    *("guard_changed", "guard_missing", "guard_open", "guard_unknown"),
    *("index_differs", "schema_changed", "table_replaced"),
}


def literals() -> set[str]:
    """All string constants of the package but those of the table itself."""
    return {
        node.value
        for path in SOURCES
        if path.name != "codes.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def noted() -> set[str]:
    """The first argument of every call of an `add` that notes something, where it is a literal."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            named = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if named and node.func.attr in ("add", "_bad") and len(node.args) == 3:
                match node.args[0]:
                    case ast.Constant(str(code)):
                        found.add(code)
    return found


def test_every_code_that_is_used_is_explained() -> None:
    assert len(noted()) > 25 and noted() <= KNOWN
    assert all(meaning(code) for code in KNOWN)


def test_every_code_that_is_explained_is_used() -> None:
    assert KNOWN - literals() - FROM_THE_STORE == set()
    assert NOT_PROVEN.keys() - literals() == set()


def test_a_code_means_one_thing() -> None:
    assert not TAMPERED.keys() & CANNOT_TELL.keys()
    assert not WARNINGS.keys() & (TAMPERED.keys() | CANNOT_TELL.keys())

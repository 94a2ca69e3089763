"""How the code of two runs differs: by the functions that were captured, else by the source text.

A run names the file that its function is in (`code_digest`), and the function itself with all of
its own that it calls (`function_digest`, see `audit.lineage.source.capsule`). Two functions count
as the same when they do the same but for their name, decorators, docstring, comments and layout,
and their global names are bound to the same. Nothing of it is run: sources are parsed, never
executed.
"""

import ast
import difflib
import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from audit.lineage.content.kept_text import Kept, kept_text
from audit.lineage.recorded.runs import Run
from audit.lineage.source.code import MAX_SOURCE_BYTES
from audit.store.blobs import BlobStore

SAME, DIFFERENT, UNKNOWN = "SAME", "DIFFERENT", "UNKNOWN"
ONLY_A, ONLY_B = "ONLY_A", "ONLY_B"
ENTRY = ""
"""Name under which the functions that ran themselves are compared, whatever each is called."""
MAX_DIFF_LINES = 2_000
MAX_DIFFED_LINES = 20_000
"""Longer texts are not compared line by line: that takes time with the square of their length."""
MAX_FUNCTIONS = 200


class FunctionDiff(NamedTuple):
    """One function on both sides. `status`: SAME, DIFFERENT, ONLY_A or ONLY_B.

    `bindings`: global names that are bound to something else. `diff`: unified, empty when the
    texts are equal.
    """

    name: str
    status: str
    bindings: tuple[str, ...]
    diff: tuple[str, ...]


class CodeDiff(NamedTuple):
    """`verdict`: SAME, DIFFERENT or UNKNOWN; `why` in words. `functions`: where both were kept."""

    verdict: str
    why: str
    same_file: bool | None
    functions: tuple[FunctionDiff, ...]
    diff: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "verdict": self.verdict,
            "why": self.why,
            "same_file": self.same_file,
            "functions": [
                {**one._asdict(), "bindings": list(one.bindings), "diff": list(one.diff)}
                for one in self.functions
            ],
            "diff": list(self.diff),
        }


class Function(NamedTuple):
    """A captured function: its text, and name -> what each global name is bound to."""

    source: str
    bindings: Mapping[str, str]


def compare_code(blobs: BlobStore, a: Run, b: Run) -> CodeDiff:
    """Compare the code of two runs. Never raises for what records or the blob store hold."""
    same_file = None
    if a.code_digest is not None and b.code_digest is not None:
        same_file = a.code_digest == b.code_digest
    if a.function_digest is not None and a.function_digest == b.function_digest:
        why = "the recorded function is the same"
        if same_file is False:
            why += ", though the file that it is in differs"
        return CodeDiff(SAME, why, same_file, (), ())
    mine, theirs = _functions(blobs, a), _functions(blobs, b)
    if mine is not None and theirs is not None:
        return _by_functions(mine, theirs, same_file)
    return _by_files(blobs, a, b, same_file)


def _by_functions(
    mine: dict[str, Function], theirs: dict[str, Function], same_file: bool | None
) -> CodeDiff:
    names = sorted(mine.keys() | theirs.keys())
    functions = tuple(_function_diff(name, mine.get(name), theirs.get(name)) for name in names)
    if all(one.status == SAME for one in functions):
        why = "the recorded functions do the same"
        if same_file is False:
            why += ", though the files that they are in differ"
        return CodeDiff(SAME, why, same_file, functions, ())
    other = [one.name or "the function itself" for one in functions if one.status != SAME]
    return CodeDiff(DIFFERENT, f"other code: {', '.join(other)}", same_file, functions, ())


def _function_diff(name: str, a: Function | None, b: Function | None) -> FunctionDiff:
    if a is None or b is None:
        return FunctionDiff(name, ONLY_B if a is None else ONLY_A, (), ())
    bindings = tuple(
        sorted(
            bound
            for bound in a.bindings.keys() | b.bindings.keys()
            if a.bindings.get(bound) != b.bindings.get(bound)
        )
    )
    same = _meaning(a.source) == _meaning(b.source) and not bindings
    diff = () if same else _unified(a.source, b.source)
    return FunctionDiff(name, SAME if same else DIFFERENT, bindings, diff)


def _by_files(blobs: BlobStore, a: Run, b: Run, same_file: bool | None) -> CodeDiff:
    if same_file is None:
        return CodeDiff(UNKNOWN, "one of them has no digest of its code", None, (), ())
    if same_file:
        why = "the source file is the same; which function of it ran was not kept of both"
        verdict = SAME if a.name == b.name else UNKNOWN
        return CodeDiff(verdict, why, True, (), ())
    mine, theirs = kept_text(blobs, a.code_digest), kept_text(blobs, b.code_digest)
    gone = [one for one in (mine, theirs) if one.text is None]
    if gone:
        why = f"the source files differ; their text cannot be shown: {gone[0].problem}"
        return CodeDiff(DIFFERENT, why, False, (), ())
    return CodeDiff(DIFFERENT, "the source files differ", False, (), _diff_of(mine, theirs))


def _diff_of(mine: Kept, theirs: Kept) -> tuple[str, ...]:
    return _unified(mine.text or "", theirs.text or "")


def _unified(a: str, b: str) -> tuple[str, ...]:
    """A unified diff, its header included, without line ends; at most MAX_DIFF_LINES."""
    before, after = a.splitlines(), b.splitlines()
    if max(len(before), len(after)) > MAX_DIFFED_LINES:
        return (f"(over {MAX_DIFFED_LINES:,} lines: not compared line by line)",)
    lines = list(difflib.unified_diff(before, after, "a", "b", lineterm=""))
    if len(lines) > MAX_DIFF_LINES:
        left = len(lines) - MAX_DIFF_LINES
        return (*lines[:MAX_DIFF_LINES], f"({left:,} more lines)")
    return tuple(lines)


def _functions(blobs: BlobStore, run: Run) -> dict[str, Function] | None:
    """Name -> function of a captured one, the entry under ENTRY; None where none can be read."""
    if run.function_digest is None:
        return None
    kept = kept_text(blobs, run.function_digest)
    if kept.text is None:
        return None
    try:
        document = json.loads(kept.text)
    except (ValueError, RecursionError):
        return None
    functions = document.get("functions") if isinstance(document, dict) else None
    if not isinstance(functions, dict) or len(functions) > MAX_FUNCTIONS:
        return None
    entry = document.get("entry")
    names = {key: ENTRY if key == entry else _name(one) for key, one in functions.items()}
    found: dict[str, Function] = {}
    for key, one in functions.items():
        if isinstance(one, dict) and isinstance(one.get("source"), str):
            found[_free(names[key], found)] = Function(one["source"], dict(_bindings(one, names)))
    return found if ENTRY in found else None


def _name(function: Any) -> str:
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) and name else "?"


def _free(name: str, taken: Mapping[str, object]) -> str:
    """The name, numbered where several functions have it."""
    if name not in taken:
        return name
    return next(free for free in (f"{name} ({n})" for n in range(2, 9_999)) if free not in taken)


def _bindings(function: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What global and enclosing names, and defaults, are bound to; a function by its name."""
    for part in ("globals", "closure", "kwdefaults"):
        bound = function.get(part)
        if isinstance(bound, dict):
            for name, binding in bound.items():
                yield str(name), _binding(binding, names)
    defaults = function.get("defaults")
    if isinstance(defaults, list):
        for at, binding in enumerate(defaults):
            yield f"default {at + 1}", _binding(binding, names)


def _binding(binding: Any, names: Mapping[str, str]) -> str:
    if isinstance(binding, dict) and binding.get("is") == "function":
        return f"function {names.get(str(binding.get('id')), '?')}"
    return json.dumps(binding, sort_keys=True)


def _meaning(source: str) -> str:
    """The function without its name, decorators, docstring, comments and layout."""
    text = textwrap.dedent(source)
    if len(text) > MAX_SOURCE_BYTES:
        return text
    try:
        tree = ast.parse(text)
        function = tree.body[0] if len(tree.body) == 1 else None
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            return text
        function.name = ""
        function.decorator_list = []
        if ast.get_docstring(function, clean=False) is not None and len(function.body) > 1:
            function.body = function.body[1:]
        return ast.dump(function)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text

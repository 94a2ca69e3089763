"""The selections of rows that can be made again: comparisons of columns with constants.

The text is read as a Python expression, and never run: names of columns (or of the index), texts,
numbers, True, False, lists of these; == != < <= > >= in, not in; and, or, not (also & | ~). That is
what `DataFrame.query` takes as well, so the words that people record often are such a text::

    AccountStatus == 'Open' and LoanAmount >= 10000

Where a value is missing no comparison holds, != and not in excepted, as in pandas.
"""

import ast
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from audit.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    import pandas

MAX_SELECTION_CHARS = 2_000
MAX_SELECTION_DEPTH = 50

_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_CONSTANTS = (str, int, float, bool)


def is_selection(text: str) -> bool:
    """Whether a text is a selection that can be made again, and not only words."""
    try:
        return _is_known(_parsed(text), 0) and not _is_constant(_parsed(text))
    except InvalidInput:
        return False


def select_rows(frame: "pandas.DataFrame", text: str) -> "pandas.DataFrame":
    """The rows that a selection takes.

    Raises NotFound for a column that is not there, InvalidInput for what cannot be compared and for
    a text that is no selection.
    """
    if not is_selection(text):
        raise InvalidInput(f"{text[:80]!r} is no selection of rows")
    try:
        mask = _mask(frame, _parsed(text))
    except InvalidInput:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{text[:80]!r} compares what cannot be: {error!s:.100}") from error
    taken: pandas.DataFrame = frame[mask]
    return taken


def _parsed(text: str) -> ast.expr:
    if len(text) > MAX_SELECTION_CHARS:
        raise InvalidInput(f"a selection of {len(text)} characters is over {MAX_SELECTION_CHARS}")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InvalidInput(f"{text[:80]!r} is no selection of rows") from None


def _is_known(node: ast.expr, depth: int) -> bool:
    """Whether a node, and all below it, is of the grammar of the module docstring."""
    if depth > MAX_SELECTION_DEPTH:
        return False
    if isinstance(node, ast.BoolOp):
        return all(_is_condition(value, depth + 1) for value in node.values)
    if isinstance(node, ast.BinOp):
        known = isinstance(node.op, (ast.BitAnd, ast.BitOr))
        return known and all(_is_condition(one, depth + 1) for one in (node.left, node.right))
    if isinstance(node, ast.UnaryOp):
        known = isinstance(node.op, (ast.Not, ast.Invert))
        return known and _is_condition(node.operand, depth + 1)
    if isinstance(node, ast.Compare):
        left, right, op = node.left, node.comparators[0], node.ops[0]
        if len(node.ops) != 1 or not isinstance(left, ast.Name):
            return False
        if isinstance(op, (ast.In, ast.NotIn)):
            listed = isinstance(right, (ast.List, ast.Tuple))
            return listed and all(map(_is_constant, right.elts))  # type: ignore[attr-defined]
        return type(op) in _COMPARE and (_is_constant(right) or isinstance(right, ast.Name))
    return isinstance(node, ast.Name)


def _is_condition(node: ast.expr, depth: int) -> bool:
    return not _is_constant(node) and _is_known(node, depth)


def _is_constant(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return isinstance(node.operand, ast.Constant) and type(node.operand.value) in (int, float)
    return isinstance(node, ast.Constant) and type(node.value) in _CONSTANTS


def _mask(frame: "pandas.DataFrame", node: ast.expr) -> Any:
    if isinstance(node, ast.BoolOp):
        join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
        mask = _mask(frame, node.values[0])
        for value in node.values[1:]:
            mask = join(mask, _mask(frame, value))
        return mask
    if isinstance(node, ast.BinOp):
        join = operator.and_ if isinstance(node.op, ast.BitAnd) else operator.or_
        return join(_mask(frame, node.left), _mask(frame, node.right))
    if isinstance(node, ast.UnaryOp):
        return ~_mask(frame, node.operand)
    if isinstance(node, ast.Compare):
        return _plain(_compared(frame, node))
    assert isinstance(node, ast.Name)
    column = _column(frame, node.id)
    if str(column.dtype) not in ("bool", "boolean"):
        raise InvalidInput(f"{node.id} is no column of true and false")
    return _plain(column)


def _compared(frame: "pandas.DataFrame", node: ast.Compare) -> Any:
    assert isinstance(node.left, ast.Name)
    column, right, op = _column(frame, node.left.id), node.comparators[0], node.ops[0]
    if isinstance(op, (ast.In, ast.NotIn)):
        found = column.isin(ast.literal_eval(right))
        return ~found if isinstance(op, ast.NotIn) else found
    other = _column(frame, right.id) if isinstance(right, ast.Name) else ast.literal_eval(right)
    if isinstance(op, ast.NotEq):
        return ~_plain(column == other)
    return _COMPARE[type(op)](column, other)


def _plain(mask: Any) -> Any:
    """A mask without what is missing: there nothing holds."""
    if str(mask.dtype) == "bool":
        return mask
    return mask.astype("boolean").fillna(False).astype("bool")


def _column(frame: "pandas.DataFrame", name: str) -> Any:
    if name in frame.columns:
        column = frame[name]
        if column.ndim == 1:
            return column
    elif name == frame.index.name:
        return frame.index.to_series()
    raise NotFound(f"there is no column {name!r:.80}")

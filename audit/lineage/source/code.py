"""Source text and code objects: the text of a running function, and its code found in that text.

The text of a function is compiled, never executed: decorators, defaults and annotations in it have
no effect. Its code object is found by name among the constants of what was compiled.
"""

import __future__

import dis
import inspect
import types
from collections.abc import Iterator
from typing import Any

from audit.errors import LimitExceeded

MAX_SOURCE_BYTES = 1 << 20
"""Longest source text of one function: 1 MiB."""

_FUTURE_FLAGS = 0
for _name in __future__.all_feature_names:
    _FUTURE_FLAGS |= getattr(__future__, _name).compiler_flag


def source_flags(code: types.CodeType) -> int:
    """The `from __future__` flags that a code object was compiled with."""
    return code.co_flags & _FUTURE_FLAGS


def source_of(code: types.CodeType) -> str | None:
    """The source text of a running code object; None when the file now says something else.

    The whole file is compiled and its code compared with what runs, because a module's imports have
    an effect on the code of its functions. Raises OSError, TypeError, SyntaxError or ValueError
    when there is no text.
    """
    lines, _ = inspect.findsource(code)
    whole = compile("".join(lines), "<file>", "exec", flags=source_flags(code), dont_inherit=True)
    for found in _walk(whole):
        if found.co_firstlineno == code.co_firstlineno and same_code(found, code):
            return inspect.getsource(code)
    return None


def find_code(source: str, name: str, free: tuple[str, ...], flags: int) -> types.CodeType | None:
    """The code object of the function `name` in its source text; None when it is not there.

    `free`: the names that it takes from the function around it. Raises SyntaxError or ValueError on
    text that is not Python, LimitExceeded on one that is too long.
    """
    if len(source) > MAX_SOURCE_BYTES:
        raise LimitExceeded(f"source text over {MAX_SOURCE_BYTES} bytes")
    # An indented text keeps its indentation, because taking it off would change the strings in it.
    indented = source[:1] in (" ", "\t")
    head = f"def around({', '.join(free)}):\n" if free else "if 1:\n"
    if free and not indented:
        return None
    text = head + source if indented else source
    compiled = compile(text, "<recorded source>", "exec", flags=flags, dont_inherit=True)
    found = [code for code in _walk(compiled) if code.co_name == name]
    fitting = [code for code in found if code.co_freevars == free]
    return fitting[0] if fitting else None


def is_alike(left: types.CodeType, right: types.CodeType) -> bool:
    """Whether two code objects have the same arguments, names and constants.

    Less than `same_code`: enough to tell two lambdas of one line apart, and not changed by the
    imports of a module around them.
    """
    return _outline(left) == _outline(right)


def same_code(left: types.CodeType, right: types.CodeType) -> bool:
    """Whether two code objects do the same: all but the line numbers and the file's name."""
    return _essence(left) == _essence(right)


def global_names(code: types.CodeType) -> list[str]:
    """The names that a function, with the functions inside it, looks up globally; sorted."""
    names = set()
    for part in _walk(code):
        for instruction in dis.get_instructions(part):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                names.add(str(instruction.argval))
    return sorted(names)


def _walk(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _walk(constant)


def _essence(code: types.CodeType) -> tuple[Any, ...]:
    return (
        code.co_name,
        code.co_code,
        code.co_names,
        code.co_varnames,
        code.co_cellvars,
        code.co_freevars,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_exceptiontable,
        tuple(_constant(constant) for constant in code.co_consts),
    )


def _outline(code: types.CodeType) -> tuple[Any, ...]:
    constants = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
    arguments = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    names = (sorted(code.co_names), code.co_varnames, code.co_freevars)
    return arguments, names, [_constant(constant) for constant in constants]


def _constant(constant: object) -> object:
    """Constants by type and text: 1, 1.0 and True are not the same, nor are 0.0 and -0.0."""
    if isinstance(constant, types.CodeType):
        return _essence(constant)
    if isinstance(constant, tuple):
        return tuple(_constant(item) for item in constant)
    if isinstance(constant, frozenset):
        return frozenset(_constant(item) for item in constant)
    return type(constant).__name__, repr(constant)

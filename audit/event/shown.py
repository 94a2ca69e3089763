"""Somebody's value in a message: short, on one line, and never an error of its own."""

import reprlib

MAX_SHOWN_CHARS = 64
"""How much of a value a message repeats."""

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = MAX_SHOWN_CHARS


def shown(value: object) -> str:
    """The beginning of a value's repr; its type when there is none (an integer of 5,000 digits)."""
    try:
        return _repr.repr(value)[:MAX_SHOWN_CHARS]
    except Exception:  # whatever a stranger's __repr__ raises must not hide the real message
        return f"<{type(value).__name__}>"

"""The two halves of an object as served: its plain value, and the form that makes it again."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from audit.event.values import Value

MAX_DEPTH = 32
"""How deep lists and dictionaries of features and outputs may nest."""
MAX_CELLS = 1_000_000
"""How many cells a form may ask for."""

Form = dict[str, Any] | None
"""JSON; None when the value says it all. See audit.lineage.content.served."""


class Served(NamedTuple):
    """A plain value, and the form that makes the very object of it again."""

    value: Value
    form: Form


class Arrays(NamedTuple):
    """How NumPy arrays are taken apart and made again: frames are made of them."""

    describe: Callable[[Any, int], Served]
    rebuild: Callable[[Any, dict[str, Any]], Any]


def with_items(form: dict[str, Any], forms: Mapping[str, Form]) -> dict[str, Any]:
    """The form, with the forms of its items if there are any."""
    if forms:
        form["items"] = forms
    return form

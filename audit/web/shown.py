"""Values as pages show them: harmless to look at, of bounded length; templates escape them."""

from collections.abc import Iterable, Sized
from datetime import datetime
from itertools import islice
from typing import Any
from urllib.parse import quote

from jinja2 import Undefined
from markupsafe import Markup

from audit.event.times import format_time
from audit.event.values import Value
from audit.ledger.harmless import ELLIPSIS, harmless
from audit.replay.rows_out import plain_text
from audit.web.answer import ENCODED

MAX_CELL_CHARS = 400
"""Of a value in a table, so much is shown; the whole is in the `.json` twin."""
MAX_VALUE_CHARS = 20_000
"""Of a value on a page of its own."""
MAX_FIELDS = 500
"""Of a row or record on a page of its own, so many fields are shown."""
MAX_LISTED = 40
"""Of a row that is one of many, or of names in a cell."""

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def text(value: Any, most: int = MAX_CELL_CHARS) -> str:
    """A value or a text for a page: control characters and changes of direction spelled out."""
    if isinstance(value, Undefined):
        str(value)  # raises: a template names what no screen gives
    plain = value if isinstance(value, str) else plain_text(value)
    if len(plain) > most:
        return f"{harmless(plain[:most])}{ELLIPSIS} ({len(plain):,} characters)"
    return harmless(plain)


def kind(value: Value) -> str:
    """The type of a value in a word: what tells 5 from "5", and null from the text "null"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {int: "integer", float: "double", str: "string", bytes: "bytes", datetime: "timestamp"}
    return names.get(type(value), type(value).__name__.lower())


def when(time_us: int | None) -> str:
    """A time to the second, UTC."""
    return "" if time_us is None else format_time(time_us)[:19].replace("T", " ")


def exact(time_us: int | None) -> str:
    """A time to the microsecond, RFC 3339."""
    return "" if time_us is None else format_time(time_us)


def age(seconds: float | None) -> str:
    """How long ago."""
    if seconds is None:
        return ""
    for size, unit in _STEPS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def number(value: float | None) -> str:
    """A number with thousands apart."""
    return "" if value is None else f"{value:,}"


def many(count: int, one: str, more: str | None = None) -> str:
    """A number of things: 1 row, 1,200 rows. `more`: the plural, where it is not with an s."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def command_line(words: tuple[str, ...]) -> str:
    """Words as one line that a shell reads as these words."""
    from shlex import join

    return join(words)


def first_of(items: Iterable[Any], most: int) -> list[Any]:
    """The first few: a row of 64 kB may have ten thousand fields."""
    return list(islice(items, most))


def left_out(items: Sized, most: int) -> str:
    """How many `first_of` left out, in words; empty for none."""
    more = len(items) - most
    return f" … and {more:,} more, in the JSON" if more > 0 else ""


def hidden_field(name: str, value: str) -> Markup:
    """A field of a form that brings a value back as it is.

    A form makes other line ends of those in a value, and NUL is lost: such a value goes encoded,
    under a name that says so.
    """
    if set(value) & set("\r\n\0"):
        name, value = name + ENCODED, quote(value, safe="")
    return Markup('<input type="hidden" name="{}" value="{}">').format(name, value)

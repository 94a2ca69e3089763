"""Times and digests as markup: short to look at, exact for whoever points, copies or prints."""

import re

from markupsafe import Markup, escape

from audit.web.shown import exact, text

HEAD_CHARS, TAIL_CHARS = 10, 6
"""Of the digits of a digest, what stays in sight; commands take the first ones."""
MAX_DIGEST_CHARS = 1_000
_MARKED = re.compile(
    r"(?P<digest>\b(?:[a-z0-9-]{1,20}:){1,3}[0-9a-f]{40,128}\b)"
    r"|(?P<time>\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?Z)"
)
"""A digest that names its algorithm, and a time, in the midst of a text."""


def moment(time: int | str | None) -> Markup:
    """A time to the second, UTC, exact in its title. `time`: microseconds or RFC 3339."""
    if time is None:
        return Markup("")
    whole = text(time, 64) if isinstance(time, str) else exact(time)
    short = f"{whole[:10]} {whole[11:19]}"
    if isinstance(time, str):
        whole, short = escape(whole), escape(short)
    # Hundreds on a page: put together as text, which is several times as fast as by Markup.
    return Markup(f'<time datetime="{whole}" title="{whole}">{short}</time>')


def digest(value: str) -> Markup:
    """A digest whose middle the stylesheet folds away: copied, heard and printed it is whole."""
    whole = text(value, MAX_DIGEST_CHARS)
    head = whole.rfind(":") + 1 + HEAD_CHARS
    if len(whole) <= head + TAIL_CHARS + 1:
        return escape(whole)
    return Markup('<span class="digest" title="{}">{}<span>{}</span>{}</span>').format(
        whole, whole[:head], whole[head:-TAIL_CHARS], whole[-TAIL_CHARS:]
    )


def folded(value: str, most: int = MAX_DIGEST_CHARS) -> Markup:
    """A text in which each digest is folded and each time is short, both whole to copy or hear."""
    whole = text(value, most)
    parts, at = [], 0
    for found in _MARKED.finditer(whole):
        parts += [escape(whole[at : found.start()]), _mark(found)]
        at = found.end()
    return Markup("").join([*parts, escape(whole[at:])])


def _mark(found: re.Match[str]) -> Markup:
    return moment(found[0]) if found["time"] else digest(found[0])

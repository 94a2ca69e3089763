"""Times and digests as markup: short to look at, exact for whoever points, copies or prints."""

from markupsafe import Markup, escape

from audit.web.shown import exact, text

HEAD_CHARS, TAIL_CHARS = 10, 6
"""Of a digest, what stays in sight; commands take the first ones."""
MAX_DIGEST_CHARS = 1_000


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
    if len(whole) <= HEAD_CHARS + TAIL_CHARS + 1:
        return escape(whole)
    return Markup('<span class="digest" title="{}">{}<span>{}</span>{}</span>').format(
        whole, whole[:HEAD_CHARS], whole[HEAD_CHARS:-TAIL_CHARS], whole[-TAIL_CHARS:]
    )

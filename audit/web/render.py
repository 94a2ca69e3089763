"""Pages from templates. All is escaped; nothing is marked safe but what this package draws."""

from functools import cache, lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from audit import __version__
from audit.web import links, shown
from audit.web.answer import Answer, Asked, Screen, address
from audit.web.drawn.marks import digest, folded, moment

TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""What lies in static/."""


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates, and what they may use."""
    made = Environment(
        loader=PackageLoader("audit.web"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        text=shown.text,
        first_of=shown.first_of,
        kind=shown.kind,
        when=shown.when,
        exact=shown.exact,
        moment=moment,
        digest=digest,
        folded=folded,
        age=shown.age,
        number=shown.number,
        command_line=shown.command_line,
    )
    made.globals.update(
        address=address,
        static=static_address,
        version=__version__,
        hidden_field=shown.hidden_field,
        left_out=shown.left_out,
        many=shown.many,
        most_fields=shown.MAX_FIELDS,
        most_listed=shown.MAX_LISTED,
        link_of=links.of_ref,
        link_of_entry=links.of_entry,
    )
    return made


def prepare() -> None:
    """Compile the way in, and what it extends: else the first who comes waits for that."""
    for name in ("base.html", "screen.html", "overview.html"):
        environment().get_template(name)


@cache
def _static_files() -> dict[str, bytes]:
    """By name: what comes from outside is never made into a path."""
    found = files("audit.web").joinpath("static").iterdir()
    return {one.name: one.read_bytes() for one in found if one.name.endswith(tuple(TYPES))}


def static_file(name: str) -> bytes | None:
    """A file of static/; None where there is no such."""
    return _static_files().get(name)


@lru_cache(maxsize=64)
def static_address(name: str) -> str:
    """Where browsers find a file of static/: another address for other bytes, so it may be kept."""
    data = static_file(name)
    if data is None:
        raise LookupError(f"there is no static file {name}")
    return f"/static/{name}?v={sha256(data).hexdigest()[:12]}"


def page(screen: Screen, asked: Asked, answer: Answer, menu: tuple[Screen, ...], who: str) -> str:
    """One screen as HTML."""
    template = environment().get_template(screen.template)
    return template.render(
        {**answer.data, **answer.view},
        screen=screen,
        asked=asked,
        answer=answer,
        menu=menu,
        who=who,
    )


def plain_page(template: str, **values: Any) -> str:
    """A page that is no screen: an error, the way in."""
    return environment().get_template(template).render(**values)

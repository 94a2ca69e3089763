"""What a screen is asked and what it answers: one answer, shown as a page, JSON, CSV or Parquet.

A screen is one function from `Asked` to `Answer`. It knows nothing of HTTP, and what it answers is
the same in each form: `data` is what `.json` gives, and what the page's template shows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from audit.errors import InvalidInput
from audit.replay.points import Cut
from audit.web.pinned import pin_text

if TYPE_CHECKING:
    import pyarrow

    from audit.ledger import Ledger
    from audit.verify.policy import Policy

MAX_PARAMETER_CHARS = 16_384
"""Longest value of one parameter."""
ENCODED = "~"
"""A parameter whose name ends so is percent-encoded once more: forms cannot carry line ends."""


class Parameter(NamedTuple):
    """One parameter of a screen's URL, as the page's form and the API's description tell it.

    `most`: of a parameter that is a number, the greatest that is taken; `least` the smallest.
    """

    name: str
    about: str
    required: bool = False
    choices: tuple[str, ...] = ()
    example: str = ""
    most: int | None = None
    least: int = 0


AS_OF = Parameter(
    "as_of",
    "A time or a position: 2026-01-31T10:00:00Z, -7d, HEAD~10, 0/1042.",
    example="2026-01-31T10:00:00Z",
)
PIN = Parameter(
    "pin",
    "Sizes of the logs, as a permalink has them: 0:1042,1:77. Wins over as_of.",
    example="0:1042",
)
VALID_AT = Parameter(
    "valid_at",
    "A time on the valid axis: what was true then, as known at as_of.",
    example="2026-01-31",
)


class Table(NamedTuple):
    """The rows that CSV and Parquet have, streamed: `rows` may be read once.

    `arrow` gives them as one Arrow table where that is cheaper than by rows.
    """

    columns: tuple[str, ...]
    rows: Iterable[Sequence[Any]]
    arrow: "Callable[[], pyarrow.Table] | None" = None


@dataclass(frozen=True)
class Asked:
    """One question: the ledger, open for this request alone, the cut, and the URL's parameters.

    `wants_table`: CSV or Parquet is asked for, so that only `Answer.table` counts.
    `verification`: tells of the newest verification (see `audit.web.verifying`).
    `wants_data`: JSON is asked for, so that only `Answer.data` counts. Where it is not, what the
    template does not need may be left out there, as what only a template needs may be left out
    here.
    """

    ledger: "Ledger"
    policy: "Policy | None"
    cut: Cut
    path: str
    parameters: Mapping[str, str]
    wants_table: bool
    verification: Callable[[], dict[str, Any]]
    wants_data: bool = False

    def text(self, name: str) -> str | None:
        """A parameter; None where it is not there or empty."""
        return self.parameters.get(name) or None

    def needed(self, name: str) -> str:
        """A parameter that must be there. Raises InvalidInput."""
        found = self.text(name)
        if found is None:
            raise InvalidInput(f"the address lacks {name}=")
        return found

    def number(self, name: str, default: int, most: int, least: int = 1) -> int:
        """A parameter that is a whole number from `least` to `most`. Raises InvalidInput."""
        found = self.text(name)
        if found is None:
            return default
        plain = found.isascii() and found.isdigit() and len(found) <= 19
        if not (plain and least <= int(found) <= most):
            raise InvalidInput(f"{name} is a number from {least} to {most:,}")
        return int(found)

    def skipped(self, most: int) -> int:
        """How many rows a page leaves out: `skip`, from 0 to `most`. Raises InvalidInput."""
        return self.number("skip", 0, most, least=0)

    def is_on(self, name: str) -> bool:
        """A parameter that is 1 or 0 (or not there). Raises InvalidInput."""
        found = self.text(name)
        if found not in (None, "0", "1"):
            raise InvalidInput(f"{name} is 0 or 1")
        return found == "1"

    def here(self, **changed: str | None) -> str:
        """The address of this page with some parameters changed, or taken away (None)."""
        return address(self.path, {**self.parameters, **changed})

    @property
    def point(self) -> dict[str, str]:
        """The parameters that say at which point of the past this is; none at HEAD."""
        names = ("pin",) if self.text("pin") else ("as_of",)
        return {name: self.parameters[name] for name in names if self.text(name)}

    @property
    def later_entries(self) -> int:
        """How many entries came after the point that is looked at."""
        size = self.ledger.reader.size
        return sum(max(0, size(log) - below) for log, below in self.cut.sizes.items())

    def link(self, path: str, **parameters: str | None) -> str:
        """The address of another page at the same point."""
        return address(path, {**parameters, **self.point})

    @property
    def permalink(self) -> str:
        """The address of this page that gives the same answer for ever."""
        return self.here(as_of=None, pin=pin_text(self.cut))


@dataclass(frozen=True)
class Answer:
    """What a screen found.

    `data`: plain values that JSON can hold: all of the answer. `view`: what else the template
    needs, such as drawings. `table`: the rows of CSV and Parquet, of screens that are `tabular`.
    `command`: what to type for the same answer, as words of a command line. `next`: the address of
    the page that follows, where there is one. `permalink`: the address that gives the same answer
    for ever, where that is not the one of the page at these sizes.
    """

    title: str
    data: Mapping[str, Any]
    view: Mapping[str, Any]
    command: tuple[str, ...] = ()
    table: Table | None = None
    next: str | None = None
    permalink: str | None = None


@dataclass(frozen=True)
class Screen:
    """One page of the view: `path` is its address, `template` its file in templates/.

    `menu`: its name in the menu; None: it is reached from others. `tabular`: it has `.csv` and
    `.parquet` besides. `is_recorded`: looking at it is an access event; not of a page
    that looks at itself every second. `is_at_point`: it says how things were at a point of the
    past; not one that has points of its own, or is about no point.
    """

    path: str
    template: str
    about: str
    answer: Callable[[Asked], Answer]
    parameters: tuple[Parameter, ...] = ()
    menu: str | None = None
    tabular: bool = False
    is_recorded: bool = True
    is_at_point: bool = True

    @property
    def taken(self) -> tuple[Parameter, ...]:
        """All parameters that its address may have."""
        return (*self.parameters, AS_OF, PIN) if self.is_at_point else self.parameters


def address(path: str, parameters: Mapping[str, str | None]) -> str:
    """A path with parameters, those that are None or empty left out."""
    given = {name: value for name, value in parameters.items() if value}
    return path + ("?" + urlencode(given) if given else "")


def address_of_form(screen: Screen, form: str) -> str:
    """Where a form of a screen is: the page, or its twin with a suffix."""
    return "/index" + form if screen.path == "/" and form else screen.path + form

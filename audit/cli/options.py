"""The options that commands share, so that each is called and explained the same everywhere."""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from audit.cli.session import DEFAULT_STORE, Session

_NEGATED_TERM = re.compile(r"-[a-z_]+:")

F = TypeVar("F", bound=Callable[..., Any])

session_argument = click.make_pass_decorator(Session)
"""Gives a command its `Session` as first argument."""

store_option = click.option(
    "--store",
    envvar="AUDIT_STORE",
    default=DEFAULT_STORE,
    metavar="URL",
    show_default=True,
    help="The ledger: sqlite:///path, or for reading bundle:///case.zip (or AUDIT_STORE).",
)
source_option = click.option(
    "--source",
    is_flag=False,
    flag_value="",
    metavar="[URL]",
    help="Compare with the topic kafka://host:9092/topic. Without URL: the one of AUDIT_BUS.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
as_of_option = click.option(
    "--as-of",
    metavar="T|POSITION",
    help="As it was known then: a time, an index, HEAD~N, an event id. Default: now.",
)
valid_at_option = click.option(
    "--valid-at", metavar="T", help="As it was in the world then: by the events' valid time."
)
key_option = click.option(
    "--key", "keys", metavar="KEY", multiple=True, help="Only the row of this key; repeat for more."
)
policy_option = click.option(
    "--policy", metavar="FILE", help="Whom to trust. Default: audit.policy beside the store."
)


def query_argument(command: F) -> F:
    """The words of a query."""
    return click.argument("query", nargs=-1, type=click.UNPROCESSED)(command)


def query_text(words: Sequence[str]) -> str:
    """The query that the words of the command line spell."""
    return " ".join(words)


class QueryCommand(click.Command):
    """A command with a query: `-actor:bot` is a term of it, and no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the terms behind `--`, where nothing is an option."""
        at = args.index("--") if "--" in args else len(args)
        options, rest = args[:at], args[at + 1 :]
        terms = [word for word in options if _NEGATED_TERM.match(word)]
        options = [word for word in options if not _NEGATED_TERM.match(word)]
        return super().parse_args(ctx, [*options, "--", *terms, *rest])

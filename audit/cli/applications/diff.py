"""`audit diff`: what changed between two points."""

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

import click

from audit.cli.changes import pair_text
from audit.cli.options import (
    as_of_option,
    json_option,
    session_argument,
    store_option,
    valid_at_option,
)
from audit.cli.output import write, write_json_array
from audit.cli.session import Session, note
from audit.ledger.harmless import harmless
from audit.ledger.said import when
from audit.replay.diff_steps import RowStep
from audit.replay.points import parse_range

if TYPE_CHECKING:
    from audit.replay.blame import Said
    from audit.replay.diff import RowChange

SIGNS = {"added": "+", "removed": "-", "changed": "~"}


@click.command()
@click.argument("entity", metavar="ENTITY|REF")
@click.argument("span", metavar="A..B", required=False)
@as_of_option
@valid_at_option
@click.option("--full", is_flag=True, help="Every step in between, with the entry that made it.")
@store_option
@json_option
@session_argument
def diff(
    session: Session,
    entity: str,
    span: str | None,
    as_of: str | None,
    valid_at: str | None,
    full: bool,
    store: str,
    as_json: bool,
) -> None:
    """What changed in a dataset, or in one row, after point A up to and including point B.

    \b
    audit diff user 2026-01-01..2026-02-01
    audit diff user/5 HEAD~10..HEAD
    audit diff user HEAD~10.. --full          # each change, who made it and why
    audit diff user HEAD~10 --as-of now       # the same as HEAD~10..now
    """
    a, b = _points(span, as_of)
    ledger = session.ledger(store)
    changes: Iterator[RowChange | RowStep]
    if full:
        changes = ledger.diff(entity, a, b, valid_at, net=False)
    else:
        changes = ledger.diff(entity, a, b, valid_at)
    if as_json:
        write_json_array(change.to_dict() for change in changes)
        return
    first = next(changes, None)
    if first is None:
        note(f"nothing of {entity} differs between {a} and {b}")
        return
    for change in chain((first,), changes):
        _show(change, ledger.single)


def _points(span: str | None, as_of: str | None) -> tuple[str, str]:
    """A and B. With --as-of, the argument is A alone and the option is B."""
    if span is None:
        raise click.UsageError("say between which points: A..B, such as 2026-01-01..HEAD")
    if as_of is None:
        return parse_range(span)
    if ".." in span:
        raise click.UsageError("A..B names both points; --as-of is for an A alone")
    return span, as_of


def _show(change: "RowChange | RowStep", single: bool) -> None:
    by = _by(change.said, single) if isinstance(change, RowStep) else ""
    write(f"{SIGNS[change.kind]} {harmless(change.entity_key)}{by}\n")
    for name, pair in change.fields.items():
        write(f"    {harmless(name)}: {harmless(pair_text(pair))}\n")


def _by(said: "Said | None", single: bool) -> str:
    if said is None:
        return "  readable since its schema was recorded"
    entry = str(said.index) if single else f"{said.log}/{said.index}"
    words = [f"entry {entry}", when(said.recorded_time_us), said.op]
    words.append(f"by {said.actor or 'nobody named'}")
    if said.reason:
        words.append(f"({said.reason})")
    return "  " + harmless(" ".join(words))

"""`audit review`: what is flagged, and what the flagged things have in common."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from audit.cli.options import as_of_option, json_option, session_argument, store_option
from audit.cli.output import counted, write, write_json, write_table
from audit.cli.session import Session, note
from audit.ledger.said import when

if TYPE_CHECKING:
    from audit.lineage.recorded.reviews import Flagged
    from audit.lineage.tracing.suspects import Suspect, Suspects

FLAGGED_COLUMNS = ("FLAGGED", "SINCE", "BY", "WHY")
SUSPECT_COLUMNS = ("SUSPECT", "SCORE", "FLAGGED", "UNFLAGGED")
DEFAULT_SUSPECTS = 20


@click.command()
@click.option(
    "-n",
    "limit",
    type=click.IntRange(min=1),
    default=DEFAULT_SUSPECTS,
    show_default=True,
    help="At most so many suspects.",
)
@as_of_option
@store_option
@json_option
@session_argument
def review(session: Session, limit: int, as_of: str | None, store: str, as_json: bool) -> None:
    """What is flagged, by whom and why; and which runs, models and data flagged things share.

    SCORE is Ochiai's coefficient, as in spectrum-based fault localisation: 1.0 when all flagged
    things were made from it and no unflagged prediction was. Compared are the newest unflagged
    predictions of the same models, 1,000 at most. It says where to look first, and proves nothing.
    """
    from audit.lineage.tracing.suspects import suspects

    ledger = session.ledger(store)
    cut = ledger.cut(as_of)
    flagged = ledger.flagged(as_of)
    found = suspects(ledger.reader, cut, [one.ref for one in flagged])
    if as_json:
        write_json(
            {
                "flagged": [one.to_json() for one in flagged],
                "suspects": [one.to_json() for one in found.ranking[:limit]],
                "suspects_total": len(found.ranking),
                "compared": found.compared,
                "models": list(found.models),
                "untraced": list(found.untraced),
            }
        )
        return
    if not flagged:
        note("nothing is flagged; see `audit flag --help`")
        return
    write_table(FLAGGED_COLUMNS, _flagged_rows(flagged))
    write("\n")
    write_table(SUSPECT_COLUMNS, map(_suspect_row, found.ranking[:limit]), right=(1, 2, 3))
    _explain(found, limit)


def _flagged_rows(flagged: "list[Flagged]") -> Iterator[tuple[str, ...]]:
    for thing in flagged:
        ref = thing.ref
        for one in thing.flags:
            yield ref, when(one.time_us), one.actor or "", one.message or ""
            ref = ""


def _suspect_row(one: "Suspect") -> tuple[str, ...]:
    return (
        one.ref,
        f"{one.score:.2f}",
        f"{one.flagged}/{one.flagged_total}",
        f"{one.unflagged}/{one.unflagged_total}",
    )


def _explain(found: "Suspects", limit: int) -> None:
    models = ", ".join(found.models) or "no model"
    note(f"compared with the newest {counted(found.compared, 'unflagged prediction')} of {models}")
    if len(found.ranking) > limit:
        note(f"{len(found.ranking) - limit:,} more suspects: give -n")
    for ref in found.untraced:
        note(f"{ref}: nothing is recorded that it was made from")

"""`audit serving`: which version of a model served when."""

from typing import TYPE_CHECKING

import click

from audit.cli.options import as_of_option, json_option, session_argument, store_option
from audit.cli.output import write_json, write_table
from audit.cli.session import Session, note
from audit.ledger.said import when

if TYPE_CHECKING:
    from audit.lineage.recorded.serving import Serving

COLUMNS = ("STAGE", "VERSION", "SHARE", "SINCE", "UNTIL", "APPROVED BY", "DIGEST")


@click.command()
@click.argument("name")
@click.option("--at", metavar="T", help="Which served then, in the world. Default: now.")
@click.option("--stage", metavar="S", help="Only this stage, such as production.")
@click.option("--history", is_flag=True, help="All that ever served, oldest first.")
@as_of_option
@store_option
@json_option
@session_argument
def serving(
    session: Session,
    name: str,
    at: str | None,
    stage: str | None,
    history: bool,
    as_of: str | None,
    store: str,
    as_json: bool,
) -> None:
    """Which version of the model NAME served at a time, in each stage, and who approved it.

    --at is on the valid axis: when it served. --as-of is what was known then: a change of hands
    that was recorded late is in one and not in the other.

    \b
    audit serving credit-risk --at 2026-01-05
    """
    from audit.event.times import format_time
    from audit.lineage.recorded.serving import serving as serving_at
    from audit.lineage.recorded.serving import serving_history
    from audit.replay.points import parse_time

    if history and at is not None:
        raise click.UsageError("give --at or --history, not both")
    ledger = session.ledger(store)
    cut = ledger.cut(as_of)
    at_us = session.now_us if cut.as_of_us is None else cut.as_of_us
    if at is not None:
        at_us = parse_time(at, session.now_us)
    if history:
        found = serving_history(ledger.reader, name, cut)
    else:
        found = serving_at(ledger.reader, name, at_us, cut)
    found = [one for one in found if stage is None or one.stage == stage]
    if as_json:
        asked = {"model": name, "at": None if history else format_time(at_us), "as_of": as_of}
        write_json({**asked, "serving": [one.to_json() for one in found]})
        return
    if not found:
        note(f"no version of {name} served" + ("" if history else f" at {format_time(at_us)}"))
        return
    write_table(COLUMNS, (_row(one, found) for one in found), right=(2,))


def _row(one: "Serving", found: "list[Serving]") -> tuple[str, ...]:
    return (
        one.stage,
        one.version or "(none)",
        _share(one, found),
        when(one.since_us),
        "" if one.until_us is None else when(one.until_us),
        one.approved_by or "",
        one.digest or "",
    )


def _share(one: "Serving", found: "list[Serving]") -> str:
    if one.version is None:
        return ""
    if one.share is not None:
        return f"{one.share:.0%}"
    shared = any(
        other.stage == one.stage
        and other.share is not None
        and other.share < 1
        and (one.until_us is None or other.since_us < one.until_us)
        and (other.until_us is None or one.since_us < other.until_us)
        for other in found
    )
    return "the rest" if shared else "all"

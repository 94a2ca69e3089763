"""`audit runs`: component and training runs; and how two components differ."""

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import click

from audit.cli.options import as_of_option, json_option, session_argument, store_option
from audit.cli.output import write, write_json, write_json_array, write_json_line, write_table
from audit.cli.session import Session, note
from audit.ledger.said import when

if TYPE_CHECKING:
    from audit.ledger import Ledger
    from audit.lineage.recorded.runs import Run

FORMATS = ("table", "csv", "jsonl", "openlineage")
COLUMNS = ("STARTED", "COMPONENT", "STATUS", "TOOK", "OWNER", "MADE", "RUN")
DAY_US = 86_400_000_000


class Window(NamedTuple):
    """The times that runs started at, as typed."""

    since: str | None
    until: str | None
    day: str | None

    def bounds(self, now_us: int) -> tuple[int | None, int | None]:
        """From, inclusive, and until, exclusive; microseconds since the epoch."""
        from audit.replay.points import parse_time

        if self.day is not None:
            if self.since is not None or self.until is not None:
                raise click.UsageError("give --at DAY, or --since and --until")
            start_us = parse_time(self.day, now_us) // DAY_US * DAY_US
            return start_us, start_us + DAY_US
        return (
            None if self.since is None else parse_time(self.since, now_us),
            None if self.until is None else parse_time(self.until, now_us),
        )


@click.command()
@click.argument("component", required=False)
@click.option("--compare", metavar="OTHER", help="How COMPONENT and OTHER differ, by their runs.")
@click.option("--since", metavar="T", help="Started then or later.")
@click.option("--until", metavar="T", help="Started before then.")
@click.option("--at", "day", metavar="DAY", help="Started on that day (UTC): yesterday, a date.")
@click.option("--status", metavar="S", help="COMPLETE, FAIL, ABORT, or START: no end is recorded.")
@click.option("--column", metavar="NAME", help="Only runs that read or made a column of that name.")
@click.option("--inputs", is_flag=True, help="Show what each run read and made.")
@click.option("-n", "limit", type=click.IntRange(min=1), help="At most so many.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@as_of_option
@store_option
@json_option
@session_argument
def runs(
    session: Session,
    component: str | None,
    compare: str | None,
    since: str | None,
    until: str | None,
    day: str | None,
    status: str | None,
    column: str | None,
    inputs: bool,
    limit: int | None,
    form: str,
    as_of: str | None,
    store: str,
    as_json: bool,
) -> None:
    """Component and training runs, newest first; failed ones, and those that never ended, too.

    With --compare: which code, tests, parameters and packages of two components are not the same,
    by the newest complete run of each; exit 1 when they differ. run/ID names one run of it.

    \b
    audit runs cleaning --at yesterday --inputs
    audit runs inference --compare evaluation
    audit runs credit-risk --format csv         # params and metrics of each, side by side
    audit runs --format openlineage             # for whatever reads OpenLineage events
    """
    ledger = session.ledger(store)
    if compare is not None:
        if component is None:
            raise click.UsageError("name the COMPONENT to compare with OTHER")
        if any((since, until, day, status, column, inputs, limit)):
            raise click.UsageError("--compare goes with --as-of and --json alone")
        _compare(session, ledger, (component, compare), as_of, as_json)
        return
    from audit.lineage.recorded.run_search import has_column, search_runs

    since_us, until_us = Window(since, until, day).bounds(session.now_us)
    everything = search_runs(
        ledger.reader, ledger.cut(as_of), component, since_us, until_us, status
    )
    found = list(
        islice((run for run in everything if column is None or has_column(run, column)), limit)
    )
    if as_json:
        write_json_array(run.to_json() for run in found)
    elif form == "jsonl":
        for run in found:
            write_json_line(run.to_json())
    elif form in ("csv", "openlineage"):
        _export(ledger, found, form)
    elif not found:
        note("no run fits")
    elif inputs:
        _show_inputs(found)
    else:
        write_table(COLUMNS, map(_row, found), right=(3,))


def _export(ledger: "Ledger", found: "list[Run]", form: str) -> None:
    from audit.lineage.recorded.run_lines import csv_lines, openlineage_events

    if form == "csv":
        for line in csv_lines(found):
            write(line)
    else:
        for event in openlineage_events(ledger.reader, found):
            write_json_line(event)


def _row(run: "Run") -> tuple[str, ...]:
    from audit.ledger.cards import duration_text, status_text

    made = [str(model) for model in run.models]
    made += [use.name or use.dataset or use.kind or "?" for use in run.outputs]
    return (
        when(run.time_us),
        run.name,
        status_text(run),
        duration_text(run),
        run.owner or "",
        ", ".join(made),
        run.run_id,
    )


def _show_inputs(found: "Iterable[Run]") -> None:
    from audit.ledger.cards import status_text, use_text
    from audit.ledger.harmless import harmless

    for run in found:
        head = f"{when(run.time_us)}  {run.name}  {status_text(run)}  {run.ref}"
        write(harmless(head) + "\n")
        for word, uses in (("read", run.inputs), ("made", run.outputs)):
            for use in uses:
                write(harmless(f"  {word}  {use_text(use)}") + "\n")
        for model in run.models:
            write(harmless(f"  made  model/{model} {model.digest or ''}").rstrip() + "\n")


def _compare(
    session: Session, ledger: "Ledger", both: tuple[str, str], as_of: str | None, as_json: bool
) -> None:
    from audit.cli.ml.show_difference import show_difference
    from audit.cli.outcome import FINDINGS

    found = ledger.compare_components(*both, as_of)
    if found.differences:
        session.exit_code = FINDINGS
    if as_json:
        write_json(found.to_json())
    else:
        show_difference(found)

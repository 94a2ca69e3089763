"""`audit log`: the events that fit a query."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

import click

from audit.cli.event_lines import (
    COLUMNS,
    CSV_HEADER,
    csv_line,
    oneline,
    table_row,
)
from audit.cli.options import (
    QueryCommand,
    as_of_option,
    json_option,
    query_argument,
    query_text,
    session_argument,
    store_option,
)
from audit.cli.output import write, write_json_array, write_json_line, write_table
from audit.cli.session import Session

if TYPE_CHECKING:
    from audit.ledger import Ledger
    from audit.log.record import Record

FORMATS = ("table", "jsonl", "csv", "oneline")
POLL_SECONDS = 0.5
"""How often --follow looks for new entries."""


@click.command(cls=QueryCommand)
@query_argument
@click.option("-n", "count", type=click.IntRange(min=0), help="At most so many: the newest.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--oneline", "short", is_flag=True, help="The same as --format oneline.")
@click.option("--reverse", is_flag=True, help="Turn the order round.")
@click.option("--follow", "-f", is_flag=True, help="Wait for more, and show it as it comes.")
@as_of_option
@store_option
@json_option
@session_argument
def log(
    session: Session,
    query: tuple[str, ...],
    count: int | None,
    form: str,
    short: bool,
    reverse: bool,
    follow: bool,
    as_of: str | None,
    store: str,
    as_json: bool,
) -> None:
    """The events: newest first as a table or oneline, oldest first as jsonl or csv.

    \b
    audit log actor:alice op:update entity:user key:5 field:dpt -actor:bot
    audit log 'recorded:>=2026-01-01' type:prediction -n 20
    audit log --format jsonl > events.jsonl     # `audit import --events` reads it again

    What applications did not say - schemas, the log's own entries, what is quarantined - shows only
    when it is asked for, by type: or kind:.
    """
    form = "json" if as_json else "oneline" if short else form
    ledger = session.ledger(store)
    words = query_text(query)
    if follow:
        if as_of is not None or reverse or as_json:
            raise click.UsageError("--as-of, --reverse and --json do not fit --follow")
        # A table needs all rows for its columns' widths; a line needs only itself.
        form = "oneline" if form == "table" else form
        with contextlib.suppress(KeyboardInterrupt):
            _show(ledger, _followed(ledger, words, count), form)
        return
    oldest_first = (form in ("jsonl", "csv", "json")) is not reverse
    _show(ledger, _events(ledger, words, as_of, count, oldest_first), form)


def _events(
    ledger: "Ledger", query: str, as_of: str | None, count: int | None, oldest_first: bool
) -> "Iterable[Record]":
    """The newest `count` that fit (all, when it is None), in the order asked for."""
    if count is None:
        return ledger.events(query, as_of, newest_first=not oldest_first)
    newest = ledger.events(query, as_of, newest_first=True, limit=count)
    return reversed(list(newest)) if oldest_first else newest


def _followed(ledger: "Ledger", query: str, count: int | None) -> "Iterator[Record]":
    """What is there (the newest `count` of it), then what comes. Never ends by itself."""
    shown = ledger.cut()
    seen = ledger.events(query, shown, newest_first=count is not None, limit=count)
    yield from seen if count is None else reversed(list(seen))
    while True:
        sys.stdout.flush()
        time.sleep(POLL_SECONDS)
        now = ledger.cut()
        if now.sizes != shown.sizes:
            yield from ledger.events(query, now, since=shown.sizes)
        shown = now


def _show(ledger: "Ledger", records: "Iterable[Record]", form: str) -> None:
    if form == "json":
        write_json_array(ledger.event_json(record) for record in records)
    elif form == "jsonl":
        for record in records:
            write_json_line(ledger.event_json(record))
    elif form == "csv":
        for line in chain((CSV_HEADER,), (csv_line(ledger, record) for record in records)):
            write(line)
    elif form == "oneline":
        for record in records:
            write(oneline(ledger, record))
    else:
        write_table(COLUMNS, (table_row(ledger, record) for record in records), right=(0,))

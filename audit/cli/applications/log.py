"""`audit log`: the events that fit a query."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
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
from audit.cli.output import write, write_json, write_json_array, write_json_line, write_table
from audit.cli.session import Session, note

if TYPE_CHECKING:
    from audit.ledger import Ledger
    from audit.log.record import Record
    from audit.replay.points import Cut

FORMATS = ("table", "jsonl", "csv", "oneline")
POLL_SECONDS = 0.5
"""How often --follow looks for new entries."""
RECORDS_AT_ONCE = 5_000
"""Of a long answer, so many records are held in memory."""
FIRST_PAGE = "start"
"""What --after takes where there is no token yet."""


@click.command(cls=QueryCommand)
@query_argument
@click.option("-n", "count", type=click.IntRange(min=0), help="At most so many: the newest.")
@click.option(
    "--after",
    metavar="TOKEN|start",
    help="The page that follows: the same command, with the token that it told.",
)
@click.option("--count", "only_count", is_flag=True, help="Only how many there are.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--oneline", "short", is_flag=True, help="The same as --format oneline.")
@click.option("--reverse", is_flag=True, help="Turn the order round.")
@click.option("--follow", "-f", is_flag=True, help="Wait for more, and show it as it comes.")
@click.option("--scan", is_flag=True, help="Decode and judge every entry; ask no read model.")
@as_of_option
@store_option
@json_option
@session_argument
def log(
    session: Session,
    query: tuple[str, ...],
    count: int | None,
    after: str | None,
    only_count: bool,
    form: str,
    short: bool,
    reverse: bool,
    follow: bool,
    scan: bool,
    as_of: str | None,
    store: str,
    as_json: bool,
) -> None:
    """The events: newest first as a table or oneline, oldest first as jsonl or csv.

    \b
    audit log actor:alice op:update entity:user key:5 field:dpt -actor:bot
    audit log 'recorded:>=2026-01-01' type:prediction -n 20
    audit log op:delete -has:reason --count
    audit log --format jsonl > events.jsonl     # `audit import --events` reads it again

    What applications did not say - schemas, the log's own entries, what is quarantined - shows only
    when it is asked for, by type: or kind:.

    Where -n leaves something out, stderr tells the token for --after: the next page, older, and
    with nothing that was written since. With --after the answer of --json is an object: `events`
    and `next`, the token of the page after or null; --after start asks for the first page.
    """
    form = "json" if as_json else "oneline" if short else form
    _refuse(follow, only_count, as_of is not None or reverse or as_json, after, count)
    ledger = session.ledger(store)
    found = _Asked(ledger, query_text(query), as_of, scan)
    if only_count:
        _show_count(found, as_json)
    elif follow:
        # A table needs all rows for its columns' widths; a line needs only itself.
        form = "oneline" if form == "table" else form
        with contextlib.suppress(KeyboardInterrupt):
            _show(ledger, _followed(ledger, found, count), form)
    else:
        oldest_first = (form in ("jsonl", "csv", "json")) is not reverse
        paged = form == "json" and after is not None
        count = RECORDS_AT_ONCE if count is None and after is not None else count
        records = _events(found, None if after == FIRST_PAGE else after, count, oldest_first)
        _show(ledger, records, form, (lambda: found.next) if paged else None)
        if found.next is not None and not paged:
            note(f"more fits: go on with --after {found.next}")
        elif count == 0:
            note("-n 0 shows nothing, whatever fits; see --count")


def _refuse(
    follow: bool, only_count: bool, shaped: bool, after: str | None, count: int | None
) -> None:
    if follow and (shaped or after is not None):
        raise click.UsageError("--as-of, --reverse, --after and --json do not fit --follow")
    if only_count and (follow or after is not None or count is not None):
        raise click.UsageError("--count is one number: -n, --after and --follow do not fit it")
    if after is not None and count == 0:
        raise click.UsageError("a page has at least one event: -n 1 or more")


class _Asked:
    """What is asked for, and where the rest begins once some of it was given."""

    def __init__(self, ledger: "Ledger", query: str, as_of: str | None, scan: bool) -> None:
        self.ledger = ledger
        self.query = query
        self.as_of = as_of
        self.scan = scan
        self.next: str | None = None

    def newest(self, count: int, after: str | None, cut: "Cut | None" = None) -> "Iterator[Record]":
        """The newest `count`, or of what follows a token; then `next` is the token behind them."""
        self.next = after
        as_of = self.as_of if cut is None else cut
        while count > 0:
            page = self.ledger.page(
                self.query,
                as_of,
                after=self.next,
                limit=min(count, RECORDS_AT_ONCE),
                scan=self.scan,
            )
            yield from page.records
            self.next = page.next
            count -= len(page.records)
            if self.next is None:
                return


def _events(
    found: _Asked, after: str | None, count: int | None, oldest_first: bool
) -> "Iterable[Record]":
    """The newest `count` that fit (all, when it is None), in the order asked for."""
    if count is None:
        return found.ledger.events(
            found.query, found.as_of, newest_first=not oldest_first, scan=found.scan
        )
    newest = found.newest(count, after)
    return reversed(list(newest)) if oldest_first else newest


def _show_count(found: _Asked, as_json: bool) -> None:
    counted = found.ledger.count(found.query, found.as_of, scan=found.scan)
    if as_json:
        write_json({"count": counted.number, "by_columns": counted.by_columns})
    else:
        write(f"{counted.number}\n")


def _followed(ledger: "Ledger", found: _Asked, count: int | None) -> "Iterator[Record]":
    """What is there (the newest `count` of it), then what comes. Never ends by itself."""
    shown = ledger.cut()
    if count is None:
        yield from ledger.events(found.query, shown, scan=found.scan)
    else:
        yield from reversed(list(found.newest(count, None, shown)))
    while True:
        sys.stdout.flush()
        time.sleep(POLL_SECONDS)
        now = ledger.cut()
        if now.sizes != shown.sizes:
            # Little is new: the columns would have to be brought up to date for it first.
            yield from ledger.events(found.query, now, since=shown.sizes, scan=True)
        shown = now


def _show(
    ledger: "Ledger",
    records: "Iterable[Record]",
    form: str,
    next_page: "Callable[[], str | None] | None" = None,
) -> None:
    if form == "json" and next_page is not None:
        events = [ledger.event_json(record) for record in records]
        write_json({"events": events, "next": next_page()})
    elif form == "json":
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

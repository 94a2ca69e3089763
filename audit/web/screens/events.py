"""Events that fit a query, newest first: the language of `audit log`, with counts to narrow it."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from time import monotonic
from typing import Any

from audit.errors import InvalidInput
from audit.ledger import Ledger
from audit.ledger.said import EVENT_COLUMNS, json_cell, kind, summary, what
from audit.log.record import Record
from audit.replay.events import Counted
from audit.web.answer import Answer, Asked, Parameter, Screen, Table
from audit.web.pinned import pin_text, pinned
from audit.web.query_text import term
from audit.web.shown import text

DEFAULT_EVENTS = 50
MAX_EVENTS = 1_000
"""Of one page."""
COUNTED_EVENTS = 200
"""Facets count among so many of the newest that fit."""
FACET_VALUES = 8
MAX_NEW = 200
"""Events that the live tail is told of at once."""
MAX_BEHIND = 5_000
"""Entries that the live tail looks through; whoever is further behind looks at the page again."""
SEARCH_SECONDS = 0.1
"""So long a page is searched for. What was found by then is shown, and the next page goes on."""
COUNT_SECONDS = 0.03
"""So long it is counted; and so long values for facets are gathered."""


def _answer(asked: Asked) -> Answer:
    query = asked.text("q") or ""
    if asked.wants_table:
        rows = (_row(asked.ledger, one) for one in asked.ledger.events(query, asked.cut))
        return Answer("Events", {}, {}, table=Table(EVENT_COLUMNS, rows))
    if asked.text("since"):
        return _new(asked, query)
    limit = asked.number("limit", DEFAULT_EVENTS, MAX_EVENTS)
    after = asked.text("after")
    begun = monotonic()
    page = asked.ledger.page(query, asked.cut, after=after, limit=limit, within_s=SEARCH_SECONDS)
    taken_s = monotonic() - begun
    if page.next is None and after is None:
        counted = Counted(len(page.records), 0)
    else:
        counted = asked.ledger.count(query, asked.cut, within_s=COUNT_SECONDS)
    data: dict[str, Any] = {
        "query": query,
        "next": page.next,
        "stopped": page.stopped,
        "count": max(counted.number, len(page.records)),
        "count_complete": counted.complete,
        "pin": asked.permalink,
    }
    words = ("audit", "log", *((query,) if query else ()))
    older = None if page.next is None else asked.here(after=page.next)
    if asked.wants_data:
        data["events"] = [asked.ledger.event_json(one) for one in page.records]
        return Answer("Events", data, {}, words + _at(asked), next=older)
    # A search that takes long is not made once more to have more to count facets among.
    more = page.next is not None and taken_s < COUNT_SECONDS
    view = {
        "rows": [_shown(asked.ledger, one) for one in page.records],
        "older": older,
        "first": asked.text("after") is None,
        "facet_events": COUNTED_EVENTS,
        "facets": _facets(asked, query, page.records, more),
        "since": pin_text(asked.cut),
        "live": asked.text("after") is None and not asked.point,
    }
    return Answer("Events", data, view, words + _at(asked), next=older)


def _at(asked: Asked) -> tuple[str, ...]:
    as_of = asked.text("as_of")
    return ("--as-of", as_of) if as_of else ()


def _new(asked: Asked, query: str) -> Answer:
    """What came after some sizes, oldest first: what the live tail asks."""
    before = pinned(asked.ledger.reader, asked.needed("since"))
    behind = sum(max(0, size - before.size(log)) for log, size in asked.cut.sizes.items())
    records: list[Record] = []
    if behind <= MAX_BEHIND:
        found = asked.ledger.events(query, asked.cut, since=before.sizes, scan=True)
        records = list(islice(found, MAX_NEW + 1))
    rows = [_harmless(_shown(asked.ledger, one)) for one in records[:MAX_NEW]]
    data = {
        "query": query,
        "events": [asked.ledger.event_json(one) for one in records[:MAX_NEW]],
        "rows": rows,
        "more": len(records) > MAX_NEW or behind > MAX_BEHIND,
        "since": pin_text(asked.cut),
    }
    view: dict[str, Any] = {
        "older": None,
        "first": True,
        "facets": [],
        "facet_events": COUNTED_EVENTS,
        "live": False,
        "count": len(rows),
        "count_complete": True,
        "stopped": False,
    }
    return Answer("New events", {**data, "next": None}, view)


def _shown(ledger: Ledger, record: Record) -> dict[str, Any]:
    """One row of the page, and of the live tail."""
    event = record.event
    return {
        "log": record.log,
        "index": record.index,
        "recorded_us": record.recorded_time_us,
        "type": kind(record),
        "what": what(record),
        "actor": (event.actor if event else None) or "",
        "says": summary(ledger, record),
    }


def _harmless(row: dict[str, Any]) -> dict[str, Any]:
    """The same for a script, which puts its texts into the page as they are."""
    return {name: text(value) if isinstance(value, str) else value for name, value in row.items()}


def _facets(
    asked: Asked, query: str, records: Sequence[Record], more: bool
) -> list[tuple[str, list[tuple[str, int, str]]]]:
    """Qualifier -> (value, how often, address of the narrower query), the most frequent first."""
    counted = records
    if more and len(records) < COUNTED_EVENTS:
        counted = asked.ledger.page(
            query, asked.cut, limit=COUNTED_EVENTS, within_s=COUNT_SECONDS
        ).records
    facets = []
    for name, values in (
        ("type", (kind(one) for one in counted)),
        ("entity", (one.event.entity_type if one.event else None for one in counted)),
        ("actor", (one.event.actor if one.event else None for one in counted)),
        ("source", (one.event.source if one.event else None for one in counted)),
    ):
        found = Counter(value for value in values if value).most_common(FACET_VALUES)
        if len(found) > 1:
            facets.append((name, [_narrower(asked, query, name, *one) for one in found]))
    return facets


def _narrower(asked: Asked, query: str, name: str, value: str, n: int) -> tuple[str, int, str]:
    narrower = f"{query} {term(name, value)}".strip()
    return value, n, asked.here(q=narrower, after=None)


def _row(ledger: Ledger, record: Record) -> Sequence[Any]:
    try:
        said = ledger.event_json(record)
    except InvalidInput as error:
        said = {"log": record.log, "index": record.index, "data": f"undecodable: {error}"}
    return [json_cell(said.get(name)) for name in EVENT_COLUMNS]


EVENTS = Screen(
    path="/events",
    template="events.html",
    about="Events that fit a query, newest first; CSV and Parquet have all of them, oldest first.",
    answer=_answer,
    parameters=(
        Parameter("q", "A query as `audit log` takes it.", example="actor:alice entity:user"),
        Parameter("after", "The token of the page before."),
        Parameter("limit", "Events of a page; 50 unless told.", least=1, most=MAX_EVENTS),
        Parameter(
            "since",
            "Sizes as in a pin: only what came after, at most 200, oldest first.",
            example="0:1042",
        ),
    ),
    menu="Events",
    tabular=True,
)

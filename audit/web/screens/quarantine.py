"""What could not be accepted, why, and whether it was recorded after all."""

from collections.abc import Sequence
from typing import Any

from audit.errors import InvalidInput
from audit.event.times import format_time
from audit.ledger.harmless import hex_dump
from audit.ledger.retry import RetriedEntries
from audit.log.record import Record
from audit.web.answer import Answer, Asked, Parameter, Screen, Table

QUERY = "kind:quarantined"
PAGE_ENTRIES = 100
MAX_BYTES_SHOWN = 4_096
"""Of an entry's bytes, so many are dumped on its page; all are in its JSON."""
BYTES_A_LINE = 16
_COLUMNS = ("log", "index", "recorded_time", "bytes", "retried_as", "reason")


def _list(asked: Asked) -> Answer:
    retried = RetriedEntries(asked.ledger.reader)
    if asked.wants_table:
        records = asked.ledger.events(QUERY, asked.cut)
        rows = (_row(one, retried) for one in records)
        return Answer("Quarantine", {}, {}, table=Table(_COLUMNS, rows))
    page = asked.ledger.page(QUERY, asked.cut, after=asked.text("after"), limit=PAGE_ENTRIES)
    data = {
        "entries": [dict(zip(_COLUMNS, _row(one, retried), strict=True)) for one in page.records],
        "count": asked.ledger.count(QUERY, asked.cut).number,
        "next": page.next,
    }
    more = None if page.next is None else asked.here(after=page.next)
    command = ("audit", "quarantine", "list")
    return Answer("Quarantine", data, {"more": more}, command, next=more)


def _row(record: Record, retried: RetriedEntries) -> Sequence[Any]:
    entry = record.entry
    return (
        record.log,
        record.index,
        format_time(record.recorded_time_us),
        len(entry.event),
        retried.of(record),
        entry.reason or "",
    )


def _one(asked: Asked) -> Answer:
    record = asked.ledger.entry(asked.needed("at"))
    if record.event is not None:
        raise InvalidInput(f"entry {record.log}/{record.index} is not quarantined")
    data = {
        **asked.ledger.event_json(record),
        "retried_as": RetriedEntries(asked.ledger.reader).of(record),
        "bytes_hex": record.entry.event.hex(),
    }
    place = f"{record.log}/{record.index}"
    view = {
        "dump": list(hex_dump(record.entry.event[:MAX_BYTES_SHOWN], BYTES_A_LINE)),
        "reason": record.entry.reason or "",
    }
    command = ("audit", "quarantine", "show", place)
    return Answer(f"Quarantined: {place}", data, view, command)


QUARANTINE = Screen(
    path="/quarantine",
    template="quarantine.html",
    about="Entries that could not be accepted, newest first, each with its reason.",
    answer=_list,
    parameters=(Parameter("after", "The token of the page before."),),
    menu="Quarantine",
    tabular=True,
)
QUARANTINED = Screen(
    path="/quarantined",
    template="quarantined.html",
    about="One quarantined entry: why, where it came from, its bytes.",
    answer=_one,
    parameters=(Parameter("at", "Its position: LOG/INDEX.", required=True, example="0/42"),),
)

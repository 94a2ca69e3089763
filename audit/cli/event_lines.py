"""An event in one line: a row of a table, one line of text, a line of CSV."""

import csv
import io
from typing import TYPE_CHECKING, Any

from audit.ledger.harmless import harmless
from audit.ledger.said import (
    EVENT_COLUMNS,
    json_cell,
    kind,
    place,
    summary,
    what,
    when,
)

if TYPE_CHECKING:
    from audit.ledger import Ledger
    from audit.log.record import Record

COLUMNS = ("ENTRY", "RECORDED", "TYPE", "WHAT", "ACTOR", "SAYS")


def table_row(ledger: "Ledger", record: "Record") -> tuple[str, ...]:
    """The cells of COLUMNS."""
    actor = (record.event.actor if record.event else None) or ""
    return (
        place(ledger, record),
        when(record.recorded_time_us),
        kind(record),
        what(record),
        actor,
        summary(ledger, record),
    )


def oneline(ledger: "Ledger", record: "Record") -> str:
    """One line of text, with its line end."""
    actor = record.event.actor if record.event else None
    words = [
        place(ledger, record),
        f"{record.leaf_hash.hex()[:8]}",
        kind(record),
        what(record),
        f"by {actor}" if actor else "",
        summary(ledger, record),
    ]
    return harmless(" ".join(word for word in words if word)) + "\n"


def _csv(cells: "tuple[Any, ...]") -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


CSV_HEADER = _csv(EVENT_COLUMNS)


def csv_line(ledger: "Ledger", record: "Record") -> str:
    """One line of CSV (RFC 4180 with plain line feeds); row images and data are JSON in a cell."""
    said = ledger.event_json(record)
    return _csv(tuple(json_cell(said.get(name)) for name in EVENT_COLUMNS))

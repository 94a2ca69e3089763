"""Ready-made events: `audit import FILE.jsonl --events`, one JSON object a line."""

import os
from collections.abc import Callable
from typing import Any, BinaryIO

from audit.capture.delivery.embedded import EmbeddedLedger
from audit.capture.importer.jsonl_table import json_lines
from audit.capture.importer.sealing import Batches, ImportResult
from audit.capture.importer.source import Progress, Source, located
from audit.capture.importer.target import KafkaTarget, target_of
from audit.errors import FormatError
from audit.event.jsonform import event_from_json
from audit.event.schema import SchemaBook
from audit.event.types import SCHEMA
from audit.log.record import read_record
from audit.store.contract import Reader


def import_events(
    ledger: EmbeddedLedger | KafkaTarget,
    path_or_stream: str | os.PathLike[str] | BinaryIO,
    *,
    source: str = "cli",
    progress: Progress | None = None,
    translate: Callable[[Any, str], dict[str, Any] | None] | None = None,
) -> ImportResult:
    """Import events in the form that `audit log --format jsonl` writes.

    `translate`: makes such an event of a line in another form, for a source; None: leave it out.

    `source` stands in for events that name none. Idempotent on source and event id: what is in the
    ledger is skipped, another event under a known id is sealed as QUARANTINED and counted as a
    conflict. A bad line stops the import with its number; what was sealed before stays. Raises
    InvalidInput, LimitExceeded, NotFound, Unavailable, StoreCorrupt.
    """
    target = target_of(ledger)
    batches = Batches(target)
    book = _book(target.known)
    with Source(path_or_stream, progress) as opened:
        with batches.telling():
            for place, obj in json_lines(opened):
                with located(place):
                    event = obj if translate is None else translate(obj, source)
                    if event is None:
                        continue
                    built = event_from_json(event, source=source, book=book)
                    batches.add(built)
                    if built.event.type == SCHEMA:
                        book.add(built.event.payload)
            opened.finish_pass()
            batches.seal()
        return batches.result()


def _book(reader: Reader | None) -> SchemaBook:
    """The schemas that the ledger has, for events that name one."""
    book = SchemaBook.with_builtins()
    if reader is None:
        return book
    for log in [info.log for info in reader.logs()]:
        for _, leaf in reader.special(log):
            try:
                event = read_record(log, leaf).event
            except FormatError:
                continue
            if event is not None and event.type == SCHEMA:
                book.add(event.payload)
    return book

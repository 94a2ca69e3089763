"""How fast events and rows are written and read, beside fastavro.

Run it as `python -m tests.event.bench_event`.
"""

import io
import json
import timeit
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro

from audit.event.build import data_event, new_event_id
from audit.event.declared import declare
from audit.event.envelope import EVENT_PREFIX, Event, decode_event, encode_event
from audit.event.row import Change, decode_row, encode_row
from audit.event.schema import SchemaBook
from tests.event.avro import row_to_avro

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
ROUNDS, NUMBER = 9, 5_000


def us(function: Callable[[], Any]) -> float:
    """Microseconds of one call, the best of some rounds."""
    return min(timeit.repeat(function, number=NUMBER, repeat=ROUNDS)) / NUMBER * 1e6


def fastavro_schema(name: str) -> Any:
    return fastavro.parse_schema(json.loads((SCHEMAS / f"{name}.avsc").read_text()))


def fastavro_times(schema: Any, record: Any, body: bytes) -> tuple[float, float]:
    def write() -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, record)
        return out.getvalue()

    assert write() == body
    return us(write), us(lambda: fastavro.schemaless_reader(io.BytesIO(body), schema, None))


def show(name: str, ours: tuple[float, float], theirs: tuple[float, float] | None = None) -> None:
    line = f"{name:34} write {ours[0]:6.2f} us  read {ours[1]:6.2f} us"
    if theirs is not None:
        line += f"   fastavro: write {theirs[0]:6.2f} us  read {theirs[1]:6.2f} us"
    print(line)


def main() -> None:
    schema = fastavro_schema("event.v1")
    event = Event(
        "018f0000-0000-7000-8000-000000000000", "data.update", "crm", "user", "5",
        1_767_323_045_678_901, payload_schema=bytes(32), payload=b"x" * 60,
    )  # fmt: skip
    for name, one in {
        "event": event,
        "event, actor and reason": event._replace(actor="alice", reason="ticket 4711"),
        "event, counted by its producer": event._replace(producer_id="p" * 36, producer_sequence=9),
    }.items():
        data = encode_event(one)
        ours = us(lambda one=one: encode_event(one)), us(lambda data=data: decode_event(data))
        show(name, ours, fastavro_times(schema, one._asdict(), data[len(EVENT_PREFIX) :]))
    schema = fastavro_schema("row.v1")
    plain = {"name": "Christian", "dpt": "SCS", "amount": 250_000, "rate": 0.5, "open": True}
    rich = {"amount": Decimal("250000.50"), "at": datetime.now(UTC), "tags": ["a", {"b": 1}]}
    for name, fields in {"row of 5 fields": plain, "row: decimal, time, nested": rich}.items():
        change = Change("patch", None, fields)
        data = encode_row(change)
        ours = us(lambda change=change: encode_row(change)), us(lambda data=data: decode_row(data))
        show(name, ours, fastavro_times(schema, row_to_avro(change), data))
    kinds = {
        "name": "string",
        "dpt": "string",
        "amount": "long",
        "rate": "double",
        "open": "boolean",
    }
    fields_of = [{"name": name, "type": ["null", kind]} for name, kind in kinds.items()]
    declared = declare({"type": "record", "name": "loan", "fields": fields_of})
    change = Change("full", None, plain)
    data = declared.encode_change(change)
    book = SchemaBook()
    known = book.get(book.add(declared.change_canonical))
    assert known is not None
    ours = us(lambda: declared.encode_change(change)), us(lambda: known.decode(data))
    theirs = fastavro.parse_schema(json.loads(declared.change_canonical))
    show("declared row of 5 fields", ours, fastavro_times(theirs, change._asdict(), data))
    made = us(lambda: data_event("update", "user", 5, event_id="x", source="crm", after=plain))
    print(f"{'data_event':34} {made:6.2f} us;  new_event_id {us(new_event_id):.2f} us")


if __name__ == "__main__":
    main()

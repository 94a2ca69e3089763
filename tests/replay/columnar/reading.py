"""What parts must hold, told by reading one leaf after the other: the oracle of the tests here."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from audit.errors import InvalidInput
from audit.event.book import SchemaBook
from audit.event.canonical import schema_hash
from audit.event.fields import decode_value
from audit.event.payload import decode_payload
from audit.event.row import Change
from audit.event.types import SCHEMA, SCHEMA_SOURCE
from audit.event.values import Value
from audit.log.entry import Kind
from audit.log.record import Record
from audit.replay.columnar.decode.cellvalues import SPELLED
from audit.replay.columnar.parts import NO_CODE, Coded, DatasetPart, EventsPart
from audit.replay.query import sort_of
from audit.replay.rows import unchanged
from audit.replay.trusted import trusted_record

OPS = ("create", "update", "delete", "truncate")
SORTS = ("event", "schema", "control", "quarantined")
TEXTS = ("type", "entity_type", "source", "actor", "transaction_id")


def records_of(leaves: Sequence[bytes], log: int = 0, first: int = 0) -> list[Record]:
    """The leaves one by one. Raises StoreCorrupt."""
    return [trusted_record(log, first + at, leaf) for at, leaf in enumerate(leaves)]


def said_of(record: Record) -> tuple[Any, ...]:
    """What searching needs of an entry."""
    event, entry = record.event, record.entry
    valid_us = entry.recorded_time_us
    if event is not None and event.valid_time_us is not None:
        valid_us = event.valid_time_us
    texts = [None if event is None else getattr(event, name) for name in TEXTS]
    reason = None if event is None else event.reason
    if entry.reason is not None:
        reason = entry.reason.partition(":")[0]
    return entry.recorded_time_us, valid_us, sort_of(record), *texts, reason


def held_by(part: EventsPart) -> list[tuple[Any, ...]]:
    """The same of all entries of a part."""
    columns = [_texts(getattr(part, name)) for name in (*TEXTS, "reason")]
    sorts = [SORTS[sort] for sort in part.sort.tolist()]
    times = part.recorded_us.tolist(), part.valid_us.tolist()
    return list(zip(*times, sorts, *columns, strict=True))


def _texts(coded: Coded) -> list[str | None]:
    texts = [text.decode() for text in coded.texts]
    return [None if code == NO_CODE else texts[code] for code in coded.codes.tolist()]


class Told:
    """What is told of one data event: see `events_of` and `events_in`."""

    def __init__(self, **told: Any) -> None:
        self.told = told

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Told) and spelled(self.told) == spelled(other.told)

    def __repr__(self) -> str:
        return repr(self.told)


def spelled(value: Any) -> str:
    """So that NaN is itself, and 1, 1.0, True and -0.0 are different things."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {spelled(v)}" for k, v in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(spelled, value)) + "]"
    if isinstance(value, datetime):
        return value.isoformat()
    return f"{type(value).__name__} {value!r}"


def events_of(records: Iterable[Record], entity_type: str) -> list[Told]:
    """The data events of a dataset, with what each says, as the ordinary decoder reads them."""
    book = SchemaBook()
    found = []
    for record in records:
        event = record.event
        if event is None:
            continue
        is_schema = event.type == SCHEMA and event.source == SCHEMA_SOURCE
        if is_schema and schema_hash(event.payload).hex() == event.event_id:
            book.add(event.payload)
        is_data = event.type.startswith("data.") and event.type[5:] in OPS
        if record.entry.kind is Kind.EVENT and is_data and event.entity_type == entity_type:
            found.append(_told(record, book))
    return found


def _told(record: Record, book: SchemaBook) -> Told:
    event = record.event
    assert event is not None
    op = event.type[5:]
    try:
        change = decode_payload(event, book)
    except InvalidInput:
        change = None  # type: ignore[assignment]
    unread = not isinstance(change, Change)
    full = isinstance(change, Change) and change.image == "full"
    after: dict[str, Value] = (change.after or {}) if isinstance(change, Change) else {}
    hidden = any(map(unchanged, after.values()))
    whole = op == "create" or full
    careful = unread or event.supersedes is not None or (hidden and whole)
    careful = careful or (op == "truncate" and event.entity_key is not None)
    cells = {k: v for k, v in after.items() if not unchanged(v)} if op in OPS[:2] else {}
    valid_us = event.valid_time_us
    return Told(
        index=record.index,
        recorded_us=record.recorded_time_us,
        valid_us=record.recorded_time_us if valid_us is None else valid_us,
        op=op,
        whole=whole,
        key=event.entity_key,
        unread=unread,
        careful=careful,
        cells=cells,
        mentions=sorted(after),
    )


def events_in(part: DatasetPart, keys: Sequence[bytes], mentions: Sequence[Any]) -> list[Told]:
    """The same from a part. Of what an event mentions the part keeps only the first of all: it is
    taken from `mentions`, and `first` is checked by `firsts_of`.
    """
    cells: list[dict[str, Value]] = [{} for _ in range(part.events)]
    for name, column in part.fields.items():
        at = column.at.tolist()
        assert at == sorted(set(at)), name
        for ordinal, value in zip(at, values_in(column.values), strict=True):
            cells[ordinal][name] = value
    careful = {int(at) for at in part.careful_from}
    assert all(
        part.key[at] == code for code, at in zip(part.careful, part.careful_from, strict=True)
    )
    keyless = part.key == NO_CODE
    found = []
    for at in range(part.events):
        key = None if keyless[at] else keys[int(part.key[at])].decode()
        is_careful = at in careful if key is not None else part.plain_from == at
        found.append(
            Told(
                index=part.start + int(part.offset[at]),
                recorded_us=int(part.recorded_us[at]),
                valid_us=int(part.valid_us[at]),
                op=OPS[int(part.op[at])],
                whole=bool(part.whole[at]),
                key=key,
                unread=bool(part.unread[at]),
                careful=is_careful,
                cells=cells[at],
                mentions=mentions[at],
            )
        )
    return found


def values_in(array: Any) -> list[Value]:
    """The values of cells as the fold has them."""
    if array.type != SPELLED:
        return list(array.to_pylist())
    return [None if raw is None else decode_value(raw, 0)[0] for raw in array.to_pylist()]


def firsts_of(events: Sequence[Told]) -> dict[str, int]:
    """Field -> the ordinal of the first event that mentions it."""
    first: dict[str, int] = {}
    for at, event in enumerate(events):
        for name in event.told["mentions"]:
            first.setdefault(name, at)
    return first

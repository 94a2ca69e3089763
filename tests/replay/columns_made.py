"""The read model's columns made the slow, obvious way: from decoded records, one by one."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from audit.errors import InvalidInput
from audit.event.payload import decode_payload
from audit.event.row import FULL, Change
from audit.event.schema import SchemaBook
from audit.log.record import Record, read_record
from audit.replay.columnar.parts import (
    NO_CODE,
    Cells,
    Coded,
    DatasetPart,
    EventsPart,
    Op,
    Sort,
)
from audit.replay.query import sort_of
from audit.replay.rows import unchanged
from audit.store.contract import Reader

OPS = {f"data.{op.name.lower()}": op for op in Op}


class ColumnsMade:
    """Parts of a ledger, cut at these indexes; `covered` entries of each log, `holes` left out."""

    def __init__(
        self,
        reader: Reader,
        cuts: Sequence[int] = (),
        covered: int | None = None,
        holes: Sequence[int] = (),
    ) -> None:
        self.asked: list[str] = []
        self._cuts = cuts
        self._holes = holes
        self._records: dict[int, list[Record]] = {}
        self._books: dict[int, list[tuple[int, bytes]]] = {}
        for info in reader.logs():
            records = [read_record(info.log, leaf) for _, leaf in reader.leaves(info.log)]
            self._records[info.log] = records[:covered]

    def _pieces(self, log: int, size: int) -> list[tuple[int, int, list[Record]]]:
        records = self._records[log][:size]
        edges = sorted({0, len(records), *(cut for cut in self._cuts if 0 < cut < len(records))})
        pieces = [(start, stop, records[start:stop]) for start, stop in pairwise(edges)]
        return [piece for number, piece in enumerate(pieces) if number not in self._holes]

    def events_parts(self, log: int, size: int, start: int = 0) -> list[EventsPart]:
        return [
            events_part(log, first, stop, found)
            for first, stop, found in self._pieces(log, size)
            if stop > start
        ]

    def parts(self, log: int, entity_type: str, start: int, stop: int) -> list[DatasetPart]:
        return [part for part in self._all(log, entity_type, stop) if part.stop > start]

    def _all(self, log: int, entity_type: str, size: int) -> list[DatasetPart]:
        self.asked.append(entity_type)
        book = SchemaBook()  # of the log alone, as in `LogBook`
        keys: dict[str, int] = {}
        parts = []
        for start, stop, _ in self._pieces(log, size):
            found = self._records[log]
            for record in found[:start]:
                _learn(book, record)
            parts.append(dataset_part(log, start, stop, found[start:stop], entity_type, book, keys))
        return parts


def events_part(log: int, start: int, stop: int, records: list[Record]) -> EventsPart:
    """What searching needs of these records."""

    def texts(name: str) -> Coded:
        return coded([getattr(record.event, name, None) for record in records])

    recorded = [record.recorded_time_us for record in records]
    valid = [
        record.event.valid_time_us
        if record.event is not None and record.event.valid_time_us is not None
        else record.recorded_time_us
        for record in records
    ]
    return EventsPart(
        log,
        start,
        stop,
        np.array(recorded, np.int64),
        np.array(valid, np.int64),
        np.array([Sort[sort_of(record).upper()] for record in records], np.uint8),
        *(texts(name) for name in ("type", "entity_type", "source", "actor", "transaction_id")),
        texts("reason"),
    )


def coded(values: list[str | None]) -> Coded:
    """A column of texts."""
    distinct = sorted({value for value in values if value is not None}, reverse=True)
    code = {value: at for at, value in enumerate(distinct)}
    codes = [NO_CODE if value is None else code[value] for value in values]
    return Coded(np.array(codes, np.int32), tuple(value.encode() for value in distinct))


def _learn(book: SchemaBook, record: Record) -> None:
    if sort_of(record) == "schema" and record.event is not None:
        book.add(record.event.payload)


def dataset_part(
    log: int,
    start: int,
    stop: int,
    records: list[Record],
    entity_type: str,
    book: SchemaBook,
    keys: dict[str, int],
) -> DatasetPart:
    """The changes of one dataset; what is read with later schemas, or corrects, is careful."""
    rows: list[tuple[int, Record, Any]] = []
    for at, record in enumerate(records):
        _learn(book, record)
        event = record.event
        if sort_of(record) != "event" or event is None or event.entity_type != entity_type:
            continue
        if event.type in OPS:
            try:
                rows.append((at, record, decode_payload(event, book)))
            except InvalidInput:
                rows.append((at, record, None))
    at_of: dict[str, list[int]] = {}
    careful = []
    codes = []
    for ordinal, (_, record, change) in enumerate(rows):
        key = record.event.entity_key if record.event else None
        codes.append(NO_CODE if key is None else keys.setdefault(key, len(keys)))
        corrects = record.event is not None and record.event.supersedes is not None
        if (change is None or corrects) and key is not None:
            careful.append((codes[-1], ordinal))
        if isinstance(change, Change) and not corrects:
            for name, value in (change.after or {}).items():
                if not unchanged(value):
                    at_of.setdefault(name, []).append(ordinal)
    return DatasetPart(
        log,
        start,
        stop,
        np.array([at for at, _, _ in rows], np.uint32),
        np.array([record.recorded_time_us for _, record, _ in rows], np.int64),
        np.array([record.recorded_time_us for _, record, _ in rows], np.int64),
        np.array([OPS[record.event.type] for _, record, _ in rows if record.event], np.uint8),
        np.array([change is not None and change.image == FULL for *_, change in rows], np.bool_),
        np.array(codes, np.int32),
        np.array([change is None for *_, change in rows], np.bool_),
        {name: Cells(np.array(at, np.uint32), pa.nulls(len(at))) for name, at in at_of.items()},
        {name: at[0] for name, at in at_of.items()},
        np.array([code for code, _ in careful], np.int32),
        np.array([ordinal for _, ordinal in careful], np.uint32),
        None,
    )

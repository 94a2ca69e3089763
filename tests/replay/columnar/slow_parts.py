"""The slow, obvious builder of parts: one event at a time through the plain code, from any store.

Shares nothing with the builder that is tested elsewhere, so that the fold is tested alone.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from audit.errors import InvalidInput
from audit.event.fields import encode_value
from audit.event.payload import decode_payload
from audit.event.row import Change
from audit.event.times import us_of_time
from audit.log.entry import Kind
from audit.log.record import Record
from audit.replay.books import LogBook
from audit.replay.columnar.parts import NO_CODE, Cells, DatasetPart, KeyBook, Op
from audit.replay.fold import DATA_PREFIX, OPS
from audit.replay.points import Cut
from audit.replay.rows import unchanged
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

TYPES: dict[type, pa.DataType] = {
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    str: pa.string(),
    bytes: pa.binary(),
    date: pa.date32(),
    datetime: pa.timestamp("us", "UTC"),
}


def cells_array(values: Sequence[Any], coded: bool) -> pa.Array:
    """Values as `Cells.values` has them."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pa.nulls(len(values))
    kind = kinds.pop()
    if kinds or kind not in TYPES:
        spelled = [None if value is None else encode_value(value) for value in values]
        return pa.array(spelled, pa.large_binary())
    if kind is datetime:
        numbers = [None if value is None else us_of_time(value) for value in values]
        return pa.array(numbers, pa.int64()).cast(TYPES[kind])
    made = pa.array(values, TYPES[kind])
    return made.dictionary_encode() if coded and kind is str else made


class _Part:
    """Collects the events of one part."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, int, bool, int, bool]] = []
        self.cells: dict[str, list[tuple[int, Any]]] = {}
        self.first: dict[str, int] = {}
        self.careful: list[tuple[int, int]] = []
        self.plain_from: int | None = None

    def done(self, log: int, start: int, stop: int, coded: bool) -> DatasetPart:
        """All of it as arrays."""
        fields = {
            name: Cells(
                np.array([at for at, _ in held], np.uint32),
                cells_array([value for _, value in held], coded),
            )
            for name, held in self.cells.items()
        }
        columns = list(zip(*self.rows, strict=True)) if self.rows else [()] * 7
        kinds = (np.uint32, np.int64, np.int64, np.uint8, np.bool_, np.int32, np.bool_)
        arrays = [np.array(c, k) for c, k in zip(columns, kinds, strict=True)]
        codes = np.array([code for code, _ in self.careful], np.int32)
        since = np.array([at for _, at in self.careful], np.uint32)
        return DatasetPart(
            log, start, stop, *arrays, fields, self.first, codes, since, self.plain_from
        )


class SlowSource:
    """A `PartSource` of one dataset; parts of `step` entries. Snapshots are kept in a dict."""

    def __init__(self, reader: Reader, entity_type: str, step: int, coded: bool = True) -> None:
        self._reader = reader
        self._entity_type = entity_type
        self._sizes = {info.log: reader.size(info.log) for info in reader.logs()}
        self._parts: dict[int, list[DatasetPart]] = {}
        self._books: dict[int, KeyBook] = {}
        self.kept: dict[tuple[int, int], Mapping[str, pa.Array]] = {}
        for log, size in self._sizes.items():
            codes: dict[str, int] = {}
            self._parts[log] = [
                self._part(log, start, min(start + step, size), codes, coded)
                for start in range(0, size, step)
            ]
            keys = [key.encode() for key in codes]
            order = sorted(range(len(keys)), key=keys.__getitem__)
            self._books[log] = KeyBook(pa.array(keys, pa.large_binary()), np.array(order, np.int32))

    def _part(
        self, log: int, start: int, stop: int, codes: dict[str, int], coded: bool
    ) -> DatasetPart:
        part = _Part()
        for index, leaf in self._reader.leaves(log, start, stop):
            record = trusted_record(log, index, leaf)
            event = record.event
            if event is None or event.entity_type != self._entity_type:
                continue
            if record.entry.kind in (Kind.EVENT, Kind.CONTROL):
                self._take(part, record, index - start, codes)
        return part.done(log, start, stop, coded)

    def _take(self, part: _Part, record: Record, offset: int, codes: dict[str, int]) -> None:
        event = record.event
        assert event is not None
        at = len(part.rows)
        key = event.entity_key
        code = NO_CODE if key is None else codes.setdefault(key, len(codes))
        op = event.type.removeprefix(DATA_PREFIX)
        is_data = record.entry.kind is Kind.EVENT and event.type == DATA_PREFIX + op and op in OPS
        careful = event.supersedes is not None
        if is_data:
            change, after = self._change(record), {}
            if change is not None:
                after = change.after or {}
            whole = change is not None and (op == "create" or change.image == "full")
            keyed = op in ("create", "update", "delete")
            careful = careful or change is None or keyed is not (key is not None)
            careful = careful or (op in ("delete", "truncate") and bool(after))
            careful = careful or (whole and any(map(unchanged, after.values())))
            for name, value in after.items():
                part.first.setdefault(name, at)
                if not unchanged(value) and op in ("create", "update"):
                    part.cells.setdefault(name, []).append((at, value))
            recorded_us = record.recorded_time_us
            valid_us = recorded_us if event.valid_time_us is None else event.valid_time_us
            unread = change is None
            row = (offset, recorded_us, valid_us, Op[op.upper()], whole, code, unread)
            part.rows.append(row)
            if unread and op == "truncate" and key is None and event.supersedes is None:
                return
        if careful and key is not None:
            part.careful.append((code, at))
        elif careful and part.plain_from is None:
            part.plain_from = at

    def _change(self, record: Record) -> Change | None:
        assert record.event is not None
        book = LogBook(self._reader, record.log, record.index)
        try:
            said = decode_payload(record.event, book)
        except InvalidInput:
            return None
        return said if isinstance(said, Change) else None

    epoch = 0

    def covered(self, log: int) -> int:
        return self._sizes.get(log, 0)

    def sealed(self, log: int) -> int:
        return self._sizes.get(log, 0)

    def parts(self, log: int, entity_type: str, start: int, stop: int) -> Sequence[DatasetPart]:
        assert entity_type == self._entity_type
        return [p for p in self._parts[log] if p.start < stop and p.stop > start]

    def key_book(self, log: int, entity_type: str) -> KeyBook:
        return self._books[log]

    def must_be_plain(self, entity_type: str, cut: Cut) -> bool:
        return False

    def snapshot_sizes(self, log: int, entity_type: str) -> Sequence[int]:
        return sorted(size for at, size in self.kept if at == log)

    def read_snapshot(self, log: int, entity_type: str, size: int) -> Mapping[str, pa.Array] | None:
        return self.kept.get((log, size))

    def write_snapshot(
        self, log: int, entity_type: str, size: int, arrays: Mapping[str, pa.Array]
    ) -> None:
        self.kept[log, size] = dict(arrays)

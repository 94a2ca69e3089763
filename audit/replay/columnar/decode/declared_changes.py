"""Changes of rows under a declared schema, many at once: each field of all of them in lockstep.

Says the same as `PayloadSchema.decode`: what that refuses is not `good` here. Neither is a decimal
in more bytes than its digits need; whoever asks reads that one by one. Fields of types that hold
others (lists, maps, records, long decimals) are read value by value, between the others.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from audit.errors import InvalidInput
from audit.event.avrotype import AvroType
from audit.event.codec_read import Decoder, decoder_of
from audit.event.times import MAX_DATE_DAYS, MAX_TIME_US, MIN_DATE_DAYS, MIN_TIME_US
from audit.event.wire import MAX_INT32, MIN_INT32, encode_long
from audit.replay.columnar.decode.cellvalues import arrays_of, placeholders, rows_of, values_of
from audit.replay.columnar.decode.changes import (
    BOOLEAN,
    BYTES,
    DATE,
    DECIMAL,
    DOUBLE,
    LONG,
    NULL,
    STRING,
    TIME,
    Found,
)
from audit.replay.columnar.lockstep import Cursor, Flags, Longs, Source, Words, not_utf8
from audit.replay.columnar.pool import Objects
from audit.replay.rows import UNAVAILABLE, unchanged

MIN_TOGETHER = 8
"""Fewer payloads of a schema are read one by one: every field costs some calls, however few."""
MAX_WORD_BYTES = 8
MAX_WORD_DIGITS = 18
"""Decimals of so many digits fit a number of 64 bits."""

_US_OF_MS = 1_000
_UUID_SIZE = 36
_HYPHENS = (8, 13, 18, 23)
_BRANCH = {
    "boolean": BOOLEAN,
    "int": LONG,
    "long": LONG,
    "float": DOUBLE,
    "double": DOUBLE,
    "string": STRING,
    "uuid": STRING,
    "bytes": BYTES,
    "fixed": BYTES,
    "date": DATE,
    "timestamp-micros": TIME,
    "timestamp-millis": TIME,
}
_RANGE = {
    "int": (MIN_INT32, MAX_INT32),
    "date": (MIN_DATE_DAYS, MAX_DATE_DAYS),
    "timestamp-micros": (MIN_TIME_US, MAX_TIME_US),
    "timestamp-millis": (-(-MIN_TIME_US // _US_OF_MS), MAX_TIME_US // _US_OF_MS),
}


class FieldCells(NamedTuple):
    """The values of one field: `row` of which changes, ascending, and parallel the `values`.

    `hidden`: which are Debezium's placeholder.
    """

    name: str
    row: Longs
    values: "pa.Array"
    hidden: Flags


class DeclaredChanges(NamedTuple):
    """What n payloads say. `good`: which of them were read. `full`: a whole image, not a patch.

    `after`: the values after the change, field by field as they are declared.
    """

    good: Flags
    full: Flags
    after: list[FieldCells]


class _Column(NamedTuple):
    """A field while it is read: n values, as in `changes.Found`. `row` and `null` say of which.

    `objects`: the values themselves, where they are read one by one.
    """

    name: str
    type: AvroType
    row: Longs
    null: Flags
    number: Longs
    content: Longs
    end: Longs
    objects: Objects | None

    def found(self, which: Longs) -> Found:
        """Some of them."""
        branch = np.where(self.null[which], NULL, _BRANCH[self.type.kind]).astype(np.uint8)
        row, content = self.row[which], self.content[which]
        return Found(row, row, branch, content, content, self.end[which], self.number[which])


def read_declared(source: Source, start: Longs, end: Longs, row: AvroType) -> DeclaredChanges:
    """Read the changes at `start` to `end`, whose rows are of this type."""
    cursor = Cursor(source, start, end)
    image = cursor.byte()
    cursor.mark(None, (image != 0) & (image != 2))
    before = _read_rows(cursor, cursor.optional(), row)
    after = _read_rows(cursor, cursor.optional(), row)
    good = cursor.finish()
    for column in (*before, *after):
        _check_contents(source, column, good)
    cells = [_cells_of(source, column, np.flatnonzero(good[column.row])) for column in after]
    return DeclaredChanges(good, image == 2, cells)


def _read_rows(cursor: Cursor, rows: Longs, row: AvroType) -> list[_Column]:
    if not len(rows):
        return []
    return [_read_field(cursor, rows, field.name, field.type) for field in row.fields]


def _read_field(cursor: Cursor, rows: Longs, name: str, type_: AvroType) -> _Column:
    count = len(rows)
    null: Flags = np.zeros(count, np.bool_)
    if type_.kind == "nullable":
        branch = cursor.byte(rows)
        none = 0 if type_.null_first else 2
        null = branch == none
        cursor.mark(rows, ~null & (branch != 2 - none))
        type_ = type_.inner
    if not null.any():
        return _Column(name, type_, rows, null, *_read_values(cursor, rows, type_))
    there = np.flatnonzero(~null)
    number, content, end = (np.zeros(count, np.int64) for _ in range(3))
    # The order of the buffer is kept: a null is an empty span, where the values stand.
    content[:] = end[:] = cursor.pos[rows]
    some = _read_values(cursor, rows[there], type_)
    number[there], content[there], end[there] = some[:3]
    objects = None
    if some[3] is not None:
        objects = np.full(count, None, np.object_)
        objects[there] = some[3]
    return _Column(name, type_, rows, null, number, content, end, objects)


_Values = tuple[Longs, Longs, Longs, Objects | None]


def _read_values(cursor: Cursor, rows: Longs, type_: AvroType) -> _Values:
    """(number, where the content begins, and where it ends, objects) of values of one type."""
    kind = type_.kind
    content = cursor.pos[rows]
    number = np.zeros(len(rows), np.int64)
    if kind == "boolean":
        number = cursor.byte(rows).astype(np.int64)
        cursor.mark(rows, number > 1)
    elif kind in ("int", "long", "date", "timestamp-micros", "timestamp-millis"):
        number = cursor.long(rows)
        if kind in _RANGE:
            low, high = _RANGE[kind]
            wrong = (number < low) | (number > high)
            cursor.mark(rows, wrong)
            number[wrong] = 0
        if kind == "timestamp-millis":
            number *= _US_OF_MS
    elif kind == "double":
        number = cursor.source.words[cursor.skip(8, rows)].view(np.int64)
    elif kind == "float":
        words = cursor.source.words[cursor.skip(4, rows)]
        floats = words.astype(np.uint32).view(np.float32)
        number = floats.astype(np.float64).view(np.int64)
    elif kind in ("string", "bytes", "uuid"):
        content, _ = cursor.sized(MAX_INT32, rows)
        if kind == "uuid":
            _check_uuids(cursor, rows, content)
    elif kind == "fixed":
        cursor.skip(type_.size or 0, rows)
    elif kind == "enum":
        number = cursor.count(rows, len(type_.symbols) - 1)
    elif _is_short(type_):
        number = _read_decimals(cursor, rows, type_)
    else:
        return number, content, content, _read_each(cursor, rows, decoder_of(type_))
    return number, content, cursor.pos[rows], None


def _is_short(type_: AvroType) -> bool:
    """Whether it is a decimal of which all, or nearly all, fit a number of 64 bits."""
    fits = type_.precision <= MAX_WORD_DIGITS and (type_.size or 1) <= MAX_WORD_BYTES
    return type_.kind == "decimal" and fits


def _read_decimals(cursor: Cursor, rows: Longs, type_: AvroType) -> Longs:
    if type_.size is None:
        content, end = cursor.sized(MAX_WORD_BYTES, rows)
        size = end - content
        cursor.mark(rows, size == 0)
        size = np.maximum(size, 1)
    else:
        content = cursor.skip(type_.size, rows)
        size = np.full(len(rows), type_.size, np.int64)
    words = cursor.source.words[content].astype("<u8").byteswap().view(np.int64)
    number: Longs = words >> (MAX_WORD_BYTES - size) * 8
    most = 10**type_.precision
    wrong = (number <= -most) | (number >= most)
    cursor.mark(rows, wrong)
    return number


def _read_each(cursor: Cursor, rows: Longs, decode: Decoder) -> Objects:
    """Values read one by one, each from its own bytes alone."""
    made = np.full(len(rows), None, np.object_)
    data = cursor.source.data.data
    used = np.zeros(len(rows), np.int64)
    wrong = cursor.bad[rows]
    for at, (start, end) in enumerate(
        zip(cursor.pos[rows].tolist(), cursor.end[rows].tolist(), strict=True)
    ):
        if wrong[at] or start >= end:
            wrong[at] = True
            continue
        try:
            made[at], used[at] = decode(bytes(data[start:end]), 0)
        except InvalidInput:
            wrong[at] = True
    cursor.skip(used, rows)
    cursor.mark(rows, wrong)
    return made


_HEX = np.zeros(256, np.bool_)
_HEX[list(b"0123456789abcdefABCDEF")] = True


def _check_uuids(cursor: Cursor, rows: Longs, content: Longs) -> None:
    """As `avrotype.UUID` has them."""
    wrong = cursor.pos[rows] - content != _UUID_SIZE
    last = cursor.source.size
    for at in range(_UUID_SIZE):
        byte = cursor.source.data[np.minimum(content + at, last)]
        wrong |= (byte != ord("-")) if at in _HYPHENS else ~_HEX[byte]
    cursor.mark(rows, wrong)


def _check_contents(source: Source, column: _Column, good: Flags) -> None:
    """Marks the changes with a text that is none."""
    if column.type.kind == "string":
        which = np.flatnonzero(good[column.row])
        array = source.spans(column.content[which], column.end[which])
        good[column.row[which[not_utf8(array)]]] = False


def _cells_of(source: Source, column: _Column, which: Longs) -> FieldCells:
    type_, row = column.type, column.row[which]
    hidden: Flags = np.zeros(len(which), np.bool_)
    if column.objects is not None:
        objects = column.objects[which].tolist()
        hidden[:] = [unchanged(value) for value in objects]
        values = arrays_of([None if gone else v for v, gone in zip(objects, hidden, strict=True)])
    elif type_.kind == "enum":
        mask = column.null[which]
        values = pa.array(type_.symbols).take(pa.array(column.number[which], mask=mask))
        if UNAVAILABLE in type_.symbols:
            hidden = (column.number[which] == type_.symbols.index(UNAVAILABLE)) & ~mask
    elif type_.kind == "decimal":
        values = _spelled_decimals(column.number[which], type_.scale, column.null[which])
    else:
        found = column.found(which)
        hidden = placeholders(source, found)
        values = values_of(source, found)
    return FieldCells(column.name, row, values, hidden)


def _spelled_decimals(number: Longs, scale: int, null: Flags) -> "pa.Array":
    """The decimals as the value union spells them: branch, size, shortest bytes, scale."""
    if null.all():
        return pa.nulls(len(number))
    tail = encode_long(scale)
    rows = np.zeros((len(number), 2 + MAX_WORD_BYTES + len(tail)), np.uint8)
    used = np.ones(rows.shape, np.bool_)
    rows[:, 2 : 2 + MAX_WORD_BYTES] = number.astype(">i8").view(np.uint8).reshape(-1, 8)
    # As many bytes as the digits and a sign need.
    bits = np.bitwise_count(_filled((number ^ (number >> 63)).view(np.uint64))).astype(np.int64)
    size = bits // 8 + 1
    rows[:, 0], rows[:, 1] = DECIMAL, size * 2
    rows[:, 2 + MAX_WORD_BYTES :] = np.frombuffer(tail, np.uint8)
    for at in range(MAX_WORD_BYTES):
        used[:, 2 + at] = at >= MAX_WORD_BYTES - size
    return rows_of(rows, used, null if null.any() else None)


def _filled(words: Words) -> Words:
    """Every bit below the highest one set."""
    for shift in (1, 2, 4, 8, 16, 32):
        words = words | words >> np.uint64(shift)
    return words

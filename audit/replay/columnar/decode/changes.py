"""Changes of rows, many at once: the payloads of `row.v1`, and where the values in them are.

Says the same as `audit.event.row.decode_row`: what that refuses is not `good` here. Neither is what
is right but seldom (more than MAX_FIELDS fields, a list of fields in several blocks, a number of
more than MAX_NUMBER_BYTES bytes): whoever asks reads these one by one.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from audit.errors import InvalidInput
from audit.event.fields import MAX_DECIMAL_BYTES, MIN_FIELD_BYTES, decode_value
from audit.event.normal import MAX_DECIMAL_SCALE
from audit.event.row import MAX_ROW_BYTES
from audit.event.times import MAX_DATE_DAYS, MAX_TIME_US, MIN_DATE_DAYS, MIN_TIME_US
from audit.replay.columnar.lockstep import Cursor, Flags, Longs, Raw, Source, not_utf8

MAX_FIELDS = 1_024
"""Rows with more fields are read one by one: all others would wait for them."""
MAX_NUMBER_BYTES = MAX_DECIMAL_BYTES - 1
"""A decimal of so many bytes has no more digits than one may have."""

NULL, BOOLEAN, LONG, DOUBLE, STRING, BYTES, DECIMAL, DATE, TIME, JSON = range(0, 20, 2)
"""The branches of a value, as their byte stands before it."""


class Found(NamedTuple):
    """Values in the buffer, a number of arrays of one length, in any order.

    `row`: of which change. `name`: code of the field's name. `branch`: see NULL to JSON.
    A value's spelling is `spelled` to `end`, its text or bytes `content` to `end`. `number`: int64,
    the value of a boolean, long, date or time, the bits of a double.
    """

    row: Longs
    name: Longs
    branch: Raw
    spelled: Longs
    content: Longs
    end: Longs
    number: Longs

    def take(self, which: "Longs | Flags | slice") -> "Found":
        """Some of them."""
        columns: tuple[Any, ...] = self
        return Found(*(column[which] for column in columns))


class Changes(NamedTuple):
    """What n payloads say. `good`: which of them were read. `full`: a whole image, not a patch.

    `after`: the values after the change, sorted by (name, row). `names`: the fields' names.
    `before`, `before_names`: the same of those before it. `has_before`, `has_after`: which say so
    at all, if only that there were no fields.
    """

    good: Flags
    full: Flags
    after: Found
    names: tuple[str, ...]
    before: Found
    before_names: tuple[str, ...]
    has_before: Flags
    has_after: Flags


class _Step(NamedTuple):
    """The values that stand at one place of their lists, in the order of the rows."""

    row: Longs
    name_start: Longs
    name_end: Longs
    branch: Raw
    spelled: Longs
    content: Longs
    end: Longs
    number: Longs


def read_changes(source: Source, start: Longs, end: Longs) -> Changes:
    """Read the changes at `start` to `end`."""
    cursor = Cursor(source, start, end)
    cursor.mark(None, end - start > MAX_ROW_BYTES)
    image = cursor.byte()
    cursor.mark(None, (image != 0) & (image != 2))
    with_before = cursor.optional()
    before = _read_fields(cursor, with_before)
    with_after = cursor.optional()
    after = _read_fields(cursor, with_after)
    good = cursor.finish()
    earlier, earlier_names = _arranged(source, before, good)
    found, names = _arranged(source, after, good)
    has_before, has_after = np.zeros_like(good), np.zeros_like(good)
    has_before[with_before] = True
    has_after[with_after] = True
    earlier, found = _of_good(earlier, good), _of_good(found, good)
    return Changes(good, image == 2, found, names, earlier, earlier_names, has_before, has_after)


def _of_good(found: Found, good: Flags) -> Found:
    keep = good[found.row]
    return found if keep.all() else found.take(keep)


def _read_fields(cursor: Cursor, rows: Longs) -> list[_Step]:
    """A list of fields in each of these rows."""
    left = cursor.count(rows, MAX_FIELDS)
    cursor.mark(rows, left * MIN_FIELD_BYTES > cursor.end[rows] - cursor.pos[rows])
    rows, left = rows[left > 0], left[left > 0]
    steps = []
    active = rows
    for step in range(int(left.max(initial=0))):
        if step:
            keep = left > step
            if not keep.all():
                active, left = active[keep], left[keep]
        name_start, name_end = cursor.sized(MAX_ROW_BYTES, active)
        spelled = cursor.pos[active]
        branch = cursor.byte(active)
        number = np.zeros(len(active), dtype=np.int64)
        content = spelled + 1
        for kind in np.flatnonzero(np.bincount(branch)).tolist():
            which = branch == kind
            if which.all():
                number[:], content[:] = _read_value(cursor, active, kind)
            else:
                number[which], content[which] = _read_value(cursor, active[which], kind)
        end = cursor.pos[active]
        steps.append(_Step(active, name_start, name_end, branch, spelled, content, end, number))
    # A further block of fields is right, and seldom.
    cursor.mark(rows, cursor.byte(rows) != 0)
    return steps


def _read_value(cursor: Cursor, rows: Longs, kind: int) -> tuple[Longs, Longs]:
    """(number, where the content begins) of values of one kind; the cursor goes behind them."""
    content = cursor.pos[rows]
    number = np.zeros(len(rows), dtype=np.int64)
    if kind == BOOLEAN:
        number = cursor.byte(rows).astype(np.int64)
        cursor.mark(rows, number > 1)
    elif kind == LONG:
        number = cursor.long(rows)
    elif kind == DATE:
        number = cursor.long(rows)
        cursor.mark(rows, (number < MIN_DATE_DAYS) | (number > MAX_DATE_DAYS))
    elif kind == TIME:
        number = cursor.long(rows)
        cursor.mark(rows, (number < MIN_TIME_US) | (number > MAX_TIME_US))
    elif kind == DOUBLE:
        number = cursor.source.words[cursor.skip(8, rows)].view(np.int64)
    elif kind in (STRING, BYTES, JSON):
        content, _ = cursor.sized(MAX_ROW_BYTES, rows)
    elif kind == DECIMAL:
        content, end = cursor.sized(MAX_NUMBER_BYTES, rows)
        cursor.mark(rows, content == end)
        scale = cursor.long(rows)
        cursor.mark(rows, (scale < -MAX_DECIMAL_SCALE) | (scale > MAX_DECIMAL_SCALE))
    elif kind != NULL:
        cursor.mark(rows, np.ones(len(rows), dtype=np.bool_))
    return number, content


def _arranged(source: Source, steps: list[_Step], good: Flags) -> tuple[Found, tuple[str, ...]]:
    """The values sorted by (name, row), and the names; marks the rows that are not good.

    What comes back may still hold values of rows that became bad by the last check here.
    """
    steps = [_good(step, good) for step in steps]
    for step in steps:
        _check_contents(source, step, good)
    if not any(len(step.row) for step in steps):
        empty = np.zeros(0, dtype=np.int64)
        none = Found(empty, empty, empty.astype(np.uint8), empty, empty, empty, empty)
        return none, ()
    raw = pa.chunked_array([source.spans(step.name_start, step.name_end) for step in steps])
    encoded = raw.combine_chunks().dictionary_encode()
    rows = _joined(step.row for step in steps)
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    for code in not_utf8(encoded.dictionary):
        good[rows[codes == code]] = False
    found = Found(
        rows,
        codes,
        np.concatenate([step.branch for step in steps]),
        _joined(step.spelled for step in steps),
        _joined(step.content for step in steps),
        _joined(step.end for step in steps),
        _joined(step.number for step in steps),
    )
    order = _order(codes, rows)
    found = found.take(order)
    twice = (np.diff(found.name) == 0) & (np.diff(found.row) == 0)
    good[found.row[1:][twice]] = False
    return found, tuple(name.decode(errors="replace") for name in encoded.dictionary.to_pylist())


def _joined(columns: Iterable[Longs]) -> Longs:
    return np.concatenate(list(columns))


def _good(step: _Step, good: Flags) -> _Step:
    keep = good[step.row]
    columns: tuple[Any, ...] = step
    return step if keep.all() else _Step(*(column[keep] for column in columns))


def _order(codes: Longs, rows: Longs) -> Longs:
    """What sorts by (code, row)."""
    if codes.max(initial=0) < 2**15:
        # Sixteen bits are sorted by counting. Each step is in the order of its rows, so that most
        # names come out wholly in order.
        order = np.argsort(codes.astype(np.int16), kind="stable")
    else:
        order = np.argsort(codes, kind="stable")
    key = codes[order] * (int(rows.max(initial=0)) + 1) + rows[order]
    if (key[1:] < key[:-1]).any():
        order = order[np.argsort(key, kind="stable")]
    return order


def _check_contents(source: Source, step: _Step, good: Flags) -> None:
    texts = np.flatnonzero(step.branch == STRING)
    if len(texts):
        array = source.spans(step.content[texts], step.end[texts])
        good[step.row[texts[not_utf8(array)]]] = False
    nested = np.flatnonzero(step.branch == JSON)
    if len(nested):
        encoded = source.spans(step.spelled[nested], step.end[nested]).dictionary_encode()
        refused = [
            at
            for at, spelled in enumerate(encoded.dictionary.to_pylist())
            if not _is_value(spelled)
        ]
        wrong = np.isin(encoded.indices.to_numpy(zero_copy_only=False), refused)
        good[step.row[nested[wrong]]] = False


def _is_value(spelled: bytes) -> bool:
    try:
        return decode_value(spelled, 0)[1] == len(spelled)
    except InvalidInput:
        return False

"""Some thousand entries decoded at once: the columns of `events` without a record an entry.

Says what `events.event_batch` says, which is the rule; whatever is unusual is left to it: a block
with a leaf that is not plainly right as a whole, a payload that is no `row.v1` one by one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from audit.errors import StoreCorrupt
from audit.event.book import SchemaBook
from audit.event.row import FULL, PATCH
from audit.event.types import DATA_DELETE, DATA_TRUNCATE, SCHEMA
from audit.ledger.export.events import (
    BATCH_ROWS,
    OF_SAID,
    TIME,
    Decode,
    event_batch,
    said_of,
)
from audit.ledger.export.json_texts import row_texts
from audit.log.entry import Kind
from audit.log.record import Record, read_record
from audit.replay.columnar.decode.changes import Changes, read_changes
from audit.replay.columnar.decode.envelopes import Envelopes, Spans, Texts, read_envelopes
from audit.replay.columnar.decode.known_schemas import ROW_SCHEMA
from audit.replay.columnar.lockstep import Flags, Longs, Source
from audit.replay.columnar.parts import NO_CODE, Bytes8
from audit.replay.fold import DATA_PREFIX
from audit.replay.trusted import trusted_record
from audit.store.contract import Located
from audit.tlog.hashing import leaf_hash

BLOCK_BYTES = 16 * 1024 * 1024
"""Leaves that are decoded at once, together: few enough for texts of them to fit any column."""
MAX_LEAF_OF_BLOCK_BYTES = BLOCK_BYTES
"""A leaf that is longer is none; nothing is laid out for it."""
SORTS = ("event", "schema", "control", "quarantined")
"""What an entry is, in the order of `parts.Sort`."""
_EVENT, _SCHEMA, _CONTROL, _QUARANTINED = range(4)


class Payloads(NamedTuple):
    """How payloads are read: one by one, and whether `row.v1` is among the schemas that count."""

    decode: Decode
    row_known: bool


def payloads_of(decode: Decode, book: SchemaBook) -> Payloads:
    """For the entries of one log with this book."""
    return Payloads(decode, book.get(ROW_SCHEMA) is not None)


class RowPayloads(NamedTuple):
    """The payloads of `row.v1` in a block: which entries, and what they say."""

    rows: Longs
    changes: Changes


class EntryBlock:
    """n entries of one log, in order. Arrays have the length n; columns are made when asked for."""

    def __init__(
        self, log: int, leaves: Sequence[bytes], said: Envelopes, source: Source, how: Payloads
    ) -> None:
        """Use `read_entries`."""
        self.log = log
        self.leaves = leaves
        self.said = said
        self.source = source
        self._how = how
        self._records: dict[int, Record] = {}

    def record(self, at: int) -> Record:
        """One of the entries by itself."""
        found = self._records.get(at)
        if found is None:
            found = self._records[at] = read_record(self.log, self.leaves[at])
        return found

    @cached_property
    def sort(self) -> Bytes8:
        """What each entry is: a place in `event`, `schema`, `control`, `quarantined`."""
        said = self.said
        sort = np.full(len(self.leaves), _EVENT, dtype=np.uint8)
        sort[self._is_schema] = _SCHEMA
        sort[said.kind == Kind.CONTROL] = _CONTROL
        sort[said.kind == Kind.QUARANTINED] = _QUARANTINED
        return sort

    @cached_property
    def _is_schema(self) -> Flags:
        return coded(self.said.type, lambda text: text == SCHEMA)

    @cached_property
    def is_data(self) -> Flags:
        """Which are changes of data by their type."""
        return coded(self.said.type, lambda text: text.startswith(DATA_PREFIX))

    @cached_property
    def _plain(self) -> Flags:
        """Which hold an event, and its payload is not encrypted."""
        plain: Flags = (self.sort != _QUARANTINED) & ~self.said.encrypted
        return plain

    @cached_property
    def _bare(self) -> Flags:
        """Which of those have neither a payload nor a schema."""
        said = self.said
        bare: Flags = self._plain & (said.schema.codes == NO_CODE)
        bare &= said.payload_start == said.payload_end
        return bare

    @cached_property
    def silent(self) -> Flags:
        """Deletes and truncates that say nothing beside that."""
        silent = coded(self.said.type, lambda text: text in (DATA_DELETE, DATA_TRUNCATE))
        return silent & self._bare

    @cached_property
    def row_payloads(self) -> RowPayloads:
        """The payloads that are read at once; others are read one by one."""
        said = self.said
        mine = np.zeros(len(self.leaves), dtype=np.bool_)
        if self._how.row_known:
            codes = [
                at for at, raw in enumerate(said.schema.found.to_pylist()) if raw == ROW_SCHEMA
            ]
            mine = np.isin(said.schema.codes, codes) & self._plain & self.is_data
        rows = np.flatnonzero(mine)
        changes = read_changes(self.source, said.payload_start[rows], said.payload_end[rows])
        return RowPayloads(rows, changes)

    @cached_property
    def one_by_one(self) -> Longs:
        """Entries whose payloads are read one by one."""
        rows, changes = self.row_payloads
        known = self.silent | (self._bare & ~self.is_data & ~self._is_schema)
        known |= self.sort == _QUARANTINED
        known[rows[changes.good]] = True
        return np.flatnonzero(~known)

    @cached_property
    def _odd(self) -> list[dict[str, Any]]:
        return [said_of(self.record(at), self._how.decode) for at in self.one_by_one.tolist()]

    def batch(self, schema: "pa.Schema") -> "pa.RecordBatch":
        """The columns of a schema that `event_schema` made, or `log`. Raises StoreCorrupt."""
        arrays = []
        for field in schema:
            try:
                arrays.append(self._column(field.name))
            except (pa.ArrowException, OverflowError, UnicodeError) as error:
                raise StoreCorrupt(
                    f"the column {field.name} holds what no table can: {error}"
                ) from None
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _column(self, name: str) -> "pa.Array":
        make = _COLUMNS.get(name)
        if make is not None:
            return make(self)
        if name in OF_SAID:
            return self._said_column(name)
        if name in _SPANS:
            return self._spanned(getattr(self.said, _SPANS[name]))
        return texts_array(getattr(self.said, name))

    def _spanned(self, spans: Spans) -> "pa.Array":
        count = len(self.leaves)
        if not len(spans.rows):
            return pa.nulls(count, pa.string())
        texts = self.source.spans(spans.start, spans.end).view(pa.string())
        return spread(texts, spans.rows, count)

    def _said_column(self, name: str) -> "pa.Array":
        """A column of what payloads say: those read at once, and the others put between them."""
        rows, changes = self.row_payloads
        count = len(self.leaves)
        if name == "image":
            code = np.full(count, NO_CODE, dtype=np.int64)
            code[rows] = changes.full
            code[self.silent] = 0
            array = pa.array([PATCH, FULL], pa.string()).take(pa.array(code, mask=code < 0))
        elif name in ("before", "after"):
            found, names, has = (
                (changes.after, changes.names, changes.has_after)
                if name == "after"
                else (changes.before, changes.before_names, changes.has_before)
            )
            texts = row_texts(self.source, found, names, has & changes.good)
            array = texts if len(rows) == count else spread(texts, rows, count)
        else:
            array = pa.nulls(count, pa.string())
        if not len(self.one_by_one):
            return array
        odd = np.zeros(count, dtype=np.bool_)
        odd[self.one_by_one] = True
        values = [_text(one.get(name)) for one in self._odd]
        if all(value is None for value in values) and array.null_count == count:
            return array
        both = pa.concat_arrays([array, pa.array(values, pa.string())])
        which = np.arange(count)
        which[self.one_by_one] = count + np.arange(len(values))
        return both.take(pa.array(which))


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def spread(values: "pa.Array", rows: Longs, count: int) -> "pa.Array":
    """Values of some rows as a column of all; null elsewhere."""
    which = np.full(count, -1, dtype=np.int64)
    which[rows] = np.arange(len(rows))
    return values.take(pa.array(which, mask=which < 0))


def coded(texts: Texts, fits: Callable[[str], bool]) -> Flags:
    """Which entries have a text that fits."""
    table = np.array([*(fits(raw.decode()) for raw in texts.found.to_pylist()), False], np.bool_)
    flags: Flags = table[texts.codes]
    return flags


def texts_array(texts: Texts, null: Flags | None = None) -> "pa.Array":
    """A text of each entry as a column; null besides where so marked."""
    absent = texts.codes < 0 if null is None else (texts.codes < 0) | null
    if not len(texts.found):
        return pa.nulls(len(absent), pa.string())
    return texts.found.cast(pa.string()).take(pa.array(texts.codes, mask=absent))


def times_array(times_us: Longs, null: Flags | None = None) -> "pa.Array":
    """Microseconds as a column of times."""
    return pa.array(times_us, pa.int64(), mask=null).view(TIME)


def ops_of(types: Sequence[str | None]) -> "pa.Array":
    """The operation that each type of event names; null where it names none."""
    ops = [
        None if text is None or not text.startswith(DATA_PREFIX) else text[len(DATA_PREFIX) :]
        for text in types
    ]
    return pa.array(ops, pa.string())


def _op(block: EntryBlock) -> "pa.Array":
    types = block.said.type
    ops = ops_of([raw.decode() for raw in types.found.to_pylist()])
    absent = (types.codes < 0) | (block.sort != _EVENT)
    return ops.take(pa.array(types.codes, mask=absent))


def _event_id(block: EntryBlock) -> "pa.Array":
    said = block.said
    return block.source.spans(
        said.event_id_start, said.event_id_end, block.sort == _QUARANTINED
    ).view(pa.string())


_SPANS = {"supersedes": "superseded", "request_id": "request_id", "trace_id": "trace_id"}
_COLUMNS: dict[str, Callable[[EntryBlock], "pa.Array"]] = {
    "index": lambda block: pa.array(block.said.index),
    "log": lambda block: pa.repeat(pa.scalar(block.log, pa.int64()), len(block.leaves)),
    "recorded_time": lambda block: times_array(block.said.recorded_us),
    "valid_time": lambda block: times_array(block.said.valid_us, ~block.said.claimed),
    "kind": lambda block: pa.array(SORTS, pa.string()).take(pa.array(block.sort)),
    "op": _op,
    "event_id": _event_id,
    "quarantined": lambda block: texts_array(block.said.entry_reason, block.sort != _QUARANTINED),
    "leaf_hash": lambda block: pa.array([leaf_hash(leaf).hex() for leaf in block.leaves]),
    "leaf": lambda block: pa.array(block.leaves, pa.binary()),
}


def read_entries(
    log: int, leaves: Sequence[bytes], indexes: Sequence[int] | None, how: Payloads
) -> EntryBlock | None:
    """Decode leaves, at most BLOCK_BYTES and one more; None where they are to be read one by one.

    `indexes`: those that the leaves are to have; None: they say so themselves.
    """
    if not leaves or not all(type(leaf) is bytes for leaf in leaves):
        return None
    if max(map(len, leaves)) > MAX_LEAF_OF_BLOCK_BYTES:
        return None
    source = Source(leaves)
    said = read_envelopes(source, None)
    if said.bad.any():
        return None
    if indexes is not None and not np.array_equal(said.index, np.array(indexes, dtype=np.int64)):
        return None
    return EntryBlock(log, leaves, said, source, how)


def in_blocks(located: Iterable[Located]) -> Iterator[list[Located]]:
    """Entries in lists of at most BATCH_ROWS, and of about BLOCK_BYTES."""
    block: list[Located] = []
    block_bytes = 0
    for one in located:
        block.append(one)
        block_bytes += len(one.leaf)
        if len(block) >= BATCH_ROWS or block_bytes >= BLOCK_BYTES:
            yield block
            block, block_bytes = [], 0
    if block:
        yield block


def entry_batches(
    log: int, located: Iterable[Located], how: Payloads, schema: "pa.Schema"
) -> Iterator["pa.RecordBatch"]:
    """Batches of the columns of `schema` from what a reader found. Raises StoreCorrupt."""
    for some in in_blocks(located):
        yield block_batch(log, some, how, schema)


def block_batch(
    log: int, some: Sequence[Located], how: Payloads, schema: "pa.Schema"
) -> "pa.RecordBatch":
    """One batch of entries: decoded at once, or else one by one. Raises StoreCorrupt."""
    block = read_entries(log, [one.leaf for one in some], [one.index for one in some], how)
    if block is not None:
        return block.batch(schema)
    records = [trusted_record(log, index, leaf) for index, leaf in some]
    return event_batch(records, how.decode, schema)

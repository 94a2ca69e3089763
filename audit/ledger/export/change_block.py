"""Rows of a dataset's table of changes as columns: made of many entries at once, or of `ChangeRow`.

`change_row` is the rule. It is asked itself for what supersedes something and for payloads that are
no `row.v1`; the rest of a block goes by here without a record an event, and says the same.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from audit.errors import FormatError
from audit.event.envelope import RESERVED_ENTITY_TYPES
from audit.event.fields import decode_value
from audit.ledger.export.changes import (
    CHANGE_COLUMNS,
    KEPT,
    UNREAD,
    ChangeRow,
    Columns,
    Superseded,
    change_row,
    envelope_array,
    widened,
)
from audit.ledger.export.entry_block import (
    EntryBlock,
    coded,
    ops_of,
    texts_array,
    times_array,
)
from audit.ledger.export.events import Decode
from audit.ledger.export.typed import arrow_type, kind_of, kinds_of, merged, typed_array
from audit.replay.columnar.decode.cellvalues import placeholders, values_of
from audit.replay.columnar.decode.changes import (
    BOOLEAN,
    BYTES,
    DATE,
    DOUBLE,
    LONG,
    NULL,
    STRING,
    TIME,
)
from audit.replay.columnar.decode.changes import Found as FoundValues
from audit.replay.columnar.lockstep import Flags, Longs, Source
from audit.replay.fold import OPS

BASE_COLUMNS = pa.schema([field for field in CHANGE_COLUMNS if field.name != "_set_fields"])
"""What does not depend on the columns of the fields."""

_KINDS = {
    BOOLEAN: "bool",
    LONG: "int",
    DOUBLE: "double",
    STRING: "string",
    BYTES: "bytes",
    DATE: "date",
    TIME: "timestamp",
}
_ODD = (UNREAD, KEPT)


class Cells(NamedTuple):
    """What events set one field to. `at`: int64[c], which rows, increasing; `values`: of `kind`."""

    at: Longs
    kind: str
    values: "pa.Array"


class ChangeBlock(NamedTuple):
    """Some rows in order. `base`: their BASE_COLUMNS; `first`: index of the first one's entry.

    `odd`: what is in the column `_odd`.
    """

    log: int
    first: int
    base: "pa.RecordBatch"
    fields: Mapping[str, Cells]
    odd: frozenset[str]

    def kinds(self, known: Mapping[str, str]) -> dict[str, str]:
        """Field -> kind that holds these values and those of what was known."""
        kinds = dict(known)
        for name, cells in self.fields.items():
            kinds[name] = merged(kinds.get(name, "null"), cells.kind)
        return kinds


def block_of_rows(rows: Sequence[ChangeRow]) -> ChangeBlock:
    """Rows that were made one by one; at least one."""
    arrays = [envelope_array(field, rows) for field in BASE_COLUMNS]
    fields = _fields_of(list(enumerate(rows)))
    first = rows[0].record
    odd = frozenset(row.odd for row in rows if row.odd is not None)
    base = pa.RecordBatch.from_arrays(arrays, schema=BASE_COLUMNS)
    return ChangeBlock(first.log, first.index, base, fields, odd)


def _fields_of(rows: Sequence[tuple[int, ChangeRow]]) -> dict[str, Cells]:
    given: dict[str, tuple[list[int], list[Any]]] = {}
    for at, row in rows:
        for name, value in row.fields.items():
            places, values = given.setdefault(name, ([], []))
            places.append(at)
            values.append(value)
    kinds = kinds_of((row.fields for _, row in rows), {})
    return {
        name: Cells(np.array(at, dtype=np.int64), kinds[name], typed_array(values, kinds[name]))
        for name, (at, values) in given.items()
    }


def rows_by_dataset(
    records: Sequence[Any], decode: Decode, superseded: Superseded
) -> dict[str, ChangeBlock]:
    """Dataset -> its rows, each made by itself."""
    rows: dict[str, list[ChangeRow]] = {}
    for record in records:
        row = change_row(record, decode, superseded)
        if row is not None:
            rows.setdefault(record.event.entity_type, []).append(row)
    return {name: block_of_rows(some) for name, some in rows.items()}


def changes_of(block: EntryBlock, decode: Decode, superseded: Superseded) -> dict[str, ChangeBlock]:
    """Dataset -> the rows that a block's entries make; datasets without any are left out."""
    reading = _Reading(block, decode, superseded)
    said = block.said
    names = [raw.decode() for raw in said.entity_type.found.to_pylist()]
    made = {}
    for code in np.unique(said.entity_type.codes[reading.counts]).tolist():
        rows = np.flatnonzero(reading.counts & (said.entity_type.codes == code))
        made[names[code]] = reading.dataset(rows)
    return made


class _Reading:
    """What the entries of a block do. `counts`: which of them make a row."""

    def __init__(self, block: EntryBlock, decode: Decode, superseded: Superseded) -> None:
        self._block = block
        said = block.said
        types = [raw.decode() for raw in said.type.found.to_pylist()]
        ops = [op if op in OPS else None for op in ops_of(types).to_pylist()]
        self._ops = pa.array(ops, pa.string())
        is_op = np.array([*(op is not None for op in ops), False], np.bool_)
        self._has_op: Flags = (block.sort == 0) & is_op[said.type.codes]
        about = coded(said.entity_type, lambda text: text not in RESERVED_ENTITY_TYPES)
        self.counts: Flags = about & (self._has_op | said.supersedes)
        rows, changes = block.row_payloads
        read = block.silent.copy()
        read[rows[changes.good]] = True
        odd = self.counts & (said.supersedes | (self._has_op & ~read))
        self._odd: dict[int, ChangeRow] = {}
        for at in np.flatnonzero(odd).tolist():
            row = change_row(block.record(at), decode, superseded)
            if row is None:
                self.counts[at] = False
            else:
                self._odd[at] = row
        creates = coded(said.type, lambda text: text == "data.create")
        updates = coded(said.type, lambda text: text == "data.update")
        full = np.zeros(len(odd), dtype=np.bool_)
        full[rows] = changes.full & changes.good
        self._whole: Flags = creates | (updates & full)
        self._sets: Flags = (creates | updates) & self.counts & ~odd
        self._hidden = placeholders(block.source, changes.after)

    def dataset(self, rows: Longs) -> ChangeBlock:
        """The rows of one dataset; at least one."""
        block, said = self._block, self._block.said
        ordinal = np.full(len(self.counts), -1, dtype=np.int64)
        ordinal[rows] = np.arange(len(rows))
        odd = {int(ordinal[at]): row for at, row in self._odd.items() if ordinal[at] >= 0}
        # What was read at once has only what is in arrays; the others say it themselves.
        op_codes = said.type.codes[rows]
        whole = self._whole[rows]
        target = np.full(len(rows), -1, dtype=np.int64)
        strange = np.full(len(rows), -1, dtype=np.int64)
        no_op = ~self._has_op[rows]
        for at, row in odd.items():
            no_op[at] = row.op is None
            whole[at] = row.whole
            target[at] = -1 if row.supersedes_index is None else row.supersedes_index
            strange[at] = -1 if row.odd is None else _ODD.index(row.odd)
        found = block.row_payloads.changes.after
        entries = block.row_payloads.rows[found.row]
        mine = (ordinal[entries] >= 0) & self._sets[entries]
        places = ordinal[entries[mine]]
        hidden = self._hidden[mine]
        strange[places[hidden & whole[places]]] = _ODD.index(KEPT)
        fields = _cells(block, found.take(mine), places, hidden)
        for name, cells in _fields_of(sorted(odd.items())).items():
            fields[name] = _together(fields[name], cells) if name in fields else cells
        made: dict[str, Any] = {
            "_log": pa.repeat(pa.scalar(block.log, pa.int64()), len(rows)),
            "_index": pa.array(said.index[rows]),
            "_recorded_time": times_array(said.recorded_us[rows]),
            "_valid_time": times_array(said.valid_us[rows]),
            "_op": self._ops.take(pa.array(op_codes, mask=no_op | (op_codes < 0))),
            "_whole": pa.array(whole),
            "_supersedes_index": pa.array(target, mask=target < 0),
            "_odd": pa.array(_ODD, pa.string()).take(pa.array(strange, mask=strange < 0)),
            "_event_id": block.source.spans(
                said.event_id_start[rows], said.event_id_end[rows]
            ).view(pa.string()),
        }
        for name in ("entity_key", "source", "actor", "reason", "transaction_id"):
            texts = getattr(said, name)
            made[f"_{name}"] = texts_array(texts._replace(codes=texts.codes[rows]))
        arrays = [made[field.name] for field in BASE_COLUMNS]
        base = pa.RecordBatch.from_arrays(arrays, schema=BASE_COLUMNS)
        said_odd = frozenset(_ODD[code] for code in np.unique(strange).tolist() if code >= 0)
        return ChangeBlock(block.log, int(said.index[rows[0]]), base, fields, said_odd)


def _cells(block: EntryBlock, found: FoundValues, at: Longs, hidden: Flags) -> dict[str, Cells]:
    """The cells of each field; `found` is sorted by (name, row)."""
    if hidden.any():
        found, at = found.take(~hidden), at[~hidden]
    names = block.row_payloads.changes.names
    bounds = np.flatnonzero(np.diff(found.name, prepend=-1, append=-1))
    fields = {}
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        some = found.take(slice(start, stop))
        kind, values = _typed(block.source, some)
        fields[names[int(found.name[start])]] = Cells(at[start:stop], kind, values)
    return fields


def _typed(source: Source, found: FoundValues) -> tuple[str, "pa.Array"]:
    """(kind, values) of one field, in the order of their rows."""
    branches = [b for b in np.flatnonzero(np.bincount(found.branch)).tolist() if b != NULL]
    if not branches:
        return "null", pa.nulls(len(found.row), arrow_type("null"))
    if len(branches) == 1 and branches[0] in _KINDS:
        return _KINDS[branches[0]], values_of(source, found)
    distinct = source.spans(found.spelled, found.end).dictionary_encode()
    values = [decode_value(spelled, 0)[0] for spelled in distinct.dictionary.to_pylist()]
    kind = reduce(merged, map(kind_of, values), "null")
    return kind, typed_array(values, kind).take(distinct.indices)


def _together(left: Cells, right: Cells) -> Cells:
    kind = merged(left.kind, right.kind)
    at = np.concatenate([left.at, right.at])
    order = np.argsort(at, kind="stable")
    both = pa.concat_arrays(
        [widened(left.values, left.kind, kind), widened(right.values, right.kind, kind)]
    )
    return Cells(at[order], kind, both.take(pa.array(order)))


def change_table_of(blocks: Sequence[ChangeBlock], columns: Columns) -> "pa.Table":
    """Rows as a table. Raises FormatError for a value that its column's kind does not hold."""
    return pa.concat_tables([_table(block, columns) for block in blocks])


def _table(block: ChangeBlock, columns: Columns) -> "pa.Table":
    if not block.fields.keys() <= columns.kinds.keys():
        raise FormatError("an event sets a field that has no column")
    count = block.base.num_rows
    names = columns.in_order()
    made = {}
    for name in names:
        cells, kind = block.fields.get(name), columns.kinds[name]
        if cells is None:
            made[name] = pa.nulls(count, arrow_type(kind))
            continue
        values = widened(cells.values, cells.kind, kind)
        if len(values) < count:
            which = np.full(count, -1, dtype=np.int64)
            which[cells.at] = np.arange(len(values))
            values = values.take(pa.array(which, mask=which < 0))
        made[name] = values
    arrays = [
        _set_fields(block, columns, names, count)
        if field.name == "_set_fields"
        else block.base.column(field.name)
        for field in CHANGE_COLUMNS
    ]
    arrays.extend(made[name] for name in names)
    return pa.Table.from_arrays(arrays, schema=columns.schema())


def _set_fields(
    block: ChangeBlock, columns: Columns, names: Sequence[str], count: int
) -> "pa.Array":
    """The columns that each row sets, in their order."""
    offsets = np.zeros(count + 1, dtype=np.int32)
    given = [
        (rank, block.fields[name].at) for rank, name in enumerate(names) if name in block.fields
    ]
    texts = pa.array([columns.names[name] for name in names], pa.string())
    if not given:
        return pa.ListArray.from_arrays(pa.array(offsets), texts.slice(0, 0))
    at = np.concatenate([at for _, at in given])
    ranks = np.concatenate([np.full(len(at), rank) for rank, at in given])
    np.cumsum(np.bincount(at, minlength=count), out=offsets[1:])
    ranks = ranks[np.argsort(at, kind="stable")]
    return pa.ListArray.from_arrays(pa.array(offsets), texts.take(pa.array(ranks)))

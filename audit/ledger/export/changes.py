"""The changes of one dataset as a typed table: a row an event, a column a field.

With it, "the dataset as of T" is plain SQL (`asof_text`). The columns that begin with `_` are not
the dataset's own:

    _log, _index          where the event is
    _recorded_time, _valid_time   when it was recorded, and from when it holds
    _op                   create, update, delete, truncate; null for an event that only supersedes
    _entity_key           null for a truncate of the whole dataset
    _whole                a create or a full image: nothing from before it remains
    _supersedes_index     the entry of the same log that this one takes out
    _set_fields           the columns that the event sets: a field that is not among them stays as
                          it was, and one that is and is null was set to null
    _odd                  `unread`: the payload cannot be read; `kept`: a full image in which a
                          field is marked as unchanged (what it keeps, plain SQL does not find)
    _event_id, _source, _actor, _reason, _transaction_id
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from audit.errors import FormatError, InvalidInput
from audit.event.envelope import RESERVED_ENTITY_TYPES
from audit.event.row import FULL, Change
from audit.ledger.export.asof_text import WORKING_COLUMNS
from audit.ledger.export.events import TIME, Decode, op_of
from audit.ledger.export.typed import arrow_type, column_names, typed_array
from audit.log.entry import Kind
from audit.log.record import Record
from audit.replay.fold import OPS
from audit.replay.rows import unchanged

CHANGE_COLUMNS = pa.schema(
    [
        pa.field("_log", pa.int64(), nullable=False),
        pa.field("_index", pa.int64(), nullable=False),
        pa.field("_recorded_time", TIME, nullable=False),
        pa.field("_valid_time", TIME, nullable=False),
        pa.field("_op", pa.string()),
        pa.field("_entity_key", pa.string()),
        pa.field("_whole", pa.bool_(), nullable=False),
        pa.field("_supersedes_index", pa.int64()),
        pa.field("_set_fields", pa.list_(pa.string()), nullable=False),
        pa.field("_odd", pa.string()),
        pa.field("_event_id", pa.string(), nullable=False),
        pa.field("_source", pa.string(), nullable=False),
        pa.field("_actor", pa.string()),
        pa.field("_reason", pa.string()),
        pa.field("_transaction_id", pa.string()),
    ]
)
TAKEN = (*CHANGE_COLUMNS.names, *WORKING_COLUMNS)
"""What no field's column may be called."""
UNREAD = "unread"
KEPT = "kept"


class ChangeRow(NamedTuple):
    """One row: the event's record, what it does, and the fields it sets."""

    record: Record
    op: str | None
    whole: bool
    supersedes_index: int | None
    odd: str | None
    fields: Mapping[str, Any]


Superseded = Callable[[Record], int | None]
"""Index of the entry, in the same log, that a record takes out; None when there is none."""


def change_row(record: Record, decode: Decode, superseded: Superseded) -> ChangeRow | None:
    """What a record does to the dataset that it is about; None when it does nothing to any."""
    event = record.event
    if event is None or event.entity_type is None or event.entity_type in RESERVED_ENTITY_TYPES:
        return None
    target = None if event.supersedes is None else superseded(record)
    op = op_of(record)
    if op not in OPS:
        op = None
    if op is None:
        return None if target is None else ChangeRow(record, None, False, target, None, {})
    try:
        change = decode(record)
        problem = None if isinstance(change, Change) else UNREAD
    except InvalidInput:
        change, problem = None, UNREAD
    if problem is not None:
        return ChangeRow(record, op, op == "create", target, problem, {})
    whole = op == "create" or (op == "update" and change.image == FULL)
    given = change.after or {} if op in ("create", "update") else {}
    fields = {name: value for name, value in given.items() if not unchanged(value)}
    odd = KEPT if whole and len(fields) != len(given) else None
    return ChangeRow(record, op, whole, target, odd, fields)


def superseded_by(find: Callable[[str], Sequence[Record]]) -> Superseded:
    """The rule of the fold (`audit.replay.fold.superseded`), given how to find records by event id.

    The named event is an earlier one of the same key in the same log; of several, the one of the
    same source.
    """

    def target(record: Record) -> int | None:
        event = record.event
        if event is None or event.supersedes is None:
            return None
        fits = [
            found
            for found in find(event.supersedes)
            if found.log == record.log
            and found.index < record.index
            and found.entry.kind is not Kind.QUARANTINED
            and found.event is not None
            and found.event.entity_type == event.entity_type
            and found.event.entity_key == event.entity_key
        ]
        if len(fits) > 1:
            fits = [fit for fit in fits if fit.event and fit.event.source == event.source]
        return fits[0].index if len(fits) == 1 else None

    return target


class Columns(NamedTuple):
    """The fields of a dataset: field -> column, and field -> kind; both have the same fields."""

    names: Mapping[str, str]
    kinds: Mapping[str, str]

    def schema(self) -> pa.Schema:
        """The table's schema; the fields come sorted by column."""
        fields = [
            pa.field(self.names[name], arrow_type(self.kinds[name])) for name in self.in_order()
        ]
        return pa.schema([*CHANGE_COLUMNS, *fields])

    def in_order(self) -> list[str]:
        """The fields in the order of their columns."""
        return sorted(self.names, key=lambda name: self.names[name])

    def with_kinds(self, kinds: Mapping[str, str]) -> "Columns":
        """The same and further fields, of these kinds."""
        return Columns(column_names(kinds, TAKEN, self.names), dict(kinds))


NO_COLUMNS = Columns({}, {})


def envelope_array(field: pa.Field, rows: Sequence[ChangeRow]) -> pa.Array:
    """One of the CHANGE_COLUMNS but `_set_fields`."""
    return pa.array([_ENVELOPE[field.name](row) for row in rows], field.type)


def change_table(rows: Sequence[ChangeRow], columns: Columns) -> pa.Table:
    """Rows as a table, one by one: the rule that `change_block` is held to.

    Raises FormatError for a value that its column's kind does not hold.
    """
    arrays = [
        envelope_array(field, rows) for field in CHANGE_COLUMNS if field.name != "_set_fields"
    ]
    names = columns.names
    said = [sorted(names[name] for name in row.fields) for row in rows]
    arrays.insert(CHANGE_COLUMNS.get_field_index("_set_fields"), pa.array(said, _SET_TYPE))
    for name in columns.in_order():
        cells = [row.fields.get(name) for row in rows]
        arrays.append(typed_array(cells, columns.kinds[name]))
    return pa.Table.from_arrays(arrays, schema=columns.schema())


_SET_TYPE = CHANGE_COLUMNS.field("_set_fields").type


def _event(row: ChangeRow) -> Any:
    return row.record.event


def _valid_us(row: ChangeRow) -> int:
    claimed: int | None = _event(row).valid_time_us
    return row.record.recorded_time_us if claimed is None else claimed


_ENVELOPE: dict[str, Callable[[ChangeRow], Any]] = {
    "_log": lambda row: row.record.log,
    "_index": lambda row: row.record.index,
    "_recorded_time": lambda row: row.record.recorded_time_us,
    "_valid_time": _valid_us,
    "_op": lambda row: row.op,
    "_entity_key": lambda row: _event(row).entity_key,
    "_whole": lambda row: row.whole,
    "_supersedes_index": lambda row: row.supersedes_index,
    "_odd": lambda row: row.odd,
    "_event_id": lambda row: _event(row).event_id,
    "_source": lambda row: _event(row).source,
    "_actor": lambda row: _event(row).actor,
    "_reason": lambda row: _event(row).reason,
    "_transaction_id": lambda row: _event(row).transaction_id,
}


def widened(values: pa.Array, old: str, new: str) -> pa.Array:
    """Values of a kind in a column of a wider one. Raises FormatError where it is no wider one."""
    if old == new:
        return values
    if old == "null":
        return pa.nulls(len(values), arrow_type(new))
    if new != "json":
        raise FormatError(f"a value is no {new}: it is {old}")
    return typed_array(values.to_pylist(), new)


def retyped(table: pa.Table, old: Columns, new: Columns) -> pa.Table:
    """A table of changes in wider columns: further fields as nulls, kinds that became `json`."""
    arrays = [table.column(field.name) for field in CHANGE_COLUMNS]
    for name in new.in_order():
        kind = new.kinds[name]
        before = old.kinds.get(name)
        if before is None:
            arrays.append(pa.nulls(table.num_rows, arrow_type(kind)))
        else:
            arrays.append(widened(table.column(old.names[name]), before, kind))
    return pa.Table.from_arrays(arrays, schema=new.schema())

"""A block of leaves as columns: what searching needs of every entry, and the changes of datasets.

`read_block` gives, for the leaves of some thousand entries that follow each other, exactly what
reading them one by one would. Nearly all is read in lockstep (`envelopes`, `changes`); payloads
that are right but unusual are read one by one, and their values join the others.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from audit.errors import StoreCorrupt
from audit.event.row import FULL, Change
from audit.event.types import OPERATIONS, SCHEMA, SCHEMA_SOURCE
from audit.event.values import Value
from audit.log.entry import Kind
from audit.replay.columnar.decode.cellvalues import arrays_of, placeholders, values_of
from audit.replay.columnar.decode.changes import Changes, read_changes
from audit.replay.columnar.decode.declared_changes import (
    MIN_TOGETHER,
    DeclaredChanges,
    read_declared,
)
from audit.replay.columnar.decode.envelopes import Envelopes, Texts, read_envelopes
from audit.replay.columnar.decode.known_schemas import ROW_SCHEMA, KnownSchemas
from audit.replay.columnar.lockstep import Flags, Longs, Source
from audit.replay.columnar.parts import NO_CODE, Bytes8, Codes, Op, Sort
from audit.replay.rows import unchanged
from audit.replay.trusted import trusted_record

OP_OF = {type_.encode(): Op[name.upper()] for name, type_ in OPERATIONS.items()}


class Careful(NamedTuple):
    """From this entry on a key is folded plainly; without a key, the whole dataset."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    key: bytes | None


class DatasetBlock(NamedTuple):
    """The data events of one dataset in a block; n of them. See `parts.DatasetPart`.

    `position`: int64[n], their indexes in the log. `keys`: Arrow binary[n], null for none.
    `fields`: name -> (at, values), more than one where some were read one by one; `at` counts from
    the first event of this block.
    """

    position: Longs
    recorded_us: Longs
    valid_us: Longs
    op: Bytes8
    whole: Flags
    keys: "pa.Array"
    unread: Flags
    fields: dict[str, list[tuple[Longs, "pa.Array"]]]
    first: dict[str, int]
    careful: list[Careful]


class Block(NamedTuple):
    """Entries `first` to `first + n`. `texts` are those of `parts.EventsPart`, by name.

    `plain_from`: entity type -> the first index at which something that is no change of data takes
    out an event of it: such a dataset is folded plainly from there on.
    """

    first: int
    recorded_us: Longs
    valid_us: Longs
    sort: Bytes8
    texts: dict[str, Texts]
    datasets: dict[str, DatasetBlock]
    plain_from: dict[str, int]


def read_block(leaves: Sequence[bytes], log: int, first: int, schemas: KnownSchemas) -> Block:
    """Read the leaves of the entries from `first` on. Raises StoreCorrupt as `trusted_record`.

    Schemas that they record are entered into `schemas`.
    """
    source = Source(leaves)
    said = read_envelopes(source, first)
    for at in np.flatnonzero(said.bad).tolist():
        trusted_record(log, first + at, leaves[at])
        raise StoreCorrupt(f"entry {log}/{first + at} cannot be read in columns; run audit verify")
    _note_schemas(source, said, first, schemas)
    sort = said.kind.copy()
    sort[said.kind == Kind.CONTROL] = Sort.CONTROL
    sort[said.kind == Kind.QUARANTINED] = Sort.QUARANTINED
    sort[(said.kind == Kind.EVENT) & _is(said.type, SCHEMA.encode())] = Sort.SCHEMA
    texts = {
        name: getattr(said, name)
        for name in ("type", "entity_type", "source", "actor", "transaction_id")
    }
    texts["reason"] = _reasons(said)
    datasets, plain_from = _read_datasets(source, said, first, schemas)
    return Block(first, said.recorded_us, said.valid_us, sort, texts, datasets, plain_from)


def _is(texts: Texts, text: bytes) -> Flags:
    codes = [at for at, found in enumerate(texts.found.to_pylist()) if found == text]
    return np.isin(texts.codes, codes)


def _note_schemas(source: Source, said: Envelopes, first: int, schemas: KnownSchemas) -> None:
    rows = _is(said.type, SCHEMA.encode()) & _is(said.source, SCHEMA_SOURCE.encode())
    for at in np.flatnonzero(rows).tolist():
        event_id = source.data[said.event_id_start[at] : said.event_id_end[at]].tobytes()
        payload = source.data[said.payload_start[at] : said.payload_end[at]].tobytes()
        schemas.note(first + at, event_id.decode(), payload)


def _reasons(said: Envelopes) -> Texts:
    """The events' reasons; of an entry with a reason of its own, the word before its colon."""
    own = said.entry_reason
    rows = np.flatnonzero(own.codes != NO_CODE)
    if not len(rows):
        return said.reason
    words = [text.partition(b":")[0] for text in own.found.to_pylist()]
    codes = said.reason.codes.copy()
    codes[rows] = own.codes[rows] + len(said.reason.found)
    return Texts(codes, pa.concat_arrays([said.reason.found, pa.array(words, pa.binary())]))


def _read_datasets(
    source: Source, said: Envelopes, first: int, schemas: KnownSchemas
) -> tuple[dict[str, DatasetBlock], dict[str, int]]:
    op_of_type = [OP_OF.get(raw, -1) for raw in said.type.found.to_pylist()]
    op = _taken(op_of_type, said.type.codes)
    is_data = (said.kind == Kind.EVENT) & (op >= 0)
    entities = [raw.decode() for raw in said.entity_type.found.to_pylist()]
    payloads = _Payloads(source, said, first, schemas, is_data, op)
    found = {
        entities[code]: payloads.dataset(np.flatnonzero(is_data & (said.entity_type.codes == code)))
        for code in np.unique(said.entity_type.codes[is_data]).tolist()
    }
    others = said.supersedes & ~is_data & (said.entity_type.codes != NO_CODE)
    plain_from: dict[str, int] = {}
    for at in np.flatnonzero(others).tolist():
        plain_from.setdefault(entities[said.entity_type.codes[at]], first + at)
    return found, plain_from


def _taken(values: Sequence[int], codes: Codes) -> Longs:
    """The value of each code; -1 for NO_CODE."""
    table = np.array([*values, -1], dtype=np.int64)
    taken: Longs = table[codes]
    return taken


class _Payloads:
    """The payloads of a block's data events, read at once and dealt out by dataset."""

    def __init__(
        self,
        source: Source,
        said: Envelopes,
        first: int,
        schemas: KnownSchemas,
        is_data: Flags,
        op: Longs,
    ) -> None:
        self._source = source
        self._said = said
        self._first = first
        self._schemas = schemas
        self._op = op
        self._keys = said.entity_key.found.to_pylist()
        self._hashes = said.schema.found.to_pylist()
        count = len(op)
        self._full = np.zeros(count, dtype=np.bool_)
        self._unread = np.zeros(count, dtype=np.bool_)
        self._odd: dict[int, Change] = {}
        self._declared: list[tuple[Longs, DeclaredChanges]] = []
        self._read(np.flatnonzero(is_data))

    def key(self, at: int) -> bytes | None:
        """The key of an event."""
        code = int(self._said.entity_key.codes[at])
        return None if code == NO_CODE else self._keys[code]

    def _read(self, rows: Longs) -> None:
        said = self._said
        known_from = [self._schemas.first(name) for name in self._hashes]
        row_from = [
            at if name == ROW_SCHEMA and at is not None else -1
            for name, at in zip(self._hashes, known_from, strict=True)
        ]
        since = _taken(row_from, said.schema.codes)[rows]
        plain = ~said.encrypted[rows]
        in_lockstep = plain & (since >= 0) & (since < self._first + rows)
        self._rows = rows[in_lockstep]
        self._changes: Changes = read_changes(
            self._source, said.payload_start[self._rows], said.payload_end[self._rows]
        )
        self._full[self._rows] = self._changes.full & self._changes.good
        # A delete or a truncate mostly says nothing beside that.
        silent = said.payload_start[rows] == said.payload_end[rows]
        silent &= (said.schema.codes[rows] == NO_CODE) & plain & (self._op[rows] >= Op.DELETE)
        one_by_one = self._read_declared(rows[~in_lockstep & ~silent])
        self._read_each(np.concatenate([one_by_one, self._rows[~self._changes.good]]))
        found = self._changes.after
        self._after_row = self._rows[found.row]
        self._placeholder = placeholders(self._source, found)

    def _read_declared(self, rows: Longs) -> Longs:
        """Read the payloads under declared schemas; gives those that are still to be read."""
        said = self._said
        left = [rows[said.schema.codes[rows] == NO_CODE]]
        for code in np.unique(said.schema.codes[rows]).tolist():
            if code == NO_CODE:
                continue
            mine = rows[said.schema.codes[rows] == code]
            since = self._schemas.first(self._hashes[code])
            type_ = self._schemas.declared_row(self._hashes[code])
            if since is not None and type_ is not None:
                known = ~said.encrypted[mine] & (self._first + mine > since)
                some = mine[known]
                if len(some) >= MIN_TOGETHER:
                    start, end = said.payload_start[some], said.payload_end[some]
                    found = read_declared(self._source, start, end, type_)
                    self._declared.append((some, found))
                    self._full[some] = found.full & found.good
                    mine = np.concatenate([mine[~known], some[~found.good]])
            left.append(mine)
        return np.sort(np.concatenate(left))

    def _read_each(self, rows: Longs) -> None:
        """Read payloads one by one."""
        said = self._said
        types = [raw.decode() for raw in said.type.found.to_pylist()]
        hashes = [*self._hashes, None]  # the last one is that of NO_CODE
        data = self._source.data.data
        columns = (
            *(rows, said.type.codes[rows], said.schema.codes[rows], said.encrypted[rows]),
            *(said.payload_start[rows], said.payload_end[rows]),
        )
        for at, type_, schema, encrypted, start, end in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            change = None
            if not encrypted:
                payload = bytes(data[start:end])
                index = self._first + at
                change = self._schemas.decode(index, types[type_], hashes[schema], payload)
            if change is None:
                self._unread[at] = True
            else:
                self._odd[at] = change
                self._full[at] = change.image == FULL

    def dataset(self, rows: Longs) -> DatasetBlock:
        """What these events, all of one dataset, say."""
        said = self._said
        op = self._op[rows].astype(np.uint8)
        ordinal = np.full(len(self._op), -1, dtype=np.int64)
        ordinal[rows] = np.arange(len(rows))
        careful = self._unread[rows] | said.supersedes[rows]
        has_key = said.entity_key.codes[rows] != NO_CODE
        careful |= (op == Op.TRUNCATE) & has_key
        fields: dict[str, list[tuple[Longs, pa.Array]]] = {}
        first: dict[str, int] = {}
        whole = self._full[rows] | (op == Op.CREATE)
        for at in self._fields(ordinal, op, fields, first):
            careful[at] |= whole[at]
        for at in self._declared_fields(ordinal, op, fields, first):
            careful[at] |= whole[at]
        for at in self._odd_fields(rows, ordinal, op, fields, first):
            careful[at] |= whole[at]
        keys = (
            pa.DictionaryArray.from_arrays(
                pa.array(said.entity_key.codes[rows], mask=~has_key), said.entity_key.found
            )
            if len(said.entity_key.found)
            else pa.nulls(len(rows), pa.binary())
        )
        return DatasetBlock(
            self._first + rows,
            said.recorded_us[rows],
            said.valid_us[rows],
            op,
            whole,
            keys.cast(pa.binary()),
            self._unread[rows],
            fields,
            dict(sorted(first.items(), key=lambda item: item[1])),
            [Careful(self._first + at, self.key(at)) for at in rows[careful].tolist()],
        )

    def _fields(
        self,
        ordinal: Longs,
        op: Bytes8,
        fields: dict[str, list[tuple[Longs, "pa.Array"]]],
        first: dict[str, int],
    ) -> list[int]:
        """Fill in what was read in lockstep; gives the events with a placeholder."""
        found = self._changes.after
        at = ordinal[self._after_row]
        mine = at >= 0
        if not mine.all():
            found, at = found.take(mine), at[mine]
        hidden = self._placeholder[mine]
        bounds = np.flatnonzero(np.diff(found.name, prepend=-1, append=-1))
        is_cell = (op[at] <= Op.UPDATE) & ~hidden
        for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            name = self._changes.names[int(found.name[start])]
            first[name] = int(at[start])
            which: slice | Longs = slice(start, stop)
            if not is_cell[which].all():
                which = start + np.flatnonzero(is_cell[which])
            if len(at[which]):
                fields[name] = [(at[which], values_of(self._source, found.take(which)))]
        with_hidden: list[int] = at[hidden].tolist()
        return with_hidden

    def _declared_fields(
        self,
        ordinal: Longs,
        op: Bytes8,
        fields: dict[str, list[tuple[Longs, "pa.Array"]]],
        first: dict[str, int],
    ) -> list[int]:
        """Fill in what declared schemas say; gives the events with a placeholder."""
        with_hidden = []
        for rows, changes in self._declared:
            for cells in changes.after:
                at = ordinal[rows[cells.row]]
                mine = at >= 0
                if not mine.any():
                    continue
                began = int(at[mine][0])
                first[cells.name] = min(first.get(cells.name, began), began)
                with_hidden.extend(at[mine & cells.hidden].tolist())
                mine &= ~cells.hidden & (op[at] <= Op.UPDATE)
                which = np.flatnonzero(mine)
                if len(which):
                    values = cells.values.take(pa.array(which))
                    if values.null_count == len(values):
                        values = pa.nulls(len(values))
                    fields.setdefault(cells.name, []).append((at[which], values))
        return with_hidden

    def _odd_fields(
        self,
        rows: Longs,
        ordinal: Longs,
        op: Bytes8,
        fields: dict[str, list[tuple[Longs, "pa.Array"]]],
        first: dict[str, int],
    ) -> list[int]:
        """Fill in what was read one by one; gives the events with a placeholder."""
        given: dict[str, tuple[list[int], list[Value]]] = {}
        with_hidden = []
        sets = (op <= Op.UPDATE).tolist()
        own = rows[np.isin(rows, list(self._odd))] if self._odd else rows[:0]
        for row, at in zip(own.tolist(), ordinal[own].tolist(), strict=True):
            for name, value in (self._odd[row].after or {}).items():
                if first.get(name, at) >= at:
                    first[name] = at
                if unchanged(value):
                    with_hidden.append(at)
                elif sets[at]:
                    ordinals, values = given.setdefault(name, ([], []))
                    ordinals.append(at)
                    values.append(value)
        for name, (ordinals, values) in given.items():
            array = arrays_of(values)
            fields.setdefault(name, []).append((np.array(ordinals, dtype=np.int64), array))
        return with_hidden

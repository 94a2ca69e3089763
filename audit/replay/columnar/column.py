"""A column while it is folded: numbers of one kind, or numbers of values in a pool.

Every kind is an array of fixed width, so that all columns are gathered, overlaid and merged in the
same way. Texts, bytes, dates and whatever else are kept once in a `Pool`; the column holds where.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.event.fields import decode_time, encode_value
from audit.event.times import EPOCH, us_of_time
from audit.replay.columnar.pool import FEW_VALUES, POOLED, Kind, Objects, Pool
from audit.replay.columnar.scatter import Ints

ABSENT = 0
NULL = 1
VALUE = 2
"""What stands in a cell: nothing at all, null, or a value."""

States = npt.NDArray[np.uint8]
Data = npt.NDArray[Any]


DTYPES: dict[Kind, np.dtype[Any]] = {
    Kind.NONE: np.dtype(np.int32),
    Kind.INT: np.dtype(np.int64),
    Kind.DOUBLE: np.dtype(np.float64),
    Kind.BOOL: np.dtype(np.bool_),
    Kind.TIME: np.dtype(np.int64),
    Kind.TEXT: np.dtype(np.int32),
    Kind.BYTES: np.dtype(np.int32),
    Kind.DATE: np.dtype(np.int32),
    Kind.MIXED: np.dtype(np.int32),
}


MAX_LEAVES = 16
"""Arrays that a pool is put together from, in a column that is kept."""
SPARE_VALUES = 1_024
"""So many values more than twice its rows may be in the pool of a column that is kept."""


class Column(NamedTuple):
    """One field of n rows. `data[n]` of `DTYPES[kind]` means something where state[n] is VALUE."""

    kind: Kind
    data: Data
    state: States
    pool: Pool | None

    def take(self, rows: Ints) -> "Column":
        """The cells of these rows."""
        full = self.is_full
        state = np.full(len(rows), VALUE, np.uint8) if full else self.state.take(rows)
        return Column(self.kind, self.data.take(rows), state, self.pool)

    @property
    def is_full(self) -> bool:
        """Whether there is a value in every row. It costs less than to copy the states."""
        return not len(self.state) or int(self.state.min()) == VALUE

    def slice(self, start: int, stop: int) -> "Column":
        """The cells of the rows [start, stop)."""
        return Column(self.kind, self.data[start:stop], self.state[start:stop], self.pool)

    def objects(self, null: object, absent: object) -> Objects:
        """Python values, with these two where there is none."""
        everywhere = self.is_full
        there = self.state == VALUE
        if self.pool is not None and len(self.pool):
            if everywhere:
                return self.pool.gather(self.data)
            if len(self.pool) <= FEW_VALUES:
                # What stands for no value is taken like one: cheaper than to put it in behind.
                made = np.append(self.pool.objects(), np.empty(2, np.object_))
                made[-2:] = null, absent
                numbers = np.where(there, self.data, len(made) - 1)
                numbers[self.state == NULL] = len(made) - 2
                return made.take(numbers)
            out: Objects = self.pool.gather(np.where(there, self.data, 0))
            out[np.flatnonzero(self.state == NULL)] = null
            out[np.flatnonzero(self.state == ABSENT)] = absent
            return out
        out = np.empty(len(self.state), np.object_)
        data = self.data if everywhere else self.data[there]
        if self.kind is Kind.NONE or not len(data):
            made = np.empty(0, np.object_)
        elif self.kind is Kind.TIME:
            made = _times(data)
        else:
            made = data.astype(np.object_)
        if everywhere:
            return made
        out[there] = made
        out[self.state == NULL] = null
        out[self.state == ABSENT] = absent
        return out

    def compact(self) -> "Column":
        """The same with a pool of what it holds and no more; equal texts once where that helps."""
        if self.pool is None:
            return self
        there = self.state == VALUE
        used = np.zeros(len(self.pool), np.bool_)
        used[self.data[there]] = True
        kept = np.flatnonzero(used)
        many = 2 * len(kept) > len(self.state)
        data = np.zeros(len(self.state), np.int32)
        if many:
            # As many values as rows: in the order of the rows, so that reading goes forwards.
            values = self.pool.values.take(pa.array(self.data[there]))
            data[there] = np.arange(len(values))
        else:
            number = np.zeros(len(self.pool), np.int32)
            number[kept] = np.arange(len(kept))
            values = self.pool.values.take(pa.array(kept))
            if self.kind in (Kind.TEXT, Kind.BYTES):
                coded = values.dictionary_encode()
                values = coded.dictionary
                number[kept] = coded.indices.to_numpy(zero_copy_only=False)
            data[there] = number[self.data[there]]
        return Column(self.kind, data, self.state, Pool(self.kind, [values]))

    def tidy(self) -> "Column":
        """The same to be kept for long: what later columns are put together from stays short."""
        if self.pool is None or not len(self.pool):
            return self
        if len(self.pool) > SPARE_VALUES + 2 * len(self.state):
            return self.compact()
        if len(self.pool.leaves) > MAX_LEAVES:
            return self._replace(pool=self.pool.merged())
        return self

    def spelled(self) -> "Column":
        """The same as a MIXED column."""
        if self.kind is Kind.MIXED:
            return self
        there = self.state == VALUE
        data = np.zeros(len(self.state), np.int32)
        if self.pool is not None:
            # Only what is used is spelled; the rest of a pool may be long.
            lean = self.compact()
            assert lean.pool is not None
            spelled = [encode_value(value) for value in lean.pool.objects().tolist()]
            data = lean.data
        else:
            values = self.objects(None, None)[there].tolist()
            spelled = [encode_value(value) for value in values]
            data[there] = np.arange(len(spelled))
        pool = Pool(Kind.MIXED, [pa.array(spelled, pa.large_binary())])
        return Column(Kind.MIXED, data, self.state, pool)


def _times(times_us: Data) -> Objects:
    """The instants of int64 microseconds, as `decode_time` makes each."""
    for limit_us in (times_us.min(), times_us.max()):
        decode_time(int(limit_us))
    made: Objects = EPOCH + times_us.view("timedelta64[us]").astype(np.object_)
    return made


def branches(column: Column) -> set[int]:
    """The first bytes of what a MIXED column spells: one kind of value each."""
    if column.pool is None or not len(column.pool):
        return set()
    values = column.pool.values
    offsets = np.frombuffer(values.buffers()[1], np.int64)[values.offset :][: len(values)]
    first = np.frombuffer(values.buffers()[2], np.uint8)[offsets]
    return set(np.unique(first[column.data[column.state == VALUE]]).tolist())


def nothing(count: int, state: int = ABSENT) -> Column:
    """A column without any value."""
    states = np.full(count, state, np.uint8)
    return Column(Kind.NONE, np.zeros(count, np.int32), states, None)


def column_of_values(values: Sequence[Any], absent: object) -> Column:
    """A column of Python values, None, and `absent`."""
    state = np.array([ABSENT if v is absent else NULL if v is None else VALUE for v in values])
    state = state.astype(np.uint8)
    there = state == VALUE
    held = [value for value in values if value is not None and value is not absent]
    kinds = {type(value) for value in held}
    if not kinds:
        return Column(Kind.NONE, np.zeros(len(values), np.int32), state, None)
    kind = _KINDS.get(kinds.pop(), Kind.MIXED) if len(kinds) == 1 else Kind.MIXED
    data = np.zeros(len(values), DTYPES[kind])
    if kind in POOLED:
        data[there] = np.arange(len(held))
        if kind is Kind.MIXED:
            held = [encode_value(value) for value in held]
        return Column(kind, data, state, Pool(kind, [pa.array(held, POOLED[kind])]))
    data[there] = [us_of_time(v) if isinstance(v, datetime) else v for v in held]
    return Column(kind, data, state, None)


_KINDS: dict[type, Kind] = {
    int: Kind.INT,
    float: Kind.DOUBLE,
    bool: Kind.BOOL,
    datetime: Kind.TIME,
    str: Kind.TEXT,
    bytes: Kind.BYTES,
    date: Kind.DATE,
}


def column_of_cells(values: "pa.Array", rows: Ints) -> Column:
    """The cells at these places of an Arrow array as `Cells.values` has them."""
    kind = _kind_of(values.type)
    if kind is Kind.NONE:
        return nothing(len(rows), NULL)
    if pa.types.is_dictionary(values.type):
        data, valid = _fixed(values.indices, np.dtype(np.int32))
        there = valid[rows] if valid is not None else None
        if len(values.dictionary) <= len(rows):
            pool = Pool(kind, [values.dictionary.cast(POOLED[kind])])
            return Column(kind, data[rows], _states(there, rows), pool)
    if kind in POOLED:
        picked = values.take(pa.array(rows))
        if pa.types.is_dictionary(picked.type):
            picked = picked.dictionary_decode()
        there = None
        data = np.arange(len(picked), dtype=np.int32)
        if picked.null_count:
            there = picked.is_valid().to_numpy(zero_copy_only=False)
            data = (np.cumsum(there) - 1).astype(np.int32)
            picked = picked.drop_null()
        pool = Pool(kind, [picked.cast(POOLED[kind])])
        return Column(kind, data, _states(there, rows), pool)
    data, valid = _fixed(values, DTYPES[kind])
    there = valid[rows] if valid is not None else None
    return Column(kind, data[rows], _states(there, rows), None)


def _states(there: npt.NDArray[np.bool_] | None, rows: Ints) -> States:
    if there is None:
        return np.full(len(rows), VALUE, np.uint8)
    return np.where(there, np.uint8(VALUE), np.uint8(NULL))


def _kind_of(type_: "pa.DataType") -> Kind:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    for test, kind in _TESTS:
        if test(type_):
            return kind
    raise TypeError(f"no cells are of the type {type_}")


_TESTS = (
    (pa.types.is_null, Kind.NONE),
    (pa.types.is_int64, Kind.INT),
    (pa.types.is_float64, Kind.DOUBLE),
    (pa.types.is_boolean, Kind.BOOL),
    (pa.types.is_timestamp, Kind.TIME),
    (pa.types.is_string, Kind.TEXT),
    (pa.types.is_large_string, Kind.TEXT),
    (pa.types.is_binary, Kind.BYTES),
    (pa.types.is_date32, Kind.DATE),
    (pa.types.is_large_binary, Kind.MIXED),
)


def _fixed(values: "pa.Array", dtype: "np.dtype[Any]") -> tuple[Data, npt.NDArray[np.bool_] | None]:
    """The data of an array of fixed width, and where it is valid (None: everywhere)."""
    valid = values.is_valid().to_numpy(zero_copy_only=False) if values.null_count else None
    if dtype == np.bool_:
        return values.fill_null(False).to_numpy(zero_copy_only=False), valid
    if not len(values):
        return np.empty(0, dtype), valid
    data: Data = np.frombuffer(values.buffers()[1], dtype)
    return data[values.offset : values.offset + len(values)], valid


class Piece(NamedTuple):
    """A column that becomes some rows of another one; `rows` None: all of them, in order.

    `rows` may be boolean: one for each row of the other, as many true as the column has cells.
    """

    rows: Ints | npt.NDArray[np.bool_] | None
    column: Column


def combine(count: int, pieces: Sequence[Piece], take_over: bool = False) -> Column:
    """One column of `count` rows; where pieces meet the later one wins, the rest is absent.

    `take_over`: the arrays of a first piece of all rows become those of the column.
    """
    if len(pieces) == 1 and pieces[0].rows is None:
        return _plain(pieces[0].column)
    covered = bool(pieces) and pieces[0].rows is None
    if covered:
        state = pieces[0].column.state if take_over else pieces[0].column.state.copy()
    else:
        state = np.zeros(count, np.uint8)
    for rows, column in pieces[1:] if covered else pieces:
        state[slice(None) if rows is None else rows] = column.state
    kinds = _kinds(pieces)
    if len(kinds) > 1:
        pieces = _uncovered(count, pieces)
        kinds = _kinds(pieces)
    if len(kinds) > 1:
        pieces = [Piece(p.rows, p.column.spelled() if _has(p) else p.column) for p in pieces]
        kinds = {Kind.MIXED}
    if not kinds:
        return Column(Kind.NONE, np.zeros(count, np.int32), state, None)
    (kind,) = kinds
    first_rows, column = pieces[0]
    if first_rows is None and column.kind is kind:
        data = column.data if take_over else column.data.copy()
    else:
        data = np.zeros(count, DTYPES[kind])
    pools: list[Pool] = []
    held = 0
    first: dict[int, int] = {}
    for rows, column in pieces:
        if column.kind is not kind:
            continue
        if column.pool is not None and id(column.pool) not in first:
            first[id(column.pool)] = held
            pools.append(column.pool)
            held += len(column.pool)
        base = first.get(id(column.pool), 0)
        if column.data is data:
            continue
        place = slice(None) if rows is None else rows
        data[place] = column.data + np.int32(base) if base else column.data
    pool = None if kind not in POOLED else pools[0] if len(pools) == 1 else Pool(kind, pools)
    return _plain(Column(kind, data, state, pool))


def _plain(column: Column) -> Column:
    """A column without a value is of the kind NONE."""
    if column.kind is Kind.NONE or bool((column.state == VALUE).any()):
        return column
    return Column(Kind.NONE, np.zeros(len(column.state), np.int32), column.state, None)


def _has(piece: Piece) -> bool:
    column = piece.column
    return column.kind is not Kind.NONE and bool((column.state == VALUE).any())


def _kinds(pieces: Sequence[Piece]) -> set[Kind]:
    return {piece.column.kind for piece in pieces if _has(piece)}


def _uncovered(count: int, pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces without the rows that later ones take."""
    owner = np.full(count, -1, np.intp)
    for number, piece in enumerate(pieces):
        owner[slice(None) if piece.rows is None else piece.rows] = number
    left = []
    for number, (rows, column) in enumerate(pieces):
        rows = np.arange(count)[slice(None) if rows is None else rows]
        own = np.flatnonzero(owner[rows] == number)
        left.append(Piece(rows[own], column.take(own)))
    return left


def held_by(columns: Iterable[Column]) -> dict[int, int]:
    """What columns hold in memory, by identity: several may share a pool, or its leaves."""
    held: dict[int, int] = {}
    for column in columns:
        held[id(column.data)] = column.data.nbytes
        held[id(column.state)] = column.state.nbytes
        if column.pool is not None:
            held[id(column.pool)] = column.pool.bytes_put_together()
            held.update((id(leaf), leaf.bytes_held()) for leaf in column.pool.leaves)
    return held

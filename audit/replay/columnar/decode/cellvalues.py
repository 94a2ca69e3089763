"""The values of one field as an Arrow array: typed while they are of one kind, else spelled out.

See `parts.Cells.values` for the types. Spellings are those of the value union in a list of fields.
"""

from collections.abc import Sequence
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from audit.event.fields import encode_value
from audit.event.values import Value
from audit.event.wire import encode_size
from audit.replay.columnar.decode.changes import (
    BOOLEAN,
    BYTES,
    DATE,
    DOUBLE,
    LONG,
    NULL,
    STRING,
    TIME,
    Found,
)
from audit.replay.columnar.lockstep import Flags, Longs, Source
from audit.replay.rows import UNAVAILABLE

SPELLED = pa.large_binary()
"""Type of values that are not of one kind."""
TIME_TYPE = pa.timestamp("us", tz="UTC")

MAX_TEXT_BYTES = 2**31 - 1
"""What an Arrow array with offsets of 32 bits holds."""
SAMPLED = 10_000
"""How many values are looked at to see whether a column of texts repeats itself."""
MAX_DISTINCT = 0.3
"""Up to this share of distinct values a column of texts is kept as codes."""

_TYPE_OF = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    date: pa.date32(),
    datetime: TIME_TYPE,
}
_PLACEHOLDER = UNAVAILABLE.encode()


def placeholders(source: Source, found: Found) -> Flags:
    """Which values are Debezium's placeholder for one that it could not see."""
    out = np.zeros(len(found.row), dtype=np.bool_)
    size = len(_PLACEHOLDER)
    fits = (found.end - found.content == size) & (
        (found.branch == STRING) | (found.branch == BYTES)
    )
    maybe = np.flatnonzero(fits)
    for at in (0, 8, 16, size - 8):
        if not len(maybe):
            return out
        word = np.frombuffer(_PLACEHOLDER[at : at + 8], dtype="<u8")[0]
        maybe = maybe[source.words[found.content[maybe] + at] == word]
    out[maybe] = True
    return out


def values_of(source: Source, found: Found) -> "pa.Array":
    """The values of one field, in the order of their rows."""
    null = found.branch == NULL
    kinds = np.flatnonzero(np.bincount(found.branch[~null], minlength=1)).tolist()
    if not kinds:
        return pa.nulls(len(null))
    mask = null if null.any() else None
    kind = kinds[0] if len(kinds) == 1 else None
    number = found.number
    if kind == LONG:
        return _array(number, pa.int64(), mask)
    if kind == DOUBLE:
        return _array(number.view(np.float64), pa.float64(), mask)
    if kind == BOOLEAN:
        return _array(number.astype(np.bool_), pa.bool_(), mask)
    if kind == DATE:
        return _array(number.astype(np.int32), pa.int32(), mask).view(pa.date32())
    if kind == TIME:
        return _array(number, pa.int64(), mask).view(TIME_TYPE)
    if kind == STRING:
        return source.spans(found.content, found.end, mask).view(pa.string())
    if kind == BYTES:
        return source.spans(found.content, found.end, mask)
    return source.spans(found.spelled, found.end, mask).cast(SPELLED)


def _array(
    values: "np.ndarray[tuple[int], np.dtype[np.generic]]", type_: "pa.DataType", mask: Flags | None
) -> "pa.Array":
    return pa.array(values, type=type_, mask=mask, from_pandas=False)


def arrays_of(values: Sequence[Value]) -> "pa.Array":
    """The same of values that were read one by one. Raises InvalidInput for what is no value."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pa.nulls(len(values))
    type_ = _TYPE_OF.get(kinds.pop()) if len(kinds) == 1 else None
    if type_ is not None:
        return pa.array(values, type=type_, from_pandas=False)
    return pa.array([None if v is None else encode_value(v) for v in values], type=SPELLED)


def joined(arrays: Sequence["pa.Array"]) -> "pa.Array":
    """One array of the values of all: typed when all are of one kind."""
    types = {array.type for array in arrays if not pa.types.is_null(array.type)}
    if not types:
        return pa.nulls(sum(map(len, arrays)))
    if len(types) > 1:
        return pa.concat_arrays([spelled(array) for array in arrays])
    type_ = types.pop()
    if type_ in (pa.string(), pa.binary()) and sum(a.nbytes for a in arrays) > MAX_TEXT_BYTES:
        # Bytes that need wide offsets are spelled: `large_binary` is the type of spellings.
        if type_ == pa.binary():
            return pa.concat_arrays([spelled(array) for array in arrays])
        type_ = pa.large_string()
    return pa.concat_arrays([array.cast(type_) for array in arrays])


def coded_where_repeated(array: "pa.Array") -> "pa.Array":
    """A column of texts as codes and a dictionary, if its texts come again and again."""
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return array
    if len(array) < 2 or not _repeats(array):
        return array
    coded = array.dictionary_encode()
    return coded if len(coded.dictionary) <= MAX_DISTINCT * len(array) else array


def _repeats(array: "pa.Array") -> bool:
    """From a sample: its first values, and some from its middle."""
    for start in (0, len(array) // 2):
        sample = array.slice(start, SAMPLED)
        # A small sample of a column with many texts shows mostly different ones.
        if pc.count_distinct(sample).as_py() > max(1, 0.9 * len(sample)):
            return False
    return True


def spelled(array: "pa.Array") -> "pa.Array":
    """The values of a typed array, each as the value union spells it; null stays null."""
    if array.type == SPELLED or pa.types.is_null(array.type):
        return array.cast(SPELLED)
    type_ = array.type
    if type_ == pa.int64() or type_ == TIME_TYPE or type_ == pa.date32():
        branch = LONG if type_ == pa.int64() else TIME if type_ == TIME_TYPE else DATE
        whole = array.view(pa.int32()) if type_ == pa.date32() else array.view(pa.int64())
        return _spelled_numbers(whole, branch)
    if type_ == pa.float64():
        bits = _numbers(array.view(pa.int64()))
        return rows_of(_with_branch(bits, DOUBLE), None, _nulls_of(array))
    if type_ == pa.bool_():
        table = pa.array([b"\x02\x00", b"\x02\x01"], SPELLED)
        return table.take(array.cast(pa.int8()))
    branch = BYTES if pa.types.is_binary(type_) else STRING
    content = array.cast(pa.large_binary())
    sizes = pc.binary_length(content)
    distinct = sizes.dictionary_encode()
    heads = pa.array(
        [
            None if n is None else bytes((branch,)) + encode_size(n)
            for n in distinct.dictionary.to_pylist()
        ],
        SPELLED,
    )
    return pc.binary_join_element_wise(
        heads.take(distinct.indices), content, pa.scalar(b"", SPELLED)
    )


def _numbers(array: "pa.Array") -> Longs:
    numbers: Longs = array.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def _with_branch(bits: Longs, branch: int) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    rows = np.empty((len(bits), 9), dtype=np.uint8)
    rows[:, 0] = branch
    rows[:, 1:] = bits.astype("<i8").view(np.uint8).reshape(-1, 8)
    return rows


def _spelled_numbers(array: "pa.Array", branch: int) -> "pa.Array":
    """Zig-zag numbers in groups of seven bits, behind the byte of their branch."""
    numbers = _numbers(array)
    rest = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
    rows = np.zeros((len(numbers), 11), dtype=np.uint8)
    used = np.zeros((len(numbers), 11), dtype=np.bool_)
    rows[:, 0], used[:, 0] = branch, True
    active = np.ones(len(numbers), dtype=np.bool_)
    for at in range(1, 11):
        used[:, at] = active
        more = rest > 0x7F
        rows[:, at] = (rest & np.uint64(0x7F)).astype(np.uint8) | (more.astype(np.uint8) << 7)
        rest = rest >> np.uint64(7)
        active = active & more
    return rows_of(rows, used, _nulls_of(array))


def _nulls_of(array: "pa.Array") -> Flags | None:
    if not array.null_count:
        return None
    nulls: Flags = array.is_null().to_numpy(zero_copy_only=False)
    return nulls


def rows_of(
    rows: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]",
    used: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]] | None",
    null: Flags | None,
) -> "pa.Array":
    """A spelling of each row of bytes, of its used ones (None: all); null where so marked."""
    sizes = np.full(len(rows), rows.shape[1]) if used is None else used.sum(axis=1)
    offsets = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    data = np.ascontiguousarray(rows.reshape(-1) if used is None else rows[used])
    made = pa.Array.from_buffers(
        SPELLED, len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    if null is None:
        return made
    return pc.if_else(pa.array(~null), made, pa.scalar(None, SPELLED))

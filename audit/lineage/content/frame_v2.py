"""Content digests of data frames and arrays: ``frame-v2`` and ``array-v2``.

They see every row and column, their order, every dtype and the index, and nothing else: not memory
layout, blocks, byte order, where pandas keeps strings, library versions. Integers of the format are
64-bit little-endian, counts unsigned; TEXT and cell() are those of
`audit.lineage.content.frame_digest`::

    frame:  SHA-256 of "attestory frame-v2\\n"  rows  index levels  columns
                and per index level and per column, in order: cell(name)  digest of the column
    column: SHA-256 of "attestory column-v2\\n"  TEXT(dtype)  rows  one letter  what it says:
        F  the cells little-endian, one after the other: booleans as a byte, times as counts;
           every NaN is the quiet one, -0.0 and 0.0 differ
        M  as F, 0 for those that are missing, and then a byte per row: 1 where it is missing
        S  per row the signed number of UTF-8 bytes, -1 for a missing text; then all the bytes
        K  per row the signed number of its category (from 0 as they appear, or as they are ordered
           where order counts), -1 for a missing one; then the digest of the categories as a column
        I  the digests of the left and of the right ends as columns
        O  cell(value) one after the other
    array:  SHA-256 of "attestory array-v2\\n"  TEXT(dtype)  dimensions  their sizes
                and per 1,048,576 cells in C order, or what is left: their digest as a column

F: NumPy booleans, numbers and times, times with a zone (in UTC), periods. M: nullable integers,
floats and booleans. S: both string dtypes of pandas, and object columns of str and None alone.
K: categories. I: intervals. A sparse column counts as its cells are, all of them. O: the rest.
A dtype's name is pandas' own, in native byte order; "ordered category" where the order counts.
"""

import hashlib
import os
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from audit.errors import InvalidInput
from audit.lineage.content.frame_digest import cell_bytes, text_bytes

FRAME_V2 = "frame-v2"
ARRAY_V2 = "array-v2"
MAX_THREADS = 4
MAX_NAME_CHARS = 1_000
"""Longest name of a column that `FrameDigest.columns` shows; longer ones are cut there."""

_BLOCK_ROWS = 16_384
"""Rows hashed at a time, column by column: such a part of a frame stays in the processor's cache,
also where the cells of a row, not those of a column, are beside each other."""
_ARRAY_CHUNK = 1_048_576
_POOL_BYTES = 2_000_000
"""Below this, starting threads costs more than they bring."""
_SMALL_KINDS = "biufMm"
_FIXED_KINDS = _SMALL_KINDS + "c"

_Parts = Iterator[Any]
"""Buffers that are hashed one after the other."""


class FrameDigest(NamedTuple):
    """The digest of a frame with its algorithm before it, and that of each column by name.

    Where several columns have one name, those after the first have `#2`, `#3` ... behind it.
    """

    digest: str
    columns: dict[str, str]


def frame_v2(frame: Any) -> FrameDigest:
    """frame-v2 of a pandas DataFrame, or of a Series as its only column. Raises InvalidInput."""
    import pandas

    if isinstance(frame, pandas.Series):
        frame = frame.to_frame()
    levels = [frame.index.get_level_values(level) for level in range(frame.index.nlevels)]
    series = [frame.iloc[:, at] for at in range(frame.shape[1])]
    names = [*(level.name for level in levels), *frame.columns]
    digests = _hashed([_column(one) for one in (*levels, *series)], _size_bytes(series))
    stream = hashlib.sha256(b"attestory frame-v2\n")
    stream.update(struct.pack("<QQQ", len(frame), len(levels), len(series)))
    for name, digest in zip(names, digests, strict=True):
        stream.update(cell_bytes(name) + digest)
    shown = unique_names(list(frame.columns))
    columns = dict(zip(shown, (d.hex() for d in digests[len(levels) :]), strict=True))
    return FrameDigest(
        f"{FRAME_V2}:sha256:{stream.hexdigest()}",
        {name: f"sha256:{digest}" for name, digest in columns.items()},
    )


def array_v2(array: Any) -> str:
    """array-v2 of a NumPy array: ``array-v2:sha256:<hex>``. Raises InvalidInput."""
    import numpy

    name = _dtype_name(array.dtype)
    flat = numpy.ascontiguousarray(array).reshape(-1)
    chunks = [flat[at : at + _ARRAY_CHUNK] for at in range(0, flat.size, _ARRAY_CHUNK)]
    columns = [_array_column(name, chunk) for chunk in chunks]
    stream = hashlib.sha256(b"attestory array-v2\n" + text_bytes(name))
    stream.update(struct.pack(f"<{array.ndim + 1}Q", array.ndim, *array.shape))
    for digest in _hashed(columns, flat.nbytes):
        stream.update(digest)
    return f"{ARRAY_V2}:sha256:{stream.hexdigest()}"


def unique_names(names: list[Any]) -> list[str]:
    """The names of columns as text that can be recorded, each once."""
    texts = [str(name).encode(errors="backslashreplace").decode() for name in names]
    texts = [text[:MAX_NAME_CHARS] for text in texts]
    if len(set(texts)) == len(texts):
        return texts
    taken, seen, out = set(texts), set(), []
    for text in texts:
        shown, count = text, 2
        while shown in seen or (count > 2 and shown in taken):
            shown = f"{text}#{count}"
            count += 1
        seen.add(shown)
        out.append(shown)
    return out


def _hashed(columns: list[_Parts], size_bytes: int) -> list[bytes]:
    """The digest of each column. hashlib lets other threads run while it is at work."""
    threads = min(MAX_THREADS, len(columns), _cores())
    if threads < 2 or size_bytes < _POOL_BYTES:
        return _in_turn(columns)
    digests = [b""] * len(columns)
    shares = [columns[share::threads] for share in range(threads)]
    with ThreadPoolExecutor(threads - 1) as pool:
        try:
            others = [pool.submit(_in_turn, share) for share in shares[1:]]
        except RuntimeError:  # the interpreter ends, and starts no more threads
            return _in_turn(columns)
        digests[::threads] = _in_turn(shares[0])
        for share, other in enumerate(others, 1):
            digests[share::threads] = other.result()
    return digests


def _cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _in_turn(columns: list[_Parts]) -> list[bytes]:
    """Hash columns side by side, a block of rows of each at a time."""
    import numpy

    streams = [hashlib.sha256() for _ in columns]
    left = list(zip(columns, streams, strict=True))
    with numpy.errstate(all="ignore"):
        while left:
            going = []
            for column, stream in left:
                part = next(column, None)
                if part is not None:
                    stream.update(part)
                    going.append((column, stream))
            left = going
    return [stream.digest() for stream in streams]


def _digest(column: _Parts) -> bytes:
    return _in_turn([column])[0]


def _size_bytes(columns: list[Any]) -> int:
    return sum(int(column.nbytes) for column in columns)


def _column(column: Any) -> _Parts:
    """What is hashed of a Series or Index."""
    import numpy
    import pandas

    dtype = column.dtype
    name = _dtype_name(dtype)
    if isinstance(dtype, numpy.dtype):
        return _array_column(name, column.to_numpy())
    if isinstance(dtype, pandas.CategoricalDtype):
        return _categories(column)
    if isinstance(dtype, pandas.StringDtype):
        return _texts(name, column)
    if isinstance(dtype, (pandas.DatetimeTZDtype, pandas.PeriodDtype)):
        return _fixed(name, pandas.Index(column).asi8)
    if isinstance(dtype, pandas.IntervalDtype):
        return _interval(name, column)
    if isinstance(dtype, pandas.SparseDtype):
        return _array_column(name, numpy.asarray(column.array))
    if hasattr(dtype, "numpy_dtype") and not isinstance(dtype, pandas.ArrowDtype):
        return _masked(name, column)
    return _objects(name, column.astype(object).tolist())


def _array_column(name: str, array: Any) -> _Parts:
    if array.dtype.kind in _FIXED_KINDS:
        return _fixed(name, array)
    if array.dtype.kind not in "OSU":
        raise InvalidInput(f"cells of dtype {name:.80} are not covered; convert them first")
    return _objects(name, array.tolist())


def _dtype_name(dtype: Any) -> str:
    import numpy
    import pandas

    if isinstance(dtype, numpy.dtype):
        return str(dtype.newbyteorder("="))
    if isinstance(dtype, pandas.CategoricalDtype):
        return "ordered category" if dtype.ordered else "category"
    return str(dtype)


def _head(name: str, rows: int, letter: bytes) -> bytes:
    return b"attestory column-v2\n" + text_bytes(name) + struct.pack("<Q", rows) + letter


def _fixed(name: str, array: Any, letter: bytes = b"F") -> _Parts:
    import numpy

    if (array.dtype.kind == "f" and array.dtype.itemsize > 8) or array.dtype.itemsize > 16:
        raise InvalidInput(f"{name} differs between machines; use float64")
    yield _head(name, len(array), letter)
    if array.dtype.kind in "Mm":
        array = array.view(numpy.dtype("i8").newbyteorder(array.dtype.byteorder))
    little = array.dtype.newbyteorder("<")
    for at in range(0, len(array), _BLOCK_ROWS):
        block = numpy.ascontiguousarray(array[at : at + _BLOCK_ROWS], dtype=little)
        if array.dtype.kind in "fc":
            block = _one_nan(block)
        elif array.dtype.kind == "b":
            block = block.view("u1")
            if block.max() > 1:
                block = (block != 0).view("u1")
        yield block.data


def _one_nan(block: Any) -> Any:
    import numpy

    real = block.view(f"<f{block.dtype.itemsize // 2}") if block.dtype.kind == "c" else block
    if numpy.isnan(real.min()):
        real = real.copy()
        real[numpy.isnan(real)] = numpy.nan
    return real


def _masked(name: str, column: Any) -> _Parts:
    import numpy

    array = column.array
    missing = numpy.asarray(array.isna(), dtype=bool)
    # Without a value for what is missing the cells would be copied twice.
    filled = array.to_numpy(dtype=column.dtype.numpy_dtype, na_value=0)
    yield from _fixed(name, filled, b"M")
    yield missing.view("u1").data


def _texts(name: str, column: Any) -> _Parts:
    arrow = _arrow_chunks(column)
    if arrow is not None:
        return _arrow_texts(name, len(column), arrow)
    missing = column.isna()
    values = column.to_numpy(dtype=object)
    if missing.any():
        values = values.copy()
        values[missing.to_numpy() if hasattr(missing, "to_numpy") else missing] = None
    return _python_texts(name, values.tolist())


def _arrow_chunks(column: Any) -> list[Any] | None:
    """The parts of a column of strings that Arrow holds; None for any other."""
    if getattr(column.dtype, "storage", None) != "pyarrow":
        return None
    import pyarrow

    held = pyarrow.array(column.array)
    chunks = held.chunks if isinstance(held, pyarrow.ChunkedArray) else [held]
    known = all(chunk.type in (pyarrow.string(), pyarrow.large_string()) for chunk in chunks)
    return chunks if known else None


def _arrow_texts(name: str, rows: int, chunks: list[Any]) -> _Parts:
    yield _head(name, rows, b"S")
    parts = []
    for chunk in chunks:
        if len(chunk):
            sizes, data = _arrow_buffers(chunk)
            yield sizes.data
            parts.append(data)
    yield from parts


def _arrow_buffers(chunk: Any) -> tuple[Any, Any]:
    """Size of each text of an Arrow array, and the bytes of them all."""
    import numpy
    import pyarrow

    missing = None
    if chunk.null_count:
        missing = chunk.is_null().to_numpy(zero_copy_only=False)
        chunk = chunk.fill_null("")  # below a null there may be bytes
    letter = "<i8" if chunk.type == pyarrow.large_string() else "<i4"
    _, starts, data = chunk.buffers()
    starts = numpy.frombuffer(starts, letter)[chunk.offset : chunk.offset + len(chunk) + 1]
    sizes = numpy.diff(starts).astype("<i8", copy=False)
    if missing is not None:
        sizes[missing] = -1
    held = memoryview(b"" if data is None else data)
    return sizes, held[int(starts[0]) : int(starts[-1])]


def _python_texts(name: str, cells: list[str | None]) -> _Parts:
    import numpy

    yield _head(name, len(cells), b"S")
    present = [cell for cell in cells if cell is not None]
    joined = "".join(present)
    if joined.isascii():
        data, lengths = joined.encode(), map(len, present)
    else:
        encoded = [cell.encode("utf-8", "surrogatepass") for cell in present]
        data, lengths = b"".join(encoded), map(len, encoded)
    sizes = numpy.fromiter(lengths, "<i8", len(present))
    if len(present) < len(cells):
        all_sizes = numpy.full(len(cells), -1, "<i8")
        all_sizes[[cell is not None for cell in cells]] = sizes
        sizes = all_sizes
    yield sizes.data
    yield data


def _objects(name: str, cells: list[Any]) -> _Parts:
    if {str, type(None)}.issuperset(map(type, cells)):
        return _python_texts(name, cells)
    return _cells(name, cells)


def _cells(name: str, cells: list[Any]) -> _Parts:
    yield _head(name, len(cells), b"O")
    for at in range(0, len(cells), _BLOCK_ROWS):
        yield b"".join(map(cell_bytes, cells[at : at + _BLOCK_ROWS]))


def _categories(column: Any) -> _Parts:
    import numpy
    import pandas

    values = pandas.Categorical(column)
    codes, categories = numpy.asarray(values.codes), values.categories
    if not values.ordered:
        codes, used = pandas.factorize(codes)
        missing = used == -1  # to pandas.factorize the code of what is missing is one like others
        if missing.any():
            at = int(numpy.flatnonzero(missing)[0])
            codes = numpy.where(codes == at, -1, codes - (codes > at))
            used = used[~missing]
        categories = categories.take(used)
    yield _head(_dtype_name(values.dtype), len(codes), b"K")
    yield numpy.ascontiguousarray(codes, dtype="<i8").data
    yield _digest(_column(categories))


def _interval(name: str, column: Any) -> _Parts:
    yield _head(name, len(column), b"I")
    ends = column.array
    yield _digest(_column(ends.left)) + _digest(_column(ends.right))

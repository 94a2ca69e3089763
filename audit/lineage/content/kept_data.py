"""Copies of data in the blob store: written so that the very same thing can be made of them again.

A frame is kept as Parquet, when reading that gives a frame of the same digest, else as pickle; an
array as .npy, one of objects as pickle; bytes and files as they are; values as canonical JSON; the
rest as pickle. `read_kept` tells them apart by their first bytes. It unpickles only what the caller
says may be run: the records that name it are verified.
"""

import io
import pickle
from pathlib import Path
from typing import Any

from audit.errors import FormatError, InvalidInput, NotFound, Unavailable

PARQUET_MAGIC = b"PAR1"
NPY_MAGIC = b"\x93NUMPY"
PICKLE_MAGIC = b"\x80"
PICKLE_PROTOCOL = 5


def kept_bytes(kind: str, thing: Any) -> bytes:
    """The copy of something that `describe_data` described as `kind`. Raises InvalidInput."""
    if kind == "frame":
        return _frame_bytes(thing)
    if kind == "array":
        return _array_bytes(thing)
    if kind == "file":
        try:
            return Path(thing).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"there is no file {thing}") from None
        except OSError as error:
            raise Unavailable(f"{thing} cannot be read: {error.strerror}") from error
    assert isinstance(thing, bytes)
    return thing


def read_kept(kind: str, data: bytes, *, trusted: bool = False) -> Any:
    """What a copy is of. A pickle is read only if `trusted`: that runs the code in it.

    The caller checks the digest of what he gets: a copy is outside input. Raises FormatError, and
    InvalidInput for a pickle that is not trusted.
    """
    if kind in ("bytes", "file"):
        return data
    try:
        if kind == "frame" and data[:4] == PARQUET_MAGIC:
            return _read_frame(data)
        if kind == "array" and data[:6] == NPY_MAGIC:
            import numpy

            return numpy.load(io.BytesIO(data), allow_pickle=False)
        if data[:1] != PICKLE_MAGIC:
            from audit.event.values import loads

            return loads(data.decode())
    except Exception as error:  # a copy is outside input, and its readers raise what they like
        raise FormatError(f"a kept {kind} cannot be read: {error!r:.200}") from error
    if not trusted:
        raise InvalidInput(f"this {kind} is kept as a pickle: only verified records are unpickled")
    try:
        return pickle.loads(data)
    except Exception as error:  # whatever the pickle's own code raises
        raise FormatError(f"a kept {kind} cannot be unpickled here: {error!r:.200}") from error


def _frame_bytes(frame: Any) -> bytes:
    from audit.lineage.content.frame_v2 import frame_v2

    plain = frame.copy(deep=False)
    plain.attrs = {}  # the same content is the same copy, wherever it came from
    if type(frame).__name__ == "DataFrame":
        try:
            data = _parquet(plain)
            if frame_v2(read_kept("frame", data)).digest == frame_v2(plain).digest:
                return data
        except Exception:  # Parquet does not hold all that a frame can
            pass
    return _pickled(plain)


def _read_frame(data: bytes) -> Any:
    """A frame from Parquet. Texts that were Python objects are that again, which pandas forgets."""
    import json

    import pandas
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(pyarrow.BufferReader(data))
    frame = table.to_pandas()
    said = json.loads(table.schema.metadata[b"pandas"])
    for column in said["columns"]:
        if column["numpy_type"] != "object" or column["pandas_type"] not in ("unicode", "empty"):
            continue
        cells = table.column(column["field_name"]).to_pylist()
        if column["field_name"] in said["index_columns"]:
            if len(said["index_columns"]) == 1:
                frame.index = pandas.Index(cells, dtype=object, name=column["name"])
        else:
            frame[column["name"]] = pandas.Series(cells, dtype=object, index=frame.index)
    return frame


def _parquet(frame: Any) -> bytes:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pandas(frame)
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file, compression="zstd")
    return file.getvalue()


def _array_bytes(array: Any) -> bytes:
    import numpy

    if array.dtype.hasobject:
        return _pickled(array)
    file = io.BytesIO()
    numpy.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


def _pickled(thing: Any) -> bytes:
    try:
        return pickle.dumps(thing, protocol=PICKLE_PROTOCOL)
    except Exception as error:  # whatever an object's own pickling code raises
        raise InvalidInput(f"it cannot be kept: {type(error).__name__}: {error!s:.200}") from error

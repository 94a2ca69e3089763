"""Files of the read model: Arrow arrays of any lengths and a JSON object, in an Arrow IPC file.

A file is one batch with one row, an array a column, each in a list: so arrays differ in length, and
reading maps the file into memory and copies nothing. Written beside, made durable, then renamed; so
after a crash it is there whole or not at all. A reader checks its size and SHA-256 before anything
in it is looked at: whatever is wrong is `Broken`.
"""

import json
import mmap
import os
import secrets
import stat
from collections.abc import Mapping
from errno import EINVAL, ENOENT
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from audit.errors import Unavailable

ABOUT = b"attestory"
"""Key in the file's metadata under which the JSON object is."""
TEMPORARY = ".tmp-"


class Broken(Exception):
    """A part of the read model cannot be used; the text says why. It is dropped and built anew."""


class CannotKeep(Unavailable):
    """The read model cannot be written: it is kept in memory then."""


class Digest(NamedTuple):
    """What a file is to be: its name, its size in bytes, and its SHA-256 in hex."""

    name: str
    size_bytes: int
    sha256: str


class Content(NamedTuple):
    """What is in a file."""

    arrays: Mapping[str, "pa.Array"]
    about: Mapping[str, Any]


def write_arrays(
    folder: Path, name: str, arrays: Mapping[str, "pa.Array"], about: Mapping[str, Any]
) -> Digest:
    """Write a file, durably, in place of what has its name. Raises CannotKeep."""
    metadata = {ABOUT: json.dumps(about, separators=(",", ":")).encode()}
    lists = [
        pa.LargeListArray.from_arrays(pa.array([0, len(a)], pa.int64()), a) for a in arrays.values()
    ]
    fields = [pa.field(n, column.type) for n, column in zip(arrays, lists, strict=True)]
    batch = pa.record_batch(lists, schema=pa.schema(fields, metadata=metadata))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    data = sink.getvalue()
    write_bytes(folder, name, memoryview(data))
    return Digest(name, data.size, sha256(data).hexdigest())


def write_bytes(folder: Path, name: str, data: "bytes | memoryview") -> None:
    """Write a file, durably, in place of what has its name. Raises CannotKeep."""
    temporary = folder / f"{TEMPORARY}{secrets.token_hex(8)}"
    try:
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, folder / name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CannotKeep(f"the read model cannot be written to {folder}: {reason}") from None


def open_regular(path: Path) -> int:
    """Open a file to be read; a file descriptor. Raises OSError, also for what is no file.

    What stands in a folder may be a pipe or a device by now: to open one must not wait.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:  # a path that cannot be, as one with a zero byte
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(EINVAL, "no regular file")
    return descriptor


def _mapped(path: Path, size_bytes: int) -> "pa.Buffer | None":
    """The bytes of a file, mapped into memory; None when it is not as long as it is to be."""
    descriptor = open_regular(path)
    try:
        if os.fstat(descriptor).st_size != size_bytes or not size_bytes:
            return None
        return pa.py_buffer(mmap.mmap(descriptor, size_bytes, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)


def read_arrays(folder: Path, digest: Digest) -> Content:
    """Map a file into memory. Raises Broken when it is not what it is to be."""
    try:
        data = _mapped(folder / digest.name, digest.size_bytes)
    except (OSError, ValueError, OverflowError) as error:
        raise Broken(f"{digest.name} cannot be read ({_reason(error)})") from None
    if data is None or sha256(data).hexdigest() != digest.sha256:
        raise Broken(f"{digest.name} holds other bytes than were written")
    try:
        with pa.ipc.open_file(data) as file:
            schema = file.schema
            batch = file.get_batch(0)
            about = json.loads((schema.metadata or {})[ABOUT])
        arrays = {name: batch.column(at).values for at, name in enumerate(schema.names)}
        for array in arrays.values():
            # Of a forged file, too, no array leads out of its own bytes.
            array.validate(full=True)
    except (pa.ArrowException, LookupError, ValueError, TypeError, AttributeError, OSError):
        raise Broken(f"{digest.name} is not built as a file of the read model") from None
    except (RecursionError, MemoryError):  # of a forged file alone
        raise Broken(f"{digest.name} is not built as a file of the read model") from None
    if not isinstance(about, dict):
        raise Broken(f"{digest.name} is not built as a file of the read model")
    return Content(arrays, about)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__

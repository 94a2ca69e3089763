"""Spool files that dead processes left: sealed by the next writer, then removed.

The write order is: seal (the store drops what it has already), then remove the file. A crash in
between leaves the file, and the next writer finds only duplicates in it. Damage in the middle of a
file costs what is damaged and nothing else: the rest is sealed, and the file kept as `.corrupt`.
"""

import contextlib
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from audit.capture.spool import (
    MAGIC,
    MAX_FIRST_LINE_BYTES,
    SUFFIX,
    read_first_line,
    read_records,
    try_lock,
)
from audit.errors import Unavailable
from audit.log.intake import Message

CORRUPT_SUFFIX = ".corrupt"
GROUP_EVENTS = 1_000
"""Events of a left file that are sealed in one transaction."""

Seal = Callable[[list[Message]], None]


def drain(folder: Path, destination: str, seal: Seal, tell: Callable[[str], None]) -> int:
    """Seal and remove what dead processes left in the spool for this destination.

    `seal` gets the messages in order, in groups; `tell` a line for each damaged file. Returns how
    many files were emptied. Files that a living process holds, and those for other ledgers, are not
    touched. Raises Unavailable, and what `seal` raises: then the file stays as it is.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(SUFFIX))
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise Unavailable(f"cannot read the spool {folder}: {error.strerror}") from None
    return sum(_drain_file(folder / name, destination, seal, tell) for name in names)


def _drain_file(path: Path, destination: str, seal: Seal, tell: Callable[[str], None]) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False  # another writer was faster
    except OSError as error:
        tell(f"cannot open the spool file {path}: {error.strerror}; its events are not sealed")
        return False
    try:
        if not _is_ours_now(path, descriptor):
            return False
        with _mapped(descriptor) as data:
            return _drain_records(path, data, destination, seal, tell)
    except OSError as error:
        raise Unavailable(f"cannot read the spool file {path}: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _is_ours_now(path: Path, descriptor: int) -> bool:
    """True when the file is a plain one, its lock was free, and its name still means this file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not try_lock(descriptor):
        return False
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _mapped(descriptor: int) -> Iterator[bytes | mmap.mmap]:
    if os.fstat(descriptor).st_size == 0:
        yield b""  # nothing can be mapped of an empty file
        return
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
        yield data


def _drain_records(
    path: Path,
    data: bytes | mmap.mmap,
    destination: str,
    seal: Seal,
    tell: Callable[[str], None],
) -> bool:
    first = read_first_line(data)
    if first is None:
        if _is_torn_start(data):
            path.unlink(missing_ok=True)  # its owner died before it could put anything in
            return False
        tell(f"{_put_aside(path)} is damaged at its first line; none of its events is sealed")
        return False
    if first[0] != destination:
        return False
    damaged = 0
    reads = read_records(data, first[1], len(data))
    while group := list(islice(reads, GROUP_EVENTS)):
        damaged += sum(read.waiting is None for read in group)
        waiting = [read.waiting for read in group if read.waiting is not None]
        if waiting:
            seal([Message(each.event, each.signature) for each in waiting])
    if damaged:
        kept = _put_aside(path)
        tell(f"{kept} is damaged in {damaged} places; all whole events in it are sealed")
    else:
        path.unlink(missing_ok=True)
    return True


def _is_torn_start(data: bytes | mmap.mmap) -> bool:
    """True for a file that ends within its first line."""
    if len(data) > MAX_FIRST_LINE_BYTES or data.find(b"\n") >= 0:
        return False
    start = bytes(data[: len(MAGIC)])
    return MAGIC.startswith(start)


def _put_aside(path: Path) -> Path:
    kept = path.with_name(path.name + CORRUPT_SUFFIX)
    os.replace(path, kept)
    return kept

"""Spool files that dead processes left: delivered by the next writer, then removed.

The write order is: deliver (the log drops what it has already), then remove the file. A crash in
between leaves the file, and the next writer finds only duplicates in it. Damage in the middle of a
file costs what is damaged and nothing else: the rest is delivered, and the file kept as `.corrupt`.

The files of one process go in the order it wrote them, and processes in the order in which they
last wrote: one that ended before another began goes first.
"""

import contextlib
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from audit.capture.delivery.backlog import GROUP_BYTES
from audit.capture.delivery.spool import (
    MAGIC,
    MAX_FIRST_LINE_BYTES,
    SUFFIX,
    Read,
    read_first_line,
    read_records,
    try_lock,
)
from audit.errors import Unavailable
from audit.log.intake import Message

CORRUPT_SUFFIX = ".corrupt"
GROUP_EVENTS = 1_000
"""Events of a left file that are delivered together."""

Deliver = Callable[[list[Message]], None]

_open: set[int] = set()
"""Files that are being drained in this process."""


class _Held(Exception):
    """Somebody else is at work on the file."""


def drain(folder: Path, destination: str, deliver: Deliver, tell: Callable[[str], None]) -> int:
    """Deliver and remove what dead processes left in the spool for this destination.

    `deliver` gets the messages in order, in groups; `tell` a line for each damaged file. Returns
    how many files were emptied. Files that a living process holds, and those for other
    destinations, are not touched. Raises Unavailable, and what `deliver` raises: then the file
    stays as it is.
    """
    drained = 0
    for names in _by_process(folder):
        for name in names:
            try:
                drained += _drain_file(folder / name, destination, deliver, tell)
            except _Held:
                # Its owner lives, or another writer drains it: its next files must not overtake it.
                break
    return drained


def abandon() -> None:
    """In a forked child: close what the parent is draining, so that only the parent locks it."""
    while _open:
        os.close(_open.pop())


def _by_process(folder: Path) -> list[list[str]]:
    """The names of spool files by process: in front whose first file was complete first."""
    ages: dict[str, int] = {}
    names: dict[str, list[str]] = {}
    try:
        with os.scandir(folder) as found:
            for each in found:
                if not each.name.endswith(SUFFIX):
                    continue
                try:
                    age = each.stat(follow_symlinks=False).st_mtime_ns
                except FileNotFoundError:
                    continue  # another writer was faster
                owner = each.name.rpartition("-")[0] or each.name
                ages[owner] = min(age, ages.get(owner, age))
                names.setdefault(owner, []).append(each.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Unavailable(f"cannot read the spool {folder}: {error.strerror}") from None
    return [sorted(names[owner]) for owner in sorted(names, key=lambda name: (ages[name], name))]


def _drain_file(
    path: Path, destination: str, deliver: Deliver, tell: Callable[[str], None]
) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False  # another writer was faster
    except OSError as error:
        tell(f"cannot open the spool file {path}: {error.strerror}; its events are left there")
        return False
    _open.add(descriptor)
    try:
        if not _is_ours_now(path, descriptor):
            return False
        with _mapped(descriptor) as data:
            return _drain_records(path, data, destination, deliver, tell)
    except OSError as error:
        raise Unavailable(f"cannot read the spool file {path}: {error.strerror}") from None
    finally:
        _open.discard(descriptor)
        os.close(descriptor)


def _is_ours_now(path: Path, descriptor: int) -> bool:
    """True when the file is a plain one, its lock was free, and its name still means this file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    if not try_lock(descriptor):
        raise _Held
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
    deliver: Deliver,
    tell: Callable[[str], None],
) -> bool:
    first = read_first_line(data)
    if first is None:
        if _is_torn_start(data):
            path.unlink(missing_ok=True)  # its owner died before it could put anything in
            return False
        tell(f"{_put_aside(path)} is damaged at its first line; none of its events can be read")
        return False
    if first[0] != destination:
        return False
    damaged = 0
    for group in _groups(read_records(data, first[1], len(data))):
        damaged += sum(read.waiting is None for read in group)
        waiting = [read.waiting for read in group if read.waiting is not None]
        if waiting:
            deliver([Message(each.event, each.signature) for each in waiting])
    if damaged:
        kept = _put_aside(path)
        tell(f"{kept} is damaged in {damaged} places; all whole events in it are delivered")
    else:
        path.unlink(missing_ok=True)
    return True


def _groups(reads: Iterator[Read]) -> Iterator[list[Read]]:
    group: list[Read] = []
    size = 0
    for read in reads:
        group.append(read)
        size += len(read.waiting.event) if read.waiting else 0
        if len(group) >= GROUP_EVENTS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


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

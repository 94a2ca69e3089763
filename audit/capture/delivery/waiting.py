"""What waits in a spool folder, for whoever operates it: read without disturbing anybody."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple
from uuid import UUID

from audit.capture.delivery.spool import (
    HAS_SEQUENCE,
    HAS_SIGNATURE,
    MARK,
    MAX_BODY_BYTES,
    MAX_FIRST_LINE_BYTES,
    SUFFIX,
    is_locked,
    read_first_line,
)
from audit.errors import InvalidInput, Unavailable
from audit.event.envelope import decode_event
from audit.log.entry import SIGNATURE_BYTES

_RECORD = struct.Struct(">4sIIQB")
_LENGTH_COUNTS_FROM = 12
"""Bytes of a record that its length does not count."""


class SpoolFile(NamedTuple):
    """One file of a spool.

    `destination`: a ledger's origin, or the address of a topic; None when the first line cannot be
    read. `events`: how many are in it, schema events aside; of a living owner at most so many wait,
    for it empties its file only when nothing does. `oldest_us`: when the first of them was emitted,
    microseconds since the epoch; None when its id does not tell. `alive`: a process holds the file,
    its owner or one that delivers what a dead owner left.
    """

    path: Path
    destination: str | None
    events: int
    bytes: int
    oldest_us: int | None
    alive: bool


def backlogs(folder: str | os.PathLike[str]) -> list[SpoolFile]:
    """The spool's files by name; none when there is no such folder. Raises Unavailable."""
    try:
        with os.scandir(folder) as found:
            names = sorted(
                each.name
                for each in found
                if each.name.endswith(SUFFIX) and each.is_file(follow_symlinks=False)
            )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Unavailable(f"cannot read the spool {folder}: {error.strerror}") from None
    files = (_look_at(Path(folder, name)) for name in names)
    return [each for each in files if each is not None]


def _look_at(path: Path) -> SpoolFile | None:
    """What is in a file now; None when its events were delivered meanwhile."""
    try:
        # Read and never mapped: its owner may shorten it at any moment, which kills who maps it.
        with open(path, "rb") as file:
            alive = is_locked(file.fileno())
            first = read_first_line(file.read(MAX_FIRST_LINE_BYTES))
            size = os.fstat(file.fileno()).st_size
            if first is None:
                return SpoolFile(path, None, 0, size, None, alive)
            destination, start = first
            file.seek(start)
            count = 0
            oldest_us = None
            for event in _events(file):
                if not count:
                    oldest_us = _emitted_us(event)
                count += 1
            return SpoolFile(path, destination, count, size, oldest_us, alive)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"cannot read the spool file {path}: {error.strerror}") from None


def _events(file: BinaryIO) -> Iterator[bytes]:
    """The first event, then an empty one for each further: from record to record, unchecked.

    What is damaged ends it; whoever delivers the file finds what comes behind.
    """
    first = True
    while len(head := file.read(_RECORD.size)) == _RECORD.size:
        mark, _, length, _, flags = _RECORD.unpack(head)
        rest = length + _LENGTH_COUNTS_FROM - _RECORD.size
        if mark != MARK or not 0 <= rest <= MAX_BODY_BYTES:
            return
        if flags & HAS_SEQUENCE and first:
            body = file.read(rest)
            yield body[SIGNATURE_BYTES:] if flags & HAS_SIGNATURE else body
            first = False
            continue
        # One byte is read so that a record that ends with the file too early does not count.
        file.seek(rest - 1, os.SEEK_CUR)
        if len(file.read(1)) != 1:
            return
        if flags & HAS_SEQUENCE:
            yield b""


def _emitted_us(event: bytes) -> int | None:
    """When an event was emitted, by its id: this library's ids begin with the time."""
    try:
        found = UUID(decode_event(event).event_id)
    except (InvalidInput, ValueError):
        return None
    return (found.int >> 80) * 1_000 if found.version == 7 else None

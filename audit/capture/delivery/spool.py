"""The spool's file: where emitted events wait until they are sealed, one file for each emitter.

    file    = first-line *record
    first-line = "attestory spool v1 " destination SP crc LF
                  destination: where the events are to go: the origin of a ledger, or the
                  address of a topic without settings (see `kafka_sender`)
                  crc: of the line before it, 8 hex digits
    record  = mark crc length body
    mark    = 4 bytes, F5 E1 0D 0A: never in UTF-8 text, so a reader finds the next record again
    crc     = 4 bytes, of length and body (CRC-32 of zlib and IEEE 802.3)
    length  = 4 bytes, of the body
    body    = sequence flags [signature] event
    sequence = 8 bytes, the producer sequence, 0 where there is none
    flags   = 1 byte: 1 the event has a sequence, 2 a signature of 68 bytes follows

Numbers are big endian. The file's name is the producer id and a running number; its owner holds
flock on it while it lives. A file whose lock is free was left by a dead process (see `leftover`).

Once `append` returned, the record survives the death of the process (it is in the kernel's page
cache); once `sync` returned, a power cut. A record that ends with the file is torn: its emit never
returned, so nobody was promised anything, and it is left out.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Self

from audit.errors import LimitExceeded, Unavailable
from audit.log.entry import MAX_EVENT_IN_LEAF_BYTES, SIGNATURE_BYTES
from audit.store.durable import sync_folder

MAGIC = b"attestory spool v1 "
SUFFIX = ".spool"
MARK = b"\xf5\xe1\r\n"
HAS_SEQUENCE = 1
HAS_SIGNATURE = 2

MAX_BODY_BYTES = 9 + SIGNATURE_BYTES + MAX_EVENT_IN_LEAF_BYTES
MAX_FIRST_LINE_BYTES = 2_048
MAX_CREATE_ATTEMPTS = 100

_HEAD = struct.Struct(">4sI")
_LENGTH = struct.Struct(">I")
_BODY = struct.Struct(">QB")
_START = struct.Struct(">IQB")
_HEAD_BYTES = _HEAD.size + _LENGTH.size
_ZEROS_BLOCK = 65_536

Bytes = bytes | mmap.mmap


class Waiting(NamedTuple):
    """One event in a spool. `sequence` is None for a schema event."""

    sequence: int | None
    event: bytes
    signature: bytes | None


class Read(NamedTuple):
    """A record and where it ends; `waiting` is None for a stretch that is no record."""

    end: int
    waiting: Waiting | None


def encode_first_line(destination: str) -> bytes:
    """The first line of a spool file. Raises LimitExceeded when nobody could read it back."""
    text = MAGIC + destination.encode()
    line = text + b" %08x\n" % zlib.crc32(text)
    if len(line) > MAX_FIRST_LINE_BYTES:
        raise LimitExceeded(
            f"the name of where events go is longer than the {MAX_FIRST_LINE_BYTES} bytes of a "
            "spool file's first line"
        )
    return line


def read_first_line(data: Bytes) -> tuple[str, int] | None:
    """(destination, where the records begin), or None when it is damaged or not a spool."""
    line, end, _ = bytes(data[:MAX_FIRST_LINE_BYTES]).partition(b"\n")
    text, _, crc = line.rpartition(b" ")
    if not end or not text.startswith(MAGIC) or crc != b"%08x" % zlib.crc32(text):
        return None
    try:
        return text[len(MAGIC) :].decode(), len(line) + 1
    except UnicodeDecodeError:
        return None


def encode_record(sequence: int | None, event: bytes, signature: bytes | None) -> bytes:
    """The bytes of one record."""
    flags = 0 if sequence is None else HAS_SEQUENCE
    if signature is not None:
        flags |= HAS_SIGNATURE
        event = signature + event
    start = _START.pack(_BODY.size + len(event), sequence or 0, flags)
    return _HEAD.pack(MARK, zlib.crc32(event, zlib.crc32(start))) + start + event


def read_records(data: Bytes, start: int, stop: int) -> Iterator[Read]:
    """The records in data[start:stop], and between them what is damaged.

    A damaged stretch runs to the next whole record. One that runs to the end is a torn record, and
    left out, when it is shorter than it says, or only zeros, as a power cut leaves them.
    """
    at = start
    while at < stop:
        read = _record_at(data, at, stop)
        if read is not None:
            yield read
            at = read.end
            continue
        after = _next_record(data, at, stop)
        if after < stop or not _is_torn(data, at, stop):
            yield Read(after, None)
        at = after


def _record_at(data: Bytes, at: int, stop: int) -> Read | None:
    start = at + _HEAD_BYTES
    if start + _BODY.size > stop:
        return None
    mark, crc = _HEAD.unpack_from(data, at)
    length, sequence, flags = _START.unpack_from(data, at + _HEAD.size)
    end = start + length
    if mark != MARK or not _BODY.size <= length <= MAX_BODY_BYTES or end > stop:
        return None
    if zlib.crc32(data[at + _HEAD.size : end]) != crc:
        return None
    at_signature = start + _BODY.size
    at_event = at_signature + (SIGNATURE_BYTES if flags & HAS_SIGNATURE else 0)
    if flags > HAS_SEQUENCE + HAS_SIGNATURE or at_event > end:
        return None
    signature = data[at_signature:at_event] or None
    waiting = Waiting(sequence if flags & HAS_SEQUENCE else None, data[at_event:end], signature)
    return Read(end, waiting)


def _next_record(data: Bytes, at: int, stop: int) -> int:
    while True:
        at = data.find(MARK, at + 1, stop)
        if at < 0:
            return stop
        if _record_at(data, at, stop) is not None:
            return at


def _is_torn(data: Bytes, at: int, stop: int) -> bool:
    rest = data[at : min(stop, at + _HEAD_BYTES)]
    if MARK[: len(rest)] == rest[: len(MARK)]:
        if len(rest) < _HEAD_BYTES:
            return True
        (length,) = _LENGTH.unpack_from(rest, _HEAD.size)
        if length <= MAX_BODY_BYTES and at + _HEAD_BYTES + length > stop:
            return True
    blocks = (data[i : min(stop, i + _ZEROS_BLOCK)] for i in range(at, stop, _ZEROS_BLOCK))
    return all(block.count(0) == len(block) for block in blocks)


class Spool:
    """The file that one emitter appends to.

    `path` is the file; `end` counts the bytes in it. `append` is for one thread at a time (the
    emitter's lock); another may call `read` below an `end` it has seen.
    """

    def __init__(self, path: Path, descriptor: int, first_line: bytes) -> None:
        """Use `create`."""
        self.path = path
        self.end = 0
        self._descriptor = descriptor
        self._write = _write_function()
        self._torn = False
        self._synced_end = 0
        self.append(first_line)
        self.start = self.end

    @classmethod
    def create(cls, folder: Path, destination: str, new_name: Callable[[], str]) -> Self:
        """A new, locked file with a name of `new_name`; the folder is made. Raises Unavailable."""
        first_line = encode_first_line(destination)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for _ in range(MAX_CREATE_ATTEMPTS):
                path = folder / f"{new_name()}{SUFFIX}"
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
                descriptor = os.open(path, flags, 0o600)
                # Until it is locked another process may take it for a dead one's, and remove it.
                if not try_lock(descriptor) or not os.fstat(descriptor).st_nlink:
                    os.close(descriptor)
                    continue
                try:
                    return cls(path, descriptor, first_line)
                except Unavailable:
                    os.unlink(path)
                    os.close(descriptor)
                    raise
        except OSError as error:
            raise Unavailable(f"cannot write the spool in {folder}: {error.strerror}") from None
        raise Unavailable(f"cannot keep a file in the spool {folder}: other processes remove it")

    def append(self, record: bytes) -> None:
        """Write one record. Raises Unavailable: then nothing of it stays."""
        try:
            if self._torn:
                self._cut()
            written = self._write(self._descriptor, record, len(record))
            if written != len(record):
                raise _write_error(written)
        except OSError as error:
            # A full disk may have taken a part. It must go, or the next record stands behind it.
            self._torn = True
            with contextlib.suppress(OSError):
                self._cut()
            raise Unavailable(f"cannot write the spool {self.path}: {error.strerror}") from None
        self.end += len(record)

    def _cut(self) -> None:
        os.ftruncate(self._descriptor, self.end)
        self._torn = False

    def read(self, start: int, stop: int, count: int, size: int = sys.maxsize) -> list[Read]:
        """Up to `count` records of bytes start to stop, and no more once they make `size` bytes.

        `stop` is an `end` seen before.
        """
        if start >= stop:
            return []
        with mmap.mmap(self._descriptor, stop, access=mmap.ACCESS_READ) as data:
            reads: list[Read] = []
            for read in islice(read_records(data, start, stop), count):
                reads.append(read)
                if read.end - start >= size:
                    break
            return reads

    def empty(self) -> None:
        """Forget all records: they are sealed. Raises Unavailable."""
        try:
            os.ftruncate(self._descriptor, self.start)
        except OSError as error:
            raise Unavailable(f"cannot shorten the spool {self.path}: {error.strerror}") from None
        self.end = self.start
        self._synced_end = min(self._synced_end, self.end)
        self._torn = False

    def sync(self) -> None:
        """Return when a power cut can no longer lose a record. Raises Unavailable.

        A file that is closed meanwhile needs no more: all in it is where it was to go.
        """
        end = self.end
        if end == self._synced_end:
            return
        try:
            if not self._synced_end:
                sync_folder(self.path.parent)  # or the cut takes the file's name
            os.fsync(self._descriptor)
        except OSError as error:
            if self._descriptor < 0:
                return
            raise Unavailable(f"cannot write the spool {self.path}: {error.strerror}") from None
        self._synced_end = end

    def close(self) -> None:
        """Give up the file: removed when nothing waits in it, else left for the next writer."""
        if self._descriptor >= 0 and self.end == self.start:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptor and touch nothing else: after a fork the file is the parent's."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def try_lock(descriptor: int) -> bool:
    """Take the file's lock; False when a living process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(descriptor: int) -> bool:
    """True while a process holds the file's lock.

    A file that nobody holds is held for a moment: whoever wants its lock just then tries again.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


@cache
def _write_function() -> Callable[[int, bytes, int], int]:
    """write(2) without giving away the interpreter's lock; -1 when it fails.

    `os.write` lets go of the lock for the two microseconds that a write into the page cache takes,
    and then waits up to 5 ms (sys.getswitchinterval) to get it back from the thread that seals.
    While both are at work, that would be nearly all the time an emit takes.
    """
    import ctypes

    write = ctypes.PyDLL(None, use_errno=True).write
    write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
    write.restype = ctypes.c_ssize_t
    return write


def _write_error(written: int) -> OSError:
    """Why a write did not take all: what the system says; a part taken means a full disk."""
    import ctypes

    number = ctypes.get_errno() if written < 0 else errno.ENOSPC
    return OSError(number, os.strerror(number))

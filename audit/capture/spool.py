"""The spool's file: where emitted events wait until they are sealed, one file for each emitter.

    file    = first-line *record
    first-line = "attestory spool v1 " destination SP crc LF
                  destination: the origin of the ledger that the events are for
                  crc: of the line before it, 8 hex digits
    record  = mark length crc body
    mark    = 4 bytes, F5 E1 0D 0A: never in UTF-8 text, so a reader finds the next record again
    length  = 4 bytes, of the body
    crc     = 4 bytes, of length and body (CRC-32 of zlib and IEEE 802.3)
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
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Self

from audit.errors import Unavailable
from audit.log.entry import MAX_EVENT_IN_LEAF_BYTES, SIGNATURE_BYTES

MAGIC = b"attestory spool v1 "
SUFFIX = ".spool"
MARK = b"\xf5\xe1\r\n"
HAS_SEQUENCE = 1
HAS_SIGNATURE = 2

MAX_BODY_BYTES = 9 + SIGNATURE_BYTES + MAX_EVENT_IN_LEAF_BYTES
MAX_FIRST_LINE_BYTES = 2_048
MAX_SPOOL_BYTES = 2**30
"""How many bytes may wait in one file; beyond, the store has been away for too long."""
MAX_CREATE_ATTEMPTS = 100

_HEAD = struct.Struct(">4sII")
_BODY = struct.Struct(">QB")
_LENGTH = struct.Struct(">I")
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
    """The first line of a spool file."""
    text = MAGIC + destination.encode()
    return text + b" %08x\n" % zlib.crc32(text)


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
    if signature is None:
        body = _BODY.pack(sequence or 0, flags) + event
    else:
        body = _BODY.pack(sequence or 0, flags | HAS_SIGNATURE) + signature + event
    length = len(body)
    return _HEAD.pack(MARK, length, zlib.crc32(body, zlib.crc32(_LENGTH.pack(length)))) + body


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
    start = at + _HEAD.size
    if start > stop:
        return None
    mark, length, crc = _HEAD.unpack_from(data, at)
    end = start + length
    if mark != MARK or not _BODY.size <= length <= MAX_BODY_BYTES or end > stop:
        return None
    body = data[start:end]
    if zlib.crc32(body, zlib.crc32(_LENGTH.pack(length))) != crc:
        return None
    sequence, flags = _BODY.unpack_from(body)
    at_event = _BODY.size + (SIGNATURE_BYTES if flags & HAS_SIGNATURE else 0)
    if flags > HAS_SEQUENCE + HAS_SIGNATURE or at_event > length:
        return None
    signature = body[_BODY.size : at_event] or None
    waiting = Waiting(sequence if flags & HAS_SEQUENCE else None, body[at_event:], signature)
    return Read(end, waiting)


def _next_record(data: Bytes, at: int, stop: int) -> int:
    while True:
        at = data.find(MARK, at + 1, stop)
        if at < 0:
            return stop
        if _record_at(data, at, stop) is not None:
            return at


def _is_torn(data: Bytes, at: int, stop: int) -> bool:
    rest = data[at : min(stop, at + _HEAD.size)]
    if len(rest) < _HEAD.size:
        if MARK[: len(rest)] == rest[: len(MARK)]:
            return True
    else:
        mark, length, _ = _HEAD.unpack(rest)
        if mark == MARK and length <= MAX_BODY_BYTES and at + _HEAD.size + length > stop:
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
        self._write = _writer()
        self._torn = False
        self._append(first_line)
        self.end = self.start = len(first_line)

    @classmethod
    def create(cls, folder: Path, destination: str, new_name: Callable[[], str]) -> Self:
        """A new, locked file with a name of `new_name`; the folder is made. Raises Unavailable."""
        first_line = encode_first_line(destination)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
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
                except OSError:
                    os.unlink(path)
                    os.close(descriptor)
                    raise
        except OSError as error:
            raise Unavailable(f"cannot write the spool in {folder}: {error.strerror}") from None
        raise Unavailable(f"cannot keep a file in the spool {folder}: other processes remove it")

    def append(self, record: bytes) -> int:
        """Write one record; returns where it ends. Raises Unavailable: then nothing of it stays."""
        end = self.end + len(record)
        if end > MAX_SPOOL_BYTES:
            raise Unavailable(
                f"the spool {self.path} is full: {self.end:,} bytes wait\n"
                "nothing more can be emitted before the store is reachable again"
            )
        try:
            self._append(record)
        except OSError as error:
            raise Unavailable(f"cannot write the spool {self.path}: {error.strerror}") from None
        self.end = end
        return end

    def _append(self, record: bytes) -> None:
        if self._torn:
            self._cut()
        try:
            written = self._write(self._descriptor, record)
            if written != len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            # A full disk may have taken a part. It must go, or the next record stands behind it.
            self._torn = True
            with contextlib.suppress(OSError):
                self._cut()
            raise

    def _cut(self) -> None:
        os.ftruncate(self._descriptor, self.end)
        self._torn = False

    def read(self, start: int, stop: int, count: int) -> list[Read]:
        """Up to `count` records of bytes start to stop; `stop` is an `end` seen before."""
        if start >= stop:
            return []
        with mmap.mmap(self._descriptor, stop, access=mmap.ACCESS_READ) as data:
            return list(islice(read_records(data, start, stop), count))

    def empty(self) -> None:
        """Forget all records: they are sealed. Raises Unavailable."""
        try:
            os.ftruncate(self._descriptor, self.start)
        except OSError as error:
            raise Unavailable(f"cannot shorten the spool {self.path}: {error.strerror}") from None
        self.end = self.start
        self._torn = False

    def sync(self) -> None:
        """Return when a power cut can no longer lose a record. Raises Unavailable."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise Unavailable(f"cannot write the spool {self.path}: {error.strerror}") from None

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


def _writer() -> Callable[[int, bytes], int]:
    """write(2) without giving away the interpreter's lock.

    `os.write` lets go of it for the two microseconds that a write into the page cache takes, and
    then waits up to 5 ms (sys.getswitchinterval) to get it back from the thread that seals. While
    both are at work, that would be nearly all the time an emit takes.
    """
    import ctypes

    write = ctypes.PyDLL(None, use_errno=True).write
    write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
    write.restype = ctypes.c_ssize_t

    def append(descriptor: int, data: bytes) -> int:
        written: int = write(descriptor, data, len(data))
        if written < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return written

    return append

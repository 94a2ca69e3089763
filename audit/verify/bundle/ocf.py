"""Entries with their proofs as an Avro object container file, written and read by hand.

    file   = "Obj" %x01 metadata sync[16] *block       Avro 1.11, "Object Container Files"
    block  = long count, long length, data[length], sync[16]
    record = log long, index long, leaf bytes, proof array<fixed 32>

The reader takes this one schema only, so a hostile header costs nothing; counts and lengths are
checked before anything is made. Codecs: null, and deflate (RFC 1951) with a limit on its output.
"""

import json
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from audit.errors import FormatError, LimitExceeded
from audit.event.wire import decode_bytes, decode_count, decode_long, encode_long
from audit.log.entry import MAX_LEAF_BYTES
from audit.tlog.hashing import HASH_BYTES, MAX_SIZE

SCHEMA = {
    "type": "record",
    "name": "BundleEntry",
    "namespace": "attestory",
    "doc": "An entry of a log: its leaf, and the inclusion proof to the log's checkpoint.",
    "fields": [
        {"name": "log", "type": "long", "doc": "Number of the log, as in the manifest."},
        {"name": "index", "type": "long", "doc": "Position in the log, from 0."},
        {"name": "leaf", "type": "bytes", "doc": "The entry exactly as it was sealed."},
        {
            "name": "proof",
            "type": {"type": "array", "items": {"type": "fixed", "name": "Hash", "size": 32}},
            "doc": "RFC 6962 inclusion proof, the leaf's sibling first.",
        },
    ],
}

MAGIC = b"Obj\x01"
SYNC = b"attestory-bundle"
"""Sixteen fixed bytes, so that the same entries give the same file."""

CODECS = ("null", "deflate")
MAX_PROOF_HASHES = 63
MAX_HEADER_BYTES = 65_536
MAX_BLOCK_BYTES = 1 << 24
"""Longest block, as it is in the file and decompressed."""

MAX_RATIO = 200
"""Most bytes that one byte of a compressed block may become."""

_BLOCK_BYTES = 1 << 18
_SCHEMA_JSON = json.dumps(SCHEMA, separators=(",", ":")).encode()


class BundleEntry(NamedTuple):
    """One record. `proof` is a list of hashes, the leaf's sibling first."""

    log: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    leaf: bytes
    proof: tuple[bytes, ...]


def write_entries(file: BinaryIO, entries: Iterable[BundleEntry], codec: str = "null") -> None:
    """Write a whole container file; blocks end at about 256 KiB."""
    metadata = {b"avro.codec": codec.encode(), b"avro.schema": _SCHEMA_JSON}
    file.write(MAGIC + encode_long(len(metadata)))
    for key, value in sorted(metadata.items()):
        file.write(encode_long(len(key)) + key + encode_long(len(value)) + value)
    file.write(b"\x00" + SYNC)
    block, count = bytearray(), 0
    for entry in entries:
        block += _encode(entry)
        count += 1
        if len(block) >= _BLOCK_BYTES:
            _write_block(file, count, bytes(block), codec)
            block, count = bytearray(), 0
    if count:
        _write_block(file, count, bytes(block), codec)


def read_entries(file: BinaryIO) -> Iterator[BundleEntry]:
    """The records in order, one block in memory at a time. Raises FormatError, LimitExceeded."""
    source = _Source(file)
    codec, sync = _read_header(source)
    while not source.at_end():
        count, length = source.long(), source.long()
        if not 0 < length <= MAX_BLOCK_BYTES or not 0 < count <= length:
            raise LimitExceeded("a block of the entries has an impossible count or length")
        data = source.take(length)
        if source.take(len(sync)) != sync:
            raise FormatError("a block of the entries does not end with its mark")
        if codec == "deflate":
            data = _inflate(data)
        yield from _records(data, count)


def _encode(entry: BundleEntry) -> bytes:
    proof = b"".join(entry.proof)
    return b"".join(
        (
            encode_long(entry.log),
            encode_long(entry.index),
            encode_long(len(entry.leaf)),
            entry.leaf,
            encode_long(len(entry.proof)) + proof + b"\x00" if entry.proof else b"\x00",
        )
    )


def _write_block(file: BinaryIO, count: int, data: bytes, codec: str) -> None:
    if codec == "deflate":
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = deflate.compress(data) + deflate.flush()
    file.write(encode_long(count) + encode_long(len(data)) + data + SYNC)


def _records(data: bytes, count: int) -> Iterator[BundleEntry]:
    at = 0
    for _ in range(count):
        log, at = decode_long(data, at)
        index, at = decode_long(data, at)
        leaf, at = decode_bytes(data, at)
        if not 0 <= log <= MAX_SIZE or not 0 <= index <= MAX_SIZE:
            raise FormatError("an entry of the bundle has a negative log or index")
        if len(leaf) > MAX_LEAF_BYTES:
            raise LimitExceeded(f"a leaf of the bundle is over {MAX_LEAF_BYTES:,} bytes")
        nodes, at, end = decode_count(data, at, HASH_BYTES)
        if nodes > MAX_PROOF_HASHES or end is not None:
            raise LimitExceeded(f"a proof of the bundle has more than {MAX_PROOF_HASHES} hashes")
        stop = at + nodes * HASH_BYTES
        proof = tuple(data[n : n + HASH_BYTES] for n in range(at, stop, HASH_BYTES))
        at = stop
        if nodes:
            more, at, _ = decode_count(data, at, HASH_BYTES)
            if more:
                raise FormatError("a proof of the bundle is in more than one piece")
        yield BundleEntry(log, index, leaf, proof)
    if at != len(data):
        raise FormatError("a block of the entries is longer than its records")


def _read_header(source: "_Source") -> tuple[str, bytes]:
    if source.take(len(MAGIC)) != MAGIC:
        raise FormatError("the entries are not an Avro object container file")
    metadata: dict[bytes, bytes] = {}
    while count := source.long():
        if not 0 < count <= 100:
            raise LimitExceeded("the header of the entries has an impossible count")
        for _ in range(count):
            key = source.counted(MAX_HEADER_BYTES)
            if key in metadata:
                raise FormatError("the header of the entries has a name twice")
            metadata[key] = source.counted(MAX_HEADER_BYTES)
    try:
        schema = json.loads(metadata.get(b"avro.schema", b"").decode())
    except (ValueError, RecursionError):
        schema = None
    if schema != SCHEMA:
        raise FormatError("the entries have another schema than this bundle format has")
    codec = metadata.get(b"avro.codec", b"null").decode(errors="replace")
    if codec not in CODECS:
        raise FormatError(f"the entries are packed with {codec[:40]!a}; null and deflate are known")
    return codec, source.take(len(SYNC))


def _inflate(data: bytes) -> bytes:
    inflate = zlib.decompressobj(-15)
    limit = min(MAX_BLOCK_BYTES, len(data) * MAX_RATIO)
    try:
        out = inflate.decompress(data, limit + 1)
    except zlib.error:
        raise FormatError("a block of the entries cannot be decompressed") from None
    if len(out) > limit:
        raise LimitExceeded("a block of the entries becomes too large when decompressed")
    if not inflate.eof or inflate.unused_data:
        raise FormatError("a block of the entries is not one whole deflate stream")
    return out


class _Source:
    """Reads a file to its end in exact pieces."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._ahead = b""

    def at_end(self) -> bool:
        if not self._ahead:
            self._ahead = self._file.read(1)
        return not self._ahead

    def take(self, length: int) -> bytes:
        data = self._ahead[:length]
        self._ahead = self._ahead[length:]
        if len(data) < length:
            data += self._file.read(length - len(data))
        if len(data) != length:
            raise FormatError("the entries are cut off")
        return data

    def long(self) -> int:
        data = self.take(1)
        while data[-1] & 0x80:
            if len(data) == 10:
                raise FormatError("a number in the entries is longer than 64 bits")
            data += self.take(1)
        return decode_long(data, 0)[0]

    def counted(self, limit: int) -> bytes:
        length = self.long()
        if not 0 <= length <= limit:
            raise LimitExceeded("a part of the entries' header is too long")
        return self.take(length)

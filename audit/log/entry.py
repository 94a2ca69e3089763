"""The bytes of an entry: the leaf, encoded once, stored, and never encoded again to verify.

A leaf is one Avro record `entry.v1` in Avro single-object encoding (Avro 1.11 specification,
"Single-object encoding"):

    leaf   = %xC3 %x01 fingerprint body
    fingerprint = 8 bytes, CRC-64-AVRO of entry.v1's parsing canonical form, little endian
    body   = index            long
             recorded_time_us long
             prev_hash        fixed 32   leaf hash of the entry before; zeros at index 0
             kind             enum       EVENT, CONTROL, QUARANTINED
             schema_hash      [null, fixed 32]  SHA-256 of the canonical JSON of the event's schema
             source           [null, record {topic, partition, offset, next_offset}]
             reason           [null, string]    why it is quarantined
             signature        [null, bytes]     the producer's: key id (4), signature (64)
             event            bytes      exactly as the producer sent them

Decoding is strict: the shortest form of every number, all of the input, limits first. So there is
exactly one leaf for an entry, and a decoded entry encodes to the same bytes again.
"""

from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from audit.errors import FormatError, LimitExceeded
from audit.event.wire import decode_long, encode_long, encode_size

MAX_LEAF_BYTES = 65_535
"""A C2SP entry bundle has a 16-bit length before each entry (tlog-tiles)."""
MAX_EVENT_IN_LEAF_BYTES = 64_512
"""What is left for the event when everything else in the leaf is at its own limit."""
MAX_TOPIC_BYTES = 249
"""Kafka's own limit for a topic name."""
MAX_REASON_BYTES = 512
SIGNATURE_BYTES = 68

SINGLE_OBJECT_MAGIC = b"\xc3\x01"
ENTRY_FINGERPRINT = bytes.fromhex("24a9bc79b20c3d8f")
LEAF_PREFIX = SINGLE_OBJECT_MAGIC + ENTRY_FINGERPRINT
NO_HASH = bytes(32)

_NULL = b"\x00"
_TWO_NULLS = b"\x00\x00"
_SOME = b"\x02"


class Kind(IntEnum):
    """What an entry is: somebody's event, the log's own word, or what could not be accepted."""

    EVENT = 0
    CONTROL = 1
    QUARANTINED = 2


class SourceSpan(NamedTuple):
    """Where a message was read, and the offset to read next. `next_offset` is > `offset`."""

    topic: str
    partition: int
    offset: int
    next_offset: int


class Entry(NamedTuple):
    """An event accepted at an index of a log (the fields of `entry.v1`)."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    recorded_time_us: int
    prev_hash: bytes
    kind: Kind
    schema_hash: bytes | None
    source: SourceSpan | None
    reason: str | None
    signature: bytes | None
    event: bytes


_KIND_BYTE = {Kind.EVENT: b"\x00", Kind.CONTROL: b"\x02", Kind.QUARANTINED: b"\x04"}
_BYTE_KIND = {0: Kind.EVENT, 2: Kind.CONTROL, 4: Kind.QUARANTINED}


def encode_entry(entry: Entry) -> bytes:
    """The leaf of an entry. Raises LimitExceeded when it would not fit MAX_LEAF_BYTES."""
    tail = encode_tail(
        entry.kind, entry.schema_hash, entry.source, entry.reason, entry.signature, entry.event
    )
    return encode_head(entry.index, entry.recorded_time_us, entry.prev_hash) + tail


def encode_head(index: int, recorded_time_us: int, prev_hash: bytes) -> bytes:
    """The leaf up to and including `prev_hash`: what the position decides."""
    return LEAF_PREFIX + encode_long(index) + encode_long(recorded_time_us) + prev_hash


def encode_tail(
    kind: Kind,
    schema_hash: bytes | None,
    source: SourceSpan | None,
    reason: str | None,
    signature: bytes | None,
    event: bytes,
) -> bytes:
    """The leaf from `kind` to its end: what the message decides. Raises LimitExceeded."""
    if len(event) > MAX_EVENT_IN_LEAF_BYTES:
        raise LimitExceeded(
            f"an event of {len(event)} bytes does not fit a leaf (limit {MAX_EVENT_IN_LEAF_BYTES})"
        )
    start = _KIND_BYTE[kind] + (_NULL if schema_hash is None else _SOME + schema_hash)
    place = _NULL if source is None else _encode_source(source)
    if reason is None and signature is None:
        return start + place + _TWO_NULLS + encode_size(len(event)) + event
    return b"".join(
        (
            start,
            place,
            _NULL if reason is None else _SOME + _encode_string(reason, MAX_REASON_BYTES),
            _NULL if signature is None else _SOME + encode_size(len(signature)) + signature,
            encode_size(len(event)),
            event,
        )
    )


def _encode_source(source: SourceSpan) -> bytes:
    topic, partition, offset, next_offset = source
    place = _place(topic, partition)
    return place + encode_long(offset) + encode_long(next_offset)


@lru_cache(maxsize=1_024)
def _place(topic: str, partition: int) -> bytes:
    """A topic and a partition of it: the same for millions of entries."""
    return _SOME + _encode_string(topic, MAX_TOPIC_BYTES) + encode_long(partition)


def _encode_string(text: str, limit: int) -> bytes:
    data = text.encode()
    if len(data) > limit:
        raise LimitExceeded(f"a text of {len(data)} bytes is over its limit of {limit}")
    return encode_long(len(data)) + data


def decode_entry(leaf: bytes) -> Entry:
    """The entry of a leaf.

    Raises FormatError when the bytes are not exactly one `entry.v1` in its shortest form.
    """
    if type(leaf) is not bytes:
        raise FormatError(f"a leaf is bytes, not {type(leaf).__name__}")
    if len(leaf) > MAX_LEAF_BYTES:
        raise FormatError(f"a leaf of {len(leaf)} bytes is over the limit of {MAX_LEAF_BYTES}")
    if leaf[:10] != LEAF_PREFIX:
        raise FormatError("not an entry: it does not begin with the mark of entry.v1")
    try:
        return _decode_body(leaf)
    except IndexError:
        raise FormatError("an entry ends in the middle of a field") from None
    except UnicodeDecodeError:
        raise FormatError("a text in an entry is not UTF-8") from None


def _decode_body(leaf: bytes) -> Entry:
    index, at = _read_count(leaf, 10)
    recorded_time_us, at = _read_count(leaf, at)
    prev_hash = leaf[at : at + 32]
    at += 32
    kind = _BYTE_KIND.get(leaf[at])
    if kind is None:
        raise FormatError("an entry of unknown kind")
    schema_hash: bytes | None = None
    if _is_some(leaf, at + 1):
        schema_hash = leaf[at + 2 : at + 34]
        at += 32
    at += 2
    source: SourceSpan | None = None
    if _is_some(leaf, at):
        source, at = _read_source(leaf, at + 1)
    else:
        at += 1
    reason: str | None = None
    if _is_some(leaf, at):
        raw, at = _read_bytes(leaf, at + 1, MAX_REASON_BYTES)
        reason = raw.decode()
    else:
        at += 1
    signature: bytes | None = None
    if _is_some(leaf, at):
        signature, at = _read_bytes(leaf, at + 1, SIGNATURE_BYTES)
        if len(signature) != SIGNATURE_BYTES:
            raise FormatError(f"a producer signature has {SIGNATURE_BYTES} bytes")
    else:
        at += 1
    event, at = _read_bytes(leaf, at, MAX_EVENT_IN_LEAF_BYTES)
    if at != len(leaf):
        raise FormatError("an entry has bytes after its end")
    return Entry(
        index, recorded_time_us, prev_hash, kind, schema_hash, source, reason, signature, event
    )


def _is_some(leaf: bytes, at: int) -> bool:
    branch = leaf[at]
    if branch == 2:
        return True
    if branch:
        raise FormatError("an entry has an unknown union branch")
    return False


def _read_count(leaf: bytes, at: int) -> tuple[int, int]:
    number, at = decode_long(leaf, at)
    if number < 0:
        raise FormatError("a number in an entry is negative")
    return number, at


def _read_bytes(leaf: bytes, at: int, limit: int) -> tuple[bytes, int]:
    length, at = _read_count(leaf, at)
    if length > limit:
        raise FormatError(f"a field of {length} bytes in an entry is over its limit of {limit}")
    data = leaf[at : at + length]
    if len(data) != length:
        raise FormatError("an entry ends in the middle of a field")
    return data, at + length


def _read_source(leaf: bytes, at: int) -> tuple[SourceSpan, int]:
    topic, at = _read_bytes(leaf, at, MAX_TOPIC_BYTES)
    partition, at = _read_count(leaf, at)
    offset, at = _read_count(leaf, at)
    next_offset, at = _read_count(leaf, at)
    if partition > 2**31 - 1 or next_offset <= offset:
        raise FormatError("an entry's source offsets contradict each other")
    return SourceSpan(topic.decode(), partition, offset, next_offset), at

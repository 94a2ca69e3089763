"""The fast lane of step 6: rows that are exactly what the plain checks have accepted before.

A verifier decodes every entry. Most rows of a log look alike, so this lane turns the question
round: from the index columns, the position and the hash before, it builds the bytes that the leaf
must begin with, and compares them at once. What follows is walked over field by field. It takes a
row only if every check of the plain form would pass; whatever it does not recognise - another kind,
a long text, a character beyond ASCII, a source of events not seen yet, or any difference - is left
to that plain form, which alone makes findings. So it can be slow for a row, but not wrong.

Layouts: `audit.log.entry` and `audit.event.envelope`.
"""

import re
from collections.abc import Sequence
from hashlib import sha256

from audit.event.envelope import (
    EVENT_PREFIX,
    EVENT_SCHEMA_HASH,
    MAX_EVENT_ID_BYTES,
    MAX_KEY_BYTES,
    Event,
)
from audit.event.wire import LENGTHS
from audit.log.entry import LEAF_PREFIX as ENTRY_PREFIX
from audit.log.entry import SIGNATURE_BYTES
from audit.store.contract import StoredEntry
from audit.tlog.hashing import HASH_BYTES

MAX_REMEMBERED = 4_096
"""Combinations of type, source and entity type, and producers, that the lane knows at once."""

MIN_INDEX = 64
"""Below it an index takes one byte; the lane knows only the longer form."""

_MIN_TIME_US = 64
_TEXTS = 6
_MIN_EVENT_BYTES = 64
_MAX_EVENT_BYTES = len(LENGTHS) - 1

_NULL = b"\x00"
_SOME = b"\x02"
_FOUR_NULLS = bytes(4)
_LOW = tuple(bytes((low << 1 | 0x80,)) for low in range(64))
"""First byte of a zigzag varint of 64 or more, by the number's lowest six bits."""
_ID_LENGTHS = (b"", *LENGTHS[1 : MAX_EVENT_ID_BYTES + 1])
_KEY_LENGTHS = tuple(_SOME + length for length in LENGTHS[: MAX_KEY_BYTES + 1])
# kind EVENT, schema_hash event.v1, no source, no reason
_MIDDLE = _NULL + _SOME + EVENT_SCHEMA_HASH + _NULL + _NULL
_UNSIGNED = _MIDDLE + _NULL
_SIGNED = _MIDDLE + _SOME + LENGTHS[SIGNATURE_BYTES]
# All of a leaf before its event, but the two varints and a signature.
_HEAD_BYTES = len(ENTRY_PREFIX) + 2 + HASH_BYTES + len(_UNSIGNED) + 2

_EVEN = b"".join(b"\\x%02x" % low for low in range(0, 128, 2))
_EVEN_MORE = b"".join(b"\\x%02x" % low for low in range(128, 256, 2))
# A valid time of eight bytes is one between 1979 and 3111: inside every limit.
_VALID_TIME = rb"(?:\x00|\x02[\x80-\xff]{7}[\x01-\x7f])"
_SCHEMA = rb"(?:\x00|\x02.{32})"
_match_without_texts = re.compile(_VALID_TIME + rb"\x00{6}" + _SCHEMA, re.DOTALL).match
_match_valid_time = re.compile(_VALID_TIME).match
_match_schema = re.compile(_SCHEMA, re.DOTALL).match
_is_sequence = re.compile(
    rb"\x00|\x02(?:[%b]|[%b][\x80-\xff]{0,7}[\x01-\x7f])" % (_EVEN, _EVEN_MORE)
).fullmatch


class Scanned:
    """Where a scan puts what it made: leaf hashes, hashes of ids, signed rows, each in order."""

    __slots__ = ("id_hashes", "leaf_hashes", "signed")

    def __init__(self, leaf_hashes: list[bytes], id_hashes: list[int]) -> None:
        self.leaf_hashes = leaf_hashes
        self.id_hashes = id_hashes
        self.signed: list[tuple[int, bytes, bytes]] = []
        """(index, event, producer signature)"""


class FastRows:
    """What the lane has learned. `index`, `last_us` and `prev_hash` say where the walk stands."""

    def __init__(self) -> None:
        self.index = 0
        self.last_us = 0
        self.prev_hash = b""
        self._with_key: dict[tuple[str | None, bytes | None, str | None], bytes] = {}
        self._without_key: dict[tuple[str | None, bytes | None, str | None], bytes] = {}
        self._producers: set[bytes] = set()

    def learn(self, event: Event) -> None:
        """Remember what an accepted event has in common with others like it."""
        source = event.source.encode()
        known = self._without_key if event.entity_key is None else self._with_key
        if len(known) < MAX_REMEMBERED:
            about = LENGTHS[len(event.type)] + event.type.encode() + LENGTHS[len(source)] + source
            if event.entity_type is None:
                about += _NULL
            else:
                about += _SOME + LENGTHS[len(event.entity_type)] + event.entity_type.encode()
            # With a key, that comes next; without one, this is the end.
            known[event.type, source, event.entity_type] = (
                about + _NULL if event.entity_key is None else about
            )
        if event.subject is None and event.encryption is None and event.producer_id is not None:
            producer = event.producer_id.encode()
            if len(producer) < 64 and len(self._producers) < MAX_REMEMBERED:
                self._producers.add(_NULL + _NULL + _SOME + LENGTHS[len(producer)] + producer)

    def scan(self, rows: Sequence[StoredEntry], at: int, out: Scanned) -> int:
        """Take rows from `at` on while they are recognised; gives the number of the first other."""
        index, last_us, prev_hash = self.index, self.last_us, self.prev_hash
        if index < MIN_INDEX or last_us < _MIN_TIME_US:
            return at
        index_high, us_high, index_tail, us_tail = -1, -1, b"", b""
        with_key, without_key, producers = self._with_key, self._without_key, self._producers
        add_leaf_hash, add_id_hash = out.leaf_hashes.append, out.id_hashes.append
        try:
            for row in rows[at:] if at else rows:
                # In the order of `contract.StoredEntry`.
                index_, leaf, us, kind, type_, source, event_id, entity, key, signature = row
                if index_ != index or kind != 0 or us <= last_us or not event_id:
                    break
                if not type(index_) is type(kind) is type(us) is int or type(leaf) is not bytes:
                    break
                if index >> 6 != index_high:
                    index_high = index >> 6
                    index_tail = _varint(index_high)
                if us >> 6 != us_high:
                    us_high = us >> 6
                    us_tail = _varint(us_high)
                size = len(leaf) - _HEAD_BYTES - len(index_tail) - len(us_tail)
                middle = _UNSIGNED
                if signature is not None:
                    size -= len(_SIGNED) - len(_UNSIGNED) + SIGNATURE_BYTES
                    middle = _SIGNED + signature
                    if len(signature) != SIGNATURE_BYTES:
                        break
                if not _MIN_EVENT_BYTES <= size <= _MAX_EVENT_BYTES or not event_id.isascii():
                    break
                if key is None:
                    about = without_key[type_, source, entity]
                else:
                    about = with_key[type_, source, entity] + _KEY_LENGTHS[len(key)] + key
                    if not key.isascii():
                        break
                expected = b"".join(
                    (
                        ENTRY_PREFIX, _LOW[index & 63], index_tail, _LOW[us & 63], us_tail,
                        prev_hash, middle, LENGTHS[size], EVENT_PREFIX,
                        _ID_LENGTHS[len(event_id)], event_id, about,
                    )
                )  # fmt: skip
                if not leaf.startswith(expected) or not _rest_ok(leaf, len(expected), producers):
                    break
                prev_hash = sha256(b"\x00" + leaf).digest()
                add_leaf_hash(prev_hash)
                add_id_hash(hash((source, event_id)))
                if signature is not None:
                    out.signed.append((index, leaf[-size:], signature))
                last_us = us
                index += 1
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            pass  # a value of another type, length or combination: not a row for this lane
        at += index - self.index
        self.index, self.last_us, self.prev_hash = index, last_us, prev_hash
        return at


def _rest_ok(leaf: bytes, at: int, producers: set[bytes]) -> bool:
    """Whether the event goes on after its entity key, and ends, as a strict decoder wants it."""
    match = _match_without_texts(leaf, at)
    at = match.end() if match else _skip_texts(leaf, at)
    low = leaf[at]
    if low & 1:
        return False
    if low < 0x80:
        at += 1 + (low >> 1)
    else:
        high = leaf[at + 1]
        if not 0 < high < 0x80:
            return False
        at += 2 + ((low & 0x7F) >> 1 | high << 6)
    rest = leaf[at:]
    if rest == _FOUR_NULLS:
        return True
    end = 4 + (rest[3] >> 1)
    return rest[:end] in producers and _is_sequence(rest, end) is not None


def _skip_texts(leaf: bytes, at: int) -> int:
    """The position after valid time, six texts and payload schema. Raises IndexError otherwise."""
    match = _match_valid_time(leaf, at)
    if match is None:
        raise IndexError
    at = match.end()
    for _ in range(_TEXTS):
        branch = leaf[at]
        at += 1
        if branch:
            length = leaf[at]
            text = leaf[at + 1 : at + 1 + (length >> 1)]
            if branch != 2 or length & 0x81 or not text.isascii():
                raise IndexError
            at += 1 + len(text)
    match = _match_schema(leaf, at)
    if match is None:
        raise IndexError
    return match.end()


def _varint(number: int) -> bytes:
    """The groups of a varint that follow its first byte."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)

"""The fast lane of step 6: rows that are exactly what the plain checks have accepted before.

A verifier decodes every entry. Most rows of a log look alike, so this lane turns the question round:
from the index columns, the position and the hash before, it builds the bytes that the leaf must
begin with, and compares them at once. What follows is walked over field by field. It takes a row
only if every check of `EntryWalk.check_row` would pass; whatever it does not recognise - another
kind, a long text, a character beyond ASCII, a source of events not seen yet, or any difference - is
left to that plain form, which alone makes findings. So it can be slow for a row, but not wrong.

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
from audit.log import entry as entry_format
from audit.store.contract import StoredEntry

MAX_REMEMBERED = 4_096
"""Combinations of type, source and entity type, and producers, that the lane knows at once."""

MIN_INDEX = 64
"""Below it an index takes one byte; the lane knows only the longer form."""

_MIN_TIME_US = 1 << 13
_MIN_EVENT_BYTES = 64
_MAX_EVENT_BYTES = len(LENGTHS) - 1
_SIGNATURE_BYTES = entry_format.SIGNATURE_BYTES

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
_SIGNED = _MIDDLE + _SOME + LENGTHS[_SIGNATURE_BYTES]

_EVEN = b"[" + b"".join(b"\\x%02x" % low for low in range(0, 256, 2)) + b"]"
_EVEN_LAST = b"[" + b"".join(b"\\x%02x" % low for low in range(0, 128, 2)) + b"]"
# A valid time of eight bytes is one between 1979 and 3111: inside every limit.
_VALID_TIME = rb"(?:\x00|\x02[\x80-\xff]{7}[\x01-\x7f])"
_SCHEMA = rb"(?:\x00|\x02.{32})"
_match_without_texts = re.compile(_VALID_TIME + rb"\x00{6}" + _SCHEMA, re.DOTALL).match
_match_valid_time = re.compile(_VALID_TIME).match
_match_schema = re.compile(_SCHEMA, re.DOTALL).match
_is_sequence = re.compile(
    rb"\x00|\x02(?:" + _EVEN_LAST + rb"|(?:" + _EVEN + rb"(?<=[\x80-\xff]))[\x80-\xff]{0,7}[\x01-\x7f])"
).fullmatch


class FastRows:
    """What the lane has learned, and where the walk stands."""

    def __init__(self) -> None:
        self.index = 0
        self.time_us = 0
        self.prev_hash = b""
        self.signed: list[tuple[int, bytes, bytes]] = []
        """(index, event, signature) of the signed rows of the last scan."""
        self._with_key: dict[tuple[str, bytes, str | None], bytes] = {}
        self._without_key: dict[tuple[str, bytes, str | None], bytes] = {}
        self._producers: set[bytes] = set()

    def learn(self, event: Event) -> None:
        """Remember what an accepted event has in common with others like it."""
        source = event.source.encode()
        known = self._without_key if event.entity_key is None else self._with_key
        if len(known) < MAX_REMEMBERED:
            segment = LENGTHS[len(event.type)] + event.type.encode() + LENGTHS[len(source)] + source
            if event.entity_type is None:
                segment += _NULL
            else:
                segment += _SOME + LENGTHS[len(event.entity_type)] + event.entity_type.encode()
            if event.entity_key is None:
                segment += _NULL
            known[event.type, source, event.entity_type] = segment
        if event.subject is None and event.encryption is None and event.producer_id is not None:
            producer = event.producer_id.encode()
            if len(producer) < 64 and len(self._producers) < MAX_REMEMBERED:
                self._producers.add(_NULL + _NULL + _SOME + LENGTHS[len(producer)] + producer)

    def scan(
        self, rows: Sequence[StoredEntry], at: int, leaf_hashes: list[bytes], id_hashes: list[int]
    ) -> int:
        """Take rows from `at` on while they are recognised; gives the number of the first other.

        Appends the leaf hash and the hash of the id of each, and moves index, time and hash on.
        """
        self.signed.clear()
        try:
            while at < len(rows):
                if not self._take(rows[at], leaf_hashes, id_hashes):
                    break
                at += 1
        except (IndexError, KeyError, TypeError, AttributeError):
            pass  # some value is of another type or length: not a row for this lane
        return at

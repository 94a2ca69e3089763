"""Scanning the envelope: what the index columns need of a plain event, without decoding the rest.

`envelope_read.decode_event` is the reader of the layout. This passes over an event in less than
half of its time and judges only what is plain: sizes of one byte, texts in ASCII, no encryption,
and names (type, source and entity type) that were decoded before. In what it judges it is as
strict; anything else it leaves to `decode_event`. Tests hold the two against each other.
"""

from collections.abc import Mapping
from typing import NamedTuple

from audit.event.envelope_form import EVENT_PREFIX, HASH_BYTES, MAX_EVENT_BYTES, entity_refusal
from audit.event.wire import LENGTHS

_TWO_NULLS = b"\x00\x00"
_FOUR_NULLS = b"\x00\x00\x00\x00"
_SIX_NULLS = b"\x00\x00\x00\x00\x00\x00"
_MORE_BITS = 0x8080808080808080
_EIGHT_GROUPS = 0x0080808080808080
"""Eight bytes of a number that takes exactly eight, under the mask of the bits for "more follow".

Today's times do, and none of eight bytes is outside the years 0001 to 9999.
"""
_LAST_COUNT = 8
"""A count of at most nine groups is within 63 bits."""
_LONGEST = 63
"""Longest text whose size takes one byte; within the limit of every field."""


class Names(NamedTuple):
    """Type, source (UTF-8) and entity type of an event, and whether it must have a key."""

    type: str
    source: bytes
    entity_type: str | None
    needs_key: bool


def names_bytes(type_: str, source: bytes, entity_type: str | None) -> bytes | None:
    """How the three stand in an event; None when one of their sizes takes more than one byte."""
    named = type_.encode()
    entity = b"" if entity_type is None else entity_type.encode()
    if max(len(named), len(source), len(entity)) > _LONGEST:
        return None
    start = LENGTHS[len(named)] + named + LENGTHS[len(source)] + source
    return start + (b"\x00" if entity_type is None else b"\x02" + LENGTHS[len(entity)] + entity)


def names_of(type_: str, source: bytes, entity_type: str | None) -> Names:
    """The names of a decoded event, to be known by their bytes."""
    return Names(type_, source, entity_type, entity_refusal(type_, entity_type, None) is not None)


def scan_event(
    data: bytes, known: Mapping[bytes, Names]
) -> tuple[Names, bytes, bytes | None] | None:
    """(names, event id, entity key) of a plain event with known names; None for all others.

    `known`: names by their bytes. Not None means that `decode_event` takes the bytes, too.
    """
    if len(data) > MAX_EVENT_BYTES or data[:10] != EVENT_PREFIX:
        return None
    try:
        size = data[10]
        if size & 0x81 or not size:
            return None
        end = 11 + (size >> 1)
        # Whatever these sizes are: the slice is known only where they are of one byte.
        pos = end + 1 + (data[end] >> 1)
        pos += 1 + (data[pos] >> 1)
        pos += 2 + (data[pos + 1] >> 1) if data[pos] else 1
        names = known.get(data[end:pos])
        if names is None:
            return None
        key = None
        branch = data[pos]
        if branch:
            size = data[pos + 1]
            if branch != 2 or size & 0x81 or names[2] is None:
                return None
            start = pos + 2
            pos = start + (size >> 1)
            key = data[start:pos]
        elif names[3]:
            return None
        else:
            pos += 1
        # The sizes among the texts are ASCII too, being below 128. A slice that reaches past the
        # end is found by the next index, or by the comparison at the end.
        if not data[11:pos].isascii():
            return None
        branch = data[pos]
        pos += 1
        if branch:
            groups = int.from_bytes(data[pos : pos + 8], "little")
            pos += 8
            if branch != 2 or groups & _MORE_BITS != _EIGHT_GROUPS or not data[pos - 1]:
                return None
        pos = _after_texts(data, pos)
        return (names, data[11:end], key) if pos and _ends_plainly(data, pos) else None
    except IndexError:
        return None


def _after_texts(data: bytes, pos: int) -> int:
    """The position after actor to trace_id, payload schema and payload; 0 if they are not plain."""
    if data[pos : pos + 6] == _SIX_NULLS:
        pos += 6
    else:
        start = pos
        for _ in range(6):
            branch = data[pos]
            pos += 1
            if branch:
                size = data[pos]
                if branch != 2 or size & 0x81:
                    return 0
                pos += 1 + (size >> 1)
        if not data[start:pos].isascii():
            return 0
    branch = data[pos]
    pos += 1
    if branch:
        if branch != 2:
            return 0
        pos += HASH_BYTES
    size = data[pos]
    pos += 1
    if size >= 0x80:
        more = data[pos]
        if more >= 0x80 or not more:
            return 0
        size = size & 0x7F | more << 7
        pos += 1
    return 0 if size & 1 else pos + (size >> 1)


def _ends_plainly(data: bytes, pos: int) -> bool:
    """Whether from `pos` on there is no subject and no encryption, and a plain producer or none."""
    if data[pos:] == _FOUR_NULLS:
        return True
    if data[pos : pos + 2] != _TWO_NULLS:
        return False
    pos += 2
    branch = data[pos]
    pos += 1
    if branch:
        size = data[pos]
        if branch != 2 or size & 0x81:
            return False
        start = pos + 1
        pos = start + (size >> 1)
        if not data[start:pos].isascii():
            return False
    branch = data[pos]
    pos += 1
    if branch:
        first = pos
        if branch != 2 or data[pos] & 1:
            return False
        while data[pos] >= 0x80:
            pos += 1
        # A last group of zeros would be a longer form than needed.
        if pos - first > _LAST_COUNT or (pos > first and not data[pos]):
            return False
        pos += 1
    return pos == len(data)

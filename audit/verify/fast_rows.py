"""The fast lane of step 6: rows that are exactly what the plain checks have accepted before.

A verifier decodes every entry. Most rows of a log look alike, so this lane turns the question
round: from the index columns, the position and the hash before, it builds the bytes that the leaf
must begin with, and compares them at once. What follows is walked over field by field. It takes a
row only if every check of the plain form would pass; whatever it does not recognise - another kind,
a long text, a character beyond ASCII, a source of events not seen yet, an offset that is not the
next one of its partition, or any difference - is left to that plain form, which alone makes
findings. So it can be slow for a row, but not wrong.

Layouts: `audit.log.entry` and `audit.event.envelope`.
"""

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import repeat
from operator import itemgetter
from typing import Any

from audit.event.envelope import (
    EVENT_PREFIX,
    EVENT_SCHEMA_HASH,
    MAX_EVENT_ID_BYTES,
    MAX_KEY_BYTES,
    Event,
)
from audit.event.wire import LENGTHS, encode_long
from audit.log.entry import LEAF_PREFIX as ENTRY_PREFIX
from audit.log.entry import SIGNATURE_BYTES
from audit.tlog.hashing import HASH_BYTES
from audit.verify.fast_numbers import NO_PAGE, FastNumbers
from audit.verify.steps.numbers import ProducerNumbers

MAX_REMEMBERED = 4_096
"""Combinations of type, source and entity type, and producers, that the lane knows at once."""

MIN_NUMBER = 64
"""Below it an index or a time takes one byte; the lane knows only the longer form."""

_TEXTS = 6
_MIN_EVENT_BYTES = 64
_EVENT = 0

_NULL = b"\x00"
_SOME = b"\x02"
_FOUR_NULLS = bytes(4)
_LOW = tuple(bytes((low << 1 | 0x80,)) for low in range(64))
"""First byte of a zigzag varint of 64 or more, by the number's lowest six bits."""
_ID_LENGTHS = {size: LENGTHS[size] for size in range(1, MAX_EVENT_ID_BYTES + 1)}
_source_and_id = itemgetter(5, 6)
_SIZES = tuple(length + EVENT_PREFIX for length in LENGTHS)
"""The event's length, of two bytes from 64 on, and what an event begins with."""
_KEY_LENGTHS = tuple(_SOME + length for length in LENGTHS[: MAX_KEY_BYTES + 1])
# kind EVENT, schema_hash event.v1; what follows is the source, then the reason and the signature.
_BEGIN = _NULL + _SOME + EVENT_SCHEMA_HASH
_UNSIGNED = _NULL + _NULL
_SIGNED = _NULL + _SOME + LENGTHS[SIGNATURE_BYTES]
_ENDS = (len(_UNSIGNED), len(_SIGNED) + SIGNATURE_BYTES)
# All of a leaf before its event, but two varints and what `middle` is below.
_HEAD_BYTES = len(ENTRY_PREFIX) + 2 + HASH_BYTES + 2

_EVEN = b"".join(b"\\x%02x" % low for low in range(0, 128, 2))
_EVEN_MORE = b"".join(b"\\x%02x" % low for low in range(128, 256, 2))
# A valid time of eight bytes is one between 1979 and 3111: inside every limit.
_VALID_TIME = rb"(?:\x00|\x02[\x80-\xff]{7}[\x01-\x7f])"
_match_valid_time = re.compile(_VALID_TIME).match
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
    """What the lane has learned. `index`, `last_us` and `prev_hash` say where the walk stands.

    `place`: topic and partition, as encoded, of which `offset` comes next; empty: no source. To
    scan, the walk must stand at an index and a time of MIN_NUMBER or more.
    """

    def __init__(self, numbers: ProducerNumbers | None = None) -> None:
        self.index = 0
        self.last_us = 0
        self.prev_hash = b""
        self.place = b""
        self.offset = 0
        self._numbers = FastNumbers()
        self._counted = numbers
        self._with_key: dict[tuple[str | None, bytes | None, str | None], bytes] = {}
        self._without_key: dict[tuple[str | None, bytes | None, str | None], bytes] = {}
        self._producers: set[bytes] = set()
        self._links = b"\xff"  # matches nothing

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
        if event.producer_id is not None:
            producer = event.producer_id.encode()
            if len(producer) < 64 and len(self._producers) < MAX_REMEMBERED:
                prefix = _NULL + _NULL + _SOME + LENGTHS[len(producer)] + producer
                self._producers.add(prefix)
                self._numbers.learn(prefix + _SOME, event.producer_id, event.source)

    def learn_place(self, topic: str, partition: int) -> None:
        """Remember where the entries of this log come from."""
        if not self.place:
            # Numbers of events that came from no source do not count.
            self._numbers.restart(self._counted)
        raw = topic.encode()
        self.place = _SOME + LENGTHS[len(raw)] + raw + encode_long(partition)

    def finish(self) -> None:
        """Hand over the producers' numbers."""
        self._numbers.finish()

    def scan(self, rows: Sequence[Any], at: int, following: Iterator[Any], out: Scanned) -> int:
        """Take rows from `at` on while they are recognised; gives the number of the first other.

        `following` gives the rows from `at` on; the first other one is taken from it, too.
        """
        index, last_us, prev_hash, links = self.index, self.last_us, self.prev_hash, self._links
        index_high, us_high, index_tail, us_tail, head = -1, -1, b"", b"", 0
        with_key, without_key, add_hash = self._with_key, self._without_key, out.leaf_hashes.append
        page_of = self._numbers.pages.get
        try:
            for row, begin in zip(following, self._begins(), strict=False):
                # Shifting refuses all but integers, and there is one integer 0: types are checked.
                index_, leaf, us, kind, type_, source, event_id, entity, key, signature = row
                if index_ != index or kind is not _EVENT or us <= last_us:
                    break
                if index_ >> 6 != index_high or us >> 6 != us_high:
                    index_high, us_high = index_ >> 6, us >> 6
                    index_tail, us_tail = _varint(index_high), _varint(us_high)
                    head = _HEAD_BYTES + len(index_tail) + len(us_tail)
                signed = _UNSIGNED if signature is None else _SIGNED + signature
                size = len(leaf) - head - len(begin) - len(signed)
                if size < _MIN_EVENT_BYTES or not event_id.isascii() or len(signed) not in _ENDS:
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
                        prev_hash, begin, signed, _SIZES[size],
                        _ID_LENGTHS[len(event_id)], event_id, about,
                    )
                )  # fmt: skip
                end = _match_valid_time(leaf, len(expected)).end()  # type: ignore[union-attr]
                # No encoding of these fields begins another one: so this is the known one.
                if not leaf.startswith(links, end):
                    links = _links_at(leaf, end)
                end += len(links)
                low = leaf[end]
                if low < 0x80:
                    rest = leaf[end + 1 + (low >> 1) :]
                else:
                    high = leaf[end + 1]
                    rest = leaf[end + 2 + ((low & 0x7F) >> 1 | high << 6) :]
                    low |= not 0 < high < 0x80  # then odd, which is refused
                if low & 1 or not leaf.startswith(expected):
                    break
                if rest != _FOUR_NULLS:
                    end = 5 + (rest[3] >> 1)
                    after, places, marks, _ = page_of(rest[:end], NO_PAGE)
                    place = places.get(rest[end : end + 2])
                    if place is not None and rest[end + 2 :] == after:
                        marks[place] = 1
                    elif not self._ends(rest):
                        break
                prev_hash = sha256(b"\x00" + leaf).digest()
                add_hash(prev_hash)
                if signature is not None:
                    out.signed.append((index, leaf[-size:], signature))
                last_us, index = us, index + 1
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            pass  # a value of another type, length or combination: not a row for this lane
        taken = at + index - self.index
        out.id_hashes.extend(map(hash, map(_source_and_id, rows[at:taken])))
        self.offset += index - self.index
        self.index, self.last_us, self.prev_hash, self._links = index, last_us, prev_hash, links
        return taken

    def _begins(self) -> Iterator[bytes]:
        """Kind, schema and source of each of the next rows."""
        if self.place and self.offset >= MIN_NUMBER:
            return _from_source(_BEGIN + self.place, self.offset)
        return repeat(_BEGIN + _NULL)

    def _ends(self, rest: bytes) -> bool:
        """Whether an event may end so: no subject, no encryption, a known producer, its number."""
        end = 4 + (rest[3] >> 1)
        if rest[:end] not in self._producers or _is_sequence(rest, end) is None:
            return False
        if rest[end]:
            self._numbers.note(rest, end + 1)
        return True


def _from_source(begin: bytes, offset: int) -> Iterator[bytes]:
    """`begin`, then an offset and the next one: from `offset` on, without end."""
    current = _LOW[offset & 63] + _varint(offset >> 6)
    while True:
        offset += 1
        tail = _varint(offset >> 6)
        for low in _LOW[offset & 63 :]:
            following = low + tail
            yield begin + current + following
            current = following
        offset |= 63


def _links_at(leaf: bytes, at: int) -> bytes:
    """Six texts and the payload schema, as encoded. Raises IndexError for what is not short."""
    begin = at
    for _ in range(_TEXTS):
        branch = leaf[at]
        at += 1
        if branch:
            length = leaf[at]
            text = leaf[at + 1 : at + 1 + (length >> 1)]
            if branch != 2 or length & 0x81 or not text.isascii():
                raise IndexError
            at += 1 + len(text)
    if leaf[at] == 2:
        at += HASH_BYTES
    elif leaf[at]:
        raise IndexError
    if at >= len(leaf):
        raise IndexError
    return leaf[begin : at + 1]


def _varint(number: int) -> bytes:
    """The groups of a varint that follow its first byte."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)

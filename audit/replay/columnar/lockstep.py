"""Avro primitives of many byte strings at once: all of them advance field by field, with numpy.

The byte strings lie one behind the other in one buffer. A `Cursor` holds for each how far it is
read; reading a field gives an array, and a reader that meets what is not as it must be is marked
`bad` and goes on over whatever is there. So a position is believed only once `finish` has said
which ones ended exactly where their bytes do: positions never go back, so these never left them.

Strictness is that of `audit.event.wire`: the shortest form of every number, nothing past the end.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audit.event.wire import MAX_INT64

Longs = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Raw = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]

PADDING_BYTES = 16
"""Zeros behind the last byte string: a number may be looked at as two words of eight bytes."""
MAX_SOURCE_BYTES = 2**31 - 1 - PADDING_BYTES
"""Positions in a buffer are offsets of 32 bits in Arrow."""

_MORE = np.uint64(0x8080_8080_8080_8080)
_LOW = np.uint64(0x7F7F_7F7F_7F7F_7F7F)
_ONE = np.uint64(1)


class Source:
    """Byte strings in one buffer: `data` uint8, `start` and `end` int64, one a string."""

    def __init__(self, strings: Sequence[bytes]) -> None:
        """Join them. The caller keeps them below MAX_SOURCE_BYTES together."""
        self.size = sum(map(len, strings))
        self.data: Raw = np.frombuffer(b"".join((*strings, bytes(PADDING_BYTES))), dtype=np.uint8)
        self.words: Words = np.ndarray(
            shape=(len(self.data) - 7,), dtype="<u8", buffer=self.data, strides=(1,)
        )
        lengths = np.fromiter(map(len, strings), dtype=np.int64, count=len(strings))
        self.end: Longs = np.cumsum(lengths)
        self.start: Longs = self.end - lengths
        self._arrow = pa.py_buffer(self.data)

    def spans(self, start: Longs, end: Longs, null: Flags | None = None) -> "pa.Array":
        """The bytes from `start` to `end` of each, as an Arrow binary array; null where so marked.

        The spans come in the order of the buffer and do not overlap.
        """
        count = len(start)
        if not count:
            return pa.array([], pa.binary())
        offsets = np.empty(2 * count + 1, dtype=np.int32)
        offsets[0:-1:2] = start
        offsets[1::2] = end
        offsets[-1] = end[-1]
        # Each span and the gap behind it are elements; the spans are taken, with one copy.
        every = pa.Array.from_buffers(
            pa.binary(), 2 * count, [None, pa.py_buffer(offsets), self._arrow]
        )
        evens = np.arange(0, 2 * count, 2, dtype=np.int64)
        return every.take(pa.array(evens, mask=null))


def not_utf8(texts: "pa.Array") -> Longs:
    """Which of the byte strings are no UTF-8 text: their numbers, mostly none."""
    try:
        texts.cast(pa.large_string() if pa.types.is_large_binary(texts.type) else pa.string())
    except pa.ArrowInvalid:
        bad = [at for at, text in enumerate(texts.to_pylist()) if not _is_utf8(text)]
        return np.array(bad, dtype=np.int64)
    return np.zeros(0, dtype=np.int64)


def _is_utf8(text: bytes | None) -> bool:
    try:
        return text is None or text.decode() is not None
    except UnicodeDecodeError:
        return False


class Cursor:
    """Reads fields of many byte strings. `rows` says of which (indexes; None: of all)."""

    def __init__(self, source: Source, start: Longs, end: Longs) -> None:
        """From `start` to `end` of each."""
        self.source = source
        self.pos: Longs = start.copy()
        self.end = end
        self.bad: Flags = np.zeros(len(start), dtype=np.bool_)

    def finish(self) -> Flags:
        """Which ones were read wholly and rightly: from here on their positions can be believed."""
        good: Flags = ~self.bad & (self.pos == self.end)
        return good

    def _at(self, rows: Longs | None) -> Longs:
        return self.pos if rows is None else self.pos[rows]

    def _move(self, rows: Longs | None, to: Longs) -> None:
        # Past the end of the buffer there is nothing to look at; a reader there is bad by `end`,
        # unless it is the last one, whose end that is: so it is marked here.
        beyond = to > self.source.size
        if beyond.any():
            self.mark(rows, beyond)
            to = np.minimum(to, self.source.size)
        if rows is None:
            self.pos = to
        else:
            self.pos[rows] = to

    def mark(self, rows: Longs | None, which: Flags) -> None:
        """These do not hold what they must."""
        if rows is None:
            self.bad |= which
        else:
            self.bad[rows[which]] = True

    def skip(self, count: int | Longs, rows: Longs | None = None) -> Longs:
        """Go over so many bytes, 0 or more; gives where they begin."""
        at = self._at(rows)
        self._move(rows, at + count)
        return at

    def byte(self, rows: Longs | None = None) -> Raw:
        """One byte: uint8."""
        at = self._at(rows)
        self._move(rows, at + 1)
        return self.source.data[at]

    def optional(self, rows: Longs | None = None) -> Longs:
        """The branch of a union of null and one type: the rows that have one."""
        branch = self.byte(rows)
        some = branch == 2
        wrong = (branch != 0) & ~some
        if wrong.any():
            self.mark(rows, wrong)
        found = np.flatnonzero(some)
        return found if rows is None else rows[found]

    def long(self, rows: Longs | None = None) -> Longs:
        """A number: int64."""
        at = self._at(rows)
        first = self.source.data[at]
        value = (first >> 1).astype(np.int64)
        np.negative(value + 1, out=value, where=(first & 1).astype(np.bool_))
        after = at + 1
        longer = np.flatnonzero(first & 0x80)
        if len(longer):
            value[longer], length, wrong = self._longer(at[longer])
            after[longer] += length - 1
            if wrong.any():
                self.mark(longer if rows is None else rows[longer], wrong)
        self._move(rows, after)
        return value

    def _longer(self, at: Longs) -> tuple[Longs, Longs, Flags]:
        """(value, bytes, is wrong) of numbers of two bytes and more."""
        word = self.source.words[at]
        stop = ~word & _MORE
        stop &= ~stop + _ONE  # the lowest: where the number ends; 0 when it is not within 8 bytes
        below = stop - _ONE
        length = (np.bitwise_count(below) >> 3).astype(np.int64) + 1
        word &= stop | below
        top = np.minimum(length, 8) - 1
        wrong = (word >> (top * 8).astype(np.uint64)) & np.uint64(0x7F) == 0
        word &= _LOW
        word = (
            word & np.uint64(0x007F_007F_007F_007F)
            | (word & np.uint64(0x7F00_7F00_7F00_7F00)) >> _ONE
        )
        word = word & np.uint64(0x0000_3FFF_0000_3FFF) | (
            word & np.uint64(0x3FFF_0000_3FFF_0000)
        ) >> np.uint64(2)
        word = word & np.uint64(0x0FFF_FFFF) | (
            word & np.uint64(0x0FFF_FFFF_0000_0000)
        ) >> np.uint64(4)
        longest = np.flatnonzero(stop == 0)
        if len(longest):
            word[longest], length[longest], wrong[longest] = self._longest(
                at[longest], word[longest]
            )
        sign = (~(word & _ONE) + _ONE) & np.uint64(0xFFFF_FFFF_FFFF_FFFF)
        return ((word >> _ONE) ^ sign).view(np.int64), length, wrong

    def _longest(self, at: Longs, low: Words) -> tuple[Words, Longs, Flags]:
        """The same of numbers of nine and ten bytes, of which `low` has the first eight."""
        ninth = self.source.data[np.minimum(at + 8, self.source.size)]
        tenth = self.source.data[np.minimum(at + 9, self.source.size)]
        is_ten = ninth >= 0x80
        word = low | (ninth & np.uint8(0x7F)).astype(np.uint64) << np.uint64(56)
        word |= is_ten.astype(np.uint64) << np.uint64(63)
        wrong = np.where(is_ten, tenth != 1, ninth == 0)
        return word, np.where(is_ten, 10, 9), wrong

    def count(self, rows: Longs | None = None, most: int = MAX_INT64) -> Longs:
        """A number that is not negative, and at most `most`; 0 where it is not so."""
        value = self.long(rows)
        wrong = (value < 0) | (value > most)
        if wrong.any():
            self.mark(rows, wrong)
            value[wrong] = 0
        return value

    def sized(self, most: int, rows: Longs | None = None) -> tuple[Longs, Longs]:
        """Bytes or a text of at most `most` bytes: where each begins and ends."""
        size = self.count(rows, most)
        start = self._at(rows)
        end = start + size
        self._move(rows, end)
        return start, end

    def equal(self, start: Longs, content: bytes) -> Flags:
        """Whether the bytes at `start` are these."""
        same = np.ones(len(start), dtype=np.bool_)
        for at, byte in enumerate(content):
            same &= self.source.data[np.minimum(start + at, self.source.size)] == byte
        return same

"""Avro's binary primitives, strictly: the shortest form of every number, nothing read past the end.

From the Avro 1.11 specification, "Binary Encoding": int and long are zig-zag numbers in groups of
seven bits, least significant first; string and bytes are a long (the size) and the bytes; double is
8 bytes, IEEE 754, little endian.

A number in a longer form than needed is refused, so that a value has one encoding.
"""

from functools import cache
from struct import Struct

from audit.errors import FormatError, InvalidInput

MIN_INT64 = -(2**63)
MAX_INT64 = 2**63 - 1
MAX_INT32 = 2**31 - 1
MIN_INT32 = -(2**31)
MAX_VARINT_BYTES = 10
"""A 64-bit number takes at most ten groups of seven bits."""

_MAX_ZIGZAG = 2**64 - 1
_word = Struct("<Q")


def encode_long(value: int) -> bytes:
    """Avro long. Raises InvalidInput for an integer beyond 64 bits."""
    if not MIN_INT64 <= value <= MAX_INT64:
        raise InvalidInput(f"integer of {value.bit_length()} bits does not fit 64 bits: refused")
    rest = (value << 1) ^ (value >> 63)
    if rest < 0x80:
        return bytes((rest,))
    if rest < _FIRST_REMEMBERED:
        return _groups(rest)
    # Times and indexes: the upper groups are those of the numbers just before and after.
    high = rest >> 14
    upper = _uppers.get(high)
    if upper is None:
        if len(_uppers) >= _MAX_UPPERS:
            _uppers.clear()
        upper = _uppers[high] = _groups(high)
    return _MORE[rest & 0x7F] + _MORE[rest >> 7 & 0x7F] + upper


def _groups(rest: int) -> bytes:
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


_FIRST_REMEMBERED = 1 << 14
_MAX_UPPERS = 1_024
_MORE = tuple(bytes((low | 0x80,)) for low in range(128))
_uppers: dict[int, bytes] = {}


def encode_run(first: int, count: int) -> list[bytes]:
    """`encode_long` of `count` numbers from `first` (0 or more) on: for those that go by ones."""
    numbers = range(first, first + count)
    if count < _SHORT_RUN or first < _FIRST_REMEMBERED or numbers[-1] > MAX_INT64:
        return [encode_long(number) for number in numbers]
    pairs = _pairs()
    out: list[bytes] = []
    while len(out) < count:
        number = first + len(out)
        low = number & _PAIRS - 1
        upper = _groups(number >> 13)
        out += [pair + upper for pair in pairs[low : low + count - len(out)]]
    return out


_SHORT_RUN = 64
_PAIRS = 1 << 13
"""Numbers that share all but the two lowest groups of their zigzag form."""


@cache
def _pairs() -> tuple[bytes, ...]:
    """The two lowest groups of each, with the mark that more follow."""
    return tuple(_MORE[n << 1 & 0x7F] + _MORE[n << 1 >> 7 & 0x7F] for n in range(_PAIRS))


LENGTHS: tuple[bytes, ...] = tuple(encode_long(size) for size in range(4097))
"""Encoded longs 0..4096: sizes of nearly everything, ready made."""


def encode_size(size: int) -> bytes:
    """Avro long of a size (0 or more)."""
    return LENGTHS[size] if size <= 4096 else encode_long(size)


def decode_long(data: bytes, pos: int) -> tuple[int, int]:
    """Avro long at `pos`: (value, position after it). Raises FormatError."""
    try:
        byte = data[pos]
        if byte < 0x80:
            return (byte >> 1) ^ -(byte & 1), pos + 1
        if len(data) - pos >= 8:
            (word,) = _word.unpack_from(data, pos)
            if word & 0x8080_8080_8080_8080 == 0x80_8080_8080_8080 and word >> 56:
                # Eight bytes (see encode_long): gathered by halves.
                word &= 0x7F7F_7F7F_7F7F_7F7F
                word = word & 0x7F_007F_007F_007F | (word & 0x7F00_7F00_7F00_7F00) >> 1
                word = word & 0x3FFF_0000_3FFF | (word & 0x3FFF_0000_3FFF_0000) >> 2
                word = word & 0x0FFF_FFFF | (word & 0x0FFF_FFFF_0000_0000) >> 4
                return (word >> 1) ^ -(word & 1), pos + 8
        rest = byte & 0x7F
        shift = 7
        start = pos
        while True:
            pos += 1
            byte = data[pos]
            rest |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if pos - start >= MAX_VARINT_BYTES:
                raise FormatError(f"number at byte {start} is longer than 64 bits")
    except IndexError:
        raise FormatError(f"the bytes end inside a number (at byte {pos})") from None
    if byte == 0:
        raise FormatError(f"number at byte {start} is not in its shortest form")
    if rest > _MAX_ZIGZAG:
        raise FormatError(f"number at byte {start} is longer than 64 bits")
    return (rest >> 1) ^ -(rest & 1), pos + 1


def decode_size(data: bytes, pos: int) -> tuple[int, int]:
    """A size at `pos`: (size, position after it). It fits into what is left, else FormatError."""
    size, after = decode_long(data, pos)
    if size < 0:
        raise FormatError(f"negative size at byte {pos}")
    if size > len(data) - after:
        raise FormatError(f"size {size} at byte {pos} reaches past the end of the bytes")
    return size, after


def decode_bytes(data: bytes, pos: int) -> tuple[bytes, int]:
    """Avro bytes at `pos`: (value, position after it). Raises FormatError."""
    size, start = decode_size(data, pos)
    end = start + size
    return data[start:end], end


def decode_text(data: bytes, pos: int) -> tuple[str, int]:
    """Avro string at `pos`: (value, position after it). Raises FormatError, also for bad UTF-8."""
    size, start = decode_size(data, pos)
    end = start + size
    try:
        return str(data[start:end], "utf-8"), end
    except UnicodeDecodeError:
        raise FormatError(f"text at byte {pos} is not UTF-8") from None


def decode_count(data: bytes, pos: int, item_bytes: int) -> tuple[int, int, int | None]:
    """The head of an array or map block: (count, position of its first item, end if it says one).

    A count of 0 ends the array. `item_bytes` is the least that one item takes, so that a claimed
    count that cannot be there is refused before anything is made. Raises FormatError.
    """
    count, after = decode_long(data, pos)
    end: int | None = None
    if count < 0:
        count = -count
        size, after = decode_size(data, after)
        end = after + size
    if count * item_bytes > len(data) - after:
        raise FormatError(f"{count} items claimed at byte {pos} do not fit into the bytes")
    return count, after, end

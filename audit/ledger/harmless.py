"""Text from outside made harmless to look at: nothing in it moves a cursor or hides a word."""

import re
import unicodedata
from collections.abc import Iterator

_DANGEROUS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0 and C1 control characters, ESC and CSI among them
    "\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"  # invisible, line ends, changes of direction
    "\ud800-\udfff]"  # lone surrogates: bytes of the command line that are not UTF-8
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

ELLIPSIS = "…"


def harmless(text: str) -> str:
    """The text with every dangerous character spelled out: \\n, \\x1b, \\u202e."""
    return _DANGEROUS.sub(_spelled, text)


def harmless_json(text: str) -> str:
    """JSON text with the same characters as JSON escapes. Line feeds between tokens stay."""
    return _DANGEROUS.sub(_json_spelled, text)


def _spelled(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _json_spelled(match: re.Match[str]) -> str:
    # JSON itself escapes everything below U+0020 inside strings; a line feed is layout.
    return "\n" if match[0] == "\n" else f"\\u{ord(match[0]):04x}"


def hex_dump(data: bytes, bytes_a_line: int) -> Iterator[str]:
    """Lines of offset, hex and printable ASCII."""
    for at in range(0, len(data), bytes_a_line):
        part = data[at : at + bytes_a_line]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{at:6d}  {part.hex(' ', 4):<{bytes_a_line * 2 + bytes_a_line // 4}} {text}"


def width(text: str) -> int:
    """Columns that harmless text takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def shortened(text: str, columns: int) -> str:
    """Harmless text that takes at most so many columns; what is cut off leaves an ellipsis."""
    if width(text) <= columns:
        return text
    kept, used = [], 1
    for character in text:
        used += width(character)
        if used > columns:
            break
        kept.append(character)
    return "".join(kept) + ELLIPSIS

"""Strict reading of the decimals and base64 that notes are made of: one spelling per value."""

import re
from base64 import b64encode
from binascii import Error as BinasciiError
from binascii import a2b_base64

from audit.errors import FormatError
from audit.tlog.hashing import MAX_SIZE

MAX_DECIMAL_DIGITS = 19
"""Digits of 2^63-1, the largest number in any of these formats."""

_DECIMAL = re.compile(r"0|[1-9][0-9]*", re.ASCII)


def parse_decimal(text: str, what: str) -> int:
    """Return a number between 0 and 2^63-1: ASCII digits, no sign, no leading zero.

    `what` names the number in the FormatError.
    """
    # Not int() alone: it takes "+7", " 7", "7_0" and the digits of any script.
    if len(text) <= MAX_DECIMAL_DIGITS and _DECIMAL.fullmatch(text):
        value = int(text)
        if value <= MAX_SIZE:
            return value
    raise FormatError(f"{what} is not a decimal number between 0 and 2^63-1")


def encode_base64(data: bytes) -> str:
    """Return standard base64 with padding (RFC 4648 section 4)."""
    return b64encode(data).decode("ascii")


def parse_base64(text: str, what: str) -> bytes:
    """Return the bytes of standard, padded, canonical base64 (RFC 4648 section 4).

    `what` names the data in the FormatError.
    """
    try:
        data = a2b_base64(text.encode("ascii"), strict_mode=True)
    except (BinasciiError, UnicodeEncodeError):
        raise FormatError(f"{what} is not standard base64") from None
    # Even strict mode takes "QR==" for "QQ==": two spellings of one value.
    if encode_base64(data) != text:
        raise FormatError(f"{what} is not canonical base64")
    return data

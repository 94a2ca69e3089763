"""Reading what comes in by stdin, with a limit."""

import sys

from audit.errors import FormatError, LimitExceeded

MAX_STDIN_BYTES = 1_000_000
"""More than any event may have, in JSON's longest spelling of 64,000 bytes."""


def read_text() -> str:
    """All of stdin as UTF-8 text. Raises LimitExceeded, FormatError."""
    data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(data) > MAX_STDIN_BYTES:
        raise LimitExceeded(f"stdin holds more than {MAX_STDIN_BYTES} bytes; one event is smaller")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise FormatError("stdin is not UTF-8 text") from None

"""What Debezium puts where its source did not send a value: in each type its own spelling.

PostgreSQL leaves large values that did not change out of its log. An event then holds a text that
stands for "unchanged": as text, as bytes (in JSON base64 or hex), alone in an array of either, as
the UUID that Java makes of its bytes, as one number for each byte in an array of numbers, and as
the only pair of an hstore.
"""

import base64
import hashlib
import uuid
from typing import Any

from audit.errors import InvalidInput
from audit.replay.rows import UNAVAILABLE

MAX_PLACEHOLDER_BYTES = 1_024


class Placeholder:
    """Knows the spellings. In events all of them become the one that replay knows."""

    def __init__(self, text: str = UNAVAILABLE) -> None:
        """`text`: the connector's `unavailable.value.placeholder`. Raises InvalidInput."""
        raw = text.encode(errors="replace")
        if not 0 < len(raw) <= MAX_PLACEHOLDER_BYTES:
            raise InvalidInput(f"a placeholder has 1 to {MAX_PLACEHOLDER_BYTES} bytes")
        encoded = (base64.b64encode(raw), base64.urlsafe_b64encode(raw), raw.hex().encode())
        self._texts = frozenset({text, *(each.decode() for each in encoded)})
        self._raw = raw
        digest = hashlib.md5(raw, usedforsecurity=False).digest()
        self._uuid = str(uuid.UUID(bytes=digest, version=3))
        # Java's bytes have a sign.
        self._numbers = [byte - 256 if byte > 127 else byte for byte in raw]
        self._pair = {text: text}

    def replaced(self, value: Any) -> Any:
        """The value itself; the placeholder in any spelling as `UNAVAILABLE`."""
        kind = type(value)
        if kind is str:
            return UNAVAILABLE if value in self._texts else value
        if kind is bytes:
            return UNAVAILABLE if value == self._raw else value
        if kind is list:
            return UNAVAILABLE if value and self._is_list(value) else value
        if kind is dict and len(value) == 1 and value == self._pair:
            return UNAVAILABLE
        return value

    def _is_list(self, value: list[Any]) -> bool:
        first = value[0]
        if type(first) in (str, bytes):
            alone = first in self._texts or first in (UNAVAILABLE, self._raw, self._uuid)
            return len(value) == 1 and alone
        if len(value) != len(self._numbers) or type(first) is bool:
            return False
        return value == self._numbers

"""A change to one row without a declared schema: the bytes of `row.v1`.

    Row = image enum (patch, full), before [null, fields], after [null, fields]

null is a value and absent is absent: {"a": None} and {} are different rows.
"""

from typing import Any, NamedTuple

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.fields import decode_fields, encode_fields
from audit.event.shown import shown

MAX_ROW_BYTES = 64_000
"""A row is inside an event, which is not longer than that."""
PATCH = "patch"
FULL = "full"

_IMAGE_BYTE = {PATCH: b"\x00", FULL: b"\x02"}
_BYTE_IMAGE = {0: PATCH, 2: FULL}


class Change(NamedTuple):
    """What happened to a row: how much of it is here, the values before and those after."""

    image: str
    """"patch": only what changed; "full": the whole row, fields not in `after` are gone."""
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def encode_row(change: Change) -> bytes:
    """The bytes of a change; values are normalized. Raises InvalidInput, LimitExceeded."""
    image, before, after = change
    try:
        head = _IMAGE_BYTE[image]
    except (KeyError, TypeError):
        raise InvalidInput(f"image is 'patch' or 'full', not {shown(image)}") from None
    data = b"".join(
        (
            head,
            b"\x00" if before is None else b"\x02" + encode_fields(before),
            b"\x00" if after is None else b"\x02" + encode_fields(after),
        )
    )
    if len(data) > MAX_ROW_BYTES:
        raise LimitExceeded(f"row of {len(data)} bytes: at most {MAX_ROW_BYTES}")
    return data


def decode_row(data: bytes) -> Change:
    """The change in the bytes, all of them. Raises FormatError, LimitExceeded."""
    if type(data) is not bytes:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise FormatError(f"a row is bytes, not {type(data).__name__}")
        data = bytes(data)
    if len(data) > MAX_ROW_BYTES:
        raise LimitExceeded(f"row of {len(data)} bytes: at most {MAX_ROW_BYTES}")
    if not data or data[0] not in _BYTE_IMAGE:
        raise FormatError("row does not begin with an image (patch or full)")
    before, pos = _decode_optional(data, 1)
    after, pos = _decode_optional(data, pos)
    if pos != len(data):
        raise FormatError(f"row has {len(data) - pos} bytes after its end")
    return Change(_BYTE_IMAGE[data[0]], before, after)


def _decode_optional(data: bytes, pos: int) -> tuple[dict[str, Any] | None, int]:
    branch = data[pos] if pos < len(data) else 0xFF
    if branch == 0:
        return None, pos + 1
    if branch == 2:
        return decode_fields(data, pos + 1)
    raise FormatError(f"row is cut off or has no such branch at byte {pos}")

"""From a row of the outbox to its event, exactly; what cannot be one is refused with its reason.

The rows are from outside: an SQLite cell may hold any type, and anybody who may insert may insert
anything.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.errors import AuditError, InvalidInput, LimitExceeded
from audit.event.build import Built, data_event, record_event
from audit.event.envelope import Event, encode_event
from audit.event.normal import MAX_DEPTH
from audit.event.row import PATCH
from audit.event.shown import shown
from audit.event.types import CONTROL_TYPES, OPERATIONS, SCHEMA_SOURCE
from audit.event.valuejson import fields_from_json, parse_json
from audit.log.intake import LEDGER_SOURCE

GAP = "gap"
GAP_TYPE = "capture.gap"
"""Type of the event of a row `gap`: changes were made that capture could not see."""
MAX_IMAGE_CHARS = 500_000
"""Longest text of an image that is parsed at all; an event takes 64,000 bytes."""
MAX_FAILURE_CHARS = 500

_HEX = "$hex"


class Waiting(NamedTuple):
    """A row as it was read; any field may hold anything. `blocked`: an earlier one has failed."""

    id: int
    event_id: Any
    op: Any
    entity_type: Any
    entity_key: Any
    before: Any
    after: Any
    image: Any
    actor: Any
    reason: Any
    request_id: Any
    trace_id: Any
    transaction_id: Any
    occurred_us: Any
    blocked: Any


_TEXTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
"""Places in `Waiting` of what is text or null."""


def check_source(source: str) -> str:
    """The source itself. Raises InvalidInput for one that no event can have, LimitExceeded.

    Found out here, or every row would be refused, and set aside, for what is no fault of the row.
    """
    if source in (LEDGER_SOURCE, SCHEMA_SOURCE):
        raise InvalidInput(f"source {source!r} is the ledger's own: choose another name")
    encode_event(Event("probe", "capture.probe", source))
    return source


def built(row: Waiting, source: str) -> Built:
    """The event of a row. Raises InvalidInput, LimitExceeded: then it never will be one."""
    for place in _TEXTS:
        value = row[place]
        if value is not None and type(value) is not str:
            raise InvalidInput(f"column {row._fields[place]} holds {shown(value)}, and no text")
    if row.occurred_us is not None and type(row.occurred_us) is not int:
        raise InvalidInput(f"column occurred_us holds {shown(row.occurred_us)}, and no integer")
    before, after = _fields(row.before, "before"), _fields(row.after, "after")
    common = {
        "event_id": row.event_id,
        "source": source,
        "valid_time_us": row.occurred_us,
        "actor": row.actor,
        "reason": row.reason,
        "transaction_id": row.transaction_id,
        "request_id": row.request_id,
        "trace_id": row.trace_id,
    }
    if row.op in OPERATIONS:
        if row.entity_type is None:
            raise InvalidInput(f"{row.op} names no entity_type")
        if row.op == "truncate" and row.entity_key is not None:
            raise InvalidInput("truncate is about a whole dataset: no key")
        image = PATCH if row.image is None else row.image
        return data_event(
            row.op, row.entity_type, row.entity_key,
            before=before, after=after, image=image, **common,
        )  # fmt: skip
    return _record(row, before, after, common)


def _record(
    row: Waiting,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    common: dict[str, Any],
) -> Built:
    """An action that was taken, or a gap: its details are `after`."""
    if before is not None:
        raise InvalidInput(f"{shown(row.op)} is no change of a row: it has no values before it")
    type_ = GAP_TYPE if row.op == GAP else row.op
    if type_ in CONTROL_TYPES:
        raise InvalidInput(f"only the ledger itself says {type_}")
    return record_event(
        type_, after or {}, entity_type=row.entity_type, entity_key=row.entity_key, **common
    )


def _fields(text: str | None, side: str) -> dict[str, Any] | None:
    if text is None:
        return None
    if len(text) > MAX_IMAGE_CHARS:
        raise LimitExceeded(f"{side} of {len(text)} characters: at most {MAX_IMAGE_CHARS}")
    try:
        found = parse_json(text)
        if _HEX in text:
            found = _without_hex(found, 0)
        return fields_from_json(found)
    except AuditError as error:
        raise InvalidInput(f"{side}: {error}") from None


def _without_hex(value: Any, depth: int) -> Any:
    """The same with {"$hex": "00ff"} as {"$bytes": base64}: not every database has base64."""
    if depth > MAX_DEPTH + 1:
        raise LimitExceeded(f"value is nested deeper than {MAX_DEPTH} levels")
    if type(value) is list:
        return [_without_hex(item, depth + 1) for item in value]
    if type(value) is not dict:
        return value
    text = value.get(_HEX)
    # At the top stand the fields themselves: there it would be a column's name, not escaped.
    if depth and len(value) == 1 and type(text) is str:
        try:
            raw = binascii.unhexlify(text)
        except (binascii.Error, ValueError):
            raise InvalidInput(f"$hex {text[:32]!r} is not hexadecimal") from None
        return {"$bytes": base64.b64encode(raw).decode()}
    return {name: _without_hex(item, depth + 1) for name, item in value.items()}


def failure_text(error: AuditError) -> str:
    """Why a row is set aside, in one line that any database can keep."""
    text = str(error).replace("\n", "; ").replace("\x00", "\\0")[:MAX_FAILURE_CHARS]
    return f"{type(error).__name__}: {text}".encode(errors="replace").decode()

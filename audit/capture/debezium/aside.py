"""What cannot be taken in: an event that says where it was, why, and what it was, byte by byte.

It is a `capture.gap` in the ledger itself. Its id follows from what it says, so a repeat adds
nothing. Nothing waits behind it: a change event brings the whole row, so the next one of its key
heals the row; or an incremental snapshot, which Debezium makes of the table at any time.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from audit.capture.database.events import GAP_TYPE, failure_text
from audit.capture.debezium.identity import ID_HEX_DIGITS, Place
from audit.errors import AuditError
from audit.event.build import Built, record_event
from audit.kafka.transport import Fetched

GAP_PREFIX = "debezium-gap-"
MAX_KEPT_BYTES = 24_000
"""Longest key, and longest value, that stands in the event itself."""
WAY = "debezium"

Keep = Callable[[bytes], str]
"""Keeps bytes elsewhere and returns their digest."""


def set_aside(
    place: Place,
    message: Fetched,
    error: AuditError,
    source: str,
    *,
    entity: tuple[str | None, str | None] = (None, None),
    keep: Keep | None = None,
) -> Built:
    """The event for a message that is none. `keep`: where larger ones go; else a digest stands.

    `entity`: type and key of what it is about, where that is known.

    Raises Unavailable while larger ones cannot be kept.
    """
    data: dict[str, Any] = {"way": WAY, **place._asdict(), "why": failure_text(error)}
    for name, raw in (("key", message.key), ("value", message.value)):
        if raw is None:
            continue
        data[f"{name}_size_bytes"] = len(raw)
        if len(raw) <= MAX_KEPT_BYTES:
            data[name] = raw
        elif keep is not None:
            data[f"{name}_blob"] = keep(raw)
        else:
            data[f"{name}_digest"] = "sha256:" + sha256(raw).hexdigest()
    return _gap(data, source, *entity)


def lost(topic: str, partition: int, first: int, stop: int, source: str) -> Built:
    """The event for messages that the topic no longer had when they were to be read."""
    why = f"offsets {first} to {stop - 1} were deleted by the topic before they were read"
    data = {"way": WAY, "topic": topic, "partition": partition, "why": why}
    return _gap({**data, "first": first, "stop": stop}, source, None, None)


def _gap(
    data: dict[str, Any], source: str, entity_type: str | None, entity_key: str | None
) -> Built:
    said = repr((sorted(data.items()), source, entity_type, entity_key))
    event_id = GAP_PREFIX + sha256(said.encode(errors="replace")).hexdigest()[:ID_HEX_DIGITS]
    return record_event(
        GAP_TYPE,
        data,
        event_id=event_id,
        source=source,
        entity_type=entity_type,
        entity_key=entity_key,
    )

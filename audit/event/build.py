"""Making events: each with the schemas that must be in the log before it.

A builder returns (event, canonical schemas). An emitter sends `schema_event(canonical)` for each of
them to the partition first; a repeat of one is dropped like any duplicate.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from audit.errors import InvalidInput
from audit.event.canonical import builtin, canonical_schema, schema_hash
from audit.event.declared import DeclaredSchema, declare
from audit.event.envelope import Encryption, Event
from audit.event.ids import new_event_id
from audit.event.normal import key_text
from audit.event.payload import encode_record
from audit.event.row import FULL, PATCH, Change, encode_row
from audit.event.shown import shown
from audit.event.types import (
    LENIENT_TYPES,
    OPERATIONS,
    SCHEMA,
    SCHEMA_SOURCE,
    record_schema,
)

__all__ = ["Built", "data_event", "new_event_id", "record_event", "schema_event"]


class Built(NamedTuple):
    """An event, and the canonical schemas that must be in the log before it."""

    event: Event
    schemas: tuple[bytes, ...]


@lru_cache(maxsize=32)
def _hashed(name: str) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    canonical = builtin(name)
    return canonical, schema_hash(canonical), (canonical,)


def data_event(
    op: str,
    entity_type: str,
    key: Any,
    *,
    event_id: str,
    source: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    image: str = PATCH,
    declared: DeclaredSchema | dict[str, Any] | str | bytes | None = None,
    valid_time_us: int | None = None,
    actor: str | None = None,
    reason: str | None = None,
    transaction_id: str | None = None,
    supersedes: str | None = None,
    request_id: str | None = None,
    trace_id: str | None = None,
    subject: str | None = None,
    producer_id: str | None = None,
    producer_sequence: int | None = None,
) -> Built:
    """A change of data: `op` is create, update, delete or truncate (then `key` is None).

    With a declared schema full images are written in it (a create always is one); the columns of a
    patch are checked against it and written in row.v1.
    Raises InvalidInput naming the field, LimitExceeded.
    """
    type_ = OPERATIONS.get(op)
    if type_ is None:
        raise InvalidInput(f"op is one of {', '.join(OPERATIONS)}, not {shown(op)}")
    _check_images(op, key, before, after)
    change = Change(image, _plain(before, "before"), _plain(after, "after"))
    if declared is None:
        payload = encode_row(change)
        _, payload_schema, schemas = _hashed("row.v1")
    else:
        payload, payload_schema, schemas = _declared_payload(op, change, declare(declared))
    event = Event(
        event_id,
        type_,
        source,
        entity_type,
        None if op == "truncate" else key_text(key),
        valid_time_us,
        actor,
        reason,
        transaction_id,
        supersedes,
        request_id,
        trace_id,
        payload_schema,
        payload,
        subject,
        None,
        producer_id,
        producer_sequence,
    )
    return Built(event, schemas)


def _plain(fields: Mapping[str, Any] | None, side: str) -> dict[str, Any] | None:
    if fields is None or type(fields) is dict:
        return fields
    if not isinstance(fields, Mapping):
        raise InvalidInput(f"{side} is a dict of fields, not {type(fields).__name__}")
    return dict(fields)


def _check_images(op: str, key: Any, before: Any, after: Any) -> None:
    if op in ("create", "update") and after is None:
        raise InvalidInput(f"{op} needs the row's values (after)")
    if op in ("delete", "truncate") and after is not None:
        raise InvalidInput(f"{op} leaves no row: give its last values as before")
    if op == "create" and before is not None:
        raise InvalidInput("create has no row before it")
    if op == "truncate" and (before is not None or key is not None):
        raise InvalidInput("truncate is about a whole dataset: no key, no row")


def _declared_payload(
    op: str, change: Change, declared: DeclaredSchema
) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    if op == "create":
        change = change._replace(image=FULL)
    if change.image == FULL and (change.before is not None or change.after is not None):
        return declared.encode_change(change), declared.change_hash, (declared.change_canonical,)
    for fields in (change.before, change.after):
        if fields is not None:
            declared.check_patch(fields)
    _, payload_schema, schemas = _hashed("row.v1")
    return encode_row(change), payload_schema, schemas


def record_event(
    type_: str,
    data: Mapping[str, Any],
    *,
    event_id: str,
    source: str,
    entity_type: str | None = None,
    entity_key: Any = None,
    valid_time_us: int | None = None,
    actor: str | None = None,
    reason: str | None = None,
    transaction_id: str | None = None,
    supersedes: str | None = None,
    request_id: str | None = None,
    trace_id: str | None = None,
    subject: str | None = None,
    encryption: Encryption | None = None,
    producer_id: str | None = None,
    producer_sequence: int | None = None,
) -> Built:
    """A record of any type but data: a run, a model version, a prediction, a review ...

    Types with a schema of their own take its fields. Those in LENIENT_TYPES take others as well,
    and are then written in record.v1; of model.run, model.version and prediction a record that does
    not fit is refused. Raises InvalidInput naming the field, LimitExceeded.
    """
    if type_.startswith("data.") or type_ == SCHEMA:
        raise InvalidInput(f"{type_} is not a record: use data_event or schema_event")
    name = record_schema(type_)
    try:
        payload, _ = encode_record(name, data)
    except InvalidInput:
        if type_ not in LENIENT_TYPES:
            raise
        name = "record.v1"
        payload, _ = encode_record(name, data)
    _, payload_schema, schemas = _hashed(name)
    event = Event(
        event_id,
        type_,
        source,
        entity_type,
        None if entity_key is None else key_text(entity_key),
        valid_time_us,
        actor,
        reason,
        transaction_id,
        supersedes,
        request_id,
        trace_id,
        payload_schema,
        payload,
        subject,
        encryption,
        producer_id,
        producer_sequence,
    )
    return Built(event, schemas)


def schema_event(canonical: bytes) -> Event:
    """The event that brings a schema into a log. It depends on the schema alone.

    Raises InvalidInput when the bytes are not canonical JSON.
    """
    if type(canonical) is not bytes or canonical_schema(canonical) != canonical:
        raise InvalidInput("a schema goes into the log as its canonical JSON")
    return Event(schema_hash(canonical).hex(), SCHEMA, SCHEMA_SOURCE, payload=canonical)

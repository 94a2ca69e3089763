"""Events as JSON objects: the form people write for import, and read from the log.

    {"event_id", "type", "source", "entity_type", "entity_key", "valid_time", "actor", "reason",
     "transaction_id", "supersedes", and when not null "request_id", "trace_id", "subject",
     "encryption": {"key_id", "nonce": {"$bytes"}}, "producer_id", "producer_sequence",
     then  "image", "before", "after"                    for data events,
     or    "data": {...}                                 for records,
     or    "undecodable": why, "payload": {"$bytes"}     when the payload cannot be read here,
     "payload_schema": "sha256:hex" or null, when it is not the usual one for the type}

What an event says survives the way out and in; so do its bytes when this library wrote them and the
reader's book has its schema (without it a declared row comes back in row.v1, with the same values).
"""

import re
from typing import Any

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.book import SchemaBook
from audit.event.build import Built, data_event, new_event_id, record_event, schema_event
from audit.event.canonical import builtin, canonical_schema, schema_hash
from audit.event.envelope import Encryption, Event
from audit.event.normal import check_text, key_text
from audit.event.payload import decode_payload
from audit.event.row import PATCH, Change
from audit.event.shown import shown
from audit.event.times import format_time, parse_date, parse_rfc3339
from audit.event.types import DATA_TYPES, KNOWN_TYPES, SCHEMA, record_schema
from audit.event.valuejson import fields_from_json, fields_to_json, from_json, to_json

OUTPUT_ONLY = frozenset({"log", "index", "recorded_time", "leaf_hash"})
"""Fields that only output has; ignored on input."""
RECORD_LEVELS = 5
"""Lists and objects that typed records put around the values of their fields."""

_ALWAYS = ("actor", "reason", "transaction_id", "supersedes")
_WHEN_THERE = ("request_id", "trace_id", "subject")
_TEXTS = (*_ALWAYS, *_WHEN_THERE, "producer_id")
_ENVELOPE = frozenset(
    {
        *("event_id", "type", "source", "entity_type", "entity_key", "valid_time"),
        *_TEXTS,
        *("encryption", "producer_sequence", "payload_schema"),
    }
)
_DATA_FIELDS = frozenset({"image", "before", "after"})
_RECORD_FIELDS = frozenset({"data"})
_RAW_FIELDS = frozenset({"undecodable", "payload"})
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def event_to_json(event: Event, book: SchemaBook) -> dict[str, Any]:
    """The JSON object of an event; its payload is read with the schemas of the book."""
    out: dict[str, Any] = {
        "event_id": event.event_id,
        "type": event.type,
        "source": event.source,
        "entity_type": event.entity_type,
        "entity_key": event.entity_key,
        "valid_time": None if event.valid_time_us is None else format_time(event.valid_time_us),
    }
    for name in _ALWAYS:
        out[name] = getattr(event, name)
    for name in _WHEN_THERE:
        if getattr(event, name) is not None:
            out[name] = getattr(event, name)
    if event.encryption is not None:
        key_id, nonce = event.encryption
        out["encryption"] = {"key_id": key_id, "nonce": to_json(nonce)}
    if event.producer_id is not None:
        out["producer_id"] = event.producer_id
    if event.producer_sequence is not None:
        out["producer_sequence"] = event.producer_sequence
    out.update(_said_to_json(event, book))
    return out


def _said_to_json(event: Event, book: SchemaBook) -> dict[str, Any]:
    out: dict[str, Any]
    usual = _usual_schema(event.type)
    try:
        said = decode_payload(event, book)
    except (FormatError, LimitExceeded) as error:
        out = {"undecodable": str(error), "payload": to_json(event.payload)}
        usual = None
    else:
        if isinstance(said, Change):
            out = {
                "image": said.image,
                "before": None if said.before is None else fields_to_json(said.before),
                "after": None if said.after is None else fields_to_json(said.after),
            }
        elif event.type == SCHEMA:
            out = {"data": said}
        else:
            out = {"data": fields_to_json(said)}
    if event.payload_schema != usual:
        found = event.payload_schema
        out["payload_schema"] = None if found is None else "sha256:" + found.hex()
    return out


def _usual_schema(type_: str) -> bytes | None:
    """What a payload of this type is written in when nothing else is said."""
    if type_ == SCHEMA:
        return None
    return schema_hash(builtin("row.v1" if type_.startswith("data.") else record_schema(type_)))


def event_from_json(
    obj: Any,
    *,
    source: str = "cli",
    valid_time_us: int | None = None,
    event_id: str | None = None,
    book: SchemaBook | None = None,
) -> Built:
    """The event that a JSON object says, and the canonical schemas that its log needs before it.

    `source`, `valid_time_us` and `event_id` (default: a new UUIDv7) stand in for fields that the
    object lacks; a `valid_time` of null stays null. `book`: schemas that "payload_schema" may name.
    Limits of the envelope are checked by `encode_event`. Raises InvalidInput naming the field,
    LimitExceeded.
    """
    if type(obj) is not dict:
        raise InvalidInput(f"an event is a JSON object, not {type(obj).__name__}")
    type_ = obj.get("type")
    if type(type_) is not str or type_ not in KNOWN_TYPES:
        known = ", ".join(sorted(KNOWN_TYPES))
        raise InvalidInput(f"type {shown(type_)} is not a type of event; there are {known}")
    raw = "undecodable" in obj
    _check_names(obj, type_, raw)
    if type_ == SCHEMA and not raw:
        return _schema_from_json(obj)
    envelope = _envelope(obj, source, valid_time_us, event_id)
    if raw:
        return Built(_raw_event(type_, obj, envelope), ())
    if "encryption" in obj and obj["encryption"] is not None:
        raise InvalidInput(
            "an encrypted event comes with its payload as bytes, and why it is not read"
        )
    if type_ in DATA_TYPES:
        built = _data_from_json(type_, obj, envelope)
    else:
        built = _record_from_json(type_, obj, envelope)
    if "payload_schema" in obj:
        return _with_schema(built, obj, book)
    return built


def _check_names(obj: dict[str, Any], type_: str, raw: bool) -> None:
    body = _RAW_FIELDS if raw else _DATA_FIELDS if type_ in DATA_TYPES else _RECORD_FIELDS
    for name in obj:
        if name in _ENVELOPE or name in body or name in OUTPUT_ONLY:
            continue
        fields = ", ".join(sorted(body))
        raise InvalidInput(f"unknown field {shown(name)}: {type_} has {fields}")


def _envelope(
    obj: dict[str, Any], source: str, valid_time_us: int | None, event_id: str | None
) -> dict[str, Any]:
    """The arguments that every builder of events takes."""
    out: dict[str, Any] = {name: _text(obj, name) for name in _TEXTS}
    given_id, given_source = _text(obj, "event_id"), _text(obj, "source")
    out["event_id"] = given_id if given_id is not None else event_id or new_event_id()
    out["source"] = source if given_source is None else given_source
    out["valid_time_us"] = _valid_time(obj["valid_time"]) if "valid_time" in obj else valid_time_us
    sequence = obj.get("producer_sequence")
    if sequence is not None and type(sequence) is not int:
        raise InvalidInput("producer_sequence is an integer")
    out["producer_sequence"] = sequence
    return out


def _text(obj: dict[str, Any], name: str) -> str | None:
    value = obj.get(name)
    if value is None:
        return None
    if type(value) is not str:
        raise InvalidInput(f"{name} is a string, not {shown(value)}")
    return check_text(value)


def _valid_time(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not str:
        raise InvalidInput(f"valid_time is a string in RFC 3339, not {shown(value)}")
    if _DATE.fullmatch(value):
        day = parse_date(value)
        return parse_rfc3339(f"{day.isoformat()}T00:00:00Z")
    return parse_rfc3339(value)


def _data_from_json(type_: str, obj: dict[str, Any], envelope: dict[str, Any]) -> Built:
    entity_type = _text(obj, "entity_type")
    if entity_type is None:
        raise InvalidInput(f"{type_} names no entity_type (its dataset)")
    op = type_.partition(".")[2]
    key = obj.get("entity_key")
    if key is None and op != "truncate":
        raise InvalidInput(f"{type_} names no entity_key")
    images: dict[str, Any] = {}
    for side in ("before", "after"):
        value = obj.get(side)
        if value is None:
            images[side] = None
            continue
        try:
            images[side] = fields_from_json(value)
        except InvalidInput as error:
            raise type(error)(f"{side}: {error}") from None
    image = obj.get("image")
    if image is not None and type(image) is not str:
        raise InvalidInput("image is 'patch' or 'full'")
    return data_event(
        op, entity_type, key, image=PATCH if image is None else image, **images, **envelope
    )


def _record_from_json(type_: str, obj: dict[str, Any], envelope: dict[str, Any]) -> Built:
    levels = 0 if record_schema(type_) == "record.v1" else RECORD_LEVELS
    try:
        data = fields_from_json(obj.get("data", {}), levels)
    except InvalidInput as error:
        raise type(error)(f"data: {error}") from None
    return record_event(
        type_,
        data,
        entity_type=_text(obj, "entity_type"),
        entity_key=obj.get("entity_key"),
        **envelope,
    )


def _with_schema(built: Built, obj: dict[str, Any], book: SchemaBook | None) -> Built:
    """The same event written in the schema that the object names, if it is known here."""
    name = _schema_name(obj)
    event = built.event
    usual = SchemaBook()
    for canonical in built.schemas:
        usual.add(canonical)
    said = decode_payload(event, usual)
    if name is None:
        if said in ({}, Change(PATCH, None, None)):
            return Built(event._replace(payload_schema=None, payload=b""), ())
        raise InvalidInput("payload_schema is null, yet the event says something")
    schema = None if book is None else book.get(name)
    if schema is None:
        return built
    payload = schema.encode(said)
    return Built(event._replace(payload_schema=name, payload=payload), (schema.canonical,))


def _schema_name(obj: dict[str, Any]) -> bytes | None:
    text = _text(obj, "payload_schema")
    if text is None:
        return None
    match = _HASH.fullmatch(text)
    if match is None:
        raise InvalidInput("payload_schema is null, or sha256: and 64 hex digits")
    return bytes.fromhex(match[1])


def _raw_event(type_: str, obj: dict[str, Any], envelope: dict[str, Any]) -> Event:
    payload = from_json(obj.get("payload"))
    if type(payload) is not bytes:
        raise InvalidInput('payload of an undecodable event is {"$bytes": base64}')
    key = obj.get("entity_key")
    return Event(
        type=type_,
        entity_type=_text(obj, "entity_type"),
        entity_key=None if key is None else key_text(key),
        payload_schema=_schema_name(obj),
        payload=payload,
        encryption=_encryption(obj.get("encryption")),
        **envelope,
    )


def _encryption(obj: Any) -> Encryption | None:
    if obj is None:
        return None
    if type(obj) is not dict or set(obj) != {"key_id", "nonce"}:
        raise InvalidInput("encryption is an object of key_id and nonce")
    key_id, nonce = _text(obj, "key_id"), from_json(obj["nonce"])
    if key_id is None or type(nonce) is not bytes:
        raise InvalidInput('encryption has a key_id (string) and a nonce ({"$bytes": base64})')
    return Encryption(key_id, nonce)


def _schema_from_json(obj: dict[str, Any]) -> Built:
    data = obj.get("data")
    if type(data) is not dict or set(data) != {"schema"}:
        raise InvalidInput('the data of a schema event is {"schema": ...}')
    event = schema_event(canonical_schema(data["schema"]))
    for name in Event._fields:
        if name in ("type", "payload", "payload_schema", "valid_time_us"):
            continue
        if obj.get(name) is not None and obj[name] != getattr(event, name):
            raise InvalidInput(f"{name} of a schema event is not free: leave it out")
    if obj.get("valid_time") is not None:
        raise InvalidInput("a schema event has no valid_time")
    return Built(event, ())

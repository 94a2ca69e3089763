"""What an event's payload says: reading it with the schemas of a log, and writing typed records.

A change for data events, a dict of values for the others. A typed record (run.v1 ...) is a
plain dict with all the fields of its schema; lists of fields in it are dicts of values.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from audit.errors import FormatError, InvalidInput, LimitExceeded, UnknownSchema
from audit.event.avrotype import AvroType
from audit.event.book import PayloadSchema, SchemaBook, compiled
from audit.event.canonical import builtin, canonical_schema
from audit.event.codec_write import Encoder, encoder_of
from audit.event.envelope import MAX_EVENT_BYTES, Event
from audit.event.fields import encode_fields
from audit.event.normal import named
from audit.event.row import PATCH, Change
from audit.event.shown import shown
from audit.event.types import DATA_DELETE, DATA_TRUNCATE, SCHEMA
from audit.event.valuejson import parse_json

_RUN_STATUSES = ("START", "COMPLETE", "FAIL", "ABORT")
_ROLES = (
    *("PRIMARY", "SHADOW", "CANARY", "CHALLENGER"),
    *("FALLBACK", "MEMBER", "REPLAY", "BACKFILL", None),
)
_CHOICES: dict[str, dict[str, tuple[str | None, ...]]] = {
    "model_run.v1": {"status": _RUN_STATUSES[:3]},
    "prediction.v1": {"status": ("OK", "ERROR")},
    "prediction.v2": {"status": ("OK", "ERROR", "REJECTED_INPUT"), "role": _ROLES},
    "review.v1": {"kind": ("FLAG", "UNFLAG", "REPLAY", "COMPARISON", "NOTE")},
    "run.v1": {"status": _RUN_STATUSES},
}
"""Schema -> field -> what it may be. Not enums: a reader must take what a later version adds."""


def decode_payload(event: Event, book: SchemaBook) -> Change | dict[str, Any]:
    """What the event's payload says, read with the schemas of the book.

    A `Change` for data events; for others the record as a dict; for a schema event
    {"schema": the schema as parsed JSON}. Raises UnknownSchema when the book lacks the schema,
    FormatError or LimitExceeded when the bytes do not decode (or are encrypted).
    """
    if event.encryption is not None:
        raise FormatError(f"payload is encrypted with key {event.encryption.key_id[:64]!r}")
    is_data = event.type.startswith("data.")
    if event.payload_schema is None:
        return _without_schema(event, is_data)
    schema = book.get(event.payload_schema)
    if schema is None:
        raise UnknownSchema(f"schema {event.payload_schema.hex()[:16]}... is not in the log here")
    said = schema.decode(event.payload)
    if is_data is not isinstance(said, Change):
        raise FormatError(f"the payload of {event.type} is {'no' if is_data else 'a'} row change")
    return said


def _without_schema(event: Event, is_data: bool) -> Change | dict[str, Any]:
    if event.type == SCHEMA:
        said = parse_json(event.payload)
        if canonical_schema(said) != event.payload:
            raise FormatError("the schema is not in canonical JSON")
        return {"schema": said}
    if event.payload:
        raise FormatError("payload without a schema")
    if not is_data:
        return {}
    if event.type in (DATA_DELETE, DATA_TRUNCATE):
        return Change(PATCH, None, None)
    raise FormatError(f"{event.type} without a row")


def encode_record(schema_name: str, data: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """(payload, canonical JSON of its schema) of a record under a built-in schema.

    Fields that may be null or empty can be left out. Raises InvalidInput naming the field,
    NotFound for an unknown schema name, LimitExceeded.
    """
    canonical = builtin(schema_name)
    if not isinstance(data, Mapping):
        raise InvalidInput(f"a record is a dict, not {type(data).__name__}")
    if schema_name == "record.v1":
        payload = encode_fields(data)
    else:
        schema, encode = _typed(schema_name)
        complete = _completed(schema, data)
        for name, choices in _CHOICES.get(schema_name, {}).items():
            if complete[name] not in choices:
                listed = ", ".join(choice for choice in choices if choice is not None)
                raise InvalidInput(f"{name} is one of {listed}, not {shown(complete[name])}")
        payload = encode(complete)
    if len(payload) > MAX_EVENT_BYTES:
        raise LimitExceeded(f"record of {len(payload)} bytes: at most {MAX_EVENT_BYTES}")
    return payload, canonical


@lru_cache(maxsize=32)
def _typed(schema_name: str) -> tuple[AvroType, Encoder]:
    schema: PayloadSchema = compiled(builtin(schema_name))
    if schema.type is None or schema.row is not None:
        raise InvalidInput(f"{schema_name} is not the schema of a record")
    return schema.type, encoder_of(schema.type)


def field_encoder(schema_name: str, field_name: str) -> Encoder:
    """The function that encodes one field of a built-in schema's record, as `encode_record` does.

    For writers that put a record together from parts they keep. Raises NotFound, InvalidInput.
    """
    schema, _ = _typed(schema_name)
    for field in schema.fields:
        if field.name == field_name:
            kind, encode = field.type, encoder_of(field.type)
            return lambda value: encode(_completed(kind, value))
    raise InvalidInput(f"{schema_name} has no field {shown(field_name)}")


def _completed(kind: AvroType, data: Any) -> Any:
    """The data with what was left out filled in: null, or an empty list or dict."""
    if kind.kind == "nullable" and kind.item is not None:
        return None if data is None else _completed(kind.item, data)
    if kind.kind == "array" and kind.item is not None and isinstance(data, list | tuple):
        return [_completed(kind.item, item) for item in data]
    if kind.kind != "record":
        return data
    if not isinstance(data, Mapping):
        raise InvalidInput(f"an object, not {type(data).__name__} {shown(data)}")
    out: dict[str, Any] = {}
    for field in kind.fields:
        if field.name in data:
            try:
                out[field.name] = _completed(field.type, data[field.name])
            except InvalidInput as error:
                raise named(error, field.name) from None
        elif field.type.kind in _EMPTY:
            out[field.name] = _EMPTY[field.type.kind]()
        else:
            raise InvalidInput(f"field {field.name!r} is missing")
    for name in data:
        if name not in out:
            known = ", ".join(field.name for field in kind.fields)
            raise InvalidInput(f"field {shown(name)} is unknown here; there are {known}")
    return out


_EMPTY: dict[str, Any] = {
    "nullable": lambda: None,
    "output": lambda: None,
    "fields": dict,
    "array": list,
}

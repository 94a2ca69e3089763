"""A JSON message as values: by its schema where it brings one, else by JSON's own types."""

import base64
import binascii
import json
import re
from decimal import Decimal
from typing import Any, NamedTuple

from audit.capture.debezium.json_text import MAX_TEXT_BYTES, parse, plain
from audit.capture.debezium.logical import finished
from audit.capture.debezium.placeholder import Placeholder
from audit.capture.debezium.shape import ARRAY, BYTES, FIXED, MAP, STRUCT, Shape, shape_of
from audit.errors import FormatError, InvalidInput
from audit.event.normal import named
from audit.event.shown import shown

MAX_KEPT_SCHEMAS = 128
"""How many schemas of messages are remembered: two for each table whose changes come."""
MAX_KEPT_SCHEMA_BYTES = 200_000

_BEGIN = b'{"schema":'
_PAYLOAD = re.compile(r'[ \t\n\r]*,[ \t\n\r]*"payload"[ \t\n\r]*:')
_SCANNER = json.JSONDecoder()


class Said(NamedTuple):
    """What a key or a value says, and the name of its schema, which is empty where there is none.

    `typed`: a schema said what the values are.
    """

    value: Any
    schema: str = ""
    typed: bool = False


def read_json(data: bytes, placeholder: Placeholder, schemas: "Schemas | None" = None) -> Said:
    """The message; with or without {"schema": ..., "payload": ...} around it.

    `schemas`: those of the messages before. Raises FormatError, LimitExceeded.
    """
    if schemas is not None:
        known = schemas.of(data)
        if known is not None:
            begin, shape = known
            # One value must be left, and the brace that closes the object.
            payload = parse(data[len(begin) :].rstrip().removesuffix(b"}"))
            return Said(_typed(shape, payload, placeholder), shape.name, True)
    found = parse(data)
    if type(found) is dict and found.keys() == {"schema", "payload"}:
        schema, payload = found["schema"], found["payload"]
        if schema is None:
            return Said(_untyped(plain(payload), placeholder))
        shape = shape_of(schema)
        if schemas is not None:
            schemas.add(data, shape)
        return Said(_typed(shape, payload, placeholder), shape.name, True)
    return Said(_untyped(plain(found), placeholder))


class Schemas:
    """The schemas of messages before: each message repeats its own, four times longer than it.

    A message is known by its first bytes: all of its schema, and what leads to the payload.
    """

    def __init__(self) -> None:
        """None."""
        self._known: list[tuple[bytes, Shape]] = []

    def of(self, data: bytes) -> tuple[bytes, Shape] | None:
        """The first bytes, and what their schema says. The last used stands first."""
        for place, known in enumerate(self._known):
            if data.startswith(known[0]) and data.rstrip().endswith(b"}"):
                if place:
                    self._known.insert(0, self._known.pop(place))
                return known
        return None

    def add(self, data: bytes, shape: Shape) -> None:
        """Remember a message that was read, if it is written as Connect writes it."""
        if not data.startswith(_BEGIN) or len(data) > MAX_TEXT_BYTES:
            return
        text = str(data, "utf-8")
        _, end = _SCANNER.raw_decode(text, _value_at(text, len(_BEGIN)))
        found = _PAYLOAD.match(text, end)
        begin = b"" if found is None else text[: found.end()].encode()
        if begin and len(begin) <= MAX_KEPT_SCHEMA_BYTES:
            self._known.insert(0, (begin, shape))
            del self._known[MAX_KEPT_SCHEMAS:]


def _value_at(text: str, at: int) -> int:
    return len(text) - len(text[at:].lstrip(" \t\n\r"))


def _untyped(value: Any, placeholder: Placeholder) -> Any:
    """`plain` has seen to the depth."""
    value = placeholder.replaced(value)
    if type(value) is list:
        return [_untyped(item, placeholder) for item in value]
    if type(value) is dict:
        return {name: _untyped(item, placeholder) for name, item in value.items()}
    return value


def _typed(shape: Shape, raw: Any, placeholder: Placeholder) -> Any:
    """Goes no deeper than the shape."""
    if raw is None:
        return None
    if shape.kind in (BYTES, FIXED) and type(raw) is str:
        raw = _bytes(raw)
    known = placeholder.replaced(raw)
    if known is not raw:
        return known
    if shape.kind == STRUCT:
        return placeholder.replaced(finished(shape, _struct(shape, raw, placeholder)))
    if shape.kind == ARRAY:
        raw = _items(shape, raw, placeholder)
    elif shape.kind == MAP:
        raw = _pairs(shape, raw, placeholder)
    return placeholder.replaced(finished(shape, raw))


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise FormatError(f"{shown(text)} is not base64") from None


def _struct(shape: Shape, raw: Any, placeholder: Placeholder) -> dict[str, Any]:
    if type(raw) is not dict:
        raise FormatError(f"{shown(raw)} is no {shape.name[:64] or 'struct'}")
    out = {}
    for name, inner in shape.fields:
        if name in raw:
            try:
                out[name] = _typed(inner, raw[name], placeholder)
            except InvalidInput as error:
                raise named(error, name) from None
    if len(out) != len(raw):
        extra = next(name for name in raw if name not in out)
        raise FormatError(f"field {extra[:64]!r} is not in the message's schema")
    return out


def _items(shape: Shape, raw: Any, placeholder: Placeholder) -> list[Any]:
    if type(raw) is not list or shape.item is None:
        raise FormatError(f"{shown(raw)} is no array")
    return [_typed(shape.item, item, placeholder) for item in raw]


def _pairs(shape: Shape, raw: Any, placeholder: Placeholder) -> Any:
    """Keys that are no texts come as a list of pairs, and stay one."""
    if shape.item is None:
        raise FormatError("a map of nothing")
    if type(raw) is dict:
        return {name: _typed(shape.item, item, placeholder) for name, item in raw.items()}
    if type(raw) is not list or not all(type(pair) is list and len(pair) == 2 for pair in raw):
        raise FormatError(f"{shown(raw)} is no map")
    inner = shape.item
    return [[_simple(key), _typed(inner, item, placeholder)] for key, item in raw]


def _simple(key: Any) -> Any:
    return plain(key) if isinstance(key, str | int | Decimal) else str(shown(key))

"""An Avro message as values, by its shape. Hostile bytes cost no more than their length."""

import struct
from typing import Any

from audit.capture.debezium.logical import finished
from audit.capture.debezium.placeholder import Placeholder
from audit.capture.debezium.shape import (
    ARRAY,
    BOOLEAN,
    BYTES,
    DOUBLE,
    ENUM,
    FIXED,
    FLOAT,
    INT,
    MAP,
    NULL,
    STRING,
    STRUCT,
    UNION,
    Shape,
)
from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.normal import MAX_NODES, named
from audit.event.wire import decode_bytes, decode_long, decode_text

_float = struct.Struct("<f")
_double = struct.Struct("<d")


def read_avro(shape: Shape, data: bytes, placeholder: Placeholder) -> Any:
    """The value that the bytes hold, all of them. Raises FormatError, LimitExceeded."""
    reading = _Reading(data, placeholder)
    value = reading.value(shape)
    if reading.at != len(data):
        raise FormatError(f"{len(data) - reading.at} bytes after the end of the message")
    return value


class _Reading:
    """One walk through a message; it goes no deeper than the shape, which is bounded."""

    def __init__(self, data: bytes, placeholder: Placeholder) -> None:
        self._data = data
        self._placeholder = placeholder
        self._left = MAX_NODES
        self.at = 0

    def value(self, shape: Shape) -> Any:
        # A null takes no bytes: an array of them could be longer than any message.
        self._left -= 1
        if self._left < 0:
            raise LimitExceeded(f"a message holds more than {MAX_NODES} values")
        kind = shape.kind
        if kind == UNION:
            return self.value(shape.branches[self._index(len(shape.branches))])
        if kind == NULL:
            return None
        if kind == STRUCT:
            return self._placeholder.replaced(finished(shape, self._struct(shape)))
        raw = self._raw(shape)
        known = self._placeholder.replaced(raw)
        return known if known is not raw else self._placeholder.replaced(finished(shape, raw))

    def _raw(self, shape: Shape) -> Any:
        kind, data = shape.kind, self._data
        if kind == STRING:
            text, self.at = decode_text(data, self.at)
            return text
        if kind == INT:
            return self._long()
        if kind == BYTES:
            raw, self.at = decode_bytes(data, self.at)
            return raw
        if kind == BOOLEAN:
            byte = self._take(1)
            if byte not in (b"\0", b"\1"):
                raise FormatError("a boolean that is neither 0 nor 1")
            return byte == b"\1"
        if kind == DOUBLE:
            return _double.unpack(self._take(8))[0]
        if kind == FLOAT:
            return _float.unpack(self._take(4))[0]
        if kind == FIXED:
            return self._take(shape.size)
        if kind == ENUM:
            return shape.symbols[self._index(len(shape.symbols))]
        return self._blocks(shape)

    def _long(self) -> int:
        value, self.at = decode_long(self._data, self.at)
        return value

    def _take(self, count: int) -> bytes:
        taken = self._data[self.at : self.at + count]
        if len(taken) != count:
            raise FormatError("the message ends inside a value")
        self.at += count
        return taken

    def _index(self, count: int) -> int:
        index = self._long()
        if not 0 <= index < count:
            raise FormatError(f"there are {count} to choose from, and no number {index}")
        return index

    def _struct(self, shape: Shape) -> dict[str, Any]:
        out = {}
        for name, inner in shape.fields:
            try:
                out[name] = self.value(inner)
            except InvalidInput as error:
                raise named(error, name) from None
        return out

    def _blocks(self, shape: Shape) -> Any:
        """An array's or a map's blocks: a count, items, and at the end a count of 0."""
        if shape.item is None or shape.kind not in (ARRAY, MAP):
            raise FormatError(f"no value can be a {shape.kind}")
        items: list[Any] = []
        pairs: dict[str, Any] = {}
        while count := self._long():
            if count < 0:
                count = -count
                self._long()  # the block's size, for readers that skip it
            if count > self._left:
                raise LimitExceeded(f"a message holds more than {MAX_NODES} values")
            for _ in range(count):
                if shape.kind == MAP:
                    name, self.at = decode_text(self._data, self.at)
                    pairs[name] = self.value(shape.item)
                else:
                    items.append(self.value(shape.item))
        return pairs if shape.kind == MAP else items

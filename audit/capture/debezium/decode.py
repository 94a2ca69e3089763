"""Keys and values of messages: JSON, or Avro in the framing of a schema registry."""

import time

from audit.capture.debezium.avro_read import read_avro
from audit.capture.debezium.avro_shape import avro_shape
from audit.capture.debezium.json_read import Said, Schemas, read_json
from audit.capture.debezium.placeholder import Placeholder
from audit.capture.debezium.shape import Shape
from audit.errors import FormatError, InvalidInput
from audit.kafka.registry import NEGATIVE_SECONDS, Registry
from audit.kafka.wire import MAGIC, from_confluent

MAX_KEPT_SCHEMAS = 1_000
"""How many of a registry's schemas are remembered; each table has two, and more as it changes."""


class Decoder:
    """Reads the messages of one run. One thread uses it."""

    def __init__(self, registry: str | None, placeholder: str | None = None) -> None:
        """`registry`: its address. Raises InvalidInput."""
        self._registry = None if registry is None else Registry(registry)
        self._placeholder = Placeholder() if placeholder is None else Placeholder(placeholder)
        self._schemas = Schemas()
        self._shapes: dict[int, Shape] = {}
        self._unusable: dict[int, tuple[float, str]] = {}

    def decode(self, data: bytes) -> Said:
        """What a message's key or value says.

        Raises FormatError and LimitExceeded for what never will be readable, Unavailable while the
        registry does not answer.
        """
        if data[:1] != MAGIC:
            return read_json(data, self._placeholder, self._schemas)
        schema_id, body = from_confluent(data)
        shape = self._shape(schema_id)
        return Said(read_avro(shape, body, self._placeholder), shape.name, True)

    def _shape(self, schema_id: int) -> Shape:
        found = self._shapes.get(schema_id)
        if found is not None:
            return found
        until_s, why = self._unusable.get(schema_id, (0.0, ""))
        if until_s > time.monotonic():
            raise FormatError(why)
        if self._registry is None:
            raise FormatError("framed by a schema registry: say which with --registry")
        try:
            found = avro_shape(self._registry.avro_schema(schema_id))
        except InvalidInput as error:
            why = f"schema {schema_id}: {error}"
            if len(self._unusable) >= MAX_KEPT_SCHEMAS:
                self._unusable.clear()
            # Only for a moment: it may be registered right now.
            self._unusable[schema_id] = time.monotonic() + NEGATIVE_SECONDS, why
            raise FormatError(why) from None
        if len(self._shapes) >= MAX_KEPT_SCHEMAS:
            self._shapes.clear()
        self._shapes[schema_id] = found
        return found

"""The types of a message, as the schema of Kafka Connect in a JSON message says them.

An Avro schema gives the same shapes (see `avro_shape`), so values are made in one place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from audit.errors import FormatError, LimitExceeded
from audit.event.shown import shown

MAX_SHAPE_DEPTH = 24
"""How many types may stand inside each other; a row in its envelope has three."""
MAX_SHAPES = 20_000
"""How many types a message's schema may hold: a table has at most some thousand columns, twice."""

NULL, BOOLEAN, INT, FLOAT, DOUBLE = "null", "boolean", "int", "float", "double"
STRING, BYTES, ARRAY, MAP, STRUCT = "string", "bytes", "array", "map", "struct"
UNION, ENUM, FIXED = "union", "enum", "fixed"
"""The last three only Avro has."""

_KINDS = {
    **dict.fromkeys(("int8", "int16", "int32", "int64"), INT),
    **{"boolean": BOOLEAN, "string": STRING, "bytes": BYTES, "struct": STRUCT},
    **{"float": FLOAT, "float32": FLOAT, "double": DOUBLE, "float64": DOUBLE},
    **{"array": ARRAY, "map": MAP},
}


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One type. `name`: what the value means (`io.debezium.time.Date`), or a record's own name."""

    kind: str
    name: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    fields: "tuple[tuple[str, Shape], ...]" = ()
    item: "Shape | None" = None
    """Of an array's items, of a map's values."""
    branches: "tuple[Shape, ...]" = ()
    symbols: tuple[str, ...] = ()
    size: int = 0
    """Bytes of a fixed."""


class Budget:
    """How many types one schema may still have."""

    def __init__(self) -> None:
        """All of them."""
        self._left = MAX_SHAPES

    def take(self, level: int) -> None:
        """One more, at this level. Raises LimitExceeded."""
        self._left -= 1
        if self._left < 0:
            raise LimitExceeded(f"the message's schema has over {MAX_SHAPES} types")
        if level > MAX_SHAPE_DEPTH:
            raise LimitExceeded(f"the schema's types are nested deeper than {MAX_SHAPE_DEPTH}")


def shape_of(schema: Any) -> Shape:
    """The shape that a `schema` of a JSON message describes. Raises FormatError, LimitExceeded."""
    return _shape(schema, 1, Budget())


def _shape(schema: Any, level: int, budget: Budget) -> Shape:
    budget.take(level)
    if type(schema) is not dict:
        raise FormatError(f"a schema of Kafka Connect is an object, not {shown(schema)}")
    said = schema.get("type")
    kind = _KINDS.get(said) if isinstance(said, str) else None
    if kind is None:
        raise FormatError(f"Kafka Connect has no type {shown(said)}")
    name, parameters = text_of(schema.get("name")), parameters_of(schema.get("parameters"))
    if kind == STRUCT:
        listed = schema.get("fields")
        if type(listed) is not list:
            raise FormatError(f"struct {name[:64]!r} lists no fields")
        fields = tuple((_name(each), _shape(each, level + 1, budget)) for each in listed)
        return Shape(kind, name, parameters, fields)
    if kind == ARRAY:
        return Shape(kind, name, parameters, item=_shape(schema.get("items"), level + 1, budget))
    if kind == MAP:
        return Shape(kind, name, parameters, item=_shape(schema.get("values"), level + 1, budget))
    return Shape(kind, name, parameters)


def text_of(value: Any) -> str:
    """A name, or none. Raises FormatError for what is no text."""
    if value is None:
        return ""
    if type(value) is not str:
        raise FormatError(f"a schema's name is a text, not {shown(value)}")
    return value


def parameters_of(value: Any) -> dict[str, str]:
    """A schema's parameters, each as its text. Raises FormatError."""
    if value is None:
        return {}
    if type(value) is not dict:
        raise FormatError(f"a schema's parameters are an object, not {shown(value)}")
    return {name: text for name, text in value.items() if type(text) is str}


def _name(schema: Any) -> str:
    name = schema.get("field") if type(schema) is dict else None
    if type(name) is not str:
        raise FormatError(f"a field without a name: {shown(schema)}")
    return name

"""The types of a message, as an Avro schema of a schema registry says them.

Kafka Connect writes what Avro has no word for into attributes: `connect.name`, and
`connect.parameters`. Without them Avro's own logical types count.
"""

from typing import Any

from audit.capture.debezium.json_text import parse
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
    Budget,
    Shape,
    parameters_of,
    text_of,
)
from audit.errors import FormatError
from audit.event.shown import shown

MAX_FIXED_BYTES = 1_000_000
MAX_BRANCHES = 64
"""Most types in one union."""

_PRIMITIVES = {
    **{"null": NULL, "boolean": BOOLEAN, "int": INT, "long": INT, "float": FLOAT},
    **{"double": DOUBLE, "bytes": BYTES, "string": STRING},
}
_CONNECT = "org.apache.kafka.connect.data."
_LOGICAL = {
    "decimal": _CONNECT + "Decimal",
    "date": _CONNECT + "Date",
    "time-millis": _CONNECT + "Time",
    "time-micros": "io.debezium.time.MicroTime",
    "timestamp-millis": _CONNECT + "Timestamp",
    "timestamp-micros": "io.debezium.time.MicroTimestamp",
    "uuid": "io.debezium.data.Uuid",
}


def avro_shape(text: str) -> Shape:
    """The shape that an Avro schema describes. Raises FormatError, LimitExceeded."""
    return _Walk().shape(parse(text), "", 1)


class _Walk:
    """Once over a schema; a name that is used before it is whole would have no end: refused."""

    def __init__(self) -> None:
        self._named: dict[str, Shape] = {}
        self._budget = Budget()

    def shape(self, schema: Any, namespace: str, level: int) -> Shape:
        self._budget.take(level)
        if type(schema) is str:
            kind = _PRIMITIVES.get(schema)
            return Shape(kind) if kind is not None else self._reference(schema, namespace)
        if type(schema) is list:
            if len(schema) > MAX_BRANCHES:
                raise FormatError(f"a union of {len(schema)} types: at most {MAX_BRANCHES}")
            branches = tuple(self.shape(each, namespace, level + 1) for each in schema)
            return Shape(UNION, branches=branches)
        if type(schema) is not dict:
            raise FormatError(f"a type of Avro is a name, a list or an object: {shown(schema)}")
        kind = schema.get("type")
        if type(kind) is not str:
            return self.shape(kind, namespace, level + 1)
        if kind in _PRIMITIVES:
            name, parameters = _meaning(schema)
            return Shape(_PRIMITIVES[kind], name, parameters)
        if kind in ("array", "map"):
            inside = self.shape(
                schema.get("items" if kind == "array" else "values"), namespace, level + 1
            )
            name, parameters = _meaning(schema)
            return Shape(ARRAY if kind == "array" else MAP, name, parameters, item=inside)
        if kind in ("record", "enum", "fixed"):
            return self._definition(kind, schema, namespace, level)
        return self._reference(kind, namespace)

    def _reference(self, name: str, namespace: str) -> Shape:
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        found = self._named.get(full)
        if found is None:
            raise FormatError(f"the schema uses {name[:64]!r}, which it does not define before")
        return found

    def _definition(self, kind: str, schema: dict[str, Any], namespace: str, level: int) -> Shape:
        own = text_of(schema.get("name"))
        space = text_of(schema.get("namespace")) or namespace
        full = own if "." in own or not space else f"{space}.{own}"
        space = full.rpartition(".")[0]
        name, parameters = _meaning(schema)
        name = name or full
        if kind == "enum":
            symbols = schema.get("symbols")
            if type(symbols) is not list or not all(type(each) is str for each in symbols):
                raise FormatError(f"enum {full[:64]!r} lists no symbols")
            made = Shape(ENUM, name, parameters, symbols=tuple(symbols))
        elif kind == "fixed":
            size = schema.get("size")
            if type(size) is not int or not 0 <= size <= MAX_FIXED_BYTES:
                raise FormatError(f"fixed {full[:64]!r} has no size up to {MAX_FIXED_BYTES}")
            made = Shape(FIXED, name, parameters, size=size)
        else:
            fields = schema.get("fields")
            if type(fields) is not list:
                raise FormatError(f"record {full[:64]!r} lists no fields")
            made = Shape(
                STRUCT, name, parameters, tuple(self._field(f, space, level) for f in fields)
            )
        self._named[full] = made
        return made

    def _field(self, field: Any, namespace: str, level: int) -> tuple[str, Shape]:
        name = field.get("name") if type(field) is dict else None
        if type(name) is not str:
            raise FormatError(f"a field without a name: {shown(field)}")
        return name, self.shape(field.get("type"), namespace, level + 1)


def _meaning(schema: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """What a type stands for, and its parameters."""
    name = text_of(schema.get("connect.name"))
    parameters = parameters_of(schema.get("connect.parameters"))
    logical = schema.get("logicalType")
    if not name and type(logical) is str:
        name = _LOGICAL.get(logical, "")
        scale = schema.get("scale", 0)
        if logical == "decimal" and type(scale) is int:
            parameters.setdefault("scale", str(scale))
    return name, parameters

"""Avro schemas as checked types: which schemas a payload may be written with, and no others.

Read from canonical JSON (Avro 1.11 specification, "Schema Declaration"). Supported: primitives but
a bare null, unions of null and one type, decimal (bytes or fixed), date, timestamp-millis,
timestamp-micros, uuid, enum, fixed, record, array, map. Every value then takes at least one byte,
so decoding costs no more than the bytes are long. Refused: recursion, other unions, other logical
types, and everything beyond the limits below.

Three types of our own schemas are known by name and by text: `array<attestory.Field>` (a dict of
values), and the outputs of a prediction, [null, array<attestory.Field>, attestory.Single].
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from audit.errors import InvalidInput, LimitExceeded
from audit.event.canonical import builtin, parsed_schema
from audit.event.normal import MAX_DECIMAL_DIGITS
from audit.event.shown import shown

MAX_SCHEMA_DEPTH = 32
"""How many types may stand inside each other, names resolved."""
MAX_SCHEMA_FIELDS = 4_096
"""How many fields all records of a schema may have together, and how many symbols an enum."""
MAX_NAME_BYTES = 255
MAX_FIXED_BYTES = 64_000

UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
"""What the logical type uuid holds."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_PRIMITIVES = frozenset({"boolean", "int", "long", "float", "double", "bytes", "string"})
_LOGICAL = {
    ("int", "date"): "date",
    ("long", "timestamp-millis"): "timestamp-millis",
    ("long", "timestamp-micros"): "timestamp-micros",
    ("string", "uuid"): "uuid",
    ("bytes", "decimal"): "decimal",
    ("fixed", "decimal"): "decimal",
}
_COMPLEX = frozenset({"record", "enum", "array", "map", "fixed"})
_ONLY_INSIDE = frozenset({"field", "single", "inner"})
OWN_NAMESPACE = "attestory"


@dataclass(frozen=True, slots=True, eq=False)
class AvroType:
    """One type of a schema. Which attributes have a meaning depends on `kind`."""

    kind: str
    """A primitive, a logical type, or: nullable record enum fixed array map fields output."""
    depth: int = 1
    """Levels of types in it, itself included."""
    min_bytes: int = 1
    """The least that one value takes."""
    name: str = ""
    item: "AvroType | None" = None
    null_first: bool = True
    fields: "tuple[AvroField, ...]" = ()
    symbols: tuple[str, ...] = ()
    size: int | None = None
    """Bytes of a fixed; None for a decimal on bytes."""
    precision: int = 0
    scale: int = 0

    @property
    def inner(self) -> "AvroType":
        """The type of what a nullable, an array or a map holds; every parsed one has it."""
        if self.item is None:
            raise InvalidInput(f"a {self.kind} holds no other type")
        return self.item


@dataclass(frozen=True, slots=True, eq=False)
class AvroField:
    """One field of a record; its aliases are the names it had before."""

    name: str
    type: AvroType
    aliases: tuple[str, ...] = ()


FIELDS_TYPE = AvroType("fields", depth=4)
SINGLE_TYPE = AvroType("single", depth=3)
OUTPUT_TYPE = AvroType("output", depth=5)


def parse_type(text: bytes) -> AvroType:
    """The checked type of a schema in JSON. Raises InvalidInput, LimitExceeded."""
    return _Parser(own_types()).parse(parsed_schema(text), "", 1, "schema")


@lru_cache(maxsize=1)
def own_types() -> dict[str, Any]:
    """Full name -> definition without docs, of the records of ours that are treated specially.

    Any other definition under such a name is refused.
    """
    row = without_docs(json.loads(builtin("row.v1")))
    prediction = without_docs(json.loads(builtin("prediction.v1")))
    output = next(field for field in prediction["fields"] if field["name"] == "output")
    return {
        f"{OWN_NAMESPACE}.Field": row["fields"][1]["type"][1]["items"],
        f"{OWN_NAMESPACE}.Single": output["type"][2],
    }


def without_docs(schema: Any) -> Any:
    """A schema parsed from JSON without its docs, to compare what it defines."""
    if isinstance(schema, dict):
        return {key: without_docs(item) for key, item in schema.items() if key != "doc"}
    if isinstance(schema, list):
        return [without_docs(item) for item in schema]
    return schema


class _Parser:
    """One walk over a schema. `where` names the place in messages."""

    def __init__(self, own_types: dict[str, Any]) -> None:
        self.own_types = own_types
        self.named: dict[str, AvroType | None] = {}
        self.field_count = 0

    def parse(self, schema: Any, namespace: str, level: int, where: str) -> AvroType:
        result = self.parse_any(schema, namespace, level, where)
        if result.kind in _ONLY_INSIDE:
            raise InvalidInput(f"{where}: a type of our own schemas cannot stand here")
        return result

    def parse_any(self, schema: Any, namespace: str, level: int, where: str) -> AvroType:
        """As `parse`, for the places where Field and Single may stand."""
        if level > MAX_SCHEMA_DEPTH:
            raise LimitExceeded(f"{where[:64]}: types are nested deeper than {MAX_SCHEMA_DEPTH}")
        if isinstance(schema, str):
            if schema in _PRIMITIVES:
                return AvroType(schema, min_bytes=_MIN_BYTES.get(schema, 1))
            return self.reference(schema, namespace, level, where)
        if isinstance(schema, list):
            return self.union(schema, namespace, level, where)
        if not isinstance(schema, dict):
            raise InvalidInput(f"{where}: a schema is a name, a list or an object")
        kind = schema.get("type")
        if not isinstance(kind, str):
            raise InvalidInput(f"{where}: 'type' is missing or no name")
        if kind in _PRIMITIVES:
            return self.primitive(kind, schema, where)
        if kind not in _COMPLEX:
            return self.reference(kind, namespace, level, where)
        if "logicalType" in schema and kind != "fixed":
            raise InvalidInput(f"{where}: logicalType {shown(schema['logicalType'])} on {kind}")
        if kind == "array":
            return self.array(schema, namespace, level, where)
        if kind == "map":
            item = self.parse(schema.get("values"), namespace, level + 1, where)
            return self.checked(AvroType("map", depth=item.depth + 1, item=item), level, where)
        return self.named_type(kind, schema, namespace, level, where)

    def checked(self, result: AvroType, level: int, where: str) -> AvroType:
        if level + result.depth - 1 > MAX_SCHEMA_DEPTH:
            raise LimitExceeded(f"{where[:64]}: types are nested deeper than {MAX_SCHEMA_DEPTH}")
        return result

    def reference(self, name: str, namespace: str, level: int, where: str) -> AvroType:
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if full not in self.named:
            raise InvalidInput(f"{where}: type {name[:64]!r} is not supported here, or not defined")
        known = self.named[full]
        if known is None:
            raise InvalidInput(f"{where}: {name[:64]!r} contains itself; recursion is refused")
        return self.checked(known, level, where)

    def primitive(self, kind: str, schema: dict[str, Any], where: str) -> AvroType:
        logical = schema.get("logicalType")
        if logical is None:
            return AvroType(kind, min_bytes=_MIN_BYTES.get(kind, 1))
        result = _LOGICAL.get((kind, logical)) if isinstance(logical, str) else None
        if result is None:
            raise InvalidInput(f"{where}: logicalType {shown(logical)} on {kind} is not supported")
        if result == "decimal":
            precision, scale = _decimal_sizes(schema, None, where)
            return AvroType("decimal", min_bytes=2, precision=precision, scale=scale)
        return AvroType(result)

    def union(self, schema: list[Any], namespace: str, level: int, where: str) -> AvroType:
        if len(schema) == 3 and schema[0] == "null":
            branches = [self.parse_any(part, namespace, level + 1, where) for part in schema[1:]]
            if [branch.kind for branch in branches] == ["fields", "single"]:
                return OUTPUT_TYPE
        if len(schema) != 2 or "null" not in schema:
            raise InvalidInput(f"{where}: a union is null and one type; others are not supported")
        null_first = schema[0] == "null"
        item = self.parse(schema[1 if null_first else 0], namespace, level + 1, where)
        if item.kind == "nullable":
            raise InvalidInput(f"{where}: a union inside a union")
        result = AvroType("nullable", depth=item.depth + 1, item=item, null_first=null_first)
        return self.checked(result, level, where)

    def array(self, schema: dict[str, Any], namespace: str, level: int, where: str) -> AvroType:
        item = self.parse_any(schema.get("items"), namespace, level + 1, where)
        if item.kind == "field":
            return FIELDS_TYPE
        if item.kind in _ONLY_INSIDE:
            raise InvalidInput(f"{where}: a type of our own schemas cannot stand here")
        return self.checked(AvroType("array", depth=item.depth + 1, item=item), level, where)

    def named_type(
        self, kind: str, schema: dict[str, Any], namespace: str, level: int, where: str
    ) -> AvroType:
        full = _full_name(schema, namespace, where)
        if full in self.named:
            raise InvalidInput(f"{where}: type {full[:64]!r} is defined twice")
        if full in self.own_types:
            return self.own_type(full, schema, where)
        self.named[full] = None
        if kind == "record":
            result = self.record(schema, full, level)
        elif kind == "enum":
            result = AvroType("enum", name=full, symbols=_symbols(schema, where))
        else:
            result = _fixed(schema, full, where)
        self.named[full] = result
        return self.checked(result, level, where)

    def own_type(self, full: str, schema: dict[str, Any], where: str) -> AvroType:
        short = full.rpartition(".")[2]
        expected = self.own_types[full]
        given = without_docs(schema)
        given.pop("namespace", None)
        if given != expected:
            raise InvalidInput(f"{where}: {full} is not defined as it is in our own schemas")
        result = AvroType("field", depth=3) if short == "Field" else SINGLE_TYPE
        self.named[full] = result
        if short == "Field":
            # Its value types are known now by their names to what follows, but only inside it.
            for inner in ("Decimal", "Date", "Timestamp", "Json"):
                self.named[f"{OWN_NAMESPACE}.{inner}"] = AvroType("inner")
        return result

    def record(self, schema: dict[str, Any], full: str, level: int) -> AvroType:
        fields = schema.get("fields")
        if not isinstance(fields, list) or not fields:
            raise InvalidInput(f"record {full[:64]!r} needs a list of at least one field")
        self.field_count += len(fields)
        if self.field_count > MAX_SCHEMA_FIELDS:
            raise LimitExceeded(f"schema has more than {MAX_SCHEMA_FIELDS} fields")
        namespace = full.rpartition(".")[0]
        parsed = tuple(self.field(item, namespace, level, full) for item in fields)
        names = {item.name for item in parsed}
        taken = [alias for item in parsed for alias in item.aliases]
        if len(names) != len(parsed) or len({*names, *taken}) != len(parsed) + len(taken):
            raise InvalidInput(f"record {full[:64]!r} has a field name or alias twice")
        return AvroType(
            "record",
            depth=1 + max(item.type.depth for item in parsed),
            min_bytes=min(MAX_FIXED_BYTES, sum(item.type.min_bytes for item in parsed)),
            name=full,
            fields=parsed,
        )

    def field(self, item: Any, namespace: str, level: int, record: str) -> AvroField:
        if not isinstance(item, dict):
            raise InvalidInput(f"record {record[:64]!r}: a field is an object")
        name = _simple_name(item.get("name"), f"record {record[:64]!r}")
        where = f"field {name!r}"
        aliases = item.get("aliases", [])
        if not isinstance(aliases, list) or len(aliases) > MAX_SCHEMA_FIELDS:
            raise InvalidInput(f"{where}: aliases are a list of names")
        checked = tuple(_simple_name(alias, where) for alias in aliases)
        return AvroField(name, self.parse(item.get("type"), namespace, level + 1, where), checked)


_MIN_BYTES = {"float": 4, "double": 8}


def _simple_name(name: Any, where: str) -> str:
    if not isinstance(name, str) or len(name) > MAX_NAME_BYTES or not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{where}: {shown(name)} is no Avro name (letters, digits and _, no digit first);"
            " rows with such columns are kept without a declared schema"
        )
    return name


def _full_name(schema: dict[str, Any], namespace: str, where: str) -> str:
    name = schema.get("name")
    if isinstance(name, str) and "." in name:
        full = name
    else:
        space = schema.get("namespace", namespace)
        if not isinstance(space, str):
            raise InvalidInput(f"{where}: namespace is a string")
        full = f"{space}.{name}" if space and isinstance(name, str) else name  # type: ignore[assignment]
    if not isinstance(full, str) or len(full) > MAX_NAME_BYTES:
        raise InvalidInput(f"{where}: a named type needs a name of at most {MAX_NAME_BYTES} bytes")
    for part in full.split("."):
        _simple_name(part, where)
    if full in _PRIMITIVES or full in _COMPLEX or full == "null":
        raise InvalidInput(f"{where}: {full!r} is the name of a type of Avro itself")
    return full


def _symbols(schema: dict[str, Any], where: str) -> tuple[str, ...]:
    symbols = schema.get("symbols")
    if not isinstance(symbols, list) or not 0 < len(symbols) <= MAX_SCHEMA_FIELDS:
        raise InvalidInput(f"{where}: an enum has 1 to {MAX_SCHEMA_FIELDS} symbols")
    checked = tuple(_simple_name(symbol, where) for symbol in symbols)
    if len(set(checked)) != len(checked):
        raise InvalidInput(f"{where}: an enum has a symbol twice")
    return checked


def _fixed(schema: dict[str, Any], full: str, where: str) -> AvroType:
    size = schema.get("size")
    if type(size) is not int or not 0 < size <= MAX_FIXED_BYTES:
        raise InvalidInput(f"{where}: a fixed has a size of 1 to {MAX_FIXED_BYTES} bytes")
    logical = schema.get("logicalType")
    if logical is None:
        return AvroType("fixed", name=full, size=size, min_bytes=size)
    if logical != "decimal":
        raise InvalidInput(f"{where}: logicalType {shown(logical)} on fixed is not supported")
    precision, scale = _decimal_sizes(schema, size, where)
    return AvroType(
        "decimal", name=full, size=size, min_bytes=size, precision=precision, scale=scale
    )


def _decimal_sizes(schema: dict[str, Any], size: int | None, where: str) -> tuple[int, int]:
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if type(precision) is not int or not 0 < precision <= MAX_DECIMAL_DIGITS:
        raise InvalidInput(f"{where}: decimal precision is 1 to {MAX_DECIMAL_DIGITS} digits")
    if type(scale) is not int or not 0 <= scale <= precision:
        raise InvalidInput(f"{where}: decimal scale is 0 to its precision")
    if size is not None and size < _bytes_for(precision):
        raise InvalidInput(f"{where}: {precision} digits do not fit into {size} bytes")
    return precision, scale


def _bytes_for(precision: int) -> int:
    return int((10**precision - 1).bit_length() // 8 + 1)

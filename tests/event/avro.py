"""The same values as fastavro takes and gives them: what the byte comparisons stand on."""

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro

from audit.event.row import Change
from audit.event.values import dumps, loads

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parsed(name: str) -> Any:
    """A schema of the repository as fastavro wants it."""
    return fastavro.parse_schema(json.loads((SCHEMAS / f"{name}.avsc").read_text()))


def write(schema: Any, record: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, record)
    return out.getvalue()


def read(schema: Any, data: bytes) -> Any:
    stream = io.BytesIO(data)
    record = fastavro.schemaless_reader(stream, schema, None, return_record_name=True)
    assert stream.read() == b""
    return record


def value_to_avro(value: Any) -> Any:
    """A value with its union branch said aloud."""
    if value is None:
        return None
    if isinstance(value, Decimal):
        sign, digits, exponent = value.as_tuple()
        number = int("".join(map(str, digits))) * (-1 if sign else 1)
        size = 1
        while not -(1 << (8 * size - 1)) <= number < 1 << (8 * size - 1):
            size += 1
        unscaled = number.to_bytes(size, "big", signed=True)
        return ("attestory.Decimal", {"unscaled": unscaled, "scale": -int(exponent)})
    if isinstance(value, datetime):
        since = value.astimezone(UTC) - EPOCH
        us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        return ("attestory.Timestamp", {"us": us})
    if isinstance(value, date):
        return ("attestory.Date", {"days": (value - date(1970, 1, 1)).days})
    if isinstance(value, list | dict):
        return ("attestory.Json", {"json": dumps(value).encode()})
    names = {bool: "boolean", int: "long", float: "double", str: "string", bytes: "bytes"}
    return (names[type(value)], value)


def fields_to_avro(fields: dict[str, Any] | None) -> Any:
    if fields is None:
        return None
    return [{"name": name, "value": value_to_avro(value)} for name, value in fields.items()]


def row_to_avro(change: Change) -> Any:
    return {
        "image": change.image,
        "before": fields_to_avro(change.before),
        "after": fields_to_avro(change.after),
    }


def value_from_avro(value: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    name, content = value
    if name.endswith("Decimal"):
        digits = int.from_bytes(content["unscaled"], "big", signed=True)
        return Decimal(f"{digits}E{-content['scale']}")
    if name.endswith("Json"):
        return loads(content["json"])
    (only,) = content.values()
    return only


def fields_from_avro(fields: Any) -> Any:
    if fields is None:
        return None
    return {field["name"]: value_from_avro(field["value"]) for field in fields}


def row_from_avro(record: Any) -> Change:
    return Change(
        record["image"], fields_from_avro(record["before"]), fields_from_avro(record["after"])
    )


def record_to_avro(schema: Any, value: Any, named: dict[str, Any] | None = None) -> Any:
    """A record in plain form as fastavro takes it: `schema` is its parsed JSON."""
    if named is None:
        named = {}
        _collect(schema, named)
    if isinstance(schema, str):
        schema = named.get(schema, schema)
    if isinstance(schema, list):
        if value is None:
            return None
        branches = [branch for branch in schema if branch != "null"]
        if len(branches) == 1:
            return record_to_avro(branches[0], value, named)
        if isinstance(value, dict):
            return record_to_avro(branches[0], value, named)
        return ("attestory.Single", {"value": value_to_avro(value)})
    if isinstance(schema, dict) and schema["type"] == "array":
        items = schema["items"]
        if items == "Field" or (isinstance(items, dict) and items["name"] == "Field"):
            return fields_to_avro(value)
        return [record_to_avro(items, item, named) for item in value]
    if isinstance(schema, dict) and schema["type"] == "record":
        return {
            field["name"]: record_to_avro(field["type"], value[field["name"]], named)
            for field in schema["fields"]
        }
    return value


def _collect(schema: Any, named: dict[str, Any]) -> None:
    """Note the records that a schema defines, by name: it may refer to them later."""
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch, named)
    elif isinstance(schema, dict):
        if schema["type"] == "record" and schema["name"] != "Field":
            named[schema["name"]] = schema
            for field in schema["fields"]:
                _collect(field["type"], named)
        elif schema["type"] == "array":
            _collect(schema["items"], named)

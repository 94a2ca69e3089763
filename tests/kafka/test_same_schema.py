"""Which rewritten schemas still are event.v1, and which only look like it."""

import copy
import json
from collections.abc import Callable
from typing import Any

import fastavro
import pytest

from audit.event.canonical import PAYLOAD_BUILTINS, builtin
from audit.event.envelope import EVENT_SCHEMA
from audit.kafka.same_schema import same_schema

EVENT: dict[str, Any] = json.loads(EVENT_SCHEMA)
FIELD = {field["name"]: index for index, field in enumerate(EVENT["fields"])}


def changed(change: Callable[[Any], object]) -> str:
    schema = copy.deepcopy(EVENT)
    change(schema)
    return json.dumps(schema)


def set_type(name: str, type_: Any) -> Callable[[Any], object]:
    return lambda schema: schema["fields"][FIELD[name]].update(type=type_)


def everywhere(node: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    if isinstance(node, list):
        return [everywhere(item, change) for item in node]
    if isinstance(node, dict):
        return change({key: everywhere(item, change) for key, item in node.items()})
    return node


def java_strings(node: dict[str, Any]) -> dict[str, Any]:
    java = {"type": "string", "avro.java.string": "String"}
    if node.get("type") == "string":
        return node | {"type": java}
    if isinstance(node.get("type"), list):
        return node | {"type": [java if part == "string" else part for part in node["type"]]}
    return node


REWRITTEN = {
    "as it is": EVENT_SCHEMA.decode(),
    "indented": json.dumps(EVENT, indent=4),
    "attributes in another order": json.dumps(
        everywhere(EVENT, lambda node: dict(sorted(node.items(), reverse=True)))
    ),
    "without docs": json.dumps(
        everywhere(EVENT, lambda node: {k: v for k, v in node.items() if k != "doc"})
    ),
    "a full name": changed(lambda schema: schema.update(name="attestory.Event", namespace="x")),
    "a namespace said twice": changed(
        lambda schema: schema["fields"][FIELD["encryption"]]["type"][1].update(
            namespace="attestory"
        )
    ),
    "by Java classes": json.dumps(everywhere(EVENT, java_strings)),
    "with defaults": changed(
        lambda schema: [f.update(default=None) for f in schema["fields"][3:5]]
    ),
    "with aliases": changed(lambda schema: schema["fields"][0].update(aliases=["id"])),
    "with more attributes": changed(lambda schema: schema.update({"connect.version": 1})),
    "as fastavro expands it": json.dumps(fastavro.parse_schema(copy.deepcopy(EVENT))),
}

OTHER = {
    "another name": changed(lambda schema: schema.update(name="Evnt")),
    "another namespace": changed(lambda schema: schema.update(namespace="acme")),
    "another field name": changed(lambda schema: schema["fields"][0].update(name="id")),
    "another name of a fixed": changed(
        lambda schema: schema["fields"][FIELD["payload_schema"]]["type"][1].update(name="Digest")
    ),
    "a field more": changed(lambda s: s["fields"].append({"name": "more", "type": "string"})),
    "a field less": changed(lambda schema: schema["fields"].pop()),
    "fields of one type swapped": changed(
        lambda schema: schema["fields"].insert(0, schema["fields"].pop(1))
    ),
    "branches swapped": changed(set_type("entity_key", ["string", "null"])),
    "no longer null": changed(set_type("actor", "string")),
    "bytes for a string": changed(set_type("event_id", "bytes")),
    "int for a long": changed(set_type("producer_sequence", ["null", "int"])),
    "another size": changed(
        lambda schema: schema["fields"][FIELD["payload_schema"]]["type"][1].update(size=20)
    ),
    "no logical type": changed(set_type("valid_time_us", ["null", "long"])),
    "another logical type": changed(
        set_type("valid_time_us", ["null", {"type": "long", "logicalType": "timestamp-millis"}])
    ),
    "a logical type more": changed(
        set_type("event_id", {"type": "string", "logicalType": "uuid"})
    ),
    "an unknown logical type": changed(
        set_type("valid_time_us", ["null", {"type": "long", "logicalType": "ticks"}])
    ),
    "a type from elsewhere": changed(set_type("encryption", ["null", "attestory.Elsewhere"])),
    "a string": '"string"',
    "a union": "[]",
    "a number": "5",
    "nothing": "",
    "JSON Schema": '{"type": "object", "properties": {}}',
    "Protobuf": 'syntax = "proto3"; message Event {}',
    "deep": "[" * 100_000,
    "large": json.dumps({"doc": "x" * 1_000_000}),
    "half a character": '{"type": "record", "name": "\ud800", "fields": []}',
    "a key twice": '{"type": "record", "type": "record"}',
    "names that multiply": json.dumps(
        {
            "type": "record",
            "name": "T30",
            "fields": [
                {
                    "name": f"f{n}",
                    "type": {
                        "type": "record",
                        "name": f"T{n}",
                        "fields": [
                            {"name": side, "type": f"T{n - 1}" if n else "int"} for side in "ab"
                        ],
                    },
                }
                for n in range(25)
            ],
        }
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REWRITTEN)
def test_a_rewritten_schema_is_the_same(name: str) -> None:
    assert same_schema(REWRITTEN[name], EVENT_SCHEMA)


@pytest.mark.parametrize("name", OTHER)
def test_another_schema_is_not(name: str) -> None:
    assert not same_schema(OTHER[name], EVENT_SCHEMA)


@pytest.mark.parametrize("name", ["entry.v1", *PAYLOAD_BUILTINS])
def test_our_other_schemas_are_not(name: str) -> None:
    assert not same_schema(builtin(name).decode(), EVENT_SCHEMA)

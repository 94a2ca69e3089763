"""The name of an Avro schema in single-object encoding: CRC-64-AVRO of its parsing canonical form.

Avro 1.11 specification, "Parsing Canonical Form for Schemas", "Schema Fingerprints" and
"Single-object encoding". The fingerprint only tells versions of an envelope apart; what counts as
evidence is the SHA-256 of the whole canonical JSON (see `schema`).
"""

import json
from typing import Any

SINGLE_OBJECT_MAGIC = b"\xc3\x01"
EMPTY_CRC = 0xC15D213AA4D7A795

_KEPT = ("name", "type", "fields", "symbols", "items", "values", "size")
_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (EMPTY_CRC if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _crc_table()


def crc64_avro(data: bytes) -> int:
    """CRC-64-AVRO, as an unsigned number."""
    crc = EMPTY_CRC
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc


def parsing_canonical_form(schema: Any) -> str:
    """The parsing canonical form of a valid schema that was parsed from JSON."""
    return json.dumps(_canonical(schema, ""), separators=(",", ":"), ensure_ascii=False)


def _canonical(schema: Any, namespace: str) -> Any:
    if isinstance(schema, str):
        return schema if schema in _PRIMITIVES else _full(schema, namespace)
    if isinstance(schema, list):
        return [_canonical(branch, namespace) for branch in schema]
    kind = schema["type"]
    if kind in _PRIMITIVES:
        return kind
    out: dict[str, Any] = {}
    if "name" in schema:
        out["name"] = _full(schema["name"], schema.get("namespace", namespace))
        namespace = out["name"].rpartition(".")[0]
    for key in _KEPT:
        if key == "type":
            out[key] = kind
        elif key == "fields" and key in schema:
            out[key] = [
                {"name": field["name"], "type": _canonical(field["type"], namespace)}
                for field in schema[key]
            ]
        elif key in ("items", "values") and key in schema:
            out[key] = _canonical(schema[key], namespace)
        elif key in ("symbols", "size") and key in schema:
            out[key] = schema[key]
    return out


def _full(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def single_object_prefix(schema_json: bytes) -> bytes:
    """The ten bytes before a body: C3 01 and the fingerprint, little endian."""
    form = parsing_canonical_form(json.loads(schema_json))
    return SINGLE_OBJECT_MAGIC + crc64_avro(form.encode()).to_bytes(8, "little")

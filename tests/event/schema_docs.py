"""Writes schemas/README.md, the field dictionary, from the docs in the schemas themselves.

Run it as `python -m tests.event.schema_docs` after a schema was added; a test compares.
"""

import json
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
README = SCHEMAS / "README.md"
SHARED = ("Field", "Decimal", "Date", "Timestamp", "Json", "Hash")

INTRO = """# Schemas

Avro schemas of everything that is stored or sent. This page is made from them by
`python -m tests.event.schema_docs`; a test keeps it in step. One valid example of each is in
`examples/`, with the values that JSON lacks spelled with $-keys (`{"$bytes": "base64"}` ...).

- A schema is named by the SHA-256 of its canonical JSON: object keys sorted, no white space, and
  everything else kept, docs included. So a released `.v1` file never changes, not even in a doc;
  what is new goes into a `.v2`.
- `event.v1` and `entry.v1` are envelopes, in Avro single-object encoding. The others are payloads:
  plain Avro binary, and the event names the schema by its SHA-256.
- On a topic with a schema registry `event.v1` is in the Confluent wire format instead: 0x00, the
  registry's id (4 bytes, big endian), the body. It is put back before it is signed or sealed.
  Register it as it is here; what differs in docs, defaults and aliases alone is taken as well.
- Strings are UTF-8 and may hold any character, U+0000 and newlines too.
- A dataset may declare a schema of its own; its changes are then written in a record around it
  (`AttestoryChange`: image, before, after), which goes into the log like any other schema.
- Times are microseconds since 1970-01-01T00:00:00Z. Sizes are counts, indexes count from 0.
- A list of `Field` is a dict of values in Python and an object in JSON; a name stands in it once.
"""


def type_text(schema: Any) -> str:
    """A type as a reader says it."""
    if isinstance(schema, str):
        return schema
    if isinstance(schema, list):
        named = [type_text(branch) for branch in schema if branch != "null"]
        return " or ".join([*named, *(["null"] if "null" in schema else [])])
    kind = schema["type"]
    if kind == "array":
        return f"array of {type_text(schema['items'])}"
    if kind == "enum":
        return f"{schema['name']} ({', '.join(schema['symbols'])})"
    if kind == "fixed":
        return f"{schema['name']} ({schema['size']} bytes)"
    if kind == "record":
        return str(schema["name"])
    return f"{kind} ({schema['logicalType']})" if "logicalType" in schema else str(kind)


def rows(schema: Any, path: str, found: dict[str, Any]) -> list[str]:
    """The table rows of a record; named types met on the way go into `found`."""
    out = []
    inner: list[tuple[Any, str]] = []
    for field in schema["fields"]:
        out.append(f"| `{path}{field['name']}` | {type_text(field['type'])} | {field['doc']} |")
        collect(field["type"], inner, found)
    for record, name in inner:
        if name not in SHARED:
            out.extend(rows(record, f"{name}.", found))
    return out


def collect(schema: Any, inner: list[tuple[Any, str]], found: dict[str, Any]) -> None:
    """Named types inside a type, each once, in the order they are met."""
    if isinstance(schema, list):
        for branch in schema:
            collect(branch, inner, found)
    elif isinstance(schema, dict):
        if schema["type"] == "array":
            collect(schema["items"], inner, found)
        elif schema["type"] == "record":
            inner.append((schema, schema["name"]))
            if schema["name"] in SHARED:
                found[schema["name"]] = schema
                for field in schema["fields"]:
                    collect(field["type"], [], found)
        elif "name" in schema:
            found[schema["name"]] = schema


def readme() -> str:
    """The whole page."""
    parts = [INTRO]
    found: dict[str, Any] = {}
    for path in sorted(SCHEMAS.glob("*.avsc")):
        schema = json.loads(path.read_text())
        parts.append(
            f"## {path.stem}\n\n{schema['doc']}\n\n| field | type | meaning |\n|---|---|---|\n"
            + "\n".join(rows(schema, "", found))
            + "\n"
        )
    lines = ["## Types that several schemas share\n", "| field | type | meaning |", "|---|---|---|"]
    for name in SHARED:
        schema = found[name]
        if schema["type"] == "record":
            lines.extend(
                f"| `{name}.{field['name']}` | {type_text(field['type'])} | {field['doc']} |"
                for field in schema["fields"]
            )
        else:
            lines.append(f"| `{name}` | {type_text(schema)} | {schema['doc']} |")
    return "\n".join(parts) + "\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    README.write_text(readme())

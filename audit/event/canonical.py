"""Schemas as evidence: their canonical JSON, its SHA-256, and the built-in ones.

Canonical JSON keeps everything a schema says - logical types, precision, scale, defaults, aliases,
docs, the order of fields and symbols - and drops only white space; object keys are sorted, text is
UTF-8. (Avro's own parsing canonical form drops what changes the meaning of a decimal or a rename.)
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from audit.errors import FormatError, InvalidInput, LimitExceeded, NotFound
from audit.event.normal import check_text
from audit.event.shown import shown
from audit.event.valuejson import parse_json

MAX_SCHEMA_BYTES = 60_000
"""Longest canonical JSON of a schema: it must fit into the event that brings it."""
MAX_SCHEMA_NODES = 30_000
"""How many names, lists, objects and the like a schema may consist of."""
MAX_SCHEMA_JSON_DEPTH = 200

BUILTINS = (
    "dataset_version.v1",
    "entry.v1",
    "event.v1",
    "feature_definition.v1",
    "ground_truth.v1",
    "model_run.v1",
    "model_transition.v1",
    "model_version.v1",
    "model_version.v2",
    "prediction.v1",
    "prediction.v2",
    "record.v1",
    "review.v1",
    "row.v1",
    "run.v1",
)
"""The schemas that this library brings."""
PAYLOAD_BUILTINS = tuple(name for name in BUILTINS if name not in ("entry.v1", "event.v1"))


def canonical_schema(schema: dict[str, Any] | list[Any] | str | bytes) -> bytes:
    """The canonical JSON of a schema given as JSON text or as parsed JSON.

    Whether it is a schema that payloads may use is for `declared.declare` to say.
    Raises FormatError for text that is not JSON, InvalidInput, LimitExceeded.
    """
    if isinstance(schema, str | bytes):
        schema = parsed_schema(schema)
    else:
        _check_size(schema)
    text = json.dumps(
        schema, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
    )
    canonical = text.encode()
    if len(canonical) > MAX_SCHEMA_BYTES:
        raise _too_large()
    return canonical


def parsed_schema(text: str | bytes) -> Any:
    """The JSON of a schema, of bounded size and depth. Raises FormatError, LimitExceeded."""
    if len(text) > 4 * MAX_SCHEMA_BYTES:
        raise _too_large()
    schema = parse_json(text)
    _check_size(schema)
    return schema


def _too_large() -> LimitExceeded:
    return LimitExceeded(f"schema is larger than {MAX_SCHEMA_BYTES} bytes or its parts too many")


def _check_size(schema: Any) -> None:
    """Refuse what is no parsed JSON, or too much of it, before any work is done on it."""
    budget = MAX_SCHEMA_NODES
    chars = 4 * MAX_SCHEMA_BYTES
    todo: list[tuple[Any, int]] = [(schema, 1)]
    while todo:
        node, depth = todo.pop()
        if depth > MAX_SCHEMA_JSON_DEPTH:
            raise LimitExceeded(f"schema is nested deeper than {MAX_SCHEMA_JSON_DEPTH} levels")
        if isinstance(node, dict):
            budget -= len(node)
            if budget < 0:
                raise _too_large()
            for key, item in node.items():
                if not isinstance(key, str):
                    raise InvalidInput(f"schema has a key that is no string: {shown(key)}")
                chars -= len(key)
                check_text(key[: chars + 1])
                todo.append((item, depth + 1))
        elif isinstance(node, list):
            budget -= len(node)
            if budget < 0:
                raise _too_large()
            todo.extend((item, depth + 1) for item in node)
        elif isinstance(node, str):
            chars -= len(node)
            if chars >= 0:
                check_text(node)
        elif isinstance(node, int) and not isinstance(node, bool):
            if node.bit_length() > 64:
                raise InvalidInput("schema has an integer beyond 64 bits")
        elif isinstance(node, float):
            if node - node != 0:
                raise InvalidInput("schema has a number that is not finite")
        elif node is not None and not isinstance(node, bool):
            raise InvalidInput(f"schema holds a {type(node).__name__}, which JSON has not")
        if chars < 0:
            raise _too_large()


def schema_hash(canonical: bytes) -> bytes:
    """SHA-256 of a schema's canonical JSON: 32 bytes, what payloads and entries name it by."""
    return hashlib.sha256(canonical).digest()


@cache
def builtin(name: str) -> bytes:
    """The canonical JSON of a built-in schema, by the name of its file without ".avsc".

    Raises NotFound for another name, FormatError when the installation is damaged.
    """
    if name not in BUILTINS:
        raise NotFound(f"no built-in schema {shown(name)}; there are {', '.join(BUILTINS)}")
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "schemas", package.parent / "schemas"):
        path = folder / f"{name}.avsc"
        if path.is_file():
            return canonical_schema(path.read_bytes())
    raise FormatError(f"schema file {name}.avsc is missing: install the package again")

"""Payload schemas, all in one place: canonical JSON, declared datasets, a log's book."""

from audit.event.book import PayloadSchema, SchemaBook
from audit.event.canonical import (
    BUILTINS,
    MAX_SCHEMA_BYTES,
    PAYLOAD_BUILTINS,
    builtin,
    canonical_schema,
    schema_hash,
)
from audit.event.declared import DeclaredSchema, change_schema, declare

__all__ = [
    "BUILTINS",
    "MAX_SCHEMA_BYTES",
    "PAYLOAD_BUILTINS",
    "DeclaredSchema",
    "PayloadSchema",
    "SchemaBook",
    "builtin",
    "canonical_schema",
    "change_schema",
    "declare",
    "schema_hash",
]

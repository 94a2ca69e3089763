"""The book of schemas that a log holds so far: SHA-256 -> schema, ready to read payloads with.

A book knows what it is told, nothing else: a fold at T adds the schemas recorded up to T. Adding a
schema that no payload can be read with is not an error (it is in the log, and that is all);
reading a payload with it is.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Self

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.avrotype import AvroType, parse_type
from audit.event.canonical import (
    MAX_SCHEMA_BYTES,
    PAYLOAD_BUILTINS,
    builtin,
    schema_hash,
)
from audit.event.codec_read import decode_whole, decoder_of
from audit.event.codec_write import encoder_of
from audit.event.declared import aliases_of, change_decoder, encode_change, row_type_of
from audit.event.fields import decode_fields, encode_fields
from audit.event.row import Change, decode_row, encode_row


class PayloadSchema:
    """One schema of a book, compiled. `problem` says why no payload can be read with it."""

    __slots__ = ("_decode", "canonical", "hash", "problem", "row", "type")

    def __init__(self, canonical: bytes) -> None:
        self.canonical = canonical
        self.hash = schema_hash(canonical)
        self.problem: str | None = None
        self.type: AvroType | None = None
        self.row: AvroType | None = None
        """The declared row, when the schema is that of a declared dataset's changes."""
        self._decode: Any = None
        try:
            self._compile()
        except InvalidInput as error:
            self.problem = f"schema {self.hash.hex()[:16]} is not supported: {error}"

    def _compile(self) -> None:
        if self.canonical == builtin("row.v1"):
            self._decode = lambda data, pos: (decode_row(data), len(data))
        elif self.canonical == builtin("record.v1"):
            self._decode = decode_fields
        else:
            self.type = parse_type(self.canonical)
            self.row = row_type_of(self.type)
            if self.type.kind != "record":
                raise InvalidInput("the schema of a payload is a record")
            self._decode = decoder_of(self.type) if self.row is None else change_decoder(self.row)

    @property
    def aliases(self) -> dict[str, str]:
        """Old column name -> new column name; empty unless the schema is a declared dataset's."""
        return {} if self.row is None else aliases_of(self.row)

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The declared columns in their order; None unless the schema is a declared dataset's."""
        return None if self.row is None else tuple(field.name for field in self.row.fields)

    def decode(self, data: bytes) -> Change | dict[str, Any]:
        """What the bytes say, all of them. Raises FormatError, LimitExceeded."""
        if self._decode is None:
            raise FormatError(self.problem or "schema is not usable")
        value: Change | dict[str, Any] = decode_whole(self._decode, data)
        return value

    def encode(self, said: Change | dict[str, Any]) -> bytes:
        """The bytes that say this. Raises InvalidInput naming the field, LimitExceeded."""
        if self.problem is not None:
            raise InvalidInput(self.problem)
        if isinstance(said, Change):
            if self.row is not None:
                return encode_change(self.row.name, encoder_of(self.row), said)
            if self.type is None and self.canonical == builtin("row.v1"):
                return encode_row(said)
        elif self.type is None and self.canonical == builtin("record.v1"):
            return encode_fields(said)
        elif self.type is not None and self.row is None:
            return encoder_of(self.type)(said)
        raise InvalidInput(f"schema {self.hash.hex()[:16]}... is not one for this type of event")


@lru_cache(maxsize=512)
def compiled(canonical: bytes) -> PayloadSchema:
    """A schema ready to read with; the same object for the same bytes while it is in the cache."""
    return PayloadSchema(canonical)


class SchemaBook:
    """Schemas by their SHA-256."""

    def __init__(self) -> None:
        self._canonical: dict[bytes, bytes] = {}
        self._ready: dict[bytes, PayloadSchema] = {}

    @classmethod
    def with_builtins(cls) -> Self:
        """A book that knows the built-in payload schemas from the start."""
        book = cls()
        for name in PAYLOAD_BUILTINS:
            book.add(builtin(name))
        return book

    def add(self, canonical: bytes) -> bytes:
        """Enter a schema; returns its SHA-256. Raises LimitExceeded when it is too long."""
        if len(canonical) > MAX_SCHEMA_BYTES:
            raise LimitExceeded(f"schema of {len(canonical)} bytes: at most {MAX_SCHEMA_BYTES}")
        name = schema_hash(canonical)
        self._canonical[name] = canonical
        return name

    def get(self, name: bytes) -> PayloadSchema | None:
        """The schema with this SHA-256, ready to read with; None when the book lacks it."""
        ready = self._ready.get(name)
        if ready is None:
            canonical = self._canonical.get(name)
            if canonical is None:
                return None
            ready = self._ready[name] = compiled(canonical)
        return ready

    def canonical(self, name: bytes) -> bytes | None:
        """The canonical JSON with this SHA-256; None when the book lacks it."""
        return self._canonical.get(name)

    def aliases(self, name: bytes) -> dict[str, str]:
        """Old column name -> new column name of a declared dataset; else empty."""
        ready = self.get(name)
        return {} if ready is None else ready.aliases

    def copy(self) -> Self:
        """A book with the same schemas, to go on with apart."""
        book = type(self)()
        book._canonical = dict(self._canonical)
        book._ready = dict(self._ready)
        return book

    def __contains__(self, name: object) -> bool:
        return name in self._canonical

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._canonical)

    def __len__(self) -> int:
        return len(self._canonical)

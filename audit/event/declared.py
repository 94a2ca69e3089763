"""Datasets with a schema of their own: declaring it, and what their changes are written in.

A declared schema is an Avro record, one field a column. A change of a row is a record around it:

    AttestoryChange = image enum AttestoryImage (patch, full), before [null, ROW], after [null, ROW]

Only full images are written with it; a patch names just some columns and goes into `row.v1`, after
its values were held against the declared columns.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from audit.errors import FormatError, InvalidInput, LimitExceeded
from audit.event.avrotype import AvroType, parse_type
from audit.event.canonical import canonical_schema, schema_hash
from audit.event.codec_read import Decoder, decoder_of
from audit.event.codec_write import Encoder, encoder_of
from audit.event.normal import named
from audit.event.row import FULL, MAX_ROW_BYTES, PATCH, Change
from audit.event.shown import shown

CHANGE_NAME = "AttestoryChange"
IMAGE_NAME = "AttestoryImage"

_IMAGES = (PATCH, FULL)


@dataclass(frozen=True)
class DeclaredSchema:
    """A dataset's declared schema, checked. Made by `declare`."""

    name: str
    """Full name of the record."""
    canonical: bytes
    """Canonical JSON of the schema as the user gave it."""
    type: AvroType

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns in their order."""
        return tuple(field.name for field in self.type.fields)

    @property
    def aliases(self) -> dict[str, str]:
        """Old column name -> the name it has here."""
        return aliases_of(self.type)

    @cached_property
    def change_canonical(self) -> bytes:
        """Canonical JSON of the schema of this dataset's changes."""
        return change_schema(self)

    @cached_property
    def change_hash(self) -> bytes:
        """SHA-256 of `change_canonical`: what payloads name."""
        return schema_hash(self.change_canonical)

    @cached_property
    def _row(self) -> Encoder:
        return encoder_of(self.type)

    @cached_property
    def _columns(self) -> dict[str, Encoder]:
        return {field.name: encoder_of(field.type) for field in self.type.fields}

    def encode_change(self, change: Change) -> bytes:
        """The bytes of a change with full images. Raises InvalidInput naming the field."""
        return encode_change(self.name, self._row, change)

    def check_patch(self, fields: Mapping[str, Any]) -> None:
        """Refuse columns that are not declared, and values that do not fit (InvalidInput)."""
        for name, value in fields.items():
            encode = self._columns.get(name)
            if encode is None:
                raise InvalidInput(f"field {shown(name)} is not declared in {self.name}")
            try:
                encode(value)
            except InvalidInput as error:
                raise named(error, name) from None


def declare(schema: dict[str, Any] | str | bytes | DeclaredSchema) -> DeclaredSchema:
    """The declared schema of a dataset: a non-recursive Avro record (see `avrotype`).

    Raises InvalidInput or LimitExceeded, saying which part is not supported.
    """
    if isinstance(schema, DeclaredSchema):
        return schema
    canonical = canonical_schema(schema)
    parsed = parse_type(canonical)
    if parsed.kind != "record":
        raise InvalidInput(f"a dataset's schema is a record, not {parsed.kind}")
    declared = DeclaredSchema(parsed.name, canonical, parsed)
    change_type(declared.change_canonical)
    return declared


def change_schema(declared: DeclaredSchema) -> bytes:
    """Canonical JSON of the schema for changes of a declared dataset."""
    return canonical_schema(
        {
            "type": "record",
            "name": CHANGE_NAME,
            "doc": "A change to one row of a dataset, whole rows in its declared schema.",
            "fields": [
                {
                    "name": "image",
                    "type": {"type": "enum", "name": IMAGE_NAME, "symbols": list(_IMAGES)},
                    "doc": "full: the whole row, fields not in it are gone.",
                },
                {
                    "name": "before",
                    "type": ["null", json.loads(declared.canonical)],
                    "doc": "The row before the change, if it was given.",
                },
                {
                    "name": "after",
                    "type": ["null", declared.name],
                    "doc": "The row after the change; null for a delete.",
                },
            ],
        }
    )


def change_type(canonical: bytes) -> AvroType | None:
    """The row's type when this is a schema for changes, else None. Raises InvalidInput."""
    return row_type_of(parse_type(canonical))


def row_type_of(parsed: AvroType) -> AvroType | None:
    """The row's type within a parsed schema for changes; None when it is no such schema."""
    if parsed.kind != "record" or parsed.name != CHANGE_NAME:
        return None
    names = tuple(field.name for field in parsed.fields)
    if names != ("image", "before", "after"):
        return None
    image, before, after = (field.type for field in parsed.fields)
    row = before.item
    if image.kind != "enum" or image.symbols != _IMAGES or row is None or row.kind != "record":
        return None
    if after.item is not row or not before.null_first or not after.null_first:
        return None
    return row


def encode_change(name: str, encode_row: Encoder, change: Change) -> bytes:
    """The bytes of a change of rows that `encode_row` writes; `name` of the dataset's schema.

    Raises InvalidInput naming the field, LimitExceeded.
    """
    out = [_image_byte(change.image)]
    for side, row in (("before", change.before), ("after", change.after)):
        if row is None:
            out.append(b"\x00")
            continue
        try:
            out.append(b"\x02" + encode_row(row))
        except InvalidInput as error:
            raise type(error)(f"{side} does not fit {name}: {error}") from None
    data = b"".join(out)
    if len(data) > MAX_ROW_BYTES:
        raise LimitExceeded(f"row of {len(data)} bytes: at most {MAX_ROW_BYTES}")
    return data


def change_decoder(row: AvroType) -> Decoder:
    """The function that reads a change of rows of this type."""
    decode_row = decoder_of(row)

    def optional(data: bytes, pos: int) -> tuple[dict[str, Any] | None, int]:
        branch = data[pos] if pos < len(data) else 0xFF
        if branch == 0:
            return None, pos + 1
        if branch == 2:
            return decode_row(data, pos + 1)
        raise FormatError(f"cut off, or no such union branch at byte {pos}")

    def decode(data: bytes, pos: int) -> tuple[Change, int]:
        image = data[pos] if pos < len(data) else 0xFF
        if image not in (0, 2):
            raise FormatError("does not begin with an image (patch or full)")
        before, pos = optional(data, pos + 1)
        after, pos = optional(data, pos)
        return Change(_IMAGES[image >> 1], before, after), pos

    return decode


def aliases_of(row: AvroType) -> dict[str, str]:
    """Old name -> new name of the columns of a record."""
    return {alias: field.name for field in row.fields for alias in field.aliases}


def _image_byte(image: str) -> bytes:
    if image not in _IMAGES:
        raise InvalidInput(f"image is 'patch' or 'full', not {shown(image)}")
    return b"\x02" if image == FULL else b"\x00"

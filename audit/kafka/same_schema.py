"""When a schema, as a registry gives it back, is still the schema that was registered.

Registries rewrite the JSON they are given (white space, the order of attributes, names with or
without their namespace), and other languages add attributes of their own (`avro.java.string`). So
two schemas are the same here when they say the same about every byte and its meaning:

- the same full names of records and fixed types, the same field names in the same order;
- the same types, unions with their branches in the same order, sizes, and logical types: a long
  that is no timestamp-micros has the same bytes, but says something else;
- docs, defaults, aliases and unknown attributes may differ: they change nothing about what was
  written.

(The log is stricter: there a schema is named by the SHA-256 of all its canonical JSON.)
"""

from functools import lru_cache

from audit.errors import InvalidInput
from audit.event.avrotype import AvroType, parse_type


def same_schema(text: str, canonical: bytes) -> bool:
    """True when a stranger's schema text is the same as this canonical schema of ours."""
    try:
        return _same(parse_type(text.encode()), _parsed(canonical))
    except (InvalidInput, UnicodeEncodeError):
        return False  # one that no schema of ours could be


@lru_cache(maxsize=4)
def _parsed(canonical: bytes) -> AvroType:
    return parse_type(canonical)


def _same(one: AvroType, two: AvroType) -> bool:
    """Walks no further than `two` reaches, however the other one's names multiply."""
    return (
        (one.kind, one.name, one.null_first, one.symbols, one.size, one.precision, one.scale)
        == (two.kind, two.name, two.null_first, two.symbols, two.size, two.precision, two.scale)
        and [field.name for field in one.fields] == [field.name for field in two.fields]
        and all(_same(a.type, b.type) for a, b in zip(one.fields, two.fields, strict=True))
        and (one.item is None) == (two.item is None)
        and (one.item is None or two.item is None or _same(one.item, two.item))
    )

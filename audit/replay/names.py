"""Names of output columns: the key has one, and fields that would take it move aside."""

import re

KEY_COLUMN = "entity_key"
"""What the key is called in every output."""

_TAKEN = re.compile(r"entity_key_*")


def output_name(field: str) -> str:
    """The column of a field: `entity_key` comes out as `entity_key_`, and `entity_key_` as
    `entity_key__`, so that no two fields ever meet. Every other name stays.
    """
    return field + "_" if _TAKEN.fullmatch(field) else field

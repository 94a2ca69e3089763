"""Decoding what a store gives for an index: a leaf that is none, or another's, is not believed."""

from audit.errors import InvalidInput, StoreCorrupt
from audit.log.record import Record, read_record


def trusted_record(log: int, index: int, leaf: bytes) -> Record:
    """Decode a leaf. Raises StoreCorrupt when it is none, or not the one of this index."""
    try:
        record = read_record(log, leaf)
    except InvalidInput as error:
        raise StoreCorrupt(
            f"entry {log}/{index} cannot be read: {error}; run audit verify"
        ) from None
    if record.index != index:
        raise StoreCorrupt(
            f"entry {log}/{index} says that it is entry {record.index}; run audit verify"
        )
    return record

"""What this ledger knows at all: its datasets, and whether a thing was ever recorded."""

from audit.errors import NotFound
from audit.event.envelope import RESERVED_ENTITY_TYPES
from audit.event.types import DATA_TYPES
from audit.replay.refs import Ref, parse_entity
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

MAX_KNOWN_LISTED = 20
"""Entity types that an error lists."""
REVIEW_ENTITY = "review"
"""What review events are about; no reserved word, so it may be a dataset as well."""


def datasets(reader: Reader) -> list[str]:
    """The entity types of this ledger that are datasets, sorted."""
    found = {name for info in reader.logs() for name in reader.entity_types(info.log)}
    if REVIEW_ENTITY in found and not _has_rows(reader, REVIEW_ENTITY):
        found.remove(REVIEW_ENTITY)
    return sorted(found - RESERVED_ENTITY_TYPES)


def _has_rows(reader: Reader, entity_type: str) -> bool:
    """Whether anything that happened to data is recorded of it."""
    for info in reader.logs():
        for index, leaf in reader.entity(info.log, entity_type):
            event = trusted_record(info.log, index, leaf).event
            if event is not None and event.type in DATA_TYPES:
                return True
    return False


def require_dataset(reader: Reader, entity_type: str) -> None:
    """Raise NotFound, listing the datasets there are, unless this is one; InvalidInput for a word
    that can be none.
    """
    known = datasets(reader)
    if parse_entity(entity_type) in known:
        return
    if not known:
        raise NotFound(f"no dataset {entity_type}: this ledger has none yet")
    listed = ", ".join(known[:MAX_KNOWN_LISTED]) + (
        ", ..." if len(known) > MAX_KNOWN_LISTED else ""
    )
    raise NotFound(f"no dataset {entity_type}; this ledger has {listed}")


def require_recorded(reader: Reader, ref: Ref) -> None:
    """Raise NotFound unless something of this thing is recorded, be it after the asked point."""
    for info in reader.logs():
        if next(iter(reader.entity(info.log, ref.entity_type, ref.entity_key)), None) is not None:
            return
    raise NotFound(f"nothing is recorded of {ref}")

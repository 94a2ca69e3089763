"""What this ledger knows at all: its datasets, and whether a thing was ever recorded."""

from typing import NamedTuple

from audit.errors import NotFound
from audit.event.envelope import RESERVED_ENTITY_TYPES
from audit.event.types import DATA_TYPES
from audit.replay.refs import Ref, parse_entity
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader
from audit.tlog.hashing import leaf_hash

MAX_KNOWN_LISTED = 20
"""Entity types that an error lists."""
REVIEW_ENTITY = "review"
"""What review events are about; no reserved word, so it may be a dataset as well."""

MAX_LOOKED = 1_000
"""Logs of which is remembered how far they were looked through; some hundred bytes each."""


class _Looked(NamedTuple):
    """No row was found below a size. `last`: the leaf hash of the entry before it."""

    size: int
    last: bytes


_LOOKED: dict[tuple[str, str, str], _Looked] = {}


def datasets(reader: Reader) -> list[str]:
    """The entity types of this ledger that are datasets, sorted."""
    found = {name for info in reader.logs() for name in reader.entity_types(info.log)}
    if REVIEW_ENTITY in found and not _has_rows(reader, REVIEW_ENTITY):
        found.remove(REVIEW_ENTITY)
    return sorted(found - RESERVED_ENTITY_TYPES)


def _has_rows(reader: Reader, entity_type: str) -> bool:
    """Whether anything that happened to data is recorded of it."""
    return any(_has_rows_in(reader, entity_type, *one) for one in _logs(reader))


def _logs(reader: Reader) -> list[tuple[int, str, int]]:
    return [(info.log, info.origin, reader.size(info.log)) for info in reader.logs()]


def _has_rows_in(reader: Reader, entity_type: str, log: int, origin: str, size: int) -> bool:
    """The same of one log; what was looked through before is not looked through again."""
    place = (reader.address, origin, entity_type)
    looked = _LOOKED.get(place)
    start = 0
    if looked is not None and looked.size <= size and reader.complete:
        start = looked.size if _hash_at(reader, log, looked.size - 1) == looked.last else 0
    found = size
    for index, leaf in reader.entity(log, entity_type, None, size, start):
        event = trusted_record(log, index, leaf).event
        if event is not None and event.type in DATA_TYPES:
            found = index
            break
    last = _hash_at(reader, log, found - 1)
    if last is not None and reader.complete:
        if len(_LOOKED) >= MAX_LOOKED:
            _LOOKED.clear()
        _LOOKED[place] = _Looked(found, last)
    return found < size


def _hash_at(reader: Reader, log: int, index: int) -> bytes | None:
    """The leaf hash of an entry, which stands for all before it; None where there is none."""
    try:
        return leaf_hash(reader.leaf(log, index))
    except (NotFound, TypeError):
        return None


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

"""The schema events of a log: found again for every answer, but each decoded only once.

Nothing of the store is remembered, so nothing can become stale: what is kept is what the bytes of a
leaf say, found by these bytes. A leaf that was changed since is another one, and read as such.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from audit.event.book import compiled
from audit.event.canonical import MAX_SCHEMA_BYTES
from audit.event.types import SCHEMA, SCHEMA_SOURCE
from audit.log.entry import Kind
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

KEPT_SCHEMA_LEAVES = 512
"""Leaves of schema events that are kept decoded, those asked for last; each up to 64 KiB."""


class SchemaVersion(NamedTuple):
    """A version of a declared schema, as a log first recorded it."""

    hash: bytes
    recorded_time_us: int
    name: str
    columns: tuple[str, ...]
    aliases: Mapping[str, str]


class SchemaEvent(NamedTuple):
    """A schema where a log recorded it.

    `declared` is None unless it is that of a declared dataset's changes. `by_hash`: its event is
    named by its hash, as everything that looks for a schema expects.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    hash: bytes
    canonical: bytes
    by_hash: bool
    declared: SchemaVersion | None


def schema_events(reader: Reader, log: int, size: int) -> Iterator[SchemaEvent]:
    """The schema events of a log below a size, in log order. Raises StoreCorrupt."""
    for index, leaf in reader.special(log, size, int(Kind.EVENT)):
        found = _read(log, index, leaf)
        if found is not None:
            yield found


@lru_cache(maxsize=KEPT_SCHEMA_LEAVES)
def _read(log: int, index: int, leaf: bytes) -> SchemaEvent | None:
    record = trusted_record(log, index, leaf)
    event = record.event
    if event is None or event.type != SCHEMA:
        return None
    schema = compiled(event.payload)
    named = event.source == SCHEMA_SOURCE and event.event_id == schema.hash.hex()
    by_hash = named and len(event.payload) <= MAX_SCHEMA_BYTES
    declared = None
    if schema.row is not None and schema.columns is not None:
        declared = SchemaVersion(
            schema.hash,
            record.entry.recorded_time_us,
            schema.row.name,
            schema.columns,
            schema.aliases,
        )
    return SchemaEvent(index, schema.hash, event.payload, by_hash, declared)

"""Where a log ends, read under its lock: what this process believes, checked against the store.

A log must never sign a tree that does not continue what it signed before. So a head is taken from
the store only if the newest checkpoint is signed by this writer's key and its root is the root of
the entries and tiles that are there. Anything else is refused, and nothing is written.
"""

from typing import TYPE_CHECKING

from sqlalchemy import BindParameter, Connection, bindparam, func, select

from audit.errors import FormatError, InvalidInput, StoreCorrupt, UnknownKey, Unproven
from audit.log.entry import decode_entry
from audit.log.sequence import Head, follow
from audit.store import tables
from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.hashing import leaf_hash
from audit.tlog.keys import Verifier
from audit.tlog.merkle import TreeEdge

if TYPE_CHECKING:
    from audit.store.sql_reader import SqlReader

FOLLOW_LIMIT = 5_000
"""Up to this many entries of other writers are followed; over it the edge is read from tiles."""

# Made once: to build a statement, and to find its compiled form, takes longer than to run it.
_LOG: BindParameter[int] = bindparam("log")
_entries = tables.entries.c
_checkpoints = tables.checkpoints.c
_NEWEST_NOTE = (
    select(_checkpoints.size, _checkpoints.note)
    .where(_checkpoints.log == _LOG)
    .order_by(_checkpoints.size.desc())
    .limit(1)
)
NEWEST_INDEX = select(func.max(_entries.index)).where(_entries.log == _LOG)
"""The index of a log's newest entry; takes the log."""
_LEAVES = (
    select(_entries.leaf)
    .where(_entries.log == _LOG)
    .where(_entries.index >= bindparam("start"), _entries.index < bindparam("stop"))
    .order_by(_entries.index)
)


def recover_head(
    reader: "SqlReader",
    connection: Connection,
    log: int,
    believed: Head | None,
    verifier: Verifier,
) -> Head:
    """The head of the log as it is stored now, proven against its newest checkpoint.

    `believed` is what this writer last committed or saw. Raises StoreCorrupt when the store is
    behind it, differs from it or contradicts itself, InvalidInput when the key is not the log's.
    """
    checkpoint = _newest_checkpoint(reader, connection, log, verifier)
    if believed is not None and believed.size > checkpoint.size:
        raise StoreCorrupt(
            f"log {log} of {reader.address} has {checkpoint.size} entries, this writer sealed "
            f"{believed.size}: it was rolled back; restore the newer copy, then open it again"
        )
    if believed is not None and checkpoint.size - believed.size <= FOLLOW_LIMIT:
        head = follow(believed, leaves_of(connection, log, believed.size, checkpoint.size))
    else:
        head = _from_tiles(reader, connection, log, checkpoint.size)
    if head.size != checkpoint.size or head.edge.root() != checkpoint.root:
        raise StoreCorrupt(
            f"log {log} of {reader.address} does not have the root that its newest checkpoint "
            f"signs at size {checkpoint.size}; run `audit verify` to find the first bad entry"
        )
    return head


def _newest_checkpoint(
    reader: "SqlReader", connection: Connection, log: int, verifier: Verifier
) -> Checkpoint:
    row = connection.execute(_NEWEST_NOTE, {"log": log}).first()
    newest = connection.execute(NEWEST_INDEX, {"log": log}).scalar()
    if row is None or newest is None:
        raise StoreCorrupt(f"log {log} of {reader.address} has no entries or no checkpoint")
    try:
        checkpoint = open_checkpoint(row.note, [verifier])
    except UnknownKey:
        raise InvalidInput(
            f"the key {verifier.vkey} is not the one that signed log {log} of {reader.address}"
        ) from None
    except (FormatError, Unproven) as error:
        raise StoreCorrupt(f"the newest checkpoint of log {log} is broken: {error}") from None
    if not checkpoint.size == row.size == newest + 1:
        raise StoreCorrupt(
            f"log {log} of {reader.address} has {newest + 1} entries, its newest checkpoint "
            f"covers {checkpoint.size}; run `audit verify`"
        )
    return checkpoint


def leaves_of(connection: Connection, log: int, start: int, stop: int) -> list[bytes]:
    """The leaves of a log from an index up to another, in order."""
    if start == stop:
        return []
    found = connection.execute(_LEAVES, {"log": log, "start": start, "stop": stop})
    return list(found.scalars())


def _from_tiles(reader: "SqlReader", connection: Connection, log: int, size: int) -> Head:
    (last,) = leaves_of(connection, log, size - 1, size) or (b"",)
    try:
        entry = decode_entry(last)
        edge = TreeEdge.from_levels(size, reader.edge_levels(log, size))
    except FormatError as error:
        raise StoreCorrupt(f"log {log} of {reader.address} is broken: {error}") from None
    return Head(entry.recorded_time_us, leaf_hash(last), edge)

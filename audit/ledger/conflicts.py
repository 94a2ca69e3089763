"""How many quarantined entries of a log are there because their id belongs to another event.

The store's index does not tell, so their leaves are read. Where they are many it is remembered
which of them it were, for all readers of the ledger in this process, bound to the root hash of the
log that was read: after that only what came since is read.
"""

import threading
from array import array
from bisect import bisect_left
from collections import OrderedDict
from typing import NamedTuple

from audit.errors import AuditError
from audit.log.entry import Kind
from audit.log.intake import CONFLICT_REASON
from audit.replay.trusted import trusted_record
from audit.store.contract import LogInfo, Reader
from audit.tlog.merkle import tree_root

FEW = 100
"""So many are read each time; to look whether the log is the same would take as long."""
MAX_HELD_BYTES = 16 * 1024 * 1024
"""Of all ledgers together; 8 bytes for each conflict."""


class _Held(NamedTuple):
    """The indexes of the conflicts below a size of a log, ascending."""

    size: int
    root: bytes
    indexes: "array[int]"


_Key = tuple[str, int, str]
_held: "OrderedDict[_Key, _Held]" = OrderedDict()
_lock = threading.Lock()


def conflicts_below(reader: Reader, info: LogInfo, size: int, quarantined: int) -> int:
    """How many conflicts are below a size, where so many entries are quarantined."""
    if not quarantined:
        return 0
    if quarantined <= FEW or not reader.complete:
        return len(_read(reader, info.log, 0, size))
    key = reader.address, info.log, info.origin
    with _lock:
        held = _held.get(key)
    if held is None or _root(reader, info.log, held.size) != held.root:
        held = _Held(0, b"", array("q"))
    if held.size < size:
        root = _root(reader, info.log, size)
        found = _read(reader, info.log, held.size, size)
        held = _Held(size, root or b"", held.indexes + found)
        # Exchanged meanwhile, or broken: it is the answer, but nobody else's.
        if root is not None and _root(reader, info.log, size) == root:
            _keep(key, held)
    return bisect_left(held.indexes, size)


def _keep(key: _Key, held: _Held) -> None:
    with _lock:
        _held[key] = held
        _held.move_to_end(key)
        while sum(len(one.indexes) * one.indexes.itemsize for one in _held.values()) > (
            MAX_HELD_BYTES
        ):
            _held.popitem(last=False)


def _root(reader: Reader, log: int, size: int) -> bytes | None:
    """The root of the first `size` entries; None where the log has less, or cannot tell."""
    try:
        return tree_root(reader.hashes(log, size), size) if reader.size(log) >= size else None
    except AuditError:
        return None


def _read(reader: Reader, log: int, start: int, stop: int) -> "array[int]":
    found = reader.special(log, stop, int(Kind.QUARANTINED), start)
    return array("q", (index for index, leaf in found if _is_conflict(log, index, leaf)))


def _is_conflict(log: int, index: int, leaf: bytes) -> bool:
    entry = trusted_record(log, index, leaf).entry
    is_quarantined = entry.kind is Kind.QUARANTINED
    return is_quarantined and (entry.reason or "").startswith(CONFLICT_REASON)

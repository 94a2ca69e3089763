"""The attacker of the demo: a person with the database, raw SQL, and at last the signing key.

All of it works on copies. It uses the database's own interface and our public byte formats, which
is what an attacker would do; nothing here is used by the product.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from audit.demo.copies import Copy, Sql
from audit.errors import NotFound
from audit.event.book import SchemaBook
from audit.event.envelope import decode_event, encode_event
from audit.event.payload import decode_payload, encode_record
from audit.event.row import Change, decode_row, encode_row
from audit.event.values import Value
from audit.log.entry import Entry, decode_entry, encode_entry
from audit.log.sequence import Draft, Head, append, empty_head, follow
from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.hashing import leaf_hash
from audit.tlog.keyfile import read_key
from audit.tlog.keys import Ed25519Signer, derive_seed
from audit.tlog.merkle import TreeEdge, root_of

LOG_OF_THE_LEDGER = 0
HEADS = "ledger.heads"
RECORD_SCHEMA = "record.v1"

Forge = Callable[[Entry], bytes | None]
"""The event that an entry shall hold instead of its own; None leaves it."""


class Position(NamedTuple):
    """An entry of one of the logs."""

    log: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here


def edit_entry(copy: Copy, at: Position, fields: Mapping[str, Value]) -> None:
    """Change fields inside one entry, well-formed to the last byte."""
    with copy.tampering() as sql:
        entry = _entry(sql, at)
        leaf = encode_entry(entry._replace(event=_with_fields(entry, fields)))
        sql('UPDATE entries SET leaf = ? WHERE log = ? AND "index" = ?', [leaf, *at])


def delete_row(copy: Copy, at: Position) -> None:
    """Delete one entry."""
    with copy.tampering() as sql:
        sql('DELETE FROM entries WHERE log = ? AND "index" = ?', at)


def rewrite_history(copy: Copy, key: Path, at: Position, fields: Mapping[str, Value]) -> None:
    """Write history anew from one entry on, with other fields in it, and sign it as the logs do.

    The attacker holds the ledger's root key. Every batch has its old recorded times, and the guards
    are put back. Where there are several logs, log 0 says what the root of the others was; he makes
    it say the new ones. What comes out is a perfect ledger - that never happened.
    """
    seed = read_key(key, None)[1]
    with copy.tampering(guards_back=True) as sql:
        event = _with_fields(_entry(sql, at), fields)
        _rewrite(sql, seed, at.log, lambda entry: event if entry.index == at.index else None)
        if at.log != LOG_OF_THE_LEDGER:
            origin, hashes = _origin(sql, at.log), _leaf_hashes(sql, at.log)
            _rewrite(sql, seed, LOG_OF_THE_LEDGER, lambda entry: _restated(entry, origin, hashes))


def _rewrite(sql: Sql, seed: bytes, log: int, forge: Forge) -> None:
    """Replace entries of a log, and all that follows from it: chain, tree, checkpoints."""
    rows = sql('SELECT * FROM entries WHERE log = ? ORDER BY "index"', [log])
    leaf_column = len(rows[0]) - 1
    leaves = [bytes(row[leaf_column]) for row in rows]
    forged = [forge(decode_entry(leaf)) for leaf in leaves]
    first = next((index for index, event in enumerate(forged) if event is not None), None)
    if first is None:
        return
    sizes = [
        size for (size,) in sql("SELECT size FROM checkpoints WHERE log = ? ORDER BY 1", [log])
    ]
    start = max(size for size in (0, *sizes) if size <= first)
    head = follow(empty_head(), leaves[:start])
    origin = _origin(sql, log)
    signer = Ed25519Signer.from_seed(origin, derive_seed(seed, origin))
    sql('DELETE FROM entries WHERE log = ? AND "index" >= ?', [log, start])
    sql("DELETE FROM checkpoints WHERE log = ? AND size > ?", [log, start])
    for begin, end in pairwise([start, *(size for size in sizes if size > start)]):
        head, fresh = _sealed_again(head, leaves[begin:end], forged[begin:end])
        for row, leaf in zip(rows[begin:end], fresh, strict=True):
            _insert(sql, "entries", [*row[:leaf_column], leaf])
        note = sign_checkpoint(Checkpoint(origin, head.size, head.edge.root()), signer)
        _insert(sql, "checkpoints", [log, head.size, note])
    _write_tiles(sql, log)


def _sealed_again(
    head: Head, leaves: list[bytes], forged: list[bytes | None]
) -> tuple[Head, list[bytes]]:
    """One batch after `head`, at the time at which it was recorded."""
    entries = [decode_entry(leaf) for leaf in leaves]
    drafts = [
        Draft(
            entry.kind,
            entry.schema_hash,
            entry.source,
            entry.reason,
            entry.signature,
            entry.event if event is None else event,
        )
        for entry, event in zip(entries, forged, strict=True)
    ]
    step = append(head, drafts, entries[0].recorded_time_us)
    return step.head, [sealed.leaf for sealed in step.sealed]


def _write_tiles(sql: Sql, log: int) -> None:
    """The full tiles of the tree over what the log's entries are now."""
    _, tiles = TreeEdge.empty().extend(_leaf_hashes(sql, log))
    sql("DELETE FROM tiles WHERE log = ?", [log])
    for tile in tiles:
        _insert(sql, "tiles", [log, tile.level, tile.index, tile.data, tile.root])


def _restated(entry: Entry, origin: str, hashes: Sequence[bytes]) -> bytes | None:
    """A statement of log 0 on the root of the log `origin`, with the one that it has now."""
    event = decode_event(entry.event)
    if event.type != HEADS:
        return None
    data = decode_payload(event, SchemaBook.with_builtins())
    assert isinstance(data, dict)
    heads = [
        [name, size, root_of(hashes[:size]).hex() if name == origin else root]
        for name, size, root in data["heads"]
    ]
    if heads == data["heads"]:
        return None
    payload, _ = encode_record(RECORD_SCHEMA, {**data, "heads": heads})
    return encode_event(event._replace(payload=payload))


def _with_fields(entry: Entry, fields: Mapping[str, Value]) -> bytes:
    """An entry's event with other fields in its row."""
    event = decode_event(entry.event)
    change = decode_row(event.payload)
    row = {**(change.after or {}), **fields}
    payload = encode_row(Change(change.image, change.before, row))
    return encode_event(event._replace(payload=payload))


def _entry(sql: Sql, at: Position) -> Entry:
    rows = sql('SELECT leaf FROM entries WHERE log = ? AND "index" = ?', at)
    if not rows:
        raise NotFound(f"there is no entry {at.log}/{at.index}")
    return decode_entry(bytes(rows[0][0]))


def _leaf_hashes(sql: Sql, log: int) -> list[bytes]:
    rows = sql('SELECT leaf FROM entries WHERE log = ? ORDER BY "index"', [log])
    return [leaf_hash(bytes(leaf)) for (leaf,) in rows]


def _origin(sql: Sql, log: int) -> str:
    return str(sql("SELECT origin FROM logs WHERE log = ?", [log])[0][0])


def _insert(sql: Sql, table: str, row: Sequence[object]) -> None:
    sql(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

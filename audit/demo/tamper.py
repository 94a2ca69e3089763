"""The attacker of the demo: a person with the database file, raw SQL, and at last the signing key.

All of it works on copies. It uses the database's own interface and our public byte formats, which
is what an attacker would do; nothing here is used by the product.
"""

import shutil
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from audit.errors import NotFound
from audit.event.envelope import decode_event, encode_event
from audit.event.row import Change, decode_row, encode_row
from audit.event.values import Value
from audit.log.entry import Kind, decode_entry, encode_entry
from audit.log.intake import Message
from audit.store import open_store
from audit.store.guards import GUARDS
from audit.tlog.keyfile import read_key
from audit.tlog.keys import Ed25519Signer, derive_seed

KEPT_BESIDE = ("audit.key", "audit.policy")


def copy_ledger(folder: Path, copy: Path) -> Path:
    """A copy of the ledger in `folder`, key and policy included; returns its database."""
    copy.mkdir(parents=True)
    for name in KEPT_BESIDE:
        shutil.copy2(folder / name, copy / name)
    with (
        closing(sqlite3.connect(folder / "audit.db")) as source,
        closing(sqlite3.connect(copy / "audit.db")) as target,
    ):
        source.backup(target)
    return copy / "audit.db"


def drop_guards(connection: sqlite3.Connection) -> None:
    """Take the append-only triggers away."""
    for name in GUARDS:
        connection.execute(f"DROP TRIGGER {name}")


def edit_entry(database: Path, index: int, fields: dict[str, Value]) -> None:
    """Change fields inside one entry, well-formed to the last byte."""
    with closing(sqlite3.connect(database)) as connection, connection:
        drop_guards(connection)
        leaf = _leaf(connection, index)
        connection.execute(
            'UPDATE entries SET leaf = ? WHERE "index" = ?', (_with(leaf, fields), index)
        )


def delete_row(database: Path, index: int) -> None:
    """Delete one entry."""
    with closing(sqlite3.connect(database)) as connection, connection:
        drop_guards(connection)
        connection.execute('DELETE FROM entries WHERE "index" = ?', (index,))


def rewrite_tail(database: Path, index: int, fields: dict[str, Value]) -> None:
    """Write history anew from one entry on, with other fields in it, and sign it as the log does.

    The attacker holds the log's signing key. He goes back to the last checkpoint before the entry,
    appends the same batches at the same recorded times, and has put the guards back before: what
    comes out is a perfect ledger - that never happened.
    """
    with closing(sqlite3.connect(database)) as connection, connection:
        drop_guards(connection)
        sizes = [size for (size,) in connection.execute("SELECT size FROM checkpoints ORDER BY 1")]
        start = max(size for size in sizes if size <= index)
        rows = connection.execute(
            'SELECT leaf FROM entries WHERE "index" >= ? ORDER BY "index"', (start,)
        ).fetchall()
        connection.execute('DELETE FROM entries WHERE "index" >= ?', (start,))
        connection.execute("DELETE FROM checkpoints WHERE size > ?", (start,))
        for statement in GUARDS.values():
            connection.execute(statement)
    leaves = [bytes(leaf) for (leaf,) in rows]
    leaves[index - start] = _with(leaves[index - start], fields)
    ends = [size - start for size in sizes if size > start]
    _seal_again(database, [leaves[a:b] for a, b in pairwise([0, *ends])])


def _seal_again(database: Path, batches: list[list[bytes]]) -> None:
    """Append what leaves say, each batch at its old recorded time, signed with the stolen key."""
    now_us = 0
    with open_store(f"sqlite:///{database}", clock=lambda: now_us) as store:
        origin = store.logs()[0].origin
        seed = read_key(database.with_name("audit.key"), None)[1]
        signer = Ed25519Signer.from_seed(origin, derive_seed(seed, origin))
        for leaves in batches:
            entries = [decode_entry(leaf) for leaf in leaves]
            now_us = entries[0].recorded_time_us
            if entries[0].kind is Kind.CONTROL:
                store.append_control(0, [entry.event for entry in entries], signer)
            else:
                messages = [Message(entry.event, entry.signature) for entry in entries]
                store.append(0, messages, signer)


def _leaf(connection: sqlite3.Connection, index: int) -> bytes:
    row = connection.execute('SELECT leaf FROM entries WHERE "index" = ?', (index,)).fetchone()
    if row is None:
        raise NotFound(f"there is no entry {index}")
    return bytes(row[0])


def _with(leaf: bytes, fields: dict[str, Value]) -> bytes:
    """The leaf with other fields in its row."""
    entry = decode_entry(leaf)
    event = decode_event(entry.event)
    change = decode_row(event.payload)
    row = {**(change.after or {}), **fields}
    payload = encode_row(Change(change.image, change.before, row))
    return encode_entry(entry._replace(event=encode_event(event._replace(payload=payload))))

"""The attacker of the demo: a person with the database file, raw SQL, and at last the signing key.

All of it works on copies. It uses the database's own interface and our public byte formats, which
is what an attacker would do; nothing here is used by the product.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from audit.errors import NotFound
from audit.event.envelope import decode_event, encode_event
from audit.event.row import Change, decode_row, encode_row
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


def edit_amount(database: Path, index: int, amount: int) -> None:
    """Change the LoanAmount inside one entry, well-formed to the last byte."""
    with closing(sqlite3.connect(database)) as connection, connection:
        drop_guards(connection)
        leaf = _leaf(connection, index)
        connection.execute(
            'UPDATE entries SET leaf = ? WHERE "index" = ?', (_with_amount(leaf, amount), index)
        )


def delete_row(database: Path, index: int) -> None:
    """Delete one entry."""
    with closing(sqlite3.connect(database)) as connection, connection:
        drop_guards(connection)
        connection.execute('DELETE FROM entries WHERE "index" = ?', (index,))


def rewrite_tail(database: Path, index: int, amount: int) -> None:
    """Write history anew from an entry on, with another amount in it, and sign it as the log does.

    The attacker holds the log's signing key, keeps every recorded time, and puts the guards back:
    what comes out is a perfect ledger - that never happened.
    """
    with closing(sqlite3.connect(database)) as connection, connection:
        drop_guards(connection)
        rows = connection.execute(
            'SELECT leaf FROM entries WHERE "index" >= ? ORDER BY "index"', (index,)
        ).fetchall()
        connection.execute('DELETE FROM entries WHERE "index" >= ?', (index,))
        connection.execute("DELETE FROM checkpoints WHERE size > ?", (index,))
        for statement in GUARDS.values():
            connection.execute(statement)
    leaves = [bytes(leaf) for (leaf,) in rows]
    leaves[0] = _with_amount(leaves[0], amount)
    _seal_again(database, leaves)


def _seal_again(database: Path, leaves: list[bytes]) -> None:
    """Append what leaves say, each at its old recorded time, signed with the stolen key."""
    times: list[int] = []
    with open_store(f"sqlite:///{database}", clock=lambda: times[-1]) as store:
        origin = store.logs()[0].origin
        seed = read_key(database.with_name("audit.key"), None)[1]
        signer = Ed25519Signer.from_seed(origin, derive_seed(seed, origin))
        for leaf in leaves:
            entry = decode_entry(leaf)
            times.append(entry.recorded_time_us)
            if entry.kind is Kind.CONTROL:
                store.append_control(0, [entry.event], signer)
            else:
                store.append(0, [Message(entry.event, entry.signature)], signer)


def _leaf(connection: sqlite3.Connection, index: int) -> bytes:
    row = connection.execute('SELECT leaf FROM entries WHERE "index" = ?', (index,)).fetchone()
    if row is None:
        raise NotFound(f"there is no entry {index}")
    return bytes(row[0])


def _with_amount(leaf: bytes, amount: int) -> bytes:
    """The leaf with another LoanAmount in its row."""
    entry = decode_entry(leaf)
    event = decode_event(entry.event)
    change = decode_row(event.payload)
    row = {**(change.after or {}), "LoanAmount": amount}
    payload = encode_row(Change(change.image, change.before, row))
    return encode_entry(entry._replace(event=encode_event(event._replace(payload=payload))))

"""Somebody with the database in his hands: one subclass for each kind of database.

An `Attacker` knows the tables and nothing of the library that guards them. `rewrite` is the worst
he can do: seal the entries again, with all that belongs to them, with or without the log's key.
"""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from audit.errors import FormatError
from audit.event.envelope import decode_event
from audit.log.columns import columns_of
from audit.log.entry import NO_HASH, Entry, Kind, decode_entry, encode_entry
from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.hashing import leaf_hash
from audit.tlog.keys import Signer
from audit.tlog.merkle import TreeEdge
from tests.backends import PostgresqlBackend

COLUMNS = (
    "recorded_time_us",
    "kind",
    "type",
    "source",
    "event_id",
    "entity_type",
    "entity_key",
    "signature",
)


class Attacker(ABC):
    """Edits the tables of log 0, the guards being no obstacle. Statements are plain SQL."""

    @abstractmethod
    def sql(self, statement: str, values: Sequence[object] = ()) -> list[tuple]:
        """Run one statement, with ? for values."""

    @abstractmethod
    def many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Run one statement for each row of values, in one transaction."""

    @abstractmethod
    def drop_guards(self) -> None:
        """Remove whatever keeps the tables append-only."""

    @abstractmethod
    def empty_guards(self) -> None:
        """Replace each guard by one of the same name that does nothing."""

    @abstractmethod
    def hide_from_index(self, name: str, index: int) -> None:
        """Make an index that leaves one entry out, and says that it is the whole one."""

    @abstractmethod
    def replace_by_endless_view(self, table: str) -> None:
        """A view that gives rows for ever stands where the table was."""

    # Reading

    def leaf(self, index: int) -> bytes:
        return self.sql('SELECT leaf FROM entries WHERE log = 0 AND "index" = ?', [index])[0][0]

    def leaves(self) -> list[bytes]:
        query = 'SELECT leaf FROM entries WHERE log = 0 ORDER BY "index"'
        return [leaf for (leaf,) in self.sql(query)]

    def size(self) -> int:
        return self.sql("SELECT count(*) FROM entries WHERE log = 0")[0][0]

    def note(self, size: int) -> bytes:
        return self.sql("SELECT note FROM checkpoints WHERE log = 0 AND size = ?", [size])[0][0]

    def checkpoint_sizes(self) -> list[int]:
        return [s for (s,) in self.sql("SELECT size FROM checkpoints WHERE log = 0 ORDER BY size")]

    # Editing

    def update_leaf(self, index: int, leaf: object) -> None:
        self.sql('UPDATE entries SET leaf = ? WHERE log = 0 AND "index" = ?', [leaf, index])

    def update_column(self, index: int, column: str, value: object) -> None:
        statement = f'UPDATE entries SET "{column}" = ? WHERE log = 0 AND "index" = ?'
        self.sql(statement, [value, index])

    def move(self, old: int, new: int) -> None:
        statement = 'UPDATE entries SET "index" = ? WHERE log = 0 AND "index" = ?'
        self.sql(statement, [new, old])

    def swap(self, one: int, other: int) -> None:
        """Exchange two rows, their index columns with them."""
        spare = 1_000_000
        self.move(one, spare)
        self.move(other, one)
        self.move(spare, other)

    def delete_entries(self, first: int, after: int = 2**62) -> None:
        statement = 'DELETE FROM entries WHERE log = 0 AND "index" >= ? AND "index" < ?'
        self.sql(statement, [first, after])

    def close_gap(self, index: int) -> None:
        """Renumber the rows after a deleted one, so that no index is missing."""
        statement = 'UPDATE entries SET "index" = ? WHERE log = 0 AND "index" = ?'
        self.many(statement, [(old - 1, old) for old in range(index + 1, self.size() + 1)])

    def delete_checkpoints(self, above: int = -1) -> None:
        self.sql("DELETE FROM checkpoints WHERE log = 0 AND size > ?", [above])

    def set_checkpoint(self, size: int, note: object) -> None:
        self.sql("DELETE FROM checkpoints WHERE log = 0 AND size = ?", [size])
        self.sql("INSERT INTO checkpoints (log, size, note) VALUES (0, ?, ?)", [size, note])

    def delete_tiles(self, size: int = 0) -> None:
        """Delete the tiles that a log of this size does not have."""
        for level, index in self.sql('SELECT level, "index" FROM tiles WHERE log = 0'):
            if (index + 1) << 8 * (level + 1) > size:
                statement = 'DELETE FROM tiles WHERE log = 0 AND level = ? AND "index" = ?'
                self.sql(statement, [level, index])

    def truncate(self, size: int, with_checkpoints: bool) -> None:
        """Drop the newest entries, and the tiles that only a longer log has."""
        self.delete_entries(size)
        self.delete_tiles(size)
        if with_checkpoints:
            self.delete_checkpoints(above=size)

    def insert(self, index: int, *leaves: bytes) -> None:
        """Rows from an index on, with the columns that belong to each leaf."""
        names = ", ".join(f'"{name}"' for name in ("log", "index", *COLUMNS, "leaf"))
        marks = ", ".join("?" * (len(COLUMNS) + 3))
        rows = []
        for at, leaf in enumerate(leaves, index):
            entry = decode_entry(leaf)
            event = None if entry.kind is Kind.QUARANTINED else decode_event(entry.event)
            rows.append([0, at, *columns_of(entry, event), leaf])
        self.many(f"INSERT INTO entries ({names}) VALUES ({marks})", rows)

    # The worst

    def rewrite(
        self,
        change: Callable[[list[Entry]], list[Entry]],
        signer: Signer | None = None,
        renumber: bool = True,
        tiles: bool = True,
    ) -> None:
        """Change the entries and seal them again: chain, columns and tiles fit afterwards.

        With a signer the checkpoints are signed again, at the sizes they had and at the end.
        """
        leaves = [encode_entry(entry) for entry in self._sealed(change, renumber)]
        sizes = [size for size in self.checkpoint_sizes() if size <= len(leaves)]
        self.delete_entries(0)
        self.insert(0, *leaves)
        edge = TreeEdge.empty()
        if tiles:
            self.sql("DELETE FROM tiles")
        if signer:
            self.delete_checkpoints()
        for at, size in zip([0, *sizes], [*sizes, len(leaves)], strict=True):
            edge, full = edge.extend([leaf_hash(leaf) for leaf in leaves[at:size]])
            for tile in full if tiles else ():
                self.sql("INSERT INTO tiles VALUES (0, ?, ?, ?, ?)", list(tile))
            if signer:
                head = Checkpoint(signer.name, edge.size, edge.root())
                self.set_checkpoint(edge.size, sign_checkpoint(head, signer))

    def _sealed(self, change: Callable[[list[Entry]], list[Entry]], renumber: bool) -> list[Entry]:
        sealed = []
        prev_hash = NO_HASH
        for index, entry in enumerate(change([decode_entry(leaf) for leaf in self.leaves()])):
            place = entry._replace(prev_hash=prev_hash, index=index if renumber else entry.index)
            prev_hash = leaf_hash(encode_entry(place))
            sealed.append(place)
        return sealed


class SqliteAttacker(Attacker):
    """With the file of an SQLite ledger."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def sql(self, statement: str, values: Sequence[object] = ()) -> list[tuple]:
        with self._connection() as connection:
            return connection.execute(statement, list(values)).fetchall()

    def many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        with self._connection() as connection:
            connection.executemany(statement, rows)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path)
        try:
            connection.execute("PRAGMA synchronous = OFF")
            with connection:
                yield connection
        finally:
            connection.close()

    def drop_guards(self) -> None:
        # On one connection: each new one reads the whole schema again.
        with self._connection() as connection:
            query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            names = [name for (name,) in connection.execute(query)]
            connection.executescript("".join(f"DROP TRIGGER {name};" for name in names))

    def empty_guards(self) -> None:
        query = "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'"
        for name, table in self.sql(query):
            self.sql(f"DROP TRIGGER {name}")
            self.sql(f"CREATE TRIGGER {name} BEFORE UPDATE ON {table} BEGIN SELECT 1; END")

    def relax_types(self) -> None:
        """Let every column of `entries` hold any type, which STRICT tables do not."""
        names = ", ".join(f'"{name}"' for name in ("log", "index", *COLUMNS, "leaf"))
        with self._connection() as connection:
            connection.executescript(
                f"CREATE TABLE loose ({names});"
                f"INSERT INTO loose ({names}) SELECT {names} FROM entries;"
                "DROP VIEW IF EXISTS signed_records;"
                "DROP TABLE entries;"
                "ALTER TABLE loose RENAME TO entries;"
            )

    def hide_from_index(self, name: str, index: int) -> None:
        ((text,),) = self.sql(f"SELECT sql FROM sqlite_master WHERE name = '{name}'")
        whole, found, condition = text.partition(" WHERE ")
        narrower = f'"index" <> {index}' + (f" AND ({condition})" if found else "")
        self.sql(f"DROP INDEX {name}")
        self.sql(f"{whole} WHERE {narrower}")
        quoted = text.replace("'", "''")
        with self._connection() as connection:
            connection.execute("PRAGMA writable_schema = ON")
            query = f"UPDATE sqlite_master SET sql = '{quoted}' WHERE name = '{name}'"
            connection.execute(query)

    def replace_by_endless_view(self, table: str) -> None:
        names = [row[1] for row in self.sql(f"PRAGMA table_info({table})")]
        columns = ", ".join(f'n AS "{name}"' for name in names)
        self.sql("DROP VIEW signed_records")
        self.sql(f"DROP TABLE {table}")
        self.sql(
            f"CREATE VIEW {table} AS WITH RECURSIVE r(n) AS "
            f"(SELECT 0 UNION ALL SELECT n + 1 FROM r) SELECT {columns} FROM r"
        )


class PostgresqlAttacker(Attacker):
    """A superuser of the server."""

    def __init__(self, backend: PostgresqlBackend) -> None:
        self.backend = backend

    def sql(self, statement: str, values: Sequence[object] = ()) -> list[tuple]:
        return self.backend.sql(statement, values)

    def many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        connection = self.backend.connection
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(statement.replace("?", "%s").encode(), rows)

    def drop_guards(self) -> None:
        self.backend.drop_guards()

    def empty_guards(self) -> None:
        self.sql(
            "CREATE OR REPLACE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN RETURN NULL; END'"
        )

    def hide_from_index(self, name: str, index: int) -> None:
        ((text,),) = self.sql("SELECT pg_get_indexdef(?::regclass)", [name])
        whole, found, condition = text.partition(" WHERE ")
        narrower = f'"index" <> {index}' + (f" AND ({condition})" if found else "")
        self.sql(f"ALTER INDEX {name} RENAME TO honest")
        self.sql(f"{whole} WHERE {narrower}")
        self.sql("SET allow_system_table_mods = on")
        self.sql(
            "UPDATE pg_index SET indpred = "
            "(SELECT indpred FROM pg_index WHERE indexrelid = 'honest'::regclass) "
            "WHERE indexrelid = ?::regclass",
            [name],
        )
        self.sql("DROP INDEX honest")

    def replace_by_endless_view(self, table: str) -> None:
        columns = ", ".join(f'n AS "{name}"' for name in self.backend.columns(table))
        self.sql(f"DROP TABLE {table} CASCADE")
        self.sql(
            f"CREATE VIEW {table} AS WITH RECURSIVE r(n) AS "
            f"(SELECT 0::bigint UNION ALL SELECT n + 1 FROM r) SELECT {columns} FROM r"
        )


def flip(data: bytes, at: int) -> bytes:
    """The same bytes with the lowest bit of one turned over."""
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def decodes(leaf: bytes) -> bool:
    """Whether a leaf still is an entry."""
    try:
        decode_entry(leaf)
    except FormatError:
        return False
    return True

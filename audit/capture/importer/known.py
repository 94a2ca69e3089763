"""What an import must remember of the ledger and of its own rows, in flat memory.

It is kept in a private SQLite database that spills to a temporary file. What the ledger knows of a
key is read either for all keys at once or key by key, whichever is less work.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from audit.errors import FormatError, NotFound, StoreCorrupt, Unavailable
from audit.event.values import dumps, loads
from audit.log.entry import Kind
from audit.log.record import read_record
from audit.replay.asof import dataset
from audit.replay.fold import Row, fold
from audit.replay.points import Cut, resolve
from audit.replay.steps import Steps
from audit.store.contract import Reader

CACHE_KIB = 64 * 1024
SCAN_IF_ROWS_OVER: Final = 16
"""Read the whole log when it has at most this many entries for each row of the file: one entry
takes about a sixteenth of a look-up of one key."""


def scratch() -> sqlite3.Connection:
    """A private database, gone when it is closed."""
    connection = sqlite3.connect("", isolation_level=None)
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("BEGIN")  # one transaction that never ends: nothing here is to be kept
    return connection


class KnownKeys:
    """Which keys are there now, and which event ids an import made before."""

    def __init__(self, reader: Reader, entity_type: str, source: str, row_count: int) -> None:
        """Read what the ledger has of the dataset, if that is less work than asking key by key."""
        self._source = source
        self._entity_type = entity_type
        self._db = scratch()
        self._db.execute("CREATE TABLE keys (key BLOB PRIMARY KEY, there INT) WITHOUT ROWID")
        self._db.execute("CREATE TABLE ids (id TEXT PRIMARY KEY) WITHOUT ROWID")
        self._db.execute("CREATE TABLE rows (digest BLOB PRIMARY KEY, count INT) WITHOUT ROWID")
        cut = resolve(reader, None, 0)
        self._steps: Steps | None = Steps(reader, entity_type, cut)
        if sum(cut.sizes.values()) <= SCAN_IF_ROWS_OVER * row_count:
            self._scan(reader, cut)

    def _scan(self, reader: Reader, cut: Cut) -> None:
        # Only a replay knows how the entries of several logs follow each other.
        unsure: set[str] | None = set() if len(cut.sizes) == 1 else None
        for log, size in cut.sizes.items():
            for index, leaf in reader.entity(log, self._entity_type, None, size):
                self._take(log, index, leaf, unsure)
        if unsure is None:
            with suppress(NotFound):
                for key, _ in dataset(reader, self._entity_type, cut).rows():
                    self.set_there(key, True)
        else:
            for key in unsure:
                self._look_up(key)
        self._steps = None

    def _take(self, log: int, index: int, leaf: bytes, unsure: set[str] | None) -> None:
        try:
            record = read_record(log, leaf)
        except FormatError as error:
            raise StoreCorrupt(f"entry {log}/{index} cannot be read: {error}") from None
        event = record.event
        if event is None or record.entry.kind is not Kind.EVENT:
            return
        if event.source == self._source:
            self._db.execute("INSERT OR IGNORE INTO ids VALUES (?)", (event.event_id,))
        if unsure is None:
            return
        if event.type == "data.truncate":
            self._db.execute("UPDATE keys SET there = 0")
        elif event.entity_key is not None and event.type.startswith("data."):
            self.set_there(event.entity_key, event.type != "data.delete")
            if event.supersedes is not None:
                unsure.add(event.entity_key)  # what it takes out of the fold decides

    def _look_up(self, key: str) -> bool:
        assert self._steps is not None
        steps = self._steps.of_key(key)
        there = fold(steps).row is not None
        self.set_there(key, there)
        for step in steps:
            event = step.record.event
            if event is not None and event.source == self._source:
                self._db.execute("INSERT OR IGNORE INTO ids VALUES (?)", (event.event_id,))
        return there

    def is_there(self, key: str) -> bool:
        """True when the key has a row now: in the ledger, or from an earlier row of the file."""
        found = self._db.execute("SELECT there FROM keys WHERE key = ?", (key.encode(),)).fetchone()
        if found is not None:
            return bool(found[0])
        return self._steps is not None and self._look_up(key)

    def has_id(self, event_id: str) -> bool:
        """True when this source's event is in the ledger; ask `is_there` about its key first."""
        return (
            self._db.execute("SELECT 1 FROM ids WHERE id = ?", (event_id,)).fetchone() is not None
        )

    def set_there(self, key: str, there: bool) -> None:
        """The file's row is the newest of this key."""
        self._db.execute("INSERT OR REPLACE INTO keys VALUES (?, ?)", (key.encode(), there))

    def occurrence(self, digest: bytes) -> int:
        """How often this was asked before: the same row may stand in a file several times."""
        (count,) = self._db.execute(
            "INSERT INTO rows VALUES (?, 0) ON CONFLICT DO UPDATE SET count = count + 1 "
            "RETURNING count",
            (digest,),
        ).fetchone()
        return int(count)

    def close(self) -> None:
        """Forget everything."""
        self._db.close()


class RowsNow:
    """The rows of a dataset as they are now, to be compared with a snapshot."""

    def __init__(self, reader: Reader, entity_type: str) -> None:
        """Read them all."""
        self._db = scratch()
        self._db.execute(
            "CREATE TABLE rows (key BLOB PRIMARY KEY, row TEXT, place TEXT) WITHOUT ROWID"
        )
        try:
            found = dataset(reader, entity_type, resolve(reader, None, 0))
        except NotFound:
            return
        self._db.executemany(
            "INSERT INTO rows VALUES (?, ?, NULL)",
            ((key.encode(), dumps(row)) for key, row in found.rows()),
        )

    def take(self, key: str, place: str) -> tuple[Row | None, str | None]:
        """(row now, place that took the key before); from now on this place has taken it."""
        found = self._db.execute(
            "SELECT row, place FROM rows WHERE key = ?", (key.encode(),)
        ).fetchone()
        row, taken = (None, None) if found is None else found
        self._db.execute(
            "INSERT INTO rows VALUES (?, NULL, ?) ON CONFLICT DO UPDATE SET place = excluded.place",
            (key.encode(), place),
        )
        value = None if row is None else loads(row)
        return (value if isinstance(value, dict) else None), taken

    def untaken(self) -> Iterator[str]:
        """The keys that the file does not have, in byte order."""
        for (key,) in self._db.execute("SELECT key FROM rows WHERE place IS NULL ORDER BY key"):
            yield bytes(key).decode()

    def close(self) -> None:
        """Forget everything."""
        self._db.close()


def disk_trouble(error: sqlite3.Error) -> Unavailable:
    """A full temporary folder, said plainly."""
    return Unavailable(f"cannot keep the import's notes in the temporary folder: {error}")

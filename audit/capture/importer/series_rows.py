"""The rows of a dataset as the last snapshot left them, in flat memory."""

from collections.abc import Iterator

from audit.capture.differences import Difference, difference
from audit.capture.importer.known import scratch
from audit.capture.importer.tables import TableRow
from audit.errors import InvalidInput, NotFound
from audit.event.row import FULL
from audit.event.values import dumps, loads
from audit.replay.asof import dataset
from audit.replay.points import resolve
from audit.store.contract import Reader


class SeriesRows:
    """What each next snapshot is compared with; it is kept up to date by the comparison itself."""

    def __init__(self, reader: Reader, entity_type: str, time_us: int) -> None:
        """Read the rows that are valid at a time."""
        self._db = scratch()
        self._db.execute(
            "CREATE TABLE rows (key BLOB PRIMARY KEY, row TEXT, turn INT, place TEXT) WITHOUT ROWID"
        )
        self._turn = 0
        try:
            found = dataset(reader, entity_type, resolve(reader, None, 0), time_us)
        except NotFound:
            return
        self._db.executemany(
            "INSERT INTO rows VALUES (?, ?, 0, NULL)",
            ((key.encode(), dumps(row)) for key, row in found.rows()),
        )

    def next_snapshot(self) -> None:
        """From now on rows of another snapshot come."""
        self._turn += 1

    def compared(self, row: TableRow) -> Difference | None:
        """What leads to this row; None when it is there already. Raises InvalidInput."""
        key = row.key.encode()
        found = self._db.execute(
            "SELECT row, turn, place FROM rows WHERE key = ?", (key,)
        ).fetchone()
        if found is not None and found[1] == self._turn:
            raise InvalidInput(f"the key {row.key!r:.64} is there twice, first in {found[2]}")
        old = None if found is None else loads(found[0])
        old = old if isinstance(old, dict) else None
        differs = difference(old, row.fields, missing_is_null=row.nulls_for_absent)
        if differs is None:
            text = found[0]
        elif old is None or differs.image == FULL:
            text = dumps(differs.after)
        else:
            text = dumps({**old, **differs.after})
        self._db.execute(
            "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", (key, text, self._turn, row.place)
        )
        return differs

    def gone(self) -> Iterator[str]:
        """The keys that this snapshot does not have, in byte order; they are forgotten."""
        query = "SELECT key FROM rows WHERE turn <> ? ORDER BY key"
        for (key,) in self._db.execute(query, (self._turn,)).fetchall():
            yield bytes(key).decode()
        self._db.execute("DELETE FROM rows WHERE turn <> ?", (self._turn,))

    def close(self) -> None:
        """Forget everything."""
        self._db.close()

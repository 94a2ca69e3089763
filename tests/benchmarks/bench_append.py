"""Appending to SQLite: in batches and one by one, beside bare inserts of the same rows.

The bare loop does what cannot be avoided: the same rows, tiles and checkpoints into the same
indexed and guarded tables, with the same commits; no decoding, no hashing, no signing.
"""

import itertools
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path

from audit.log.intake import Message
from tests.benchmarks.common import SIGNER, Result, batches, make_messages, new_store, rate, seconds

INSERT = "INSERT INTO {} VALUES ({})"


def run(count: int = 100_000, singles: int = 400) -> list[Result]:
    """Batches of 5,000 and 500, and one by one."""
    messages = make_messages(count)
    found = []
    for size in (5_000, 500):
        found.append(_compare(f"append, batches of {size:,}", messages, size))
    found.append(_compare("append, one by one", messages[:singles], 1))
    return found


def _compare(name: str, messages: Sequence[Message], size: int) -> Result:
    parts = list(batches(messages, size))
    with tempfile.TemporaryDirectory() as folder:
        numbers = itertools.count()

        def ours() -> None:
            with new_store(Path(folder), f"ours{next(numbers)}.db") as store:
                for part in parts:
                    store.append(0, part, SIGNER)

        def empty() -> None:
            new_store(Path(folder), f"empty{next(numbers)}.db").close()

        start = seconds(empty)
        time_ours = seconds(ours) - start
        rows = _rows(min(Path(folder).glob("ours*.db")))

        def bare() -> None:
            path = Path(folder) / f"bare{next(numbers)}.db"
            new_store(path.parent, path.name).close()
            _insert(path, rows, size)

        time_bare = seconds(bare) - start
    count = len(messages)
    return Result(
        name, rate(count, time_ours), rate(count, time_bare), f"{time_bare / time_ours:.2f}"
    )


_Rows = dict[str, list[tuple[object, ...]]]


def _rows(path: Path) -> _Rows:
    with sqlite3.connect(path) as connection:
        size = connection.execute("SELECT MIN(size) FROM checkpoints").fetchone()[0]
        queries = {
            "entries": f'SELECT * FROM entries WHERE "index" >= {size} ORDER BY "index"',
            "tiles": "SELECT * FROM tiles",
            "checkpoints": f"SELECT * FROM checkpoints WHERE size > {size}",
        }
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}


def _insert(path: Path, rows: _Rows, size: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    statements = {
        name: INSERT.format(name, ", ".join("?" * len(part[0])))
        for name, part in rows.items()
        if part
    }
    for number, at in enumerate(range(0, len(rows["entries"]), size)):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(statements["entries"], rows["entries"][at : at + size])
        tiles = rows["tiles"][number * size // 256 : (number + 1) * size // 256]
        if tiles:
            connection.executemany(statements["tiles"], tiles)
        connection.execute(statements["checkpoints"], rows["checkpoints"][number])
        connection.execute("COMMIT")
    connection.close()

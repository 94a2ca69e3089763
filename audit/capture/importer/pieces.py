"""Snapshots as rows: of files, one snapshot in one or several, or of a column with the date."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from audit.capture.importer.dated import DatedFiles
from audit.capture.importer.known import scratch
from audit.capture.importer.load import table_of
from audit.capture.importer.source import Progress, Source
from audit.capture.importer.tables import Key, TableRow
from audit.errors import InvalidInput, NotFound, Unavailable
from audit.event.values import dumps, loads

if TYPE_CHECKING:
    from audit.capture.importer.tables import Table

CHUNK_BYTES = 1 << 20
PASSES = 2


class Opened(Protocol):
    """A snapshot that can be read: checked whole, then row by row."""

    digest: str
    """`sha256:` of its content."""

    def check(self) -> int:
        """Read all of it and refuse what is wrong; returns how many rows. Raises InvalidInput."""
        ...

    def rows(self) -> Iterator[TableRow]:
        """The rows. Raises InvalidInput naming the line."""
        ...


class Piece(Protocol):
    """One snapshot: its date, where it is (for people), and roughly how much there is to read."""

    time_us: int
    places: tuple[str, ...]
    size_bytes: int

    @contextmanager
    def opened(self, progress: Progress | None = None) -> Iterator[Opened]:
        """Read it. Raises InvalidInput, NotFound, Unavailable."""
        ...


class FilePiece:
    """A snapshot in one file, or in the files of a folder NAME=DATE."""

    def __init__(self, files: DatedFiles, key: Key, format: str | None) -> None:
        """Nothing is opened yet. Raises NotFound, Unavailable."""
        self.time_us = files.time_us
        self.places = tuple(map(str, files.paths))
        self._key = key
        self._format = format
        try:
            self.size_bytes = sum(path.stat().st_size for path in files.paths)
        except FileNotFoundError as error:
            raise NotFound(f"there is no file {error.filename}") from None
        except OSError as error:
            raise Unavailable(f"cannot read {error.filename}: {error.strerror}") from None

    @contextmanager
    def opened(self, progress: Progress | None = None) -> Iterator[Opened]:
        """See `Piece.opened`."""
        with ExitStack() as stack:
            sources = [stack.enter_context(Source(place, progress)) for place in self.places]
            for source in sources:
                source.passes = PASSES
            yield _Files(sources, self._key, self._format)


class _Files:
    def __init__(self, sources: Sequence[Source], key: Key, format: str | None) -> None:
        self._sources = sources
        self._key = key
        self._format = format
        self._tables: list[Table] = []
        digests = [_digest_of(source) for source in sources]
        if len(digests) > 1:
            digests = [hashlib.sha256(b"".join(digests)).digest()]
        self.digest = f"sha256:{digests[0].hex()}"

    def check(self) -> int:
        self._tables = [table_of(source, self._format, self._key, None) for source in self._sources]
        return sum(table.check() for table in self._tables)

    def rows(self) -> Iterator[TableRow]:
        for table in self._tables:
            yield from table.rows()


def _digest_of(source: Source) -> bytes:
    """Of the open file, so that what is read afterwards is what was digested."""
    digest = hashlib.sha256()
    try:
        source.file.seek(0)
        while chunk := source.file.read(CHUNK_BYTES):
            digest.update(chunk)
        source.file.seek(0)
    except OSError as error:
        raise Unavailable(f"cannot read {source.name}: {error.strerror}") from None
    return digest.digest()


class ColumnPieces:
    """The snapshots of files in which a column says the date. It is no column of the rows then.

    All rows are copied to a private database that spills to a temporary file.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        key: Key,
        column: str,
        format: str | None,
        progress: Progress | None = None,
    ) -> None:
        """Read everything. Raises InvalidInput naming the line, NotFound, Unavailable."""
        self.db = scratch()
        self.db.execute(
            "CREATE TABLE rows (time INT, key BLOB, row TEXT, place TEXT, nulls INT, "
            "PRIMARY KEY (time, key)) WITHOUT ROWID"
        )
        for path in paths:
            with Source(path, progress) as source:
                source.passes = PASSES
                table = table_of(source, format, key, column)
                table.check()
                for row in table.rows():
                    self._add(row, column)
        self.places = tuple(map(str, paths))

    def _add(self, row: TableRow, column: str) -> None:
        if row.valid_time_us is None:
            raise InvalidInput(f"{row.place}: the date column {column} is empty")
        fields = {name: value for name, value in row.fields.items() if name != column}
        key = row.key.encode()
        taken = self.db.execute(
            "INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?)",
            (row.valid_time_us, key, dumps(fields), row.place, row.nulls_for_absent),
        )
        if taken.rowcount == 0:
            (place,) = self.db.execute(
                "SELECT place FROM rows WHERE time = ? AND key = ?", (row.valid_time_us, key)
            ).fetchone()
            raise InvalidInput(
                f"{row.place}: the key {row.key!r:.64} is there twice on one date, first in {place}"
            )

    def pieces(self) -> "list[ColumnPiece]":
        """One for each date, in order."""
        counted = self.db.execute("SELECT time, count(*) FROM rows GROUP BY time ORDER BY time")
        return [ColumnPiece(self, time_us, count) for time_us, count in counted.fetchall()]

    def close(self) -> None:
        """Forget everything."""
        self.db.close()


class ColumnPiece:
    """The rows of one date; its digest is that of the rows, so other dates may be added."""

    def __init__(self, of: ColumnPieces, time_us: int, count: int) -> None:
        """Use `ColumnPieces.pieces`."""
        self.time_us = time_us
        self.places = of.places
        self.size_bytes = count
        self.digest = ""
        self._of = of
        self._count = count

    @contextmanager
    def opened(self, progress: Progress | None = None) -> Iterator[Opened]:
        """See `Piece.opened`."""
        digest = hashlib.sha256()
        for key, row, *_ in self._all():
            for part in (key, row.encode()):
                digest.update(len(part).to_bytes(8, "big") + part)
        self.digest = f"sha256:{digest.hexdigest()}"
        yield self

    def _all(self) -> Iterator[tuple[bytes, str, str, int]]:
        query = "SELECT key, row, place, nulls FROM rows WHERE time = ? ORDER BY key"
        for key, row, place, nulls in self._of.db.execute(query, (self.time_us,)):
            yield bytes(key), row, place, nulls

    def check(self) -> int:
        """All was checked when it was copied."""
        return self._count

    def rows(self) -> Iterator[TableRow]:
        """The rows in byte order of their keys."""
        for key, row, place, nulls in self._all():
            fields = loads(row)
            assert isinstance(fields, dict)
            yield TableRow(place, key.decode(), None, fields, bool(nulls))

"""A series of dated snapshots into a dataset: what the world was like on each of these days.

Each snapshot becomes the differences from the one before (create, update, delete), valid from its
date. They are recorded now, so the valid axis is the one that answers: `replay E --valid-at DATE`
is the snapshot of that date, row for row.

After its differences, in the same transaction as the last of them, each snapshot leaves an event
`dataset.version` (ENTITY.snapshot@DATE) that names its content by digest. Its event id is made of
source, entity, key columns, date and digest, and is the differences' transaction id. So a repeat
skips what was imported, and an interrupted import goes on: what a crash left of a snapshot is
compared like everything else, as nothing says yet that the snapshot is there.

A snapshot must not be older than anything the dataset has: the differences of the days after it
were made without it. That, and other content for a date that is there, is refused.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from hashlib import sha256
from typing import NamedTuple

from audit.capture.delivery.embedded import EmbeddedLedger
from audit.capture.importer.dated import find_snapshots, refuse_gaps, shown
from audit.capture.importer.known import disk_trouble
from audit.capture.importer.load import FORMATS
from audit.capture.importer.pieces import ColumnPieces, FilePiece, Opened, Piece
from audit.capture.importer.sealing import Batches
from audit.capture.importer.series_rows import SeriesRows
from audit.capture.importer.source import Progress, located
from audit.capture.importer.tables import Key, TableRow, key_columns
from audit.capture.importer.target import LedgerTarget
from audit.errors import InvalidInput
from audit.event.build import data_event, new_event_id, record_event
from audit.event.types import DATASET_VERSION
from audit.event.values import dumps
from audit.lineage.recorded.records import DATASET_ENTITY
from audit.replay.fold import OPS
from audit.replay.points import resolve
from audit.replay.refs import parse_entity
from audit.replay.steps import Steps
from audit.replay.trusted import trusted_record
from audit.store.contract import Reader

ID_PREFIX = "snapshot-"
ID_HEX_DIGITS = 40
NAME_SUFFIX = ".snapshot"
"""Behind the entity in the name of the dataset versions that snapshots leave."""
PURPOSE = "snapshot"

NEW = "new"
IMPORTED = "imported"
SKIPPED = "skipped"


class Snapshot(NamedTuple):
    """One snapshot of a series. `state`: new (only planned), imported, or skipped: was there.

    `time_us`: its date, microseconds since the epoch. `places`: its files. `rows` and the counts
    are None where it was not read.
    """

    time_us: int
    places: tuple[str, ...]
    digest: str
    state: str
    rows: int | None = None
    created: int | None = None
    updated: int | None = None
    deleted: int | None = None
    unchanged: int | None = None


class SeriesResult(NamedTuple):
    """The snapshots by date, files that were left alone, and the log's size (None: dry run)."""

    snapshots: list[Snapshot]
    left_out: tuple[str, ...]
    size: int | None


class _Task(NamedTuple):
    entity: str
    key: tuple[str, ...]
    source: str
    actor: str | None
    reason: str | None


Paths = Sequence[str | os.PathLike[str]]


def import_series(
    ledger: EmbeddedLedger,
    paths: Paths,
    *,
    entity: str,
    key: Key,
    date_column: str | None = None,
    gaps: bool = False,
    source: str = "import",
    actor: str | None = None,
    reason: str | None = None,
    format: str | None = None,
    progress: Progress | None = None,
) -> SeriesResult:
    """Import dated snapshots, oldest first: files, or folders of files, with the date in the name.

    `date_column`: the files have rows of many dates, and this column says which. `gaps`: a series
    with missing days is taken as it is. `progress`: called with bytes done and in total. What was
    imported before an error stays. Raises InvalidInput, NotFound, LimitExceeded, Unavailable,
    StoreCorrupt.
    """
    reader = ledger.store
    task = _Task(parse_entity(entity), key_columns(key).names, source, actor, reason)
    done: list[Snapshot] = []
    rows: SeriesRows | None = None
    try:
        with _pieces(paths, key, date_column, gaps, format, progress) as (pieces, left_out):
            for piece, told in _with_progress(pieces, progress):
                with piece.opened(told) as opened:
                    state = _state(reader, task, piece, opened, first=rows is None)
                    if state == NEW:
                        rows = rows or SeriesRows(reader, entity, piece.time_us)
                        done.append(_import(ledger, task, piece, opened, rows))
                    else:
                        done.append(Snapshot(piece.time_us, piece.places, opened.digest, state))
    except sqlite3.Error as error:
        raise disk_trouble(error) from None
    finally:
        if rows is not None:
            rows.close()
    return SeriesResult(done, left_out, LedgerTarget(ledger).size())


def plan_series(
    reader: Reader | None,
    paths: Paths,
    *,
    entity: str,
    key: Key,
    date_column: str | None = None,
    gaps: bool = False,
    source: str = "import",
    format: str | None = None,
    progress: Progress | None = None,
) -> SeriesResult:
    """What `import_series` would import, or refuse; the files are read and checked, none imported.

    `reader`: the ledger; None where there is none yet.
    """
    task = _Task(parse_entity(entity), key_columns(key).names, source, None, None)
    found: list[Snapshot] = []
    try:
        with _pieces(paths, key, date_column, gaps, format, progress) as (pieces, left_out):
            first = True
            for piece, told in _with_progress(pieces, progress):
                with piece.opened(told) as opened:
                    state = NEW
                    if reader is not None:
                        state = _state(reader, task, piece, opened, first)
                    first = first and state != NEW
                    count = opened.check() if state == NEW else None
                    found.append(Snapshot(piece.time_us, piece.places, opened.digest, state, count))
    except sqlite3.Error as error:
        raise disk_trouble(error) from None
    return SeriesResult(found, left_out, None)


@contextmanager
def _pieces(
    paths: Paths,
    key: Key,
    date_column: str | None,
    gaps: bool,
    format: str | None,
    progress: Progress | None,
) -> Iterator[tuple[Sequence[Piece], tuple[str, ...]]]:
    """The snapshots by date, and what was left alone."""
    if date_column is None:
        series = find_snapshots(paths, FORMATS, format is not None)
        if not gaps:
            refuse_gaps([files.time_us for files in series.snapshots])
        pieces = [FilePiece(files, key, format) for files in series.snapshots]
        yield pieces, tuple(map(str, series.left_out))
        return
    if date_column in key_columns(key).names:
        raise InvalidInput(
            f"the date column {date_column} is in the key: then nothing ever changes"
        )
    names = [os.fspath(path) for path in paths]
    with closing(ColumnPieces(names, key, date_column, format, progress)) as columns:
        found = columns.pieces()
        if not gaps:
            refuse_gaps([piece.time_us for piece in found])
        yield found, ()


def _with_progress(
    pieces: Sequence[Piece], progress: Progress | None
) -> Iterator[tuple[Piece, Progress | None]]:
    """Each snapshot, with what tells its progress as part of the whole."""
    total = sum(piece.size_bytes for piece in pieces)
    before = 0
    for piece in pieces:
        if progress is None:
            yield piece, None
        else:
            yield piece, partial(_tell, progress, before, piece.size_bytes, total)
            before += piece.size_bytes
            progress(before, total)


def _tell(progress: Progress, before: int, size: int, total: int, done: int, of: int) -> None:
    progress(before + size * done // max(1, of), total)


def _marker(task: _Task, piece: Piece, digest: str) -> str:
    """The event id that says: this content was imported as the snapshot of this date."""
    said = dumps([task.source, task.entity, list(task.key), piece.time_us, digest])
    return ID_PREFIX + sha256(said.encode()).hexdigest()[:ID_HEX_DIGITS]


def _version_key(task: _Task, piece: Piece) -> str:
    return f"{task.entity}{NAME_SUFFIX}@{shown(piece.time_us)}"


def _state(reader: Reader, task: _Task, piece: Piece, opened: Opened, first: bool) -> str:
    """Whether a snapshot is there. Raises InvalidInput where it does not fit to what is.

    `first`: nothing new came before it. After that dates ascend, and all fits.
    """
    marker = _marker(task, piece, opened.digest)
    if reader.find_event(marker, task.source):
        return SKIPPED
    date = shown(piece.time_us)
    if _other_content(reader, task, piece):
        raise InvalidInput(
            f"{piece.places[0]}: the snapshot of {date} was imported from other content, or with "
            "another key\nwhat changed later days is in the log by now: import it as another entity"
        )
    newest_us = _newest_valid(reader, task.entity) if first else None
    if newest_us is not None and newest_us > piece.time_us:
        raise InvalidInput(
            f"{piece.places[0]}: {task.entity} is known up to {shown(newest_us)}, after {date}\n"
            "a snapshot in between would change later days: import the series as another entity"
        )
    return NEW


def _other_content(reader: Reader, task: _Task, piece: Piece) -> bool:
    for info in reader.logs():
        for index, leaf in reader.entity(info.log, DATASET_ENTITY, _version_key(task, piece)):
            event = trusted_record(info.log, index, leaf).event
            if event is not None and event.source == task.source:
                return True
    return False


def _newest_valid(reader: Reader, entity: str) -> int | None:
    """The latest valid time of what happened to rows of a dataset, and of its snapshots: nothing
    may have changed on the day of one. None where there is nothing.
    """
    steps = Steps(reader, entity, resolve(reader, None, 0))
    times = [max((step.valid_time_us for step in steps.all() if step.op in OPS), default=None)]
    prefix = f"{entity}{NAME_SUFFIX}@"
    for info in reader.logs():
        for index, leaf in reader.entity(info.log, DATASET_ENTITY):
            event = trusted_record(info.log, index, leaf).event
            if event is None or not event.event_id.startswith(ID_PREFIX):
                continue
            if event.entity_key is not None and event.entity_key.startswith(prefix):
                times.append(event.valid_time_us)
    return max((time_us for time_us in times if time_us is not None), default=None)


def _import(
    ledger: EmbeddedLedger, task: _Task, piece: Piece, opened: Opened, rows: SeriesRows
) -> Snapshot:
    count = opened.check()  # half a snapshot would delete what the other half has
    batches = Batches(LedgerTarget(ledger))
    marker = _marker(task, piece, opened.digest)
    rows.next_snapshot()

    def add(op: str, key: str, image: str, after: dict[str, object] | None) -> None:
        batches.add(
            data_event(
                op,
                task.entity,
                key,
                event_id=new_event_id(),
                source=task.source,
                after=after,
                image=image,
                valid_time_us=piece.time_us,
                actor=task.actor,
                reason=task.reason,
                transaction_id=marker,
            )
        )

    def compare(row: TableRow) -> None:
        found = rows.compared(row)
        if found is None:
            batches.count("unchanged")
        else:
            add(found.op, row.key, found.image, found.after)

    with batches.telling():
        for row in opened.rows():
            with located(row.place):
                compare(row)
        for key in rows.gone():
            add("delete", key, "patch", None)
        _say(batches, task, piece, opened.digest, count)
        batches.seal()
    done = batches.counts
    counts = (done.get(name, 0) for name in ("created", "updated", "deleted", "unchanged"))
    return Snapshot(piece.time_us, piece.places, opened.digest, IMPORTED, count, *counts)


def _say(batches: Batches, task: _Task, piece: Piece, digest: str, count: int) -> None:
    """That the snapshot is there now: in one transaction with the last of its differences."""
    name, _, version = _version_key(task, piece).partition("@")
    batches.add(
        record_event(
            DATASET_VERSION,
            {
                "name": name,
                "version": version,
                "digest": digest,
                "rows": count,
                "purpose": PURPOSE,
                "valid_at_us": piece.time_us,
            },
            event_id=_marker(task, piece, digest),
            source=task.source,
            entity_type=DATASET_ENTITY,
            entity_key=f"{name}@{version}",
            valid_time_us=piece.time_us,
            actor=task.actor,
            reason=task.reason,
        )
    )

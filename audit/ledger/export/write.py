"""Writing an export, or going on with one: files first, the manifest last.

An export is there when its manifest is. While one runs a file `_unfinished` lies beside; what an
interrupted one left is taken away by the next. Going on adds the entries recorded since, if the
place holds an export of the same ledger and selection, whose heads this ledger still has.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from audit.errors import AuditError, InvalidInput, InvalidSignature, StoreCorrupt, UnknownKey
from audit.event.times import format_time
from audit.event.types import SCHEMA
from audit.ledger.export.asof_text import ENGINES, file_text
from audit.ledger.export.change_block import ChangeBlock, changes_of, rows_by_dataset
from audit.ledger.export.changes import superseded_by
from audit.ledger.export.entry_block import in_blocks, payloads_of, read_entries
from audit.ledger.export.events import event_batch, event_schema
from audit.ledger.export.files import ChangeFiles, EventFiles
from audit.ledger.export.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    RUNNING,
    DatasetColumns,
    Exported,
    ExportedLog,
    Manifest,
    Selection,
    is_export_path,
    parse_manifest,
)
from audit.ledger.export.once import Once
from audit.ledger.export.place import TEMPORARY, Place, read_whole
from audit.ledger.export.selected import selected
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.citation import cite
from audit.replay.columns import Naming
from audit.replay.points import Cut
from audit.replay.trusted import trusted_record
from audit.store.contract import Located, Reader
from audit.tlog.hashing import EMPTY_ROOT
from audit.tlog.keys import Signer
from audit.tlog.merkle import tree_root
from audit.tlog.note import open_note, sign_note

Progress = Callable[[int, int], None]
"""Called with entries done and entries in all."""

HASHES_PER_WRITE = 32_768
RENAMED = "fields were renamed: the table has them as they were called when written"


class ExportResult(NamedTuple):
    """What an export holds now. `added`: entries of this run; `extended`: one was there before."""

    address: str
    extended: bool
    added: int
    manifest: Manifest

    @property
    def entries(self) -> int:
        """Rows of `events`."""
        return sum(f.rows or 0 for p, f in self.manifest.files.items() if p.startswith("events/"))

    @property
    def size_bytes(self) -> int:
        """Bytes of all files but the manifest."""
        return sum(file.digest.size_bytes for file in self.manifest.files.values())


def export(
    reader: Reader,
    place: Place,
    cut: Cut,
    selection: Selection,
    now_us: int,
    signer: Signer | None = None,
    progress: Progress | None = None,
) -> ExportResult:
    """Export what a ledger held at a cut. Raises InvalidInput, StoreCorrupt, Unavailable.

    `signer`: the key of log 0, or None: then the manifest is unsigned.
    """
    if not reader.complete:
        raise InvalidInput("a bundle made by a query leaves entries out; export the ledger itself")
    if selection.query and selection.entities is not None:
        raise InvalidInput("give a query or entity types, not both")
    old = _found(place, selection)
    if old is not None and signer is not None:
        _require_own(place, old, signer)
    logs = _logs(reader, cut)
    starts = {} if old is None else _starts(reader, old, cut)
    run = _Run(reader, place, cut, selection, now_us, old)
    if old is not None and starts == cut.sizes:
        return ExportResult(place.address, True, 0, old)
    with place.create(RUNNING):
        pass
    total = sum(size - starts.get(log, 0) for log, size in cut.sizes.items())
    for log in sorted(cut.sizes):
        run.log(log, starts.get(log, 0), cut.size(log), total, progress)
    manifest = run.finish(logs)
    if signer is not None:
        manifest = manifest._replace(note=sign_note(manifest.text(), [signer]))
    data = manifest.to_json()
    if len(data) > MAX_MANIFEST_BYTES:
        raise InvalidInput("the export has too many files for one manifest; export fewer datasets")
    with place.create(MANIFEST) as file:
        file.write(data)
    # From here on the export is whole; what follows takes away what nobody needs any more.
    for name in (*run.changes.replaced, RUNNING):
        place.remove(name)
    return ExportResult(place.address, old is not None, run.done, manifest)


def _logs(reader: Reader, cut: Cut) -> tuple[ExportedLog, ...]:
    found = []
    for log in cite(reader, cut, proofs=True).logs:
        if log.root_hash is None:
            raise StoreCorrupt(f"log {log.log} has no root hash at size {log.size}")
        found.append(
            ExportedLog(
                log.log, log.origin, log.size, log.root_hash, log.checkpoint, log.consistency_proof
            )
        )
    return tuple(found)


def _found(place: Place, selection: Selection) -> Manifest | None:
    """The export that is there to go on with; None for an empty place. Clears what was left."""
    names = place.names()
    kept: Mapping[str, Any] = {}
    old = None
    if MANIFEST in names:
        old = parse_manifest(read_whole(place, MANIFEST, MAX_MANIFEST_BYTES))
        kept = old.files
    left = [name for name in names if name not in (MANIFEST, RUNNING) and name not in kept]
    strange = [name for name in left if not is_export_path(name) and TEMPORARY not in name]
    if strange or (left and RUNNING not in names):
        shown = (strange or left)[0]
        raise InvalidInput(
            f"{place.address} holds {shown}, which is of no export\nname an empty folder"
        )
    missing = next((name for name in kept if name not in names), None)
    if missing is not None:
        raise InvalidInput(
            f"{place.address} lacks {missing} of the export in it\nexport into an empty folder"
        )
    if old is not None and old.selection != selection:
        raise InvalidInput(
            f"{place.address} holds an export of another selection\nname another folder"
        )
    if old is not None and selection.query:
        raise InvalidInput(
            f"{place.address} holds an export; one with a query is not extended\n"
            "name another folder"
        )
    for name in left:
        place.remove(name)
    return old


def _require_own(place: Place, old: Manifest, signer: Signer) -> None:
    """What is signed now vouches for the files of before too: they must have been signed then."""
    try:
        if old.note is None:
            raise UnknownKey("it is not signed")
        note, _ = open_note(old.note, [signer.verifier])
        if note.text != old.text():
            raise InvalidSignature("its signature is of another manifest")
    except AuditError as error:
        raise InvalidInput(
            f"the export in {place.address} was not signed by this ledger's key: {error}\n"
            "export into an empty folder"
        ) from None


def _starts(reader: Reader, old: Manifest, cut: Cut) -> dict[int, int]:
    """Log -> size that is exported already. Raises when this ledger is not the one exported."""
    infos = {info.log: info for info in reader.logs()}
    for log in old.logs:
        info = infos.get(log.log)
        if info is None or info.origin != log.origin:
            raise InvalidInput(f"the export is of log {log.origin}, which is not in this ledger")
        size = cut.size(log.log)
        if size < log.size:
            raise InvalidInput(
                f"the export reaches to size {log.size:,} of {log.origin}, the point asked for "
                f"only to {size:,}\nname another folder"
            )
        root = EMPTY_ROOT
        if log.size:
            root = tree_root(reader.hashes(log.log, size), log.size)
        if root != log.root_hash:
            raise StoreCorrupt(
                f"the export holds another history of {log.origin} than this ledger; "
                "run audit verify"
            )
    return {log.log: log.size for log in old.logs}


class _Run:
    """One export on its way."""

    def __init__(
        self,
        reader: Reader,
        place: Place,
        cut: Cut,
        selection: Selection,
        now_us: int,
        old: Manifest | None,
    ) -> None:
        self._reader = reader
        self._place = place
        self._cut = cut
        self._selection = selection
        self._now_us = now_us
        self._old = old
        self._books = Books(reader, cut)
        self._decode = Once(self._books.decode)
        self._superseded = superseded_by(self._find)
        self._files: dict[str, Exported] = {} if old is None else dict(old.files)
        self._read_before = {} if old is None else old.datasets
        known = {name: (d.columns, d.remarks) for name, d in self._read_before.items()}
        self.changes = ChangeFiles(place, self._files, known)
        self.done = 0
        self._unread = 0 if old is None else old.unread

    def log(self, log: int, start: int, stop: int, total: int, progress: Progress | None) -> None:
        """Export the entries of one log."""
        schema = event_schema(leaf=self._selection.leaves)
        writer = EventFiles(self._place, log, self._files)
        located = selected(self._reader, self._selection, log, start, stop, self._now_us)
        try:
            for block in in_blocks(located):
                batch = self._block(log, block, schema)
                writer.add(batch, batch.column("recorded_time").cast(pa.int64()).to_numpy())
                self._unread += batch.num_rows - batch.column("problem").null_count
                self._decode.forget()
                self.done += batch.num_rows
                if progress is not None:
                    progress(self.done, total if self._selection.whole else 0)
            writer.close()
        except BaseException as error:
            writer.abandon(error)
            raise
        self.changes.flush()
        if not self._selection.whole and stop > start:
            self._tree(log, start, stop)

    def _block(self, log: int, located: list[Located], schema: pa.Schema) -> pa.RecordBatch:
        """Some entries as rows of `events`; what they change goes to the changes."""
        how = payloads_of(self._decode, self._books.of_log(log))
        indexes, leaves = [one.index for one in located], [one.leaf for one in located]
        block = read_entries(log, leaves, indexes, how)
        changes: dict[str, ChangeBlock] = {}
        if block is not None:
            batch = block.batch(schema)
            self._refuse_late_schema(batch)
            if not self._selection.query:
                changes = changes_of(block, self._decode, self._superseded)
        else:
            records = [trusted_record(log, index, leaf) for index, leaf in located]
            batch = event_batch(records, self._decode, schema)
            self._refuse_late_schema(batch)
            if not self._selection.query:
                changes = rows_by_dataset(records, self._decode, self._superseded)
        wanted = self._selection.entities
        for entity, rows in changes.items():
            if wanted is None or entity in wanted:
                self.changes.add(entity, rows)
        return batch

    def _refuse_late_schema(self, batch: pa.RecordBatch) -> None:
        """A schema may explain what an earlier run wrote down as unreadable."""
        if self._old is None or not self._old.unread:
            return
        if pc.any(pc.equal(batch.column("type"), SCHEMA)).as_py():
            raise InvalidInput(
                f"{self._place.address} holds entries that could not be read, and schemas came "
                "since\nexport into an empty folder"
            )

    def _find(self, event_id: str) -> list[Record]:
        return [
            trusted_record(log, index, self._reader.leaf(log, index))
            for log, index in self._reader.find_event(event_id)
        ]

    def _tree(self, log: int, start: int, stop: int) -> None:
        """The leaf hashes of all entries, also those left out: with them the root is computed."""
        hashes = self._reader.hashes(log, stop)
        path = f"tree/log={log}/{start:012d}.bin"
        with self._place.create(path) as file:
            nodes = (hashes.node(0, index) for index in range(start, stop))
            while some := b"".join(islice(nodes, HASHES_PER_WRITE)):
                file.write(some)
            digest = file.digest()
        self._files[path] = Exported(None, digest)

    def finish(self, logs: tuple[ExportedLog, ...]) -> Manifest:
        """What is left to write but the manifest, which is returned."""
        self.changes.finish()
        datasets = dict(self._datasets())
        now = format_time(self._now_us)[:19].replace("T", " ")
        for entity, found in datasets.items():
            for engine in ENGINES:
                path = f"sql/{entity}.{engine.name}.sql"
                if path in self._files and self._read_before.get(entity) == found:
                    continue
                with self._place.create(path) as file:
                    file.write(file_text(engine, entity, found.columns.names, now).encode())
                    digest = file.digest()
                self._files[path] = Exported(None, digest)
        asked = self._cut.asked
        files = self._files
        return Manifest(asked, self._selection, logs, datasets, files, self._unread)

    def _datasets(self) -> Iterator[tuple[str, DatasetColumns]]:
        for entity, columns in sorted(self.changes.columns.items()):
            remarks = self.changes.remarks.get(entity, {})
            if Naming(self._reader, entity, self._cut).moved:
                remarks[RENAMED] = None
            yield entity, DatasetColumns(columns, tuple(sorted(remarks)))

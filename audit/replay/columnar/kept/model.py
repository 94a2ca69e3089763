"""The read model of a ledger: its datasets and events as columns, built from the log on demand.

It is disposable and never evidence. What is kept on disk is checked when it is opened (format,
origin, the root hash at the end of every piece) and when a file is first used (its SHA-256). What
is wrong is dropped, built again, and said in `notes`; deleting the folder at any time costs time,
and nothing else. Answers do not depend on what is kept where.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import NamedTuple, TypeVar

import pyarrow as pa

from audit.errors import StoreCorrupt
from audit.replay.columnar.kept.building import Progress
from audit.replay.columnar.kept.files import Broken, CannotKeep, read_arrays, write_arrays
from audit.replay.columnar.kept.folder import PRIVATE, LogFolder
from audit.replay.columnar.kept.logmodel import LogModel
from audit.replay.columnar.kept.manifest import SnapshotEntry
from audit.replay.columnar.kept.pieces import AnyPiece
from audit.replay.columnar.parts import DatasetPart, EventsPart, KeyBook
from audit.replay.points import Cut
from audit.store.contract import Reader

MAX_TAIL_ENTRIES = 16_384
"""So many entries behind what is on disk are read on every opening; with more, they are kept."""
MAX_REPAIRS = 3
"""How often a question is begun anew because a file turned out to be broken."""
MAX_NOTES = 100

T = TypeVar("T")


class LogState(NamedTuple):
    """How far the read model of one log is; sizes in entries, `kept_bytes` on disk."""

    log: int
    origin: str
    size: int
    sealed: int
    pieces: int
    kept_bytes: int


class ReadModel:
    """The read model of one ledger. Made by `open_read_model`; safe for several threads.

    `notes`: what was dropped or built again and why, a line each. `progress` is told how far a
    building is that a question sets off.
    """

    def __init__(
        self,
        reader: Reader,
        folder: Path | None,
        progress: Progress | None = None,
        mode: int = PRIVATE,
    ) -> None:
        """Use `open_read_model`."""
        self.folder = folder
        self._mode = mode
        self.notes: list[str] = []
        self.progress = progress
        self._reader = reader
        self._logs: dict[int, LogModel] = {}
        self._given: dict[int, int] = {}
        self._epochs_before = 0
        self._lock = RLock()
        self._keeps = folder is not None
        self._building = False

    def _say(self, note: str) -> None:
        if note not in self.notes and len(self.notes) < MAX_NOTES:
            self.notes.append(note)

    def _model(self, log: int) -> LogModel | None:
        """The model of one log; None where there is no such log, or not all of it is here."""
        if not self._reader.complete:
            return None
        found = self._logs.get(log)
        if found is None:
            for info in self._reader.logs():
                if info.log == log:
                    own = None
                    if self.folder is not None:
                        own = LogFolder(self.folder, log, self._mode)
                    found = self._logs[log] = LogModel(self._reader, info, own, self._say)
        return found

    @property
    def epoch(self) -> int:
        """Another number once something that was given before holds no longer."""
        with self._lock:
            return self._epochs_before + sum(model.epoch for model in self._logs.values())

    @property
    def building(self) -> bool:
        """Whether it reads so much just now that who asks would wait for long."""
        return self._building

    def can_keep(self) -> bool:
        """Whether it can be written to its folder."""
        if self.folder is None or not self._keeps:
            return False
        try:
            for info in self._reader.logs():
                with LogFolder(self.folder, info.log, self._mode).locked():
                    continue
        except CannotKeep:
            return False
        return True

    # How far it goes

    def covered(self, log: int) -> int:
        """The size below which it can give everything: the log's, once what is new was read.

        Lower (0 for a log that is not known) where the log cannot be read: then `notes` says why.
        """
        with self._lock:
            model = self._model(log)
            if model is None:
                return 0
            size = self._reader.size(log)
            try:
                self._mending(model, lambda model: self._ensure(model, size, True))
            except StoreCorrupt as error:
                self._say(f"the read model of log {log} ends at {model.stop}: {error}")
            return self._logs[log].stop

    def sealed(self, log: int) -> int:
        """The size below which everything is on disk."""
        with self._lock:
            model = self._model(log)
            return 0 if model is None else model.sealed_stop

    def _ensure(self, model: LogModel, size: int, closely: bool = False) -> None:
        if not model.is_of_its_log(closely):
            self._given.pop(model.log, None)
            model.begin_anew()
        # What was given once must be there again, even if its files are gone since.
        size = max(size, self._given.get(model.log, 0))
        if size <= model.stop:
            self._given[model.log] = size
            return
        last = model.sealed_stop if self._keeps else model.stop
        self._building = size - last > MAX_TAIL_ENTRIES
        try:
            self._read_on(model, size)
        finally:
            self._building = False

    def _read_on(self, model: LogModel, size: int) -> None:
        if self.progress is not None:
            self.progress(0, size - model.stop)  # which may raise, if it is to be left
        if self._keeps and size - model.sealed_stop > MAX_TAIL_ENTRIES:
            try:
                if not model.seal(size, self.progress):
                    self._say(
                        f"another process builds the read model of log {model.log} for long; "
                        "here it is kept in memory"
                    )
                    self._keeps = False
            except CannotKeep as error:
                self._say(f"{error}; it is kept in memory")
                self._keeps = False
        model.extend(size, self.progress)
        self._given[model.log] = size

    def seal(self, progress: Progress | None = None) -> None:
        """Build it, or build on, up to the end of every log, and keep it on disk.

        Without a folder in memory. Raises StoreCorrupt for a leaf that is none, Unavailable when
        the folder cannot be written to.
        """
        with self._lock:
            for info in self._reader.logs():
                model = self._model(info.log)
                if model is None:
                    continue
                size = self._reader.size(info.log)

                def build(model: LogModel, size: int = size) -> None:
                    if model.folder is None:
                        model.extend(size, progress)
                    elif size > model.sealed_stop:
                        model.seal(size, progress)

                self._mending(model, build)

    # What is in it

    def parts(self, log: int, entity_type: str, start: int, stop: int) -> Sequence[DatasetPart]:
        """The parts of a dataset that hold entries in [start, stop), in order.

        The first may begin before `start` and the last end after `stop`; pieces of the log without
        an event of the dataset have none. Raises StoreCorrupt.
        """
        found = self._asked(log, stop, lambda piece: piece.dataset(entity_type), start)
        return [part for part in found if part is not None]

    def dataset_parts(self, log: int, entity_type: str, size: int) -> Sequence[DatasetPart]:
        """The parts of a dataset that hold entries below a size, in order. Raises StoreCorrupt."""
        return self.parts(log, entity_type, 0, size)

    def events_parts(self, log: int, size: int, start: int = 0) -> Sequence[EventsPart]:
        """The parts for searching that hold entries in [start, size), in order. As `parts`."""
        # A search asks nothing else before: it must notice itself that the log is another one.
        return self._asked(log, size, lambda piece: piece.events(), start, True)

    def key_book(self, log: int, entity_type: str) -> KeyBook:
        """The keys of a dataset in a log, at least those of all parts given so far.

        The same object while nothing was added. Raises StoreCorrupt.
        """
        with self._lock:
            model = self._model(log)
            if model is None:
                raise StoreCorrupt(f"there is no log {log} to read in columns")

            def of_book(model: LogModel) -> KeyBook:
                self._ensure(model, 0)
                return model.book(entity_type)

            return self._mending(model, of_book)

    def must_be_plain(self, entity_type: str, cut: Cut) -> bool:
        """Whether a dataset is to be folded plainly at a cut, whatever its parts say.

        So it is where something that is no change of data takes out a change. Raises StoreCorrupt.
        """
        with self._lock:
            for log, size in cut.sizes.items():
                model = self._model(log)
                if model is None:
                    continue

                def is_plain(model: LogModel, size: int = size) -> bool:
                    self._ensure(model, size, True)
                    return any(p.plain_from.get(entity_type, size) < size for p in model.pieces())

                if self._mending(model, is_plain):
                    return True
            return False

    def _asked(
        self,
        log: int,
        stop: int,
        ask: Callable[[AnyPiece], T],
        start: int,
        closely: bool = False,
    ) -> list[T]:
        with self._lock:
            model = self._model(log)
            if model is None:
                return []

            def of_all(model: LogModel) -> list[T]:
                self._ensure(model, stop, closely)
                return [ask(p) for p in model.pieces() if p.start < stop and p.stop > start]

            return self._mending(model, of_all)

    def _mending(self, model: LogModel, ask: Callable[[LogModel], T]) -> T:
        """What is asked, begun anew when a file turns out to be broken."""
        for _ in range(MAX_REPAIRS):
            try:
                return ask(model)
            except Broken as error:
                model.repair(error)
        # Whoever damages files as fast as they are written gets an answer without them.
        self._say(f"the read model of log {model.log} is damaged again and again; it is left alone")
        self._keeps = False
        self._epochs_before += model.epoch + 1
        self._logs[model.log] = model.without_folder()
        return ask(self._logs[model.log])

    def datasets(self) -> dict[int, list[str]]:
        """Log -> the datasets that are on disk, sorted."""
        with self._lock:
            found = {}
            for info in self._reader.logs():
                model = self._model(info.log)
                if model is not None:
                    names = {name for piece in model.manifest.pieces for name in piece.datasets}
                    found[info.log] = sorted(names)
            return found

    # Snapshots of folded datasets

    def snapshot_sizes(self, log: int, entity_type: str) -> Sequence[int]:
        """The sizes at which snapshots of a dataset are kept, ascending."""
        with self._lock:
            model = self._model(log)
            kept = () if model is None else model.manifest.snapshots
            return sorted(one.size for one in kept if one.dataset == entity_type)

    def read_snapshot(
        self, log: int, entity_type: str, size: int
    ) -> "Mapping[str, pa.Array] | None":
        """The arrays of a snapshot by name, checked against their digest; None without one."""
        with self._lock:
            model = self._model(log)
            if model is None or model.folder is None:
                return None
            for one in model.manifest.snapshots:
                if (one.dataset, one.size) != (entity_type, size):
                    continue
                try:
                    return read_arrays(model.folder.path, one.file).arrays
                except Broken as error:
                    model.reload()
                    if one not in model.manifest.snapshots:
                        return None  # another process has thinned them out
                    self._say(f"a snapshot of {entity_type} is dropped: {error}")
                    model.forget(one)
            return None

    def write_snapshot(
        self, log: int, entity_type: str, size: int, arrays: "Mapping[str, pa.Array]"
    ) -> None:
        """Keep the arrays of a snapshot at a size that is on disk; else, or while another process
        builds, do nothing. Raises Unavailable when the folder cannot be written to.
        """
        with self._lock:
            model = self._model(log)
            if model is None or model.folder is None or not self._keeps:
                return
            with model.folder.locked() as mine:
                if not mine:
                    return
                model.reload()
                if size > model.sealed_stop:
                    return
                file = f"s.{entity_type}.{size}.arrow"
                try:
                    digest = write_arrays(model.folder.path, file, arrays, {})
                except pa.ArrowException as error:
                    raise CannotKeep(f"a snapshot cannot be written: {error!s:.200}") from None
                model.remember(SnapshotEntry(entity_type, size, digest))

    # For operators

    def state(self) -> list[LogState]:
        """How far it is, log by log. Builds nothing."""
        with self._lock:
            found = []
            for info in self._reader.logs():
                model = self._model(info.log)
                size = self._reader.size(info.log)
                if model is None:
                    found.append(LogState(info.log, info.origin, size, 0, 0, 0))
                    continue
                kept = model.manifest
                found.append(
                    LogState(
                        info.log,
                        info.origin,
                        size,
                        kept.stop,
                        len(kept.pieces),
                        kept.size_bytes(),
                    )
                )
            return found

    def drop(self) -> None:
        """Delete what is kept. Raises Unavailable when another process builds it just now."""
        with self._lock:
            folder = self.folder
            if folder is None or not folder.is_dir():
                return
            for info in self._reader.logs():
                own = LogFolder(folder, info.log)
                if not own.path.is_dir():
                    continue
                with own.locked() as mine:
                    if not mine:
                        raise CannotKeep("another process builds the read model now; try again")
                    own.drop()
            self._epochs_before = self.epoch + 1
            self._logs = {}
            try:
                folder.rmdir()
            except OSError:
                return  # something that is not ours is in it


def open_read_model(
    reader: Reader, folder: Path | None, progress: Progress | None = None, mode: int = PRIVATE
) -> ReadModel:
    """The read model of a ledger, kept in a folder; without one, in this process's memory alone.

    Nothing is read or built before it is asked for, and no folder is made. The reader stays the
    caller's to close; it is used as long as the model is. `mode`: of the folders that are made.
    """
    return ReadModel(reader, folder, progress, mode)

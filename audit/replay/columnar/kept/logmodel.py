"""The read model of one log: its pieces on disk, the tail in memory, the books of its keys.

On disk are pieces that follow each other from entry 0 on, each bound to the root hash of the log at
its end. Full ones stay; what comes after is merged as it grows (a new piece takes in those before
it that are not larger), so that their number is that of the digits of the log's size. What the
pieces do not cover is read from the store into memory, in pieces by the same rule.

Merging reads the log again. So a piece depends on the log alone, and so do the codes of keys; what
is dropped is built again as it was, by whatever process.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from audit.errors import InvalidInput, NotFound, StoreCorrupt
from audit.replay.columnar.kept.building import Progress, build
from audit.replay.columnar.kept.files import Broken, CannotKeep, read_arrays, write_arrays
from audit.replay.columnar.kept.folder import LogFolder
from audit.replay.columnar.kept.keybook import book_of, no_keys
from audit.replay.columnar.kept.manifest import Manifest, SnapshotEntry
from audit.replay.columnar.kept.pieces import AnyPiece, InMemory, OnDisk, on_disk, write_piece
from audit.replay.columnar.kept.thinning import thinned
from audit.replay.columnar.parts import Codes, KeyBook
from audit.store.contract import LogInfo, Reader
from audit.tlog.hashing import leaf_hash
from audit.tlog.merkle import tree_root

LOCK_WAIT_S = 600.0
"""How long a process waits for another that builds the same, before it reads on by itself."""

Say = Callable[[str], None]


class LogModel:
    """One log. Not safe for several threads at once (`ReadModel` sees to that)."""

    def __init__(self, reader: Reader, info: LogInfo, folder: LogFolder | None, say: Say) -> None:
        """Read and check what is on disk, if a folder is given."""
        self.log = info.log
        self.folder = folder
        self.manifest = Manifest(info.log, info.origin)
        self.sealed: list[AnyPiece] = []
        self.tail: list[AnyPiece] = []
        self._reader = reader
        self._origin = info.origin
        self._say = say
        self._books: dict[str, KeyBook] = {}
        self.epoch = 0
        # The log's head when it was last read: (size, root hash); the size last looked at, and the
        # leaf hash of the newest entry then.
        self._head: tuple[int, str | None] = (0, None)
        self._looked_at = 0
        self._newest: bytes | None = None
        if folder is not None:
            self._use(self._checked(folder))

    # What is there

    @property
    def sealed_stop(self) -> int:
        """The size up to which there are pieces on disk."""
        return self.manifest.stop

    @property
    def stop(self) -> int:
        """The size up to which there are pieces at all."""
        return self.tail[-1].stop if self.tail else self.sealed_stop

    def pieces(self) -> list[AnyPiece]:
        """All pieces in order."""
        return [*self.sealed, *self.tail]

    def book(self, name: str) -> KeyBook:
        """The keys of a dataset; the same object while no key was added. Raises Broken."""
        pieces = self.pieces()
        count = sum(piece.new_key_count(name) for piece in pieces)
        known = self._books.get(name)
        # Codes depend on the log alone: a longer book of it is as good.
        if known is not None and len(known.keys) >= count:
            return known
        order = self._order(name) if known is None else known.order
        book = book_of([piece.new_keys(name) for piece in pieces], order)
        self._books[name] = book
        return book

    def _order(self, name: str) -> Codes | None:
        """The order of the first keys as it was kept; None without one."""
        kept = self.manifest.orders.get(name)
        if kept is None or self.folder is None:
            return None
        digest, count = kept
        try:
            order: Codes = np.asarray(read_arrays(self.folder.path, digest).arrays["order"])
        except (Broken, KeyError) as error:
            self._say(f"{error}: the keys of {name} are sorted again")
            return None
        if order.dtype != np.int32 or len(order) != count:
            return None
        seen = np.zeros(count, dtype=np.bool_)
        seen[order[(order >= 0) & (order < count)]] = True
        return order if seen.all() else None

    def _keys_below(self, kept: Sequence[AnyPiece], name: str) -> "pa.Array":
        return pa.concat_arrays([no_keys(), *(piece.new_keys(name) for piece in kept)])

    # From disk

    def reload(self) -> bool:
        """Use what another process may have written since; True when that is something else."""
        if self.folder is None:
            return False
        found = self._checked(self.folder)
        if found == self.manifest:
            return False
        self._use(found)
        return True

    def _use(self, manifest: Manifest) -> None:
        self.manifest = manifest
        if self.folder is not None:
            mapped = [piece for piece in self.sealed if isinstance(piece, OnDisk)]
            self.sealed = [
                next((old for old in mapped if old.entry == piece.entry), piece)
                for piece in on_disk(self.folder.path, self.log, manifest.pieces)
            ]
        self.tail = []
        last = manifest.pieces[-1:]
        self._head = (last[0].stop, last[0].root) if last else (0, None)

    def is_of_its_log(self, closely: bool = False) -> bool:
        """False when the log is no longer the one that was read: put back to an older state, or
        replaced, under a process that goes on. Looked at whenever its size has changed; `closely`:
        or its newest entry, so that one of the same size is noticed, too.
        """
        size = self._reader.size(self.log)
        if size == self._looked_at and not (closely and self._newest_hash(size) != self._newest):
            return True
        head, root = self._head
        if size < head or (head and self.root(head) != root):
            return False
        self._looked_at, self._newest = size, self._newest_hash(size)
        return True

    def _newest_hash(self, size: int) -> bytes | None:
        try:
            return leaf_hash(self._reader.leaf(self.log, size - 1)) if size else None
        except (NotFound, StoreCorrupt):
            return None

    def begin_anew(self) -> None:
        """Forget all that was read, and use what is on disk as far as it fits the log."""
        self._say(f"log {self.log} is another than before: its read model is built again")
        self.epoch += 1
        self._books = {}
        self._looked_at = self._reader.size(self.log)
        self._newest = self._newest_hash(self._looked_at)
        self._use(self._checked(self.folder) if self.folder else Manifest(self.log, self._origin))

    def _checked(self, folder: LogFolder) -> Manifest:
        """The manifest, without what is not of this log as it is now."""
        nothing = Manifest(self.log, self._origin)
        try:
            found = folder.read()
        except Broken as error:
            self._say(f"the read model of log {self.log} is dropped: {error}")
            return nothing
        if found is None:
            return nothing
        if (found.log, found.origin) != (self.log, self._origin):
            self._say(f"the read model of log {self.log} is dropped: it is of another log")
            return nothing
        size = self._reader.size(self.log)
        for count, piece in enumerate(found.pieces):
            if piece.stop > size:
                why = f"it goes up to entry {piece.stop}, the log up to {size}"
            elif self.root(piece.stop) != piece.root:
                why = f"another log was there: the root hash at {piece.stop} differs"
            else:
                continue
            self._say(f"the read model of log {self.log} is dropped from {piece.start} on: {why}")
            return found.up_to(count)
        return found

    def root(self, size: int) -> str | None:
        """The root hash of the log at a size, in hex; None where the store has none to give."""
        try:
            return tree_root(self._reader.hashes(self.log, size), size).hex()
        except (NotFound, InvalidInput, StoreCorrupt):
            return None

    def _require_same(self, size: int, root: str | None) -> None:
        """Raise StoreCorrupt where the log is no longer the one that reading it began with.

        What was read would be of two logs, and bound to the root of the second.
        """
        if self.root(size) != root:
            raise StoreCorrupt(f"log {self.log} was exchanged while it was read; ask again")

    # The tail in memory

    def extend(self, size: int, progress: Progress | None = None) -> None:
        """Read the log up to a size into memory. Raises StoreCorrupt."""
        if size <= self.stop:
            return
        kept = _kept(self.tail, size)
        start = kept[-1].stop if kept else self.sealed_stop
        made: list[AnyPiece] = []
        whole = self.root(size)

        def below(name: str) -> "pa.Array":
            return self._keys_below([*self.sealed, *kept, *made], name)

        for piece, full in build(self._reader, self.log, start, size, below, progress):
            made.append(InMemory(piece, full))
        self._require_same(size, whole)
        self.tail = [*kept, *made]
        self._head = self.stop, whole

    # To disk

    def seal(self, size: int, progress: Progress | None = None) -> bool:
        """Keep everything below a size on disk; False where another process is at it for too long.

        Raises StoreCorrupt, CannotKeep when the folder cannot be written to.
        """
        folder = self.folder
        if folder is None:
            return False
        with folder.locked() as mine:
            if mine:
                self._seal(folder, size, progress)
                return True

        def waiting() -> None:
            if progress is not None:
                progress(0, size)

        with folder.locked(LOCK_WAIT_S, waiting) as mine:
            # Whoever had it has built most of it, or all.
            if mine:
                self._seal(folder, size, progress)
            return mine

    def _seal(self, folder: LogFolder, size: int, progress: Progress | None) -> None:
        self.reload()
        if size <= self.sealed_stop:
            return
        kept = _kept(self.sealed, size)
        manifest = self.manifest.up_to(len(kept))
        start = manifest.stop
        whole = self.root(size)

        def below(name: str) -> "pa.Array":
            return self._keys_below(kept, name)

        for piece, full in build(self._reader, self.log, start, size, below, progress):
            root = self.root(piece.stop)
            if root is None:
                raise StoreCorrupt(
                    f"log {self.log} has no root hash at {piece.stop}; run audit verify"
                )
            self._require_same(size, whole)
            entry = write_piece(folder.path, piece, full, root)
            manifest = manifest._replace(pieces=(*manifest.pieces, entry))
            if full:
                # What is done so far stays done, whatever comes.
                folder.write(manifest)
            kept.append(on_disk(folder.path, self.log, manifest.pieces)[-1])
        self._use(manifest)
        self._keep_orders(folder)
        folder.write(self.manifest)
        folder.clear(self.manifest)

    def _keep_orders(self, folder: LogFolder) -> None:
        names = {name for piece in self.manifest.pieces for name in piece.keys}
        orders = dict(self.manifest.orders)
        for name in sorted(names):
            book = self.book(name)
            if name in orders and orders[name][1] == len(book.keys):
                continue
            arrays = {"order": pa.array(book.order)}
            file = f"o.{name}.{len(book.keys)}.arrow"
            orders[name] = write_arrays(folder.path, file, arrays, {}), len(book.keys)
        self.manifest = self.manifest._replace(orders=orders)

    def remember(self, snapshot: SnapshotEntry) -> None:
        """A snapshot was written. Only under the lock. Raises CannotKeep."""
        others = (
            one
            for one in self.manifest.snapshots
            if (one.dataset, one.size) != (snapshot.dataset, snapshot.size)
        )
        bare = self.manifest._replace(snapshots=())
        left = thinned((*others, snapshot), bare.size_bytes())
        self.manifest = bare._replace(snapshots=left)
        if self.folder is not None:
            self.folder.write(self.manifest)
            # Readers that hold an older manifest read on from the next older snapshot.
            self.folder.clear(self.manifest)

    def forget(self, snapshot: SnapshotEntry) -> None:
        """A snapshot is broken; the next manifest will not name it."""
        left = tuple(one for one in self.manifest.snapshots if one != snapshot)
        self.manifest = self.manifest._replace(snapshots=left)

    def without_folder(self) -> "LogModel":
        """The same log, with nothing on disk."""
        info = LogInfo(self.log, self._origin, "")
        return LogModel(self._reader, info, None, self._say)

    # When something is wrong

    def repair(self, error: Broken) -> None:
        """After a piece turned out to be broken: use what is on disk now, or build it again."""
        if self.reload():
            return
        for count, piece in enumerate(self.sealed):
            if self._is_whole(piece):
                continue
            self._say(
                f"the read model of log {self.log} is built again from {piece.start} on: {error}"
            )
            stop = self.sealed_stop
            self._use(self.manifest.up_to(count))
            self._books = {}
            self.epoch += 1
            self._rebuild(stop)
            return

    def _rebuild(self, stop: int) -> None:
        folder = self.folder
        try:
            if folder is not None:
                with folder.locked() as mine:
                    if mine:
                        folder.write(self.manifest)
                        self._seal(folder, stop, None)
                        return
        except CannotKeep as error:
            self._say(str(error))
        self.extend(stop)

    def _is_whole(self, piece: AnyPiece) -> bool:
        if not isinstance(piece, OnDisk):
            return True
        try:
            fresh = OnDisk(piece.folder, self.log, piece.entry, piece.keys_before)
            for name in piece.entry.datasets:
                fresh.dataset(name)
                fresh.new_keys(name)
            fresh.events()
        except Broken:
            return False
        return True


def _kept(pieces: Sequence[AnyPiece], size: int) -> list[AnyPiece]:
    """Those that stay when the log is read up to a size: full ones, and larger ones than the rest.

    So each entry is read again only when its piece at least doubles.
    """
    kept = list(pieces)
    while kept and not kept[-1].full and kept[-1].stop - kept[-1].start <= size - kept[-1].stop:
        kept.pop()
    return kept

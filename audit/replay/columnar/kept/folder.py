"""The folder of one log's read model: who may write it, and what is cleared away.

One process writes at a time, under a lock that ends with the process. Readers take no lock: files
never change under their names, and a mapped file outlives its name. The manifest is written last;
so after a crash the folder holds what the last manifest says, and files that nobody names, which
the next writer deletes.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from audit.replay.columnar.kept.files import TEMPORARY, CannotKeep
from audit.replay.columnar.kept.manifest import Manifest, is_ours, read_manifest, write_manifest
from audit.store.durable import sync_folder

LOCK = "lock"
WAIT_S = 0.05
STALLED_S = 120.0
"""A writer in whose folder nothing changes for so long is not waited for: it may be stopped."""
PRIVATE = 0o700


class LogFolder:
    """One log's folder. It is made when it is first written to."""

    def __init__(self, root: Path, log: int, mode: int = PRIVATE) -> None:
        """Nothing is read yet. `mode`: who may look into it; see `place.folder_mode`."""
        self.path = root / f"log-{log}"
        self._mode = mode

    def read(self) -> Manifest | None:
        """Its manifest; None where nothing is kept. Raises Broken."""
        return read_manifest(self.path)

    def write(self, manifest: Manifest) -> None:
        """Make this the manifest. Only under the lock. Raises CannotKeep."""
        write_manifest(self.path, manifest)
        with contextlib.suppress(OSError):
            sync_folder(self.path)

    @contextlib.contextmanager
    def locked(
        self, wait_s: float = 0.0, waiting: Callable[[], object] = lambda: None
    ) -> Iterator[bool]:
        """The right to write, for a block; False when another has it even after so long a wait.

        `waiting` is called meanwhile; what it raises ends the wait. Raises CannotKeep when the
        folder cannot be written to at all.
        """
        until = time.monotonic() + wait_s
        changed, patience = self._changed_ns(), time.monotonic() + STALLED_S
        descriptor = self._open_lock()
        try:
            while not self._try_lock(descriptor):
                if self._changed_ns() != changed:
                    changed, patience = self._changed_ns(), time.monotonic() + STALLED_S
                if time.monotonic() >= min(until, patience):
                    yield False
                    return
                waiting()
                time.sleep(WAIT_S)
                # Whoever dropped the folder took the lock's file with it: a lock on that is none.
                if not self._is_there(descriptor):
                    fresh = self._open_lock()
                    os.close(descriptor)
                    descriptor = fresh
            yield True
        finally:
            os.close(descriptor)

    def _changed_ns(self) -> int | None:
        """When a file was last made or renamed in the folder."""
        try:
            return os.stat(self.path).st_mtime_ns
        except OSError:
            return None

    def _open_lock(self) -> int:
        try:
            self.path.mkdir(self._mode, parents=True, exist_ok=True)
            return os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise CannotKeep(f"the read model cannot be kept in {self.path}: {reason}") from None

    def _try_lock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise CannotKeep(f"the read model cannot be locked: {error.strerror}") from None
        return self._is_there(descriptor)

    def _is_there(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path / LOCK))
        except OSError:
            return False

    def clear(self, keep: Manifest | None) -> None:
        """Delete every file of ours that the manifest does not name. Only under the lock."""
        kept = set() if keep is None else keep.files()
        with contextlib.suppress(OSError):
            for file in list(self.path.iterdir()):
                if file.name not in kept and (is_ours(file.name) or _is_left(file.name)):
                    file.unlink(missing_ok=True)

    def drop(self) -> None:
        """Delete all that is ours, and the folder if nothing else is in it. Only under the lock."""
        self.clear(None)
        with contextlib.suppress(OSError):
            (self.path / LOCK).unlink(missing_ok=True)
            self.path.rmdir()


def _is_left(name: str) -> bool:
    """A temporary file of a writer that is gone: under the lock nobody else writes."""
    return name.startswith(TEMPORARY)

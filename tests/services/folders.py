"""Temporary folders of services: they go with the tests, and if those are killed, with the next."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "attestory-"
LOCK = "lock"

_held: dict[Path, int] = {}


def new_folder(kind: str) -> Path:
    """A folder of our own with a short path: a Unix socket's may have 107 bytes.

    Not one of pytest's: those only their owner may enter, and a database server is not root. We
    hold a lock in it, which the kernel drops when we die; whoever comes next may then remove it.
    """
    remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-"))
    descriptor = os.open(folder / f"{LOCK}.part", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    (folder / f"{LOCK}.part").rename(folder / LOCK)
    _held[folder] = descriptor
    return folder


def remove(folder: Path) -> None:
    """Remove what `new_folder` made; a second time is no error."""
    shutil.rmtree(folder, ignore_errors=True)
    if (descriptor := _held.pop(folder, None)) is not None:
        os.close(descriptor)


def remove_abandoned() -> None:
    """Remove the folders whose owners were killed; a folder without a lock is just being made."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{LOCK}"):
        if lock.parent in _held:
            continue
        with contextlib.suppress(OSError):  # somebody else's, or gone by now
            descriptor = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
            finally:
                os.close(descriptor)

"""Making sure that a new name in a folder survives a power cut."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Return when a power cut can no longer lose the names in a folder. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

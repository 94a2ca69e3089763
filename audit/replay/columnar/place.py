"""Where the read model of a ledger is kept: beside its store, or in the user's cache folder."""

import os
from hashlib import sha256
from pathlib import Path

READ_MODEL_VARIABLE = "AUDIT_READ_MODEL"
"""Environment: a folder for read models, or `off`: then nothing is kept on disk."""
OFF = "off"
DEFAULT_FOLDER = "audit-readmodel"
CACHE_VARIABLE = "XDG_CACHE_HOME"
CACHE_FOLDER = Path("attestory") / "readmodel"


def folder_mode(store_file: Path | None) -> int:
    """The mode of a read model's folders: whoever may read the store's file may read them.

    A read model says all that the store says. Of a database server it is its user's alone.
    """
    try:
        mode = 0 if store_file is None else store_file.stat().st_mode
    except OSError:
        mode = 0
    return 0o700 | (0o050 if mode & 0o040 else 0) | (0o005 if mode & 0o004 else 0)


def read_model_folder(address: str, store_file: Path | None) -> Path | None:
    """The folder for the read model of one ledger; None when nothing is to be kept.

    `address`: the ledger's, without a password. `store_file`: its file; None when it is on a
    database server: then the place is attestory/readmodel in the user's cache folder. Each ledger
    has a folder of its own there, so that several may share a place.
    """
    named = os.environ.get(READ_MODEL_VARIABLE)
    if named == OFF:
        return None
    own = sha256(address.encode(errors="replace")).hexdigest()[:16]
    if store_file is not None:
        own_name = store_file.name
        if named:
            return Path(named) / f"{own_name}-{own}"
        return store_file.parent / DEFAULT_FOLDER / own_name
    if named:
        return Path(named) / own
    cache = Path(os.environ.get(CACHE_VARIABLE, ""))
    if not cache.is_absolute():
        try:
            cache = Path.home() / ".cache"
        except RuntimeError:
            return None
    return cache / CACHE_FOLDER / own

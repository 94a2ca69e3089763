"""The read model of a ledger that was opened by its URL: where it is kept, and when it is used."""

import os
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from audit.ledger.open import BUNDLE_SCHEME, store_file
from audit.replay.fastpath import FastPath, attach

if TYPE_CHECKING:
    from audit.replay.columnar.kept.building import Progress
    from audit.replay.columnar.kept.model import ReadModel
    from audit.store.contract import Reader


class LedgerReadModel:
    """The read model of one ledger; opened when first needed, built as far as it is asked."""

    def __init__(self, reader: "Reader", folder: Path | None, mode: int) -> None:
        """`folder`: where it is kept, in folders of this mode; None: in memory alone."""
        self._reader = reader
        self._mode = mode
        self._folder = folder
        self._model: ReadModel | None = None
        self._lock = Lock()
        self.progress: Progress | None = None
        """Told how far a building is that a question sets off; to be set before the first."""
        self._path = FastPath(self.open, is_building=self._is_building)
        attach(reader, self._path)

    def serve(self, reader: "Reader") -> None:
        """Answer for another reader of the same ledger, too; its thread may be another one."""
        attach(reader, self._path)

    def open(self) -> "ReadModel":
        """The read model itself; one, whichever threads ask first."""
        with self._lock:
            if self._model is None:
                from audit.replay.columnar.kept.model import open_read_model

                self._model = open_read_model(self._reader, self._folder, self.progress, self._mode)
            return self._model

    def _is_building(self) -> bool:
        return self._model is not None and self._model.building

    @property
    def notes(self) -> list[str]:
        """What was dropped or built again so far, and why. Opens nothing."""
        return [] if self._model is None else list(self._model.notes)


def ledger_read_model(
    reader: "Reader", url: str, given: "str | os.PathLike[str] | None"
) -> LedgerReadModel | None:
    """The read model for a reader of this URL, in the folder given or the usual one.

    None when `given`, or else AUDIT_READ_MODEL, is "off", and for a bundle: these are replayed
    plainly.
    """
    if url.startswith(BUNDLE_SCHEME):
        return None
    from audit.replay.columnar.place import (
        OFF,
        READ_MODEL_VARIABLE,
        folder_mode,
        read_model_folder,
    )

    if (given or os.environ.get(READ_MODEL_VARIABLE)) == OFF:
        return None
    file = store_file(url)
    folder = Path(given) if given else read_model_folder(reader.address, file)
    return LedgerReadModel(reader, folder, folder_mode(file))

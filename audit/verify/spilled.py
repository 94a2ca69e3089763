"""Temporary files of a step that keeps more than fits into memory."""

import tempfile
from array import array
from pathlib import Path
from types import TracebackType
from typing import Self

from audit.errors import Unavailable


class SpillFiles:
    """Files that are appended to. A context manager: they go at its end."""

    def __init__(self, needed: str) -> None:
        """`needed`: how much room it takes, in the words of a message."""
        self._needed = needed
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def spill(self, name: str, data: "bytearray | array[int]") -> None:
        """Append to a file. Raises Unavailable."""
        try:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="audit-verify-")
            with Path(self._folder.name, name).open("ab") as file:
                file.write(data)
        except OSError as error:
            raise Unavailable(
                f"no room for temporary files ({error.strerror}); {self._needed} are needed"
            ) from error

    def spilled(self, name: str) -> Path | None:
        """The file, to be read; None when nothing was spilled into it."""
        if self._folder is None:
            return None
        path = Path(self._folder.name, name)
        return path if path.exists() else None

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Delete the files."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

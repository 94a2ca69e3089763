"""The file that is imported: readable several times, with clear errors and known progress."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from audit.errors import AuditError, InvalidInput, LimitExceeded, NotFound, Unavailable

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in total) now and then; the total covers all passes."""

MAX_LINE_BYTES = 4_000_000
"""Longest line that is looked at; an event is never larger than 64,000 bytes."""
LINES_PER_REPORT = 2_000

UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


class Source:
    """A file given by its path, or a stream, which is copied to a temporary file first.

    `name` is for messages. `passes` says how often it will be read, for the progress.
    """

    def __init__(
        self, path_or_stream: str | os.PathLike[str] | BinaryIO, progress: Progress | None = None
    ) -> None:
        """Open it. Raises NotFound, InvalidInput, Unavailable."""
        self.passes = 1
        self._progress = progress
        self._passes_done = 0
        if isinstance(path_or_stream, str | os.PathLike):
            self.path: Path | None = Path(path_or_stream)
            self.name = str(path_or_stream)
            self.file = _open(self.path)
        else:
            self.path = None
            self.name = str(getattr(path_or_stream, "name", "the input"))
            self.file = _copied(path_or_stream, self.name)
        self.size = os.fstat(self.file.fileno()).st_size
        self._stamp = self._stamped()

    def _stamped(self) -> tuple[int, int]:
        found = os.fstat(self.file.fileno())
        return found.st_size, found.st_mtime_ns

    def report(self, done_bytes: int) -> None:
        """Say how much of this pass is done."""
        if self._progress is not None:
            total = max(1, self.size * self.passes)
            self._progress(min(self._passes_done * self.size + done_bytes, total), total)

    def finish_pass(self) -> None:
        """This pass is done. Raises InvalidInput when somebody wrote to the file meanwhile."""
        if self._stamped() != self._stamp:
            raise InvalidInput(f"{self.name} was changed while it was read; import it again")
        self.report(self.size)
        self._passes_done += 1

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """(number, line with its end) from the start of the file. Raises InvalidInput."""
        self.file.seek(0)
        done = number = 0
        while line := self._read_line(number + 1):
            number += 1
            done += len(line)
            if number == 1:
                line = self._without_bom(line)
            yield number, line
            if number % LINES_PER_REPORT == 0:
                self.report(done)

    def _read_line(self, number: int) -> bytes:
        try:
            line = self.file.readline(MAX_LINE_BYTES + 1)
        except OSError as error:
            raise Unavailable(f"cannot read {self.name}: {error.strerror}") from None
        if len(line) > MAX_LINE_BYTES:
            raise LimitExceeded(
                f"{self.name}, line {number}: longer than {MAX_LINE_BYTES:,} bytes; is it a text?"
            )
        return line

    def _without_bom(self, line: bytes) -> bytes:
        if line.startswith(_UTF16_BOMS):
            raise InvalidInput(f"{self.name} is UTF-16; save it as UTF-8")
        return line.removeprefix(UTF8_BOM)

    def text(self, number: int, line: bytes) -> str:
        """A line as text. Raises InvalidInput when it is not UTF-8, or holds U+0000."""
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            at = error.start + 1
            raise InvalidInput(f"{self.name}, line {number}: byte {at} is not UTF-8") from None
        if "\x00" in text:
            raise InvalidInput(
                f"{self.name}, line {number}: holds a NUL byte; it is not a text file"
            )
        return text

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        self.file.close()

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def located(place: str) -> Iterator[None]:
    """Errors raised inside say where: the file and its line or row come first."""
    try:
        yield
    except InvalidInput as error:
        raise relocated(error, place) from None


def relocated(error: AuditError, place: str) -> AuditError:
    """The same error, saying where."""
    return type(error)(f"{place}: {error}")


def _open(path: Path) -> BinaryIO:
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by Source.close
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except IsADirectoryError:
        raise InvalidInput(f"{path} is a folder; give a file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Unavailable(f"cannot read {path}: {reason}") from None
    if not file.seekable():
        # A pipe has no second pass.
        with file:
            return _copied(file, str(path))
    return file


def _copied(stream: BinaryIO, name: str) -> BinaryIO:
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed by Source.close
    try:
        shutil.copyfileobj(stream, copy)
        copy.flush()
    except (OSError, TypeError) as error:
        copy.close()
        reason = getattr(error, "strerror", None) or "it gives no bytes"
        raise Unavailable(f"cannot read {name}: {reason}") from None
    return copy

"""Files that commands write: whole under their name, or not there at all."""

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

STDOUT = "-"
"""The file name that means standard output."""


def file_or_stdout(path: str | None) -> str | None:
    """The name of the file to write, or None for standard output: not given, or `-`."""
    return None if path == STDOUT else path


@contextlib.contextmanager
def new_file(path: str) -> Iterator[BinaryIO]:
    """A file that takes its name when the block ends well; after a crash the old one is there.

    What is no plain file (/dev/stdout, a named pipe, `-` for stdout) is written directly. Raises
    OSError, which names `path`.
    """
    if path == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(os.path.realpath(path))  # a link stays a link
    if target.exists() and not target.is_file():
        with target.open("wb") as direct:
            yield direct
        return
    private = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with private.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(private, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            private.unlink()
        if isinstance(error, OSError) and error.filename in (private, str(private)):
            error.filename, error.filename2 = path, None
        raise


def write_file(path: str, data: bytes) -> None:
    """Write a whole file. Raises OSError."""
    with new_file(path) as file:
        file.write(data)

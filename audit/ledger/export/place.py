"""Where an export lies: a folder, or any URL that fsspec knows.

A file appears under its name when it is whole: in a folder it is written beside, made durable and
renamed; object stores show an upload when it is closed. What was half done in a folder is left as
`.tmp-*`, which nobody takes for a part of an export.
"""

import contextlib
import hashlib
import io
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, cast
from urllib.parse import unquote, urlsplit

from audit.errors import InvalidInput, LimitExceeded, NotFound, Unavailable
from audit.store.durable import sync_folder

READ_BYTES = 1 << 20
TEMPORARY = ".tmp-"
_URL = re.compile(r"[a-z][a-z0-9+.\-]*(://|::)", re.ASCII)
_PASSWORD = re.compile(r"(?<=//)([^/@:]*):[^/@]*(?=@)")


class Digest(NamedTuple):
    """Length and SHA-256 (32 bytes) of a file."""

    size_bytes: int
    sha256: bytes


class Counted(io.RawIOBase):
    """Passes bytes on to a file, and knows how many there were and their SHA-256."""

    def __init__(self, file: Any) -> None:
        """Begin with nothing written."""
        self._file = file
        self._hash = hashlib.sha256()
        self._count = 0
        self._ignoring = False

    def ignore(self) -> None:
        """Take further bytes, and write none of them."""
        self._ignoring = True

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Write all of it."""
        view = memoryview(data).cast("B")
        if self._ignoring:
            return len(view)
        self._hash.update(view)
        self._count += len(view)
        self._file.write(view)
        return len(view)

    def tell(self) -> int:
        """How much was written."""
        return self._count

    def digest(self) -> Digest:
        """What was written so far."""
        return Digest(self._count, self._hash.digest())


class Place(Protocol):
    """A folder of files named by relative paths with `/`. Errors are those of `audit.errors`."""

    address: str
    """For messages; holds no password."""

    def names(self) -> list[str]:
        """All files, sorted; none where nothing is there yet."""
        ...

    def create(self, name: str) -> contextlib.AbstractContextManager[Counted]:
        """A new file, or a new content for one; there when the block ends well."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A file for reading. Raises NotFound."""
        ...

    def remove(self, name: str) -> None:
        """Take a file away; nothing happens when it is not there."""
        ...


def open_place(url: str) -> Place:
    """The place of a URL or a path. Nothing is made yet. Raises InvalidInput, Unavailable."""
    if not url or "\0" in url:
        raise InvalidInput("an export needs a folder or a URL")
    address = _PASSWORD.sub(r"\1", url)
    if not _URL.match(url):
        return _Folder(Path(url), address)
    if url.startswith("file://"):
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise InvalidInput(f"{address!r} names another machine; a folder is file:///path")
        return _Folder(Path(unquote(parts.path)), address)
    try:
        import fsspec  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        scheme = url.partition(":")[0]
        raise Unavailable(
            f"an export to {scheme}: needs fsspec (pip install 'attestory[blobs]') and its "
            f"{scheme} driver; or name a folder"
        ) from None
    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError, OSError) as error:
        raise Unavailable(f"{address} cannot be opened: {error}") from None
    return _Remote(filesystem, str(root).rstrip("/"), address)


def read_whole(place: Place, name: str, limit_bytes: int) -> bytes:
    """A small file's bytes. Raises NotFound, LimitExceeded, Unavailable."""
    with place.open(name) as file, _translated(place.address):
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise LimitExceeded(f"{name} is larger than {limit_bytes:,} bytes")
    return data


def digest_of(place: Place, name: str) -> Digest:
    """Length and SHA-256 of a file, read in pieces. Raises NotFound, Unavailable."""
    hashed = hashlib.sha256()
    count = 0
    with place.open(name) as file, _translated(place.address):
        while chunk := file.read(READ_BYTES):
            hashed.update(chunk)
            count += len(chunk)
    return Digest(count, hashed.digest())


@contextlib.contextmanager
def _translated(address: str) -> Iterator[None]:
    """The seam where the file system's errors become ours."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"{address} has no file {Path(str(error.filename)).name}") from None
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise Unavailable(f"{address} cannot be used: {reason}") from None


class _Folder:
    def __init__(self, root: Path, address: str) -> None:
        self.address = address
        self._root = root

    def names(self) -> list[str]:
        with _translated(self.address):
            if self._root.exists() and not self._root.is_dir():
                raise InvalidInput(f"{self.address} is a file; an export needs a folder")
            files = [path for path in self._root.rglob("*") if not path.is_dir()]
        return sorted(path.relative_to(self._root).as_posix() for path in files)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[Counted]:
        target = self._root / name
        private = target.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
        with _translated(self.address):
            target.parent.mkdir(parents=True, exist_ok=True)
            file = private.open("xb")
        try:
            with file:
                yield Counted(file)
                with _translated(self.address):
                    file.flush()
                    os.fsync(file.fileno())
            with _translated(self.address):
                os.replace(private, target)
                sync_folder(target.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                private.unlink()
            raise

    def open(self, name: str) -> BinaryIO:
        with _translated(self.address):
            return (self._root / name).open("rb")

    def remove(self, name: str) -> None:
        with _translated(self.address):
            (self._root / name).unlink(missing_ok=True)


class _Remote:
    def __init__(self, filesystem: Any, root: str, address: str) -> None:
        self.address = address
        self._fs = filesystem
        self._root = root

    def names(self) -> list[str]:
        with _translated(self.address):
            self._fs.invalidate_cache()
            try:
                found = self._fs.find(self._root)
            except FileNotFoundError:
                return []
        start = len(self._root) + 1
        return sorted(str(path)[start:] for path in found if len(str(path)) > start)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[Counted]:
        path = f"{self._root}/{name}"
        with _translated(self.address):
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            file = self._fs.open(path, "wb")
        try:
            yield Counted(file)
        except BaseException:
            # Closing would commit the upload: what is half written is given up, where that goes.
            with contextlib.suppress(Exception):
                file.discard()
            raise
        with _translated(self.address):
            file.close()

    def open(self, name: str) -> BinaryIO:
        with _translated(self.address):
            return cast(BinaryIO, self._fs.open(f"{self._root}/{name}", "rb"))

    def remove(self, name: str) -> None:
        with _translated(self.address):
            path = f"{self._root}/{name}"
            if self._fs.exists(path):
                self._fs.rm_file(path)

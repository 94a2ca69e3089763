"""The blob store: large values by their SHA-256, in a folder or behind any fsspec URL.

Layout (the same everywhere): ``sha256/<first 2 hex digits>/<other 62 hex digits>``, a file a blob,
nothing but its bytes in it. A digest is written ``sha256:<64 lowercase hex digits>``.

What is durable: when `put` returns, a power cut loses nothing of the blob (folders; other stores
promise what they promise). What is true after a crash in `put`: the blob is there whole or not at
all; a file that begins with ``.tmp-`` may be left and can be deleted.
What is checked: `get` re-hashes every byte it hands out. `has` looks only whether a file is there.
"""

import contextlib
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from audit.errors import (
    FormatError,
    InvalidInput,
    LimitExceeded,
    NotFound,
    StoreCorrupt,
    Unavailable,
)
from audit.store.durable import sync_folder

MAX_BLOB_BYTES = 1 << 30
"""Largest blob that is taken in or read back: 1 GiB, because a blob is held in memory once."""

BLOBS_VARIABLE = "AUDIT_BLOBS"
DEFAULT_FOLDER = "audit-blobs"

_DIGEST = re.compile(r"sha256:([0-9a-f]{2})([0-9a-f]{62})", re.ASCII)
_PASSWORD = re.compile(r"(?<=//)([^/@:]*):[^/@]*(?=@)")
_URL = re.compile(r"[a-z][a-z0-9+.\-]*(://|::)", re.ASCII)


def digest_of(data: bytes) -> str:
    """The digest of bytes as it is written everywhere: ``sha256:<hex>``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def blob_path(digest: str) -> str:
    """Where a blob lies below the root. Raises FormatError on text that is not a digest."""
    match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if match is None:
        raise FormatError(
            f"not a blob digest: {str(digest)[:80]!r}; it is sha256: and 64 hex digits"
        )
    return f"sha256/{match[1]}/{match[2]}"


def default_blobs_url(store_url: str | None = None) -> str:
    """AUDIT_BLOBS from the environment; else the folder audit-blobs/ beside the store's file.

    A store that is not a file (a database server, or None) has it in the current folder.
    """
    configured = os.environ.get(BLOBS_VARIABLE)
    if configured:
        return configured
    scheme, colon, rest = (store_url or "").partition(":///")
    if not colon or scheme not in ("sqlite", "bundle", "file"):
        return DEFAULT_FOLDER
    # SQLAlchemy's spelling: three slashes and a relative path, four slashes and an absolute one.
    return str(Path(rest.partition("?")[0]).parent / DEFAULT_FOLDER)


class BlobStore:
    """Content-addressed bytes. Safe for several processes and threads at once.

    `address` names it in messages, without a password.
    `url`: a folder (created when first written to), ``file:///folder``, or with the package fsspec
    installed any of its URLs (``s3://bucket/prefix``). Raises Unavailable when that is missing.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        text = os.fspath(url)
        if not text or "\0" in text:
            raise InvalidInput(
                "the blob store's address is empty or broken; give a folder or a URL"
            )
        self.address = _PASSWORD.sub(r"\1", text)
        self._place = _open_place(text, self.address)

    def put(self, data: bytes | os.PathLike[str]) -> str:
        """Keep bytes, or a file's content, and return the digest. Repeating it changes nothing.

        A blob that is there but damaged is replaced by these right bytes.
        Raises LimitExceeded above MAX_BLOB_BYTES, NotFound for a missing file, Unavailable.
        """
        if not isinstance(data, bytes):
            data = _read_file(Path(data))
        if len(data) > MAX_BLOB_BYTES:
            raise LimitExceeded(
                f"a blob of {len(data)} bytes is over the limit of {MAX_BLOB_BYTES}"
            )
        digest = digest_of(data)
        path = blob_path(digest)
        with self._translated():
            if not self._holds(path, len(data), digest):
                self._place.write(path, data)
        return digest

    def get(self, digest: str) -> bytes:
        """The blob's bytes, re-hashed. Raises NotFound, StoreCorrupt (other bytes), Unavailable."""
        path = blob_path(digest)
        with self._translated():
            try:
                data = self._place.read(path)
            except (FileNotFoundError, NotADirectoryError):
                data = None
        if data is None:
            raise NotFound(f"no blob {digest} in {self.address}")
        if len(data) > MAX_BLOB_BYTES or digest_of(data) != digest:
            raise StoreCorrupt(
                f"blob {digest} in {self.address} holds other bytes than its name says"
            )
        return data

    def has(self, digest: str) -> bool:
        """Whether a blob of that name is there; its bytes are not looked at."""
        path = blob_path(digest)
        with self._translated():
            return self._place.size(path) is not None

    def _holds(self, path: str, size_bytes: int, digest: str) -> bool:
        if self._place.size(path) != size_bytes:
            return False
        return digest_of(self._place.read(path)) == digest

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """The seam where the file system's errors become ours."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise Unavailable(f"the blob store {self.address} cannot be used: {reason}") from error


class _Place(Protocol):
    """What a place for blobs must do; errors are OSError."""

    def size(self, path: str) -> int | None: ...

    def read(self, path: str) -> bytes: ...

    def write(self, path: str, data: bytes) -> None: ...


class _Folder:
    """Blobs in a local folder: written beside, made durable, then renamed into place."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def size(self, path: str) -> int | None:
        try:
            return (self.root / path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, path: str) -> bytes:
        with open(self.root / path, "rb") as file:
            return _read_limited(file)

    def write(self, path: str, data: bytes) -> None:
        target = self.root / path
        created = [
            folder for folder in (target.parent, *target.parent.parents) if not folder.exists()
        ]
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".tmp-{os.getpid()}-{secrets.token_hex(8)}"
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        # The name is durable only once its folder is, and a new folder once its parent is.
        for folder in [target.parent, *(made.parent for made in created)]:
            sync_folder(folder)


class _Remote:
    """Blobs behind fsspec. The temporary name and the move keep a half upload from being seen."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self.filesystem = filesystem
        self.root = root.rstrip("/")

    def size(self, path: str) -> int | None:
        try:
            size = self.filesystem.size(f"{self.root}/{path}")
        except FileNotFoundError:
            return None
        return None if size is None else int(size)

    def read(self, path: str) -> bytes:
        with self.filesystem.open(f"{self.root}/{path}", "rb") as file:
            return _read_limited(file)

    def write(self, path: str, data: bytes) -> None:
        folder = f"{self.root}/{path.rpartition('/')[0]}"
        temporary = f"{folder}/.tmp-{secrets.token_hex(8)}"
        self.filesystem.makedirs(folder, exist_ok=True)
        self.filesystem.pipe_file(temporary, data)
        self.filesystem.mv(temporary, f"{self.root}/{path}")


def _open_place(url: str, address: str) -> _Place:
    if not _URL.match(url):
        return _Folder(Path(url))
    if url.startswith("file://"):
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise InvalidInput(f"{address!r} names another machine; a folder is file:///path")
        return _Folder(Path(unquote(parts.path)))
    try:
        import fsspec  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        scheme = url.partition(":")[0]
        raise Unavailable(
            f"a blob store at {scheme}: needs the package fsspec (and its {scheme} driver); "
            "install it, or use a folder"
        ) from error
    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError, OSError) as error:
        raise Unavailable(f"the blob store {address} cannot be opened: {error}") from error
    return _Remote(filesystem, str(root))


def _read_limited(file: BinaryIO) -> bytes:
    """All bytes, or one more than the limit: enough to tell that it is too large."""
    return file.read(MAX_BLOB_BYTES + 1)


def _read_file(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return _read_limited(file)
    except FileNotFoundError as error:
        raise NotFound(f"no file {path} to put into the blob store") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Unavailable(f"{path} cannot be read: {reason}") from error

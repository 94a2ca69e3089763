"""The zip file of a bundle, written the same way every time and read without trusting it.

Read are only files that this module could have written: members stored, not compressed, sorted, one
after the other from the first byte to the directory, and nothing before, between or after them. So
there is no zip bomb, no second member of a name, no path and no hidden data.
"""

import hashlib
import os
import secrets
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from audit.errors import FormatError, LimitExceeded, StoreMissing, Unavailable
from audit.verify.bundle.format import (
    MANIFEST,
    MAX_BUNDLE_BYTES,
    MAX_MEMBERS,
    is_member_name,
    member_limit,
    parse_manifest,
)

_DATE = (1980, 1, 1, 0, 0, 0)
_LOCAL_HEADER_BYTES = 30
_CENTRAL_HEADER_BYTES = 46
_END_BYTES = 22
_CHUNK_BYTES = 1 << 20


@contextmanager
def new_bundle_file(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip file that takes the place of `path` when the block ends well, and else leaves nothing.

    Raises Unavailable when it cannot be written.
    """
    private = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(8)}")
    try:
        with open(private, "xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as bundle:
                yield bundle
            file.flush()
            os.fsync(file.fileno())
        os.replace(private, path)
    except zipfile.LargeZipFile:
        raise LimitExceeded(f"a bundle has at most {MAX_BUNDLE_BYTES:,} bytes") from None
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        private.unlink(missing_ok=True)


def add_member(bundle: zipfile.ZipFile, name: str, source: BinaryIO) -> tuple[int, bytes]:
    """Append a member; gives its length and SHA-256. Names must come in order."""
    info = zipfile.ZipInfo(name, _DATE)
    info.create_system = 3
    info.external_attr = 0o644 << 16
    digest = hashlib.sha256()
    source.seek(0, os.SEEK_END)
    info.file_size = size = source.tell()
    source.seek(0)
    with bundle.open(info, "w") as member:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            member.write(chunk)
    return size, digest.digest()


class BundleFile:
    """An open bundle: its manifest, and its members by name. A context manager."""

    def __init__(self, path: Path) -> None:
        """Raises StoreMissing, Unavailable, FormatError, LimitExceeded."""
        self.path = path
        try:
            self._file: BinaryIO = open(path, "rb")  # noqa: SIM115  # closed by `close`
        except FileNotFoundError:
            raise StoreMissing(f"there is no bundle {path}") from None
        except (OSError, ValueError) as error:
            raise Unavailable(f"cannot read {path}: {error}") from None
        try:
            self._zip, self._members = self._open()
            self.manifest = parse_manifest(self.read(MANIFEST))
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
        size = os.fstat(self._file.fileno()).st_size
        if size > MAX_BUNDLE_BYTES:
            raise LimitExceeded(f"a bundle has at most {MAX_BUNDLE_BYTES:,} bytes")
        with _translated():
            archive = zipfile.ZipFile(self._file)
            members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise LimitExceeded(f"a bundle has at most {MAX_MEMBERS:,} members")
        at = directory = 0
        for member in members:
            _check_member(member, at)
            at += _LOCAL_HEADER_BYTES + len(member.filename) + member.file_size
            directory += _CENTRAL_HEADER_BYTES + len(member.filename)
        names = [member.filename for member in members]
        if names != sorted(set(names)):
            raise FormatError("the members of the bundle are not in order, or one is there twice")
        if archive.comment or archive.start_dir != at or at + directory + _END_BYTES != size:
            raise FormatError("the bundle holds data that belongs to no member")
        return archive, {member.filename: member for member in members}

    def names(self) -> list[str]:
        """All members, sorted."""
        return list(self._members)

    def read(self, name: str) -> bytes:
        """A whole small member. Raises FormatError when it is missing or damaged."""
        with self.open(name) as member:
            return member.read()

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A member as a file. Damage found while reading is a FormatError."""
        info = self._members.get(name)
        if info is None:
            raise FormatError(f"the bundle has no {name}")
        with _translated(), self._zip.open(info) as member:
            yield cast(BinaryIO, member)

    def digest(self, name: str) -> tuple[int, bytes]:
        """Length and SHA-256 of a member."""
        digest = hashlib.sha256()
        size = 0
        with self.open(name) as member:
            while chunk := member.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
        return size, digest.digest()

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        self._file.close()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def _check_member(member: zipfile.ZipInfo, at: int) -> None:
    name = member.filename
    if member.orig_filename != name or not is_member_name(name):
        raise FormatError(f"a bundle has no member {member.orig_filename[:100]!a}")
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits or member.extra:
        raise FormatError(f"the member {name} is packed in a way that no bundle uses")
    if member.compress_size != member.file_size or member.header_offset != at or member.comment:
        raise FormatError(f"the member {name} is not where a bundle has it")
    if member.file_size > member_limit(name):
        raise LimitExceeded(f"the member {name} is over its limit of {member_limit(name):,} bytes")


@contextmanager
def _translated() -> Iterator[None]:
    """What zipfile raises on damaged files, as a FormatError."""
    try:
        yield
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        if isinstance(error, FormatError | LimitExceeded):
            raise
        raise FormatError(f"the bundle is no whole zip file: {error!s:.200}") from None
    except (OverflowError, KeyError, IndexError, UnicodeError, OSError) as error:
        raise FormatError(f"the bundle is no whole zip file: {error!s:.200}") from None

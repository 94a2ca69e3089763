"""Texts that the blob store keeps for records: tracebacks, source texts; shown, never run."""

from typing import NamedTuple

from audit.errors import AuditError, FormatError
from audit.store.blobs import BlobStore

MAX_KEPT_TEXT_BYTES = 16 << 20
"""Longest text that is shown or compared: 16 MiB."""


class Kept(NamedTuple):
    """A text by its digest, or why it is not there."""

    text: str | None
    problem: str | None


def kept_text(blobs: BlobStore, digest: str | None) -> Kept:
    """The text of a digest. Never raises for what a record or the blob store holds."""
    if digest is None:
        return Kept(None, "none was recorded")
    try:
        data = blobs.get(digest)
        if len(data) > MAX_KEPT_TEXT_BYTES:
            raise FormatError(f"it has {len(data)} bytes, over the limit of {MAX_KEPT_TEXT_BYTES}")
    except AuditError as error:
        return Kept(None, str(error))
    return Kept(data.decode("utf-8", "backslashreplace"), None)

"""What recorded code says, from the blob store, and how two recorded texts differ."""

import difflib

from audit.errors import AuditError, InvalidInput
from audit.event.valuejson import parse_json
from audit.store.blobs import BlobStore

MAX_SOURCE_BYTES = 256 << 10
"""Longer texts are not compared line by line."""
MAX_SOURCE_LINES = 5_000
MAX_DIFF_LINES = 200
MAX_LINE_CHARS = 400


def source_text(blobs: BlobStore, digest: str) -> str:
    """The text of recorded code: a file as it was, or the functions of a capsule.

    Nothing is executed. Raises NotFound, StoreCorrupt, Unavailable, FormatError.
    """
    data = blobs.get(digest)
    if len(data) > MAX_SOURCE_BYTES * 4:
        raise InvalidInput(f"the recorded code {digest} is too long to be compared")
    text = data.decode("utf-8", "replace")
    if text.startswith("{"):
        functions = _functions(text)
        if functions:
            return "\n".join(functions)
    return text


def _functions(text: str) -> list[str]:
    try:
        document = parse_json(text)
    except (InvalidInput, RecursionError):
        return []
    functions = document.get("functions") if isinstance(document, dict) else None
    if not isinstance(functions, dict):
        return []
    said = [one for one in functions.values() if isinstance(one, dict)]
    return [one["source"] for one in said if isinstance(one.get("source"), str)]


def source_diff(blobs: BlobStore, a: str, b: str) -> tuple[str, ...]:
    """A unified diff of two recorded codes by digest; or one line that says why there is none."""
    try:
        before, after = source_text(blobs, a), source_text(blobs, b)
    except AuditError as error:
        return (f"the texts cannot be compared: {error}",)
    if max(len(before), len(after)) > MAX_SOURCE_BYTES:
        return ("the texts are too long to be compared line by line",)
    old, new = before.splitlines(), after.splitlines()
    if max(len(old), len(new)) > MAX_SOURCE_LINES:
        return ("the texts are too long to be compared line by line",)
    lines = list(difflib.unified_diff(old, new, a[:19], b[:19], lineterm="", n=2))
    if not lines:
        return ("the source texts are equal: what differs is what they use",)
    shown = [line[:MAX_LINE_CHARS] for line in lines[:MAX_DIFF_LINES]]
    if len(lines) > MAX_DIFF_LINES:
        shown.append(f"... {len(lines) - MAX_DIFF_LINES:,} more lines")
    return tuple(shown)

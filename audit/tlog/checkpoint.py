"""Checkpoints: signed tree heads (C2SP tlog-checkpoint v1.0.0).

::

    text = origin LF decimal-size LF base64(root[32]) LF

Extension lines are refused: cosignatures do not always cover them, and nothing here writes any.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from audit.errors import FormatError, InvalidInput, UnknownKey
from audit.tlog.hashing import EMPTY_ROOT, HASH_BYTES, MAX_SIZE
from audit.tlog.keys import Signer, Verifier
from audit.tlog.note import open_note, sign_note
from audit.tlog.text import encode_base64, parse_base64, parse_decimal

MAX_ORIGIN_BYTES = 1024
"""Longest origin, in UTF-8."""

MAX_CHECKPOINT_TEXT_BYTES = 2048
"""Longest checkpoint text that is looked at."""

_NOT_IN_ORIGIN = re.compile(r"[\x00-\x1f\ud800-\udfff]")


class Checkpoint(NamedTuple):
    """A tree head and the log it is of: origin, size (leaves), root (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the text that is signed. Raises InvalidInput for parts that cannot be."""
        fault = _fault(self)
        if fault:
            raise InvalidInput(fault)
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"


def parse_checkpoint_text(text: str) -> Checkpoint:
    """Return the checkpoint that a note's text spells. Raises FormatError for any other text."""
    lines = text.split("\n", 4) if len(text) <= MAX_CHECKPOINT_TEXT_BYTES else []
    if len(lines) < 4 or (len(lines) == 4 and lines[3]):
        raise FormatError("a checkpoint has three complete lines: origin, size, root hash")
    if len(lines) > 4:
        raise FormatError("a checkpoint with extension lines is not accepted")
    size = parse_decimal(lines[1], "the checkpoint's size")
    root = parse_base64(lines[2], "the checkpoint's root hash")
    checkpoint = Checkpoint(lines[0], size, root)
    fault = _fault(checkpoint)
    if fault:
        raise FormatError(fault)
    return checkpoint


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """Return the checkpoint as a note signed by the log's key, which is named as the origin.

    Raises InvalidInput for a signer of another name, and what the signer raises. Never call it
    with a tree that does not continue every tree signed before.
    """
    if signer.name != checkpoint.origin:
        raise InvalidInput(f"the key {signer.name} cannot sign for the log {checkpoint.origin}")
    return sign_note(checkpoint.text(), [signer])


def open_checkpoint(data: bytes, verifiers: Sequence[Verifier]) -> Checkpoint:
    """Return the checkpoint in a note that is signed by a known key named as its origin.

    A key of another name does not speak for this log, even when it is known. Raises FormatError,
    LimitExceeded, InvalidSignature, UnknownKey.
    """
    note, signed_by = open_note(data, verifiers)
    checkpoint = parse_checkpoint_text(note.text)
    if all(verifier.name != checkpoint.origin for verifier in signed_by):
        raise UnknownKey("the checkpoint is not signed by a given key that is named as its origin")
    return checkpoint


def _fault(checkpoint: Checkpoint) -> str | None:
    """Say in what way this cannot be a checkpoint, if any."""
    origin, size, root = checkpoint
    if (
        not origin
        or len(origin) > MAX_ORIGIN_BYTES
        or _NOT_IN_ORIGIN.search(origin)
        or len(origin.encode()) > MAX_ORIGIN_BYTES
    ):
        return "a checkpoint's origin must be one line that is not empty"
    if not 0 <= size <= MAX_SIZE:
        return "a checkpoint's size must be between 0 and 2^63-1"
    if len(root) != HASH_BYTES:
        return f"a checkpoint's root hash has {HASH_BYTES} bytes, not {len(root)}"
    if size == 0 and root != EMPTY_ROOT:
        return "a checkpoint of size 0 must have the root of the empty tree"
    return None

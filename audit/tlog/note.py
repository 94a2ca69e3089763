"""Signed notes (C2SP signed-note v1.0.0): reading, writing, signing and opening them.

::

    note           = text LF 1*signature-line
    text           = UTF-8, ends with LF, no byte below 0x20 but LF
    signature-line = U+2014 SP key-name SP base64(key-id[4] || signature) LF

The text ends at the last blank line, so it may hold blank lines itself.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from audit.errors import (
    FormatError,
    InvalidInput,
    InvalidSignature,
    LimitExceeded,
    UnknownKey,
)
from audit.tlog.keys import KEY_ID_BYTES, Signer, Verifier, key_name_ok
from audit.tlog.text import encode_base64, parse_base64

MAX_NOTE_BYTES = 1_000_000
"""Longest note, signatures included; the specification asks for some limit."""

MAX_SIGNATURES = 100
"""Most signature lines of a note; the specification asks for at least 16."""

SIGNATURE_PREFIX = "\u2014 "
"""An em dash and a space open every signature line."""

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class NoteSignature(NamedTuple):
    """One signature line: the key's name, its 4-byte id, and the signature (1 byte or more)."""

    name: str
    key_id: bytes
    signature: bytes


class Note(NamedTuple):
    """A note's text, with its final line feed, and its signatures, not verified."""

    text: str
    signatures: tuple[NoteSignature, ...]


def parse_note(data: bytes) -> Note:
    """Return the parts of a note without verifying anything, in time linear in its length.

    Raises FormatError, LimitExceeded for more than 1,000,000 bytes or 100 signatures.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise LimitExceeded(f"the note is longer than {MAX_NOTE_BYTES:,} bytes")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise FormatError("the note is not UTF-8") from None
    if _CONTROL.search(whole):
        raise FormatError("the note has a control character other than line feed")
    split = whole.rfind("\n\n")
    if split < 0:
        raise FormatError("the note has no blank line before its signatures")
    text, lines = whole[: split + 1], whole[split + 2 :]
    if not lines.endswith("\n"):
        raise FormatError("the note does not end with a complete signature line")
    if lines.count("\n") > MAX_SIGNATURES:
        raise LimitExceeded(f"the note has more than {MAX_SIGNATURES} signatures")
    return Note(text, tuple(_parse_line(line) for line in lines[:-1].split("\n")))


def serialize_note(note: Note) -> bytes:
    """Return the bytes that `parse_note` reads back as `note`.

    Raises InvalidInput, or LimitExceeded, for a note that it would refuse.
    """
    _require_text(note.text)
    if not note.signatures:
        raise InvalidInput("a note needs at least one signature")
    for name, key_id, signature in note.signatures:
        if not key_name_ok(name) or len(key_id) != KEY_ID_BYTES or not signature:
            raise InvalidInput("a signature needs a key name, a 4-byte key id and some bytes")
    if len(note.signatures) > MAX_SIGNATURES:
        raise LimitExceeded(f"a note cannot have more than {MAX_SIGNATURES} signatures")
    data = (note.text + "\n" + "".join(map(_format_line, note.signatures))).encode()
    if len(data) > MAX_NOTE_BYTES:
        raise LimitExceeded(f"a note cannot be longer than {MAX_NOTE_BYTES:,} bytes")
    return data


def sign_note(text: str, signers: Sequence[Signer]) -> bytes:
    """Return the note over `text` (ends with a line feed), signed by each signer in turn.

    Raises InvalidInput for a text that cannot be a note, and what the signers raise.
    """
    _require_text(text)
    message = text.encode()
    signatures = tuple(
        NoteSignature(signer.name, signer.verifier.key_id, signer.sign(message))
        for signer in signers
    )
    return serialize_note(Note(text, signatures))


def open_note(data: bytes, verifiers: Sequence[Verifier]) -> tuple[Note, tuple[Verifier, ...]]:
    """Return a note and the known keys that signed it, in the order of their signatures.

    Lines of unknown keys are ignored. Every line of a known key must verify, repeated ones too,
    or the note is refused as a whole. Raises FormatError, LimitExceeded, InvalidSignature for a
    known key's signature that is wrong, UnknownKey when no known key signed.
    """
    note = parse_note(data)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    message = note.text.encode()
    opened: dict[Verifier, None] = {}
    for signature in note.signatures:
        verifier = known.get((signature.name, signature.key_id))
        if verifier is None:
            continue
        if not verifier.verify(message, signature.signature):
            raise InvalidSignature(f"the note's signature by {verifier.name} is wrong")
        opened[verifier] = None
    if not opened:
        raise UnknownKey("the note is not signed by any of the given keys")
    return note, tuple(opened)


def _parse_line(line: str) -> NoteSignature:
    if not line.startswith(SIGNATURE_PREFIX):
        raise FormatError("a signature line of the note does not begin with an em dash and a space")
    name, _, encoded = line[len(SIGNATURE_PREFIX) :].partition(" ")
    if not key_name_ok(name):
        raise FormatError("a signature line of the note has no valid key name")
    blob = parse_base64(encoded, "a signature of the note")
    if len(blob) <= KEY_ID_BYTES:
        raise FormatError("a signature of the note is too short")
    return NoteSignature(name, blob[:KEY_ID_BYTES], blob[KEY_ID_BYTES:])


def _format_line(signature: NoteSignature) -> str:
    blob = encode_base64(signature.key_id + signature.signature)
    return f"{SIGNATURE_PREFIX}{signature.name} {blob}\n"


def _require_text(text: str) -> None:
    if not text.endswith("\n") or _CONTROL.search(text):
        raise InvalidInput("a note's text ends with a line feed and has no other control character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput("a note's text must be valid Unicode") from None

"""Step: open a checkpoint with pinned keys only, and say what is wrong with it."""

from collections.abc import Sequence
from typing import NamedTuple

from audit.errors import FormatError, InvalidSignature, LimitExceeded, UnknownKey
from audit.store.contract import StoredCheckpoint
from audit.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint_text
from audit.tlog.keys import Verifier
from audit.tlog.note import parse_note


class Refused(NamedTuple):
    """Why a checkpoint is no evidence: a finding code and the words."""

    code: str
    message: str


def open_note(note: object, keys: Sequence[Verifier]) -> Checkpoint | Refused:
    """The checkpoint in a note, when one of `keys` signed it and is named as its origin."""
    if type(note) is not bytes:
        return Refused("checkpoint_malformed", "it is not stored as bytes")
    try:
        return open_checkpoint(note, keys)
    except UnknownKey:
        return Refused("unknown_key", _whose(note))
    except InvalidSignature as error:
        return Refused("checkpoint_signature", str(error))
    except (FormatError, LimitExceeded) as error:
        return Refused("checkpoint_malformed", str(error))


def open_stored(
    stored: StoredCheckpoint, origin: str, keys: Sequence[Verifier]
) -> Checkpoint | Refused:
    """The checkpoint of a stored row: signed, of this log, and filed under its own size."""
    opened = open_note(stored.note, keys)
    if isinstance(opened, Refused):
        return opened
    if opened.origin != origin:
        return Refused("checkpoint_origin", f"it is of the log {opened.origin}")
    if type(stored.size) is not int or opened.size != stored.size:
        return Refused("checkpoint_size", f"it signs size {opened.size}")
    return opened


def _whose(note: bytes) -> str:
    """Who claims to have signed a note, for people; proves nothing."""
    try:
        parsed = parse_note(note)
        origin = parse_checkpoint_text(parsed.text).origin
    except (FormatError, LimitExceeded):
        return "it is not signed by a key that the policy names"
    names = sorted({f"{line.name}+{line.key_id.hex()}" for line in parsed.signatures})
    return (
        f"of the log {origin}, signed by {', '.join(names)[:200]}, which the policy does not name"
    )

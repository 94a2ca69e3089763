"""A producer's signature over an event's exact bytes, and checking it with pinned keys.

    signature = key id (4 bytes, as in a C2SP signed note) || Ed25519 signature (64 bytes, RFC 8032)

What is signed is the event as it is sent. An event begins with C3 01 and a fingerprint, which is
not UTF-8, while notes and checkpoints are text: a signature of one kind is never one of the other.
"""

from collections.abc import Iterable
from enum import Enum

from audit.errors import FormatError
from audit.event.envelope import EVENT_PREFIX
from audit.tlog.keys import Signer, Verifier

KEY_ID_BYTES = 4
ED25519_BYTES = 64
SIGNATURE_BYTES = KEY_ID_BYTES + ED25519_BYTES


class SignatureCheck(Enum):
    """What checking a producer's signature found."""

    VALID = "VALID"
    """A pinned key signed exactly these bytes."""
    INVALID = "INVALID"
    """It claims a pinned key and is not by it, or is no signature at all."""
    UNKNOWN_KEY = "UNKNOWN_KEY"
    """It claims a key that nobody pinned: it proves nothing."""
    UNSIGNED = "UNSIGNED"
    """The producer did not sign."""


def sign_event(event_bytes: bytes, signer: Signer) -> bytes:
    """The signature over an event's exact bytes: 68 bytes.

    Raises FormatError for bytes that are no event: a producer's key signs nothing else.
    """
    if not event_bytes.startswith(EVENT_PREFIX):
        raise FormatError("only the bytes of an event are signed with a producer's key")
    return signer.verifier.key_id + signer.sign(event_bytes)


def check_event(
    event_bytes: bytes, signature: bytes | None, verifiers: Iterable[Verifier]
) -> tuple[SignatureCheck, Verifier | None]:
    """What the signature proves, given the keys that the caller trusts.

    The verifier is the key that signed (VALID) or is claimed to have (INVALID); else None. Keys
    with the same id are all tried.
    """
    if signature is None:
        return SignatureCheck.UNSIGNED, None
    if len(signature) != SIGNATURE_BYTES:
        return SignatureCheck.INVALID, None
    key_id, raw = signature[:KEY_ID_BYTES], signature[KEY_ID_BYTES:]
    claimed: Verifier | None = None
    for verifier in verifiers:
        if verifier.key_id != key_id:
            continue
        if verifier.verify(event_bytes, raw):
            return SignatureCheck.VALID, verifier
        claimed = claimed or verifier
    if claimed is None:
        return SignatureCheck.UNKNOWN_KEY, None
    return SignatureCheck.INVALID, claimed

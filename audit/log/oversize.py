"""What stands in a leaf for a message that is too large for one: its digest, size and beginning.

event = "attestory oversize v1" LF digest SP size LF beginning
digest = "sha256:" and 64 hex digits: the name of the bytes in the blob store
size = decimal
beginning = the first 1,024 bytes
"""

from hashlib import sha256

MARK = b"attestory oversize v1\n"
KEPT_BYTES = 1_024
"""How much of the message stands in the entry, behind its digest."""


def oversize_digest(data: bytes) -> str:
    """The name of the bytes."""
    return f"sha256:{sha256(data).hexdigest()}"


def oversize_event(data: bytes) -> bytes:
    """What the entry holds of the bytes."""
    return MARK + f"{oversize_digest(data)} {len(data)}\n".encode() + data[:KEPT_BYTES]

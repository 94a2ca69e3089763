"""The fixed keys and leaves of the golden vectors."""

from base64 import b64encode

from audit.tlog.hashing import leaf_hash
from audit.tlog.keys import Ed25519Signer

ORIGIN = "ledger.example/main"
LOG = Ed25519Signer.from_seed(ORIGIN, bytes(range(32)))
OTHER = Ed25519Signer.from_seed("other.example/log", bytes(range(32, 64)))
ROTATED = Ed25519Signer.from_seed(ORIGIN, bytes(range(64, 96)))
HASHES = [leaf_hash(b"leaf %d" % i) for i in range(300)]

Case = dict[str, object]


def b64(data: bytes) -> str:
    return b64encode(data).decode()

"""Ed25519 keys and their verifier-key text (C2SP signed-note v1.0.0, RFC 8032)."""

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol, Self

from audit.errors import FormatError, InvalidInput
from audit.tlog.text import encode_base64, parse_base64

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ED25519_TYPE = b"\x01"
"""Signature type byte of Ed25519 in a key id and a verifier key."""

KEY_ID_BYTES = 4
PUBLIC_KEY_BYTES = 32
SEED_BYTES = 32
SIGNATURE_BYTES = 64

MAX_KEY_NAME_BYTES = 1024
"""Longest key name, in UTF-8."""

MAX_VKEY_BYTES = 2048
"""Longest verifier-key text that is looked at."""

# The y coordinates of the eight points of small order on the curve, as RFC 8032 writes them with
# the sign bit cleared, and the two that can be written beyond the field's prime. Under such a
# "key" one signature fits many messages, so nobody can be held to it.
_SMALL_ORDER_KEYS = frozenset(
    bytes.fromhex(text)
    for text in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)

_DERIVE_INFO = b"attestory log key v1\n"
_KEY_ID_HEX = re.compile(r"[0-9a-f]{8}", re.ASCII)
_NOT_IN_NAME = re.compile(r"[\s+\x00-\x1f\ud800-\udfff]")


def key_name_ok(name: str) -> bool:
    """Tell whether `name` may name a key: not empty, no white space, no "+", valid UTF-8."""
    return (
        0 < len(name) <= MAX_KEY_NAME_BYTES
        and _NOT_IN_NAME.search(name) is None
        and len(name.encode()) <= MAX_KEY_NAME_BYTES
    )


def ed25519_key_id(name: str, public_key: bytes) -> bytes:
    """Return the 4-byte key id SHA-256(name || 0x0A || 0x01 || public key)[:4] (signed-note)."""
    return sha256(name.encode() + b"\n" + ED25519_TYPE + public_key).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class Verifier:
    """A named public key. `key_id` has 4 bytes and follows from the other two."""

    name: str
    key_id: bytes
    public_key: bytes

    def __post_init__(self) -> None:
        """Refuse, with FormatError, parts that are not a key or do not belong together."""
        if not key_name_ok(self.name):
            raise FormatError('a key name must not be empty and has no white space and no "+"')
        if len(self.public_key) != PUBLIC_KEY_BYTES:
            raise FormatError(f"an Ed25519 public key has {PUBLIC_KEY_BYTES} bytes")
        if self.key_id != ed25519_key_id(self.name, self.public_key):
            raise FormatError("the key id does not fit the key's name and public key")
        if self.public_key[:-1] + bytes([self.public_key[-1] & 0x7F]) in _SMALL_ORDER_KEYS:
            raise FormatError("the public key is one that fits any signature, not anybody's key")

    @classmethod
    def from_public_key(cls, name: str, public_key: bytes) -> Self:
        """Return the verifier of a 32-byte Ed25519 public key. Raises FormatError."""
        if not key_name_ok(name):
            raise FormatError('a key name must not be empty and has no white space and no "+"')
        return cls(name, ed25519_key_id(name, public_key), public_key)

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Return the key that the text <name>+<hex key id>+<base64(0x01 || key)> describes.

        Raises FormatError for anything else, and for a key id that does not fit the key.
        """
        parts = vkey.split("+", 2) if len(vkey) <= MAX_VKEY_BYTES else []
        # base64 has "+" too, so only the first two separate.
        if len(parts) != 3 or not _KEY_ID_HEX.fullmatch(parts[1]):
            raise FormatError("not a verifier key: expected <name>+<8 hex digits>+<base64>")
        key = parse_base64(parts[2], "the verifier key's last part")
        if key[:1] != ED25519_TYPE:
            raise FormatError("the verifier key is not of type Ed25519")
        return cls(parts[0], bytes.fromhex(parts[1]), key[1:])

    @property
    def vkey(self) -> str:
        """The verifier key as text."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(ED25519_TYPE + self.public_key)}"

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` (64 bytes) is this key's Ed25519 signature of `message`."""
        from cryptography.exceptions import InvalidSignature

        if len(signature) != SIGNATURE_BYTES:
            return False
        try:
            _load_public_key(self.public_key).verify(signature, message)
        except InvalidSignature:
            return False
        return True


class Signer(Protocol):
    """Something that signs with one named key: a key in memory, a KMS, a PKCS#11 token.

    `sign` returns the 64-byte Ed25519 signature of exactly `message` and may raise Unavailable.
    It is called while a transaction is open, so it must answer or fail soon. Whoever implements
    it keeps the secret: nothing here asks for it.
    """

    @property
    def name(self) -> str:
        """The key's name, equal to `verifier.name`."""
        ...

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        ...


class Ed25519Signer:
    """A signer with its key in memory."""

    __slots__ = ("_key", "_verifier")

    def __init__(self, name: str, seed: bytes) -> None:
        """Take a 32-byte seed (RFC 8032 private key). Raises InvalidInput."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if len(seed) != SEED_BYTES:
            raise InvalidInput(f"an Ed25519 seed has {SEED_BYTES} bytes")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._verifier = Verifier.from_public_key(name, self._key.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> Self:
        """Return the signer of a 32-byte seed. Raises InvalidInput."""
        return cls(name, seed)

    @property
    def name(self) -> str:
        """The key's name."""
        return self._verifier.name

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        return self._verifier

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of `message`."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        """Show the public half only."""
        return f"Ed25519Signer({self._verifier.vkey!r})"


def new_seed() -> bytes:
    """Return 32 bytes from the operating system's random source."""
    return os.urandom(SEED_BYTES)


def derive_seed(root_seed: bytes, origin: str) -> bytes:
    """Return the 32-byte seed of one log's key, from the ledger's seed and the log's origin.

    HKDF-SHA256 (RFC 5869) without salt; info is "attestory log key v1", LF, origin. Raises
    InvalidInput for a root seed that is not 32 bytes or an origin that cannot name a key.
    """
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    if len(root_seed) != SEED_BYTES:
        raise InvalidInput(f"an Ed25519 seed has {SEED_BYTES} bytes")
    if not key_name_ok(origin):
        raise InvalidInput('an origin must not be empty and has no white space and no "+"')
    info = _DERIVE_INFO + origin.encode()
    return HKDF(algorithm=SHA256(), length=SEED_BYTES, salt=None, info=info).derive(root_seed)


@lru_cache(maxsize=256)
def _load_public_key(public_key: bytes) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(public_key)

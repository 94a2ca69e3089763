"""Private keys on disk: PKCS#8 PEM (RFC 5958, RFC 7468, RFC 8410), with or without a passphrase.

One line above the PEM block says whose key it is, for whoever has not its passphrase::

    attestory key <verifier key>
    -----BEGIN ENCRYPTED PRIVATE KEY-----
    ...

Standard tools skip that line. A PEM file of another tool, without it, is read too.
"""

import contextlib
import os
from base64 import encodebytes

from audit.errors import FormatError, InvalidInput, LimitExceeded, Unavailable
from audit.tlog.keys import Ed25519Signer, Verifier

MAX_KEY_FILE_BYTES = 16_384
"""Longest key file that is read."""

MAX_PASSPHRASE_BYTES = 1023
"""Longest passphrase that the OpenSSL reader takes."""

PBKDF2_ITERATIONS = 300_000
"""Rounds of PBKDF2-HMAC-SHA256 (RFC 8018) between passphrase and key, about 0.1 s each read."""

_COMMENT = b"attestory key "
_BEGIN_PLAIN = b"-----BEGIN PRIVATE KEY-----\n"
_BEGIN_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"

# DER object identifiers, with tag and length.
_OID_ED25519 = bytes.fromhex("06032b6570")
_OID_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_OID_PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
_OID_HMAC_SHA256 = bytes.fromhex("06082a864886f70d0209")
_OID_AES256_CBC = bytes.fromhex("060960864801650304012a")
_DER_NULL = b"\x05\x00"
_INTEGER, _OCTETS, _SEQUENCE = 0x02, 0x04, 0x30


def write_key(
    path: str | os.PathLike[str], name: str, seed: bytes, passphrase: bytes | None
) -> None:
    """Write the key `name` with its 32-byte `seed` to a new file that only its owner may read.

    The file and its folder are synced before this returns. After a crash there may be a file that
    is cut short; `read_key` refuses it. Raises InvalidInput when there is a file already or no
    such folder, LimitExceeded for a passphrase over 1,023 bytes, Unavailable when the disk
    refuses.
    """
    if passphrase is not None and not passphrase:
        raise InvalidInput("an empty passphrase protects nothing: give one, or none at all")
    if passphrase is not None and len(passphrase) > MAX_PASSPHRASE_BYTES:
        raise LimitExceeded(f"a passphrase has at most {MAX_PASSPHRASE_BYTES} bytes")
    verifier = Ed25519Signer.from_seed(name, seed).verifier
    # RFC 8410 section 7: version 0, algorithm Ed25519, the seed in an OCTET STRING in another.
    der = _der(
        _SEQUENCE,
        _der(_INTEGER, b"\x00"),
        _der(_SEQUENCE, _OID_ED25519),
        _der(_OCTETS, _der(_OCTETS, seed)),
    )
    if passphrase is None:
        begin = _BEGIN_PLAIN
    else:
        begin, der = _BEGIN_ENCRYPTED, _encrypt(der, passphrase)
    pem = _wrap(begin, der)
    _create(path, _COMMENT + verifier.vkey.encode() + b"\n" + pem)


def read_key(path: str | os.PathLike[str], passphrase: bytes | None) -> tuple[str | None, bytes]:
    """Return the key's name, or None in a file that does not say it, and its 32-byte seed.

    A passphrase that the file does not need is ignored. Raises InvalidInput when there is no such
    file, it is not an Ed25519 key in PKCS#8 PEM, its passphrase is missing or wrong, or its first
    line names another key; LimitExceeded over 16,384 bytes; Unavailable when it cannot be read.
    """
    shown = os.fspath(path)
    verifier, pem = _split(_read(path), shown)
    encrypted = pem.startswith(_BEGIN_ENCRYPTED)
    if encrypted and not passphrase:
        raise InvalidInput(f"the key file {shown} needs its passphrase")
    seed = _load(pem, passphrase if encrypted else None, shown)
    if verifier is None:
        return None, seed
    if Ed25519Signer.from_seed(verifier.name, seed).verifier != verifier:
        raise InvalidInput(f"the first line of the key file {shown} names another key")
    return verifier.name, seed


def _split(data: bytes, shown: str) -> tuple[Verifier | None, bytes]:
    """Return the key that the file's first line names, if any, and the PEM block below."""
    pem = data.replace(b"\r\n", b"\n")
    verifier = None
    if pem.startswith(_COMMENT):
        line, _, pem = pem[len(_COMMENT) :].partition(b"\n")
        try:
            verifier = Verifier.parse(line.decode())
        except (FormatError, UnicodeDecodeError):
            raise InvalidInput(f"the first line of the key file {shown} is damaged") from None
    if not pem.startswith((_BEGIN_PLAIN, _BEGIN_ENCRYPTED)):
        raise InvalidInput(f"the file {shown} is not a private key in PKCS#8 PEM")
    begin = pem[: pem.index(b"\n") + 1]
    if pem.rstrip(b"\n").partition(_end_of(begin))[1:] != (_end_of(begin), b""):
        raise InvalidInput(f"the key file {shown} does not end with its PEM block")
    return verifier, pem


def _load(pem: bytes, passphrase: bytes | None, shown: str) -> bytes:
    """Return the seed in a PEM block; nothing secret gets into an error."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if passphrase is not None and len(passphrase) > MAX_PASSPHRASE_BYTES:
        raise LimitExceeded(f"a passphrase has at most {MAX_PASSPHRASE_BYTES} bytes")
    try:
        key = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        reason = "is damaged" if passphrase is None else "is damaged, or the passphrase is wrong"
        raise InvalidInput(f"the key file {shown} {reason}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidInput(f"the key in {shown} is not an Ed25519 key")
    return key.private_bytes_raw()


def _encrypt(der: bytes, passphrase: bytes) -> bytes:
    """Return the EncryptedPrivateKeyInfo (RFC 5958 section 3) of a key, by PBES2 (RFC 8018).

    Written out because the library's own writer is fixed at 2,048 rounds, which a graphics card
    tries a million times a second.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

    salt, iv = os.urandom(16), os.urandom(16)
    kdf = PBKDF2HMAC(algorithm=SHA256(), length=32, salt=salt, iterations=PBKDF2_ITERATIONS)
    encryptor = Cipher(algorithms.AES256(kdf.derive(passphrase)), modes.CBC(iv)).encryptor()
    padding = 16 - len(der) % 16
    secret = encryptor.update(der + bytes([padding]) * padding) + encryptor.finalize()
    rounds = _der(_INTEGER, PBKDF2_ITERATIONS.to_bytes(4, "big").lstrip(b"\x00"))
    prf = _der(_SEQUENCE, _OID_HMAC_SHA256, _DER_NULL)
    derivation = _der(_SEQUENCE, _OID_PBKDF2, _der(_SEQUENCE, _der(_OCTETS, salt), rounds, prf))
    cipher = _der(_SEQUENCE, _OID_AES256_CBC, _der(_OCTETS, iv))
    algorithm = _der(_SEQUENCE, _OID_PBES2, _der(_SEQUENCE, derivation, cipher))
    return _der(_SEQUENCE, algorithm, _der(_OCTETS, secret))


def _der(tag: int, *parts: bytes) -> bytes:
    """Return one DER value (X.690); key files stay far below 256 bytes a value."""
    body = b"".join(parts)
    length = bytes([len(body)]) if len(body) < 0x80 else bytes([0x81, len(body)])
    return bytes([tag]) + length + body


def _wrap(begin: bytes, der: bytes) -> bytes:
    """Return a PEM block with lines of 64 characters (RFC 7468)."""
    body = encodebytes(der).replace(b"\n", b"")
    lines = [body[i : i + 64] for i in range(0, len(body), 64)]
    return begin + b"\n".join(lines) + b"\n" + _end_of(begin) + b"\n"


def _end_of(begin: bytes) -> bytes:
    return begin.replace(b"BEGIN", b"END").rstrip(b"\n")


def _read(path: str | os.PathLike[str]) -> bytes:
    shown = os.fspath(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_KEY_FILE_BYTES + 1)
    except FileNotFoundError:
        raise InvalidInput(f"there is no key file {shown}") from None
    except (IsADirectoryError, NotADirectoryError, ValueError):
        raise InvalidInput(f"{shown!r} is not a key file") from None
    except OSError as error:
        raise Unavailable(f"cannot read the key file {shown}: {error.strerror}") from None
    if len(data) > MAX_KEY_FILE_BYTES:
        raise LimitExceeded(f"the file {shown} is too large for a key")
    return data


def _create(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file that was not there before, readable by its owner only, and make it durable."""
    shown = os.fspath(path)
    folder = os.path.dirname(shown) or "."
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise InvalidInput(f"{shown} exists already; a key is never overwritten") from None
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise InvalidInput(f"there is no folder for the key file {shown!r}") from None
    except OSError as error:
        raise Unavailable(f"cannot write the key file {shown}: {error.strerror}") from None
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        folder_descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Without this the name of the file may be lost with the power.
            os.fsync(folder_descriptor)
        finally:
            os.close(folder_descriptor)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise Unavailable(f"cannot write the key file {shown}: {error.strerror}") from None

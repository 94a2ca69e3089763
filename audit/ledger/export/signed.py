"""The key that signs an export, where this process has it."""

import os
from typing import NamedTuple

from audit.capture.delivery.embedded import ENV_KEY, KEY_FILE, passphrase_of
from audit.errors import InvalidInput, LimitExceeded, Unavailable
from audit.ledger.open import BUNDLE_SCHEME
from audit.store import store_folder
from audit.store.contract import LOG_OF_THE_LEDGER, Reader
from audit.tlog.keyfile import read_key
from audit.tlog.keys import Ed25519Signer, Signer, derive_seed


class SigningKey(NamedTuple):
    """The signer, or why there is none."""

    signer: Signer | None
    why_not: str | None


def signing_key(reader: Reader, url: str) -> SigningKey:
    """The key of log 0: from AUDIT_KEY, else beside the store, as commands that write have it."""
    if url.startswith(BUNDLE_SCHEME):
        return SigningKey(None, "a bundle has no key")
    info = next((info for info in reader.logs() if info.log == LOG_OF_THE_LEDGER), None)
    if info is None:
        return SigningKey(None, "the ledger has no log 0")
    path = os.environ.get(ENV_KEY) or os.fspath(store_folder(url) / KEY_FILE)
    if not os.path.exists(path):
        return SigningKey(None, f"the key {path} is not here")
    try:
        _, seed = read_key(path, passphrase_of(None))
        signer = Ed25519Signer.from_seed(info.origin, derive_seed(seed, info.origin))
    except (InvalidInput, LimitExceeded, Unavailable) as error:
        return SigningKey(None, str(error).partition("\n")[0])
    if signer.verifier.vkey != info.vkey:
        return SigningKey(None, f"the key {path} is not the one of {info.origin}")
    return SigningKey(signer, None)

"""Producers' keys: making, rotating and revoking them, each with an entry in log 0 that says so.

    key.registered  {name, vkey}
    key.rotated     {name, vkey, previous_vkey}     the new key is good from this entry on
    key.revoked     {name, vkey}                    good for no entry after this one

With other logs than log 0 each says `sizes` besides, [[origin, size], ...]: how far they were. A
key that was revoked may be registered again, and is good from there on.

The entries tell the history; whom a verifier trusts is what his policy says (`policy_lines`). What
seals events with signatures required goes by both, see `audit.capture.delivery.producers`. Order:
the key file is written and durable before the entry, so an entry never names a key that was lost; a
file whose entry could not be made is removed again.
"""

import contextlib
import os
from hashlib import sha256
from typing import Any

from audit.capture.delivery.embedded import EmbeddedLedger, passphrase_of
from audit.capture.delivery.key_history import (
    REGISTERED,
    REVOKED,
    ROTATED,
    KeyHistory,
    RegisteredKey,
    current_key,
    list_keys,
)
from audit.errors import AuditError, InvalidInput, NotFound
from audit.event.build import record_event
from audit.event.envelope import encode_event
from audit.store.contract import LOG_OF_THE_LEDGER
from audit.tlog.keyfile import write_key
from audit.tlog.keys import Ed25519Signer, Verifier, key_name_ok, new_seed

__all__ = [
    "RegisteredKey",
    "current_key",
    "list_keys",
    "new_producer_key",
    "register",
    "revoke",
    "rotate",
]

SOURCE = "audit"


def new_producer_key(
    ledger: EmbeddedLedger,
    name: str,
    path: str | os.PathLike[str],
    passphrase: str | bytes | None = None,
) -> RegisteredKey:
    """Make a key for a producer: its file at `path`, and the entry that registers it.

    The file is encrypted when a passphrase is given, here or in AUDIT_KEY_PASSPHRASE. Raises
    InvalidInput when the name has a key already or the file exists, Unavailable.
    """
    if current_key(ledger.store, name) is not None:
        raise InvalidInput(f"the producer {name} has a key; rotate or revoke it first")
    return _add(ledger, name, path, passphrase, None)


def register(ledger: EmbeddedLedger, name: str, vkey: str) -> RegisteredKey:
    """Register a key that the producer made himself, or one that was revoked by mistake.

    One that was there before is good from this entry on, and not for those in between. Raises
    FormatError for what is no verifier key, InvalidInput when the name has a key already or the key
    is somebody else's, Unavailable.
    """
    _check_name(name)
    verifier = Verifier.parse(vkey)
    history = _history(ledger)
    if history.current(name) is not None:
        raise InvalidInput(f"the producer {name} has a key; rotate or revoke it first")
    for key in history.of(verifier):
        if key.name != name:
            raise InvalidInput(f"that is the key of the producer {key.name}, not of {name}")
    if any(verifier.public_key == Verifier.parse(i.vkey).public_key for i in ledger.store.logs()):
        raise InvalidInput("that is the key of a log: a producer needs one of his own")
    return _record(ledger, REGISTERED, name, verifier)


def rotate(
    ledger: EmbeddedLedger,
    name: str,
    path: str | os.PathLike[str],
    passphrase: str | bytes | None = None,
) -> RegisteredKey:
    """Replace a producer's key with a new one at `path`. Raises NotFound, and as the first."""
    return _add(ledger, name, path, passphrase, _require(ledger, name))


def revoke(ledger: EmbeddedLedger, name: str) -> RegisteredKey:
    """End a producer's key: it is good for no entry after this one. Raises NotFound."""
    key = _require(ledger, name)
    return _record(ledger, REVOKED, name, key.verifier)


def _history(ledger: EmbeddedLedger) -> KeyHistory:
    history = KeyHistory(ledger.store)
    history.look()
    return history


def _require(ledger: EmbeddedLedger, name: str) -> RegisteredKey:
    history = _history(ledger)
    key = history.current(name)
    if key is None:
        known = sorted({key.name for key in history.keys if key.last_index is None})
        raise NotFound(f"no producer {name} has a key here; there are {', '.join(known) or 'none'}")
    return key


def _check_name(name: str) -> None:
    if not key_name_ok(name):
        raise InvalidInput('a producer\'s name is not empty and has no white space and no "+"')


def _add(
    ledger: EmbeddedLedger,
    name: str,
    path: str | os.PathLike[str],
    passphrase: str | bytes | None,
    previous: RegisteredKey | None,
) -> RegisteredKey:
    _check_name(name)
    seed = new_seed()
    verifier = Ed25519Signer.from_seed(name, seed).verifier
    write_key(path, name, seed, passphrase_of(passphrase))
    try:
        if previous is None:
            return _record(ledger, REGISTERED, name, verifier)
        return _record(ledger, ROTATED, name, verifier, previous.verifier.vkey)
    except AuditError:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def _record(
    ledger: EmbeddedLedger, type_: str, name: str, verifier: Verifier, previous: str | None = None
) -> RegisteredKey:
    """Seal what happened to a key; returns it as log 0 knows it from then on."""
    history = _history(ledger)
    data: dict[str, Any] = {"name": name, "vkey": verifier.vkey}
    if previous is not None:
        data["previous_vkey"] = previous
    store = ledger.store
    # Read before the entry is made: what a log takes in between is by a key that had ended.
    sizes = [
        [info.origin, store.size(info.log)]
        for info in store.logs()
        if info.log != LOG_OF_THE_LEDGER
    ]
    if sizes:
        data["sizes"] = sizes
    # The id follows from what is said, so that saying it twice makes one entry; for the second
    # life of a key it says which one it is.
    event_id = f"{type_}-{sha256(verifier.vkey.encode()).hexdigest()}"
    before = history.said[type_, verifier.vkey]
    if before:
        event_id += f"-{before + 1}"
    event, _ = record_event(type_, data, event_id=event_id, source=SOURCE)
    ledger.append_control([encode_event(event)])
    history.look()
    return history.of(verifier)[-1]

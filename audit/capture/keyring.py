"""Producers' keys: making, rotating and revoking them, each with an entry in log 0 that says so.

    key.registered  {name, vkey}
    key.rotated     {name, vkey, previous_vkey}     the new key is good from this entry on
    key.revoked     {name, vkey}                    good for no entry after this one

The entries tell the history; whom a verifier trusts is what his policy says (`policy_line`). Order:
the key file is written and durable before the entry, so an entry never names a key that was lost; a
file whose entry could not be made is removed again.
"""

import contextlib
import os
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from audit.capture.embedded import EmbeddedLedger, passphrase_of
from audit.errors import AuditError, FormatError, InvalidInput, NotFound
from audit.event.build import record_event
from audit.event.envelope import encode_event
from audit.event.payload import decode_payload
from audit.event.schema import SchemaBook
from audit.log.entry import Kind
from audit.log.record import read_record
from audit.store.contract import LOG_OF_THE_LEDGER, Reader
from audit.tlog.keyfile import write_key
from audit.tlog.keys import Ed25519Signer, Verifier, key_name_ok, new_seed
from audit.verify.policy import ProducerKey, producer_line

REGISTERED = "key.registered"
ROTATED = "key.rotated"
REVOKED = "key.revoked"
SOURCE = "audit"


class RegisteredKey(NamedTuple):
    """A producer's key as log 0 knows it.

    `first_index` and `last_index`: the entries it may have signed, for the policy. A new key counts
    from the start of the log: the entry that registers it is no promise about earlier ones, and in
    embedded mode there are none by it. `last_index` is None while it is not revoked or replaced.
    """

    name: str
    verifier: Verifier
    first_index: int
    last_index: int | None

    @property
    def policy_line(self) -> str:
        """The line for the policy file."""
        return policy_line(self)


def policy_line(key: RegisteredKey) -> str:
    """`producer NAME VKEY [first index [last index]]`."""
    return producer_line(ProducerKey(*key))


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


def rotate(
    ledger: EmbeddedLedger,
    name: str,
    path: str | os.PathLike[str],
    passphrase: str | bytes | None = None,
) -> RegisteredKey:
    """Replace a producer's key with a new one at `path`. Raises NotFound, and as the first."""
    return _add(ledger, name, path, passphrase, _require(ledger.store, name))


def revoke(ledger: EmbeddedLedger, name: str) -> RegisteredKey:
    """End a producer's key: it is good for no entry after this one. Raises NotFound."""
    key = _require(ledger.store, name)
    index = _record(ledger, REVOKED, {"name": name, "vkey": key.verifier.vkey})
    return key._replace(last_index=index)


def current_key(reader: Reader, name: str) -> RegisteredKey | None:
    """The key that a producer has now; None when he has none."""
    for key in list_keys(reader):
        if key.name == name and key.last_index is None:
            return key
    return None


def list_keys(reader: Reader, size: int | None = None) -> list[RegisteredKey]:
    """All keys that log 0 ever registered (in its first `size` entries). Raises Unavailable."""
    keys: list[RegisteredKey] = []
    for index, type_, data in _entries(reader, size):
        name, vkey, old = data.get("name"), data.get("vkey"), data.get("previous_vkey")
        if not isinstance(name, str) or not isinstance(vkey, str):
            continue
        ended = vkey if type_ == REVOKED else old
        for at, key in enumerate(keys):
            if key.name == name and key.verifier.vkey == ended and key.last_index is None:
                keys[at] = key._replace(last_index=index)
        if type_ != REVOKED:
            with contextlib.suppress(FormatError):
                first = index + 1 if type_ == ROTATED else 0
                keys.append(RegisteredKey(name, Verifier.parse(vkey), first, None))
    return keys


def _entries(reader: Reader, size: int | None) -> Iterator[tuple[int, str, dict[str, object]]]:
    """(index, type, record) of what log 0 says about keys, in order."""
    book = SchemaBook.with_builtins()
    for index, leaf in reader.special(LOG_OF_THE_LEDGER, size):
        try:
            record = read_record(LOG_OF_THE_LEDGER, leaf)
            event = record.event
            if record.entry.kind is not Kind.CONTROL or event is None:
                continue
            if event.type not in (REGISTERED, ROTATED, REVOKED):
                continue
            data = decode_payload(event, book)
        except FormatError:
            continue  # `audit verify` names it; a list of keys shows what can be read
        if isinstance(data, dict):
            yield index, event.type, data


def _require(reader: Reader, name: str) -> RegisteredKey:
    key = current_key(reader, name)
    if key is None:
        known = sorted({key.name for key in list_keys(reader) if key.last_index is None})
        raise NotFound(f"no producer {name} has a key here; there are {', '.join(known) or 'none'}")
    return key


def _add(
    ledger: EmbeddedLedger,
    name: str,
    path: str | os.PathLike[str],
    passphrase: str | bytes | None,
    previous: RegisteredKey | None,
) -> RegisteredKey:
    if not key_name_ok(name):
        raise InvalidInput('a producer\'s name is not empty and has no white space and no "+"')
    seed = new_seed()
    verifier = Ed25519Signer.from_seed(name, seed).verifier
    write_key(path, name, seed, passphrase_of(passphrase))
    data = {"name": name, "vkey": verifier.vkey}
    if previous is not None:
        data["previous_vkey"] = previous.verifier.vkey
    try:
        index = _record(ledger, REGISTERED if previous is None else ROTATED, data)
    except AuditError:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
    return RegisteredKey(name, verifier, 0 if previous is None else index + 1, None)


def _record(ledger: EmbeddedLedger, type_: str, data: dict[str, str]) -> int:
    """Seal what happened to a key; returns the entry's index."""
    # The id follows from what is said, so that saying it twice makes one entry.
    event_id = f"{type_}-{sha256(data['vkey'].encode()).hexdigest()}"
    event, _ = record_event(type_, data, event_id=event_id, source=SOURCE)
    return ledger.append_control([encode_event(event)]).outcomes[-1].index

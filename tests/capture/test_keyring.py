"""Producers' keys: every change is an entry, and a policy line."""

import sqlite3
from pathlib import Path

import pytest

from audit.capture.embedded import open_for_writing
from audit.capture.emitter import Emitter
from audit.capture.keyring import current_key, list_keys, new_producer_key, revoke, rotate
from audit.errors import InvalidInput, LimitExceeded, NotFound, StoreBusy
from audit.log.entry import Kind
from audit.store import sqlite as store_sqlite
from audit.tlog.keyfile import read_key
from audit.tlog.keys import Ed25519Signer
from audit.verify.policy import Policy
from tests.capture.support import records, url


def test_the_life_of_a_key(tmp_path: Path) -> None:
    with open_for_writing(url(tmp_path)) as ledger:
        first = new_producer_key(ledger, "crm", tmp_path / "crm.key")
        assert (first.first_index, first.last_index) == (0, None)
        assert read_key(tmp_path / "crm.key", None)[0] == "crm"
        with pytest.raises(InvalidInput, match="rotate or revoke"):
            new_producer_key(ledger, "crm", tmp_path / "crm-2.key")
        second = rotate(ledger, "crm", tmp_path / "crm-2.key")
        assert second.verifier != first.verifier
        other = new_producer_key(ledger, "web", tmp_path / "web.key")
        ended = revoke(ledger, "crm")
        assert current_key(ledger.store, "crm") is None
        assert current_key(ledger.store, "web") == other
        keys = list_keys(ledger.store)
    entries = [r for r in records(tmp_path) if r.event and r.event.type.startswith("key.")]
    assert [r.event.type for r in entries if r.event] == [
        *("key.registered", "key.rotated", "key.registered", "key.revoked"),
    ]
    assert {r.entry.kind for r in entries} == {Kind.CONTROL}
    rotated, revoked = entries[1].index, entries[3].index
    assert keys == [
        first._replace(last_index=rotated),
        second._replace(last_index=revoked),
        other,
    ]
    assert ended == keys[1] and second.first_index == rotated + 1
    text = "\n".join(["quorum none", *(key.policy_line for key in keys), ""])
    assert [tuple(p) for p in Policy.from_text(text).producers] == [tuple(key) for key in keys]


def test_a_registered_key_signs(tmp_path: Path) -> None:
    with open_for_writing(url(tmp_path)) as ledger:
        key = new_producer_key(ledger, "crm", tmp_path / "crm.key", passphrase="secret")
    assert b"ENCRYPTED" in (tmp_path / "crm.key").read_bytes()
    _, seed = read_key(tmp_path / "crm.key", b"secret")
    with Emitter(url(tmp_path), key=Ed25519Signer.from_seed("crm", seed)) as emit:
        emit.create("user", 1, {})
    entry = records(tmp_path)[-1].entry
    assert entry.signature is not None
    assert entry.signature[:4] == key.verifier.key_id
    assert key.verifier.verify(entry.event, entry.signature[4:])


@pytest.mark.parametrize("name", ["", "with space", "a+b", "x" * 1025])
def test_a_bad_name_makes_no_file(tmp_path: Path, name: str) -> None:
    with open_for_writing(url(tmp_path)) as ledger:
        with pytest.raises((InvalidInput, LimitExceeded)):
            new_producer_key(ledger, name, tmp_path / "x.key")
        assert list_keys(ledger.store) == []
    assert not (tmp_path / "x.key").exists()


def test_a_long_name_has_an_entry(tmp_path: Path) -> None:
    with open_for_writing(url(tmp_path)) as ledger:
        key = new_producer_key(ledger, "n" * 1024, tmp_path / "x.key")
        assert list_keys(ledger.store) == [key]


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "crm.key").write_text("precious")
    with open_for_writing(url(tmp_path)) as ledger:
        with pytest.raises(InvalidInput, match="exists already"):
            new_producer_key(ledger, "crm", tmp_path / "crm.key")
        assert list_keys(ledger.store) == []
    assert (tmp_path / "crm.key").read_text() == "precious"


def test_a_key_whose_entry_cannot_be_made_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_sqlite, "BUSY_TIMEOUT_MS", 50)
    with open_for_writing(url(tmp_path)) as ledger:
        other = sqlite3.connect(tmp_path / "audit.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy):
            new_producer_key(ledger, "crm", tmp_path / "crm.key")
        assert not (tmp_path / "crm.key").exists()
        other.close()
        new_producer_key(ledger, "crm", tmp_path / "crm.key")


def test_unknown_names(tmp_path: Path) -> None:
    with open_for_writing(url(tmp_path)) as ledger:
        with pytest.raises(NotFound, match="there are none"):
            revoke(ledger, "crm")
        new_producer_key(ledger, "web", tmp_path / "web.key")
        with pytest.raises(NotFound, match="there are web"):
            rotate(ledger, "crm", tmp_path / "crm.key")

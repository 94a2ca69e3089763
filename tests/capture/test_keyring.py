"""Producers' keys: every change is an entry, and a policy line."""

import itertools
import sqlite3
from pathlib import Path

import pytest

from audit.capture.delivery.embedded import open_for_writing
from audit.capture.delivery.keyring import (
    current_key,
    list_keys,
    new_producer_key,
    register,
    revoke,
    rotate,
)
from audit.capture.emitter import Emitter
from audit.errors import FormatError, InvalidInput, LimitExceeded, NotFound, StoreBusy
from audit.log.entry import Kind
from audit.log.intake import Message
from audit.store import sqlite as store_sqlite
from audit.tlog.keyfile import read_key
from audit.tlog.keys import Ed25519Signer
from audit.verify.policy import Policy
from tests.capture.support import records, url
from tests.consumers.support import an_event


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
    assert [tuple(p) for p in Policy.from_text(text).producers] == [
        (*key[:4], None) for key in keys
    ]


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


# Keys that the producer made, and keys with another life


def test_a_key_that_the_producer_made(tmp_path: Path) -> None:
    mine = Ed25519Signer.from_seed("crm", bytes(32)).verifier
    other = Ed25519Signer.from_seed("web", bytes([1]) * 32).verifier
    with open_for_writing(url(tmp_path)) as ledger:
        key = register(ledger, "crm", mine.vkey)
        assert (key.verifier, key.first_index, key.last_index) == (mine, 0, None)
        assert list_keys(ledger.store) == [key]
        for name, vkey, words in [
            ("crm", other.vkey, "rotate or revoke"),
            ("web", mine.vkey, "key of the producer crm"),
            ("web", ledger.vkey, "key of a log"),
            ("w b", other.vkey, "white space"),
        ]:
            with pytest.raises(InvalidInput, match=words):
                register(ledger, name, vkey)
        with pytest.raises(FormatError):
            register(ledger, "web", "no key")
        assert list_keys(ledger.store) == [key]


def test_a_key_may_be_revoked_and_registered_again_and_again(tmp_path: Path) -> None:
    with open_for_writing(url(tmp_path)) as ledger:
        lives = [new_producer_key(ledger, "crm", tmp_path / "crm.key")]
        for _ in range(3):
            lives[-1] = revoke(ledger, "crm")
            lives.append(register(ledger, "crm", lives[0].verifier.vkey))
        assert list_keys(ledger.store) == lives
        ends = [(key.first_index, key.last_index) for key in lives]
        for (_, last), (first, _) in itertools.pairwise(ends):
            assert last is not None and first == last + 2  # the entry that begins it is the log's
        with pytest.raises(InvalidInput, match="rotate or revoke"):
            register(ledger, "crm", lives[0].verifier.vkey)


def test_the_ranges_of_a_key_are_of_each_log(tmp_path: Path) -> None:
    with open_for_writing(url(tmp_path), origin="a.example") as ledger:
        ledger.open_log(1, "a.example/t/0")
        for n in range(20):
            ledger.append([Message(an_event(n))], 1)
        size = ledger.store.size(1)
        first = new_producer_key(ledger, "crm", tmp_path / "crm.key")
        assert first.policy_line == f"producer crm {first.verifier.vkey}"
        second = rotate(ledger, "crm", tmp_path / "crm-2.key")
        ledger.append([Message(an_event(n)) for n in range(20, 25)], 1)
        ledger.open_log(2, "a.example/t/1")
        small = ledger.store.size(2)
        ended = revoke(ledger, "crm")
        assert ended.last_index is not None and ended.last_index > small
        first = list_keys(ledger.store)[0]
        third = register(ledger, "crm", second.verifier.vkey)
        ledger.open_log(3, "a.example/t/2")
        again = ledger.store.size(0)
    ranges = {
        key.verifier.vkey + str(number): [key.range_in(f"a.example/t/{n}") for n in range(3)]
        for number, key in enumerate((first, ended, third))
    }
    assert list(ranges.values()) == [
        [(0, size - 1), (0, -1), (0, -1)],
        [(size, size + 4), (0, small - 1), (0, -1)],
        [(size + 5, None), (small, None), (0, None)],
    ]
    # What the policy makes of their lines is the same, but that entry 0 is nobody's.
    lines = [line for key in (first, ended, third) for line in key.policy_lines]
    policy = Policy.from_text("\n".join(["quorum none", *lines]))
    assert policy.warnings() == []
    for log, entries in (("a.example", again), *((f"a.example/t/{n}", 40) for n in range(4))):
        for key, known in ((first, [first]), (second, [ended, third])):
            for index in range(1, entries):
                pinned = [
                    line for line in policy.producers_in(log) if line.verifier == key.verifier
                ]
                expected = any(
                    begin <= index and (last is None or index <= last)
                    for begin, last in (each.range_in(log) for each in known)
                )
                assert any(line.covers(index) for line in pinned) == expected, (log, index, pinned)

"""A ledger without a broker that takes nothing unsigned: AUDIT_SIGNATURES=require."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.capture.delivery import producers
from audit.capture.delivery.embedded import open_for_writing
from audit.capture.delivery.keyring import new_producer_key, register, revoke
from audit.capture.emitter import Emitter
from audit.errors import InvalidInput
from audit.log.entry import Kind
from audit.tlog.keys import Ed25519Signer
from tests.capture.support import events, records, url

STRANGER = Ed25519Signer.from_seed("crm", bytes(32))


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The policy of a ledger that requires signatures, and pins a key of crm."""
    monkeypatch.setenv("AUDIT_SIGNATURES", "require")
    monkeypatch.setattr(producers, "LOOK_EVERY_S", 0.0)
    with open_for_writing(url(tmp_path)) as ledger:
        key = new_producer_key(ledger, "crm", tmp_path / "crm.key")
    path = tmp_path / "audit.policy"
    path.write_text(f"{path.read_text()}{key.policy_line}\n")
    yield path


def refused(folder: Path) -> list[str]:
    return [
        str(record.entry.reason).removeprefix("SIGNATURE_REQUIRED: ")
        for record in records(folder)
        if record.entry.kind is Kind.QUARANTINED
    ]


def test_what_is_not_signed_by_a_good_key_is_quarantined(policy: Path, tmp_path: Path) -> None:
    key = tmp_path / "crm.key"
    with (
        Emitter(url(tmp_path)) as unsigned,
        Emitter(url(tmp_path), key=STRANGER) as stranger,
        Emitter(url(tmp_path), key=key) as crm,
        open_for_writing(url(tmp_path)) as ledger,
    ):
        for emitter in (crm, unsigned, stranger):
            emitter.create("user", 1, {})
            emitter.flush()
        assert (crm.sealed, unsigned.quarantined, stranger.quarantined) == (2, 1, 1)
        # A key that log 0 ended is refused at once, whatever the policy still says.
        ended = revoke(ledger, "crm")
        crm.create("user", 2, {})
        crm.flush()
        register(ledger, "crm", ended.verifier.vkey)
        crm.create("user", 3, {})
        crm.flush()
    assert [event.entity_key for event in events(tmp_path)] == ["1", "3"]
    assert refused(tmp_path) == [
        "it is not signed",
        "it is signed with a key that the policy does not pin",
        f"the key of crm is revoked: good up to entry {ended.last_index} of this log, says log 0",
    ]


def test_the_policys_own_ranges_count_as_well(policy: Path, tmp_path: Path) -> None:
    text = policy.read_text()
    with Emitter(url(tmp_path), key=tmp_path / "crm.key") as crm:
        for number, line in enumerate((" 0 5", " 1000", " log=elsewhere", " 1000 log=elsewhere")):
            policy.write_text(text.rstrip("\n") + line + "\n")
            crm.create("user", number, {})
            crm.flush()
    assert refused(tmp_path) == [
        "the key of crm is revoked: good up to entry 5 of this log, says the policy",
        "the key of crm is not yet good: from entry 1000 of this log on, says the policy",
        *["it is signed with a key that the policy does not pin"] * 2,
    ]


def test_while_no_key_is_pinned_events_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT_SIGNATURES", "require")
    emit = Emitter(url(tmp_path), key=STRANGER)
    emit.create("user", 1, {})
    with pytest.raises(InvalidInput, match=r"pins no producer's key(.|\n)*2 events wait"):
        emit.flush()
    with (tmp_path / "audit.policy").open("a") as policy:
        policy.write(f"producer crm {STRANGER.verifier.vkey}\n")
    emit.close()
    assert [event.entity_key for event in events(tmp_path)] == ["1"]


def test_a_signature_over_other_bytes_does_not_hold(policy: Path, tmp_path: Path) -> None:
    class Careless(Emitter):
        def _sign(self, data: bytes) -> bytes:
            return super()._sign(data + b"!")

    with Careless(url(tmp_path), key=tmp_path / "crm.key") as emit:
        emit.create("user", 1, {})
    assert refused(tmp_path) == ["its signature does not hold"]

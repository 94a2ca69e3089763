"""Single entries: receipts and bundles as files, one entry of a store, and who signed it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import FormatError, NotFound, Unavailable
from audit.log.entry import decode_entry
from audit.log.receipt import parse_receipt, write_receipt
from audit.store import open_reader
from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.merkle import inclusion_proof
from audit.verify.bundle import Selection, open_bundle, write_bundle
from audit.verify.entry_check import verify_entry
from audit.verify.files import verify_file, verify_receipt_bytes
from audit.verify.findings import Verdict
from audit.verify.policy import Policy, ProducerKey
from audit.verify.report import report_text
from audit.verify.signed_by import SignedBy, who_signed
from tests.verify.attacker import flip
from tests.verify.conftest import (
    ORIGIN,
    POLICY,
    PRODUCER,
    SIGNER,
    STRANGER,
    Ledger,
    codes,
    first,
)

SIGNED = 8
"""An event that its producer signed."""


@pytest.fixture
def receipt(ledger: Ledger) -> bytes:
    """Entry 8 under the checkpoint of size 536."""
    with open_reader(ledger.url) as reader:
        proof = inclusion_proof(reader.hashes(0, 536), SIGNED, 536)
        return write_receipt(reader.leaf(0, SIGNED), SIGNED, proof, ledger.attacker.note(536))


def forged(receipt: bytes, **fields: object) -> bytes:
    """The same receipt with other parts."""
    parsed = parse_receipt(receipt)._replace(**fields)
    assert parsed.leaf is not None
    return write_receipt(parsed.leaf, parsed.index, parsed.proof, parsed.checkpoint)


# Receipts


def test_a_receipt_verifies_alone(receipt: bytes, tmp_path: Path) -> None:
    path = tmp_path / "f.tlog-proof"
    path.write_bytes(receipt)
    report = verify_file(path, POLICY)
    assert report.verdict is Verdict.OK, report.findings
    log = report.logs[0]
    assert (log.origin, log.size, log.entries) == (ORIGIN, 536, 1)
    assert log.producer_signatures.checked == 1
    expected = ("freshness", "completeness_at_source", "truth", "other_entries")
    assert report.not_proven == expected


def test_a_receipt_at_the_next_index(receipt: bytes) -> None:
    report = verify_receipt_bytes(forged(receipt, index=SIGNED + 1), POLICY)
    assert report.verdict is Verdict.TAMPERED and first(report, "inclusion") == SIGNED + 1


def test_a_receipt_with_a_missing_or_an_extra_sibling(receipt: bytes) -> None:
    proof = parse_receipt(receipt).proof
    for other in (proof[1:], proof[:-1], (*proof, bytes(32)), (bytes(32), *proof), ()):
        report = verify_receipt_bytes(forged(receipt, proof=other), POLICY)
        assert report.verdict is Verdict.TAMPERED and first(report, "inclusion") == SIGNED


@pytest.mark.parametrize("size", [8, 9, 300, 537, 2**62])
def test_a_receipt_with_the_wrong_size(receipt: bytes, size: int) -> None:
    """Even signed by the log's own key."""
    with_root = Checkpoint(ORIGIN, size, bytes(32))
    note = sign_checkpoint(with_root, SIGNER)
    report = verify_receipt_bytes(forged(receipt, checkpoint=note), POLICY)
    assert report.verdict is Verdict.TAMPERED and first(report, "inclusion") == SIGNED


def test_a_receipt_with_another_leaf(receipt: bytes) -> None:
    leaf = parse_receipt(receipt).leaf
    assert leaf is not None
    for at in range(0, len(leaf), 9):
        report = verify_receipt_bytes(forged(receipt, leaf=flip(leaf, at)), POLICY)
        assert not report.ok


def test_a_receipt_by_a_stranger(receipt: bytes) -> None:
    note = sign_checkpoint(Checkpoint(ORIGIN, 536, bytes(32)), STRANGER)
    report = verify_receipt_bytes(forged(receipt, checkpoint=note), POLICY)
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"unknown_key"}
    report = verify_receipt_bytes(receipt, None)
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"no_policy"}


def test_a_receipt_against_a_kept_checkpoint(receipt: bytes, ledger: Ledger) -> None:
    report = verify_receipt_bytes(receipt, POLICY, [ledger.attacker.note(536)])
    assert report.ok and "freshness" not in report.not_proven
    other = sign_checkpoint(Checkpoint(ORIGIN, 536, bytes(32)), SIGNER)
    report = verify_receipt_bytes(receipt, POLICY, [other])
    assert report.verdict is Verdict.TAMPERED and codes(report) == {"equivocation"}


@given(st.integers(0, 4_000), st.integers(1, 255))
def test_a_receipt_with_any_changed_byte(ledger_file: Path, at: int, change: int) -> None:
    with open_reader(f"sqlite:///{ledger_file}") as reader:
        proof = inclusion_proof(reader.hashes(0, 536), SIGNED, 536)
        stored = reader.newest_checkpoint(0)
        assert stored is not None
        data = write_receipt(reader.leaf(0, SIGNED), SIGNED, proof, stored.note)
    at %= len(data)
    changed = data[:at] + bytes((data[at] ^ change,)) + data[at + 1 :]
    assert not verify_receipt_bytes(changed, POLICY).ok


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"c2sp.org/tlog-proof@v2\n", bytes(1000), b"PK", b"SQLite format 3\0"],
)
def test_any_other_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="neither a bundle") as raised:
        verify_file(path, POLICY)
    assert "\n" not in str(raised.value)


def test_a_receipt_that_is_cut_off(receipt: bytes, tmp_path: Path) -> None:
    path = tmp_path / "f.tlog-proof"
    for length in range(23, len(receipt), 37):
        path.write_bytes(receipt[:length])
        report = verify_file(path, POLICY)
        assert report.verdict is not Verdict.OK


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        verify_file(tmp_path / "none", POLICY)
    with pytest.raises(Unavailable):
        verify_file(tmp_path, POLICY)


def test_a_bundle_is_a_file_too(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    with open_reader(ledger.url) as reader:
        write_bundle(reader, Selection("x", [(0, SIGNED)]), path)
    assert verify_file(path, POLICY).ok


# One entry of a store


@pytest.mark.parametrize("index", [0, 1, SIGNED, 255, 256, 511, 512, 530, 535])
def test_one_entry(ledger: Ledger, index: int) -> None:
    with open_reader(ledger.url) as reader:
        report = verify_entry(reader, POLICY, 0, index, [ledger.attacker.note(536)])
    assert report.verdict is Verdict.OK, report.findings
    assert report.not_proven == ("completeness_at_source", "truth", "other_entries")


def test_one_entry_that_was_changed(attacked: Ledger) -> None:
    leaf = attacked.attacker.leaf(400)
    attacked.attacker.update_leaf(400, leaf.replace(b"alice", b"malic"))
    with open_reader(attacked.url) as reader:
        report = verify_entry(reader, POLICY, 0, 400)
        assert report.verdict is Verdict.TAMPERED and first(report, "inclusion") == 400
        # Its neighbours are proven by the tile, which was not changed.
        assert verify_entry(reader, POLICY, 0, 401).ok


def test_one_entry_with_an_edited_column(attacked: Ledger) -> None:
    attacked.attacker.update_column(400, "type", "data.delete")
    with open_reader(attacked.url) as reader:
        report = verify_entry(reader, POLICY, 0, 400)
    assert report.verdict is Verdict.TAMPERED and first(report, "column_differs") == 400


def test_one_entry_of_a_rewritten_history(attacked: Ledger) -> None:
    kept = attacked.attacker.note(455)
    attacked.attacker.rewrite(lambda entries: entries[:200] + entries[201:], SIGNER)
    with open_reader(attacked.url) as reader:
        assert verify_entry(reader, POLICY, 0, 400).ok
        report = verify_entry(reader, POLICY, 0, 400, [kept])
    assert report.verdict is Verdict.TAMPERED and first(report, "history_rewritten") == 400


def test_one_entry_that_is_gone_or_never_was(attacked: Ledger) -> None:
    attacked.attacker.delete_entries(400, 401)
    with open_reader(attacked.url) as reader:
        report = verify_entry(reader, POLICY, 0, 400)
        assert report.verdict is Verdict.TAMPERED and first(report, "missing_entry") == 400
        for log, index in ((0, 536), (0, -1), (7, 0)):
            with pytest.raises(NotFound):
                verify_entry(reader, POLICY, log, index)


def test_one_entry_without_a_sound_checkpoint(attacked: Ledger) -> None:
    attacked.attacker.delete_checkpoints(above=500)
    with open_reader(attacked.url) as reader:
        report = verify_entry(reader, POLICY, 0, 520)
        assert report.verdict is Verdict.TAMPERED and first(report, "uncovered_tail") == 520
        unknown = verify_entry(reader, Policy.from_vkey(STRANGER.verifier.vkey), 0, 100)
        assert unknown.verdict is Verdict.CANNOT_TELL and codes(unknown) == {"unknown_key"}
        assert codes(verify_entry(reader, None, 0, 100)) == {"no_policy"}
    attacked.attacker.delete_checkpoints()
    with open_reader(attacked.url) as reader:
        report = verify_entry(reader, POLICY, 0, 100)
    assert report.verdict is Verdict.CANNOT_TELL and codes(report) == {"no_checkpoint"}


def test_one_entry_of_a_bundle(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    with open_reader(ledger.url) as reader:
        write_bundle(reader, Selection("x", [(0, SIGNED)]), path)
    with open_bundle(path) as bundle:
        assert verify_entry(bundle, POLICY, 0, SIGNED).ok
        with pytest.raises(NotFound):
            verify_entry(bundle, POLICY, 0, 300)


# Who signed


def signed(ledger: Ledger, index: int, policy: Policy | None = POLICY) -> SignedBy:
    with open_reader(ledger.url) as reader:
        return who_signed(reader, 0, index, policy)


def test_an_event_signed_by_its_producer(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "audit.policy"
    path.write_text(POLICY.to_text())
    lines = signed(ledger, SIGNED, Policy.from_file(path)).lines()
    assert lines == [
        f"SIGNED BY   producer crm             VALID over these exact bytes (key pinned in {path})",
        "            log example.com/verify   VALID through the checkpoint of size 305 (9 proof "
        "hashes)",
        "            witnesses                NONE",
        "NOT PROVEN  freshness; that what crm said is true",
    ]


def test_an_unsigned_event_says_so(ledger: Ledger) -> None:
    found = signed(ledger, 100)
    assert found.producer == ("producer", "NONE", "")
    assert found.log.status == "VALID" and found.checkpoint_size == 305
    assert found.to_json()["log"]["proof_hashes"] == found.proof_hashes == 9


def test_a_control_entry_is_the_logs_own_word(ledger: Ledger) -> None:
    found = signed(ledger, 0)
    assert found.producer == ("producer", "NONE", "(the log's own word)")
    assert found.not_proven == ("freshness",)


def test_keys_that_are_not_trusted(ledger: Ledger) -> None:
    assert signed(ledger, SIGNED, None).producer.status == "UNKNOWN KEY"
    assert signed(ledger, SIGNED, None).log.status == "UNKNOWN KEY"
    key = ProducerKey("crm", PRODUCER.verifier, 100)
    found = signed(ledger, SIGNED, Policy(POLICY.logs, producers=(key,)))
    assert found.producer.who == "producer crm" and found.producer.status == "UNKNOWN KEY"


def test_signatures_that_are_wrong(attacked: Ledger) -> None:
    leaf = attacked.attacker.leaf(SIGNED)
    entry = decode_entry(leaf)
    attacked.attacker.update_leaf(SIGNED, leaf.replace(b"alice", b"malic"))
    assert entry.signature is not None
    found = signed(attacked, SIGNED)
    assert (found.producer.status, found.log.status) == ("INVALID", "INVALID")
    attacked.attacker.delete_checkpoints()
    assert signed(attacked, SIGNED).log.status == "NONE"


# Text


def test_the_report_as_text(attacked: Ledger) -> None:
    text = report_text(attacked.verify())
    assert text.startswith("OK: nothing was changed, dropped or reordered")
    assert "all entries, by 11 stored checkpoints" in text
    assert "NOT PROVEN  that nothing newer was dropped" in text
    leaf = attacked.attacker.leaf(400)
    attacked.attacker.update_leaf(400, leaf.replace(b"alice", b"malic"))
    text = report_text(attacked.verify())
    assert text.startswith("TAMPERED") and "FIRST BAD ENTRY 400" in text
    assert "entry 400 was changed, moved or replaced" in text
    assert text.count("guard_missing") == 1 and "and more of these" in text
    assert report_text(attacked.verify(policy=None)).startswith("TAMPERED")


def test_the_report_as_json(attacked: Ledger) -> None:
    attacked.attacker.update_column(400, "type", "data.delete")
    found = attacked.verify().to_json()
    assert found["verdict"] == "tampered" and found["trust"] == "policy text"
    (log,) = found["logs"]
    assert log["findings"] == [
        {
            "code": "column_differs",
            "index": 400,
            "message": "the index column type of entry 400 does not say what the entry says",
        }
    ]
    assert found["findings"] == [{**log["findings"][0], "origin": ORIGIN}]
    assert len(log["root_hash"]) == 64 and log["verified_size"] == log["size"] == 536
    assert log["not_proven"] == ["freshness", "completeness_at_source", "truth"]
    assert {w["code"] for w in found["warnings"]} == {"guard_missing", "event_id_conflict"}

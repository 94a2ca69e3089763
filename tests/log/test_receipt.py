"""Receipts: what is changed in one does not verify, and the reason is said."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import (
    AuditError,
    FormatError,
    InvalidProof,
    InvalidSignature,
    LimitExceeded,
    UnknownKey,
)
from audit.log.receipt import MAX_RECEIPT_BYTES, parse_receipt, verify_receipt, write_receipt
from audit.tlog.keys import Ed25519Signer
from tests.log.make_golden import ORIGIN, SEED

DATA = (Path(__file__).parent / "golden" / "receipt.v1.tlog-proof").read_bytes()
LINES = DATA.split(b"\n")
EXTRA, INDEX, FIRST, SECOND = LINES[1:5]
VERIFIER = Ed25519Signer.from_seed(ORIGIN, SEED).verifier


def test_a_receipt_is_written_as_it_was_read() -> None:
    receipt = parse_receipt(DATA)
    assert receipt.leaf is not None
    again = write_receipt(receipt.leaf, receipt.index, receipt.proof, receipt.checkpoint)
    assert again == DATA


def test_a_receipt_without_the_leaf_needs_it_from_the_caller() -> None:
    full = parse_receipt(DATA)
    bare = parse_receipt(DATA.replace(EXTRA + b"\n", b""))
    assert bare.leaf is None
    with pytest.raises(FormatError, match="does not hold the entry"):
        verify_receipt(bare, [VERIFIER])
    assert verify_receipt(bare, [VERIFIER], leaf=full.leaf)[0].index == 3


@pytest.mark.parametrize(
    ("name", "data", "error"),
    [
        ("index+1", DATA.replace(b"index 3", b"index 4"), InvalidProof),
        ("index-1", DATA.replace(b"index 3", b"index 2"), InvalidProof),
        ("missing sibling", DATA.replace(FIRST + b"\n", b""), InvalidProof),
        ("extra sibling", DATA.replace(FIRST, FIRST + b"\n" + FIRST), InvalidProof),
        (
            "siblings swapped",
            DATA.replace(FIRST + b"\n" + SECOND, SECOND + b"\n" + FIRST),
            InvalidProof,
        ),
        ("another size", DATA.replace(b"golden\n4\n", b"golden\n5\n"), InvalidSignature),
        ("another root", DATA.replace(LINES[8], FIRST), InvalidSignature),
        ("header", DATA.replace(b"@v1", b"@v2"), FormatError),
        ("index 03", DATA.replace(b"index 3", b"index 03"), FormatError),
        ("index 2^63", DATA.replace(b"index 3", b"index 9223372036854775808"), FormatError),
        ("CRLF", DATA.replace(b"\n", b"\r\n"), FormatError),
        ("short hash", DATA.replace(FIRST, b"AAAA"), FormatError),
        ("no checkpoint", DATA.split(b"\n\n")[0], FormatError),
        ("junk behind", DATA + b"junk", FormatError),
        ("empty", b"", FormatError),
        ("binary", bytes(range(256)), FormatError),
        ("huge", bytes(MAX_RECEIPT_BYTES + 1), LimitExceeded),
        ("many hashes", DATA.replace(FIRST, b"\n".join([FIRST] * 64)), LimitExceeded),
    ],
)
def test_a_changed_receipt_is_refused(name: str, data: bytes, error: type[AuditError]) -> None:
    assert data != DATA
    with pytest.raises(error):
        verify_receipt(parse_receipt(data), [VERIFIER])


def test_another_key_is_not_enough() -> None:
    other = Ed25519Signer.from_seed(ORIGIN, bytes(32)).verifier
    with pytest.raises(UnknownKey):
        verify_receipt(parse_receipt(DATA), [other])


@given(st.integers(0, len(DATA) - 1), st.integers(0, 255))
def test_no_flipped_byte_verifies(at: int, byte: int) -> None:
    data = DATA[:at] + bytes([byte]) + DATA[at + 1 :]
    if data == DATA:
        return
    with pytest.raises(AuditError):
        verify_receipt(parse_receipt(data), [VERIFIER])

"""Bytes once released do not change."""

from pathlib import Path

from audit.log.receipt import parse_receipt, verify_receipt
from audit.tlog.keys import Ed25519Signer
from tests.log.make_golden import ORIGIN, SEED, golden, main

FOLDER = Path(__file__).parent / "golden"


def test_the_script_makes_what_is_committed(tmp_path: Path) -> None:
    main(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert made == kept == golden()


def test_the_golden_receipt_verifies() -> None:
    receipt = parse_receipt((FOLDER / "receipt.v1.tlog-proof").read_bytes())
    verifier = Ed25519Signer.from_seed(ORIGIN, SEED).verifier
    entry, checkpoint = verify_receipt(receipt, [verifier])
    assert (entry.index, entry.event, checkpoint.size) == (3, b"signed", 4)

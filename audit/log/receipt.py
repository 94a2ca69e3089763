"""Receipts: one entry with its inclusion proof and checkpoint, in C2SP tlog-proof format.

    c2sp.org/tlog-proof@v1
    extra <base64 of the leaf>
    index <decimal>
    <base64 hash>            leaf's sibling first
    ...
    <empty line>
    <checkpoint, a signed note, verbatim>

Source: C2SP/C2SP `tlog-proof.md`. The `extra` line is application data; we put the leaf there, so
that a receipt verifies alone. It is checked like everything else: its hash must lead to the root.
"""

from collections.abc import Sequence
from typing import NamedTuple

from audit.errors import FormatError, InvalidProof, LimitExceeded
from audit.log.entry import MAX_LEAF_BYTES, Entry, decode_entry
from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.hashing import HASH_BYTES, leaf_hash
from audit.tlog.keys import Verifier
from audit.tlog.note import MAX_NOTE_BYTES
from audit.tlog.proof import verify_inclusion
from audit.tlog.text import encode_base64, parse_base64, parse_decimal

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_HASHES = 63
MAX_RECEIPT_BYTES = MAX_NOTE_BYTES + 2 * MAX_LEAF_BYTES + 64 * MAX_PROOF_HASHES


class Receipt(NamedTuple):
    """A parsed receipt. `leaf` is None when it has no `extra` line."""

    leaf: bytes | None
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    proof: tuple[bytes, ...]
    checkpoint: bytes


def write_receipt(leaf: bytes, index: int, proof: Sequence[bytes], checkpoint: bytes) -> bytes:
    """The bytes of a receipt. `proof` is a list of 32-byte hashes, `checkpoint` a signed note."""
    lines = [
        HEADER,
        f"extra {encode_base64(leaf)}",
        f"index {index}",
        *map(encode_base64, proof),
        "",
        "",
    ]
    return "\n".join(lines).encode() + checkpoint


def parse_receipt(data: bytes) -> Receipt:
    """Parse the whole input. Raises FormatError, or LimitExceeded over MAX_RECEIPT_BYTES."""
    if len(data) > MAX_RECEIPT_BYTES:
        raise LimitExceeded(f"a receipt of {len(data)} bytes is over {MAX_RECEIPT_BYTES}")
    head, separator, checkpoint = data.partition(b"\n\n")
    if not separator:
        raise FormatError("a receipt has an empty line before its checkpoint; this has none")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise FormatError("the head of a receipt is ASCII text") from None
    if lines.pop(0) != HEADER:
        raise FormatError(f"a receipt begins with the line {HEADER!r}")
    leaf = None
    if lines and lines[0].startswith("extra "):
        leaf = parse_base64(lines.pop(0).removeprefix("extra "), "the receipt's extra line")
    if not lines or not lines[0].startswith("index "):
        raise FormatError("a receipt names its index after the header and the extra line")
    index = parse_decimal(lines.pop(0).removeprefix("index "), "the receipt's index")
    if len(lines) > MAX_PROOF_HASHES:
        raise LimitExceeded(f"a proof has at most {MAX_PROOF_HASHES} hashes")
    proof = tuple(parse_base64(line, "a proof hash") for line in lines)
    if any(len(node) != HASH_BYTES for node in proof):
        raise FormatError(f"a proof hash has {HASH_BYTES} bytes")
    return Receipt(leaf, index, proof, checkpoint)


def verify_receipt(
    receipt: Receipt, verifiers: Sequence[Verifier], leaf: bytes | None = None
) -> tuple[Entry, Checkpoint]:
    """Check a receipt with the caller's keys alone; gives its entry and the checkpoint over it.

    Steps: 1 the leaf is an entry that says it stands at the receipt's index; 2 the checkpoint is
    signed by one of `verifiers`; 3 the proof leads from the leaf's hash, at that index, to the root
    of the checkpoint's size. `leaf` is the caller's own copy; without it the receipt's is used.
    Raises FormatError, UnknownKey, InvalidSignature, InvalidProof.
    """
    held = receipt.leaf if leaf is None else leaf
    if held is None:
        raise FormatError("this receipt does not hold the entry itself; give the entry's bytes")
    entry = decode_entry(held)
    if entry.index != receipt.index:
        raise InvalidProof(
            f"the receipt claims index {receipt.index}, the entry in it says {entry.index}"
        )
    checkpoint = open_checkpoint(receipt.checkpoint, verifiers)
    verify_inclusion(
        leaf_hash(held), receipt.index, checkpoint.size, receipt.proof, checkpoint.root
    )
    return entry, checkpoint

"""Writes the golden leaves and receipt of this release: fixed keys, fixed times, no clock.

Run `python -m tests.log.make_golden FOLDER`. A test runs it and compares with what is committed.
"""

import json
import sys
from pathlib import Path

from audit.event.envelope import EVENT_SCHEMA_HASH
from audit.log.entry import Kind, SourceSpan
from audit.log.receipt import write_receipt
from audit.log.sequence import Draft, append, empty_head
from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.keys import Ed25519Signer
from audit.tlog.merkle import root_of

ORIGIN = "example.com/golden"
SEED = bytes(range(32))
NOW_US = 1_700_000_000_000_000

DRAFTS = [
    Draft(Kind.EVENT, EVENT_SCHEMA_HASH, None, None, None, b"first"),
    Draft(Kind.CONTROL, EVENT_SCHEMA_HASH, None, None, None, b""),
    Draft(
        Kind.QUARANTINED,
        None,
        SourceSpan("audit.events", 3, 41, 42),
        "UNDECODABLE: not an event",
        None,
        b"\xff\x00",
    ),
    Draft(Kind.EVENT, EVENT_SCHEMA_HASH, None, None, bytes(range(68)), b"signed"),
]


def golden() -> dict[str, bytes]:
    """File name -> content."""
    step = append(empty_head(), DRAFTS, NOW_US)
    signer = Ed25519Signer.from_seed(ORIGIN, SEED)
    note = sign_checkpoint(Checkpoint(ORIGIN, step.head.size, step.head.edge.root()), signer)
    hashes = [sealed.leaf_hash for sealed in step.sealed]
    entries = [
        {
            "index": sealed.index,
            "kind": draft.kind.name,
            "recorded_time_us": sealed.recorded_time_us,
            "event": draft.event.hex(),
            "leaf": sealed.leaf.hex(),
            "leaf_hash": sealed.leaf_hash.hex(),
        }
        for sealed, draft in zip(step.sealed, DRAFTS, strict=True)
    ]
    document = {
        "format": "attestory golden leaves v1",
        "root": root_of(hashes).hex(),
        "vkey": signer.verifier.vkey,
        "entries": entries,
    }
    last = step.sealed[3]
    proof = [hashes[2], root_of(hashes[:2])]
    return {
        "entry.v1.json": json.dumps(document, indent=1).encode() + b"\n",
        "receipt.v1.tlog-proof": write_receipt(last.leaf, last.index, proof, note),
    }


def main(folder: Path) -> None:
    """Write all files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in golden().items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

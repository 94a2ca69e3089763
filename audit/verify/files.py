"""Verifying a file by what it is: a bundle, or a receipt (C2SP tlog-proof). Pure and offline."""

from collections.abc import Sequence
from pathlib import Path

from audit.errors import (
    FormatError,
    InvalidProof,
    InvalidSignature,
    LimitExceeded,
    NotFound,
    Unavailable,
    UnknownKey,
)
from audit.event.envelope import decode_event
from audit.log.entry import Entry, Kind
from audit.log.receipt import HEADER, MAX_RECEIPT_BYTES, parse_receipt, verify_receipt
from audit.tlog.checkpoint import Checkpoint
from audit.verify.bundle.check import verify_bundle
from audit.verify.external import open_external
from audit.verify.findings import LogReport, Report
from audit.verify.noted import Notes
from audit.verify.policy import NO_QUORUM, Policy
from audit.verify.steps.producers import ProducerWalk

_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")


def verify_file(
    path: Path | str, policy: Policy | None, checkpoints: Sequence[bytes] = ()
) -> Report:
    """Check a bundle or a receipt. What it is is told by its first bytes.

    Raises FormatError for any other file, NotFound when there is none, Unavailable.
    """
    head = _read(Path(path), len(HEADER) + 1)
    if head.startswith(_ZIP_MAGIC):
        return verify_bundle(path, policy, checkpoints)
    if head == HEADER.encode() + b"\n":
        data = _read(Path(path), MAX_RECEIPT_BYTES + 1)
        return verify_receipt_bytes(data, policy, checkpoints, f"receipt {path}")
    raise FormatError(f"{path} is neither a bundle (.zip) nor a receipt (.tlog-proof)")


def verify_receipt_bytes(
    data: bytes,
    policy: Policy | None,
    checkpoints: Sequence[bytes] = (),
    subject: str = "receipt",
) -> Report:
    """Check a receipt: the log's signature, the proof, the entry and its producer's signature.

    What is wrong with it is in the report.
    """
    trusted = policy if policy is not None else Policy(description="no policy")
    notes = Notes()
    if not trusted.logs:
        notes.add("no_policy", None, "no key of a log is given; use --key or --policy")
    external = open_external(checkpoints, trusted, notes)
    logs: tuple[LogReport, ...] = ()
    index: int | None = None
    try:
        receipt = parse_receipt(data)
        index = receipt.index
        entry, checkpoint = verify_receipt(receipt, trusted.logs)
        logs = (_report(entry, checkpoint, trusted, external),)
    except (FormatError, LimitExceeded) as error:
        notes.add("unreadable", None, str(error))
    except UnknownKey as error:
        if trusted.logs:
            notes.add("unknown_key", None, str(error))
    except InvalidSignature as error:
        notes.add("checkpoint_signature", None, str(error))
    except InvalidProof as error:
        notes.add("inclusion", index, str(error))
    not_proven = () if logs else ("freshness", "completeness_at_source", "truth", "other_entries")
    return Report(subject, trusted.description, logs, notes.listed(), general_not_proven=not_proven)


def _report(
    entry: Entry,
    checkpoint: Checkpoint,
    policy: Policy,
    external: dict[str, list[Checkpoint]],
) -> LogReport:
    notes, warnings = Notes(checkpoint.origin), Notes(checkpoint.origin)
    producers = ProducerWalk(policy, checkpoint.origin, notes, warnings)
    if entry.kind is not Kind.QUARANTINED:
        try:
            decode_event(entry.event)
        except (FormatError, LimitExceeded) as error:
            notes.add("entry_malformed", entry.index, f"its event cannot be decoded: {error}")
    if entry.kind is Kind.EVENT:
        producers.take(entry.index, entry.event, entry.signature)
    if policy.quorum != NO_QUORUM and not policy.quorum_met(()):
        notes.add("quorum_not_met", None, "the policy asks for witnesses; no cosignature was found")
    same = [c for c in external.get(checkpoint.origin, []) if c.size == checkpoint.size]
    if any(other.root != checkpoint.root for other in same):
        notes.add(
            "equivocation",
            None,
            f"the receipt's checkpoint and one from elsewhere sign different roots for size "
            f"{checkpoint.size:,}",
        )
    not_proven = ["completeness_at_source", "truth", "other_entries"]
    if not same:
        not_proven.insert(0, "freshness")
    if policy.beside_store:
        not_proven.append("key_provenance")
    return LogReport(
        origin=checkpoint.origin,
        size=checkpoint.size,
        root_hash=checkpoint.root,
        verified_size=checkpoint.size,
        producer_signatures=producers.counts(),
        findings=notes.listed(),
        warnings=warnings.listed(),
        not_proven=tuple(not_proven),
        checkpoints=1,
        external_checkpoints=len(same),
        entries=1,
    )


def _read(path: Path, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(limit)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Unavailable(f"cannot read {path}: {reason}") from None

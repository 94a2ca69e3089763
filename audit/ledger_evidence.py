"""Verifying by what a user names: a store, one entry of it, or a file; always a report comes out."""

from collections.abc import Sequence
from pathlib import Path

from audit.errors import (
    AuditError,
    FormatError,
    InvalidInput,
    InvalidProof,
    InvalidSignature,
    LimitExceeded,
    NotFound,
    StoreMissing,
    Unavailable,
    UnknownKey,
)
from audit.event.signing import SignatureCheck, check_event
from audit.ledger import BUNDLE_SCHEME, Ledger, bundle_path
from audit.log.entry import Entry, Kind
from audit.log.receipt import HEADER, MAX_RECEIPT_BYTES, Receipt, parse_receipt, verify_receipt
from audit.tlog.checkpoint import Checkpoint
from audit.tlog.note import MAX_NOTE_BYTES
from audit.verify.external import open_external
from audit.verify.findings import LogReport, Notes, ProducerSignatures, Report
from audit.verify.policy import Policy
from audit.verify.verifier import Progress, unreadable, verify

_RECEIPT_HEAD = HEADER.encode() + b"\n"
_ZIP_HEAD = b"PK"


def read_checkpoint(path: Path) -> bytes:
    """The checkpoint in a file: a signed note, or a receipt, which holds one.

    Raises NotFound, Unavailable, LimitExceeded, FormatError.
    """
    data = _read(path, max(MAX_NOTE_BYTES, MAX_RECEIPT_BYTES))
    return parse_receipt(data).checkpoint if data.startswith(_RECEIPT_HEAD) else data


def verify_store(
    url: str,
    policy: Policy | None,
    checkpoints: Sequence[bytes] = (),
    from_index: int = 0,
    log: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Verify a whole ledger. One that cannot even be opened is `cannot_tell`.

    Raises StoreMissing when there is none, Unavailable, and InvalidInput for a wrong argument.
    """
    if url.startswith(BUNDLE_SCHEME):
        return verify_file(bundle_path(url), policy, checkpoints)
    try:
        ledger = Ledger(url)
    except (StoreMissing, Unavailable):
        raise
    except AuditError as error:
        if not _is_there(url):
            raise
        return unreadable(url, policy, str(error))
    with ledger:
        return verify(ledger.reader, policy, checkpoints, from_index, progress, log)


def verify_entry(
    ledger: Ledger, position: str, policy: Policy | None, checkpoints: Sequence[bytes] = ()
) -> Report:
    """Verify one entry of a ledger by its proof. Raises NotFound, Ambiguous, InvalidInput."""
    record = ledger.entry(position)
    subject = f"entry {record.log}/{record.index} of {ledger.reader.address}"
    try:
        receipt = parse_receipt(ledger.prove(f"{record.log}/{record.index}"))
    except Unavailable:
        raise
    except AuditError as error:
        return unreadable(subject, policy, str(error))
    return _report(subject, receipt, policy, checkpoints)


def verify_file(path: Path, policy: Policy | None, checkpoints: Sequence[bytes] = ()) -> Report:
    """Verify a bundle or a receipt. What is neither is `cannot_tell`.

    Raises NotFound when there is no such file, Unavailable.
    """
    head = _read(path, None, len(_RECEIPT_HEAD))
    if head.startswith(_ZIP_HEAD):
        from audit.verify.bundle import verify_bundle

        return verify_bundle(path, policy, checkpoints)
    try:
        if head != _RECEIPT_HEAD:
            raise FormatError("it is neither a bundle (a zip file) nor a receipt (tlog-proof)")
        receipt = parse_receipt(_read(path, MAX_RECEIPT_BYTES))
    except (FormatError, LimitExceeded) as error:
        return unreadable(str(path), policy, str(error))
    return _report(str(path), receipt, policy, checkpoints)


def _report(
    subject: str, receipt: Receipt, policy: Policy | None, checkpoints: Sequence[bytes]
) -> Report:
    """The report on one entry with its proof."""
    trusted = policy if policy is not None else Policy(description="no policy")
    notes = Notes()
    if not trusted.logs:
        notes.add("no_policy", None, "no key of a log is given; use --key or --policy")
        return Report(subject, trusted.description, general_findings=notes.listed())
    checked = _check(receipt, trusted, notes)
    if checked is None:
        return Report(subject, trusted.description, general_findings=notes.listed())
    entry, checkpoint = checked
    external = open_external(checkpoints, trusted, notes).get(checkpoint.origin, [])
    agreed = 0
    for other in external:
        if other.size == checkpoint.size and other.root != checkpoint.root:
            notes.add("equivocation", None, "another checkpoint of this size has another root")
        agreed += other == checkpoint
    own = Notes(checkpoint.origin)
    log = LogReport(
        origin=checkpoint.origin,
        size=checkpoint.size,
        root_hash=checkpoint.root,
        verified_size=checkpoint.size,
        producer_signatures=_producer(entry, trusted, own),
        findings=own.listed(),
        warnings=(),
        not_proven=_not_proven(trusted),
        checkpoints=1,
        external_checkpoints=agreed,
        entries=1,
    )
    return Report(subject, trusted.description, (log,), notes.listed())


def _check(receipt: Receipt, policy: Policy, notes: Notes) -> tuple[Entry, Checkpoint] | None:
    """The steps of `verify_receipt`; what fails is noted under its code."""
    try:
        return verify_receipt(receipt, policy.logs)
    except UnknownKey as error:
        notes.add("unknown_key", None, str(error))
    except InvalidSignature as error:
        notes.add("checkpoint_signature", None, str(error))
    except InvalidProof as error:
        notes.add("inclusion", receipt.index, str(error))
    except (FormatError, LimitExceeded) as error:
        notes.add("entry_malformed", receipt.index, str(error))
    return None


def _producer(entry: Entry, policy: Policy, notes: Notes) -> ProducerSignatures:
    """What the producer's signature is worth; a wrong one is a finding."""
    if entry.kind is not Kind.EVENT:
        return ProducerSignatures()
    keys = [key.verifier for key in policy.producers if key.covers(entry.index)]
    check, _ = check_event(entry.event, entry.signature, keys)
    if check is SignatureCheck.INVALID:
        notes.add("producer_signature", entry.index, "the producer's signature is wrong")
    return ProducerSignatures(
        checked=int(check is SignatureCheck.VALID),
        invalid=int(check is SignatureCheck.INVALID),
        unsigned=int(check is SignatureCheck.UNSIGNED),
        unknown_key=int(check is SignatureCheck.UNKNOWN_KEY),
    )


def _not_proven(policy: Policy) -> tuple[str, ...]:
    own = ("key_provenance",) if policy.beside_store else ()
    return ("freshness", "other_entries", "completeness_at_source", "truth", *own)


def _read(path: Path, limit: int | None, count: int | None = None) -> bytes:
    """All of a file up to a limit, or its first `count` bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(count if limit is None else limit + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except IsADirectoryError:
        raise InvalidInput(f"{path} is a folder") from None
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from None
    if limit is not None and len(data) > limit:
        raise LimitExceeded(f"{path} is over {limit:,} bytes: it is no checkpoint and no receipt")
    return data


def _is_there(url: str) -> bool:
    """Whether the URL names a file, so that what is wrong is in the file and not in the call."""
    from audit.store import sqlite_path

    try:
        return sqlite_path(url).is_file()
    except InvalidInput:
        return False

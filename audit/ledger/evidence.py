"""Evidence about a ledger: verifying what a user names, receipts, bundles of what a query finds."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from audit.errors import (
    AuditError,
    FormatError,
    InvalidInput,
    LimitExceeded,
    NotFound,
    Unavailable,
    Unproven,
)
from audit.ledger.open import BUNDLE_SCHEME, bundle_path, open_any_reader, store_file
from audit.ledger.sources import lags_of, with_source
from audit.log.receipt import HEADER, MAX_RECEIPT_BYTES, parse_receipt, write_receipt
from audit.log.record import Record
from audit.replay.fold import DATA_PREFIX, Flag, Position
from audit.replay.known import datasets
from audit.replay.lint import lookalikes, odd_events
from audit.replay.points import Cut
from audit.store.contract import Reader
from audit.tlog.checkpoint import parse_checkpoint_text
from audit.tlog.merkle import inclusion_proof
from audit.tlog.note import parse_note
from audit.verify.findings import Report
from audit.verify.noted import Notes
from audit.verify.policy import Policy
from audit.verify.verifier import Progress, unreadable, verify

if TYPE_CHECKING:
    from audit.verify.bundle import Written

MAX_LINTED_ENTRIES = 50_000
_RECEIPT_HEAD = HEADER.encode() + b"\n"

MAX_KEYS_NAMED = 5
"""Keys of one group of look-alikes that a warning names."""


def read_checkpoint(path: Path) -> bytes:
    """The checkpoint in a file: a signed note, or a receipt, which holds one.

    Raises NotFound, InvalidInput, Unavailable, LimitExceeded, FormatError.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RECEIPT_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except IsADirectoryError:
        raise InvalidInput(f"{path} is a folder, not a checkpoint") from None
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_RECEIPT_BYTES:
        raise LimitExceeded(f"{path} is over {MAX_RECEIPT_BYTES:,} bytes: no checkpoint is")
    return parse_receipt(data).checkpoint if data.startswith(_RECEIPT_HEAD) else data


def verify_ledger(
    url: str,
    policy: Policy | None,
    checkpoints: Sequence[bytes] = (),
    from_index: int = 0,
    log: int | None = None,
    progress: Progress | None = None,
    source: str | None = None,
) -> Report:
    """Verify the whole of a store or a bundle. A file that is no ledger is `cannot_tell`.

    With a `source` (a Kafka address; empty: the one of AUDIT_BUS) its messages are compared too.

    When the whole of a store is sound, drift and keys that look alike are among the warnings, up to
    MAX_LINTED_ENTRIES: that replays every dataset, which costs more than verifying it.

    Raises StoreMissing when there is none, Unavailable, and InvalidInput for a wrong argument.
    """
    if url.startswith(BUNDLE_SCHEME):
        if from_index or log is not None or source is not None:
            raise InvalidInput("a bundle is checked as a whole: leave out start, log and source")
        from audit.verify.bundle import verify_bundle

        return verify_bundle(bundle_path(url), policy, checkpoints)
    try:
        reader = open_any_reader(url, sound=False)
    except Unavailable:
        raise
    except AuditError as error:
        # What is wrong is in the file, if there is one, and else in the call.
        path = store_file(url)
        if path is None or not path.is_file():
            raise
        return unreadable(url, policy, str(error))
    with reader:
        whole = reader.complete and not from_index and log is None
        if source is not None:
            if not whole:
                raise InvalidInput("all logs are compared with the source: leave out start and log")
            lags_of(reader, source)  # a broker that is away is said before the long work
        report = verify(reader, policy, checkpoints, from_index, progress, log)
        if report.ok and whole:
            report = _with_oddities(reader, report)
        return report if source is None else with_source(report, reader, source, progress)


def _with_oddities(reader: Reader, report: Report) -> Report:
    """The report with what deserves a look as warnings: drift, and keys of rows that look alike."""
    sizes = {log.log: log.size for log in report.logs if log.log is not None}
    cut = Cut(sizes, None, (), False, "HEAD", None)
    drift = {log.log: Notes(log.origin) for log in report.logs}
    general = Notes()
    entries = sum(sizes.values())
    if entries > MAX_LINTED_ENTRIES:
        general.add(
            "not_linted",
            None,
            f"drift and keys that look alike were not looked for: {entries:,} entries are over "
            f"{MAX_LINTED_ENTRIES:,}; `audit history` shows them for one row",
        )
        return replace(report, general_warnings=report.general_warnings + general.listed())
    # Whether the ledger is sound was said: what cannot be replayed has no drift to tell of.
    with suppress(AuditError):
        for entity_type in datasets(reader):
            for odd in odd_events(reader, entity_type, cut):
                if odd.flag is Flag.DRIFT:
                    log, index = odd.position
                    drift[log].add("drift", index, odd.message)
            for keys in lookalikes(reader, entity_type, cut):
                shown = ", ".join(f"{key!a:.100}" for key in keys[:MAX_KEYS_NAMED])
                more = ", ..." if len(keys) > MAX_KEYS_NAMED else ""
                message = f"keys of {entity_type} that look alike: {shown}{more}"
                general.add("look_alike_key", None, message)
    logs = tuple(
        replace(log, warnings=log.warnings + drift[log.log].listed()) for log in report.logs
    )
    return replace(report, logs=logs, general_warnings=report.general_warnings + general.listed())


def verify_any_file(path: Path, policy: Policy | None, checkpoints: Sequence[bytes]) -> Report:
    """Verify a bundle or a receipt. What is neither is `cannot_tell`.

    Raises NotFound or StoreMissing when there is no such file, Unavailable.
    """
    from audit.verify.files import verify_file

    try:
        return verify_file(path, policy, checkpoints)
    except NotFound:
        raise
    except InvalidInput as error:
        return unreadable(str(path), policy, str(error))


def receipt_for(reader: Reader, record: Record) -> bytes:
    """A receipt for an entry. Raises Unproven when no checkpoint covers it."""
    where = f"entry {record.log}/{record.index}"
    stored = reader.covering_checkpoint(record.log, record.index + 1)
    if stored is None:
        raise Unproven(f"no checkpoint covers {where}")
    # The size that was signed counts, not the one that the row claims.
    try:
        size = parse_checkpoint_text(parse_note(stored.note).text).size
    except FormatError as error:
        raise Unproven(f"the checkpoint stored over {where} is broken: {error}") from None
    if size <= record.index:
        raise Unproven(f"the checkpoint stored over {where} signs only {size:,} entries")
    proof = inclusion_proof(reader.hashes(record.log, size), record.index, size)
    return write_receipt(record.leaf, record.index, proof, stored.note)


def bundle_records(
    reader: Reader, query: str, records: Iterable[Record], path: str, policy: Path
) -> "Written":
    """Write a bundle of records, and of all events of each row that one of them is about."""
    from audit.verify.bundle import Selection, write_bundle

    positions: list[Position] = []
    entities: set[tuple[str, str | None]] = set()
    for record in records:
        positions.append((record.log, record.index))
        event = record.event
        if event is not None and event.type.startswith(DATA_PREFIX) and event.entity_type:
            entities.add((event.entity_type, event.entity_key))
    text = policy.read_text("utf-8", "surrogateescape") if policy.is_file() else None
    # By type, then key; a truncate, which has no key, before all keys.
    ordered = sorted(entities, key=lambda entity: (entity[0], entity[1] or ""))
    return write_bundle(reader, Selection(query, positions, tuple(ordered)), path, text)

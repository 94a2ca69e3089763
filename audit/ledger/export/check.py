"""Checking an export offline, with nothing but its files and the caller's keys. The steps:

1  manifest     read and taken apart (else nothing can be told)
2  files        each is there with the bytes that the manifest says, and there are no others
3  signatures   the manifest's note, and each log's checkpoint with the way to it
4  entries      every leaf hashes to its `leaf_hash`, all of them to the root; every other column is
                made again from the leaf and compared
5  changes      made again from the leaves and compared, row by row
6  texts        the statements in `sql/`

Files are taken apart only after step 2 found their bytes to be the listed ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from audit.errors import (
    AuditError,
    FormatError,
    InvalidInput,
    InvalidProof,
    LimitExceeded,
    NotFound,
    Unproven,
)
from audit.ledger.export.check_rows import LogRows
from audit.ledger.export.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    RUNNING,
    ExportedLog,
    Manifest,
    parse_manifest,
)
from audit.ledger.export.place import Place, digest_of, read_whole
from audit.tlog.checkpoint import Checkpoint
from audit.tlog.hashing import EMPTY_ROOT
from audit.tlog.note import open_note
from audit.tlog.proof import verify_consistency
from audit.verify.findings import Verdict
from audit.verify.noted import Finding, Notes
from audit.verify.policy import Policy
from audit.verify.steps.checkpoint import Refused
from audit.verify.steps.checkpoint import open_note as open_checkpoint_note

DIFFERS = frozenset(
    ("export_differs", "checkpoint_signature", "checkpoint_origin", "note_signature", "root")
)
"""Findings that make the verdict `tampered`; all others mean that it cannot be told."""

Progress = Callable[[int, int], None]


class CheckedLog(NamedTuple):
    """One log: its head by the manifest, and the size of the signed checkpoint it leads to."""

    origin: str
    size: int
    root_hash: bytes
    checkpoint_size: int | None


class ExportCheck(NamedTuple):
    """What was found. `signed` says who signed the manifest; `entries` were looked at."""

    subject: str
    trust: str
    signed: str
    entries: int
    logs: tuple[CheckedLog, ...]
    findings: tuple[Finding, ...]
    not_proven: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """`ok` only without any finding."""
        if any(finding.code in DIFFERS for finding in self.findings):
            return Verdict.TAMPERED
        return Verdict.CANNOT_TELL if self.findings or not self.logs else Verdict.OK

    @property
    def exit_code(self) -> int:
        """0 for `ok`, 1 for anything else."""
        return 0 if self.verdict is Verdict.OK else 1

    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {
            "verdict": self.verdict.value,
            "subject": self.subject,
            "trust": self.trust,
            "signed": self.signed,
            "entries": self.entries,
            "logs": [{**log._asdict(), "root_hash": log.root_hash.hex()} for log in self.logs],
            "findings": [finding.to_json() for finding in self.findings],
            "not_proven": list(self.not_proven),
        }


def check_export(
    place: Place, policy: Policy | None, progress: Progress | None = None
) -> ExportCheck:
    """Check what lies at a place. Everything wrong with it is in the answer.

    Raises NotFound when there is no manifest, Unavailable when the place cannot be read.
    """
    return _Check(place, policy or Policy(description="no policy")).run(progress)


class _Check:
    def __init__(self, place: Place, policy: Policy) -> None:
        self._place = place
        self._policy = policy
        self._notes = Notes()
        self._signed = "nobody"
        self._entries = 0
        self._logs: list[CheckedLog] = []
        self._not_proven = ["freshness", "completeness_at_source", "truth"]

    def run(self, progress: Progress | None) -> ExportCheck:
        if not self._policy.logs:
            self._notes.add("no_policy", None, "no key of a log is given; use --policy")
        if self._policy.beside_store:
            self._not_proven.append("key_provenance")
        try:
            data = read_whole(self._place, MANIFEST, MAX_MANIFEST_BYTES)
        except NotFound:
            raise NotFound(
                f"{self._place.address} holds no finished export: there is no {MANIFEST}"
            ) from None
        try:
            manifest = parse_manifest(data)
        except InvalidInput as error:
            self._notes.add("unreadable", None, f"{MANIFEST}: {error}")
            return self._checked()
        sound = self._files(manifest)
        self._note(manifest)
        for log in manifest.logs:
            self._logs.append(
                CheckedLog(log.origin, log.size, log.root_hash, self._checkpoint(log))
            )
        if not manifest.selection.whole:
            self._not_proven.append("selection")
        if not manifest.selection.leaves:
            self._not_proven.append("columns")
        if sound:
            self._rows(manifest, progress)
        return self._checked()

    def _checked(self) -> ExportCheck:
        return ExportCheck(
            f"export {self._place.address}",
            self._policy.description,
            self._signed,
            self._entries,
            tuple(self._logs),
            self._notes.listed(),
            tuple(self._not_proven),
        )

    def _differs(self, message: str, index: int | None = None) -> None:
        self._notes.add("export_differs", index, message)

    def _files(self, manifest: Manifest) -> bool:
        """Step 2. True when all files are the listed ones."""
        names = [name for name in self._place.names() if name != MANIFEST]
        sound = True
        for name in names:
            if name == RUNNING:
                self._notes.add(
                    "unfinished",
                    None,
                    "an export into this place was interrupted, or still runs: export again",
                )
            elif name not in manifest.files:
                self._differs(f"{name} is not in the manifest")
        for name, listed in manifest.files.items():
            try:
                found = digest_of(self._place, name)
            except NotFound:
                self._differs(f"{name} is in the manifest, and not there")
                sound = False
                continue
            if found != listed.digest:
                self._differs(f"{name} is not the file that the manifest lists")
                sound = False
        return sound

    def _note(self, manifest: Manifest) -> None:
        """Step 3, the manifest: who signed it. That nobody did is no finding: see `_checkpoint`."""
        if manifest.note is None:
            self._not_proven.append("manifest")
            return
        origin = manifest.logs[0].origin if manifest.logs else ""
        try:
            note, signers = open_note(manifest.note, self._policy.keys_of(origin))
        except (FormatError, LimitExceeded, Unproven) as error:
            wrong = not str(error).startswith("the note is not signed")
            code = "note_signature" if wrong else "unknown_key"
            self._notes.add(code, None, f"the manifest: {error}")
            self._signed = "nobody that the policy names"
            return
        if note.text != manifest.text():
            self._notes.add("note_signature", None, "the manifest is not what was signed")
            return
        self._signed = signers[0].name

    def _checkpoint(self, log: ExportedLog) -> int | None:
        """Step 3, one log: the size of the signed head that its root leads to."""
        if log.checkpoint is None:
            if log.size:
                self._notes.add("no_checkpoint", None, f"no signed head covers {log.origin}")
            return None
        opened = open_checkpoint_note(log.checkpoint.note, self._policy.logs)
        if isinstance(opened, Refused):
            if self._policy.logs:
                self._notes.add(opened.code, None, f"{log.origin}: {opened.message}")
            return None
        if opened.origin != log.origin:
            self._notes.add("checkpoint_origin", None, f"a checkpoint is of {opened.origin}")
            return None
        try:
            _require_follows(log, opened)
        except InvalidProof as error:
            self._notes.add("root", None, f"{log.origin}: {error}")
            return None
        return opened.size

    def _rows(self, manifest: Manifest, progress: Progress | None) -> None:
        """Steps 4 to 6."""
        from audit.ledger.export.check_rows import texts_differ

        total = sum(f.rows or 0 for path, f in manifest.files.items() if path.startswith("events/"))
        try:
            for log in manifest.logs:
                rows = LogRows(self._place, manifest, log, self._policy, self._notes)
                before = self._entries
                for count in rows.check():
                    self._entries = before + count
                    if progress is not None:
                        progress(self._entries, total)
            listed = {log.log for log in manifest.logs}
            for path in manifest.files:
                _require_of_log(path, listed)
            for path in texts_differ(self._place, manifest):
                self._differs(f"{path} is not the statement of this dataset")
        except (FormatError, LimitExceeded, NotFound, Unproven) as error:
            self._differs(str(error))
        except AuditError as error:
            self._notes.add("unreadable", None, str(error))


def _require_follows(log: ExportedLog, checkpoint: Checkpoint) -> None:
    """Raise InvalidProof unless the log's head at its size is a beginning of the checkpoint's."""
    if log.size == 0:
        if log.root_hash != EMPTY_ROOT:
            raise InvalidProof("a log of size 0 has the root of another")
        return
    proof = log.consistency_proof
    if proof is None:
        raise InvalidProof("there is no proof from its head to the signed one")
    try:
        verify_consistency(log.size, log.root_hash, checkpoint.size, checkpoint.root, proof)
    except InvalidInput as error:
        raise InvalidProof(str(error)) from None


def _require_of_log(path: str, logs: set[int]) -> None:
    """Raise FormatError for a file of rows that belongs to no log of the manifest."""
    from audit.ledger.export.check_rows import log_of

    log = log_of(path)
    if log is not None and log not in logs:
        raise FormatError(f"{path} is of a log that the manifest does not have")

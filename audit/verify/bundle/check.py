"""Verifying a bundle: pure, offline, with nothing but the file and the caller's keys. The steps:

1  trust        the keys are an argument; what the bundle itself says of keys is not looked at
2  file         a zip file as only a bundle has it, and a manifest (else `unreadable`)
3  members      each is what the manifest says, and there are no others
4  checkpoints  signed by a pinned key, of the log that the manifest names, of that size and root
5  entries      decoded in full, in order, each proven to its checkpoint; neighbours chained
6  events       producer signatures, schema digests
7  counts       as many entries as the manifest says
8  report       and what is not proven: above all `selection`, that nothing else matched
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from audit.errors import FormatError, InvalidProof, LimitExceeded
from audit.event.envelope import Event, decode_event
from audit.event.types import SCHEMA
from audit.log.entry import Entry, Kind, decode_entry
from audit.tlog.checkpoint import Checkpoint
from audit.tlog.hashing import leaf_hash
from audit.tlog.proof import verify_inclusion
from audit.verify.bundle.format import ENTRIES, MANIFEST, BundleLog, checkpoint_name
from audit.verify.bundle.hashes import edge_root
from audit.verify.bundle.ocf import BundleEntry, read_entries
from audit.verify.bundle.read import limited
from audit.verify.bundle.zip import BundleFile
from audit.verify.external import open_external
from audit.verify.findings import LogReport, Report
from audit.verify.given import GivenCheckpoint, GivenPolicy, given_checkpoints, given_policy
from audit.verify.noted import Notes
from audit.verify.policy import NO_QUORUM, Policy
from audit.verify.steps.checkpoint import Refused, open_note
from audit.verify.steps.producers import ProducerWalk


def verify_bundle(
    path: Path | str,
    policy: GivenPolicy | None,
    checkpoints: Iterable[GivenCheckpoint] = (),
) -> Report:
    """Check a bundle file. Everything wrong with it is in the report.

    `checkpoints` are signed notes (or receipts) that were kept elsewhere; `policy` may be the path
    of its file. Raises StoreMissing when there is no such file, Unavailable when it may not be
    read, InvalidInput for what was given wrongly.
    """
    trusted = given_policy(policy) or Policy(description="no policy")
    return _BundleCheck(Path(path), trusted).run(given_checkpoints(checkpoints))


class _BundleCheck:
    """One run over a bundle."""

    def __init__(self, path: Path, policy: Policy) -> None:
        self._path = path
        self._policy = policy
        self._notes = Notes()
        self._warnings = Notes()
        self._logs: dict[int, _LogCheck] = {}

    def run(self, checkpoints: Sequence[bytes]) -> Report:
        # 1 trust
        if not self._policy.logs:
            self._notes.add("no_policy", None, "no key of a log is given; use --key or --policy")
        for code, message in self._policy.warnings():
            self._warnings.add(code, None, message)
        external = open_external(checkpoints, self._policy, self._notes)
        try:
            # 2 file
            with BundleFile(self._path) as bundle:
                self._check_file(bundle)
        except (FormatError, LimitExceeded) as error:
            self._notes.add("unreadable", None, str(error))
        for log in self._logs.values():
            log.compare(external.pop(log.described.origin, []))
        # 8 report
        return Report(
            f"bundle {self._path}",
            self._policy.description,
            tuple(log.report() for log in self._logs.values()),
            self._notes.listed(),
            self._warnings.listed(),
            ("freshness", "completeness_at_source", "truth", "selection"),
        )

    def _check_file(self, bundle: BundleFile) -> None:
        manifest = bundle.manifest
        # 3 members
        expected = sorted([*manifest.members, MANIFEST])
        if bundle.names() != expected:
            self._differs("its members are not those that the manifest lists")
        for name in bundle.names():
            listed = manifest.members.get(name)
            if listed is not None and bundle.digest(name) != listed:
                self._differs(f"{name} is not the file that the manifest lists")
            if name.startswith("schemas/") and bundle.digest(name)[1].hex() not in name:
                self._differs(f"{name} does not have the digest that is its name")
        # 4 checkpoints
        for described in manifest.logs:
            log = _LogCheck(described, self._policy)
            self._logs[described.log] = log
            log.open(bundle.read(checkpoint_name(described.log)))
        # 5 and 6 entries and events
        last = (-1, -1)
        with bundle.open(ENTRIES) as file:
            for entry in limited(read_entries(file)):
                if (entry.log, entry.index) <= last or entry.log not in self._logs:
                    raise FormatError(
                        f"entry {entry.log}/{entry.index} is out of order, there twice or of no log"
                    )
                last = (entry.log, entry.index)
                self._logs[entry.log].take(entry)
        # 7 counts
        for log in self._logs.values():
            if log.count != log.described.entries:
                self._differs(
                    f"the manifest says {log.described.entries:,} entries of "
                    f"{log.described.origin}, there are {log.count:,}"
                )

    def _differs(self, message: str) -> None:
        self._notes.add("bundle_differs", None, message)


class _LogCheck:
    """The entries of one log in a bundle."""

    def __init__(self, described: BundleLog, policy: Policy) -> None:
        self.described = described
        self.count = 0
        self._policy = policy
        self._notes = Notes(described.origin)
        self._warnings = Notes(described.origin)
        self._producers = ProducerWalk(policy, described.origin, self._notes, self._warnings)
        self._checkpoint: Checkpoint | None = None
        self._external = 0
        self._before: tuple[Entry, bytes] | None = None

    def open(self, note: bytes) -> None:
        """Step 4."""
        described = self.described
        opened = open_note(note, self._policy.logs)
        if isinstance(opened, Refused):
            if self._policy.logs:
                self._notes.add(opened.code, None, f"its checkpoint: {opened.message}")
            return
        if opened.origin != described.origin:
            self._notes.add("checkpoint_origin", None, f"its checkpoint is of {opened.origin}")
            return
        self._checkpoint = opened
        if described.vkey not in {key.vkey for key in self._policy.keys_of(described.origin)}:
            self._notes.add(
                "log_row_differs",
                None,
                "the manifest names another key than the policy has for this log",
            )
        if (opened.size, opened.root) != (described.size, described.root_hash):
            self._notes.add(
                "bundle_differs", None, "the manifest names another size or root than is signed"
            )
        edge = described.edge
        if len(edge) != opened.size.bit_count() or (edge and edge_root(edge) != opened.root):
            self._notes.add(
                "bundle_differs", None, "the tree's edge in the manifest is not of the signed tree"
            )
        if self._policy.quorum != NO_QUORUM and not self._policy.quorum_met(()):
            self._notes.add(
                "quorum_not_met", None, "the policy asks for witnesses; no cosignature was found"
            )

    def take(self, found: BundleEntry) -> None:
        """Steps 5 and 6 for one entry."""
        self.count += 1
        index = found.index
        hashed = leaf_hash(found.leaf)
        self._check_proof(found, hashed)
        before, self._before = self._before, None
        try:
            entry = decode_entry(found.leaf)
            event = None if entry.kind is Kind.QUARANTINED else decode_event(entry.event)
        except (FormatError, LimitExceeded) as error:
            self._notes.add("entry_malformed", index, f"entry {index} cannot be decoded: {error}")
            return
        if entry.index != index:
            self._notes.add(
                "wrong_index", index, f"the entry filed as {index} says it is {entry.index}"
            )
        if before is not None:
            self._check_neighbour(before, entry)
        self._before = (entry, hashed)
        if event is not None and entry.kind is Kind.EVENT:
            self._check_event(entry, event)

    def compare(self, external: list[Checkpoint]) -> None:
        """Checkpoints from elsewhere: one of the same size must be the same."""
        for checkpoint in external:
            mine = self._checkpoint
            if mine is None or mine.size != checkpoint.size:
                continue
            if mine.root == checkpoint.root:
                self._external += 1
            else:
                self._notes.add(
                    "equivocation",
                    None,
                    f"the bundle's checkpoint and one from elsewhere sign different roots for size "
                    f"{mine.size:,}",
                )

    def report(self) -> LogReport:
        """The log's part of the report."""
        checkpoint = self._checkpoint
        not_proven = ["completeness_at_source", "truth", "selection"]
        if not self._external:
            not_proven.insert(0, "freshness")
        if self._policy.beside_store:
            not_proven.append("key_provenance")
        return LogReport(
            origin=self.described.origin,
            size=self.described.size,
            root_hash=checkpoint.root if checkpoint else None,
            verified_size=checkpoint.size if checkpoint else 0,
            producer_signatures=self._producers.counts(),
            findings=self._notes.listed(),
            warnings=self._warnings.listed(),
            not_proven=tuple(not_proven),
            log=self.described.log,
            checkpoints=1 if checkpoint else 0,
            external_checkpoints=self._external,
            entries=self.count,
        )

    def _check_proof(self, found: BundleEntry, hashed: bytes) -> None:
        checkpoint = self._checkpoint
        if checkpoint is None:
            return
        if found.index >= checkpoint.size:
            self._notes.add(
                "beyond_checkpoint",
                found.index,
                f"entry {found.index} lies above the signed size {checkpoint.size:,}",
            )
            return
        try:
            verify_inclusion(hashed, found.index, checkpoint.size, found.proof, checkpoint.root)
        except InvalidProof as error:
            self._notes.add("inclusion", found.index, f"entry {found.index}: {error}")

    def _check_neighbour(self, before: tuple[Entry, bytes], entry: Entry) -> None:
        earlier, hashed = before
        if earlier.recorded_time_us >= entry.recorded_time_us:
            self._notes.add(
                "recorded_time",
                entry.index,
                f"recorded time does not increase at entry {entry.index}",
            )
        if earlier.index + 1 == entry.index and entry.prev_hash != hashed:
            self._notes.add(
                "chain_broken",
                entry.index,
                f"entry {entry.index} does not continue entry {earlier.index}",
            )

    def _check_event(self, entry: Entry, event: Event) -> None:
        if event.type == SCHEMA:
            if sha256(event.payload).hexdigest() != event.event_id:
                self._notes.add(
                    "schema_differs",
                    entry.index,
                    f"the schema of entry {entry.index} is not the one it is named after",
                )
            if entry.signature is None:
                return
        self._producers.take(entry.index, entry.event, entry.signature)

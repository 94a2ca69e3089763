"""Verifying one entry: by its inclusion proof, without reading the rest of the log. The steps:

1  trust        the keys are an argument
2  row          leaf, index, columns, event and schema digest, as in `verifier` steps 6 and 7
3  checkpoint   the newest one that a pinned key signed, or an older one when it is broken
4  inclusion    the proof, built from the stored tiles, leads from the leaf to the signed root
5  external     the same for each checkpoint from elsewhere that covers the entry
"""

from collections.abc import Sequence

from audit.errors import AuditError, InvalidProof, NotFound
from audit.store.contract import LogInfo, Reader, StoredCheckpoint
from audit.tlog.checkpoint import Checkpoint
from audit.tlog.hashing import leaf_hash
from audit.tlog.merkle import inclusion_proof
from audit.tlog.proof import verify_inclusion
from audit.verify.evidence import Evidence
from audit.verify.external import open_external
from audit.verify.findings import LogReport, Report
from audit.verify.guarded import GuardedReader
from audit.verify.noted import Notes
from audit.verify.policy import NO_QUORUM, Policy
from audit.verify.steps.checkpoint import Refused, open_stored
from audit.verify.steps.entries import EntryWalk, Start
from audit.verify.steps.ids import SpilledIds
from audit.verify.steps.producers import ProducerWalk
from audit.verify.steps.sources import SourceWalk


def verify_entry(
    reader: Reader,
    policy: Policy | None,
    log: int,
    index: int,
    checkpoints: Sequence[bytes] = (),
) -> Report:
    """Check one entry. Raises NotFound when there is no such log, or no such entry in a log that
    is sound; everything wrong with the ledger is in the report.
    """
    trusted = policy if policy is not None else Policy(description="no policy")
    guarded = GuardedReader(reader)
    general = Notes()
    if not trusted.logs:
        general.add("no_policy", None, "no key of a log is given; use --key or --policy")
    external = open_external(checkpoints, trusted, general)
    logs: tuple[LogReport, ...] = ()
    try:
        info = next((info for info in guarded.logs() if info.log == log), None)
        if info is None:
            raise NotFound(f"there is no log {log}")
        check = _EntryCheck(guarded, info, trusted, index)
        check.run(external.get(info.origin, []))
        logs = (check.report(),)
    except NotFound:
        raise
    except AuditError as error:
        general.add("unreadable", None, str(error))
    return Report(
        f"entry {log}/{index} of {guarded.address}",
        trusted.description,
        logs,
        general.listed(),
    )


class _EntryCheck:
    """One entry of one log."""

    def __init__(self, reader: GuardedReader, info: LogInfo, policy: Policy, index: int) -> None:
        self._reader = reader
        self._info = info
        self._policy = policy
        self._index = index
        self._notes = Notes(info.origin)
        self._warnings = Notes(info.origin)
        self._producers = ProducerWalk(policy, info.origin, self._notes, self._warnings)
        self._checkpoint: Checkpoint | None = None
        self._external = 0
        self._leaf = b""
        self._size = 0

    def run(self, external: Sequence[Checkpoint]) -> None:
        index, log = self._index, self._info.log
        self._size = self._reader.size(log)
        # 2 row
        try:
            self._leaf = self._reader.leaf(log, index)
        except NotFound:
            if not self._reader.complete or not 0 <= index < self._size:
                raise
            self._notes.add("missing_entry", index, f"entry {index} is gone")
            return
        self._check_row()
        # 3 checkpoint, 4 inclusion
        self._checkpoint = self._find_checkpoint()
        if self._checkpoint is not None:
            self._check_inclusion(self._checkpoint, "inclusion")
        # 5 external
        for checkpoint in external:
            if checkpoint.size > self._size:
                self._notes.add(
                    "rolled_back",
                    self._size,
                    f"a checkpoint from elsewhere covers {checkpoint.size:,} entries, "
                    f"the store has {self._size:,}",
                )
            elif checkpoint.size > index and self._check_inclusion(checkpoint, "history_rewritten"):
                self._external += 1

    def report(self) -> LogReport:
        """What was found."""
        not_proven = ["completeness_at_source", "truth", "other_entries"]
        if not self._external:
            not_proven.insert(0, "freshness")
        if self._policy.beside_store:
            not_proven.append("key_provenance")
        checkpoint = self._checkpoint
        return LogReport(
            origin=self._info.origin,
            size=self._size,
            root_hash=checkpoint.root if checkpoint else None,
            verified_size=checkpoint.size if checkpoint else 0,
            producer_signatures=self._producers.counts(),
            findings=self._notes.listed(),
            warnings=self._warnings.listed(),
            not_proven=tuple(not_proven),
            log=self._info.log,
            checkpoints=1 if checkpoint else 0,
            external_checkpoints=self._external,
            entries=1,
        )

    def _check_row(self) -> None:
        start = Start(self._index, None, -1)
        with SpilledIds(1) as ids:
            walk = EntryWalk(
                start,
                self._notes,
                self._warnings,
                Evidence(),
                self._producers,
                SourceWalk(self._notes),
                ids,
                0,
            )
            stop = self._index + 1
            for rows in self._reader.stored_entries(self._info.log, self._index, stop):
                walk.take([row for row in rows if row[0] == self._index])

    def _find_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint over the entry that is sound; each broken one is a finding."""
        log, keys = self._info.log, self._policy.logs
        newest = self._reader.newest_checkpoint(log)
        covering = self._reader.covering_checkpoint(log, self._index + 1)
        refused = False
        for stored in dict.fromkeys(one for one in (newest, covering) if one is not None):
            opened = open_stored(stored, self._info.origin, keys)
            if isinstance(opened, Refused):
                refused = True
                self._refuse(stored, opened)
            elif opened.size > self._index:
                return opened
        if newest is None:
            self._notes.add("no_checkpoint", None, "no checkpoint is stored")
        elif not refused:
            self._notes.add(
                "uncovered_tail", self._index, f"no checkpoint covers entry {self._index}"
            )
        return None

    def _refuse(self, stored: StoredCheckpoint, refused: Refused) -> None:
        if refused.code != "unknown_key" or self._policy.logs:
            self._notes.add(
                refused.code,
                None,
                f"the checkpoint stored for size {stored.size}: {refused.message}",
            )

    def _check_inclusion(self, checkpoint: Checkpoint, code: str) -> bool:
        log, index, size = self._info.log, self._index, checkpoint.size
        if size > self._size:
            self._notes.add(
                "truncated", self._size, f"a checkpoint covers {size:,} entries, not all are stored"
            )
            return False
        try:
            proof = inclusion_proof(self._reader.hashes(log, size), index, size)
            verify_inclusion(leaf_hash(self._leaf), index, size, proof, checkpoint.root)
        except InvalidProof:
            self._notes.add(
                code,
                index,
                f"entry {index}, or what lies beside it, is not what the checkpoint of size "
                f"{size:,} covers; check the whole ledger to see which",
            )
            return False
        if self._policy.quorum != NO_QUORUM and not self._policy.quorum_met(()):
            self._notes.add(
                "quorum_not_met", None, "the policy asks for witnesses; no cosignature was found"
            )
        return True

"""Steps 4 to 10 for one log: walks entries, tree, tiles and checkpoints side by side, once."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from audit.errors import AuditError, FormatError
from audit.store.contract import LOG_OF_THE_LEDGER, LogInfo
from audit.tlog.checkpoint import Checkpoint
from audit.tlog.keys import Verifier
from audit.tlog.merkle import TreeEdge
from audit.verify.evidence import Evidence
from audit.verify.findings import LogReport, ProducerSignatures
from audit.verify.guarded import GuardedReader
from audit.verify.noted import Notes
from audit.verify.policy import NO_QUORUM, Policy
from audit.verify.steps.checkpoint import Refused, open_note
from audit.verify.steps.entries import EntryWalk
from audit.verify.steps.heads import Heads, Scope, note_longer, note_rolled_back
from audit.verify.steps.ids import SpilledIds
from audit.verify.steps.numbers import ProducerNumbers
from audit.verify.steps.producers import ProducerWalk
from audit.verify.steps.said import ControlWalk, LedgerWord
from audit.verify.steps.sources import SourceWalk
from audit.verify.steps.start import begin_at
from audit.verify.steps.tiles import TileLookup, TileWalk


class Job(NamedTuple):
    """One log to check, with everything that is known before."""

    reader: GuardedReader
    info: LogInfo
    ordinal: int
    policy: Policy
    external: Mapping[str, Sequence[Checkpoint]]
    """Checkpoints from elsewhere, by origin, in order of size."""
    from_index: int
    ids: SpilledIds
    word: LedgerWord
    numbers: ProducerNumbers | None
    """None: the producers' numbers are not followed, because not all entries are read."""
    tick: Callable[[int], None]


class LogCheck:
    """Checks one log and keeps what the report needs."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.origin = job.info.origin
        self.notes = Notes(self.origin)
        self.warnings = Notes(self.origin)
        self.evidence = Evidence()
        self.external: tuple[Checkpoint, ...] = ()
        self.size = 0
        self.root: bytes | None = None
        self.producers: ProducerWalk | None = None
        self.heads: Heads | None = None
        self.sources = SourceWalk(self.notes)
        self.whole = False
        """Every entry was read."""

    def run(self) -> None:
        """Run the steps. A reader that fails ends them with the finding `unreadable`."""
        try:
            self._run()
        except AuditError as error:
            self.notes.add("unreadable", None, str(error))

    def _run(self) -> None:
        job = self.job
        reader, log = job.reader, job.info.log
        # 4 the cut: the newest checkpoint first, then the size, which can only have grown since
        newest = reader.newest_checkpoint(log)
        self._check_log_row(newest.note if newest else None)
        job.word.check(job.info, self.notes)
        self.external = tuple(job.external.get(self.origin, ()))
        claimed = newest.size if newest and type(newest.size) is int else 0
        self.size = reader.size(log)
        if self._nothing_to_check(claimed):
            return
        self._check_policy()
        scope = Scope(log, self.origin, job.from_index, self.size, claimed)
        # 5 the start
        beginning = begin_at(reader, log, job.from_index)
        # 6 to 9 entries, events, tiles and checkpoints, side by side
        later = [c for c in self.external if c.size >= job.from_index]
        of_ledger = log == LOG_OF_THE_LEDGER
        stated = None if of_ledger else job.word.heads
        heads = Heads(reader, scope, job.policy.logs, later, self.notes, self.evidence, stated)
        self.heads = heads
        self.producers = ProducerWalk(job.policy, self.origin, self.notes, self.warnings)
        word = job.word if of_ledger else None
        said = ControlWalk(job.info, self.notes, self.sources, job.numbers, word)
        walk = EntryWalk(
            beginning.start,
            self.notes,
            self.warnings,
            self.evidence,
            self.producers,
            self.sources,
            job.ids,
            job.ordinal,
            said,
            job.numbers,
        )
        try:
            edge = self._walk(walk, beginning.edge, scope)
            self.sources.finish()
            said.finish(reader)
            heads.finish()
            if not walk.lost:
                heads.check_late(edge.size)
            heads.check_prefix([c for c in self.external if c.size < job.from_index])
            self.whole = not walk.lost and edge.size == self.size
            self.root = edge.root() if self.whole else None
            if of_ledger and not job.from_index:
                job.word.heard = True
            # 10 what vouches for the newest entries
            self._check_cover(heads)
            self._check_announced()
        finally:
            # Also what was found before the store became unreadable is said.
            walk.report_breaks()
            heads.report_differing()

    def _walk(self, walk: EntryWalk, edge: TreeEdge, scope: Scope) -> TreeEdge:
        reader, heads = self.job.reader, self.heads
        assert heads is not None
        tiles: TileWalk | TileLookup
        if scope.first_index:
            tiles = TileLookup(reader, scope.log, self.notes, self.evidence)
        else:
            tiles = TileWalk(reader.tiles(scope.log), self.notes, self.evidence)
        if heads.next_size() <= edge.size:
            heads.reach(edge.size, edge.root())
        for rows in reader.stored_entries(scope.log, scope.first_index, scope.cut):
            hashes = walk.take(rows)
            at = 0
            while at < len(hashes):
                # Not past a size that a checkpoint signs: its root is that of just this tree.
                step = min(len(hashes) - at, heads.next_size() - edge.size)
                edge, full = edge.extend(hashes[at : at + step])
                tiles.take(full)
                at += step
                if heads.next_size() <= edge.size:
                    heads.reach(edge.size, edge.root())
            self.job.tick(len(rows))
        walk.end(scope.cut)
        whole = not walk.lost and edge.size == scope.cut
        tiles.finish(reader.size(scope.log), whole)
        return edge

    def _nothing_to_check(self, claimed: int) -> bool:
        if self.job.from_index > self.size:
            self.notes.add(
                "start_unproven",
                self.size,
                f"asked to begin at {self.job.from_index:,}, but the log has {self.size:,} "
                "entries: the number is wrong, or entries are gone",
            )
            note_rolled_back(self.external, self.size, self.notes)
            return True
        if self.size == 0 and claimed <= 0:
            note_rolled_back(self.external, 0, self.notes)
            stated = self.job.word.heads.origins().get(self.origin)
            if stated is not None and stated.size:
                note_longer(stated, 0, self.notes)
            self.notes.add("empty", None, "the log has no entries")
            return True
        return False

    def _check_log_row(self, note: bytes | None) -> None:
        """Compare what the store says of the log with whom its newest checkpoint is signed by."""
        info, policy = self.job.info, self.job.policy
        opened = open_note(note, policy.logs) if note is not None else None
        if opened is None or isinstance(opened, Refused):
            return
        if not policy.keys_of(self.origin):
            self.notes.add(
                "log_row_differs",
                None,
                f"the store calls log {info.log} {info.origin!a:.200}, its checkpoints are signed "
                f"for {opened.origin}",
            )
            self._rename(opened.origin)
        elif info.vkey not in {key.vkey for key in policy.keys_of(self.origin)}:
            self.notes.add(
                "log_row_differs",
                None,
                f"the store names another key for log {info.log} than its checkpoints are "
                "signed with",
            )

    def _check_policy(self) -> None:
        """Say once that the policy lacks this log, and which line would name it."""
        info, policy = self.job.info, self.job.policy
        if not policy.logs or policy.keys_of(self.origin):
            return
        words = f"the policy names no key of the log {self.origin!a:.200}"
        try:
            line = f"log {Verifier.parse(info.vkey).vkey}"
        except FormatError:
            line = ""
        if line:
            added = self.job.word.added.get(info.origin)
            who = (
                "the store and log 0 name"
                if added is not None and added.info == info
                else ("the store names")
            )
            words += f"; if you know it to be right, add the line that {who}: {line}"
        self.notes.add("unknown_key", None, words)

    def _check_announced(self) -> None:
        info = self.job.info
        if self.sources.seen and not self.job.word.announced(info):
            self.warnings.add(
                "log_unannounced",
                None,
                f"log 0 has no entry that says that log {info.log} {info.origin!a:.200} was added",
            )

    def _rename(self, origin: str) -> None:
        self.origin = self.notes.origin = self.warnings.origin = origin

    def _check_cover(self, heads: Heads) -> None:
        policy, size = self.job.policy, self.size
        if policy.quorum != NO_QUORUM and not policy.quorum_met(()):
            self.notes.add(
                "quorum_not_met",
                None,
                f"the policy asks for the witnesses {policy.quorum!a:.200}; no cosignature of "
                "theirs was found",
            )
        covered = max(heads.stored_valid, self.evidence.external_agreed)
        if covered < size and self.notes.has("truncated"):
            pass  # a checkpoint covers them together with entries that are gone
        elif covered < size and heads.any_valid:
            self.notes.add(
                "uncovered_tail",
                covered,
                f"entries from {covered} on are under no signed checkpoint, though every entry "
                "is committed together with one",
            )
        elif covered < size and policy.logs:
            self._no_checkpoint(heads)
        elif heads.stored_valid < size <= covered:
            self.warnings.add(
                "checkpoint_missing",
                None,
                "the store has no checkpoint over its newest entries; one from elsewhere covers "
                "them",
            )
        if self.job.from_index and self.evidence.agreed < max(1, self.job.from_index):
            self.notes.add(
                "start_unproven",
                None,
                f"no signed checkpoint of size {self.job.from_index:,} or more agrees, so the "
                "start is not proven",
            )

    def _no_checkpoint(self, heads: Heads) -> None:
        if not heads.any_stored:
            self.notes.add("no_checkpoint", None, "no checkpoint is stored")
        elif not self.notes.has("unknown_key"):
            self.notes.add(
                "no_checkpoint", None, "no stored checkpoint is signed by a key of the policy"
            )

    def report(self) -> LogReport:
        """The log's part of the report."""
        heads = self.heads
        external = heads.external_agreeing if heads else 0
        not_proven = ["completeness_at_source", "truth"]
        if not external:
            not_proven.insert(0, "freshness")
        if self.job.policy.beside_store:
            not_proven.append("key_provenance")
        if self.job.from_index:
            not_proven.append("prefix_content")
        if self.sources.seen:
            not_proven.append("source_completeness")
        return LogReport(
            origin=self.origin,
            size=self.size,
            root_hash=self.root,
            verified_size=self.evidence.agreed,
            producer_signatures=(
                self.producers.counts() if self.producers else ProducerSignatures()
            ),
            findings=self.notes.listed(),
            warnings=self.warnings.listed(),
            not_proven=tuple(not_proven),
            log=self.job.info.log,
            first_index=self.job.from_index,
            checkpoints=heads.agreeing if heads else 0,
            external_checkpoints=external,
            stated_heads=heads.stated_agreeing if heads else 0,
        )

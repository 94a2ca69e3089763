"""Verifying a whole ledger, believing nothing of it. The steps, numbered here and in the code:

 1  trust      the keys are an argument; look-alike keys and changed guards are warnings; the
               store's schema and its indexes must be those of a ledger
 2  logs       what the store has, against the policy and the checkpoints from elsewhere
 3  external   checkpoints from elsewhere: signed by a pinned key; two roots of one size
 4  cut        the newest checkpoint, then the size: what a log once had, it must still have
 5  start      the beginning, or a later state that a signed checkpoint has to prove
 6  entries    each row in its place: index, leaf, chain, recorded time, columns recomputed
 7  events     schema digests, producer signatures, source offsets
 8  tree       leaf hashes to tiles, each compared with the stored one
 9  heads      each stored and external checkpoint, and each head that log 0 states of another log,
               against the root at its size; log 0 is walked first
10  cover      the newest entries are under a signed checkpoint
11  ids        no event twice, by spilling to disk; no number of a producer missing, over all logs
12  report     findings, warnings, and what is not proven

Entries are read once, in blocks; memory does not grow with the log (the ids of step 11 go to
temporary files, 16 bytes each). A finding ends nothing: the steps go on as far as they can.

Resuming (`from_index` > 0) does not hash entries before it again, nor compare their columns,
tiles, checkpoints and ids: `prefix_content` is then not proven. That the tree before it is the one
that was signed is proven all the same.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from audit.errors import AuditError, InvalidInput
from audit.store.contract import LogInfo, Reader
from audit.tlog.checkpoint import Checkpoint
from audit.verify.external import open_external
from audit.verify.findings import Report
from audit.verify.guarded import GuardedReader
from audit.verify.noted import Notes
from audit.verify.policy import Policy
from audit.verify.steps.ids import SpilledIds
from audit.verify.steps.log import Job, LogCheck
from audit.verify.steps.numbers import ProducerNumbers
from audit.verify.steps.repeats import report_repeats
from audit.verify.steps.said import LedgerWord
from audit.verify.steps.stated import StatedHeads

MAX_LOGS = 10_000
"""Logs of one ledger."""

Progress = Callable[[int, int], None]
"""Called now and then with the entries done and the entries in all."""


def verify(
    reader: Reader,
    policy: Policy | None,
    checkpoints: Sequence[bytes] = (),
    from_index: int = 0,
    progress: Progress | None = None,
    log: int | None = None,
) -> Report:
    """Check a ledger, or one log of it.

    `checkpoints` are signed notes that were kept elsewhere. `from_index` resumes at an entry of the
    one log there is, or of `log`. Raises InvalidInput, LimitExceeded for arguments that are wrong,
    and nothing for what is wrong with the ledger: that is in the report.
    """
    if from_index < 0:
        raise InvalidInput("the index to begin at is 0 or more")
    return _Verification(GuardedReader(reader), policy, log, from_index, progress).run(checkpoints)


def unreadable(subject: str, policy: Policy | None, reason: str) -> Report:
    """The report for a ledger that cannot even be opened: `cannot_tell`."""
    notes = Notes()
    notes.add("unreadable", None, reason)
    return Report(
        subject,
        policy.description if policy else "no policy",
        general_findings=notes.listed(),
        general_not_proven=("freshness", "completeness_at_source", "truth"),
    )


class _Verification:
    """One run over a ledger."""

    def __init__(
        self,
        reader: GuardedReader,
        policy: Policy | None,
        log: int | None,
        from_index: int,
        progress: Progress | None,
    ) -> None:
        self._reader = reader
        self._policy = policy if policy is not None else Policy(description="no policy")
        self._log = log
        self._from_index = from_index
        self._progress = progress
        self._notes = Notes()
        self._warnings = Notes()
        self._twice: set[str] = set()
        self._one_of_several = False
        self._done = 0
        self._total = 0

    def run(self, checkpoints: Sequence[bytes]) -> Report:
        # 1 trust
        self._check_trust()
        # 2 logs
        infos = self._logs()
        # 3 external
        external = open_external(checkpoints, self._policy, self._notes)
        # The whole of a log is read along its primary key; but every answer to a question comes
        # through the other indexes, so these must hold the same rows. The database compares them
        # meanwhile, on another processor where there is one.
        with ThreadPoolExecutor(max_workers=1) as beside:
            comparing = beside.submit(self._index_defects)
            checks = self._check_logs(infos, external)
            for code, message in comparing.result():
                self._notes.add(code, None, message)
        self._check_twice([check.origin for check in checks])
        self._check_missing(checks, external)
        # 12 report
        not_proven = () if checks else ("freshness", "completeness_at_source", "truth")
        return Report(
            self._reader.address,
            self._policy.description,
            tuple(check.report() for check in checks),
            self._notes.listed(),
            self._warnings.listed(),
            ("other_logs",) if self._one_of_several else not_proven,
        )

    def _check_trust(self) -> None:
        if not self._policy.logs:
            self._notes.add("no_policy", None, "no key of a log is given; use --key or --policy")
        for code, message in self._policy.warnings():
            self._warnings.add(code, None, message)
        try:
            for code, message in self._reader.warnings():
                self._warnings.add(code, None, message)
            for code, message in self._reader.defects():
                self._notes.add(code, None, message)
        except AuditError as error:
            self._notes.add("unreadable", None, str(error))

    def _index_defects(self) -> list[tuple[str, str]]:
        if self._notes.has("table_replaced"):
            return []
        try:
            return self._reader.index_defects()
        except AuditError as error:
            return [("unreadable", str(error))]

    def _logs(self) -> list[LogInfo]:
        if self._notes.has("table_replaced"):
            return []  # what stands in its place may have no end
        try:
            infos = self._reader.logs()
        except AuditError as error:
            self._notes.add("unreadable", None, str(error))
            return []
        wanted = []
        self._check_twice([i.origin for i in infos[:MAX_LOGS] if type(i.origin) is str])
        for info in infos[:MAX_LOGS]:
            if (type(info.log), type(info.origin), type(info.vkey)) != (int, str, str):
                self._notes.add("row_malformed", None, "the list of logs holds other types")
            elif self._log is None or info.log == self._log:
                wanted.append(info)
        if len(infos) > MAX_LOGS:
            self._notes.add("unreadable", None, f"more than {MAX_LOGS:,} logs; the others: unread")
        if self._log is not None and not wanted:
            raise InvalidInput(f"there is no log {self._log}")
        if self._from_index and len(wanted) > 1:
            raise InvalidInput("several logs: name the one that the index to begin at belongs to")
        self._one_of_several = self._log is not None and len(infos) > 1
        if not wanted and not self._notes.has("row_malformed"):
            self._notes.add("empty", None, "the store has no log")
        return wanted

    def _check_twice(self, origins: list[str]) -> None:
        """Two rows of one origin: as the store names them, and as their checkpoints do."""
        for origin, count in Counter(origins).items():
            if count > 1 and origin not in self._twice:
                self._twice.add(origin)
                self._notes.add("log_twice", None, f"{count} logs are called {origin!a:.200}")

    def _check_logs(
        self, infos: list[LogInfo], external: dict[str, list[Checkpoint]]
    ) -> list[LogCheck]:
        self._total = sum(self._size(info.log) for info in infos)
        numbers = ProducerNumbers() if self._log is None and not self._from_index else None
        with SpilledIds(self._total) as ids, StatedHeads() as heads:
            word = LedgerWord(heads)
            checks = [
                LogCheck(
                    Job(
                        self._reader,
                        info,
                        ordinal,
                        self._policy,
                        external,
                        self._from_index,
                        ids,
                        word,
                        numbers,
                        self._tick,
                    )
                )
                for ordinal, info in enumerate(infos)
            ]
            for check in checks:
                # 4 to 10
                check.run()
            # 11 ids
            self._check_ids(ids, checks)
            if numbers is not None and all(check.whole for check in checks):
                numbers.report(self._warnings)
            if self._log is None:
                word.report_missing(_names(checks), self._notes)
        return checks

    def _check_ids(self, ids: SpilledIds, checks: list[LogCheck]) -> None:
        try:
            report_repeats(
                self._reader,
                ids.repeats(),
                [(check.job.info.log, check.origin) for check in checks],
                {check.job.info.log: check.notes for check in checks},
                self._warnings,
            )
        except AuditError as error:
            self._notes.add("unreadable", None, str(error))

    def _check_missing(self, checks: list[LogCheck], external: dict[str, list[Checkpoint]]) -> None:
        """Logs that are known from the policy, or from a checkpoint, and are not in the store."""
        if self._log is not None:
            return
        for origin in sorted({key.name for key in self._policy.logs} - _names(checks)):
            if external.get(origin):
                self._notes.add(
                    "log_missing",
                    None,
                    f"a checkpoint from elsewhere covers {external[origin][-1].size:,} entries of "
                    f"{origin}; the store has no such log",
                )
            elif checks:  # without any, it was said already that nothing is there to check
                # A log whose rows were all dropped must not read as if there was never one.
                self._notes.add(
                    "log_absent", None, f"the policy names the log {origin}; the store has none"
                )

    def _size(self, log: int) -> int:
        try:
            return max(0, self._reader.size(log) - self._from_index)
        except AuditError:
            return 0  # reported when the log itself is read

    def _tick(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, max(self._done, self._total))


def _names(checks: list[LogCheck]) -> set[str]:
    """The logs that are there: as the store names them, and as their checkpoints do."""
    return {check.origin for check in checks} | {check.job.info.origin for check in checks}

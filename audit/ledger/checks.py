"""Checks of parts of a ledger: the entries that an answer is made from, each by its own proof."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, NamedTuple

from audit.errors import AuditError, InvalidProof, StoreCorrupt
from audit.replay.fold import Position
from audit.replay.points import Cut
from audit.replay.refs import is_ref, parse_ref
from audit.replay.steps import entries_used, trusted_record
from audit.store.contract import LogInfo, Reader
from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.merkle import HashSource, inclusion_proof
from audit.tlog.proof import verify_inclusion
from audit.verify.policy import Policy


class Checked(NamedTuple):
    """How many entries an answer is made from, and the first that could not be proven, and why."""

    entries: int
    failed: Position | None
    why: str | None

    @property
    def ok(self) -> bool:
        """Whether all of them are what the log signed."""
        return self.why is None

    @property
    def sentence(self) -> str:
        """The answer, in a sentence."""
        if self.ok:
            return f"verified: {self.entries:,} entries used, each under a signed checkpoint"
        at = "" if self.failed is None else f"entry {self.failed[0]}/{self.failed[1]}: "
        return f"NOT VERIFIED: {at}{self.why}"

    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        failed = None if self.failed is None else {"log": self.failed[0], "index": self.failed[1]}
        return {"ok": self.ok, "entries": self.entries, "failed": failed, "why": self.why}


def check_answer(reader: Reader, what: str, cut: Cut, policy: Policy | None) -> Checked:
    """Check every entry that the dataset or row `what` at a cut is made from.

    Each leaf must lead, by its inclusion proof, to a checkpoint that a key of the policy signed;
    and the database must find that its indexes leave no entry out: that reads the whole store.
    """
    if policy is None:
        return Checked(0, None, "no policy says whose signatures to trust")
    used = positions_of(reader, what, cut)
    count = 0
    position: Position | None = None
    try:
        for _, message in (*reader.defects(), *reader.index_defects()):
            return Checked(0, None, message)
        for log, positions in groupby(used, key=lambda found: found[0]):
            tree = _Tree(reader, log, cut.size(log), policy)
            for position in positions:
                tree.check(position)
                count += 1
            position = None
    except AuditError as error:
        return Checked(count, position, str(error))
    return Checked(count, None, None)


class _Tree:
    """One log up to a signed tree head."""

    def __init__(self, reader: Reader, log: int, size: int, policy: Policy) -> None:
        self._reader = reader
        info = next(info for info in reader.logs() if info.log == log)
        self._checkpoint = self._signed(info, size, policy)
        self._hashes: HashSource = self._reader.hashes(log, self._checkpoint.size)

    def _signed(self, info: LogInfo, size: int, policy: Policy) -> Checkpoint:
        stored = self._reader.covering_checkpoint(info.log, size)
        if stored is None:
            raise StoreCorrupt(f"no checkpoint covers the first {size:,} entries of {info.origin}")
        checkpoint = open_checkpoint(stored.note, policy.keys_of(info.origin))
        if checkpoint.origin != info.origin or checkpoint.size < size:
            raise StoreCorrupt(f"the checkpoint stored for {info.origin} is of another log or size")
        return checkpoint

    def check(self, position: Position) -> None:
        log, index = position
        record = trusted_record(log, index, self._reader.leaf(log, index))
        proof = inclusion_proof(self._hashes, index, self._checkpoint.size)
        try:
            verify_inclusion(
                record.leaf_hash, index, self._checkpoint.size, proof, self._checkpoint.root
            )
        except InvalidProof:
            raise InvalidProof("it is not what the signed tree head covers") from None


def positions_of(reader: Reader, what: str, cut: Cut) -> Iterator[Position]:
    """(log, index) of the entries that an answer is made from."""
    if is_ref(what):
        ref = parse_ref(what)
        return entries_used(reader, ref.entity_type, ref.entity_key, cut)
    return entries_used(reader, what, None, cut)

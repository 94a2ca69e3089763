"""How an answer about the past is cited: what it was made from, so that it can be made again.

Per log: origin, size, the root hash at that size, and the next checkpoint that covers it. Beside
these, whether the point is settled, and which transactions the cut goes through.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from audit.errors import InvalidInput, NotFound
from audit.event.values import format_time
from audit.replay.fastpath import fast_transactions
from audit.replay.points import Cut
from audit.replay.trusted import trusted_record
from audit.store.contract import LogInfo, Reader, StoredCheckpoint
from audit.tlog.hashing import EMPTY_ROOT
from audit.tlog.merkle import consistency_proof, tree_root

TRANSACTION_WINDOW = 10_000
"""How many entries on each side of the cut, in each log, are searched for cut transactions.

A transaction's events are recorded close together; searching further would make the citation of
an old cut cost more than its answer.
"""


class LogCitation(NamedTuple):
    """One log at a cut.

    `root_hash` is None when a bundle does not hold enough of the tree. `consistency_proof` leads
    from (size, root_hash) to `checkpoint`; None when it was not asked for, or there is nothing to
    prove it to.
    """

    log: int
    origin: str
    size: int
    root_hash: bytes | None
    checkpoint: StoredCheckpoint | None
    settled: bool
    consistency_proof: tuple[bytes, ...] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; hashes in hex, the checkpoint as the note's text."""
        checkpoint = None
        if self.checkpoint is not None:
            note = self.checkpoint.note.decode(errors="replace")
            checkpoint = {"size": self.checkpoint.size, "note": note}
        cited: dict[str, Any] = {
            "log": self.log,
            "origin": self.origin,
            "size": self.size,
            "root_hash": None if self.root_hash is None else self.root_hash.hex(),
            "checkpoint": checkpoint,
            "settled": self.settled,
        }
        if self.consistency_proof is not None:
            cited["consistency_proof"] = [node.hex() for node in self.consistency_proof]
        return cited


class CutTransaction(NamedTuple):
    """A transaction with events on both sides of a cut: how many were found on each."""

    transaction_id: str
    events_inside: int
    events_outside: int


class Citation(NamedTuple):
    """What an answer stands on. Times are microseconds since the epoch."""

    asked: str
    as_of_us: int | None
    valid_at_us: int | None
    settled: bool
    in_future: bool
    logs: tuple[LogCitation, ...]
    transactions_cut: tuple[CutTransaction, ...]

    def to_dict(self) -> dict[str, Any]:
        """The dict of `df.attrs["audit"]`: plain values that JSON can hold."""
        return {
            "asked": self.asked,
            "as_of": None if self.as_of_us is None else format_time(self.as_of_us),
            "valid_at": None if self.valid_at_us is None else format_time(self.valid_at_us),
            "settled": self.settled,
            "in_future": self.in_future,
            "logs": [log.to_dict() for log in self.logs],
            "transactions_cut": [cut._asdict() for cut in self.transactions_cut],
        }

    def remarks(self) -> list[str]:
        """What a reader of the answer should be told, a sentence each; empty when all is plain."""
        remarks = []
        if self.in_future:
            remarks.append(f"{self.asked} is in the future: this is what is recorded so far")
        elif not self.settled:
            logs = ", ".join(str(log.log) for log in self.logs if not log.settled)
            remarks.append(
                f"not settled: log {logs} may still record entries at or before {self.asked}; "
                "cite the sizes"
            )
        remarks.extend(
            f"the cut goes through transaction {cut.transaction_id}: {cut.events_inside} of its "
            f"events are inside, {cut.events_outside} are not"
            for cut in self.transactions_cut
        )
        return remarks


def cite(
    reader: Reader, cut: Cut, valid_at_us: int | None = None, proofs: bool = False
) -> Citation:
    """The citation of an answer at a cut; with `proofs`, consistency proofs to the checkpoints."""
    logs = tuple(
        _cite_log(reader, info, cut, proofs) for info in reader.logs() if info.log in cut.sizes
    )
    return Citation(
        cut.asked,
        cut.as_of_us,
        valid_at_us,
        cut.settled,
        cut.in_future,
        logs,
        tuple(transactions_cut(reader, cut)),
    )


def _cite_log(reader: Reader, info: LogInfo, cut: Cut, proofs: bool) -> LogCitation:
    size = cut.size(info.log)
    checkpoint = reader.covering_checkpoint(info.log, size)
    settled = info.log not in cut.unsettled
    proof = None
    try:
        root = tree_root(reader.hashes(info.log, size), size) if size else EMPTY_ROOT
        if proofs and checkpoint is not None and 0 < size <= checkpoint.size:
            hashes = reader.hashes(info.log, checkpoint.size)
            proof = tuple(consistency_proof(hashes, size, checkpoint.size))
    except (NotFound, InvalidInput):
        if reader.complete:
            raise
        root = None
    return LogCitation(info.log, info.origin, size, root, checkpoint, settled, proof)


def cut_of_sizes(reader: Reader, sizes: Mapping[int, int]) -> Cut:
    """The cut that a citation's sizes name, to make its answer again.

    Raises NotFound when a log is missing or shorter than cited.
    """
    known = {info.log for info in reader.logs()}
    for log, size in sizes.items():
        if log not in known:
            raise NotFound(f"there is no log {log} in {reader.address}")
        held = reader.size(log)
        if not 0 <= size <= held:
            raise NotFound(f"log {log} has {held} entries, not the {size} that are cited")
    asked = ", ".join(f"{log}/size {size}" for log, size in sorted(sizes.items()))
    return Cut(dict(sizes), None, (), False, asked, None)


def transactions_cut(
    reader: Reader, cut: Cut, window: int | None = TRANSACTION_WINDOW
) -> list[CutTransaction]:
    """The transactions with events on both sides of the cut, as known now, sorted by id.

    `window`: entries searched on each side in each log; None searches all of every log.
    """
    outside: dict[str, int] = {}
    for log, size in cut.sizes.items():
        held = reader.size(log)
        _add(outside, _named(reader, log, size, held if window is None else size + window, held))
    if not outside:
        return []
    inside: dict[str, int] = {}
    for log, size in cut.sizes.items():
        start = 0 if window is None else max(0, size - window)
        _add(inside, _named(reader, log, start, size, size))
    both = sorted(inside.keys() & outside.keys())
    return [CutTransaction(name, inside[name], outside[name]) for name in both]


def _named(reader: Reader, log: int, start: int, stop: int, held: int) -> Mapping[str, int]:
    """Transaction -> its entries in [start, stop), of which there are `held`."""
    stop = min(stop, held)
    if start >= stop:
        return {}
    found = fast_transactions(reader, log, start, stop)
    if found is None:
        found = {}
        for index, leaf in reader.leaves(log, start, stop):
            event = trusted_record(log, index, leaf).event
            if event is not None and event.transaction_id is not None:
                found[event.transaction_id] = found.get(event.transaction_id, 0) + 1
    return found


def _add(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count

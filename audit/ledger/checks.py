"""Checks of parts of a ledger: an answer, made again from leaves that are hashed and proven.

For a ledger: every leaf of its logs is hashed up to a checkpoint that a trusted key signed, what is
about the dataset is found among them (not by the store's indexes), folded plainly, and compared
with the answer shown. In a bundle, which leaves entries out, each entry used is checked by its own
inclusion proof.
"""

from collections.abc import Iterator
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from audit.errors import AuditError, InvalidProof, StoreCorrupt, Unproven
from audit.ledger.proven import ProvenReader
from audit.replay.columns import ColumnMode
from audit.replay.fold import Position, Row, changed_fields
from audit.replay.points import Cut
from audit.replay.refs import is_ref, parse_ref
from audit.replay.steps import entries_used, trusted_record
from audit.store.contract import LogInfo, Reader
from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.merkle import HashSource, inclusion_proof
from audit.tlog.proof import verify_inclusion
from audit.verify.policy import Policy

if TYPE_CHECKING:
    from audit.replay.asof import RowAt
    from audit.replay.select import Selected, Selection


class Checked(NamedTuple):
    """What was checked of an answer, and why it does not hold, if it does not.

    `entries`: those it is made from. `failed`: the first that could not be proven, where it is one.
    `leaves`: all that were hashed to find them; None where they were proven one by one (a bundle).
    `rows`: how many rows were folded again and equal those shown; None when none were compared.
    """

    entries: int
    failed: Position | None
    why: str | None
    leaves: int | None = None
    rows: int | None = None

    @property
    def ok(self) -> bool:
        """Whether all of it holds."""
        return self.why is None

    @property
    def sentence(self) -> str:
        """The answer, in a sentence."""
        if not self.ok:
            at = "" if self.failed is None else f"entry {self.failed[0]}/{self.failed[1]}: "
            return f"NOT VERIFIED: {at}{self.why}"
        if self.leaves is None:
            return (
                f"verified: {self.entries:,} entries used, each under a signed checkpoint; "
                "what this bundle leaves out cannot be told"
            )
        found = (
            f"verified: {self.entries:,} entries used, found among all {self.leaves:,} leaves "
            "hashed up to a signed checkpoint"
        )
        if self.rows is None:
            return found
        return f"{found}; folded again they give the {self.rows:,} rows shown"

    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        failed = None if self.failed is None else {"log": self.failed[0], "index": self.failed[1]}
        return {
            "ok": self.ok,
            "entries": self.entries,
            "failed": failed,
            "why": self.why,
            "leaves": self.leaves,
            "rows": self.rows,
        }


def check_answer(
    reader: Reader,
    what: str,
    cut: Cut,
    policy: Policy | None,
    shown: "Selected | RowAt | None" = None,
    wanted: "Selection | None" = None,
    valid_at_us: int | None = None,
) -> Checked:
    """Check what the dataset or row `what` at a cut is made from, and the answer `shown`.

    `wanted` and `valid_at_us` are those that `shown` was asked with. Reads every leaf of the logs.
    """
    if policy is None:
        return Checked(0, None, "no policy says whose signatures to trust")
    if not reader.complete:
        return _check_entries(reader, what, cut, policy)
    entity_type = parse_ref(what).entity_type if is_ref(what) else what
    # The columns of today are found in what is recorded today.
    to_head = wanted is not None and wanted.mode is ColumnMode.LATEST
    try:
        for _, message in reader.defects():
            return Checked(0, None, message)
        proven = _proven(reader, entity_type, cut, policy, to_head)
        count = sum(1 for _ in positions_of(proven.as_reader(), what, cut))
        found = Checked(count, None, None, proven.leaves_hashed)
        if shown is None:
            return found
        return _compare(proven.as_reader(), found, cut, shown, wanted, valid_at_us)
    except AuditError as error:
        if isinstance(error, InvalidProof):
            # Which entry it is can be told where it is one of those used.
            single = _check_entries(reader, what, cut, policy)
            if not single.ok:
                return single
        return Checked(0, None, str(error))


def require_proven(checked: Checked) -> Checked:
    """The same. Raises Unproven unless it holds."""
    if not checked.ok:
        raise Unproven(checked.sentence)
    return checked


def _proven(
    reader: Reader, entity_type: str, cut: Cut, policy: Policy, to_head: bool
) -> ProvenReader:
    checkpoints = {}
    for info in reader.logs():
        size = reader.size(info.log) if to_head else cut.size(info.log)
        if size:
            checkpoints[info.log] = _signed(reader, info, size, policy)
    return ProvenReader(reader, entity_type, checkpoints)


def _compare(
    proven: Reader,
    found: Checked,
    cut: Cut,
    shown: "Selected | RowAt",
    wanted: "Selection | None",
    valid_at_us: int | None,
) -> Checked:
    """The answer shown against the one folded plainly from the proven leaves."""
    from audit.replay.asof import RowAt, row
    from audit.replay.select import select

    if not found.entries:
        nothing = (
            shown.row is None if isinstance(shown, RowAt) else not any(True for _ in shown.rows())
        )
        return found._replace(rows=0, why=None if nothing else "no entry says what is shown")
    if isinstance(shown, RowAt):
        again = row(proven, shown.ref, cut, valid_at_us)
        why = _difference(shown.ref.entity_key, shown.row, again.row)
        if why is None and shown.entries != again.entries:
            why = "it is made from other entries than the answer names"
        return found._replace(rows=int(again.row is not None), why=why)
    made = select(proven, shown.entity_type, cut, valid_at_us, wanted)
    if (made.events, made.undecodable) != (shown.events, shown.undecodable):
        why = "it is made from another number of entries than the answer shown"
        return found._replace(why=why)
    if sorted(made.columns) != sorted(shown.columns):
        return found._replace(why="it has other columns than the answer shown")
    count = 0
    for mine, theirs in zip_longest(made.rows(), shown.rows()):
        why = _pair_difference(theirs, mine)
        if why is not None:
            return found._replace(why=why)
        count += 1
    return found._replace(rows=count)


def _pair_difference(shown: tuple[str, Row] | None, made: tuple[str, Row] | None) -> str | None:
    if shown is None or made is None:
        key = (made or shown or ("", {}))[0]
        return f"row {key!r:.80} is {'shown, but no entry says so' if shown else 'not shown'}"
    if shown[0] != made[0]:
        return f"row {min(shown[0], made[0], key=str.encode)!r:.80} is in one answer alone"
    return _difference(made[0], shown[1], made[1])


def _difference(key: str, shown: Row | None, made: Row | None) -> str | None:
    """How a row shown differs from the one made again; None when it does not."""
    if (shown is None) != (made is None):
        return f"row {key!r:.80} is {'not ' if shown is None else ''}shown, against its entries"
    for name in changed_fields(shown, made):
        return f"row {key!r:.80} is shown with another {name!r:.80} than its entries give"
    return None


def _check_entries(reader: Reader, what: str, cut: Cut, policy: Policy) -> Checked:
    """Each entry used by its own inclusion proof; what is left out is not noticed."""
    used = positions_of(reader, what, cut)
    count = 0
    position: Position | None = None
    try:
        for log, positions in groupby(used, key=lambda found: found[0]):
            tree = _Tree(reader, log, cut.size(log), policy)
            for position in positions:
                tree.check(position)
                count += 1
            position = None
    except AuditError as error:
        return Checked(count, position, str(error))
    return Checked(count, None, None)


def _signed(reader: Reader, info: LogInfo, size: int, policy: Policy) -> Checkpoint:
    """The checkpoint that covers the first `size` entries of a log, signed by a trusted key."""
    stored = reader.covering_checkpoint(info.log, size)
    if stored is None:
        raise StoreCorrupt(f"no checkpoint covers the first {size:,} entries of {info.origin}")
    checkpoint = open_checkpoint(stored.note, policy.keys_of(info.origin))
    if checkpoint.origin != info.origin or checkpoint.size < size:
        raise StoreCorrupt(f"the checkpoint stored for {info.origin} is of another log or size")
    return checkpoint


class _Tree:
    """One log up to a signed tree head."""

    def __init__(self, reader: Reader, log: int, size: int, policy: Policy) -> None:
        self._reader = reader
        info = next(info for info in reader.logs() if info.log == log)
        self._checkpoint = _signed(reader, info, size, policy)
        self._hashes: HashSource = self._reader.hashes(log, self._checkpoint.size)

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

"""Step: at every size that a checkpoint signs, the root of the entries is the signed one.

Stored checkpoints come in order of size beside the entries, and so do the heads that log 0 states
of this log; checkpoints from elsewhere are few and given. All are compared at the moment the tree
has just their size, so nothing is kept.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from audit.errors import InvalidProof
from audit.store.contract import StoredCheckpoint
from audit.tlog.checkpoint import Checkpoint
from audit.tlog.keys import Verifier
from audit.tlog.merkle import consistency_proof, tree_root
from audit.tlog.proof import verify_consistency
from audit.verify.evidence import Evidence
from audit.verify.guarded import GuardedReader
from audit.verify.noted import Notes
from audit.verify.steps.checkpoint import Refused, open_stored
from audit.verify.steps.stated import Stated, StatedHeads

NEVER = 1 << 64
"""A size that no tree has."""
MAX_DIFFERING_KEPT = 100
"""Stated heads that differ, and are reported, of one log."""


class Scope(NamedTuple):
    """What is looked at: a log, entries from `first_index` up to `cut`.

    `claimed` is the size of the newest stored checkpoint, read before `cut`: a log never shrinks,
    so a larger `claimed` means that entries are gone.
    """

    log: int
    origin: str
    first_index: int
    cut: int
    claimed: int


class Heads:
    """Stored and external checkpoints of one log, met in order of size."""

    def __init__(
        self,
        reader: GuardedReader,
        scope: Scope,
        keys: Sequence[Verifier],
        external: Sequence[Checkpoint],
        notes: Notes,
        evidence: Evidence,
        stated: StatedHeads | None = None,
    ) -> None:
        self._reader = reader
        self._scope = scope
        self._all_stated = stated
        self._stated_heads = iter(()) if stated is None else stated.of(scope.origin)
        self._stated: Stated | None = None
        self._stated_differing: list[Stated] = []
        self._keys = keys
        self._named = any(key.name == scope.origin for key in keys)
        self._notes = notes
        self._evidence = evidence
        self._stored = reader.checkpoints(scope.log, scope.first_index)
        self._next: StoredCheckpoint | None = None
        self._beyond: StoredCheckpoint | None = None
        self._external = sorted(external, key=lambda checkpoint: checkpoint.size)
        # Only the smallest size that differs says where; the later ones must differ too.
        self._differing: dict[str, tuple[int, int]] = {}
        self._more_differing: Counter[str] = Counter()
        self._proven: Checkpoint | None = None
        self.stored_valid = 0
        """Size of the newest stored checkpoint that a pinned key signed, up to the cut."""
        self.any_stored = False
        self.any_valid = False
        self.agreeing = 0
        self.external_agreeing = 0
        self.stated_agreeing = 0
        self._advance()
        self._advance_stated()

    def next_size(self) -> int:
        """The smallest size that still has to be met."""
        sizes = [NEVER]
        if self._next is not None:
            sizes.append(self._next.size)
        if self._stated is not None and self._stated.size <= self._scope.cut:
            sizes.append(self._stated.size)
        sizes += [c.size for c in self._external[:1] if c.size <= self._scope.cut]
        return min(sizes)

    def reach(self, size: int, root: bytes | None) -> None:
        """Compare everything that signs `size` with the root there, None when it is not known."""
        stored_root: bytes | None = None
        while self._next is not None and self._next.size <= size:
            checkpoint = self._open(self._next)
            if checkpoint is not None:
                stored_root = checkpoint.root if checkpoint.size == size else None
                self._meet(checkpoint, root if checkpoint.size == size else None, external=False)
            self._advance()
        while self._external and self._external[0].size <= size:
            checkpoint = self._external.pop(0)
            self._meet(checkpoint, root if checkpoint.size == size else None, external=True)
            if stored_root not in (None, checkpoint.root) and checkpoint.size == size:
                self._notes.add(
                    "equivocation",
                    self._evidence.external_agreed,
                    f"the stored checkpoint of size {size:,} and one from elsewhere sign "
                    "different roots",
                )
        while self._stated is not None and self._stated.size <= size:
            if self._stated.size == size and root is not None:
                self._compare_stated(self._stated, root)
            self._advance_stated()

    def finish(self) -> None:
        """Judge what is left when the entries have ended: what claims more than is stored."""
        self.reach(self._scope.cut, None)
        self._look_beyond()
        while self._stated is not None:
            note_longer(self._stated, self._scope.cut, self._notes)
            self._advance_stated()
        note_rolled_back(self._external, self._scope.cut, self._notes)

    def report_differing(self) -> None:
        """Say which signed roots the entries do not have; last, when all evidence is there."""
        for code, (begin, size) in self._differing.items():
            index = self._evidence.first_bad(begin, size)
            words = _differs(code, begin, size, index)
            more = self._more_differing[code]
            if more:
                words += f"; {more:,} later one{'s do' if more > 1 else ' does'} not fit either"
            self._notes.add(code, index, words)
        for stated in self._stated_differing:
            index = self._evidence.first_bad(self._evidence.agreed, stated.size)
            self._notes.add(
                "heads_differ",
                min(index, stated.size - 1) if stated.size else None,
                f"entry {stated.index} of log 0 states another root for the first "
                f"{stated.size:,} entries than they have",
            )

    def check_late(self, edge_size: int) -> None:
        """Heads that log 0 states after larger ones: by the hashes that were just checked."""
        if self._all_stated is None:
            return
        late, left_out = self._all_stated.late(self._scope.origin)
        for stated in late:
            if stated.size > edge_size:
                note_longer(stated, self._scope.cut, self._notes)
            else:
                source = self._reader.hashes(self._scope.log, edge_size)
                self._compare_stated(stated, tree_root(source, stated.size))
        if left_out:
            self._notes.add(
                "unreadable",
                None,
                f"log 0 states {left_out:,} more heads out of order than are compared",
            )

    def _compare_stated(self, stated: Stated, root: bytes) -> None:
        if stated.root == root:
            self.stated_agreeing += 1
        elif len(self._stated_differing) < MAX_DIFFERING_KEPT:
            self._stated_differing.append(stated)

    def _advance_stated(self) -> None:
        self._stated = next(self._stated_heads, None)
        while self._stated is not None and self._stated.size < self._scope.first_index:
            self._stated = next(self._stated_heads, None)

    def check_prefix(self, earlier: Sequence[Checkpoint]) -> None:
        """Checkpoints from elsewhere below the start of a resumed check: proven by consistency."""
        proven = self._proven
        for checkpoint in earlier:
            if proven is None or checkpoint.size == 0:
                continue
            source = self._reader.hashes(self._scope.log, proven.size)
            proof = consistency_proof(source, checkpoint.size, proven.size)
            try:
                verify_consistency(
                    checkpoint.size, checkpoint.root, proven.size, proven.root, proof
                )
            except InvalidProof:
                self._notes.add(
                    "history_rewritten",
                    0,
                    f"the tiles below do not lead to the checkpoint of size {checkpoint.size:,} "
                    "from elsewhere; check again from the beginning to find the entry",
                )
            else:
                self.external_agreeing += 1

    def _meet(self, checkpoint: Checkpoint, root: bytes | None, external: bool) -> None:
        if root is None:
            return
        evidence = self._evidence
        if checkpoint.root != root:
            begin = evidence.external_agreed if external else evidence.agreed
            code = "history_rewritten" if external else "checkpoint_differs"
            if code in self._differing:
                self._more_differing[code] += 1
            else:
                self._differing[code] = (begin, checkpoint.size)
            return
        evidence.agreed = checkpoint.size
        self._proven = checkpoint
        if external:
            evidence.external_agreed = checkpoint.size
            self.external_agreeing += 1
        else:
            self.agreeing += 1

    def _open(self, stored: StoredCheckpoint) -> Checkpoint | None:
        opened = open_stored(stored, self._scope.origin, self._keys)
        if isinstance(opened, Refused):
            self._refuse(stored, opened)
            return None
        self.any_valid = True
        self.stored_valid = max(self.stored_valid, opened.size)
        return opened

    def _refuse(self, stored: StoredCheckpoint, refused: Refused) -> None:
        # Without any key of this log every checkpoint is unknown: one finding says so for all.
        if refused.code != "unknown_key" or self._named:
            self._notes.add(
                refused.code,
                None,
                f"the checkpoint stored for size {stored.size}: {refused.message}",
            )

    def _advance(self) -> None:
        """Take the next stored checkpoint up to the cut."""
        for stored in self._stored:
            self.any_stored = True
            if type(stored.size) is not int or stored.size < 0:
                self._notes.add("row_malformed", None, "a checkpoint is stored under no valid size")
            elif stored.size > self._scope.cut:
                self._beyond = stored
                break
            else:
                self._next = stored
                return
        self._next = None

    def _look_beyond(self) -> None:
        """Stored checkpoints above the cut that were there before the cut was read."""
        cut, claimed = self._scope.cut, self._scope.claimed
        while self._beyond is not None:
            stored = self._beyond
            if type(stored.size) is not int:
                self._notes.add("row_malformed", None, "a checkpoint is stored under no valid size")
            elif stored.size > claimed:
                return  # written by somebody else while we were reading
            else:
                opened = open_stored(stored, self._scope.origin, self._keys)
                if isinstance(opened, Refused):
                    self._refuse(stored, opened)
                else:
                    self.any_valid = True
                    self._notes.add(
                        "truncated",
                        cut,
                        f"a signed checkpoint covers {opened.size:,} entries, "
                        f"only {cut:,} are stored: entry {cut} and later ones are gone",
                    )
            self._beyond = next(self._stored, None)


def note_rolled_back(external: Sequence[Checkpoint], size: int, notes: Notes) -> None:
    """Say which checkpoints from elsewhere cover more than the `size` entries that are there."""
    for checkpoint in external:
        if checkpoint.size > size:
            notes.add(
                "rolled_back",
                size,
                f"a checkpoint from elsewhere covers {checkpoint.size:,} entries, "
                f"the store has {size:,}: the last ones are gone",
            )


def note_longer(stated: Stated, size: int, notes: Notes) -> None:
    """Say that log 0 states a head of more than the `size` entries that are there."""
    notes.add(
        "heads_differ",
        size,
        f"entry {stated.index} of log 0 states {stated.size:,} entries, only {size:,} are stored: "
        f"entry {size} and later ones are gone",
    )


def _differs(code: str, begin: int, size: int, index: int) -> str:
    which = (
        "a checkpoint from elsewhere" if code == "history_rewritten" else "the stored checkpoint"
    )
    words = f"{which} of size {size:,} signs another root than the entries have"
    if size - begin <= 1:
        return f"{words}: entry {begin} is not the one that was signed"
    if index > begin:
        return f"{words}; the first bad entry is {index}"
    return f"{words}: at least one entry from {begin} to {size - 1} is not the one that was signed"

"""Whether an entry is what the log signed: its leaf, an inclusion proof, a pinned key's checkpoint.

VERIFIED     a checkpoint signed by a key of the policy covers exactly this leaf at this index
TAMPERED     the store's leaf, tree or checkpoint contradict each other; or, in a complete store, no
             checkpoint covers it, though every entry is committed together with one
UNVERIFIED   nothing to judge by: no policy, no key of this log, no checkpoint in this excerpt; or
             entries before it are TAMPERED, without whose hashes nothing can be said about this one
"""

from collections.abc import Sequence
from typing import NamedTuple

from audit.errors import AuditError, InvalidProof, NotFound, StoreCorrupt, Unavailable
from audit.log.record import read_record
from audit.store.contract import Reader
from audit.tlog.hashing import leaf_hash
from audit.tlog.keys import Verifier
from audit.tlog.merkle import TILE_WIDTH, HashSource, inclusion_proof, tree_root
from audit.tlog.proof import verify_inclusion
from audit.verify.guarded import GuardedReader
from audit.verify.policy import Policy
from audit.verify.steps.checkpoint import Refused, open_stored

VERIFIED = "VERIFIED"
TAMPERED = "TAMPERED"
UNVERIFIED = "UNVERIFIED"

MAX_KNOWN = 100_000
"""How many answers a checker remembers."""


class Integrity(NamedTuple):
    """The answer for one entry, and why, in a sentence."""

    answer: str
    message: str


def check_integrity(
    reader: Reader, log: int, index: int, policy: Policy | None, leaf: bytes
) -> Integrity:
    """Check one entry by proof. Raises Unavailable; what is wrong with the store is the answer.

    `leaf`: the bytes that were read and will be acted on. They are what is proven, and not read
    again, as the store may give others the second time.
    """
    where = f"entry {log}/{index}"
    if policy is None:
        return Integrity(UNVERIFIED, "no policy says whose signatures to trust")
    guarded = GuardedReader(reader)
    keys: Sequence[Verifier] = ()
    origin = ""
    try:
        info = next((info for info in guarded.logs() if info.log == log), None)
        if info is None:
            return Integrity(TAMPERED, f"the store has no log {log}")
        origin = info.origin
        keys = policy.keys_of(info.origin)
        if not keys:
            return Integrity(UNVERIFIED, f"the policy names no key of the log {info.origin}")
        stored = guarded.covering_checkpoint(log, index + 1)
        if stored is None:
            answer = TAMPERED if guarded.complete else UNVERIFIED
            return Integrity(answer, f"no checkpoint covers {where}")
        checkpoint = open_stored(stored, info.origin, keys)
        if isinstance(checkpoint, Refused):
            answer = UNVERIFIED if checkpoint.code == "unknown_key" else TAMPERED
            return Integrity(answer, f"the checkpoint over {where}: {checkpoint.message}")
        if read_record(log, leaf).index != index:
            return Integrity(TAMPERED, f"{where} holds the leaf of another index")
        proof = inclusion_proof(guarded.hashes(log, checkpoint.size), index, checkpoint.size)
        verify_inclusion(leaf_hash(leaf), index, checkpoint.size, proof, checkpoint.root)
    except InvalidProof:
        size = _damaged_before(guarded, log, index, origin, keys)
        if size is None:
            return Integrity(TAMPERED, f"{where} is not what the signed tree head covers")
        words = f"{where} cannot be proven: entries of log {log} below {size} were changed"
        return Integrity(UNVERIFIED, f"{words}; run audit verify")
    except NotFound as error:
        if guarded.complete:
            return Integrity(TAMPERED, f"{where} cannot be proven: {error}")
        return Integrity(UNVERIFIED, f"the bundle has no proof for {where}")
    except Unavailable:
        raise
    except (StoreCorrupt, AuditError) as error:
        return Integrity(TAMPERED, f"{where}: {error}")
    return Integrity(VERIFIED, f"{where} is under the signed tree head of size {checkpoint.size}")


def _damaged_before(
    reader: GuardedReader, log: int, index: int, origin: str, keys: Sequence[Verifier]
) -> int | None:
    """The size of a signed tree head before an entry, in its tile, that the store no longer fits.

    Where there is one, the entry's own proof fails whatever the entry is: its tile has no hashes of
    its own yet, and they are made of entries that were changed. None: the entry is to blame, or
    others that were sealed together with it.
    """
    found = None
    try:
        for stored in reader.checkpoints(log, index // TILE_WIDTH * TILE_WIDTH):
            if stored.size > index:
                break
            found = stored
        if found is None or found.size == 0:
            return None
        checkpoint = open_stored(found, origin, keys)
        if isinstance(checkpoint, Refused):
            return None
        root = tree_root(reader.hashes(log, checkpoint.size), checkpoint.size)
    except Unavailable:
        raise
    except AuditError:
        return None
    return None if root == checkpoint.root else checkpoint.size


class Checker:
    """Checks many entries against one checkpoint of each log, whose signature is checked once.

    An entry that this does not show to be VERIFIED is judged by `check_integrity` alone.
    """

    def __init__(self, reader: Reader, policy: Policy | None) -> None:
        self._reader = reader
        self._policy = policy
        self._heads: dict[int, _Head | None] = {}
        self._known: dict[tuple[int, int, bytes], Integrity] = {}

    def check(self, log: int, index: int, leaf: bytes) -> Integrity:
        """As `check_integrity`."""
        hash_ = leaf_hash(leaf)
        known = self._known.get((log, index, hash_))
        if known is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            known = self._known[log, index, hash_] = self._check(log, index, leaf, hash_)
        return known

    def _check(self, log: int, index: int, leaf: bytes, hash_: bytes) -> Integrity:
        head = self._head(log)
        if head is not None and index < head.size:
            try:
                if read_record(log, leaf).index == index:
                    proof = inclusion_proof(head.hashes, index, head.size)
                    verify_inclusion(hash_, index, head.size, proof, head.root)
                    message = f"entry {log}/{index} is under the signed tree head of size"
                    return Integrity(VERIFIED, f"{message} {head.size}")
            except Unavailable:
                raise
            except AuditError:
                pass
        return check_integrity(self._reader, log, index, self._policy, leaf)

    def _head(self, log: int) -> "_Head | None":
        if log not in self._heads:
            self._heads[log] = self._open(log)
        return self._heads[log]

    def _open(self, log: int) -> "_Head | None":
        if self._policy is None:
            return None
        guarded = GuardedReader(self._reader)
        try:
            info = next((info for info in guarded.logs() if info.log == log), None)
            stored = guarded.newest_checkpoint(log)
            keys = [] if info is None else self._policy.keys_of(info.origin)
            if info is None or stored is None or not keys:
                return None
            checkpoint = open_stored(stored, info.origin, keys)
            if isinstance(checkpoint, Refused):
                return None
            hashes = guarded.hashes(log, checkpoint.size)
        except Unavailable:
            raise
        except AuditError:
            return None
        return _Head(checkpoint.size, checkpoint.root, hashes)


class _Head(NamedTuple):
    """A signed tree head, and the hashes below it."""

    size: int
    root: bytes
    hashes: HashSource


def worst(answers: list[Integrity]) -> Integrity:
    """The sum of several: TAMPERED if one is, else UNVERIFIED if one is, else VERIFIED."""
    for answer in (TAMPERED, UNVERIFIED):
        for found in answers:
            if found.answer == answer:
                return found
    return answers[0]

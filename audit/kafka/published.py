"""The rollback guard's comparison: a log beside the newest checkpoint that was published of it."""

from audit.errors import FormatError, InvalidInput, StoreCorrupt, UnknownKey, Unproven
from audit.kafka.topics import CHECKPOINTS_TOPIC
from audit.store.contract import Reader
from audit.tlog.checkpoint import Checkpoint, open_checkpoint
from audit.tlog.keys import Verifier
from audit.tlog.merkle import tree_root


def open_published(note: bytes, verifier: Verifier) -> Checkpoint:
    """The checkpoint, when it is one of this log by its own key. Raises InvalidInput."""
    try:
        checkpoint = open_checkpoint(note, [verifier])
    except UnknownKey:
        raise InvalidInput(
            f"another key than this ledger's published a checkpoint as {verifier.name}: are there "
            "two ledgers of one name?\ngive one of them another origin, then make "
            f"{CHECKPOINTS_TOPIC} anew"
        ) from None
    except (FormatError, Unproven) as error:
        raise InvalidInput(
            f"what was published last as a checkpoint of {verifier.name} is none: {error}\n"
            f"find out who wrote it, then make {CHECKPOINTS_TOPIC} anew"
        ) from None
    if checkpoint.origin != verifier.name:
        raise InvalidInput(f"a checkpoint of {checkpoint.origin} stands for {verifier.name}")
    return checkpoint


def check_holds(store: Reader, log: int, published: Checkpoint) -> None:
    """Return when the store's log continues what was published of it. Raises StoreCorrupt."""
    fault = _fault(store, log, published)
    if fault is not None:
        raise StoreCorrupt(
            f"log {log} {published.origin} of {store.address} {fault}: it was rolled back "
            "or changed\nnothing is appended to it; restore the newest copy of the store "
            "(see `audit verify`)"
        )


def _fault(store: Reader, log: int, published: Checkpoint) -> str | None:
    """What is wrong with the store's log, given a checkpoint of it, if anything."""
    there = any(known.log == log for known in store.logs())
    size = store.size(log) if there else 0
    if size < published.size:
        return f"has {size} entries, {published.size} were published"
    if published.size == 0:
        return None
    try:
        root = tree_root(store.hashes(log, published.size), published.size)
    except (InvalidInput, Unproven) as error:
        return f"is broken ({error})"
    if root != published.root:
        return f"has another root at size {published.size} than was published"
    return None

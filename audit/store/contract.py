"""What every store promises: reading (`Reader`, used by everything above) and appending (`Store`).

What is atomic: one `append` is one transaction. Entries, index columns, full tiles and one signed
checkpoint over the new tree head are committed together or not at all.
What is durable: when `append` returns, a power cut loses nothing of it.
What is ordered: indexes count from 0 without gaps; recorded time strictly increases with the index.
What must not be done: a reader never trusts an index column, a tile or a checkpoint of the store as
evidence. They are there to find things fast; `audit.verify` recomputes them all.

Readers work on sizes: a caller resolves a cut (log -> size) once, and asks for entries below it.
Entries below a size never change, so such an answer is stable while writers go on.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from audit.log.intake import Incoming, Message
from audit.log.source import SourceBatch
from audit.tlog.keys import Signer
from audit.tlog.merkle import HashSource

LOG_OF_THE_LEDGER = 0
"""Number of the log in which the ledger speaks of itself; in embedded mode the only log."""


class LogInfo(NamedTuple):
    """One log of the ledger as the store names it. No evidence: a policy says whom to trust."""

    log: int
    origin: str
    vkey: str


class StoredEntry(NamedTuple):
    """One row of the entries table, exactly as stored. A tampered one may hold any types."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    leaf: bytes
    recorded_time_us: int
    kind: int
    type: str | None
    source: bytes | None
    event_id: bytes | None
    entity_type: str | None
    entity_key: bytes | None
    signature: bytes | None


class StoredCheckpoint(NamedTuple):
    """A checkpoint as stored: the size its row claims, and the signed note's bytes."""

    size: int
    note: bytes


class StoredTile(NamedTuple):
    """A full tile as stored: 256 hashes, and the root they lead to."""

    level: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    data: bytes
    root: bytes


class Counts(NamedTuple):
    """How many entries of each sort a log holds. `events` is what applications said."""

    size: int
    events: int
    schemas: int
    control: int
    quarantined: int


class Located(NamedTuple):
    """A leaf and where it stands."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    leaf: bytes


class OfRow(NamedTuple):
    """What one row is replayed from: the entries of its key, and those of its type without one."""

    own: list[Located]
    keyless: list[Located]


class Reader(Protocol):
    """Reads one ledger. Every method may raise `Unavailable`; `NotFound` where it is said."""

    address: str
    """Where the ledger is, for messages; holds no password."""
    complete: bool
    """False for a bundle made by a query: then some indexes below a log's size are not there."""

    def steady(self) -> AbstractContextManager[None]:
        """Inside, all that this thread asks is answered from one state of the store.

        Only for a short answer: a database keeps what is overwritten as long as that lasts.
        """
        ...

    def logs(self) -> list[LogInfo]:
        """All logs, in order of their number."""
        ...

    def size(self, log: int) -> int:
        """Number of entries committed in the log, now."""
        ...

    def sizes(self) -> dict[int, int]:
        """The size of each log of `logs`, in order of their number."""
        ...

    def leaf(self, log: int, index: int) -> bytes:
        """The leaf at an index. Raises NotFound."""
        ...

    def leaves(self, log: int, start: int = 0, stop: int | None = None) -> Iterator[Located]:
        """Leaves with start <= index < stop in order, in flat memory; missing ones are skipped."""
        ...

    def leaves_at(self, log: int, indexes: Sequence[int]) -> Iterator[Located]:
        """The leaves at increasing indexes, in order; missing ones are skipped."""
        ...

    def stored_entries(
        self, log: int, start: int = 0, stop: int | None = None
    ) -> Iterator[Sequence[StoredEntry]]:
        """Whole rows in order, in blocks of some thousand plain tuples ordered as StoredEntry."""
        ...

    def size_at(self, log: int, recorded_time_us: int) -> int:
        """Number of entries whose recorded time is at or before the given one."""
        ...

    def find_event(self, event_id: str, source: str | None = None) -> list[tuple[int, int]]:
        """(log, index) of the EVENT and CONTROL entries with this event id, in order."""
        ...

    def find_leaf_hash(self, prefix_hex: str, limit: int = 10) -> list[tuple[int, int]]:
        """(log, index) of entries whose leaf hash begins with these hex digits, at most limit."""
        ...

    def entity(
        self,
        log: int,
        entity_type: str,
        entity_key: str | None = None,
        stop: int | None = None,
        start: int = 0,
    ) -> Iterator[Located]:
        """EVENT and CONTROL entries of one entity, or of all of its type, in log order.

        Only those with start <= index < stop.
        """
        ...

    def keyless(self, log: int, entity_type: str, stop: int | None = None) -> Iterator[Located]:
        """EVENT and CONTROL entries of an entity type without a key, in log order, below stop.

        They are few: a `data.truncate` concerns every key, so a reader of one key needs them.
        """
        ...

    def of_row(self, log: int, entity_type: str, entity_key: str, stop: int | None = None) -> OfRow:
        """What `entity` has of a key and `keyless` of its type, asked for at once."""
        ...

    def entity_keys(self, log: int, entity_type: str, stop: int | None = None) -> Iterator[str]:
        """The distinct keys ever seen in a dataset, in byte order."""
        ...

    def entity_types(self, log: int, stop: int | None = None) -> list[str]:
        """The distinct entity types ever seen, sorted."""
        ...

    def special(
        self, log: int, stop: int | None = None, kind: int | None = None, start: int = 0
    ) -> Iterator[Located]:
        """Schema events, CONTROL and QUARANTINED entries in log order: few, and indexed apart.

        With `kind` those of one kind alone; Kind.EVENT gives the schema events. With `start` only
        those from there on.
        """
        ...

    def counts(self, log: int, stop: int | None = None) -> Counts:
        """How many entries of each sort there are below `stop`, from the index columns alone."""
        ...

    def newest_checkpoint(self, log: int) -> StoredCheckpoint | None:
        """The checkpoint of the largest size."""
        ...

    def covering_checkpoint(self, log: int, size: int) -> StoredCheckpoint | None:
        """The checkpoint of the smallest size that is at least `size`."""
        ...

    def checkpoints(self, log: int, start_size: int = 0) -> Iterator[StoredCheckpoint]:
        """Checkpoints of at least this size, in order of size."""
        ...

    def tile(self, log: int, level: int, index: int) -> bytes | None:
        """A full tile's 8,192 bytes, or None where it is not kept."""
        ...

    def tiles(self, log: int) -> Iterator[StoredTile]:
        """All full tiles in order of (level, index)."""
        ...

    def hashes(self, log: int, size: int) -> HashSource:
        """Node hashes of the tree over the first `size` leaves, for building proofs."""
        ...

    def warnings(self) -> list[tuple[str, str]]:
        """(code, message) of what is wrong with the store's guards: missing or changed ones."""
        ...

    def defects(self) -> list[tuple[str, str]]:
        """(code, message) of what is not built as in a ledger; reads no entry.

        Codes: `table_replaced` (nothing of it may be read), `schema_changed`.
        """
        ...

    def index_defects(self) -> list[tuple[str, str]]:
        """(`index_differs`, message) where an index has other rows than its table has.

        Reads the whole store, without holding the interpreter: it may run in a thread of its own.
        """
        ...

    def close(self) -> None:
        """Release files and connections. Safe to repeat."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None: ...


class Status(Enum):
    """What became of a message."""

    SEALED = "sealed"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    QUARANTINED = "quarantined"


class Outcome(NamedTuple):
    """Where a message ended: its entry, or for a duplicate the first copy's."""

    status: Status
    log: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here


class Appended(NamedTuple):
    """The answer to one append: an outcome per message, the new size and the signed checkpoint.

    `checkpoint` is None when nothing was written because every message was a duplicate.
    """

    outcomes: list[Outcome]
    size: int
    checkpoint: bytes | None


class Lease(NamedTuple):
    """A writer's right to append what one source holds to one log, until somebody claims it anew.

    `next_offset` is where the log itself says that the source is read on; 0 when it holds none.
    """

    log: int
    epoch: int
    next_offset: int


class AppendedFrom(NamedTuple):
    """The answer to one append from a source.

    `outcomes`: of the messages from the log's own position on, in order; those before it were
    sealed earlier and are not judged again. `skipped`: offsets that got no entry of their own.
    `checkpoint` is None when nothing was written.
    """

    outcomes: list[Outcome]
    size: int
    checkpoint: bytes | None
    next_offset: int
    skipped: int


class Store(Reader, Protocol):
    """Reads and appends."""

    def create(self, origin: str, signer: Signer) -> bool:
        """Create tables, guards and log 0. Safe to repeat with the same origin and key.

        True when this call made the ledger, False when it was there.

        Raises InvalidInput when a ledger with another origin or key is there.
        """
        ...

    def append(self, log: int, messages: Sequence[Message | Incoming], signer: Signer) -> Appended:
        """Seal messages in one transaction (see the module docstring).

        What is an Incoming already was checked by the caller: so he can quarantine it himself.
        Raises StoreBusy, Unavailable (disk full, read-only), StoreCorrupt when what is stored
        contradicts the newest checkpoint: nothing is signed over a doubtful head.
        """
        ...

    def append_control(self, log: int, events: Sequence[bytes], signer: Signer) -> Appended:
        """Seal what the ledger itself says, as CONTROL entries."""
        ...

    def open_log(self, log: int, origin: str, signer: Signer) -> bool:
        """Begin a further log. True when this call made it, False when it was there.

        Raises InvalidInput when number or origin belong to another log, or the key differs.
        """
        ...

    def claim(self, log: int) -> Lease:
        """Take the right to append from a source; whoever had it before is fenced from now on."""
        ...

    def append_from(self, lease: Lease, batch: SourceBatch, signer: Signer) -> AppendedFrom:
        """Seal what was read of a source, in one transaction; account for every offset.

        The position is read from the log, under its lock: messages before it are dropped. Raises
        Fenced when the log was claimed by somebody else since, InvalidInput when the log is of
        another source, and as `append`.
        """
        ...

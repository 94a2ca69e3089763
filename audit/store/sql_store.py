"""Appending to a ledger in SQL: one transaction a batch.

The order inside it: take the write lock, re-read the head, drop repeats, seal (`log.sequence`),
insert entries, full tiles and one checkpoint signed over the new head, commit. Before the commit a
crash leaves nothing; after it nothing is lost. What this process believes about the head is updated
only after the commit, and checked against the store before the next batch; so a commit whose answer
was lost is found by the next append, by the same code as ever.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256

from sqlalchemy import Connection, Engine, bindparam, insert, select, update

from audit.errors import Fenced, InvalidInput, StoreCorrupt
from audit.event.build import record_event, schema_event
from audit.event.envelope import MAX_EVENT_ID_BYTES, encode_event
from audit.event.schema import builtin
from audit.log.entry import Kind
from audit.log.intake import Incoming, Message, accept
from audit.log.sequence import Head, Step, append, empty_head
from audit.log.source import Accounts, SourceBatch
from audit.store import migrations, tables
from audit.store.collector import paused_collector
from audit.store.contract import LOG_OF_THE_LEDGER, Appended, AppendedFrom, Lease, Outcome
from audit.store.database import Database
from audit.store.heads import NEWEST_INDEX, recover_head
from audit.store.positions import from_offset, position_in
from audit.store.repeats import Repeats
from audit.store.seam import translate
from audit.store.soundness import refuse
from audit.store.sql_reader import SqlReader
from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from audit.tlog.keys import Signer

LOG_OPENED = "log.opened"

# Made once, because every append runs them. See `heads`.
_EPOCH = (
    select(tables.leases.c.epoch).where(tables.leases.c.log == bindparam("log")).with_for_update()
)
_PUT_TILE = insert(tables.tiles)
_PUT_CHECKPOINT = insert(tables.checkpoints)


class SqlStore(SqlReader):
    """A ledger in one SQL database, for reading and appending. See `contract.Store`."""

    def __init__(
        self,
        engine: Engine,
        address: str,
        database: Database,
        clock: Callable[[], int],
    ) -> None:
        """Take an engine that may write, and a clock in microseconds since the epoch."""
        super().__init__(engine, address, database)
        self._clock = clock
        self._heads: dict[int, Head] = {}
        self._migrated = False

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with (
            translate(self.address),
            self._engine.connect().execution_options(writing=True) as connection,
            connection.begin(),
        ):
            if not self._migrated:
                migrations.migrate(connection, self._database, self._clock())
                refuse(self.address, self._database.schema_faults(connection))
            # A second connection would take longer to be made than what it would be asked.
            with self._within(connection):
                yield connection
        self._migrated = True

    def is_empty(self) -> bool:
        """True when there are no tables of a ledger yet: `create` makes them."""
        with translate(self.address), self._engine.connect() as connection:
            return migrations.version_of(connection, self._database) == 0

    def create(self, origin: str, signer: Signer) -> bool:
        """See `contract.Store.create`."""
        head = None
        with self._writing() as connection:
            self._database.lock_schema(connection)
            self._lock(connection, LOG_OF_THE_LEDGER)
            row = connection.execute(
                select(tables.logs.c.origin).where(tables.logs.c.log == LOG_OF_THE_LEDGER)
            ).first()
            if row is None:
                if connection.execute(select(tables.entries.c.log).limit(1)).first():
                    # Not a new store: its log 0 was renamed or lost. A second one would hide it.
                    raise StoreCorrupt(f"{self.address} has entries but no log 0; run audit verify")
                head = self._open_log(connection, LOG_OF_THE_LEDGER, origin, signer)
            elif row.origin != origin:
                raise InvalidInput(f"{self.address} already holds the ledger {row.origin}")
            else:
                recover_head(self, connection, LOG_OF_THE_LEDGER, None, signer.verifier)
        if head is not None:
            self._heads[LOG_OF_THE_LEDGER] = head
        return head is not None

    def _open_log(self, connection: Connection, log: int, origin: str, signer: Signer) -> Head:
        """Make a log: its row, and as first entries its origin, its key and its own schemas."""
        vkey = signer.verifier.vkey
        connection.execute(insert(tables.logs).values(log=log, origin=origin, vkey=vkey))
        connection.execute(insert(tables.leases).values(log=log, epoch=0))
        opened, schemas = record_event(
            LOG_OPENED,
            {"origin": origin, "vkey": vkey},
            event_id=_opened_id(origin),
            source="audit",
        )
        texts = dict.fromkeys((builtin("entry.v1"), builtin("event.v1"), *schemas))
        incoming = [accept(Message(encode_event(opened)), Kind.CONTROL)]
        incoming += [accept(Message(encode_event(schema_event(text)))) for text in texts]
        return self._seal(connection, log, empty_head(), incoming, signer)[0].head

    def append(self, log: int, messages: Sequence[Message | Incoming], signer: Signer) -> Appended:
        """See `contract.Store.append`. Raises LimitExceeded for a message larger than a leaf."""
        with paused_collector():
            incoming = [m if isinstance(m, Incoming) else accept(m) for m in messages]
            return self._append(log, incoming, signer)

    def append_control(self, log: int, events: Sequence[bytes], signer: Signer) -> Appended:
        """See `contract.Store.append_control`."""
        incoming = [accept(Message(event), Kind.CONTROL) for event in events]
        if any(item.is_quarantined for item in incoming):
            raise InvalidInput("a control entry must hold a valid event")
        return self._append(log, incoming, signer)

    def _append(self, log: int, incoming: Sequence[Incoming], signer: Signer) -> Appended:
        if not incoming:
            return Appended([], self.size(log), None)
        with self._writing() as connection:
            self._lock(connection, log)
            head = recover_head(self, connection, log, self._heads.get(log), signer.verifier)
            repeats = Repeats(connection, self._database, log, incoming)
            fresh: list[Incoming] = []
            outcomes: list[Outcome] = []
            for item in incoming:
                status, index, kept = repeats.judge(item, head.size + len(fresh))
                outcomes.append(Outcome(status, log, index))
                if kept is not None:
                    fresh.append(kept)
            if fresh:
                step, note = self._seal(connection, log, head, fresh, signer)
        self._heads[log] = step.head if fresh else head
        return Appended(outcomes, self._heads[log].size, note if fresh else None)

    def append_from(self, lease: Lease, batch: SourceBatch, signer: Signer) -> AppendedFrom:
        """See `contract.Store.append_from`."""
        log = lease.log
        note = None
        with paused_collector(), self._writing() as connection:
            if self._lock(connection, log) != lease.epoch:
                raise Fenced(f"log {log} of {self.address} was claimed by another writer")
            head = recover_head(self, connection, log, self._heads.get(log), signer.verifier)
            accounts = Accounts(self._next_offset(connection, head, log, batch), batch.first_kept)
            incoming = from_offset(batch.incoming, accounts.next_offset)
            repeats = Repeats(connection, self._database, log, incoming)
            fresh, outcomes = repeats.judge_all(log, incoming, head.size, accounts)
            accounts.reach(batch.next_offset)
            for event in accounts.events(batch.topic, batch.partition):
                fresh.append(accept(Message(event), Kind.CONTROL))
            if fresh:
                step, note = self._seal(connection, log, head, fresh, signer)
                head = step.head
        self._heads[log] = head
        return AppendedFrom(outcomes, head.size, note, accounts.next_offset, accounts.skipped)

    def _next_offset(self, connection: Connection, head: Head, log: int, batch: SourceBatch) -> int:
        found = position_in(connection, log, head.size)
        if found is None:
            return 0
        if (found.topic, found.partition) != (batch.topic, batch.partition):
            raise InvalidInput(
                f"log {log} of {self.address} is of {found.topic}/{found.partition}, "
                f"not of {batch.topic}/{batch.partition}"
            )
        return found.next_offset

    def _lock(self, connection: Connection, log: int) -> int:
        """Lock a log until the transaction ends; gives the epoch of who may append to it."""
        epoch = connection.execute(_EPOCH, {"log": log}).scalar()
        return 0 if epoch is None else int(epoch)

    def open_log(self, log: int, origin: str, signer: Signer) -> bool:
        """See `contract.Store.open_log`."""
        vkey = signer.verifier.vkey
        with self._writing() as connection:
            self._lock(connection, LOG_OF_THE_LEDGER)
            columns = tables.logs.c
            same = (columns.log == log) | (columns.origin == origin)
            found = connection.execute(select(*columns).where(same)).all()
            if not found:
                head = self._open_log(connection, log, origin, signer)
            elif [tuple(row) for row in found] != [(log, origin, vkey)]:
                raise InvalidInput(
                    f"{self.address} has log {found[0].log} {found[0].origin} with another key, "
                    f"number or name than log {log} {origin}"
                )
        if not found:
            self._heads[log] = head
        return not found

    def claim(self, log: int) -> Lease:
        """See `contract.Store.claim`."""
        leases = tables.leases
        with self._writing() as connection:
            epoch = self._lock(connection, log) + 1
            changed = connection.execute(
                update(leases).where(leases.c.log == log).values(epoch=epoch)
            )
            if changed.rowcount != 1:
                raise InvalidInput(f"{self.address} has no log {log} to append to")
            newest = connection.execute(NEWEST_INDEX, {"log": log}).scalar()
            found = position_in(connection, log, 0 if newest is None else newest + 1)
        return Lease(log, epoch, 0 if found is None else found.next_offset)

    def _seal(
        self,
        connection: Connection,
        log: int,
        head: Head,
        incoming: Sequence[Incoming],
        signer: Signer,
    ) -> tuple[Step, bytes]:
        step = append(head, [item.draft for item in incoming], self._clock())
        rows: list[tuple[object, ...]] = [
            (
                log,
                sealed.index,
                sealed.recorded_time_us,
                *item.columns[1:],
                sealed.leaf,
            )
            for sealed, item in zip(step.sealed, incoming, strict=True)
        ]
        self._database.insert_entries(connection, rows)
        if step.tiles:
            result = connection.execute(
                _PUT_TILE,
                [
                    {"log": log, "level": t.level, "index": t.index, "data": t.data, "root": t.root}
                    for t in step.tiles
                ],
                execution_options={"preserve_rowcount": True},
            )
            self._require_stored(result.rowcount, len(step.tiles), "tiles")
        checkpoint = Checkpoint(signer.name, step.head.size, step.head.edge.root())
        note = sign_checkpoint(checkpoint, signer)
        result = connection.execute(
            _PUT_CHECKPOINT,
            {"log": log, "size": step.head.size, "note": note},
            execution_options={"preserve_rowcount": True},
        )
        self._require_stored(result.rowcount, 1, "checkpoints")
        return step, note

    def _require_stored(self, stored: int, given: int, table: str) -> None:
        """A trigger or rule that eats rows ends the transaction; below 0: the driver cannot say."""
        if 0 <= stored != given:
            raise StoreCorrupt(
                f"{self.address} stored {stored:,} of {given:,} {table}; "
                f"run `audit verify` and remove what acts on the table {table}"
            )


def _opened_id(origin: str) -> str:
    """The id of a log's first event: with its origin, or the digest of one that is too long."""
    name = origin.encode()
    short = len(LOG_OPENED) + 1 + len(name) <= MAX_EVENT_ID_BYTES
    return f"{LOG_OPENED}:{origin if short else sha256(name).hexdigest()}"

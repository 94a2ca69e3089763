"""The sequencer of one partition: takes over its log, and appends to it batch by batch.

Taking over a log, in this order; every step may be repeated, so a crash between any two of them is
mended by the next take-over:

    1 the rollback guard: what was published of this log must be in the store
    2 the log is opened, if it is not there
    3 log 0 says so: CONTROL `log.added` {log, origin, vkey}
    4 the policy file beside the store gets a line for the log's key
    5 the log is claimed: whoever appended to it before is fenced
    6 its newest checkpoint is published, in case the process before died before it could

A sequencer lives as long as one assignment of its partition. It is used by the thread that talks
to the store; `released` alone is set by another one.
"""

from typing import NamedTuple

from audit.capture.delivery.embedded import EmbeddedLedger
from audit.errors import AuditError, Fenced, StoreCorrupt
from audit.event.build import record_event
from audit.event.envelope import encode_event
from audit.log.intake import LEDGER_SOURCE
from audit.log.source import SourceBatch
from audit.store.contract import LOG_OF_THE_LEDGER, AppendedFrom, Lease
from consumers import failpoints
from consumers.guard import Guard
from consumers.logs import info, warn
from consumers.policy_file import add_log, names_log
from consumers.publisher import Publisher

ADDED_TYPE = "log.added"


class Batch(NamedTuple):
    """What is appended at once: read from offset `begins` on, without leaving anything out."""

    begins: int
    source: SourceBatch
    arrived_s: float
    bytes: int


def log_of(partition: int) -> int:
    """The number of a partition's log: log 0 is the ledger's own."""
    return partition + 1


def origin_of(ledger_origin: str, topic: str, partition: int) -> str:
    """The name of a partition's log."""
    return f"{ledger_origin}/{topic}/{partition}"


def log_named(origin: str, ledger_origin: str) -> int:
    """The number of the log of this name, the ledger's own or a partition's."""
    if origin == ledger_origin:
        return LOG_OF_THE_LEDGER
    return log_of(int(origin.rpartition("/")[2]))


class Sequencer:
    """One partition, while it is assigned to this process."""

    def __init__(
        self,
        ledger: EmbeddedLedger,
        guard: Guard,
        publisher: Publisher,
        topic: str,
        partition: int,
    ) -> None:
        """Nothing is taken over yet."""
        self.partition = partition
        self.topic = topic
        self.log = log_of(partition)
        self.origin = origin_of(ledger.origin, topic, partition)
        self.released = False
        self.size = 0
        self._ledger = ledger
        self._guard = guard
        self._publisher = publisher
        self._lease: Lease | None = None
        self._next_offset = 0

    def take_over(self) -> int:
        """Take over the log; where its source is read on (see the module docstring).

        Raises StoreCorrupt for a store that was rolled back, InvalidInput for one that has another
        log in this one's place, Fenced when it was released meanwhile, Unavailable.
        """
        ledger = self._ledger
        signer = ledger.key_of(self.origin)
        vkey = signer.verifier.vkey
        self._guard.check(ledger.store, self.log, signer.verifier)
        if not self._is_there() and names_log(ledger.policy_path, vkey):
            raise StoreCorrupt(
                f"{ledger.policy_path} names log {self.log} {self.origin}, the store does not have "
                "it: the store was rolled back\nrestore the newer copy; one key must never sign "
                "two histories"
            )
        if ledger.open_log(self.log, self.origin):
            info("log opened", log=self.log, origin=self.origin)
            failpoints.reach(failpoints.AFTER_LOG_OPENED)
        self._announce(vkey)
        if self.released:
            # A claim now would fence whoever the group gave the partition to meanwhile.
            raise Fenced(f"partition {self.partition} was given back")
        self._lease = ledger.store.claim(self.log)
        failpoints.reach(failpoints.AFTER_CLAIM)
        self._next_offset = self._lease.next_offset
        newest = ledger.store.newest_checkpoint(self.log)
        if newest is not None:
            self.size = newest.size
            self._publisher.offer(self.origin, newest.size, newest.note)
        return self._next_offset

    def append(self, batch: Batch) -> AppendedFrom:
        """Append a batch in one transaction, and offer its checkpoint to the publisher.

        Raises Fenced, StoreBusy and Unavailable (to be repeated with the same batch: the log itself
        knows what of it was kept), StoreCorrupt, InvalidInput.
        """
        if self._lease is None or batch.begins > self._next_offset:
            # A log takes a gap for offsets without a message; one that we made must not get there.
            raise StoreCorrupt(
                f"log {self.log} is sealed up to offset {self._next_offset}, this batch begins at "
                f"{batch.begins}: messages got lost in this process; start it again"
            )
        failpoints.reach(failpoints.BEFORE_APPEND)
        signer = failpoints.dying(self._ledger.signer(self.log))
        appended = self._ledger.store.append_from(self._lease, batch.source, signer)
        failpoints.reach(failpoints.AFTER_COMMIT)
        self._next_offset = appended.next_offset
        self.size = appended.size
        if appended.checkpoint is not None:
            self._publisher.offer(self.origin, appended.size, appended.checkpoint)
        return appended

    def _is_there(self) -> bool:
        return any(known.log == self.log for known in self._ledger.store.logs())

    def _announce(self, vkey: str) -> None:
        """Say in log 0 and in the policy file that this log is one of the ledger's."""
        ledger = self._ledger
        data = {"log": self.log, "origin": self.origin, "vkey": vkey}
        event_id = f"{ADDED_TYPE}:{self.log}"
        if not ledger.store.find_event(event_id, LEDGER_SOURCE):
            built = record_event(ADDED_TYPE, data, event_id=event_id, source=LEDGER_SOURCE)
            appended = ledger.append_control([encode_event(built.event)])
            if appended.checkpoint is not None:
                self._publisher.offer(ledger.origin, appended.size, appended.checkpoint)
            failpoints.reach(failpoints.AFTER_LOG_ADDED)
        try:
            add_log(ledger.policy_path, vkey)
        except AuditError as error:
            # Whoever verifies is told that the key is not in his policy; the log goes on.
            warn("the policy file does not name a log", log=self.log, why=error)

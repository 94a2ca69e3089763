"""The ledger as one object for reading: replay, history, search, verification, proofs.

Opens a store by its URL, or a bundle (`bundle:///case.zip`). Everything is answered from the log as
it is when asked; nothing is kept but the connection. Writing is the emitter's business.
"""

import os
from collections.abc import Callable, Iterable
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from audit.ledger.engines import Engines
from audit.ledger.machine_learning import MachineLearning
from audit.ledger.open import (
    DEFAULT_URL,
    STORE_VARIABLE,
    open_any_reader,
    policy_for,
    policy_path,
)
from audit.ledger.read_model import ledger_read_model
from audit.ledger.reconciling import Reconciling
from audit.ledger.replaying import Replaying
from audit.ledger.searching import Searching
from audit.replay.points import AsOf, Cut, locate, resolve
from audit.store import clock_us
from audit.store.contract import LOG_OF_THE_LEDGER

if TYPE_CHECKING:
    from audit.capture.delivery.keyring import RegisteredKey
    from audit.event.row import Change
    from audit.event.values import Value
    from audit.ledger.contents import Contents
    from audit.ledger.status import LedgerStatus
    from audit.log.record import Record
    from audit.replay.columnar.kept.model import ReadModel
    from audit.store.contract import Reader
    from audit.verify.bundle import Written
    from audit.verify.findings import Report
    from audit.verify.given import GivenCheckpoint, GivenPolicy
    from audit.verify.policy import Policy
    from audit.verify.signed_by import SignedBy
    from audit.verify.verifier import Progress

ALL_KINDS = "kind:event kind:schema kind:control kind:quarantined"


class Ledger(MachineLearning, Reconciling, Replaying, Searching, Engines):
    """Reads one ledger. Use it in a `with` block, or `close` it.

    `url`: the store, or `bundle:///case.zip` (default AUDIT_STORE, else sqlite:///audit.db).
    `now_us`: the clock for `now`, `-7d` and the like, microseconds since the epoch; default the
    system's at each call. `read_model`: the folder of the read model (default: AUDIT_READ_MODEL,
    else beside the store), or "off" to answer from the log alone.
    Points (`as_of`): a time, a position, an aware datetime; None is HEAD.
    Every method may raise Unavailable (StoreMissing when there is no ledger) and StoreCorrupt;
    InvalidInput, NotFound and Ambiguous for what was asked wrongly.
    """

    def __init__(
        self,
        url: str | None = None,
        now_us: int | None = None,
        *,
        read_model: str | os.PathLike[str] | None = None,
    ) -> None:
        """Open it. Raises StoreMissing, Unavailable, InvalidInput."""
        self.url = url or os.environ.get(STORE_VARIABLE) or DEFAULT_URL
        self._now_us = now_us
        self.reader: Reader = open_any_reader(self.url)
        self._read_model = ledger_read_model(self.reader, self.url, read_model)

    def now_us(self) -> int:
        """The clock that this ledger was given, or the system's."""
        return clock_us() if self._now_us is None else self._now_us

    @property
    def read_model(self) -> "ReadModel | None":
        """The columns that fast answers come from; None where they are off. Builds nothing."""
        return None if self._read_model is None else self._read_model.open()

    def share_read_model(self, other: "Ledger") -> None:
        """Answer from the read model of another one, which has the same ledger open for as long.

        Both may be used at once, on threads of their own; what is in memory is there once.
        """
        self._read_model = other._read_model
        if self._read_model is not None:
            self._read_model.serve(self.reader)

    def tell_of_read_model(self, progress: "Callable[[int, int], object]") -> list[str]:
        """Tell how far it is (done, entries in all) whenever a question builds the read model.

        Gives what was dropped of it, or built again, so far, and why. Opens nothing.
        """
        if self._read_model is None:
            return []
        self._read_model.progress = progress
        return self._read_model.notes

    @cached_property
    def single(self) -> bool:
        """Whether there is one log only, so that a bare index names an entry."""
        return len(self.reader.logs()) == 1

    def origin(self, log: int) -> str:
        """The name of a log, as the store has it."""
        found = (info.origin for info in self.reader.logs() if info.log == log)
        return next(found, str(log))

    # Points

    def cut(self, as_of: "AsOf | Cut" = None) -> Cut:
        """How far each log is read for a point. A cut is one already: it stays."""
        return as_of if isinstance(as_of, Cut) else resolve(self.reader, as_of, self.now_us())

    # Entries (events by a query: see `Searching`)

    def entry(self, position: str | int) -> "Record":
        """The entry at a position."""
        from audit.replay.steps import trusted_record

        log, index = locate(self.reader, str(position))
        return trusted_record(log, index, self.reader.leaf(log, index))

    def content(self, record: "Record") -> "Change | dict[str, Value]":
        """What a record's event says. Raises FormatError where it cannot be read here."""
        return self._contents.of(record)

    def event_json(self, record: "Record") -> dict[str, Any]:
        """A record as JSON: its event in the form of INTERFACE, and where the log put it."""
        return self._contents.to_json(record)

    @cached_property
    def _contents(self) -> "Contents":
        from audit.ledger.contents import Contents

        return Contents(self.reader)

    # Evidence

    def default_policy(self) -> "Policy | None":
        """The policy of AUDIT_POLICY, else of audit.policy beside the store; None without one."""
        return policy_for(self.url)

    def _trusted(self, policy: "GivenPolicy | None") -> "Policy | None":
        from audit.verify.given import given_policy

        return self.default_policy() if policy is None else given_policy(policy)

    def status(self, as_of: "AsOf | Cut" = None, source: str | None = None) -> "LedgerStatus":
        """Logs, sizes, checkpoints and their age, at a point; with a source, the lag behind it.

        `source`: the address of a Kafka topic; an empty text means the one of AUDIT_BUS.
        """
        from audit.ledger.status import status_of

        return status_of(self.reader, self.cut(as_of), self.now_us(), self.url, source)

    def policy_file(self, path: str | None) -> "Policy | None":
        """The policy in a file that somebody named; without a name the ledger's own."""
        from audit.verify.policy import Policy

        return self.default_policy() if path is None else Policy.from_file(path)

    def producer_keys(self, as_of: "AsOf | Cut" = None) -> "list[RegisteredKey]":
        """The producers' keys that were registered by a point, with the entries they may sign."""
        from audit.capture.delivery.keyring import list_keys

        size = self.cut(as_of).size(LOG_OF_THE_LEDGER)
        return list_keys(self.reader, size)

    def verify(
        self,
        policy: "GivenPolicy | None" = None,
        checkpoints: "Iterable[GivenCheckpoint]" = (),
        *,
        from_index: int = 0,
        log: int | None = None,
        progress: "Progress | None" = None,
        source: str | None = None,
    ) -> "Report":
        """Check everything, believing nothing: see `audit.verify.verifier`.

        `policy`: whom to trust, or the path of a policy file; without one the ledger's own, and the
        report says so. `checkpoints`: kept elsewhere: signed notes, receipts, or dicts with `note`.
        `source`: a Kafka topic whose messages are compared with the logs (empty: AUDIT_BUS).
        """
        from audit.ledger.evidence import verify_ledger
        from audit.verify.given import given_checkpoints

        trusted, notes = self._trusted(policy), given_checkpoints(checkpoints)
        return verify_ledger(self.url, trusted, notes, from_index, log, progress, source)

    def verify_entry(
        self,
        position: str | int,
        policy: "GivenPolicy | None" = None,
        checkpoints: "Iterable[GivenCheckpoint]" = (),
    ) -> "Report":
        """Check one entry by its proof, without reading the rest of the log."""
        from audit.verify.entry_check import verify_entry
        from audit.verify.given import given_checkpoints

        log, index = locate(self.reader, str(position))
        trusted, notes = self._trusted(policy), given_checkpoints(checkpoints)
        return verify_entry(self.reader, trusted, log, index, notes)

    def who_signed(self, record: "Record", policy: "GivenPolicy | None" = None) -> "SignedBy":
        """Who signed an entry: its producer, its log, witnesses."""
        from audit.verify.signed_by import who_signed

        return who_signed(self.reader, record.log, record.index, self._trusted(policy))

    def prove(self, position: str | int) -> bytes:
        """A receipt for one entry: it verifies alone, with nothing but the log's public key."""
        from audit.ledger.evidence import receipt_for

        return receipt_for(self.reader, self.entry(position))

    def bundle(
        self, query: str, path: str | os.PathLike[str], as_of: AsOf | Cut = None
    ) -> "Written":
        """Write what a query finds, and all that is needed to read and check it, into one file.

        Of each row that something found is about, all events are taken, so that it can be replayed.
        """
        from audit.ledger.evidence import bundle_records

        # An empty query means everything, the log's own entries too.
        records = self.events(query or ALL_KINDS, as_of)
        return bundle_records(self.reader, query, records, os.fspath(path), policy_path(self.url))

    # Opening and closing

    def close(self) -> None:
        """Close the store. Safe to repeat."""
        self.reader.close()

    def __enter__(self) -> Self:
        """The ledger itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        return f"Ledger({self.reader.address!r})"

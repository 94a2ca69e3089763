"""Where a sealer brings events: the seam between the spool and a ledger, or a bus."""

import contextlib
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from audit.capture.delivery.embedded import EmbeddedLedger
from audit.errors import AuditError
from audit.log.intake import Message
from audit.store.contract import Status


class Destination(Protocol):
    """Takes groups of messages, in order. One thread uses it.

    `name` stands in the spool's files: what waits there goes nowhere else. `does` is the word for
    delivering. `longest_pause_s` is waited at most before it is tried again, and `close_s` at most
    for the end (None: as long as it answers).
    """

    name: str
    does: str
    longest_pause_s: float
    close_s: float | None

    def connect(self) -> None:
        """Be ready early, where that takes long. Raises AuditError; `deliver` does it as well."""
        ...

    def deliver(self, messages: list[Message]) -> Mapping[Status, int]:
        """Return when all are safe there, with what became of them as far as it is known.

        Raises an AuditError otherwise: then none, some or all of them are there, and all are to be
        delivered again, in the same order and before any others. What is there twice is dropped.
        """
        ...

    def close(self) -> None:
        """Let go of it; the next `deliver` opens it again. Safe to repeat."""
        ...

    def before_fork(self) -> None:
        """Be at rest, as far as a child must find it at rest."""
        ...

    def after_fork_in_parent(self) -> None:
        """Go on."""
        ...

    def after_fork_in_child(self) -> None:
        """Let go of what is the parent's without touching it; this object is of no more use."""
        ...


class LedgerDestination:
    """A ledger that this process appends to: delivered means sealed."""

    does = "seals"
    longest_pause_s = 30.0
    close_s: float | None = None

    def __init__(self, ledger: EmbeddedLedger) -> None:
        """The ledger is closed, and opens again by itself, but never given up."""
        self.name = ledger.origin
        self._ledger = ledger
        # Held while the store is used, so that a fork can wait for it (see `before_fork`).
        self._lock = threading.Lock()

    def connect(self) -> None:
        """Ready: `open_for_writing` has looked at it."""

    def deliver(self, messages: list[Message]) -> Mapping[Status, int]:
        """Seal them in one transaction. Raises as `Store.append`: then none of them is sealed."""
        with self._lock:
            outcomes = self._ledger.append(messages).outcomes
        return Counter(outcome.status for outcome in outcomes)

    def close(self) -> None:
        """Close the store's connections."""
        with contextlib.suppress(AuditError):
            self._ledger.close()

    def before_fork(self) -> None:
        """Wait for the store to be at rest and close its connections.

        SQLite keeps in memory which file locks its process holds; a child would inherit that belief
        without the locks. (https://www.sqlite.org/howtocorrupt.html section 2.6)
        """
        self._lock.acquire()
        self.close()

    def after_fork_in_parent(self) -> None:
        """Go on; the store opens again by itself."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Nothing is open here."""
        self._lock.release()

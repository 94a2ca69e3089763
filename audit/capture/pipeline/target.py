"""Where the events and blobs of runs and predictions go."""

import logging
import os
import time
from typing import Literal

from audit.capture.delivery.bus import ENV_STORE, is_kafka
from audit.capture.emitter import Emitter
from audit.errors import AuditError, InvalidInput
from audit.store.blobs import BlobStore, default_blobs_url

DEFAULT_BUS = "sqlite:///audit.db"
BUS_VARIABLES = ("AUDIT_BUS", "AUDIT_STORE")

AWAY_S = 30.0
"""After it was away, a broker is waited for less long for this time: runs may be many."""
AWAY_CLOSE_S = 1.0

_away_until_s: dict[str, float] = {}
_log = logging.getLogger("audit.capture")


class Target:
    """Where events and blobs go: a given emitter, or one of our own, opened when first used.

    `refuses`: one of our own takes nothing while the log cannot be reached.
    """

    def __init__(
        self,
        emitter: Emitter | None,
        bus: str | None,
        blobs: BlobStore | str | os.PathLike[str] | None,
        source: str | None,
    ) -> None:
        if emitter is not None and (bus is not None or source is not None):
            raise InvalidInput("give an emitter, or a bus and a source, not both")
        self.owned = emitter is None
        self.refuses = False
        self._emitter = emitter
        self.source = source
        self.bus = emitter.bus if emitter is not None else bus or default_bus()
        if not isinstance(blobs, BlobStore):
            blobs = BlobStore(blobs if blobs is not None else default_blobs_url(self._store()))
        self.blobs = blobs

    def _store(self) -> str | None:
        """The ledger that blobs lie beside; with Kafka it is known only when somebody said it."""
        if self._emitter is not None:
            return self._emitter.store
        return os.environ.get(ENV_STORE) if is_kafka(self.bus) else self.bus

    @property
    def emitter(self) -> Emitter:
        """The emitter. Opening our own raises InvalidInput, Unavailable, StoreCorrupt."""
        if self._emitter is None:
            refusal: Literal["raise", "spool"] = "raise" if self.refuses else "spool"
            self._emitter = Emitter(self.bus, self.source, on_unavailable=refusal)
        return self._emitter

    def borrow(self, other: "Target") -> None:
        """Use another target's open emitter where it leads to the same place: one is enough."""
        if (
            self.owned
            and self._emitter is None
            and other._emitter is not None
            and (other.bus, other._emitter.source) == (self.bus, self.source or "app")
            and (other.refuses or not self.refuses)
        ):
            self._emitter, self.owned = other._emitter, False

    def finish(self) -> None:
        """Seal what was emitted; close an emitter of our own. Raises as `Emitter.flush`."""
        emitter = self._emitter
        if emitter is None:
            return
        if self.owned:
            self._emitter = None
        self._seal(emitter)

    def abandon(self) -> None:
        """Close an emitter of our own; what it holds waits for the next writer. Never raises."""
        emitter, self._emitter = self._emitter, None
        if self.owned and emitter is not None:
            try:
                self._seal(emitter)
            except AuditError as error:
                _log.error("%s", error)

    def _seal(self, emitter: Emitter) -> None:
        """Flush or close, and do not wait long for a broker that was away a moment ago."""
        is_away = time.monotonic() < _away_until_s.get(self.bus, 0.0)
        end = emitter.close if self.owned else emitter.flush
        end(AWAY_CLOSE_S if is_away else None)
        if emitter.waiting and is_kafka(self.bus):
            _away_until_s[self.bus] = time.monotonic() + AWAY_S
        else:
            _away_until_s.pop(self.bus, None)


def default_bus() -> str:
    """Where events go when nobody said it: AUDIT_BUS, AUDIT_STORE, else a ledger in this folder."""
    named = (os.environ.get(variable) for variable in BUS_VARIABLES)
    return next((url for url in named if url), DEFAULT_BUS)

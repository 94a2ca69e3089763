"""Heads: what log 0 says of all other logs, so that a log which is missing or cut shows.

CONTROL `ledger.heads` {"heads": [[origin, size, root in hex], ...]} in order of origin. Each head
is taken from a checkpoint whose signature by its log's own key holds. With more logs than one entry
has room for, several entries follow each other, each with "part": [number from 1, of how many].
"""

import hashlib
from typing import Any

from audit.capture.delivery.embedded import EmbeddedLedger
from audit.errors import FormatError, StoreCorrupt, Unproven
from audit.event.build import record_event
from audit.event.envelope import encode_event
from audit.log.intake import LEDGER_SOURCE
from audit.log.record import read_record
from audit.store.contract import LOG_OF_THE_LEDGER, Appended
from audit.tlog.checkpoint import Checkpoint, open_checkpoint

HEADS_TYPE = "ledger.heads"
MAX_HEADS = 40
"""Heads in one entry: so many fit even with origins of the greatest length."""


class Heads:
    """Writes the heads of one ledger, not more often than it should."""

    def __init__(self, ledger: EmbeddedLedger, every_us: int) -> None:
        """`every_us`: no heads when log 0 has some that are younger than this."""
        self._ledger = ledger
        self._every_us = every_us
        self._last: list[Checkpoint] = []

    def write(self, now_us: int, final: bool = False) -> Appended | None:
        """Seal the heads of all logs, if one moved; None when there was nothing to say.

        With `final` however young the newest are. Several consumers may do this: an entry that
        says the same is dropped as a repeat. Raises StoreCorrupt for a log whose newest checkpoint
        is not its own, and as `Store.append_control`.
        """
        heads = self.current()
        if not heads or heads == self._last:
            return None
        if not final and self._are_young(now_us):
            return None
        appended = self._ledger.append_control(_events(heads))
        self._last = heads
        return appended if appended.checkpoint is not None else None

    def current(self) -> list[Checkpoint]:
        """The newest checkpoint of every log but log 0, in order of origin."""
        heads = []
        store = self._ledger.store
        for info in store.logs():
            if info.log == LOG_OF_THE_LEDGER:
                continue
            stored = store.newest_checkpoint(info.log)
            if stored is None:
                raise StoreCorrupt(f"log {info.log} {info.origin} has no checkpoint")
            try:
                verifier = self._ledger.signer(info.log).verifier
                heads.append(open_checkpoint(stored.note, [verifier]))
            except (FormatError, Unproven) as error:
                raise StoreCorrupt(
                    f"the newest checkpoint of log {info.log} {info.origin} is broken: {error}"
                ) from None
        return sorted(heads)

    def _are_young(self, now_us: int) -> bool:
        """Whether the newest entry of log 0 is of this type and age: another consumer wrote it."""
        store = self._ledger.store
        size = store.size(LOG_OF_THE_LEDGER)
        try:
            record = read_record(LOG_OF_THE_LEDGER, store.leaf(LOG_OF_THE_LEDGER, size - 1))
        except FormatError as error:
            raise StoreCorrupt(f"log 0 is broken: {error}; run `audit verify`") from None
        is_heads = record.event is not None and record.event.type == HEADS_TYPE
        return is_heads and now_us - record.recorded_time_us < self._every_us


def _events(heads: list[Checkpoint]) -> list[bytes]:
    parts = [heads[at : at + MAX_HEADS] for at in range(0, len(heads), MAX_HEADS)]
    return [_event(part, number, len(parts)) for number, part in enumerate(parts, 1)]


def _event(heads: list[Checkpoint], number: int, parts: int) -> bytes:
    data: dict[str, Any] = {"heads": [[head.origin, head.size, head.root.hex()] for head in heads]}
    if parts > 1:
        data["part"] = [number, parts]
    said = hashlib.sha256(repr(data).encode()).hexdigest()
    built = record_event(HEADS_TYPE, data, event_id=f"{HEADS_TYPE}:{said}", source=LEDGER_SOURCE)
    return encode_event(built.event)

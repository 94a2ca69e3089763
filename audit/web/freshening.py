"""The read model of the ledger that is shown, made and kept up to its log while nobody waits."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from audit.ledger import Ledger
from audit.ledger.conflicts import conflicts_below
from audit.lineage.tracing.record_index import index_of
from audit.replay.fastpath import FAST_FROM_ENTRIES, open_fast_path

if TYPE_CHECKING:
    from audit.replay.columnar.kept.model import ReadModel

SAID_FROM_ENTRIES = 50_000
"""To read so many takes long enough that the log says what is done."""
MOST_UNASKED = 2_000_000
"""Where nothing can be kept on disk, so many entries at most are read into memory before anybody
asks for them: some 0.3 KB each."""

_log = logging.getLogger("audit.web")


class Freshening:
    """Of one ledger. What takes long is said in the log when it begins, and when it is done."""

    def __init__(self, ledger: Ledger, go_on: Callable[[int, int], object]) -> None:
        """Nothing is read yet. `go_on` is told how far a building is; what it raises ends that."""
        self._ledger = ledger
        self._go_on = go_on
        self._read = 0
        self._is_left = False
        ledger.tell_of_read_model(go_on)

    def prepare(self) -> None:
        """Import what a read model needs, where there will be one.

        No other thread runs for most of that time: the first page would wait for it.
        """
        if self._entries() >= FAST_FROM_ENTRIES:
            with suppress(ImportError):
                import audit.replay.columnar.fold.fast
                import audit.replay.columnar.kept.model  # noqa: F401

    def bring_up(self) -> None:
        """Bring it up to its log; the work is little where nothing was recorded since.

        Raises AuditError, ImportError, and what `go_on` raises.
        """
        entries = self._entries()
        if entries < FAST_FROM_ENTRIES:
            return
        model = self._ledger.read_model
        if model is not None and self._ledger.reader.complete and not self._is_left:
            self._build(model, entries)
        # Runs, models and datasets as well, which the first trace would have to wait for; and what
        # the first overview would have to read, where much is quarantined.
        reader, cut = self._ledger.reader, self._ledger.cut()
        index_of(reader, cut)
        for info in reader.logs():
            size = cut.size(info.log)
            conflicts_below(reader, info, size, reader.counts(info.log, size).quarantined)

    def _entries(self) -> int:
        return sum(self._ledger.reader.sizes().values())

    def _build(self, model: "ReadModel", entries: int) -> None:
        missing = entries - max(self._read, sum(state.sealed for state in model.state()))
        is_long, begun = missing >= SAID_FROM_ENTRIES, time.monotonic()
        if is_long:
            if not self._may_be_kept(model, entries):
                return
            words = "the read model is made: %s of %s entries are missing in it"
            _log.info(words, f"{missing:,}", f"{entries:,}")
        for log in self._ledger.reader.sizes():
            model.covered(log)
        open_fast_path(self._ledger.reader)
        self._read = entries
        if is_long:
            _log.info("the read model is up to its log, after %.1f s", time.monotonic() - begun)

    def _may_be_kept(self, model: "ReadModel", entries: int) -> bool:
        """Whether it will be on disk, or is small enough for memory; else whoever asks makes it."""
        if entries <= MOST_UNASKED or model.can_keep():
            return True
        self._is_left = True
        words = "the read model of %s entries cannot be kept on disk: it is made when first needed"
        _log.info(words, f"{entries:,}")
        return False

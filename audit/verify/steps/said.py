"""Step: what the logs say themselves, in CONTROL entries, and log 0 of all logs.

    log.opened         {origin, vkey}            the first entry of each log
    log.added          {log, origin, vkey}       log 0: another log was begun
    ledger.heads       {heads: [[origin, size, root in hex], ...]}      log 0: how far each log is
    source.skipped     see `audit.log.source`
    quarantine.retried see `audit.log.retry`

What log 0 says is kept in `LedgerWord` while it is walked, and compared when the others are.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from audit.errors import AuditError, FormatError, LimitExceeded
from audit.event.envelope import Event, same_event
from audit.event.payload import decode_payload
from audit.event.schema import SchemaBook
from audit.log.entry import decode_entry
from audit.log.retry import RETRIED_TYPE, Retried, parse_retried, readings
from audit.log.source import SKIPPED_TYPE
from audit.store.contract import LOG_OF_THE_LEDGER, LogInfo
from audit.tlog.hashing import HASH_BYTES, leaf_hash
from audit.verify.guarded import GuardedReader
from audit.verify.noted import Notes
from audit.verify.steps.numbers import ProducerNumbers
from audit.verify.steps.sources import SourceWalk
from audit.verify.steps.stated import MAX_STATED_LOGS, Stated, StatedHeads

OPENED_TYPE = "log.opened"
ADDED_TYPE = "log.added"
HEADS_TYPE = "ledger.heads"

MAX_RETRIED = 10_000
"""Retried entries of one log that are compared with what was quarantined."""


class Added(NamedTuple):
    """A log as the entry `index` of log 0 names it."""

    info: LogInfo
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here


class LedgerWord:
    """What log 0 says of all logs. `heard`: log 0 was walked from its beginning."""

    def __init__(self, heads: StatedHeads) -> None:
        self.heads = heads
        self.heard = False
        self.added: dict[str, Added] = {}

    def announced(self, info: LogInfo) -> bool:
        """False when log 0 was heard and never said that this log was added."""
        silent = self.heard and info.log != LOG_OF_THE_LEDGER and info.origin not in self.added
        return not silent

    def check(self, info: LogInfo, notes: Notes) -> None:
        """Compare the row of a log with what log 0 says of it."""
        added = self.added.get(info.origin)
        if added is not None and added.info != info:
            notes.add(
                "log_row_differs",
                None,
                f"the store has {info.origin!a:.200} as log {info.log} with the key {info.vkey}; "
                f"entry {added.index} of log 0 says log {added.info.log}, {added.info.vkey!a:.200}",
            )

    def report_missing(self, present: set[str], notes: Notes) -> None:
        """Say which logs log 0 knows that the store does not have."""
        heads = self.heads.origins()
        for origin in sorted((self.added.keys() | heads.keys()) - present):
            head = heads.get(origin)
            if head is not None:
                words = f"had {head.size:,} entries, says entry {head.index} of log 0"
            else:
                words = f"was added, says entry {self.added[origin].index} of log 0"
            notes.add("log_missing", None, f"{origin!a:.200} {words}; the store has no such log")


class ControlWalk:
    """Takes the CONTROL entries of one log. `word` is for log 0 alone."""

    def __init__(
        self,
        info: LogInfo,
        notes: Notes,
        sources: SourceWalk,
        numbers: ProducerNumbers | None = None,
        word: LedgerWord | None = None,
    ) -> None:
        self._info = info
        self._notes = notes
        self._sources = sources
        self._numbers = numbers
        self._word = word
        self._book = SchemaBook.with_builtins()
        self._retried: list[tuple[int, Retried]] = []

    def take(self, index: int, event: Event) -> None:
        """Read what one entry says, if it is of a type that the verifier follows."""
        if event.type == SKIPPED_TYPE:
            self._skipped(index, event)
        elif event.type == RETRIED_TYPE:
            self._retry(index, event)
        elif event.type == OPENED_TYPE and index == 0:
            self._opened(index, event)
        elif self._word is not None and event.type == ADDED_TYPE:
            self._add(self._word, index, event)
        elif self._word is not None and event.type == HEADS_TYPE:
            self._heads(self._word, index, event)

    def _record(self, index: int, event: Event) -> dict[str, Any]:
        try:
            record = decode_payload(event, self._book)
        except (FormatError, LimitExceeded) as error:
            self._malformed(index, event, str(error))
            return {}
        return record if isinstance(record, dict) else {}

    def _malformed(self, index: int, event: Event, why: str) -> None:
        self._notes.add("entry_malformed", index, f"entry {index} ({event.type}): {why}")

    def _skipped(self, index: int, event: Event) -> None:
        record = self._sources.skipped(index, event)
        if record is None or self._numbers is None:
            return
        self._numbers.expired += record.expired
        for producer_id, number in record.producers:
            self._numbers.take(producer_id, number)

    def _opened(self, index: int, event: Event) -> None:
        origin = self._record(index, event).get("origin")
        known = self._notes.has("log_row_differs")
        if isinstance(origin, str) and origin != self._info.origin and not known:
            self._notes.add(
                "log_row_differs",
                None,
                f"the store calls log {self._info.log} {self._info.origin!a:.200}; its first entry "
                f"says that it is {origin!a:.200}",
            )

    def _add(self, word: LedgerWord, index: int, event: Event) -> None:
        match self._record(index, event):
            case {"log": int(log), "origin": str(origin), "vkey": str(vkey)}:
                if len(word.added) < MAX_STATED_LOGS:
                    word.added.setdefault(origin, Added(LogInfo(log, origin, vkey), index))
            case {}:
                pass
            case _:
                self._malformed(index, event, "it does not name a log, its origin and key")

    def _heads(self, word: LedgerWord, index: int, event: Event) -> None:
        record = self._record(index, event)
        heads = record.get("heads") if record else []
        if not isinstance(heads, Sequence):
            self._malformed(index, event, "it has no list of heads")
            return
        for head in heads:
            match head:
                case [str(origin), int(size), str(root)] if 0 <= size < 2**63:
                    stated = _stated(size, index, root)
                case _:
                    stated = None
            if stated is None:
                self._malformed(index, event, "a head is not an origin, a size and a root")
            elif not word.heads.take(origin, stated):
                more = f"it names more than {MAX_STATED_LOGS:,} logs"
                self._notes.add("unreadable", index, f"entry {index} ({event.type}): {more}")
                return

    def _retry(self, index: int, event: Event) -> None:
        try:
            retried = parse_retried(event)
        except (FormatError, LimitExceeded) as error:
            self._malformed(index, event, str(error))
            return
        if len(self._retried) < MAX_RETRIED:
            self._retried.append((index, retried))

    def finish(self, reader: GuardedReader) -> None:
        """Compare retried entries with what was quarantined, by reading both again."""
        for index, retried in self._retried:
            try:
                refused = reader.leaf(self._info.log, retried.index)
                accepted = reader.leaf(self._info.log, retried.event_index)
                said = decode_entry(accepted).event
                same = any(same_event(said, r) for r in readings(decode_entry(refused).event))
            except AuditError as error:
                self._notes.add("retry_differs", index, f"entry {index} (retried): {error}")
                continue
            if leaf_hash(refused) != retried.leaf_hash or not same:
                self._notes.add(
                    "retry_differs",
                    index,
                    f"entry {index} says that entry {retried.event_index} is what was quarantined "
                    f"at {retried.index}; it is not",
                )


def _stated(size: int, index: int, root_hex: str) -> Stated | None:
    try:
        root = bytes.fromhex(root_hex)
    except ValueError:
        return None
    return Stated(size, index, root) if len(root) == HASH_BYTES else None

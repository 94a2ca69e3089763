"""Steps: each entry in its place - index, chain, time, columns - and each event in it.

`EntryWalk` takes the rows of a log in order and gives back the leaf hashes. Everything an index
column says is computed again from the leaf; every entry is decoded in full.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

from audit.errors import FormatError, LimitExceeded
from audit.event.envelope import EVENT_SCHEMA_HASH, Event, decode_event
from audit.event.types import DATA_TRUNCATE
from audit.log.columns import Columns, columns_of
from audit.log.entry import NO_HASH, Entry, Kind, SourceSpan, decode_entry
from audit.log.intake import CONFLICT_REASON
from audit.store.contract import StoredEntry
from audit.tlog.hashing import LEAF_PREFIX
from audit.verify.evidence import Evidence
from audit.verify.fast_rows import MIN_NUMBER, FastRows, Scanned
from audit.verify.noted import Notes
from audit.verify.steps.ids import SpilledIds, place_of
from audit.verify.steps.numbers import ProducerNumbers
from audit.verify.steps.producers import ProducerWalk
from audit.verify.steps.said import ControlWalk
from audit.verify.steps.sources import SourceWalk

SCHEMA_TYPE = "schema"
MAX_PLACED_INDEX = 1 << 47
"""No log is that long; larger indexes come from tampered rows, and their ids are not compared."""

_ROW_WIDTH = len(StoredEntry._fields)
_IN_EVERY_LOG = frozenset((SCHEMA_TYPE, DATA_TRUNCATE))
"""Events that every log has of its own: a repeat of one in another log means nothing."""


class Start(NamedTuple):
    """Where a walk begins: the next index, and what the entry before it leaves behind.

    `prev_hash` None: that is not known, and the chain to the first entry is not looked at.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    prev_hash: bytes | None
    recorded_time_us: int


BEGINNING = Start(0, NO_HASH, -1)


class EntryWalk:
    """Takes the rows of one log in order.

    `lost` once an entry is missing: from there on no tree can be built.
    """

    def __init__(
        self,
        start: Start,
        notes: Notes,
        warnings: Notes,
        evidence: Evidence,
        producers: ProducerWalk,
        sources: SourceWalk,
        ids: SpilledIds,
        log_ordinal: int,
        said: ControlWalk | None = None,
        numbers: ProducerNumbers | None = None,
    ) -> None:
        self.index = start.index
        self.lost = False
        self._prev_hash = start.prev_hash
        self._time_us = start.recorded_time_us
        self._notes = notes
        self._warnings = warnings
        self._evidence = evidence
        self._producers = producers
        self._sources = sources
        self._ids = ids
        self._log_ordinal = log_ordinal
        self._said = said
        self._numbers = numbers
        self._hashes: list[int] = []
        self._places: list[int] = []
        self._place = ("", -1)
        self.fast: FastRows | None = FastRows(numbers)
        """None: take every row in the plain form."""

    def take(self, rows: Sequence[StoredEntry]) -> list[bytes]:
        """The leaf hashes of these rows, as far as no entry before them is missing."""
        leaf_hashes: list[bytes] = []
        following = iter(rows)
        at = 0
        while at < len(rows):
            at = self._take_fast(rows, at, following, leaf_hashes)
            if at < len(rows):
                self._check_row(rows[at], leaf_hashes)
                at += 1
        self._ids.add(self._hashes, self._places)
        self._hashes, self._places = [], []
        return leaf_hashes

    def _take_fast(
        self,
        rows: Sequence[StoredEntry],
        at: int,
        following: Iterator[StoredEntry],
        leaf_hashes: list[bytes],
    ) -> int:
        """Take what the fast lane recognises, up to the first row that it does not."""
        fast = self.fast
        offset = self._sources.next_offset(*self._place)
        if (
            fast is None
            or 0 <= offset < MIN_NUMBER
            or self.lost
            or self._prev_hash is None
            or not MIN_NUMBER <= self.index < MAX_PLACED_INDEX
            or self._time_us < MIN_NUMBER
        ):
            next(following)
            return at
        first = fast.index = self.index
        fast.last_us, fast.prev_hash = self._time_us, self._prev_hash
        fast.offset = offset
        scanned = Scanned(leaf_hashes, self._hashes)
        at = fast.scan(rows, at, following, scanned)
        if fast.index > first:
            self.index, self._time_us, self._prev_hash = fast.index, fast.last_us, fast.prev_hash
            start = place_of(self._log_ordinal, first)
            self._places.extend(range(start, start + self.index - first))
            self._producers.unsigned += self.index - first - len(scanned.signed)
            for signed in scanned.signed:
                self._producers.take(*signed)
            if offset >= 0:
                self._sources.advance(*self._place, fast.offset)
        return at

    def _check_row(self, row: StoredEntry, leaf_hashes: list[bytes]) -> None:
        """Every check of one row, in its plain form."""
        if len(row) != _ROW_WIDTH or type(row[0]) is not int:
            self._notes.add("row_malformed", None, "an entry's index is not a number")
            return
        index, leaf = row[0], row[1]
        if index < self.index:
            self._bad("duplicate_index", index, f"a row has index {index}, where none belongs")
            return
        if index > self.index:
            self._missing(index)
        self.index = index + 1
        if type(leaf) is not bytes:
            self._bad("row_malformed", index, f"the leaf stored at index {index} is not bytes")
            self.lost = True
            self._prev_hash = None
            return
        leaf_hash = sha256(LEAF_PREFIX + leaf).digest()
        if not self.lost:
            leaf_hashes.append(leaf_hash)
        try:
            entry = decode_entry(leaf)
        except FormatError as error:
            self._bad("entry_malformed", index, f"entry {index} cannot be decoded: {error}")
        else:
            self._check_place(index, entry)
            self._check_content(index, row, entry)
        self._prev_hash = leaf_hash

    def end(self, cut: int) -> None:
        """Say what is missing when the rows end before `cut`."""
        if self.index < cut:
            self._missing(cut)
            self.index = cut
        if self.fast is not None:
            self.fast.finish()

    def report_breaks(self) -> None:
        """Say which entries break the chain; last, when all evidence of where is there."""
        for before in self._evidence.breaks():
            index = self._evidence.culprit(before)
            words = "the beginning" if before < 0 else f"entry {before}"
            self._notes.add(
                "chain_broken",
                max(index, 0),
                f"entry {before + 1} does not continue {words}: "
                f"entry {max(index, 0)} was changed, moved or replaced",
            )

    def _missing(self, index: int) -> None:
        first = self.index
        self._evidence.bad(first)
        which = f"entry {first} is" if index == first + 1 else f"entries {first} to {index - 1} are"
        self._notes.add("missing_entry", first, f"{which} gone")
        self.lost = True
        self._prev_hash = None

    def _check_place(self, index: int, entry: Entry) -> None:
        if entry.index != index:
            self._bad(
                "wrong_index", index, f"the entry stored at index {index} says it is {entry.index}"
            )
        if self._prev_hash is not None and entry.prev_hash != self._prev_hash:
            self._evidence.chain_breaks_after(index - 1)
        if entry.recorded_time_us <= self._time_us:
            self._bad("recorded_time", index, f"recorded time does not increase at entry {index}")
        self._time_us = entry.recorded_time_us

    def _check_content(self, index: int, row: StoredEntry, entry: Entry) -> None:
        event = None
        if entry.kind is not Kind.QUARANTINED:
            try:
                event = decode_event(entry.event)
            except (FormatError, LimitExceeded) as error:
                self._bad(
                    "entry_malformed",
                    index,
                    f"the event of entry {index} cannot be decoded: {error}",
                )
                return
            if entry.schema_hash != EVENT_SCHEMA_HASH:
                self._bad(
                    "entry_malformed", index, f"entry {index} names another schema for its event"
                )
        self._check_columns(index, row, columns_of(entry, event))
        if entry.source is not None:
            self._sources.take(index, entry.source)
            if self._numbers is not None and event is not None:
                self._numbers.take_event(event)
            elif self._numbers is not None:
                self._numbers.take_quarantined(entry)
        if event is not None:
            self._check_event(index, entry, event)
        elif entry.reason is not None and entry.reason.startswith(CONFLICT_REASON):
            self._warnings.add(
                "event_id_conflict", index, f"entry {index} is quarantined: {entry.reason!a:.200}"
            )

    def _check_columns(self, index: int, row: StoredEntry, columns: Columns) -> None:
        wrong = [
            name
            for name, stored, expected in zip(Columns._fields, row[2:], columns, strict=True)
            if type(stored) is not type(expected) or stored != expected
        ]
        if wrong:
            self._bad(
                "column_differs",
                index,
                f"the index column{'s' * (len(wrong) > 1)} {', '.join(wrong)} of entry {index} "
                f"{'do' if len(wrong) > 1 else 'does'} not say what the entry says",
            )

    def _check_event(self, index: int, entry: Entry, event: Event) -> None:
        self._add_id(index, entry.kind, event)
        if entry.kind is Kind.CONTROL:
            if self._said is not None:
                self._said.take(index, event)
            return
        if event.type == SCHEMA_TYPE:
            if sha256(event.payload).hexdigest() != event.event_id:
                self._bad(
                    "schema_differs",
                    index,
                    f"the schema of entry {index} is not the one it is named after",
                )
            if entry.signature is None:
                return  # its bytes depend on the schema alone: nobody signs it
        elif self.fast is not None and event.type != DATA_TRUNCATE:
            self._learn(self.fast, entry.source, event)
        self._producers.take(index, entry.event, entry.signature)

    def _learn(self, fast: FastRows, source: SourceSpan | None, event: Event) -> None:
        fast.learn(event)
        if source is not None and self._place != (source.topic, source.partition):
            self._place = (source.topic, source.partition)
            fast.learn_place(*self._place)

    def _add_id(self, index: int, kind: Kind, event: Event) -> None:
        """Remember an event's id for the check that none comes twice."""
        if index >= MAX_PLACED_INDEX:
            return
        key: tuple[object, ...] = (event.source.encode(), event.event_id.encode())
        if kind is Kind.CONTROL or event.type in _IN_EVERY_LOG:
            key = (self._log_ordinal, *key)
        self._hashes.append(hash(key))
        self._places.append(place_of(self._log_ordinal, index))

    def _bad(self, code: str, index: int, message: str) -> None:
        self._evidence.bad(index)
        self._notes.add(code, index, message)

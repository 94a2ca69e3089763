"""Exactly once: what of a batch is in the log already, decided under the log's lock.

Same source and event id, same event: dropped, and counted; the answer names the first copy. Same id
but other bytes: sealed as a QUARANTINED entry, never folded, never silently chosen. A quarantined
message is found again by the SHA-256 of its bytes, so a repeat of it writes nothing either.
"""

from collections.abc import Sequence

from sqlalchemy import Connection

from audit.event.envelope import decode_event, same_event
from audit.log.entry import Kind, decode_entry
from audit.log.intake import CONFLICT_REASON, Incoming, Message, quarantine
from audit.log.source import Accounts
from audit.store.contract import Outcome, Status
from audit.store.database import Database

_Key = tuple[bytes | None, bytes | None]
"""The columns (source, event_id); for what is quarantined (None, SHA-256 of the bytes)."""

_new = tuple.__new__

MAX_FIRSTS = 500
"""First copies fetched in one query."""


class Repeats:
    """Knows for one batch which messages are repeats, of the log or of each other."""

    def __init__(
        self, connection: Connection, database: Database, log: int, incoming: Sequence[Incoming]
    ) -> None:
        """Ask the store for all ids of the batch at once; `connection` holds the log's lock."""
        self._connection = connection
        self._database = database
        self._log = log
        self._known: dict[_Key, int] = {}
        self._batch: dict[int, bytes] = {}
        self._probe([item.columns[3:5] for item in incoming])
        # The first copies as well, some at a time: a partition sent again would otherwise ask for
        # each of thousands alone.
        firsts = sorted(set(self._known.values()))
        for at in range(0, len(firsts), MAX_FIRSTS):
            self._fetch(firsts[at : at + MAX_FIRSTS])

    def _fetch(self, indexes: Sequence[int]) -> None:
        for index, leaf in self._database.leaves_at(self._connection, self._log, indexes):
            self._batch[index] = decode_entry(leaf).event

    def _probe(self, keys: Sequence[_Key]) -> None:
        wanted = sorted({event_id for _, event_id in keys if event_id is not None})
        for source, event_id, index in self._database.find_ids(self._connection, self._log, wanted):
            key = (source, event_id)
            self._known[key] = min(index, self._known.get(key, index))

    def judge(self, item: Incoming, next_index: int) -> tuple[Status, int, Incoming | None]:
        """(status, index, what to seal at `next_index` or None when it is a repeat)."""
        key = item.columns[3:5]
        first = self._known.get(key)
        if first is None:
            self._remember(key, next_index, item)
            status = Status.QUARANTINED if item.is_quarantined else Status.SEALED
            return status, next_index, item
        if item.is_quarantined or same_event(self._bytes_at(first), item.draft.event):
            return Status.DUPLICATE, first, None
        return self._conflict(item, first, next_index)

    def judge_all(
        self, log: int, incoming: Sequence[Incoming], size: int, accounts: Accounts
    ) -> tuple[list[Incoming], list[Outcome]]:
        """Judge messages of a source: (what to seal from index `size` on, an outcome for each)."""
        fresh: list[Incoming] = []
        outcomes: list[Outcome] = []
        known, batch = self._known, self._batch
        for item in incoming:
            draft, columns = item
            assert draft.source is not None
            offset = draft.source.offset
            key = columns[3:5]
            if key not in known and draft.kind is Kind.EVENT and offset == accounts.next_offset:
                # What nearly all are, without the calls: never seen, and the next of its source.
                accounts.next_offset = offset + 1
                known[key] = index = size + len(fresh)
                batch[index] = draft.event
                fresh.append(item)
                outcomes.append(_new(Outcome, (Status.SEALED, log, index)))
                continue
            status, index, kept = self.judge(item, size + len(fresh))
            outcomes.append(Outcome(status, log, index))
            if kept is not None:
                fresh.append(kept)
                accounts.entry(offset)
                continue
            accounts.duplicate(offset, index)
            producer = self._other_producer(item, index)
            if producer is not None:
                accounts.producers.append(producer)
        return fresh, outcomes

    def _other_producer(self, item: Incoming, first: int) -> tuple[str, int] | None:
        """(producer id, sequence) of a repeat that is not the same message sent again."""
        data = item.draft.event
        if item.is_quarantined or data == self._bytes_at(first):
            return None
        event = decode_event(data)
        if event.producer_id is None or event.producer_sequence is None:
            return None
        return event.producer_id, event.producer_sequence

    def _conflict(
        self, item: Incoming, first: int, next_index: int
    ) -> tuple[Status, int, Incoming | None]:
        draft = item.draft
        reason = f"{CONFLICT_REASON}: index {first} has this source and event id with other bytes"
        refused = quarantine(Message(draft.event, draft.signature, draft.source), reason)
        key = refused.columns[3:5]
        self._probe([key])
        again = self._known.get(key)
        if again is not None:
            return Status.DUPLICATE, again, None
        self._remember(key, next_index, refused)
        return Status.CONFLICT, next_index, refused

    def _remember(self, key: _Key, index: int, item: Incoming) -> None:
        self._known[key] = index
        self._batch[index] = item.draft.event

    def _bytes_at(self, index: int) -> bytes:
        if index not in self._batch:
            self._fetch([index])
        return self._batch[index]

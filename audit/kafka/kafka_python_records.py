"""Record batches of kafka-python straight into `Fetched`: half of what its own objects cost.

kafka-python makes three objects for a message and calls ten functions; a consumer spends more time
there than in hashing. This takes the place of one inner class of its fetcher, and only in releases
whose insides were looked at (`FAST_RELEASES`); in others `fast_records` gives None, and its public
objects are used. What is read, skipped and counted is the same: tests compare the two.
"""

from collections.abc import Iterator
from typing import Any

import kafka
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel

from audit.kafka.transport import SIGNATURE_HEADER, Fetched

FAST_RELEASES = ("3.0.",)
"""Releases of kafka-python whose fetcher was looked at."""

_SIGNATURE_KEY = SIGNATURE_HEADER.encode()
_MAGIC_2 = 2
_MAX_VARINT_BITS = 63


def fast_records() -> type[Any] | None:
    """What to use in the place of the fetcher's `PartitionRecords`; None where it would not fit."""
    needed = ("take", "drain", "_maybe_raise_next_inline_exception", "_is_batch_aborted")
    known = kafka.__version__.startswith(FAST_RELEASES)
    return _Records if known and all(hasattr(_Base, name) for name in needed) else None


_Base: Any = Fetcher.PartitionRecords


def ending_records(base: Any) -> type[Any] | None:
    """`PartitionRecords` of another release that end with an error; None where it would not fit.

    After an error kafka-python keeps the part, which is at its end but does not say so, and asks
    it again and again within one `poll`, forever.
    """
    if not (isinstance(base, type) and hasattr(base, "take") and hasattr(base, "drain")):
        return None
    known: Any = base

    class Ending(known):  # type: ignore[misc]
        def take(self, *args: Any, **rest: Any) -> Any:
            try:
                return super().take(*args, **rest)
            except Exception:
                self.drain()
                raise

    return Ending


class _Records(_Base):  # type: ignore[misc]
    """One partition's part of a fetch, read batch by batch.

    As long as its base says: `next_fetch_offset` is where to go on after what `take` gave, past
    the markers and aborted batches behind it.
    """

    def __init__(self, fetch_offset: int, tp: Any, records: Any, *args: Any, **rest: Any) -> None:
        super().__init__(fetch_offset, tp, records, *args, **rest)
        self._ready: list[Fetched] = []
        self._next = 0
        self._behind = fetch_offset
        self._batches = self._read(records)

    def take(self, n: int | None = None) -> list[Fetched]:
        """The next messages, at most `n`; fewer only where the part ends."""
        taken: list[Fetched] = []
        try:
            self._maybe_raise_next_inline_exception()
            while self.record_iterator is not None and (n is None or len(taken) < n):
                if self._next == len(self._ready):
                    self._advance()
                    continue
                stop = len(self._ready) if n is None else self._next + n - len(taken)
                some = self._ready[self._next : stop]
                self._next += len(some)
                taken += some
                at_end = self._next == len(self._ready)
                self.next_fetch_offset = self._behind if at_end else some[-1].offset + 1
        except Exception as error:
            if not taken:
                # Without this the fetcher would ask the broken part again and again, forever.
                self.drain()
                raise
            self._next_inline_exception = error
        return taken

    def _advance(self) -> None:
        """Make the next batch ready, or close the part behind the last one."""
        batch = next(self._batches, None)
        if batch is None:
            self.drain()
            return
        self._ready, self._next = batch, 0
        self.records_read += len(batch)
        if not batch:
            self.next_fetch_offset = self._behind

    def _read(self, records: Any) -> Iterator[list[Fetched]]:
        """The messages of each batch; `_behind` is the offset after it, messages or not."""
        while (batch := records.next_batch()) is not None:
            if self.check_crcs and not batch.validate_crc():
                raise CorruptRecordError(f"batch at {batch.base_offset}: the checksum is wrong")
            if batch.magic != _MAGIC_2:
                # Before Kafka 0.11: no markers, no headers, and offsets known only when read.
                found = [Fetched(r.offset, r.key, r.value, None) for r in batch]
                self._behind = found[-1].offset + 1 if found else self._behind
            else:
                self.leader_epoch = batch.leader_epoch
                found = [] if self._is_skipped(batch) else _messages(batch)
                self._behind = batch.next_offset
                self.bytes_read += batch.size_in_bytes
            if found and found[0].offset < self.fetch_offset:
                # A fetch from the middle of a batch brings all of it.
                found = [message for message in found if message.offset >= self.fetch_offset]
            yield found

    def _is_skipped(self, batch: Any) -> bool:
        """Whether it is a marker or was aborted, as the base class decides it."""
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return bool(batch.is_control_batch)


def _messages(batch: Any) -> list[Fetched]:
    """All messages of a batch. Raises CorruptRecordError.

    Brokers number batches, by their headers, and do not look at the numbers that the producer gave
    the messages inside. So those count only where the header leaves room: after compaction.
    """
    batch._maybe_uncompress()
    data, pos = bytes(batch._buffer), batch._pos
    base = batch.base_offset
    found: list[Fetched] = []
    add, make = found.append, Fetched._make
    last, before = batch.last_offset_delta, -1
    is_whole = batch.records_count == last + 1
    try:
        for number in range(batch.records_count):
            # The commonest lengths take one or two bytes: those are read here, without a call.
            size = data[pos]
            if size < 0x80:
                pos += 1
            else:
                size, pos = _unsigned(data, pos)
            end = pos + (size >> 1)
            pos += 1  # attributes: nothing is in them
            while data[pos] >= 0x80:
                pos += 1  # the time is not used
            pos += 1
            delta = data[pos]
            if delta < 0x80:
                pos += 1
            else:
                delta, pos = _unsigned(data, pos)
            key, pos = _bytes(data, pos)
            value, pos = _bytes(data, pos)
            signature = None
            if data[pos] == 0:
                pos += 1
            else:
                signature, pos = _signature(data, pos)
            if pos != end:
                raise CorruptRecordError(f"a message of the batch at {base} ends elsewhere")
            if is_whole:
                place = number
            else:
                place = -1 if delta & 1 else delta >> 1
                if not before < place <= last:
                    raise CorruptRecordError(f"the batch at {base} numbers its messages wrongly")
                before = place
            add(make((base + place, key, value, signature)))
    except (IndexError, UnicodeDecodeError):
        raise CorruptRecordError(f"the batch at {base} breaks off") from None
    if pos != len(data):
        raise CorruptRecordError(f"the batch at {base} goes on after its last message")
    return found


def _unsigned(data: bytes, pos: int) -> tuple[int, int]:
    """A varint without undoing the zigzag, and the position after it."""
    value = shift = 0
    while True:
        byte = data[pos]
        pos += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, pos
        shift += 7
        if shift > _MAX_VARINT_BITS:
            raise CorruptRecordError("a number of a message does not end")


def _bytes(data: bytes, pos: int) -> tuple[bytes | None, int]:
    """Bytes with their length before them; an odd (negative) length is null."""
    size = data[pos]
    if size < 0x80:
        pos += 1
    else:
        # Two bytes, which reach to 8 KB; longer ones go round.
        high = data[pos + 1]
        if high < 0x80:
            size = (size & 0x7F) | high << 7
            pos += 2
        else:
            size, pos = _unsigned(data, pos)
    if size & 1:
        return None, pos
    end = pos + (size >> 1)
    return data[pos:end], end


def _signature(data: bytes, pos: int) -> tuple[bytes | None, int]:
    """The value of the last header that is called so, and the position after the headers."""
    count, pos = _unsigned(data, pos)
    if count & 1:
        raise CorruptRecordError("a message has a negative number of headers")
    signature = None
    for _ in range(count >> 1):
        name, pos = _bytes(data, pos)
        value, pos = _bytes(data, pos)
        if name is None:
            raise CorruptRecordError("a header of a message has no name")
        if name == _SIGNATURE_KEY:
            signature = value
    return signature, pos

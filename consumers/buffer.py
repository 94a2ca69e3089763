"""What was read of one partition and is not sealed yet, and how it is cut into batches."""

from collections.abc import Sequence

from audit.errors import AuditError, Unavailable
from audit.kafka.growing import check_offsets
from audit.kafka.transport import Fetched
from audit.log.intake import Incoming
from audit.log.source import SourceBatch
from audit.store.contract import AppendedFrom
from consumers.decode import Decoder
from consumers.pauses import Pauses
from consumers.sequencer import Batch, Sequencer

MAX_BATCH_BYTES = 16_777_216
"""A batch is one transaction, and in memory several times: cut before it gets this large."""
MAX_BUFFERED_BATCHES = 4
"""A partition is paused when so many batches of it wait for the store."""
MAX_BUFFERED_BYTES = 33_554_432
"""A partition is paused when so much of it waits for the store."""


class Buffer:
    """One partition, while it is assigned: read on only after `begin`, until `refuse` or loss."""

    def __init__(self, sequencer: Sequencer, decoder: Decoder, batch: int) -> None:
        """`batch`: most messages in one batch."""
        self.sequencer = sequencer
        self.partition = sequencer.partition
        self.reading = False
        self.paused = False
        self.refused: AuditError | None = None
        self.retry_s: float | None = None
        """When to try again what failed: taking over, or decoding what is left."""
        self.pauses = Pauses()
        self.rechecks = 0
        self.sealed_to = 0
        """The offset up to which the log accounts for the source."""
        self.pending = 0
        """Batches handed over and not answered yet."""
        self.messages = self.bytes = 0
        self._decoder = decoder
        self._batch = batch
        self._incoming: list[Incoming] = []
        self._left: Sequence[Fetched] = ()
        self._arrived_s = 0.0
        self._cut_to = 0
        self._read_to = 0
        self._is_sought = True
        self._first_kept = 0

    def begin(self, next_offset: int, first_kept: int) -> None:
        """The log was taken over: it accounts for all offsets below `next_offset`.

        It is read on from there, or from `first_kept`, the first offset that the broker has.
        """
        self.reading = True
        self.refused = self.retry_s = None
        self.pauses.over()
        self.sealed_to = self._cut_to = next_offset
        self._read_to = max(next_offset, first_kept)
        self._is_sought = True
        self._first_kept = first_kept

    def skip_to(self, first_kept: int) -> None:
        """What was not read yet below this offset has expired; it is read on from there."""
        self._read_to = self._first_kept = first_kept
        self._is_sought = True
        self.paused = False

    def refuse(self, error: AuditError) -> None:
        """Read no more of it; forget what was not sealed."""
        self.sequencer.released = True
        self.reading = False
        self.refused = error
        self.retry_s = None
        self._incoming, self._left = [], ()
        self.messages = self.bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether no more of it should be read now: the store, or decoding, has to catch up."""
        return (
            bool(self._left)
            or self.messages >= MAX_BUFFERED_BATCHES * self._batch
            or self.bytes >= MAX_BUFFERED_BYTES
        )

    @property
    def has_room(self) -> bool:
        """Whether a full one has become empty enough to be read on."""
        return (
            not self._left
            and 2 * self.messages <= MAX_BUFFERED_BATCHES * self._batch
            and 2 * self.bytes <= MAX_BUFFERED_BYTES
        )

    @property
    def is_stuck(self) -> bool:
        """Whether messages are left that cannot be decoded now."""
        return bool(self._left)

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it waits to be decoded or sealed."""
        return not (self._left or self._incoming or self.pending)

    def add(self, messages: Sequence[Fetched], now_s: float) -> None:
        """Take messages that follow those before.

        Raises Unavailable: some are left undecoded. Raises OffsetsAstray: offsets run backwards,
        and to drop what looks like a repetition would account for messages that were not read.
        Only what comes first after a seek may begin before it.
        """
        if not messages:
            return
        begin = messages[0].offset if self._is_sought else self._read_to
        check_offsets(self.sequencer.topic, self.partition, messages, begin, None)
        self._is_sought = False
        if messages[0].offset < self._read_to:
            messages = [message for message in messages if message.offset >= self._read_to]
        if not messages:
            return
        self._read_to = messages[-1].offset + 1
        if self._left:
            self._left = [*self._left, *messages]
        else:
            self._decode(messages, now_s)

    def decode_left(self, now_s: float) -> None:
        """Decode what was left. Raises Unavailable when some still is."""
        messages, self._left = self._left, ()
        self._decode(messages, now_s)
        self.retry_s = None
        self.pauses.over()

    def _decode(self, messages: Sequence[Fetched], now_s: float) -> None:
        incoming = self._incoming
        if not incoming:
            self._arrived_s = now_s
        before = len(incoming)
        # At most an entry for each message that waits, and as many for the offsets that have none.
        lowest = self.sequencer.size
        highest = lowest + 2 * self.messages + self.pending
        try:
            self._decoder.decode(self.partition, messages, incoming, (lowest, highest))
        except Unavailable:
            self._left = messages[len(incoming) - before :]
            raise
        finally:
            self.messages += len(incoming) - before
            self.bytes += _size(incoming[before:])

    def due_s(self, linger_s: float) -> float | None:
        """When a batch is to be cut, in seconds of the clock given to `add`; None: nothing is."""
        if not self._incoming:
            return None
        if len(self._incoming) >= self._batch:
            return self._arrived_s
        # While one is being sealed the next one grows: a slow store gets few, large batches.
        return None if self.pending else self._arrived_s + linger_s

    def cut(self, position: int, now_s: float) -> Batch | None:
        """The next batch, or None when there is nothing to account for.

        `position`: what the broker's client reads next. When all that was read is in the batch, it
        reaches up to there: transaction markers at the end are accounted for.
        """
        taken, rest = self._split()
        cut_to = self._cut_to
        if taken:
            last = taken[-1].draft.source
            assert last is not None
            cut_to = last.next_offset
        if not rest and not self._left:
            cut_to = max(cut_to, position)
        if cut_to == self._cut_to:
            return None
        source = SourceBatch(self.sequencer.topic, self.partition, self._first_kept, taken, cut_to)
        batch = Batch(self._cut_to, source, self._arrived_s if taken else now_s, _size(taken))
        self._incoming = rest
        self._cut_to = cut_to
        self.pending += 1
        return batch

    def _split(self) -> tuple[list[Incoming], list[Incoming]]:
        incoming = self._incoming
        count = self._batch
        if self.bytes > MAX_BATCH_BYTES:
            total = 0
            for count, item in enumerate(incoming[: self._batch], 1):  # noqa: B007
                total += len(item.draft.event)
                if total >= MAX_BATCH_BYTES:
                    break
        if len(incoming) <= count:
            return incoming, []
        return incoming[:count], incoming[count:]

    def sealed(self, batch: Batch, appended: AppendedFrom) -> None:
        """A batch was committed."""
        self.pending -= 1
        self.messages -= len(batch.source.incoming)
        self.bytes -= batch.bytes
        self.sealed_to = appended.next_offset


def _size(incoming: Sequence[Incoming]) -> int:
    return sum([len(item.draft.event) for item in incoming])

"""What was read of one partition: cut into batches without a gap, bounded in memory."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from audit.errors import Unavailable
from audit.kafka.transport import Fetched, OffsetsAstray
from audit.log.intake import Incoming
from audit.store.blobs import BlobStore
from audit.store.contract import AppendedFrom
from consumers import buffer as module
from consumers.buffer import MAX_BUFFERED_BATCHES, Buffer
from consumers.decode import Decoder
from consumers.metrics import Metrics
from consumers.pauses import FIRST_S, LONGEST_S, Pauses
from consumers.sequencer import Batch
from consumers.tally import count
from consumers.worker import Sealed
from tests.consumers.support import an_event

BATCH = 10


class Sequencer:
    """What a buffer asks of its sequencer."""

    partition, topic, log, size, released = 0, "t", 1, 0, False


class Stubborn(Decoder):
    """Does not decode offset 7 until it is told to."""

    stuck = True

    def decode(
        self,
        partition: int,
        messages: Sequence[Fetched],
        into: list[Incoming],
        indexes: tuple[int, int] = (0, 0),
    ) -> None:
        good = [message for message in messages if message.offset < 7 or not self.stuck]
        super().decode(partition, good, into, indexes)
        if len(good) < len(messages):
            raise Unavailable("not now")


def messages(first: int, stop: int) -> list[Fetched]:
    return [Fetched(n, None, an_event(n), None) for n in range(first, stop)]


def a_buffer(tmp_path: Path, at: int = 0, first_kept: int = 0, kind: type = Decoder) -> Buffer:
    decoder = kind("t", BlobStore(tmp_path / "blobs"))
    made = Buffer(Sequencer(), decoder, BATCH)  # type: ignore[arg-type]
    made.begin(at, first_kept)
    return made


def offsets(batch: Batch | None) -> tuple[int, list[int], int]:
    """(begins, offsets in it, next)."""
    assert batch is not None
    sources = [item.draft.source for item in batch.source.incoming]
    found = [source.offset for source in sources if source is not None]
    return batch.begins, found, batch.source.next_offset


def done(buffer: Buffer, batch: Batch | None) -> None:
    assert batch is not None
    buffer.sealed(batch, AppendedFrom([], 0, None, batch.source.next_offset, 0))


def test_a_full_batch_is_due_at_once_and_a_part_after_the_linger_time(tmp_path: Path) -> None:
    buffer = a_buffer(tmp_path)
    assert buffer.due_s(0.05) is None
    buffer.add(messages(0, 3), 100.0)
    assert buffer.due_s(0.05) == 100.05
    buffer.add(messages(3, 12), 101.0)
    assert buffer.due_s(0.05) == 100.0


def test_batches_follow_each_other_without_a_gap(tmp_path: Path) -> None:
    buffer = a_buffer(tmp_path)
    buffer.add(messages(0, 25), 0.0)
    first, second, third = (buffer.cut(27, 0.0) for _ in range(3))
    assert offsets(first) == (0, list(range(10)), 10)
    assert offsets(second) == (10, list(range(10, 20)), 20)
    # Nothing is left behind it: it reaches up to where the broker's client is, past markers.
    assert offsets(third) == (20, list(range(20, 25)), 27)
    assert buffer.cut(27, 0.0) is None
    assert (buffer.pending, buffer.is_idle) == (3, False)
    for batch in (first, second, third):
        done(buffer, batch)
    assert (buffer.is_idle, buffer.messages, buffer.bytes, buffer.sealed_to) == (True, 0, 0, 27)


def test_while_a_batch_is_sealed_the_next_one_grows(tmp_path: Path) -> None:
    buffer = a_buffer(tmp_path)
    buffer.add(messages(0, 1), 0.0)
    batch = buffer.cut(1, 0.0)
    buffer.add(messages(1, 5), 0.0)
    assert buffer.due_s(0.0) is None
    buffer.add(messages(5, 12), 0.0)
    assert buffer.due_s(0.0) is not None, "a full one waits for nothing"
    done(buffer, batch)


def test_offsets_without_a_message_are_accounted_for(tmp_path: Path) -> None:
    buffer = a_buffer(tmp_path, at=5, first_kept=9)
    expired = buffer.cut(9, 0.0)
    assert offsets(expired) == (5, [], 9)
    assert expired is not None and expired.source.first_kept == 9
    buffer.add(messages(11, 13), 0.0)
    assert offsets(buffer.cut(13, 0.0)) == (9, [11, 12], 13)


def test_what_is_delivered_again_is_dropped(tmp_path: Path) -> None:
    buffer = a_buffer(tmp_path, at=2)
    buffer.add(messages(0, 4), 0.0)
    buffer.add(messages(4, 5), 0.0)
    assert offsets(buffer.cut(5, 0.0)) == (2, [2, 3, 4], 5)


def test_offsets_that_run_backwards_are_never_taken_for_repetitions(tmp_path: Path) -> None:
    buffer = a_buffer(tmp_path, at=2)
    buffer.add(messages(0, 4), 0.0)
    with pytest.raises(OffsetsAstray, match="t/0: offset 1 comes after 3"):
        buffer.add(messages(1, 5), 0.0)
    two = messages(5, 7)
    with pytest.raises(OffsetsAstray, match="offset 5 comes after 6"):
        buffer.add(two[::-1], 0.0)
    buffer.skip_to(9)
    buffer.add(messages(8, 10), 0.0)
    assert offsets(buffer.cut(10, 0.0)) == (2, [2, 3, 9], 10)


def test_what_cannot_be_judged_holds_back_what_is_behind_it(tmp_path: Path) -> None:
    buffer = a_buffer(tmp_path, kind=Stubborn)
    with pytest.raises(Unavailable):
        buffer.add(messages(0, 9), 0.0)
    buffer.add(messages(9, 11), 0.0)
    assert buffer.is_full and buffer.is_stuck
    batch = buffer.cut(11, 0.0)
    assert offsets(batch) == (0, list(range(7)), 7), "nothing beyond what was decoded"
    with pytest.raises(Unavailable):
        buffer.decode_left(1.0)
    buffer._decoder.stuck = False  # type: ignore[attr-defined]
    buffer.decode_left(2.0)
    assert not buffer.is_stuck
    assert offsets(buffer.cut(11, 2.0)) == (7, [7, 8, 9, 10], 11)


def test_a_buffer_is_full_by_count_and_by_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = a_buffer(tmp_path)
    limit = MAX_BUFFERED_BATCHES * BATCH
    buffer.add(messages(0, limit - 1), 0.0)
    assert not buffer.is_full
    buffer.add(messages(limit - 1, limit), 0.0)
    assert buffer.is_full and not buffer.has_room
    batches = [buffer.cut(limit, 0.0) for _ in range(MAX_BUFFERED_BATCHES)]
    assert buffer.is_full, "what waits for the store counts too"
    done(buffer, batches[0])
    assert not buffer.is_full and not buffer.has_room
    done(buffer, batches[1])
    assert buffer.has_room
    monkeypatch.setattr(module, "MAX_BUFFERED_BYTES", buffer.bytes)
    assert buffer.is_full


def test_a_batch_is_cut_by_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(an_event(0))
    monkeypatch.setattr(module, "MAX_BATCH_BYTES", 3 * size)
    buffer = a_buffer(tmp_path)
    buffer.add(messages(0, 7), 0.0)
    found = [offsets(buffer.cut(7, 0.0))[1] for _ in range(3)]
    assert found == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_refused_partition_keeps_nothing(tmp_path: Path) -> None:
    buffer = a_buffer(tmp_path)
    buffer.add(messages(0, 7), 0.0)
    buffer.refuse(Unavailable("x"))
    assert (buffer.reading, buffer.messages, buffer.bytes) == (False, 0, 0)
    assert buffer.sequencer.released
    assert buffer.cut(0, 0.0) is None


def test_pauses_grow_to_their_limit_and_begin_anew() -> None:
    pauses = Pauses()
    assert pauses.begins() and not pauses.begins()
    taken = [pauses.next_s() for _ in range(8)]
    assert taken[:3] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert taken[-1] == LONGEST_S
    assert pauses.over() and not pauses.over()
    assert pauses.next_s() == FIRST_S


def test_a_batch_is_counted_by_what_became_of_it(tmp_path: Path) -> None:
    from audit.store.contract import Outcome, Status

    buffer = a_buffer(tmp_path)
    buffer.add(messages(0, 5), 0.0)
    batch = buffer.cut(8, 0.0)
    assert batch is not None
    statuses = [*Status, Status.SEALED]
    outcomes = [Outcome(status, 1, 0) for status in statuses]
    metrics = Metrics()
    appended = AppendedFrom(outcomes, 9, None, 8, 4)
    count(metrics, Sealed(buffer.sequencer, batch, appended, 1.0, 3.0))
    assert (metrics.batch_seconds.sum, metrics.seal_seconds.sum) == (2.0, 3.0)
    assert (metrics.messages, metrics.batches, metrics.bytes) == (5, 1, batch.bytes)
    assert (metrics.sealed, metrics.quarantined, metrics.conflicts) == (2, 1, 1)
    assert (metrics.duplicates, metrics.skipped) == (1, 4)

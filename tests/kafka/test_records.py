"""Our reading of kafka-python's batches against its own, and against broken ones."""

import contextlib
from collections import namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatchBuilder

from audit.kafka.kafka_python_consumer import _fetched
from audit.kafka.kafka_python_records import fast_records
from audit.kafka.transport import Fetched

PLACE = TopicPartition("t", 0)
GZIP, TRANSACTIONAL, CONTROL = 1, 0x10, 0x20
Aborted = namedtuple("Aborted", "producer_id first_offset")


def test_the_fast_way_fits_the_installed_release() -> None:
    # When this fails, kafka-python changed: look at its fetcher and accumulator, then widen
    # FAST_RELEASES. Until then everything works, slower.
    assert fast_records() is not None


def batch(
    base: int,
    messages: list[tuple[int, Any, Any, list[Any]]],
    *,
    compression: int = 0,
    producer: int = -1,
    attributes: int = 0,
    last_delta: int | None = None,
) -> bytes:
    """A batch as brokers keep it: `messages` are (offset delta, key, value, headers)."""

    class Builder(DefaultRecordBatchBuilder):
        def _get_attributes(self, include_compression_type: bool = True) -> int:
            return int(super()._get_attributes(include_compression_type)) | attributes

    builder = Builder(2, compression, False, producer, 0 if producer >= 0 else -1, -1, 1 << 30)
    for delta, key, value, headers in messages:
        builder.append(delta, 1_000 + delta * 77, key, value, headers)
    if last_delta is not None:
        builder._last_offset = last_delta
    data = bytearray(builder.build())
    data[0:8] = base.to_bytes(8, "big")  # the broker does; the checksum leaves it out
    return bytes(data)


def parts(data: bytes, begin: int, aborted: list[Aborted] | None = None) -> list[Any]:
    """The part of a fetch, as kafka-python reads it and as we do."""
    return [
        of(
            begin,
            PLACE,
            MemoryRecords(data),
            isolation_level=IsolationLevel.READ_COMMITTED,
            aborted_transactions=aborted,
        )
        for of in (Fetcher.PartitionRecords, fast_records())
    ]


def same(data: bytes, begin: int, sizes: list[int], aborted: list[Aborted] | None = None) -> Any:
    """Take so many and so many from both: the same messages and positions all along."""
    theirs, ours = parts(data, begin, aborted)
    everything = []
    for size in [*sizes, 1_000, 1_000]:
        expected = [_fetched(record) for record in theirs.take(size)] if theirs else []
        found = ours.take(size) if ours else []
        assert found == expected
        assert all(type(message) is Fetched for message in found)
        if found:
            # Theirs looks at the markers behind only when it is asked again.
            assert ours.next_fetch_offset >= theirs.next_fetch_offset > found[-1].offset
        everything += found
    assert not theirs and not ours
    assert ours.next_fetch_offset == theirs.next_fetch_offset
    assert ours.leader_epoch == theirs.leader_epoch
    return everything


SIZES = st.sampled_from([0, 1, 5, 63, 64, 70, 8_191, 8_192, 9_000])
BYTES = st.one_of(st.none(), st.binary(max_size=80), SIZES.map(lambda size: b"x" * size))
NAMES = st.sampled_from(["audit-signature", "audit-signaturf", "ä", "", "trace" * 30])
MESSAGES = st.tuples(BYTES, BYTES, st.lists(st.tuples(NAMES, BYTES), max_size=3))


@st.composite
def batches(draw: st.DrawFn) -> bytes:
    """Batches one behind the other, with the gaps that compaction leaves."""
    data, base = b"", draw(st.sampled_from([0, 1, 2**40]))
    for _ in range(draw(st.integers(0, 4))):
        delta, messages = -1, []
        for key, value, headers in draw(st.lists(MESSAGES, max_size=6)):
            delta += draw(st.sampled_from([1, 1, 1, 2, 200]))
            messages.append((delta, key, value, headers))
        last = delta + draw(st.sampled_from([0, 0, 3]))
        compression = draw(st.sampled_from([0, GZIP]))
        data += batch(base, messages, compression=compression, last_delta=max(0, last))
        base += max(0, last) + 1 + draw(st.sampled_from([0, 0, 10]))
    return data


@given(batches(), st.integers(0, 12), st.lists(st.integers(1, 9), max_size=5))
def test_what_is_read_is_the_same(data: bytes, begin: int, sizes: list[int]) -> None:
    same(data, begin, sizes)


def one(delta: int) -> tuple[int, bytes, bytes, list[Any]]:
    return (delta, b"k", b"%d" % delta, [])


def marker(base: int, producer: int, *, commit: bool) -> bytes:
    key = b"\0\0\0\1" if commit else b"\0\0\0\0"
    flags = TRANSACTIONAL | CONTROL
    return batch(base, [(0, key, b"\0" * 6, [])], producer=producer, attributes=flags)


@pytest.mark.parametrize("sizes", [[], [1], [1, 1, 1, 1, 1, 1, 1], [2], [3], [6]])
def test_transactions_side_by_side(sizes: list[int]) -> None:
    def written(base: int, producer: int) -> bytes:
        return batch(base, [one(0), one(1)], producer=producer, attributes=TRANSACTIONAL)

    data = b"".join(
        [
            written(0, 7),
            written(2, 8),
            batch(4, [one(0)]),
            marker(5, 7, commit=False),
            written(6, 7),
            marker(8, 8, commit=True),
            marker(9, 7, commit=True),
            written(10, 8),
            marker(12, 8, commit=False),
        ]
    )
    aborted = [Aborted(8, 10), Aborted(7, 0)]
    found = same(data, 0, sizes, aborted)
    assert [message.offset for message in found] == [2, 3, 4, 6, 7]


def test_markers_alone_move_the_position() -> None:
    data = marker(5, 7, commit=True) + marker(6, 7, commit=False)
    (_, ours) = parts(data, 5)
    assert ours.take(10) == []
    assert ours.next_fetch_offset == 7
    assert not ours


@pytest.mark.parametrize("deltas", [[0, 1000], [0, 0, 0], [2, 1, 0], [0, -3, 2]], ids=str)
def test_the_header_numbers_a_whole_batch_and_limits_a_compacted_one(deltas: list[int]) -> None:
    count = len(deltas)
    whole = batch(5, [one(delta) for delta in deltas], last_delta=count - 1)
    assert [message.offset for message in parts(whole, 5)[1].take(9)] == [5, 6, 7][:count]
    (_, ours) = parts(batch(5, [one(delta) for delta in deltas], last_delta=count), 5)
    with pytest.raises(CorruptRecordError, match="the batch at 5 numbers its messages wrongly"):
        ours.take(9)
    assert not ours


def test_a_wrong_checksum_stops_after_what_is_before_it() -> None:
    broken = bytearray(batch(2, [one(0), one(1)]))
    broken[-3] ^= 1
    (_, ours) = parts(batch(0, [one(0), one(1)]) + bytes(broken) + batch(4, [one(0)]), 0)
    assert [message.offset for message in ours.take(10)] == [0, 1]
    assert ours.next_fetch_offset == 2
    with pytest.raises(CorruptRecordError, match="checksum"):
        ours.take(10)
    assert not ours  # so that the fetcher asks the broker again


@given(st.data())
def test_a_batch_that_lies_about_itself_is_an_error(data: st.DataObject) -> None:
    """With a checksum that fits: whoever writes it can make it fit."""
    good = batch(0, [(0, b"key", b"value", [("audit-signature", b"s" * 70)]), one(1)])
    broken = bytearray(good)
    at = data.draw(st.integers(61, len(good) - 1))
    broken[at] = data.draw(st.integers(0, 255))
    (_, ours) = parts(bytes(broken), 0)
    ours.check_crcs = False
    with contextlib.suppress(CorruptRecordError):
        assert len(ours.take(10)) == 2
    assert not ours or ours.take(10) == []

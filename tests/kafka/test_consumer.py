"""Reading: positions, markers of transactions, what is out of range, and what is not ours."""

import pytest
from kafka import KafkaAdminClient, TopicPartition

from audit.errors import InvalidInput, NotFound, Unavailable
from audit.kafka.transport import Committed, Offsets
from tests.kafka.conftest import PATIENCE, Bus, new_group, poll_until, read


def test_null_keys_null_values_and_headers(bus: Bus) -> None:
    address = bus.topic()
    raw = bus.raw_producer()
    sent = [
        (None, b"no key", []),
        (b"tombstone", None, []),
        (b"empty", b"", []),
        (b"other", b"header", [("other", b"x"), ("audit-signature ", b"y")]),
        (b"long", b"signature", [("audit-signature", b"s" * 40_000)]),
        (b"two", b"signatures", [("audit-signature", b"1"), ("a", b""), ("audit-signature", b"2")]),
        (b"k" * 9_000, b"v" * 600_000, [("audit-signature", b"")]),
    ]
    for key, value, headers in sent:
        raw.send(address.topic, value, key, headers, 0)
    raw.close()
    signatures = [None, None, None, None, b"s" * 40_000, b"2", b""]
    assert read(bus.reader(address), len(sent)) == [
        (offset, key, value, signature)
        for offset, ((key, value, _), signature) in enumerate(zip(sent, signatures, strict=True))
    ]


def test_positions_follow_what_was_handed_out(bus: Bus) -> None:
    address = bus.topic()
    producer = bus.producer(address)
    for n in range(100):
        producer.send(address.topic, 0, b"k", b"%d" % n)
    producer.flush(30)

    reader = bus.member(address, None)
    assert reader.offsets([0]) == {0: Offsets(0, 100)}
    assert reader.partitions(address.topic) == 1
    reader.assign(address.topic, [0])
    assert reader.poll(0.2, 10) == {}  # nobody said where to begin
    with pytest.raises(InvalidInput, match="seek first"):
        reader.position(0)
    with pytest.raises(InvalidInput, match="not assigned"):
        reader.seek(1, 0)

    reader.seek(0, 60)
    assert reader.position(0) == 60
    some = read(reader, 1, most=7)
    assert some[0].offset == 60 and len(some) <= 7
    assert reader.position(0) == 60 + len(some)
    reader.seek(0, 10)
    assert [message.offset for message in read(reader, 20, most=10)] == list(range(10, 30))

    reader.pause([0])
    assert reader.poll(0.3, 10) == {}
    assert reader.position(0) == 30
    reader.resume([0])
    assert read(reader, 70)[0].offset == 30
    assert reader.poll(0, 10) == {}
    assert reader.position(0) == 100


def test_a_pause_with_messages_at_hand_is_no_loss(bus: Bus) -> None:
    address = bus.topic(2)
    producer = bus.producer(address)
    for n in range(100):
        producer.send(address.topic, n % 2, b"k", b"%d" % n)
    producer.flush(30)
    reader = bus.reader(address, 0, 1)
    found: dict[int, list[int]] = {0: [], 1: []}

    def take(most: int) -> None:
        for partition, messages in reader.poll(0.1, most).items():
            found[partition] += [message.offset for message in messages]

    while not found[0]:
        take(5)
    reader.pause([0])
    before = list(found[0])
    while len(found[1]) < 50:
        take(5)
    assert found[0] == before
    reader.resume([0])
    for _ in range(PATIENCE):
        if len(found[0]) < 50:
            take(5)
    assert found == {0: list(range(50)), 1: list(range(50))}


def test_aborted_messages_and_markers_are_passed_over(bus: Bus) -> None:
    address = bus.topic()
    plain, watcher = bus.producer(address), bus.member(address, None)
    raw = bus.raw_producer(transactional_id=address.topic, linger_ms=0)
    raw.init_transactions()
    watcher.assign(address.topic, [0])

    ends = iter([4, 8, 10])

    def expect_end() -> None:
        """The marker is written only after the producer was told that all is well."""
        end = next(ends)
        poll_until(lambda: watcher.offsets([0])[0].end == end, watcher)

    def transaction(values: list[bytes], commit: bool) -> None:
        raw.begin_transaction()
        for value in values:
            raw.send(address.topic, value, b"k", partition=0)
            raw.flush()
        raw.commit_transaction() if commit else raw.abort_transaction()
        expect_end()

    def single(value: bytes) -> None:
        plain.send(address.topic, 0, b"k", value)
        plain.flush(30)

    single(b"0")
    transaction([b"2", b"3"], commit=False)  # offsets 1, 2; marker 3
    single(b"4")
    transaction([b"5", b"6"], commit=True)  # offsets 5, 6; marker 7
    transaction([b"8"], commit=False)  # offset 8; marker 9

    reader = bus.reader(address)
    found = read(reader, 4)
    assert [(message.offset, message.value) for message in found] == [
        (0, b"0"),
        (4, b"4"),
        (5, b"5"),
        (6, b"6"),
    ]
    assert reader.offsets([0]) == {0: Offsets(0, 10)}
    poll_until(lambda: reader.position(0) == 10, reader)

    # An open transaction hides itself and everything behind it.
    raw.begin_transaction()
    raw.send(address.topic, b"10", b"k", partition=0)
    raw.flush()
    single(b"11")
    assert reader.offsets([0]) == {0: Offsets(0, 10)}
    assert reader.poll(0.3, 10) == {}
    assert reader.position(0) == 10
    raw.commit_transaction()
    assert [message.offset for message in read(reader, 2)] == [10, 11]
    poll_until(lambda: reader.position(0) == 13, reader)
    raw.close()

    # From the middle of it all it is the same.
    again = bus.member(address, None)
    again.assign(address.topic, [0])
    again.seek(0, 2)
    assert [message.offset for message in read(again, 5)] == [4, 5, 6, 10, 11]


def test_compacted_offsets_are_no_obstacle(bus: Bus) -> None:
    # Only markers: there is no message at all, and yet the position comes to the end.
    address = bus.topic()
    raw = bus.raw_producer(transactional_id=address.topic)
    raw.init_transactions()
    for _ in range(3):
        raw.begin_transaction()
        raw.send(address.topic, b"v", b"k", partition=0)
        raw.flush()
        raw.abort_transaction()
    raw.close()
    reader = bus.reader(address)
    poll_until(lambda: reader.position(0) == 6, reader)
    assert reader.offsets([0]) == {0: Offsets(0, 6)}


def test_out_of_range_is_said_and_never_jumped_over(bus: Bus) -> None:
    address = bus.topic(2)
    producer = bus.producer(address)
    for n in range(10):
        producer.send(address.topic, 0, b"k", b"%d" % n)
        producer.send(address.topic, 1, b"k", b"%d" % n)
    producer.flush(30)
    admin = KafkaAdminClient(bootstrap_servers=bus.server.bootstrap)
    admin.delete_records({TopicPartition(address.topic, 0): 5})
    admin.close()

    reader = bus.member(address, None)
    assert reader.offsets([0, 1]) == {0: Offsets(5, 10), 1: Offsets(0, 10)}
    reader.assign(address.topic, [0, 1])
    for offset in (4, 11):
        reader.seek(0, offset)
        wanted = f"partition 0: offset {offset} is out of range, the broker keeps 5 to 10"
        for _ in range(2):  # not once, and then silence
            with pytest.raises(Unavailable, match=wanted):
                read(reader, 1)
        assert reader.position(0) == offset
    reader.seek(0, 5)
    reader.seek(1, 0)
    found: dict[int, int] = {0: 0, 1: 0}

    def count() -> bool:
        for partition, messages in reader.poll(0.1, 100).items():
            found[partition] += len(messages)
        return found == {0: 5, 1: 10}

    assert any(count() for _ in range(1_000)), found


def test_a_topic_that_is_not_there(bus: Bus) -> None:
    reader = bus.member(bus.address("not-there"), None)
    with pytest.raises(NotFound, match="has no topic not-there"):
        reader.partitions("not-there")


def test_what_a_group_committed(bus: Bus) -> None:
    address = bus.topic(2)
    member = bus.member(address, new_group())
    assigned: list[int] = []
    member.subscribe(address.topic, assigned.extend, print, print)
    poll_until(lambda: assigned == [0, 1], member)
    assert member.committed(0) is None
    member.commit({0: 7, 1: 0}, "ledger-one")
    poll_until(lambda: member.committed(0) == Committed(7, "ledger-one"), member)
    assert member.committed(1) == Committed(0, "ledger-one")
    with pytest.raises(InvalidInput, match="without a group"):
        bus.member(address, None).subscribe(address.topic, print, print, print)


def test_closing_leaves_and_may_be_repeated(bus: Bus) -> None:
    address = bus.topic()
    member = bus.member(address, new_group())
    told: list[tuple[str, list[int]]] = []
    member.subscribe(
        address.topic,
        lambda partitions: told.append(("assigned", list(partitions))),
        lambda partitions: told.append(("revoked", list(partitions))),
        lambda partitions: told.append(("lost", list(partitions))),
    )
    poll_until(lambda: bool(told), member)
    member.close()
    member.close()
    assert told == [("assigned", [0]), ("revoked", [0])]
    with pytest.raises(Unavailable, match="closed"):
        member.poll(0.1, 1)

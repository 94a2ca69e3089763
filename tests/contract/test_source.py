"""Appending what a source holds: exactly once, by one writer, with every offset accounted for."""

from collections.abc import Iterator, Sequence

import pytest

from audit.errors import Fenced, InvalidInput
from audit.event.book import SchemaBook
from audit.event.envelope import decode_event, encode_event
from audit.event.payload import decode_payload
from audit.log.entry import Kind, SourceSpan, decode_entry
from audit.log.intake import Message, accept
from audit.log.source import MAX_PRODUCERS, MAX_RANGES, SKIPPED_TYPE, SourceBatch
from audit.store.contract import Lease, Status
from audit.store.positions import source_position
from audit.store.sql_store import SqlStore
from audit.verify.policy import Policy
from audit.verify.verifier import verify
from tests.backends import ORIGIN, Backend, event_of, signer_of
from tests.contract.check import check_log, sealed_ids

TOPIC = "audit.events"
PARTITION_ORIGIN = f"{ORIGIN}/{TOPIC}/0"
SIGNER = signer_of(PARTITION_ORIGIN, bytes(reversed(range(32))))
LOG = 1


def batch(
    numbers: dict[int, int] | Sequence[int],
    next_offset: int | None = None,
    first_kept: int = 0,
    topic: str = TOPIC,
) -> SourceBatch:
    """Messages at offsets: offset -> number of the event, or the same for both."""
    at = numbers if isinstance(numbers, dict) else {number: number for number in numbers}
    incoming = [
        accept(
            Message(encode_event(event_of(number)), None, SourceSpan(topic, 0, offset, offset + 1))
        )
        for offset, number in at.items()
    ]
    last = max(at, default=-1) + 1
    return SourceBatch(topic, 0, first_kept, incoming, last if next_offset is None else next_offset)


@pytest.fixture
def opened(store: SqlStore) -> Iterator[SqlStore]:
    """A ledger with a log for a partition."""
    assert store.open_log(LOG, PARTITION_ORIGIN, SIGNER)
    yield store


def skips(store: SqlStore) -> list[dict[str, object]]:
    """The records of the source.skipped entries."""
    found = []
    for _, leaf in store.special(LOG, kind=int(Kind.CONTROL)):
        event = decode_event(decode_entry(leaf).event)
        if event.type == SKIPPED_TYPE:
            record = decode_payload(event, SchemaBook.with_builtins())
            assert isinstance(record, dict)
            found.append(record)
    return found


def verified(store: SqlStore) -> None:
    """The verifier finds nothing wrong, and every offset accounted for."""
    policy = Policy.from_text(
        f"log {signer_of().verifier.vkey}\nlog {SIGNER.verifier.vkey}\nquorum none\n"
    )
    report = verify(store, policy)
    assert report.ok, report.to_json()


def test_a_log_is_opened_once(opened: SqlStore, backend: Backend) -> None:
    size = opened.size(LOG)
    assert not opened.open_log(LOG, PARTITION_ORIGIN, SIGNER)
    assert opened.size(LOG) == size
    for log, origin, signer in (
        (2, PARTITION_ORIGIN, SIGNER),
        (LOG, f"{ORIGIN}/other/0", signer_of(f"{ORIGIN}/other/0")),
        (LOG, PARTITION_ORIGIN, signer_of(PARTITION_ORIGIN)),
    ):
        with pytest.raises(InvalidInput, match="with another key"):
            opened.open_log(log, origin, signer)


def test_an_origin_may_be_long(store: SqlStore) -> None:
    origin = f"{ORIGIN}/{'t' * 249}/0"
    assert store.open_log(LOG, origin, signer_of(origin))
    assert not store.open_log(LOG, origin, signer_of(origin))


def test_offsets_are_sealed_in_order_and_the_log_says_where_to_go_on(opened: SqlStore) -> None:
    lease = opened.claim(LOG)
    assert lease == Lease(LOG, 1, 0)
    assert source_position(opened, LOG) is None
    first = opened.append_from(lease, batch(range(5)), SIGNER)
    assert [outcome.status for outcome in first.outcomes] == [Status.SEALED] * 5
    assert (first.next_offset, first.skipped) == (5, 0)
    second = opened.append_from(lease, batch(range(5, 8)), SIGNER)
    assert second.size == first.size + 3
    position = source_position(opened, LOG)
    assert position is not None and position.next_offset == 8
    assert opened.claim(LOG) == Lease(LOG, 2, 8)
    assert skips(opened) == []
    assert len(sealed_ids(check_log(opened, SIGNER.verifier, LOG))) == 8
    verified(opened)


def test_what_is_delivered_again_writes_nothing(opened: SqlStore) -> None:
    lease = opened.claim(LOG)
    opened.append_from(lease, batch(range(5)), SIGNER)
    size = opened.size(LOG)
    again = opened.append_from(lease, batch(range(5)), SIGNER)
    assert (again.outcomes, again.size, again.checkpoint) == ([], size, None)
    overlapping = opened.append_from(lease, batch(range(3, 7)), SIGNER)
    assert [outcome.index for outcome in overlapping.outcomes] == [size, size + 1]
    verified(opened)


def test_a_writer_whose_log_was_claimed_is_fenced(opened: SqlStore, backend: Backend) -> None:
    zombie = opened.claim(LOG)
    opened.append_from(zombie, batch(range(3)), SIGNER)
    with backend.store() as other:
        owner = other.claim(LOG)
        assert owner.next_offset == 3
        other.append_from(owner, batch(range(3, 6)), SIGNER)
        size = other.size(LOG)
        with pytest.raises(Fenced):
            opened.append_from(zombie, batch(range(3, 9)), SIGNER)
        assert other.size(LOG) == size
        other.append_from(owner, batch(range(6, 9)), SIGNER)
    assert len(sealed_ids(check_log(opened, SIGNER.verifier, LOG))) == 9
    with pytest.raises(Fenced):
        opened.append_from(zombie, batch([]), SIGNER)
    verified(opened)


def test_repeats_are_dropped_and_accounted_for(opened: SqlStore) -> None:
    lease = opened.claim(LOG)
    first = opened.append_from(lease, batch(range(4)), SIGNER).outcomes[0].index
    at = {4: 1, 5: 2, 6: 3, 7: 1, 8: 100, 9: 100}
    appended = opened.append_from(lease, batch(at), SIGNER)
    assert [outcome.status.value for outcome in appended.outcomes] == [
        *["duplicate"] * 4, "sealed", "duplicate",
    ]  # fmt: skip
    assert (appended.next_offset, appended.skipped) == (10, 5)
    (record,) = skips(opened)
    assert record["ranges"] == [[4, 7], [7, 8], [9, 10]]
    assert record["reasons"] == ["DUPLICATE"] * 3
    assert record["first_copies"] == [first + 1, first + 1, first + 4]
    assert record["next_offset"] == 10
    assert opened.claim(LOG).next_offset == 10
    verified(opened)


def test_a_batch_of_nothing_but_repeats_moves_on(opened: SqlStore) -> None:
    lease = opened.claim(LOG)
    opened.append_from(lease, batch(range(4)), SIGNER)
    appended = opened.append_from(lease, batch({4: 0, 5: 3}), SIGNER)
    assert appended.checkpoint is not None
    assert opened.claim(LOG).next_offset == 6
    verified(opened)


def test_thousands_of_scattered_repeats_fit_the_entries(opened: SqlStore) -> None:
    lease = opened.claim(LOG)
    count = 2 * MAX_RANGES + 10
    opened.append_from(lease, batch(range(count)), SIGNER)
    backwards = {count + at: count - 1 - at for at in range(count)}
    appended = opened.append_from(lease, batch(backwards), SIGNER)
    assert appended.skipped == count
    records = skips(opened)
    assert [len(record["ranges"]) for record in records] == [MAX_RANGES, MAX_RANGES, 10]  # type: ignore[arg-type]
    assert opened.claim(LOG).next_offset == 2 * count
    verified(opened)


def test_repeats_of_another_emitter_are_named(opened: SqlStore) -> None:
    lease = opened.claim(LOG)
    events = [
        encode_event(event_of(1)._replace(producer_id=name, producer_sequence=number))
        for name, number in (("a", 0), ("a", 0), ("b", 7))
    ]
    incoming = [
        accept(Message(event, None, SourceSpan(TOPIC, 0, offset, offset + 1)))
        for offset, event in enumerate(events)
    ]
    opened.append_from(lease, SourceBatch(TOPIC, 0, 0, incoming, 3), SIGNER)
    (record,) = skips(opened)
    assert record["producers"] == [["b", 7]]
    verified(opened)


def test_thousands_of_repeats_of_another_emitter_fit_the_entries(opened: SqlStore) -> None:
    lease = opened.claim(LOG)
    count = 3 * MAX_PRODUCERS + 5
    opened.append_from(lease, batch(range(count)), SIGNER)
    incoming = [
        accept(
            Message(
                encode_event(
                    event_of(number)._replace(producer_id="p" * 128, producer_sequence=2**63 - 1)
                ),
                None,
                SourceSpan(TOPIC, 0, count + number, count + number + 1),
            )
        )
        for number in range(count)
    ]
    appended = opened.append_from(lease, SourceBatch(TOPIC, 0, 0, incoming, 2 * count), SIGNER)
    assert appended.skipped == count
    records = skips(opened)
    assert sum(len(record["producers"]) for record in records) == count  # type: ignore[arg-type,misc]
    assert [record["next_offset"] for record in records] == [2 * count] * len(records)
    assert opened.claim(LOG).next_offset == 2 * count
    verified(opened)


def test_messages_that_are_not_in_order_are_refused_whole(opened: SqlStore) -> None:
    lease = opened.claim(LOG)
    size = opened.size(LOG)
    with pytest.raises(InvalidInput, match="not in order"):
        opened.append_from(lease, batch({0: 0, 2: 2, 1: 1}), SIGNER)
    assert opened.size(LOG) == size


def test_gaps_are_named_expired_or_without_a_message(opened: SqlStore) -> None:
    lease = opened.claim(LOG)
    opened.append_from(lease, batch([7, 8, 11], next_offset=13, first_kept=5), SIGNER)
    (record,) = skips(opened)
    assert record["ranges"] == [[0, 5], [5, 7], [9, 11], [12, 13]]
    assert record["reasons"] == ["EXPIRED", "NO_MESSAGE", "NO_MESSAGE", "NO_MESSAGE"]
    assert opened.claim(LOG).next_offset == 13
    verified(opened)


def test_conflicts_and_poison_have_entries_of_their_own(opened: SqlStore) -> None:
    lease = opened.claim(LOG)
    opened.append_from(lease, batch([0]), SIGNER)
    other = encode_event(event_of(0, row={"n": "other"}))
    incoming = [
        accept(Message(data, None, SourceSpan(TOPIC, 0, offset, offset + 1)))
        for offset, data in enumerate([other, b"poison", b"", b"poison"], start=1)
    ]
    appended = opened.append_from(lease, SourceBatch(TOPIC, 0, 0, incoming, 5), SIGNER)
    assert [outcome.status.value for outcome in appended.outcomes] == [
        "conflict", "quarantined", "quarantined", "duplicate",
    ]  # fmt: skip
    assert appended.next_offset == 5
    verified(opened)


def test_a_log_is_of_one_source(opened: SqlStore) -> None:
    lease = opened.claim(LOG)
    opened.append_from(lease, batch([0]), SIGNER)
    with pytest.raises(InvalidInput, match=r"is of audit\.events/0, not of other/0"):
        opened.append_from(lease, batch([1], topic="other"), SIGNER)
    with pytest.raises(InvalidInput, match="no log 9"):
        opened.claim(9)


def test_entries_of_others_behind_the_source_do_not_hide_the_position(opened: SqlStore) -> None:
    lease = opened.claim(LOG)
    opened.append_from(lease, batch(range(3)), SIGNER)
    opened.append(LOG, [Message(encode_event(event_of(n))) for n in range(500, 700)], SIGNER)
    assert opened.claim(LOG).next_offset == 3
    with pytest.raises(Fenced):
        opened.append_from(lease, batch(range(3, 5)), SIGNER)
    lease = opened.claim(LOG)
    assert opened.append_from(lease, batch(range(3, 5)), SIGNER).next_offset == 5
    verified(opened)

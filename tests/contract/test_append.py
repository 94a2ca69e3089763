"""Appending: order, time, exactly once, conflicts, quarantine."""

import pytest

from audit.errors import InvalidInput, LimitExceeded, StoreCorrupt
from audit.event.envelope import decode_event, encode_event
from audit.log.entry import Kind, decode_entry
from audit.log.intake import Message
from audit.store.contract import Status
from audit.store.sql_store import SqlStore
from tests.backends import (
    ORIGIN,
    Backend,
    event_of,
    message_of,
    messages,
    schema_messages,
    signer_of,
)
from tests.contract.check import check_log, sealed_ids

SIGNER = signer_of()
SCHEMA = decode_event(schema_messages()[0].event)


def statuses(appended: object) -> list[Status]:
    return [outcome.status for outcome in appended.outcomes]  # type: ignore[attr-defined]


def test_a_new_ledger_says_who_it_is_and_carries_its_own_schemas(store: SqlStore) -> None:
    leaves = check_log(store, SIGNER.verifier)
    assert decode_entry(leaves[0]).kind is Kind.CONTROL
    assert [info.origin for info in store.logs()] == [ORIGIN]
    counts = store.counts(0)
    assert (counts.events, counts.control, counts.quarantined) == (0, 1, 0)
    assert counts.schemas == counts.size - 1 >= 2


def test_create_may_be_repeated(backend: Backend, store: SqlStore) -> None:
    size = store.size(0)
    store.create(ORIGIN, SIGNER)
    with backend.store() as again:
        again.create(ORIGIN, SIGNER)
    assert store.size(0) == size


def test_another_origin_or_key_is_refused(backend: Backend, store: SqlStore) -> None:
    with backend.store() as other:
        with pytest.raises(InvalidInput, match="already holds the ledger"):
            other.create("example.com/else", signer_of("example.com/else"))
        with pytest.raises(InvalidInput, match="is not the one that signed"):
            other.create(ORIGIN, signer_of(seed=bytes(32)))
        with pytest.raises(InvalidInput, match="is not the one that signed"):
            other.append(0, messages(0, 1), signer_of(seed=bytes(32)))
    check_log(store, SIGNER.verifier)


@pytest.mark.parametrize("cut", [1, 2, 7, 255, 256, 257, 600])
def test_any_cut_into_batches_gives_a_whole_log(store: SqlStore, cut: int) -> None:
    for start in range(0, 600, cut):
        stop = min(600, start + cut)
        appended = store.append(0, messages(start, stop), SIGNER)
        assert statuses(appended) == [Status.SEALED] * (stop - start)
        if cut < 7 and start > 40:
            break
    leaves = check_log(store, SIGNER.verifier)
    assert sealed_ids(leaves) == [("test", f"event-{n}") for n in range(stop)]
    full = len(leaves) // 256
    assert [(tile.level, tile.index) for tile in store.tiles(0)] == [(0, n) for n in range(full)]


@pytest.mark.parametrize("readings", [[5, 5, 5], [900, 800, 1], [0, 0, 10**18]])
def test_recorded_time_strictly_increases_whatever_the_clock_says(
    backend: Backend, readings: list[int]
) -> None:
    clock = iter([10, 10, *readings, *([readings[-1]] * 9)])
    with backend.store(clock=lambda: next(clock)) as store:
        store.create(ORIGIN, SIGNER)
        for start in range(0, 6, 2):
            store.append(0, messages(start, start + 2), SIGNER)
        check_log(store, SIGNER.verifier)


def test_the_same_event_again_is_dropped(backend: Backend, store: SqlStore) -> None:
    first = store.append(0, messages(0, 3), SIGNER)
    again = store.append(0, messages(0, 4), SIGNER)
    assert statuses(again) == [Status.DUPLICATE] * 3 + [Status.SEALED]
    assert again.outcomes[:3] == [o._replace(status=Status.DUPLICATE) for o in first.outcomes]
    only = store.append(0, messages(0, 4), SIGNER)
    assert only.checkpoint is None
    assert only.size == again.size
    with backend.store() as other:
        assert statuses(other.append(0, messages(3, 4), SIGNER)) == [Status.DUPLICATE]
    check_log(store, SIGNER.verifier)


def test_a_repeat_within_one_batch_is_dropped(store: SqlStore) -> None:
    appended = store.append(0, [message_of(1), message_of(2), message_of(1)], SIGNER)
    assert statuses(appended) == [Status.SEALED, Status.SEALED, Status.DUPLICATE]
    assert appended.outcomes[2].index == appended.outcomes[0].index


def test_a_repeat_differs_in_producer_sequence_and_signature_alone(store: SqlStore) -> None:
    event = event_of(1)
    first = encode_event(event._replace(producer_id="p", producer_sequence=1))
    again = encode_event(event._replace(producer_id="q", producer_sequence=9))
    appended = store.append(0, [Message(first), Message(again, bytes(68))], SIGNER)
    assert statuses(appended) == [Status.SEALED, Status.DUPLICATE]


def test_same_id_with_other_bytes_is_a_conflict(store: SqlStore) -> None:
    store.append(0, [message_of(1)], SIGNER)
    other = message_of(1, row={"n": 2})
    appended = store.append(0, [other], SIGNER)
    assert statuses(appended) == [Status.CONFLICT]
    entry = decode_entry(store.leaf(0, appended.outcomes[0].index))
    assert entry.kind is Kind.QUARANTINED
    assert entry.event == other.event
    assert entry.reason is not None
    assert entry.reason.startswith("EVENT_ID_CONFLICT")
    # A repeat of the conflict writes nothing more, and the first event is still the only one.
    assert statuses(store.append(0, [other, message_of(1)], SIGNER)) == [Status.DUPLICATE] * 2
    assert len(store.find_event("event-1")) == 1
    check_log(store, SIGNER.verifier)


def test_a_conflict_within_one_batch(store: SqlStore) -> None:
    other = message_of(1, row={"n": 2})
    appended = store.append(0, [message_of(1), other, other], SIGNER)
    assert statuses(appended) == [Status.SEALED, Status.CONFLICT, Status.DUPLICATE]


def test_same_id_from_two_sources_is_two_events(store: SqlStore) -> None:
    appended = store.append(0, [message_of(1), message_of(1, source="other")], SIGNER)
    assert statuses(appended) == [Status.SEALED, Status.SEALED]
    assert len(store.find_event("event-1")) == 2
    assert len(store.find_event("event-1", "other")) == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "UNDECODABLE"),
        (b"junk", "UNDECODABLE"),
        (bytes(64_000), "UNDECODABLE"),
        (encode_event(event_of(1)) + b"\x00", "UNDECODABLE"),
        (encode_event(event_of(1)._replace(source="audit")), "RESERVED"),
        (encode_event(event_of(1)._replace(type="key.revoked")), "RESERVED"),
        (encode_event(event_of(1)._replace(type="schema")), "SCHEMA_MALFORMED"),
        (encode_event(SCHEMA._replace(payload=b"{")), "SCHEMA_MALFORMED"),
        (encode_event(SCHEMA._replace(payload=b"\xff")), "SCHEMA_MALFORMED"),
        (encode_event(SCHEMA._replace(payload=SCHEMA.payload + b" ")), "SCHEMA_MALFORMED"),
        (encode_event(SCHEMA._replace(actor="mallory")), "SCHEMA_MALFORMED"),
        (encode_event(event_of(1)._replace(source="audit.schema")), "SCHEMA_MALFORMED"),
    ],
)
def test_what_may_not_enter_is_kept_apart(store: SqlStore, data: bytes, reason: str) -> None:
    appended = store.append(0, [Message(data), message_of(7)], SIGNER)
    assert statuses(appended) == [Status.QUARANTINED, Status.SEALED]
    entry = decode_entry(store.leaf(0, appended.outcomes[0].index))
    assert entry.kind is Kind.QUARANTINED
    assert entry.event == data
    assert entry.reason is not None
    assert entry.reason.startswith(reason)
    assert statuses(store.append(0, [Message(data)], SIGNER)) == [Status.DUPLICATE]
    assert store.counts(0).quarantined == 1
    check_log(store, SIGNER.verifier)


def test_a_malformed_signature_is_kept_apart(store: SqlStore) -> None:
    appended = store.append(0, [message_of(1)._replace(signature=b"short")], SIGNER)
    assert statuses(appended) == [Status.QUARANTINED]


def test_more_than_a_leaf_is_refused_before_anything_is_written(store: SqlStore) -> None:
    size = store.size(0)
    with pytest.raises(LimitExceeded, match="does not fit a leaf"):
        store.append(0, [message_of(1), Message(bytes(64_513))], SIGNER)
    assert store.size(0) == size


def test_an_empty_batch_writes_nothing(store: SqlStore) -> None:
    assert store.append(0, [], SIGNER).checkpoint is None


def test_control_entries_are_the_ledgers_own(store: SqlStore) -> None:
    event = encode_event(event_of(5)._replace(source="audit", type="key.registered"))
    index = store.append_control(0, [event], SIGNER).outcomes[0].index
    assert decode_entry(store.leaf(0, index)).kind is Kind.CONTROL
    with pytest.raises(InvalidInput, match="must hold a valid event"):
        store.append_control(0, [b"junk"], SIGNER)


def test_a_log_that_is_not_there_is_refused(store: SqlStore) -> None:
    with pytest.raises(StoreCorrupt, match="no entries or no checkpoint"):
        store.append(7, messages(0, 1), SIGNER)


def test_all_that_an_append_asks_it_asks_within_its_transaction(
    backend: Backend, store: SqlStore
) -> None:
    store.append(0, messages(0, 300), SIGNER)
    with backend.store() as other:
        # The head is found from the tiles, which a reader is asked for.
        other.append(0, messages(300, 301), SIGNER)
        assert other._engine.pool.checkedin() == 1  # type: ignore[attr-defined]
        check_log(other, SIGNER.verifier)


def test_an_append_that_fails_while_it_looks_for_the_head_may_be_repeated(
    backend: Backend, store: SqlStore
) -> None:
    with backend.store() as other:
        size = other.append(0, messages(0, 1), SIGNER).size
        other._heads.clear()
        backend.sql("ALTER TABLE tiles RENAME TO elsewhere")
        for _ in range(2):
            with pytest.raises(StoreCorrupt, match="not a ledger, or a broken one"):
                other.append(0, messages(1, 2), SIGNER)
        backend.sql("ALTER TABLE elsewhere RENAME TO tiles")
        assert other.append(0, messages(1, 2), SIGNER).size == size + 1
    check_log(store, SIGNER.verifier)

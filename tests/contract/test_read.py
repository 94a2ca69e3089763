"""Reading: finding entries, cuts by time, proofs for every size."""

import pytest

from audit.errors import NotFound
from audit.event.build import data_event
from audit.event.envelope import encode_event
from audit.log.entry import decode_entry
from audit.log.intake import Message
from audit.log.receipt import parse_receipt, verify_receipt, write_receipt
from audit.log.record import read_record
from audit.store.sql_store import SqlStore
from audit.tlog.hashing import leaf_hash
from audit.tlog.merkle import consistency_proof, inclusion_proof, root_of, tree_root
from audit.tlog.proof import verify_consistency
from tests.backends import ORIGIN, Backend, event_of, message_of, messages, signer_of

SIGNER = signer_of()


def keys_of(store: SqlStore, *options: object) -> list[str | None]:
    found = store.entity(0, *options)  # type: ignore[arg-type]
    return [read_record(0, leaf).event.entity_key for _, leaf in found]  # type: ignore[union-attr]


def test_a_leaf_that_is_not_there(store: SqlStore) -> None:
    for log, index in ((0, -1), (0, store.size(0)), (1, 0)):
        with pytest.raises(NotFound, match=f"no entry {log}/{index}"):
            store.leaf(log, index)


@pytest.mark.parametrize(("start", "stop"), [(0, None), (5, 9), (9, 9), (9, 5), (250, 10**9)])
def test_leaves_in_a_range(store: SqlStore, start: int, stop: int | None) -> None:
    store.append(0, messages(0, 300), SIGNER)
    size = store.size(0)
    expected = list(range(start, size if stop is None else min(stop, size)))
    assert [index for index, _ in store.leaves(0, start, stop)] == expected


def test_blocks_join_without_a_seam(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.store.sql_reader.BLOCK_ROWS", 4)
    monkeypatch.setattr("audit.store.sql_reader.FETCH_INDEXES", 3)
    store.append(0, messages(0, 20), SIGNER)
    size = store.size(0)
    assert [index for index, _ in store.leaves(0)] == list(range(size))
    rows = [row for block in store.stored_entries(0) for row in block]
    assert [row[0] for row in rows] == list(range(size))
    assert keys_of(store, "thing") == [str(n) for n in range(20)]
    for number in range(20, 30):
        store.append(0, [message_of(number)], SIGNER)
    sizes = [checkpoint.size for checkpoint in store.checkpoints(0)]
    assert sizes == [store.size(0) - 30, *range(store.size(0) - 10, store.size(0) + 1)]


def test_size_at_one_microsecond_before_at_and_after(backend: Backend) -> None:
    times = iter([1_000, 1_000, 5_000, 9_000])
    with backend.store(clock=lambda: next(times)) as store:
        store.create(ORIGIN, SIGNER)
        size = store.size(0)
        store.append(0, messages(0, 2), SIGNER)
        store.append(0, messages(2, 3), SIGNER)
        at = [store.size_at(0, time_us) for time_us in (0, 999, 1_000, 4_999, 5_000, 5_001)]
        assert at == [0, 0, 1, size, size + 1, size + 2]
        assert [store.size_at(0, time_us) for time_us in (8_999, 9_000, 2**62)] == [
            size + 2,
            size + 3,
            size + 3,
        ]


def test_size_at_any_time(backend: Backend) -> None:
    times = iter(range(1_000, 10**9, 1_000))
    backend.prepare()
    with backend.store(clock=lambda: next(times)) as store:
        store.create(ORIGIN, SIGNER)
        for start in range(0, 130, 13):
            store.append(0, messages(start, start + 13), SIGNER)
        recorded = [decode_entry(leaf).recorded_time_us for _, leaf in store.leaves(0)]
        for time_us in (0, *recorded, *(time_us + 1 for time_us in recorded), 2**62):
            expected = sum(1 for other in recorded if other <= time_us)
            assert store.size_at(0, time_us) == expected
        assert store.size_at(9, 2**62) == 0


@pytest.mark.parametrize(
    "key",
    [
        "",
        "1",
        "01",
        "é",
        "e\u0301",
        "a\x00b",
        "'; DROP TABLE entries --",
        "\n",
        "\u2028",
        "k" * 1024,
    ],
)
def test_keys_are_found_byte_by_byte(store: SqlStore, key: str) -> None:
    others = ["1", "01", "1.0", "é", "e\u0301", "a", "a\x00", "%", "_"]
    batch = [message_of(n, key=other) for n, other in enumerate(others) if other != key]
    store.append(0, [*batch, message_of(99, key=key)], SIGNER)
    assert keys_of(store, "thing", key) == [key]
    keys = list(store.entity_keys(0, "thing"))
    assert sorted(keys, key=str.encode) == keys
    assert key in keys


def test_an_entity_below_a_size(store: SqlStore) -> None:
    store.append(0, messages(0, 5), SIGNER)
    first = store.size(0) - 5
    assert keys_of(store, "thing", None, first + 2) == ["0", "1"]
    assert keys_of(store, "thing", None, None, first + 3) == ["3", "4"]
    assert keys_of(store, "thing", "4", first) == []
    assert keys_of(store, "other") == []
    assert list(store.entity_keys(0, "thing", first + 1)) == ["0"]
    assert store.entity_types(0) == ["thing"]
    assert store.entity_types(0, first) == []


def test_events_without_a_key(store: SqlStore) -> None:
    event, _ = data_event("truncate", "thing", None, event_id="t", source="test")
    store.append(0, [message_of(1), Message(encode_event(event))], SIGNER)
    assert [read_record(0, leaf).event for _, leaf in store.keyless(0, "thing")] == [event]


def test_special_entries_are_listed_apart(store: SqlStore) -> None:
    before = store.size(0)
    store.append(0, [message_of(1), Message(b"junk"), message_of(2)], SIGNER)
    assert [index for index, _ in store.special(0)] == [*range(before), before + 1]
    assert store.counts(0).events == 2


def test_events_by_id(store: SqlStore) -> None:
    appended = store.append(0, [message_of(1), message_of(2)], SIGNER)
    assert store.find_event("event-2") == [(0, appended.outcomes[1].index)]
    assert store.find_event("event-2", "nobody") == []
    assert store.find_event("\ud800") == []


def test_entries_by_leaf_hash(store: SqlStore) -> None:
    store.append(0, messages(0, 300), SIGNER)
    for index in (0, 100, 255, 256, store.size(0) - 1):
        digest = leaf_hash(store.leaf(0, index)).hex()
        assert store.find_leaf_hash(digest[:12]) == [(0, index)]
        assert store.find_leaf_hash(digest.upper()) == [(0, index)]
    assert len(store.find_leaf_hash("", limit=4)) == 4


def test_proofs_for_every_size(store: SqlStore) -> None:
    for cut in (1, 255, 44, 230):
        start = store.size(0)
        store.append(0, messages(start, start + cut), SIGNER)
    hashes = [leaf_hash(leaf) for _, leaf in store.leaves(0)]
    size = len(hashes)
    root = root_of(hashes)
    for old in (1, 2, 200, 255, 256, 257, 500, 512, size):
        source = store.hashes(0, old)
        assert tree_root(source, old) == root_of(hashes[:old])
        proof = consistency_proof(store.hashes(0, size), old, size)
        verify_consistency(old, root_of(hashes[:old]), size, root, proof)
        index = old // 2
        covering = store.covering_checkpoint(0, old)
        assert covering is not None
        path = inclusion_proof(store.hashes(0, covering.size), index, covering.size)
        receipt = write_receipt(store.leaf(0, index), index, path, covering.note)
        entry, checkpoint = verify_receipt(parse_receipt(receipt), [SIGNER.verifier])
        assert (entry.index, checkpoint.size) == (index, covering.size)


def test_a_missing_tile_costs_time_not_truth(backend: Backend, store: SqlStore) -> None:
    store.append(0, messages(0, 600), SIGNER)
    size = store.size(0)
    root = tree_root(store.hashes(0, size), size)
    backend.drop_guards()
    backend.sql("DELETE FROM tiles")
    assert tree_root(store.hashes(0, size), size) == root


def test_checkpoints_by_size(store: SqlStore) -> None:
    first = store.size(0)
    store.append(0, messages(0, 2), SIGNER)
    store.append(0, messages(2, 5), SIGNER)
    newest = store.newest_checkpoint(0)
    assert newest is not None
    assert newest.size == first + 5
    for size, expected in ((0, first), (first + 1, first + 2), (first + 3, first + 5)):
        covering = store.covering_checkpoint(0, size)
        assert covering is not None
        assert covering.size == expected
    assert store.covering_checkpoint(0, first + 6) is None
    assert store.newest_checkpoint(4) is None


def test_signed_records_says_who_signed_and_what_covers_it(
    backend: Backend, store: SqlStore
) -> None:
    signature = b"\x01\x02\x03\x04" + bytes(64)
    store.append(0, [message_of(1)._replace(signature=signature), message_of(2)], SIGNER)
    size = store.size(0)
    query = "SELECT event_id, producer_key_id, producer_signature, checkpoint_size, source"
    rows = backend.sql(f'{query} FROM signed_records ORDER BY "index" DESC LIMIT 2')
    assert rows == [
        ("event-2", None, None, size, "test"),
        ("event-1", "01020304", bytes(64), size, "test"),
    ]


def test_columns_hold_what_the_leaf_says(backend: Backend, store: SqlStore) -> None:
    event = event_of(1, key="a\x00b", source="söurce")
    appended = store.append(0, [Message(encode_event(event))], SIGNER)
    index = appended.outcomes[0].index
    (row,) = next(iter(store.stored_entries(0, index)))
    entry = decode_entry(row[1])
    assert row[0] == index
    assert row[2:] == (
        entry.recorded_time_us,
        0,
        "data.create",
        "söurce".encode(),
        b"event-1",
        "thing",
        b"a\x00b",
        None,
    )

"""A store that is not built as a ledger is, or whose index lies about time, gives no answer."""

import pytest

from audit.errors import StoreCorrupt
from audit.log.entry import decode_entry
from audit.replay.points import cut_at_time
from audit.store import open_reader
from audit.store.sql_store import SqlStore
from tests.backends import ORIGIN, Backend, messages, signer_of

SIGNER = signer_of()


@pytest.mark.parametrize(
    "statement",
    [
        "DROP INDEX entries_entity",
        "DROP VIEW signed_records",
        "CREATE INDEX mine ON entries (leaf)",
        "ALTER TABLE tiles RENAME TO other",
    ],
)
def test_a_changed_schema_is_not_read_nor_written(
    backend: Backend, store: SqlStore, statement: str
) -> None:
    store.append(0, messages(0, 3), SIGNER)
    open_reader(backend.url, sound=True).close()
    backend.sql(statement)
    with pytest.raises(StoreCorrupt, match="was changed"):
        open_reader(backend.url, sound=True)
    with backend.store() as again, pytest.raises(StoreCorrupt, match="was changed"):
        again.append(0, messages(3, 4), SIGNER)


def test_somebodys_own_view_beside_ours_is_no_fault(backend: Backend, store: SqlStore) -> None:
    backend.sql("CREATE VIEW mine AS SELECT log FROM entries")
    open_reader(backend.url, sound=True).close()
    store.append(0, messages(0, 1), SIGNER)


def test_a_store_whose_log_0_is_gone_gets_no_second_one(backend: Backend, store: SqlStore) -> None:
    size = store.size(0)
    with backend.unguarded():
        for table in ("logs", "entries", "checkpoints"):
            backend.sql(f"UPDATE {table} SET log = 7")
    with backend.store() as again, pytest.raises(StoreCorrupt, match="no log 0"):
        again.create(ORIGIN, SIGNER)
    assert store.size(7) == size


@pytest.mark.parametrize("shift_us", [-50_000, 1_000_000])
def test_a_cut_does_not_believe_the_time_column(backend: Backend, shift_us: int) -> None:
    times = iter(range(10_000_000, 99_000_000, 100_000))
    with backend.store(clock=lambda: next(times)) as store:
        store.create(ORIGIN, SIGNER)
        for number in range(6):
            store.append(0, messages(number, number + 1), SIGNER)
        index = store.size(0) - 3
        at_us = decode_entry(store.leaf(0, index)).recorded_time_us
        asked_us = at_us if shift_us > 0 else at_us - 1
        assert cut_at_time(store, asked_us, asked_us).sizes[0] == index + (shift_us > 0)
        backend.drop_guards()
        backend.sql(
            'UPDATE entries SET recorded_time_us = recorded_time_us + ? WHERE "index" = ?',
            (shift_us, index),
        )
        with pytest.raises(StoreCorrupt, match="recorded at another time"):
            cut_at_time(store, asked_us, asked_us)

"""Several questions at once: answered from one state of the store, in few ways to it."""

from pathlib import Path
from threading import Thread

import pytest

from audit.errors import AuditError, StoreCorrupt, Unavailable
from audit.event.build import data_event
from audit.event.envelope import encode_event
from audit.log.intake import Message
from audit.replay.points import resolve
from audit.replay.steps import Steps
from audit.store import open_reader, sql_reader
from audit.store.contract import Located, OfRow
from audit.store.sql_store import SqlStore
from tests.backends import (
    ORIGIN,
    Backend,
    PostgresqlBackend,
    SqliteBackend,
    message_of,
    messages,
    signer_of,
)
from tests.verify.attacker import SqliteAttacker

SIGNER = signer_of()


def test_inside_nothing_is_seen_that_was_committed_meanwhile(
    backend: Backend, store: SqlStore
) -> None:
    seen: list[int] = []
    with backend.store() as reader:
        size = reader.size(0)
        with reader.steady():
            assert reader.size(0) == size
            store.append(0, messages(0, 3), SIGNER)
            assert (reader.size(0), reader.sizes(), len(list(reader.leaves(0)))) == (
                size,
                {0: size},
                size,
            )
            with reader.steady():
                assert list(reader.entity(0, "thing")) == []
            assert reader.size_at(0, 2**62) == size
            other = Thread(target=lambda: seen.append(reader.size(0)))
            other.start()
            other.join()
        assert seen == [size + 3] == [reader.size(0)]
        with reader.steady():
            assert reader.size(0) == size + 3


def test_an_error_inside_leaves_nothing_behind(backend: Backend, store: SqlStore) -> None:
    size = store.size(0)
    for _ in range(12):  # more often than there are connections
        with pytest.raises(ZeroDivisionError), store.steady():
            assert store.size(0) == size
            raise ZeroDivisionError
        with store.steady():
            with pytest.raises(AuditError):
                store.leaf(2**70, 0)
            assert store.size(0) == size
    with store.steady():
        store.append(0, messages(0, 1), SIGNER)
    assert store.size(0) == size + 1


def test_whoever_is_inside_shares_what_is_seen(store: SqlStore) -> None:
    first, second = store.steady(), store.steady()
    first.__enter__()
    size = store.size(0)
    second.__enter__()
    first.__exit__(None, None, None)  # as coroutines do, and generators that are left behind
    store.append(0, messages(0, 1), SIGNER)
    assert store.size(0) == size
    second.__exit__(None, None, None)
    assert store.size(0) == size + 1


def test_who_leaves_on_another_thread_leaves_nothing_behind(store: SqlStore) -> None:
    inside = store.steady()
    inside.__enter__()
    size = store.size(0)
    with store.steady():
        other = Thread(target=lambda: inside.__exit__(None, None, None))
        other.start()
        other.join()
        store.append(0, messages(0, 1), SIGNER)
        assert store.size(0) == size
    assert store.size(0) == size + 1
    inside = store.steady()
    inside.__enter__()
    other = Thread(target=lambda: inside.__exit__(None, None, None))
    other.start()
    other.join()
    assert store.size(0) == size + 1


def test_readings_that_go_on_outside_do_so_outside(store: SqlStore) -> None:
    store.append(0, messages(0, 3), SIGNER)
    with store.steady():
        readings = [store.leaves(0), store.entity(0, "thing"), store.tiles(0), store.special(0)]
        for reading in readings:
            next(reading, None)
    assert store._engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert sum(len(list(reading)) for reading in readings) > 0
    assert store._engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_connection_that_is_lost_inside(backend: Backend) -> None:
    if not isinstance(backend, PostgresqlBackend):
        return
    with backend.new_ledger() as store:
        size = store.size(0)
        with store.steady():
            assert store.size(0) == size
            backend.sql(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE application_name = 'attestory' AND pid <> pg_backend_pid() "
                f"AND query LIKE '%{backend.schema}%'"
            )
            with pytest.raises(Unavailable, match="lost"):
                store.size(0)
            assert store.size(0) == size
        with store.steady():
            assert store.size(0) == size


def test_sizes_of_all_logs(backend: Backend, store: SqlStore) -> None:
    with store._writing() as connection:
        store._open_log(connection, 3, f"{ORIGIN}/3", signer_of(f"{ORIGIN}/3"))
    assert store.sizes() == {0: store.size(0), 3: store.size(3)}
    with backend.unguarded():
        backend.sql("UPDATE entries SET log = 7 WHERE log = 3")
    # A log may have a row and no entries, or entries and no row.
    assert store.sizes() == {0: store.size(0), 3: 0, 7: store.size(7)}
    assert list(store.sizes()) == [info.log for info in store.logs()]


def test_what_one_row_is_replayed_from(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        emptied, _ = data_event("truncate", "thing", None, event_id=f"t{number}", source="test")
        batch = [message_of(4 * number + key, key=str(key)) for key in range(4)]
        store.append(0, [*batch, Message(encode_event(emptied))], SIGNER)
    size = store.size(0)
    for most in (500, 9, 8, 3):
        monkeypatch.setattr(sql_reader, "FETCH_INDEXES", most)
        for key in ("0", "3", "9", "\x00", "\ud800"):
            for stop in (None, 0, size - 20, size):
                own = list(store.entity(0, "thing", key, stop))
                keyless = list(store.keyless(0, "thing", stop))
                found = store.of_row(0, "thing", key, stop)
                assert found == OfRow(own, keyless)
                assert all(type(one) is Located for one in (*found.own, *found.keyless))
    assert len(store.of_row(0, "thing", "0").own) == len(store.of_row(0, "thing", "0").keyless) == 8
    assert store.of_row(0, "\x00", "0") == store.of_row(5, "thing", "0") == OfRow([], [])


def test_schemas_of_a_log_that_has_many(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(store.special(0, None, 0))
    assert len(found) > 2
    monkeypatch.setattr(sql_reader, "FETCH_INDEXES", 2)
    assert list(store.special(0, None, 0)) == found
    assert list(store.special(0, found[-1].index, 0)) == found[:-1]


def test_a_row_of_which_a_leaf_is_gone_is_not_replayed_without_it(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path)
    with backend.new_ledger() as store:
        store.append(0, [message_of(number, key="a") for number in range(8)], SIGNER)
        at = store.size(0) - 3
    attacker = SqliteAttacker(tmp_path / "audit.db")
    attacker.relax_types()
    for table in ("leaf = NULL", "leaf = 7"):
        attacker.sql(f'UPDATE entries SET {table} WHERE "index" = {at}')
        with open_reader(backend.url, sound=False) as reader:
            steps = Steps(reader, "thing", resolve(reader, None, 0))
            for read in (steps.all, lambda steps=steps: steps.of_key("a")):
                with pytest.raises(StoreCorrupt, match=f"0/{at} cannot be read"):
                    list(read())


@pytest.mark.parametrize("log", ["x", b"x", 1.5])
def test_a_log_that_is_no_number_is_refused(tmp_path: Path, log: object) -> None:
    backend = SqliteBackend(tmp_path)
    with backend.new_ledger():
        pass
    attacker = SqliteAttacker(tmp_path / "audit.db")
    attacker.relax_types()
    attacker.sql('UPDATE entries SET log = ? WHERE "index" = 1', (log,))
    with open_reader(backend.url, sound=False) as reader:
        for ask in (reader.logs, reader.sizes):
            with pytest.raises(StoreCorrupt, match="number of a log"):
                ask()

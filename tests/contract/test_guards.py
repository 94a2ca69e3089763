"""Append-only guards: what nobody does to a sealed entry by accident, through any statement."""

import sqlite3
import threading

import pytest

from audit.store.sql_store import SqlStore
from tests.backends import SqliteBackend, messages, signer_of
from tests.contract.check import check_log, sealed_ids

SIGNER = signer_of()
TABLES = ["entries", "tiles", "checkpoints", "logs", "schema_versions"]


@pytest.fixture
def filled(backend: SqliteBackend, store: SqlStore) -> SqliteBackend:
    """A ledger with a full tile."""
    store.append(0, messages(0, 300), SIGNER)
    return backend


def refused(backend: SqliteBackend, statement: str) -> None:
    before = backend.sql("SELECT * FROM entries"), backend.sql("SELECT * FROM checkpoints")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        backend.sql(statement)
    assert before == (
        backend.sql("SELECT * FROM entries"),
        backend.sql("SELECT * FROM checkpoints"),
    )


@pytest.mark.parametrize("table", TABLES)
def test_no_row_can_be_deleted(filled: SqliteBackend, table: str) -> None:
    refused(filled, f"DELETE FROM {table}")


@pytest.mark.parametrize("table", TABLES)
def test_no_column_can_be_updated(filled: SqliteBackend, table: str) -> None:
    columns = [row[1] for row in filled.sql(f"PRAGMA table_info({table})")]
    for column in columns:
        refused(filled, f'UPDATE {table} SET "{column}" = "{column}"')


@pytest.mark.parametrize("verb", ["INSERT OR REPLACE", "REPLACE"])
@pytest.mark.parametrize("table", TABLES)
def test_no_row_can_be_replaced(filled: SqliteBackend, table: str, verb: str) -> None:
    refused(filled, f"{verb} INTO {table} SELECT * FROM {table} LIMIT 1")


# In the other tables the key is the rowid itself.
@pytest.mark.parametrize("table", ["entries", "tiles", "checkpoints"])
def test_no_row_can_be_replaced_through_its_hidden_rowid(filled: SqliteBackend, table: str) -> None:
    (newest,) = filled.sql('SELECT MAX("index") + 1 FROM entries')[0]
    fresh = {"entries": f"0, {newest}", "tiles": "0, 9, 9", "checkpoints": "0, 9999"}[table]
    columns = [f'"{row[1]}"' for row in filled.sql(f"PRAGMA table_info({table})")]
    names = ", ".join(["rowid", *columns])
    values = ", ".join(["rowid", fresh, *columns[fresh.count(",") + 1 :]])
    refused(
        filled, f"INSERT OR REPLACE INTO {table} ({names}) SELECT {values} FROM {table} LIMIT 1"
    )


def test_no_log_can_take_anothers_origin(filled: SqliteBackend) -> None:
    refused(filled, "INSERT OR REPLACE INTO logs SELECT 9, origin, vkey FROM logs")


@pytest.mark.parametrize("index", ["-1", "0", "5", "302", "10000", "4611686018427387904"])
def test_no_entry_can_stand_at_a_wrong_index(filled: SqliteBackend, index: str) -> None:
    refused(
        filled,
        'INSERT INTO entries (log, "index", recorded_time_us, kind, leaf) '
        f"VALUES (0, {index}, 1, 0, x'00')",
    )


def test_the_guards_are_watched(filled: SqliteBackend, store: SqlStore) -> None:
    assert store.warnings() == []
    filled.sql("DROP TRIGGER entries_update")
    filled.sql("DROP TRIGGER tiles_delete")
    filled.sql("CREATE TRIGGER tiles_delete BEFORE DELETE ON tiles BEGIN SELECT 1; END")
    filled.sql("CREATE TRIGGER mine AFTER INSERT ON entries BEGIN SELECT 1; END")
    codes = {code: message for code, message in store.warnings()}
    assert sorted(codes) == ["guard_changed", "guard_missing", "guard_unknown"]
    assert "entries_update" in codes["guard_missing"]


def test_two_writers_at_once_keep_one_order(backend: SqliteBackend, store: SqlStore) -> None:
    stores = [backend.store() for _ in range(4)]
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for at in range(20):
                first = number * 1_000 + at * 3
                stores[number].append(0, messages(first, first + 3), SIGNER)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for other in stores:
        other.close()
    assert errors == []
    ids = sealed_ids(check_log(store, SIGNER.verifier))
    assert len(ids) == len(set(ids)) == 240

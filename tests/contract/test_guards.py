"""Append-only guards: what nobody does to a sealed entry by accident, through any statement."""

import threading

import psycopg
import pytest

from audit.errors import StoreCorrupt
from audit.store.sql_store import SqlStore
from tests.backends import ORIGIN, Backend, messages, signer_of
from tests.contract.check import check_log, sealed_ids

SIGNER = signer_of()
TABLES = ["entries", "tiles", "checkpoints", "logs", "schema_versions"]


@pytest.fixture
def filled(backend: Backend, store: SqlStore) -> Backend:
    """A ledger with a full tile."""
    store.append(0, messages(0, 300), SIGNER)
    return backend


def refused(backend: Backend, statement: str) -> None:
    before = backend.sql("SELECT * FROM entries"), backend.sql("SELECT * FROM checkpoints")
    with pytest.raises(backend.refusal, match="append-only"):
        backend.sql(statement)
    assert before == (
        backend.sql("SELECT * FROM entries"),
        backend.sql("SELECT * FROM checkpoints"),
    )


@pytest.mark.parametrize("table", TABLES)
def test_no_row_can_be_deleted(filled: Backend, table: str) -> None:
    refused(filled, f"DELETE FROM {table}")


@pytest.mark.parametrize("table", TABLES)
def test_no_column_can_be_updated(filled: Backend, table: str) -> None:
    for column in filled.columns(table):
        refused(filled, f'UPDATE {table} SET "{column}" = "{column}"')


ON_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("backend", ["postgresql"], indirect=True)


@ON_SQLITE
@pytest.mark.parametrize("verb", ["INSERT OR REPLACE", "REPLACE"])
@pytest.mark.parametrize("table", TABLES)
def test_no_row_can_be_replaced(filled: Backend, table: str, verb: str) -> None:
    refused(filled, f"{verb} INTO {table} SELECT * FROM {table} LIMIT 1")


@ON_POSTGRESQL
@pytest.mark.parametrize("table", TABLES)
def test_no_table_can_be_emptied_nor_merged_into(filled: Backend, table: str) -> None:
    refused(filled, f"TRUNCATE {table}")
    first, *_ = columns = [f'"{name}"' for name in filled.columns(table)]
    new = f"INSERT INTO {table} SELECT * FROM {table} LIMIT 1 ON CONFLICT"
    key = {"entries": '(log, "index")', "tiles": '(log, level, "index")'}
    on = key.get(table, {"checkpoints": "(log, size)"}.get(table, f"({first})"))
    refused(filled, f"{new} {on} DO UPDATE SET {columns[-1]} = excluded.{columns[-1]}")
    if filled.sql("SHOW server_version_num") >= [("150000",)]:
        match = f"MERGE INTO {table} t USING (SELECT 0 AS zero) s ON t.{first} = s.zero"
        refused(filled, f"{match} WHEN MATCHED THEN UPDATE SET {columns[-1]} = t.{columns[-1]}")
        refused(filled, f"{match} WHEN MATCHED THEN DELETE")


@ON_POSTGRESQL
@pytest.mark.parametrize("table", TABLES)
def test_a_session_that_calls_itself_a_replica_is_refused_too(filled: Backend, table: str) -> None:
    filled.sql("SET session_replication_role = replica")
    for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}"):
        refused(filled, statement)


# In the other tables the key is the rowid itself.
@ON_SQLITE
@pytest.mark.parametrize("table", ["entries", "tiles", "checkpoints"])
def test_no_row_can_be_replaced_through_its_hidden_rowid(filled: Backend, table: str) -> None:
    (newest,) = filled.sql('SELECT MAX("index") + 1 FROM entries')[0]
    fresh = {"entries": f"0, {newest}", "tiles": "0, 9, 9", "checkpoints": "0, 9999"}[table]
    columns = [f'"{name}"' for name in filled.columns(table)]
    names = ", ".join(["rowid", *columns])
    values = ", ".join(["rowid", fresh, *columns[fresh.count(",") + 1 :]])
    refused(
        filled, f"INSERT OR REPLACE INTO {table} ({names}) SELECT {values} FROM {table} LIMIT 1"
    )


@ON_SQLITE
def test_no_log_can_take_anothers_origin(filled: Backend) -> None:
    refused(filled, "INSERT OR REPLACE INTO logs SELECT 9, origin, vkey FROM logs")


@ON_SQLITE
@pytest.mark.parametrize("index", ["-1", "0", "5", "302", "10000", "4611686018427387904"])
def test_no_entry_can_stand_at_a_wrong_index(filled: Backend, index: str) -> None:
    refused(
        filled,
        'INSERT INTO entries (log, "index", recorded_time_us, kind, leaf) '
        f"VALUES (0, {index}, 1, 0, x'00')",
    )


@ON_POSTGRESQL
@pytest.mark.parametrize("index", [304, 4611686018427387904])
def test_an_entry_at_a_wrong_index_is_found_by_the_next_append(
    filled: Backend, store: SqlStore, index: int
) -> None:
    """What the database lets in: looking at each new row would cost every append too much."""
    names = '(log, "index", recorded_time_us, kind, leaf)'
    with pytest.raises(psycopg.errors.UniqueViolation):
        filled.sql(f"INSERT INTO entries {names} VALUES (0, 5, 1, 0, '')")
    filled.sql(f"INSERT INTO entries {names} VALUES (0, ?, 1, 0, '')", [index])
    with pytest.raises(StoreCorrupt, match="run `audit verify`"):
        store.append(0, messages(300, 301), SIGNER)


@ON_SQLITE
def test_the_guards_are_watched(filled: Backend, store: SqlStore) -> None:
    assert store.warnings() == []
    filled.sql("DROP TRIGGER entries_update")
    filled.sql("DROP TRIGGER tiles_delete")
    filled.sql("CREATE TRIGGER tiles_delete BEFORE DELETE ON tiles BEGIN SELECT 1; END")
    filled.sql("CREATE TRIGGER mine AFTER INSERT ON entries BEGIN SELECT 1; END")
    codes = {code: message for code, message in store.warnings()}
    assert sorted(codes) == ["guard_changed", "guard_missing", "guard_unknown"]
    assert "entries_update" in codes["guard_missing"]


GUARD = "entries_append_only"
ON_ENTRIES = "ON entries FOR EACH STATEMENT EXECUTE FUNCTION"
NOTHING = "RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
SPOILED = {
    "dropped": ([f"DROP TRIGGER {GUARD} ON entries"], "guard_missing"),
    "disabled": ([f"ALTER TABLE entries DISABLE TRIGGER {GUARD}"], "guard_changed"),
    "not for replicas": ([f"ALTER TABLE entries ENABLE TRIGGER {GUARD}"], "guard_changed"),
    "only for replicas": ([f"ALTER TABLE entries ENABLE REPLICA TRIGGER {GUARD}"], "guard_changed"),
    "another function of its name": (
        [f"CREATE OR REPLACE FUNCTION append_only() {NOTHING}"],
        "guard_changed",
    ),
    "another function": (
        [
            f"CREATE FUNCTION other() {NOTHING}",
            f"CREATE OR REPLACE TRIGGER {GUARD} "
            f"BEFORE UPDATE OR DELETE OR TRUNCATE {ON_ENTRIES} other()",
            f"ALTER TABLE entries ENABLE ALWAYS TRIGGER {GUARD}",
        ],
        "guard_changed",
    ),
    "fewer events": (
        [
            f"CREATE OR REPLACE TRIGGER {GUARD} BEFORE DELETE {ON_ENTRIES} append_only()",
            f"ALTER TABLE entries ENABLE ALWAYS TRIGGER {GUARD}",
        ],
        "guard_changed",
    ),
    "fewer columns": (
        [
            f"CREATE OR REPLACE TRIGGER {GUARD} "
            f"BEFORE UPDATE OF kind OR DELETE OR TRUNCATE {ON_ENTRIES} append_only()",
            f"ALTER TABLE entries ENABLE ALWAYS TRIGGER {GUARD}",
        ],
        "guard_changed",
    ),
    "an unknown one": (
        [
            f"CREATE FUNCTION other() {NOTHING}",
            f"CREATE TRIGGER mine AFTER INSERT {ON_ENTRIES} other()",
        ],
        "guard_unknown",
    ),
    "a rule": (["CREATE RULE mine AS ON INSERT TO entries DO INSTEAD NOTHING"], "guard_unknown"),
    "a right": (["GRANT UPDATE ON checkpoints TO PUBLIC"], "guard_open"),
    "a right to a column": (["GRANT UPDATE (note) ON checkpoints TO PUBLIC"], "guard_open"),
}


@ON_POSTGRESQL
@pytest.mark.parametrize("how", SPOILED)
def test_every_way_to_spoil_a_guard_is_seen(filled: Backend, store: SqlStore, how: str) -> None:
    statements, code = SPOILED[how]
    assert store.warnings() == []
    for statement in statements:
        filled.sql(statement)
    found = store.warnings()
    assert {code for code, _ in found} == {code}
    assert any("entries" in text or "checkpoints" in text for _, text in found)


def test_a_ledger_may_be_made_again_while_others_append(backend: Backend, store: SqlStore) -> None:
    """What `create` finds, and what it compares it with, is of one moment."""
    errors: list[BaseException] = []
    stop = threading.Event()

    def make() -> None:
        try:
            while not stop.is_set():
                with backend.store() as other:
                    assert not other.create(ORIGIN, SIGNER)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    for number in range(40):
        store.append(0, messages(number, number + 1), SIGNER)
    stop.set()
    thread.join()
    assert errors == []


def test_two_writers_at_once_keep_one_order(backend: Backend, store: SqlStore) -> None:
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

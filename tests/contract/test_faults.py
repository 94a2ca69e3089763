"""Faults while writing, each twice: the write was lost, and it was kept but reported lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, event

from audit.errors import AuditError, InvalidInput, StoreCorrupt, StoreMissing, Unavailable
from audit.store import migrations, open_reader, open_store, tables
from audit.store.contract import Status
from audit.store.sql_store import SqlStore
from tests.backends import ORIGIN, Backend, SqliteBackend, messages, signer_of
from tests.contract.check import check_log, sealed_ids

SIGNER = signer_of()


class Cut(Exception):
    """The process dies here."""


class DyingSigner:
    """Dies when it should sign."""

    name = SIGNER.name
    verifier = SIGNER.verifier

    def sign(self, message: bytes) -> bytes:
        raise Cut


def test_a_crash_while_signing_leaves_nothing(store: SqlStore) -> None:
    size = store.size(0)
    with pytest.raises(Cut):
        store.append(0, messages(0, 3), DyingSigner())
    assert store.size(0) == size
    store.append(0, messages(0, 3), SIGNER)
    assert len(sealed_ids(check_log(store, SIGNER.verifier))) == 3


@pytest.mark.parametrize("at", range(9))
def test_a_crash_before_any_statement_leaves_nothing(store: SqlStore, at: int) -> None:
    size = store.size(0)
    left = [at]

    def die(*_: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Cut

    event.listen(store._engine, "before_cursor_execute", die)
    try:
        store.append(0, messages(0, 300), SIGNER)
    except Cut:
        event.remove(store._engine, "before_cursor_execute", die)
        assert store.size(0) == size
    else:
        event.remove(store._engine, "before_cursor_execute", die)
    appended = store.append(0, messages(0, 300), SIGNER)
    assert appended.size == size + 300
    assert len(sealed_ids(check_log(store, SIGNER.verifier))) == 300


def test_a_commit_that_was_lost(store: SqlStore) -> None:
    size = store.size(0)

    def lose(connection: Connection) -> None:
        raise Cut

    event.listen(store._engine, "commit", lose)
    with pytest.raises(Cut):
        store.append(0, messages(0, 3), SIGNER)
    event.remove(store._engine, "commit", lose)
    assert store.size(0) == size
    assert store.append(0, messages(0, 3), SIGNER).size == size + 3
    check_log(store, SIGNER.verifier)


def test_a_commit_that_was_kept_but_reported_lost(store: SqlStore) -> None:
    size = store.size(0)

    def keep_and_die(connection: Connection) -> None:
        connection.connection.driver_connection.commit()  # type: ignore[union-attr]
        raise Cut

    event.listen(store._engine, "commit", keep_and_die)
    with pytest.raises(Cut):
        store.append(0, messages(0, 3), SIGNER)
    event.remove(store._engine, "commit", keep_and_die)
    assert store.size(0) == size + 3
    again = store.append(0, messages(0, 4), SIGNER)
    assert [outcome.status for outcome in again.outcomes] == [Status.DUPLICATE] * 3 + [
        Status.SEALED
    ]
    assert len(sealed_ids(check_log(store, SIGNER.verifier))) == 4


def test_a_store_that_was_rolled_back_under_its_writer_is_refused(
    backend: Backend, store: SqlStore
) -> None:
    store.append(0, messages(0, 3), SIGNER)
    restore = backend.restorable()
    store.append(0, messages(3, 6), SIGNER)
    heads = dict(store._heads)
    store.close()
    restore()
    with backend.store() as rolled_back:
        rolled_back._heads.update(heads)
        with pytest.raises(StoreCorrupt, match="rolled back"):
            rolled_back.append(0, messages(6, 7), SIGNER)
        assert rolled_back.size(0) == heads[0].size - 3


EDITS: list[tuple[str, str, list[object]]] = [
    ("last leaf", 'UPDATE entries SET leaf = ? WHERE "index" = 301', [b"\x00"]),
    ("a leaf of the tail", 'UPDATE entries SET leaf = ? WHERE "index" = 290', [b"\x00"]),
    ("a tile's root", "UPDATE tiles SET root = ?", [bytes(32)]),
    ("the checkpoint", "UPDATE checkpoints SET note = ? WHERE size > 100", [b"\x00"]),
    ("the tail", 'DELETE FROM entries WHERE "index" > 290', []),
    ("all checkpoints", "DELETE FROM checkpoints", []),
    ("the last checkpoint", "DELETE FROM checkpoints WHERE size > 100", []),
]


@pytest.mark.parametrize(("what", "statement", "values"), EDITS)
def test_nothing_is_signed_over_a_doubtful_head(
    backend: Backend, store: SqlStore, what: str, statement: str, values: list[object]
) -> None:
    store.append(0, messages(0, 300), SIGNER)
    backend.drop_guards()
    backend.sql(statement, values)
    with backend.store() as fresh, pytest.raises(StoreCorrupt):
        fresh.append(0, messages(300, 301), SIGNER)


ON_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
"""About its file; tests/store/test_postgresql.py has the twins."""


@ON_SQLITE
def test_a_full_disk_loses_nothing(backend: Backend, store: SqlStore) -> None:
    store.append(0, messages(0, 3), SIGNER)

    def limit(connection: Any, _: Any) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")

    with backend.store() as small:
        event.listen(small._engine, "connect", limit)
        with pytest.raises(Unavailable, match="disk is full"):
            small.append(0, messages(3, 3_000), SIGNER)
    assert store.append(0, messages(3, 3_000), SIGNER).checkpoint is not None
    assert len(sealed_ids(check_log(store, SIGNER.verifier))) == 3_000


@ON_SQLITE
def test_a_folder_that_may_not_be_written_can_still_be_read(
    backend: Backend, store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(0, messages(0, 3), SIGNER)
    store.close()
    monkeypatch.setattr("audit.store.sqlite.os.access", lambda *_: False)
    with backend.reader() as reader:
        check_log(reader, SIGNER.verifier)


def test_reading_creates_nothing(tmp_path: Path) -> None:
    for action in (open_reader, open_store):
        with pytest.raises(StoreMissing, match="no ledger at"):
            action(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Unavailable, match="there is no folder"):
        open_store(f"sqlite:///{tmp_path}/no/folder.db", create=True)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: path.write_bytes(b"hello, not a database at all"), InvalidInput),
        (lambda path: path.write_bytes(b"SQLite format 3\x00" + bytes(5_000)), AuditError),
        (lambda path: path.mkdir(), AuditError),
    ],
)
def test_what_is_not_a_ledger_is_said_in_one_line(
    tmp_path: Path, make: Callable[[Path], object], error: type[AuditError]
) -> None:
    path = tmp_path / "audit.db"
    make(path)
    for action in (open_reader, open_store):
        with pytest.raises(error) as caught, action(f"sqlite:///{path}") as opened:
            opened.size(0)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "audit.db", "sqlite://", "mysql://u:secret@h/db", "sqlite:///"]
)
def test_urls_that_are_no_store(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_reader(url)
    assert "secret" not in str(caught.value)


EXTRA = Table("extra", MetaData(), Column("a", Integer))


def test_a_newer_schema_is_refused_and_an_older_one_brought_up(
    backend: Backend, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(0, messages(0, 3), SIGNER)

    def second(connection: Connection, _: object) -> None:
        EXTRA.create(connection)

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "STEPS", (*migrations.STEPS, second))
        with backend.store() as newer:
            newer.append(0, messages(3, 4), SIGNER)
        versions = [(number + 1,) for number in range(len(migrations.STEPS))]
        assert backend.sql("SELECT version FROM schema_versions") == versions
        assert backend.sql("SELECT * FROM extra") == []
    newest = len(migrations.STEPS) + 1
    with backend.store() as older, pytest.raises(InvalidInput, match=f"schema version {newest}"):
        older.append(0, messages(4, 5), SIGNER)
    check_log(store, SIGNER.verifier)


def test_a_failed_migration_leaves_the_store_as_it_was(
    backend: Backend, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(connection: Connection, _: object) -> None:
        EXTRA.create(connection)
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "STEPS", (*migrations.STEPS, broken))
        with backend.store() as newer, pytest.raises(Cut):
            newer.append(0, messages(0, 1), SIGNER)
    assert "extra" not in backend.tables()
    store.append(0, messages(0, 1), SIGNER)
    check_log(store, SIGNER.verifier)


def test_the_schema_of_a_new_store_is_the_sum_of_its_steps(backend: Backend) -> None:
    with backend.store() as store:
        store.create(ORIGIN, SIGNER)
    versions = [(number + 1,) for number in range(len(migrations.STEPS))]
    assert backend.sql("SELECT version FROM schema_versions") == versions
    assert backend.tables() == set(tables.metadata.tables)


def test_a_trigger_that_ignores_rows_is_found_before_the_commit(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path)
    with backend.store() as store:
        store.create(ORIGIN, SIGNER)
        size = store.size(0)
        backend.sql(
            "CREATE TRIGGER eats BEFORE INSERT ON entries WHEN NEW.event_id = CAST('event-2' AS "
            "BLOB) BEGIN SELECT RAISE(IGNORE); END"
        )
        with pytest.raises(StoreCorrupt, match="1 of 3 entries were not stored"):
            store.append(0, messages(0, 3), SIGNER)
        assert store.size(0) == size

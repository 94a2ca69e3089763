"""PostgreSQL as a place: its URL, its sessions, its errors, and what a lost connection leaves."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from audit.errors import (
    AuditError,
    InvalidInput,
    StoreBusy,
    StoreCorrupt,
    StoreMissing,
    Unavailable,
)
from audit.store import migrations, open_reader, open_store, postgresql, store_folder
from audit.store.contract import Status
from audit.store.postgresql import parse_address
from audit.store.sql_store import SqlStore
from tests.backends import (
    ORIGIN,
    PostgresqlBackend,
    messages,
    new_backend,
    signer_of,
    user_url,
)
from tests.contract.check import check_log, sealed_ids
from tests.services.postgres import PostgresServer
from tests.store.proxy import Proxy

SIGNER = signer_of()


@pytest.fixture
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> PostgresqlBackend:
    """An empty schema."""
    made = new_backend("postgresql", request, tmp_path)
    assert isinstance(made, PostgresqlBackend)
    return made


@pytest.fixture
def store(backend: PostgresqlBackend) -> Iterator[SqlStore]:
    """A new ledger."""
    backend.prepare()
    with backend.store() as store:
        store.create(ORIGIN, SIGNER)
        yield store


def with_options(url: str, options: str) -> str:
    """The URL with more settings for the session."""
    return url + quote(f" {options}", safe="")


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secret@[::1/d",
        "postgresql://u:se@cret@h/d",
        "postgresql://u:secret/1@h/d",
        "postgresql://u:secret?1@h/d",
        "postgresql://u:secret@h/d?nosuch=1",
        "postgresql://u:secret@h/d?options=-csearch_path%3Da%2Cb",
        "postgresql://u:secret@h/d?options=-csearch_path%3Dpg_temp",
        "postgresql://u:secret@h/d?options=-csearch_path%3D%22a%25b%22",
        "postgresql://u:secret@h/d?options=-csearch_path%3D" + "s" * 64,
        "postgresql://u:secret@h/" + "d" * 9_000,
        "postgresql://u:secret@h/d?options=-csea%c0_path%3Ds",
        "postgresql://u:secret@h/d\udc80",
        "postgresql://u:secret@h/d\x00?password=secret",
        "postgres://u:secret@h/d",
        "mysql://u:h@d/d?password=secret",
    ],
)
def test_urls_that_are_refused_without_their_secret(url: str) -> None:
    for open_ in (open_reader, open_store):
        with pytest.raises(InvalidInput) as caught:
            open_(url)
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "schema", "shown"),
    [
        ("postgresql://h/d", "public", "postgresql://h/d"),
        ("postgresql://u:secret@h:5/d", "public", "postgresql://u@h:5/d"),
        (
            "postgresql://u:p%40%2F@h/d?sslmode=require",
            "public",
            "postgresql://u@h/d?sslmode=require",
        ),
        ("postgresql://h/d?password=secret", "public", "postgresql://h/d"),
        ("postgresql://h,i:6/d?sslpassword=secret&user=u", "public", "postgresql://h,i:6/d?user=u"),
        *(
            (f"postgresql://u@h/d?{name}=secret&user=u", "public", "postgresql://u@h/d?user=u")
            for name in ("pass%77ord", "%70assword", "ssl%70assword")
        ),
        ("postgresql:///d?host=/run", "public", "postgresql:///d?host=/run"),
        *(
            (f"postgresql://h/d?options={text}", schema, f"postgresql://h/d?options={text}")
            for text, schema in {
                "-csearch_path%3Daudit": "audit",
                "-c%20search_path%3DAudit": "audit",
                "--search-path%3Da": "a",
                "--search_path%3D%22A%20b%22": "A b",
                "-csearch_path%3D%22A%5C%20b%22": "A b",
                "-cstatement_timeout%3D5": "public",
                "-csearch_path%3Da%20-csearch_path%3Db": "b",
            }.items()
            if text != "--search_path%3D%22A%20b%22"  # unescaped: two words to the server
        ),
    ],
)
def test_an_address_names_a_schema_and_shows_no_secret(url: str, schema: str, shown: str) -> None:
    address = parse_address(url)
    assert (address.schema, address.shown) == (schema, shown)


def test_what_lies_beside_a_store_is_in_its_folder_or_the_current_one() -> None:
    assert store_folder("sqlite:////a/b/c.db") == Path("/a/b")
    assert store_folder("postgresql://h/d") == Path()
    with pytest.raises(InvalidInput):
        store_folder("mysql://h/d")


@pytest.mark.parametrize("name", ["scram_client_key", "oauth%5Fclient_secret", "sslpassword"])
def test_secrets_of_newer_releases_of_libpq_are_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The libpq that is here may refuse them; then the message is one without any part."""
    url = f"postgresql://u@h/d?{name}=secret"
    try:
        shown = parse_address(url).shown
    except InvalidInput as error:
        assert "secret" not in str(error)
        monkeypatch.setattr(postgresql.conninfo, "conninfo_to_dict", lambda _: {})
        shown = parse_address(url).shown
    assert shown == "postgresql://u@h/d"


# Not there, not allowed


def test_without_its_driver_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for open_ in (open_reader, open_store):
        with pytest.raises(Unavailable, match=r"pip install 'attestory\[postgresql\]'"):
            open_("postgresql://u:secret@h/d")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda url: url.replace("/postgres?", "/nosuch?"), StoreMissing, "CREATE DATABASE"),
        (lambda url: url.rpartition("%3D")[0] + "%3Dnosuch", StoreMissing, "CREATE SCHEMA"),
        (lambda url: user_url(url, "nosuch", "secret"), InvalidInput, "refuses this user"),
        (lambda url: "postgresql://u:secret@127.0.0.1:1/d", Unavailable, "refused"),
        (lambda url: "postgresql://u:secret@nosuch.invalid/d", Unavailable, "cannot reach"),
        (lambda url: "postgresql:///d?host=/nosuch&password=secret", Unavailable, "cannot reach"),
    ],
)
def test_what_cannot_be_reached_is_said_in_one_line(
    backend: PostgresqlBackend, change: Callable[[str], str], error: type[AuditError], words: str
) -> None:
    for create in (True, False):
        with pytest.raises(error, match=words) as caught:
            open_store(change(backend.url), create=create)
        assert type(caught.value) is error
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_schema_without_a_ledger_is_no_store(backend: PostgresqlBackend) -> None:
    for open_ in (open_reader, open_store):
        with pytest.raises(StoreMissing, match="no ledger at"):
            open_(backend.url)
    assert backend.tables() == set()
    with backend.store() as store:
        assert store.is_empty()


def test_a_schema_with_something_else_in_it_is_no_ledger(backend: PostgresqlBackend) -> None:
    backend.sql("CREATE TABLE schema_versions (number text)")
    with open_store(backend.url) as store, pytest.raises(StoreCorrupt, match="not a ledger"):
        store.is_empty()


def test_what_the_server_says_of_a_password_is_understood() -> None:
    address = parse_address("postgresql://u@h/d")
    text = 'connection to server at "h", port 5432 failed: FATAL:  {}'
    for words, error in {
        'password authentication failed for user "u"': InvalidInput,
        'no pg_hba.conf entry for host "h", user "u", database "d", no encryption': InvalidInput,
        "sorry, too many clients already": Unavailable,
        "the database system is starting up": Unavailable,
    }.items():
        found = postgresql._refusal(address, text.format(words))
        assert type(found) is error
        assert words in str(found)


# Sessions


def test_a_session_is_what_it_must_be_whatever_the_role_is_set_to(
    backend: PostgresqlBackend, store: SqlStore
) -> None:
    hostile = (
        "-csynchronous_commit=off -csearch_path=pg_temp,public -cenable_seqscan=on "
        "-crow_security=on -cdefault_transaction_isolation=serializable -cjit=on"
    )
    url = with_options(backend.url, hostile.replace("-csearch_path=pg_temp,public ", ""))
    with open_store(url) as writer, open_reader(url) as reader:
        assert settings(writer, "synchronous_commit", "transaction_isolation") == [
            "on",
            "read committed",
        ]
        assert settings(reader, "default_transaction_read_only") == ["on"]
        for opened in (writer, reader):
            names = ("search_path", "enable_seqscan", "row_security", "jit")
            assert settings(opened, *names) == ["pg_catalog, pg_temp", "off", "off", "off"]


def settings(opened: Any, *names: str) -> list[str]:
    with opened._engine.connect() as connection:
        return [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names]


@pytest.mark.parametrize("given", ["remote_write", "on", "remote_apply"])
def test_a_stronger_commit_is_left_as_it_is(backend: PostgresqlBackend, given: str) -> None:
    with open_store(with_options(backend.url, f"-csynchronous_commit={given}"), create=True) as s:
        assert settings(s, "synchronous_commit") == [given]


def test_a_reader_writes_nothing(backend: PostgresqlBackend, store: SqlStore) -> None:
    statement = f"DELETE FROM {backend.schema}.leases"
    with (
        backend.reader() as reader,
        reader._engine.connect() as connection,
        pytest.raises(DBAPIError, match="read-only transaction"),
    ):
        connection.exec_driver_sql(statement)


def test_a_server_that_may_not_be_written_is_read(
    backend: PostgresqlBackend, store: SqlStore
) -> None:
    store.append(0, messages(0, 3), SIGNER)
    url = with_options(backend.url, "-cdefault_transaction_read_only=on")
    with open_store(url) as other:
        with pytest.raises(Unavailable, match="may not be written"):
            other.append(0, messages(3, 4), SIGNER)
        check_log(other, SIGNER.verifier)


def test_a_full_disk_loses_nothing(backend: PostgresqlBackend, store: SqlStore) -> None:
    """Where the server meets it: while it stores the entries."""
    size = store.append(0, messages(0, 3), SIGNER).size
    backend.sql(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RAISE EXCEPTION ''could not extend file'' USING ERRCODE = ''53100''; END'"
    )
    backend.sql("CREATE TRIGGER full_disk AFTER INSERT ON entries EXECUTE FUNCTION full_disk()")
    with pytest.raises(Unavailable, match="disk is full"):
        store.append(0, messages(3, 300), SIGNER)
    assert store.size(0) == size
    backend.sql("DROP TRIGGER full_disk ON entries")
    store.append(0, messages(3, 300), SIGNER)
    assert len(sealed_ids(check_log(store, SIGNER.verifier))) == 300


@pytest.mark.parametrize("table", ["entries", "tiles", "checkpoints"])
def test_rows_that_a_trigger_eats_are_not_acknowledged(
    backend: PostgresqlBackend, store: SqlStore, table: str
) -> None:
    size = store.append(0, messages(0, 3), SIGNER).size
    last = "NEW.leaf IS NOT NULL AND NEW.event_id = convert_to('event-100', 'UTF8')"
    backend.sql(
        "CREATE FUNCTION eat() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
        f"IF {last if table == 'entries' else 'true'} THEN RETURN NULL; END IF; "
        "RETURN NEW; END$$"
    )
    backend.sql(f"CREATE TRIGGER eat BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION eat()")
    with pytest.raises(StoreCorrupt, match=f"stored .* of .* {table}; run `audit verify`"):
        store.append(0, messages(3, 600), SIGNER)
    assert store.size(0) == size
    backend.sql(f"DROP TRIGGER eat ON {table}")
    store.append(0, messages(3, 600), SIGNER)
    assert len(sealed_ids(check_log(store, SIGNER.verifier))) == 600


def test_who_waits_too_long_for_the_log_is_told_that_it_is_busy(
    backend: PostgresqlBackend, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgresql._WRITER, "lock_timeout", "50")
    with backend.store() as other:
        with backend.connection.transaction():
            backend.sql("SELECT * FROM leases FOR UPDATE")
            with pytest.raises(StoreBusy, match="locked by another writer"):
                other.append(0, messages(0, 1), SIGNER)
        other.append(0, messages(0, 1), SIGNER)
    check_log(store, SIGNER.verifier)


def test_a_writer_stopped_in_its_transaction_does_not_keep_the_log(
    backend: PostgresqlBackend, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lost its lock meanwhile, and its transaction: nothing of it is there."""
    # Long enough that nobody but the sleeper is ended where the machine is busy.
    monkeypatch.setitem(postgresql._WRITER, "idle_in_transaction_session_timeout", "2000")
    size = store.size(0)

    class Sleepy:
        name, verifier = SIGNER.name, SIGNER.verifier

        def sign(self, message: bytes) -> bytes:
            # The other gets the lock only when the server has ended this transaction.
            store.append(0, messages(5, 6), SIGNER)
            return SIGNER.sign(message)

    with backend.store() as slow, pytest.raises(Unavailable, match="connection was lost"):
        slow.append(0, messages(0, 3), Sleepy())
    assert store.size(0) == size + 1
    check_log(store, SIGNER.verifier)


def test_names_that_no_text_of_the_server_holds_are_found_nowhere(store: SqlStore) -> None:
    store.append(0, messages(0, 3), SIGNER)
    for name in ("a\x00b", "\ud800"):
        assert list(store.entity(0, name)) == []
        assert list(store.entity(0, name, "1")) == []
        assert list(store.keyless(0, name)) == []
        assert list(store.entity_keys(0, name)) == []


# Connections that end


def other_connections(backend: PostgresqlBackend) -> int:
    """End every connection to the server that the library made, as an administrator."""
    query = (
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        "WHERE application_name = ? AND pid <> pg_backend_pid()"
    )
    return len(backend.sql(query, [backend.schema]))


@pytest.fixture
def named(backend: PostgresqlBackend, store: SqlStore) -> Iterator[SqlStore]:
    """A second writer, whose connections can be told from others'."""
    with open_store(f"{backend.url}&application_name={backend.schema}") as named:
        yield named


def test_a_connection_that_was_ended_while_idle_is_not_missed(
    backend: PostgresqlBackend, named: SqlStore
) -> None:
    size = named.size(0)
    assert other_connections(backend) == 1
    assert named.size(0) == size
    assert other_connections(backend) == 1
    assert named.append(0, messages(0, 3), SIGNER).size == size + 3


def test_a_connection_that_is_ended_before_the_commit_leaves_nothing(
    backend: PostgresqlBackend, named: SqlStore
) -> None:
    size = named.size(0)

    class Ended:
        name, verifier = SIGNER.name, SIGNER.verifier

        def sign(self, message: bytes) -> bytes:
            assert other_connections(backend) == 1
            return SIGNER.sign(message)

    with pytest.raises(Unavailable, match="connection was lost"):
        named.append(0, messages(0, 3), Ended())
    assert named.size(0) == size
    assert named.append(0, messages(0, 3), SIGNER).size == size + 3
    check_log(named, SIGNER.verifier)


def test_a_connection_that_is_ended_before_the_entries_leaves_nothing(
    backend: PostgresqlBackend, named: SqlStore
) -> None:
    def end(*call: Any) -> None:
        if "event_id = ANY" in call[2]:
            assert other_connections(backend) == 1

    size = named.size(0)
    event.listen(named._engine, "after_cursor_execute", end)
    with pytest.raises(Unavailable, match="connection was lost"):
        named.append(0, messages(0, 3_000), SIGNER)
    event.remove(named._engine, "after_cursor_execute", end)
    assert named.append(0, messages(0, 3), SIGNER).size == size + 3
    check_log(named, SIGNER.verifier)


@pytest.mark.parametrize("kept", [False, True])
def test_a_commit_whose_answer_is_lost_is_found_by_the_next_append(
    backend: PostgresqlBackend, store: SqlStore, kept: bool
) -> None:
    """The connection breaks at COMMIT: before it reached the server, or after it was done."""
    size = store.size(0)
    with Proxy(backend.url) as proxy, open_store(proxy.url) as cut_off:
        proxy.cut_at_commit(kept)
        with pytest.raises(Unavailable, match="connection was lost"):
            cut_off.append(0, messages(0, 3), SIGNER)
        assert store.size(0) == size + 3 * kept
        again = cut_off.append(0, messages(0, 4), SIGNER)
    first = Status.DUPLICATE if kept else Status.SEALED
    assert [outcome.status for outcome in again.outcomes] == [first] * 3 + [Status.SEALED]
    assert len(sealed_ids(check_log(store, SIGNER.verifier))) == 4


def test_a_server_that_was_restarted_is_reached_by_the_next_call(
    private_postgres: PostgresServer,
) -> None:
    url = private_postgres.new_database()
    with open_store(url, create=True) as store:
        store.create(ORIGIN, SIGNER)
    with open_store(url) as store, open_reader(url) as reader:
        size = store.append(0, messages(0, 3), SIGNER).size
        assert reader.size(0) == size
        for mode in ("fast", "immediate"):
            private_postgres.stop(mode)
            for ask in (store.size, reader.size):
                with pytest.raises(Unavailable):
                    ask(0)
            with pytest.raises(Unavailable):
                store.append(0, messages(3, 6), SIGNER)
            private_postgres.start()
            assert reader.size(0) == size
            assert store.append(0, messages(0, 3), SIGNER).size == size
        private_postgres.restart()
        assert store.append(0, messages(3, 6), SIGNER).size == size + 3
        check_log(reader, SIGNER.verifier)


# Several at once, and older ones


def test_several_who_make_a_ledger_at_once_make_one(backend: PostgresqlBackend) -> None:
    made: list[bool] = []
    errors: list[BaseException] = []

    def make() -> None:
        try:
            with backend.store() as store:
                made.append(store.create(ORIGIN, SIGNER))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(made) == [False, False, False, True]
    with backend.reader() as reader:
        check_log(reader, SIGNER.verifier)


def test_an_older_ledger_is_read_as_it_is_and_brought_up_by_a_writer(
    backend: PostgresqlBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "STEPS", migrations.STEPS[:1])
        with backend.store() as old, old._writing():
            pass
    assert "leases" not in backend.tables()
    with open_reader(backend.url, sound=True) as reader:
        assert reader.defects() == reader.index_defects() == reader.warnings() == []
    with backend.store() as store:
        store.create(ORIGIN, SIGNER)
        store.append(0, messages(0, 3), SIGNER)
        assert store.defects() == store.index_defects() == store.warnings() == []
        check_log(store, SIGNER.verifier)


def test_two_ledgers_in_one_database_know_nothing_of_each_other(
    backend: PostgresqlBackend, store: SqlStore, postgres_server: PostgresServer
) -> None:
    store.append(0, messages(0, 3), SIGNER)
    with open_store(postgres_server.new_database(), create=True) as other:
        other.create("example.com/other", signer_of("example.com/other"))
        other.append(0, messages(0, 1), signer_of("example.com/other"))
        assert other.counts(0).events == 1
        check_log(other, signer_of("example.com/other").verifier)
    assert store.counts(0).events == 3


def test_a_schema_may_have_an_odd_name(backend: PostgresqlBackend) -> None:
    name = "it's :one of [two]; --"
    backend.sql(f'CREATE SCHEMA "{name}"')
    escaped = f'"{name}"'.replace(" ", "\\ ")
    url = backend.url.partition("?")[0] + "?options=" + quote(f"-csearch_path={escaped}", safe="")
    with open_store(url, create=True) as store:
        store.create(ORIGIN, SIGNER)
        store.append(0, messages(0, 3), SIGNER)
        store._heads.clear()
        store.append(0, messages(3, 4), SIGNER)
        assert store.counts(0).events == 4
        check_log(store, SIGNER.verifier)
    backend.sql(f'DROP SCHEMA "{name}" CASCADE')


@contextmanager
def amcheck(server: PostgresServer) -> Iterator[PostgresqlBackend]:
    """A ledger in a database that has the extension."""
    url = server.new_database(separate=True)
    backend = PostgresqlBackend(url)
    try:
        backend.sql("CREATE EXTENSION amcheck")
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this server has no extension amcheck")
    try:
        with backend.store() as store:
            store.create(ORIGIN, SIGNER)
            store.append(0, messages(0, 300), SIGNER)
        yield backend
    finally:
        backend.close()
        server.drop(url)


def test_the_servers_own_check_of_an_index_is_used_where_it_is(
    postgres_server: PostgresServer,
) -> None:
    with amcheck(postgres_server) as backend:
        with backend.reader() as reader:
            assert reader.index_defects() == []
        index = "CREATE INDEX entries_event_id ON entries (event_id, log) WHERE "
        backend.sql("ALTER INDEX entries_event_id RENAME TO honest")
        backend.sql(f"{index} event_id <> 'event-7'")
        backend.sql("SET allow_system_table_mods = on")
        backend.sql(
            "UPDATE pg_index SET indpred = (SELECT indpred FROM pg_index "
            "WHERE indexrelid = 'honest'::regclass) WHERE indexrelid = 'entries_event_id'::regclass"
        )
        backend.sql("DROP INDEX honest")
        with backend.reader() as reader:
            assert reader.defects() == []
            ((code, text),) = reader.index_defects()
        assert code == "index_differs"
        assert "entries_event_id" in text and "lacks matching index tuple" in text

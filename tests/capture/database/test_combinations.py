"""Hooks, triggers, relay and reconcile together: what each alone does not show."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

import audit
from audit.capture.database import database_context, outbox, tables, triggers
from audit.capture.database.connect import open_database
from audit.capture.database.relay import Relay, Settings
from audit.capture.sqlalchemy import install
from audit.errors import UnseenWrite
from audit.ledger import Ledger
from tests.capture.database.outbox_support import DATABASES, count, new_database
from tests.capture.database.trigger_support import opened, rows, run, same
from tests.capture.support import make_ledger, url
from tests.services.postgres import PostgresServer

WAYS = ("hooks", "triggers")


def tables_of(engine: sa.Engine, schema: str | None = None) -> sa.MetaData:
    metadata = sa.MetaData()
    metadata.reflect(engine, schema, only=lambda name, _: not name.startswith("attestory_"))
    return metadata


def capture(
    how: str, bare: sa.Engine, engine: sa.Engine, names: Iterable[str] | None = None
) -> Any:
    """Capture what goes through `engine`."""
    tables.install(bare)
    if how == "hooks":
        return install(engine, names)
    triggers.install(bare, names)
    database_context.install(engine)
    return None


def require_complete(
    engine: sa.Engine, folder: Path, *names: str, schema: str | None = None
) -> None:
    """What waits is relayed, and then nothing differs."""
    if not (folder / "audit.db").exists():
        make_ledger(folder)
    Relay(engine, Settings(url(folder), schema=schema)).run(once=True)
    with Ledger(url(folder)) as ledger:
        for name in names:
            found = ledger.reconcile(name, engine, schema=schema, record=False, values=True)
            assert found.ok and found.counts["pending"] == 0, found
            assert found.counts["same"] == found.counts["table"]


def with_foreign_keys(engine: sa.Engine) -> sa.Engine:
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys = ON"))
    return engine


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", DATABASES)
def test_a_statement_that_leads_back_to_its_own_rows(
    name: str, how: str, request: pytest.FixtureRequest, ledger_dir: Path
) -> None:
    """Keys that change in a tree, and rows that two foreign keys change in one statement."""
    address = new_database(name, request, ledger_dir)
    bare, engine = (with_foreign_keys(opened(address, request)) for _ in range(2))
    both = "ON DELETE CASCADE ON UPDATE CASCADE"
    either = "ON DELETE SET NULL ON UPDATE CASCADE"
    run(
        bare,
        f"CREATE TABLE tree (id int PRIMARY KEY, code int UNIQUE, above int REFERENCES tree {both},"
        f" near int REFERENCES tree (code) {either})",
        "CREATE TABLE root (id int PRIMARY KEY)",
        f"CREATE TABLE one (id int PRIMARY KEY, root int REFERENCES root {both})",
        f"CREATE TABLE two (id int PRIMARY KEY, root int REFERENCES root {both})",
        "CREATE TABLE leaf (id int PRIMARY KEY, "
        f"one int REFERENCES one {either}, two int REFERENCES two {either})",
        f"CREATE TABLE pair (one int REFERENCES one {both}, two int REFERENCES two {both}, "
        "n int, PRIMARY KEY (one, two))",
    )
    names = ("tree", "root", "one", "two", "leaf", "pair")
    capture(how, bare, engine)
    t = tables_of(bare).tables
    tree = [{"id": n, "code": n, "above": n // 2 or None, "near": n - 1 or None} for n in (1, 2, 3)]
    few = range(1, 5)
    with engine.begin() as connection:
        connection.execute(t["tree"].insert(), tree)
        connection.execute(t["root"].insert(), [{"id": 1}, {"id": 2}])
        for each in ("one", "two"):
            connection.execute(t[each].insert(), [{"id": n, "root": 1 + n % 2} for n in few])
        leaves = [{"id": n, "one": n, "two": 5 - n} for n in few]
        connection.execute(t["leaf"].insert(), leaves)
        pairs = [{"one": n, "two": m} for n in few for m in (n, 5 - n)]
        connection.execute(t["pair"].insert(), pairs)
    same(bare, *names)
    with engine.begin() as connection:
        for each in ("tree", "one"):
            column = t[each].c.id
            connection.execute(t[each].update().values(id=column * 10))
    with engine.begin() as connection:
        code = t["tree"].c.code
        connection.execute(t["tree"].update().values(code=code * 100))
    same(bare, *names)
    with engine.begin() as connection:
        connection.execute(t["root"].delete().where(t["root"].c.id == 2))
        connection.execute(t["tree"].update().where(t["tree"].c.id == 20).values(id=1, code=5))
        connection.execute(t["tree"].delete().where(t["tree"].c.id == 10))
    same(bare, *names)
    require_complete(bare, ledger_dir, *names)


def test_one_transaction_of_hooks_and_triggers_is_one(
    request: pytest.FixtureRequest, ledger_dir: Path
) -> None:
    address = new_database("postgresql", request, ledger_dir)
    bare, engine = (opened(address, request) for _ in range(2))
    run(
        bare,
        "CREATE TABLE a (id int PRIMARY KEY)",
        "CREATE TABLE b (id int PRIMARY KEY, "
        "a_id int REFERENCES a ON DELETE CASCADE ON UPDATE CASCADE)",
        "CREATE TABLE c (id int PRIMARY KEY, b_id int REFERENCES b ON DELETE CASCADE)",
    )
    triggers.install(bare, ["b"])
    assert install(engine).tables == ("a", "c")
    a, b, c = (tables_of(bare).tables[name] for name in "abc")
    with audit.context(actor="ann"), engine.begin() as connection:
        connection.execute(b.insert().values(id=1))  # triggers first
        connection.execute(a.insert().values(id=1))
        connection.execute(b.insert().values(id=2, a_id=1))
        connection.execute(c.insert().values(id=3, b_id=2))
    with engine.begin() as connection:  # hooks first, and no context
        connection.execute(c.insert().values(id=4))
        connection.execute(b.insert().values(id=3, a_id=1))
    with audit.context(actor="eve"), engine.begin() as connection:
        connection.execute(a.update().values(id=5))  # both from one statement
        connection.execute(a.delete())
    found = rows(bare)
    told = [(row["actor"], row["transaction_id"]) for row in found]
    assert [actor for actor, _ in dict.fromkeys(told)] == ["ann", None, "eve"]
    assert {row["origin"] for row in found} == {"core", "trigger"}
    assert [(r["op"], r["entity_type"]) for r in found if r["actor"] == "eve"].count(
        ("delete", "b")
    ) == 2
    same(bare, "a", "b", "c")
    require_complete(bare, ledger_dir, "a", "b", "c")


def test_tables_of_one_name_in_two_schemas(
    postgres_server: PostgresServer, request: pytest.FixtureRequest, ledger_dir: Path
) -> None:
    """Triggers of the one are no reason for hooks to leave out the other."""
    address = postgres_server.new_database(separate=True)
    bare = opened(address, request)
    run(
        bare,
        "CREATE SCHEMA other",
        "CREATE TABLE item (id int PRIMARY KEY)",
        "CREATE TABLE other.item (id int PRIMARY KEY)",
        "CREATE TABLE other.more (id int PRIMARY KEY)",
    )
    triggers.install(bare, ["item"], schema="other")
    tables.install(bare)
    # Both schemas are searched: `item` means the first.
    path = {"options": "-csearch_path=public,other"}
    engine = sa.create_engine(bare.url, connect_args=path)
    request.addfinalizer(engine.dispose)
    assert install(engine).tables == ("item", "more")
    assert triggers.triggered(bare, "other") == {"item"}
    metadata = sa.MetaData()
    for name in ("item", "more"):
        table = sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True))
        with engine.begin() as connection:
            connection.execute(table.insert().values(id=1))
    assert [(row["origin"], row["entity_type"]) for row in rows(bare)] == [
        *(("core", "item"), ("core", "more")),
    ]
    # Named outright: what has triggers is left to them, and recorded once.
    named = opened(address, request)
    assert install(named, schema="other", outbox_schema="other").tables == ("more",)
    with named.begin() as connection:
        for table in tables_of(bare, "other").tables.values():
            connection.execute(table.insert().values(id=2))
    with bare.connect() as connection:
        query = sa.text("SELECT origin, entity_type FROM other.attestory_outbox ORDER BY 2")
        found = [tuple(row) for row in connection.execute(query)]
    assert found == [("trigger", "item"), ("core", "more")]
    require_complete(bare, ledger_dir, "item", schema="other")


@pytest.mark.parametrize("name", DATABASES)
def test_hooks_find_out_that_a_column_is_gone(
    name: str, request: pytest.FixtureRequest, ledger_dir: Path
) -> None:
    """Dropped by another process, from under an application that does not use it."""
    address = new_database(name, request, ledger_dir)
    bare, engine = (opened(address, request) for _ in range(2))
    run(bare, "CREATE TABLE item (id int PRIMARY KEY, n int, old int)")
    capture("hooks", bare, engine)
    key = sa.Column("id", sa.Integer, primary_key=True)
    item = sa.Table("item", sa.MetaData(), key, sa.Column("n", sa.Integer))
    with engine.begin() as connection:
        connection.execute(item.insert().values(id=1))
    run(bare, "ALTER TABLE item DROP COLUMN old")
    with engine.connect() as connection, pytest.raises(DBAPIError):
        connection.execute(item.update().values(n=7))
    with engine.begin() as connection:  # of which nobody told this engine
        connection.execute(item.update().values(n=8))
    run(bare, "ALTER TABLE item ADD COLUMN new int", "ALTER TABLE item DROP COLUMN n")
    less = sa.Table("item", sa.MetaData(), key._copy())
    with engine.connect() as connection, pytest.raises(DBAPIError):
        connection.execute(less.insert().values(id=2))
    with engine.begin() as connection:
        connection.execute(less.insert().values(id=2))
    assert count(bare, "item") == 2
    assert [row["op"] for row in rows(bare)] == ["create", "update", "create"]


def test_hooks_and_a_row_of_ones_own_through_an_async_engine(
    request: pytest.FixtureRequest, ledger_dir: Path
) -> None:
    """An action beside the changes that it made: of one transaction, and gone with it."""
    address = new_database("postgresql", request, ledger_dir)
    bare = opened(address, request)
    run(bare, "CREATE TABLE item (id int PRIMARY KEY)")
    tables.install(bare)
    item = tables_of(bare).tables["item"]

    async def work() -> None:
        engine = create_async_engine(bare.url)
        install(engine)
        for number, is_kept in ((1, False), (2, True)):
            with audit.context(actor="ann", transaction_id=f"t{number}"):
                async with engine.connect() as connection:
                    await connection.execute(item.insert().values(id=number))
                    done = outbox.row("item.approve", "item", number, after={"by": "phone"})
                    await connection.run_sync(outbox.write, [done])
                    await (connection.commit() if is_kept else connection.rollback())
        await engine.dispose()

    asyncio.run(work())
    told = [
        (row["op"], row["entity_key"], row["actor"], row["transaction_id"]) for row in rows(bare)
    ]
    assert told == [("create", "2", "ann", "t2"), ("item.approve", "2", "ann", "t2")]
    require_complete(bare, ledger_dir, "item")


def test_names_in_another_case_are_the_same_to_sqlite(
    request: pytest.FixtureRequest, ledger_dir: Path
) -> None:
    address = new_database("sqlite", request, ledger_dir)
    bare, engine = (with_foreign_keys(opened(address, request)) for _ in range(2))
    run(
        bare,
        "CREATE TABLE item (id INTEGER PRIMARY KEY, n int)",
        "CREATE TABLE part (id INTEGER PRIMARY KEY, "
        "item int REFERENCES ITEM (ID) ON DELETE CASCADE)",
    )
    capture("hooks", bare, engine)
    key = sa.Column("id", sa.Integer, primary_key=True)
    item = sa.Table("Item", sa.MetaData(), key, sa.Column("n", sa.Integer))
    part = tables_of(bare).tables["part"]
    with engine.begin() as connection:
        connection.execute(item.insert(), [{"id": 1}, {"id": 2}])
        connection.execute(part.insert(), [{"id": 1, "item": 1}, {"id": 2, "item": 2}])
        connection.execute(item.update().values(n=5))
        connection.execute(item.delete().where(item.c.id == 1))
    same(bare, "item", "part")
    other = sa.Table("item", sa.MetaData(), sa.Column("ID", sa.Integer, primary_key=True))
    with engine.connect() as connection, pytest.raises(UnseenWrite, match="another case"):
        connection.execute(other.insert().values(ID=9))
    require_complete(bare, ledger_dir, "item", "part")


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("nested", [False, True])
def test_a_connection_that_is_lost(
    how: str, nested: bool, request: pytest.FixtureRequest, ledger_dir: Path
) -> None:
    """The application hears of that, and of nothing else; the next transaction is well."""
    address = new_database("postgresql", request, ledger_dir)
    bare, engine = (opened(address, request) for _ in range(2))
    run(bare, "CREATE TABLE item (id int PRIMARY KEY)")
    capture(how, bare, engine)
    item = tables_of(bare).tables["item"]

    def lose(connection: sa.Connection) -> None:
        connection.execute(item.insert().values(id=1))
        number = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with bare.connect() as other:
            other.execute(sa.select(sa.func.pg_terminate_backend(number, 10_000)))
        connection.execute(item.insert().values(id=2))

    with audit.context(actor="ann"):
        with pytest.raises(OperationalError), engine.begin() as connection:
            if nested:
                with connection.begin_nested():
                    lose(connection)
            lose(connection)
        with engine.begin() as connection:
            connection.execute(item.insert().values(id=3))
    assert [(row["entity_key"], row["actor"]) for row in rows(bare)] == [("3", "ann")]


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
def test_prepared_transactions(
    how: str, private_postgres: PostgresServer, request: pytest.FixtureRequest, ledger_dir: Path
) -> None:
    """What is prepared is not there yet, survives the database's death, and then is in order."""
    address = private_postgres.new_database(separate=True)
    with psycopg.connect(address, autocommit=True) as plain:
        plain.execute("ALTER SYSTEM SET max_prepared_transactions = 5")
    private_postgres.restart()
    bare, engine = open_database(address), open_database(address)
    run(bare, "CREATE TABLE item (id int PRIMARY KEY, n int)")
    capture(how, bare, engine)
    item = tables_of(bare).tables["item"]
    with audit.context(actor="ann"), engine.begin() as connection:
        connection.execute(item.insert(), [{"id": n, "n": 0} for n in range(3)])
    with audit.context(actor="eve"), engine.connect() as connection:
        transaction = connection.begin_twophase("first")
        connection.execute(item.update().where(item.c.id == 1).values(n=1))
        transaction.prepare()
        connection.invalidate()
    with audit.context(actor="bob"), engine.begin() as connection:
        connection.execute(item.update().where(item.c.id == 2).values(n=2))
    require_complete(bare, ledger_dir, "item")
    private_postgres.kill()
    private_postgres.start()
    for each in (bare, engine):
        each.dispose()
    with psycopg.connect(address, autocommit=True) as plain:
        plain.execute("COMMIT PREPARED 'first'")
    with audit.context(actor="tom"), engine.begin() as connection:
        connection.execute(item.update().where(item.c.id == 1).values(n=item.c.n + 1))
    assert [(row["entity_key"], row["actor"]) for row in rows(bare)] == [("1", "eve"), ("1", "tom")]
    require_complete(bare, ledger_dir, "item")
    assert count(bare, "attestory_outbox") == 0
    for each in (bare, engine):
        each.dispose()

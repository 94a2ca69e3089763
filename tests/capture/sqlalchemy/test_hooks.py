"""What holds around the statements: transactions, failures, async engines, and who else writes."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

import audit
from audit.capture.database.tables import install as make_outbox
from audit.capture.sqlalchemy import install
from audit.errors import InvalidInput, NotFound, StoreBusy, UnseenWrite
from tests.capture.database.outbox_support import DATABASES
from tests.capture.sqlalchemy.support import new_engine

METADATA = sa.MetaData()
ITEM = sa.Table(
    "item",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(20), unique=True),
    sa.Column("n", sa.Integer, nullable=False, server_default="0"),
)
PART = sa.Table(
    "part",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("item_id", sa.ForeignKey("item.id", ondelete="CASCADE")),
    sa.Column("above", sa.ForeignKey("part.id", ondelete="CASCADE")),
)


@pytest.fixture(params=DATABASES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> sa.Engine:
    found = new_engine(request.param, request, tmp_path)
    if request.param == "sqlite":
        # In the driver's own way of beginning transactions, and with foreign keys.
        sa.event.listen(found, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys = ON"))
    METADATA.create_all(found)
    make_outbox(found)
    install(found)
    with found.begin() as connection:
        rows = [{"name": f"i{n}", "n": n} for n in (1, 2, 3)]
        connection.execute(ITEM.insert(), rows)
    with found.begin() as connection:
        connection.exec_driver_sql("DELETE FROM attestory_outbox")
    return found


def told(engine: sa.Engine) -> list[tuple[Any, ...]]:
    """(op, entity, key, after) of each row, in order."""
    query = "SELECT op, entity_type, entity_key, after FROM attestory_outbox ORDER BY id"
    with engine.connect() as connection:
        return [
            (*row[:3], None if row[3] is None else json.loads(row[3]))
            for row in connection.execute(sa.text(query))
        ]


def test_a_row_has_its_context_and_its_transaction(engine: sa.Engine) -> None:
    known = audit.context(actor="ann", reason="why", request_id="r1", trace_id="t1")
    with known, engine.begin() as connection:
        connection.execute(ITEM.update().where(ITEM.c.id == 1).values(n=7))
        connection.execute(ITEM.update().where(ITEM.c.n == 2).values(n=8))
    with engine.begin() as connection:
        connection.execute(ITEM.delete().where(ITEM.c.id == 3))
    query = sa.text("SELECT * FROM attestory_outbox ORDER BY id")
    with engine.connect() as connection:
        one, two, three = connection.execute(query).mappings()
    assert (one["actor"], one["reason"], one["request_id"], one["trace_id"]) == (
        *("ann", "why"),
        *("r1", "t1"),
    )
    assert one["transaction_id"] == two["transaction_id"] != three["transaction_id"]
    assert (json.loads(one["before"]), json.loads(one["after"])) == ({"n": 1}, {"n": 7})
    assert three["actor"] is None and json.loads(three["before"])["name"] == "i3"


def test_what_is_rolled_back_is_not_told(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        connection.execute(ITEM.insert().values(name="gone"))
        connection.rollback()
    assert told(engine) == []


def test_without_a_transaction_it_raises(engine: sa.Engine) -> None:
    loose = engine.execution_options(isolation_level="AUTOCOMMIT")
    for statement in (
        ITEM.insert().values(name="x"),
        ITEM.update().values(n=5),
        ITEM.delete().where(ITEM.c.id == 1),
    ):
        with loose.connect() as connection, pytest.raises(InvalidInput, match="autocommit"):
            connection.execute(statement)
    with engine.connect() as connection:
        assert connection.execute(sa.select(ITEM.c.n).order_by(ITEM.c.id)).scalars().all() == [
            *(1, 2, 3)
        ]
    assert told(engine) == []


def test_two_phases(engine: sa.Engine) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no two-phase commit")
    with engine.connect() as connection:
        limit = connection.exec_driver_sql("SHOW max_prepared_transactions").scalar_one()
        connection.rollback()
        transaction = connection.begin_twophase()
        connection.execute(ITEM.insert().values(name="two"))
        if int(limit) == 0:
            transaction.rollback()
            assert told(engine) == []
            return
        transaction.prepare()
        transaction.commit()
    assert [row[0] for row in told(engine)] == ["create"]


def test_a_change_whose_row_cannot_be_written_fails(engine: sa.Engine) -> None:
    other = sa.create_engine(engine.url)
    with other.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE attestory_outbox RENAME COLUMN op TO was")
    with engine.connect() as connection:
        with pytest.raises(sa.exc.DBAPIError):
            connection.execute(ITEM.update().where(ITEM.c.id == 1).values(n=99))
        connection.commit()  # whoever catches the error cannot commit the change
    with other.connect() as connection:
        assert connection.scalar(sa.select(ITEM.c.n).where(ITEM.c.id == 1)) == 1
    other.dispose()


def test_a_value_that_cannot_be_kept_takes_its_change_back(engine: sa.Engine) -> None:
    """Within a savepoint just that one: what was done before it stays."""
    if engine.dialect.name == "postgresql":
        pytest.skip("PostgreSQL keeps no text that is none")
    with engine.begin() as connection:
        connection.execute(ITEM.update().where(ITEM.c.id == 2).values(n=22))
        with pytest.raises(sa.exc.DBAPIError), connection.begin_nested():
            broken = sa.cast(sa.literal(b"\xff"), sa.Text)
            connection.execute(ITEM.update().where(ITEM.c.id == 1).values(name=broken))
    assert [row[2] for row in told(engine)] == ["2"]


def test_what_the_application_did_wrong_it_hears_of(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.execute(ITEM.insert(), [{"name": "ok"}, {"name": "i1"}])
        connection.execute(ITEM.insert().values(name="after"))
    assert [(row[0], row[3]["name"]) for row in told(engine)] == [("create", "after")]


def test_half_of_many_runs_is_not_left_on_sqlite(engine: sa.Engine) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL undoes the whole transaction")
    with engine.begin() as connection:
        with pytest.raises(IntegrityError):
            connection.execute(ITEM.insert(), [{"id": 8, "name": "ok"}, {"id": 9, "name": "i1"}])
        assert connection.scalar(sa.select(sa.func.count()).select_from(ITEM)) == 3
    assert told(engine) == []


def test_a_tree_that_refers_to_itself(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        rows = [
            {"id": 1, "item_id": 1, "above": None},
            {"id": 2, "item_id": None, "above": 1},
            {"id": 3, "item_id": 2, "above": 2},
            {"id": 4, "item_id": 2, "above": None},
        ]
        for row in rows:
            connection.execute(PART.insert().values(row))
        connection.exec_driver_sql("DELETE FROM attestory_outbox")
        connection.execute(ITEM.delete().where(ITEM.c.name == "i1"))
    assert {row[:3] for row in told(engine)} == {
        *(("delete", "item", "1"), ("delete", "part", "1")),
        *(("delete", "part", "2"), ("delete", "part", "3")),
    }


WRITES = [
    "UPDATE item SET n = 5",
    'delete from "item"',
    "WITH x AS (SELECT 1) DELETE FROM public.item",
    "/* SELECT */ UPDATE\titem SET n = 1",
    "SELECT 1; DELETE FROM item",
    """SELECT 1 AS "o'x"; DELETE FROM item WHERE name = 'b'""",
    "DO $$ BEGIN EXECUTE 'DELETE FROM item'; END $$",
    "TRUNCATE part, item",
    "DROP TABLE ITEM",
    "DROP SCHEMA public CASCADE",
    "ALTER TABLE item DROP COLUMN n",
    "COPY item FROM STDIN",
    "MERGE INTO item USING part ON true WHEN MATCHED THEN DELETE",
    "REPLACE INTO item VALUES (1, 'x', 1)",
]


def test_text_that_may_write_is_refused(engine: sa.Engine) -> None:
    for sql in WRITES:
        with engine.connect() as connection, pytest.raises(UnseenWrite):
            connection.exec_driver_sql(sql)
        with engine.connect() as connection, pytest.raises(UnseenWrite):
            connection.execute(sa.text(sql))


READS = [
    "SELECT * FROM item WHERE name = 'update item'",
    "SELECT n -- delete\nFROM item",
    "CREATE INDEX by_n ON item (n)",
    "CREATE TABLE items (id INTEGER PRIMARY KEY, "
    "item INTEGER REFERENCES item (id) ON DELETE CASCADE ON UPDATE CASCADE)",
    "DELETE FROM attestory_outbox",
]


def test_text_that_reads_is_not(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for sql in READS:
            connection.exec_driver_sql(sql)


def test_a_gap_names_no_value(engine: sa.Engine) -> None:
    engine._attestory_hooks.remove()  # type: ignore[attr-defined]
    install(engine, {"item": "thing"}, on_unseen="gap")
    with audit.context(actor="bob"), engine.begin() as connection:
        connection.execute(sa.text("UPDATE item SET name = :s WHERE id = 1"), {"s": "secret"})
        connection.exec_driver_sql("DELETE FROM part WHERE id = 77")
    ((op, entity, key, after),) = told(engine)
    assert (op, entity, key) == ("gap", "thing", None)
    assert after == {"statement": "UPDATE", "table": "item", "why": "it is text"}


def test_another_entity_type_and_columns_left_out(engine: sa.Engine) -> None:
    engine._attestory_hooks.remove()  # type: ignore[attr-defined]
    install(engine, {"item": "thing"}, leave_out={"item": ["name"]})
    with engine.begin() as connection:
        connection.execute(ITEM.insert().values(id=9, name="secret"))
        connection.execute(ITEM.update().where(ITEM.c.id == 9).values(name="other"))
        connection.execute(PART.insert().values(id=1))
    assert told(engine) == [("create", "thing", "9", {"id": 9, "n": 0})]


def test_removed_hooks_capture_nothing(engine: sa.Engine) -> None:
    installed = engine._attestory_hooks  # type: ignore[attr-defined]
    assert installed.tables == ("item", "part")
    installed.remove()
    installed.remove()
    with engine.begin() as connection:
        connection.execute(ITEM.update().values(n=5))
    assert told(engine) == []
    install(engine)
    with pytest.raises(InvalidInput, match="already"):
        install(engine)


def test_what_cannot_be_installed(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    engine = new_engine("sqlite", request, tmp_path)
    with pytest.raises(InvalidInput, match="outbox"):
        install(engine)
    make_outbox(engine)
    with pytest.raises(NotFound):
        install(engine, ["absent"])
    with pytest.raises(InvalidInput):
        install(engine, on_unseen="ignore")
    with pytest.raises(InvalidInput):
        install("sqlite://")  # type: ignore[arg-type]
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE r (id INTEGER PRIMARY KEY ON CONFLICT REPLACE)")
    with pytest.raises(InvalidInput, match="ON CONFLICT"):
        install(engine)


def test_a_table_made_later_is_captured(engine: sa.Engine) -> None:
    late = sa.Table("late", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
    with engine.begin() as connection:
        late.create(connection)
        connection.execute(late.insert().values(id=1))
    assert told(engine) == [("create", "late", "1", {"id": 1})]


def test_async_engines(engine: sa.Engine, request: pytest.FixtureRequest) -> None:
    address = engine.url.set(
        drivername="sqlite+aiosqlite" if engine.dialect.name == "sqlite" else "postgresql+psycopg"
    )

    async def work() -> None:
        own = create_async_engine(address)
        install(own)
        with audit.context(actor="eve"):
            async with own.begin() as connection:
                await connection.execute(ITEM.insert(), [{"name": "a1"}, {"name": "a2"}])
                await connection.execute(ITEM.update().where(ITEM.c.n == 0).values(n=1))
        async with own.connect() as connection:
            with pytest.raises(UnseenWrite):
                await connection.execute(sa.text("DELETE FROM item"))
        await own.dispose()

    asyncio.run(work())
    assert [row[0] for row in told(engine)] == ["create", "create", "update", "update"]
    with engine.connect() as connection:
        actors = connection.exec_driver_sql("SELECT DISTINCT actor FROM attestory_outbox")
        assert actors.scalars().all() == ["eve"]


def test_a_row_that_comes_between_reading_and_changing(engine: sa.Engine) -> None:
    """READ COMMITTED: the UPDATE keeps to the rows that were read."""
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    other = sa.create_engine(engine.url)
    done: list[str] = []

    def come(connection: Any, cursor: Any, sql: str, *_: Any) -> None:
        if sql.startswith("UPDATE item") and not done:
            done.append(sql)
            with other.begin() as second:
                second.execute(ITEM.insert().values(id=50, name="between", n=1))

    sa.event.listen(engine, "before_cursor_execute", come)
    with engine.begin() as connection:
        connection.execute(ITEM.update().where(ITEM.c.n < 3).values(n=9))
    assert done
    with engine.connect() as connection:
        rows = dict(connection.execute(sa.select(ITEM.c.id, ITEM.c.n)).all())
    other.dispose()
    assert rows == {1: 9, 2: 9, 3: 3, 50: 1}
    assert [row[2] for row in told(engine)] == ["1", "2"]


def test_a_key_that_comes_between_reading_and_changing(engine: sa.Engine) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    other = sa.create_engine(engine.url)
    done: list[str] = []

    def come(connection: Any, cursor: Any, sql: str, *_: Any) -> None:
        if sql.startswith("UPDATE item") and not done:
            done.append(sql)
            with other.begin() as second:
                second.execute(ITEM.insert().values(id=50, name="between"))

    sa.event.listen(engine, "before_cursor_execute", come)
    with engine.connect() as connection:
        with pytest.raises(StoreBusy):
            connection.execute(ITEM.update().where(ITEM.c.id == 50).values(n=9))
        connection.rollback()
        assert connection.scalar(sa.select(ITEM.c.n).where(ITEM.c.id == 50)) == 0
    other.dispose()


def test_a_row_that_comes_between_reading_and_an_upsert(engine: sa.Engine) -> None:
    """It is no new row: the other's has that key, and its event says what it held."""
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    other = sa.create_engine(engine.url)
    install(other)
    done: list[str] = []

    def come(connection: Any, cursor: Any, sql: str, *_: Any) -> None:
        if sql.startswith("INSERT INTO item") and not done:
            done.append(sql)
            with other.begin() as second:
                second.execute(ITEM.insert().values(id=50, name="between", n=1))

    sa.event.listen(engine, "before_cursor_execute", come)
    with engine.begin() as connection:
        made = upsert(ITEM).values([{"id": 50, "name": "x"}, {"id": 51, "name": "y"}])
        clause = {"n": ITEM.c.n + 4, "name": made.excluded.name}
        connection.execute(made.on_conflict_do_update(index_elements=["id"], set_=clause))
    other.dispose()
    assert told(engine) == [
        ("create", "item", "50", {"id": 50, "name": "between", "n": 1}),
        ("update", "item", "50", {"id": 50, "name": "x", "n": 5}),
        ("create", "item", "51", {"id": 51, "name": "y", "n": 0}),
    ]


def test_many_threads(engine: sa.Engine) -> None:
    """Updates of the same rows at once: the last row told of each key is what is there."""
    if engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")

    def work(number: int) -> None:
        for _ in range(5):
            with Session(engine) as session, session.begin():
                session.execute(ITEM.update().where(ITEM.c.n >= 0).values(n=ITEM.c.n + number))

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(work, (1, 10, 100))) == [None] * 3
    last = {key: after["n"] for _, _, key, after in told(engine)}
    with engine.connect() as connection:
        rows = connection.execute(sa.select(ITEM.c.id, ITEM.c.n)).all()
    assert {str(key): n for key, n in rows} == last
    assert len(told(engine)) == 3 * 5 * 3

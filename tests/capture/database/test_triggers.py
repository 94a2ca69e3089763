"""What triggers see on both databases: every statement, and its context."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

import audit
from audit.capture.database import database_context
from audit.errors import InvalidInput
from tests.capture.database.outbox_support import DATABASES, count, new_database
from tests.capture.database.trigger_support import (
    folded,
    opened,
    rows,
    run,
    same,
    table_names,
    told,
    triggers,
)
from tests.consumers.processes import wait_until

PARENT = "CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT UNIQUE, amount NUMERIC(10, 2))"
CHILD = (
    "CREATE TABLE child (a INTEGER NOT NULL, b TEXT NOT NULL, parent INTEGER "
    "REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE, PRIMARY KEY (a, b))"
)


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """A database with two tables and nothing of ours."""
    engine = opened(new_database(request.param, request, tmp_path), request)
    run(engine, PARENT, CHILD)
    return engine


@pytest.fixture
def captured(database: Engine) -> Engine:
    """The same with triggers."""
    triggers.install(database)
    return database


def foreign_keys(engine: Engine) -> list[str]:
    return ["PRAGMA foreign_keys = ON"] if engine.dialect.name == "sqlite" else []


def test_insert_update_and_delete_are_recorded_with_what_changed(captured: Engine) -> None:
    run(captured, "INSERT INTO parent VALUES (1, 'a', 1.5), (2, 'b', NULL)")
    run(captured, "UPDATE parent SET amount = 2.25 WHERE id = 1")
    run(captured, "DELETE FROM parent WHERE id = 2")
    assert told(captured) == [
        ("create", "1", None, {"id": 1, "name": "a", "amount": {"$decimal": "1.50"}}),
        ("create", "2", None, {"id": 2, "name": "b", "amount": None}),
        ("update", "1", {"amount": {"$decimal": "1.50"}}, {"amount": {"$decimal": "2.25"}}),
        ("delete", "2", {"id": 2, "name": "b", "amount": None}, None),
    ]
    assert {row["origin"] for row in rows(captured)} == {"trigger"}
    assert len({row["event_id"] for row in rows(captured)}) == 4
    same(captured, "parent", "child")


def test_an_update_that_changes_nothing_is_not_recorded(captured: Engine) -> None:
    run(captured, "INSERT INTO parent VALUES (1, 'a', NULL)")
    run(captured, "UPDATE parent SET name = 'a', amount = NULL, id = id")
    run(captured, "UPDATE parent SET name = 'b' WHERE id = 9")
    assert len(told(captured)) == 1


def test_a_key_change_is_a_delete_and_a_create(captured: Engine) -> None:
    run(captured, "INSERT INTO parent VALUES (1, 'a', NULL), (5, 'e', NULL)")
    run(captured, "UPDATE parent SET id = 3 WHERE id = 1")
    assert [row[:2] for row in told(captured, 2)] == [("delete", "1"), ("create", "3")]
    run(captured, "UPDATE parent SET id = id + 100")
    same(captured, "parent")


def test_cascades_are_recorded(captured: Engine) -> None:
    run(captured, "INSERT INTO parent VALUES (1, 'a', NULL), (2, 'b', NULL)")
    run(captured, "INSERT INTO child VALUES (1, 'x', 1), (1, 'y\"é', 1), (2, 'x', 2)")
    with captured.connect() as connection:
        for statement in (*foreign_keys(captured), "UPDATE parent SET id = 7 WHERE id = 2"):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("DELETE FROM parent WHERE id = 1")
        connection.commit()
    assert set(folded(captured, "child")) == {'[2,"x"]'}
    assert folded(captured, "child")['[2,"x"]']["parent"] == 7
    same(captured, "parent", "child")


def test_rollbacks_and_savepoints_drop_just_their_part(captured: Engine) -> None:
    with captured.connect() as connection:
        connection.execute(text("INSERT INTO parent VALUES (1, 'a', NULL)"))
        connection.rollback()
        if captured.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")
        connection.execute(text("INSERT INTO parent VALUES (2, 'b', NULL)"))
        connection.exec_driver_sql("SAVEPOINT s")
        connection.execute(text("INSERT INTO parent VALUES (3, 'c', NULL)"))
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT s")
        connection.execute(text("INSERT INTO parent VALUES (4, 'd', NULL)"))
        connection.commit()
    assert [row[1] for row in told(captured)] == ["2", "4"]
    same(captured, "parent")


def test_upserts_are_recorded_as_what_they_did(captured: Engine) -> None:
    upsert = (
        "INSERT INTO parent VALUES (1, 'a', 1), (2, 'b', 2) "
        "ON CONFLICT (id) DO UPDATE SET amount = excluded.amount + 1"
    )
    run(captured, upsert)
    run(captured, upsert)
    run(captured, "INSERT INTO parent VALUES (1, 'z', 9) ON CONFLICT DO NOTHING")
    assert [row[:2] for row in told(captured)] == [
        *(("create", "1"), ("create", "2")),
        *(("update", "1"), ("update", "2")),
    ]
    same(captured, "parent")


def test_the_context_of_the_application_is_in_every_row(captured: Engine) -> None:
    database_context.install(captured)
    database_context.install(captured)
    with captured.begin() as connection:
        with audit.context(actor="ann\x00\"'", reason="why", request_id="r-1", trace_id="t"):
            connection.execute(text("INSERT INTO parent VALUES (1, 'a', NULL)"))
        with audit.context(actor="bob", valid_time="2026-01-02"):
            connection.execute(text("UPDATE parent SET name = 'b'"))
        connection.execute(text("DELETE FROM parent"))
    run(captured, "INSERT INTO child VALUES (1, 'x', NULL)")
    first, second, third, fourth = rows(captured)
    assert first["actor"].startswith("ann") and first["actor"].endswith("\"'")
    assert (first["reason"], first["request_id"], first["trace_id"]) == ("why", "r-1", "t")
    assert (second["actor"], second["reason"]) == ("bob", None)
    assert second["occurred_us"] == 1_767_312_000_000_000
    assert third["actor"] is fourth["actor"] is None
    assert first["transaction_id"] == second["transaction_id"] == third["transaction_id"]
    assert first["transaction_id"] not in (None, fourth["transaction_id"])


def test_a_rolled_back_context_is_set_again(captured: Engine) -> None:
    database_context.install(captured)
    with captured.connect() as connection, audit.context(actor="ann"):
        connection.execute(text("INSERT INTO parent VALUES (1, 'a', NULL)"))
        connection.rollback()
        if captured.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")
        with connection.begin_nested() as inner:
            connection.execute(text("INSERT INTO parent VALUES (2, 'b', NULL)"))
            inner.rollback()
        connection.execute(text("INSERT INTO parent VALUES (3, 'c', NULL)"))
        connection.commit()
    assert [(row["entity_key"], row["actor"]) for row in rows(captured)] == [("3", "ann")]


def test_rows_from_before_are_taken_in_once(database: Engine) -> None:
    run(database, "INSERT INTO parent VALUES (1, 'a', 1), (2, 'b', 2)")
    done = triggers.install(database)
    assert done.made == ("child", "parent")
    assert done.taken_in == {"child": 0, "parent": 2}
    assert {(row["op"], row["origin"]) for row in rows(database)} == {("create", "snapshot")}
    again = triggers.install(database)
    assert (again.made, again.kept, again.taken_in) == ((), ("child", "parent"), {})
    assert triggers.triggered(database) == {"child", "parent"}
    assert triggers.check(database).findings == ()
    same(database, "parent")


def test_without_a_snapshot_nothing_is_taken_in(database: Engine) -> None:
    run(database, "INSERT INTO parent VALUES (1, 'a', 1)")
    assert triggers.install(database, snapshot=False).taken_in == {}
    assert rows(database) == []


def test_tables_columns_and_entity_types_are_chosen(database: Engine) -> None:
    triggers.install(database, {"parent": "person"}, leave_out={"parent": ["name"]})
    run(database, "INSERT INTO parent VALUES (1, 'secret', NULL)", "UPDATE parent SET name = 'x'")
    run(database, "INSERT INTO child VALUES (1, 'x', 1)")
    assert told(database) == [("create", "1", None, {"id": 1, "amount": None})]
    assert rows(database)[0]["entity_type"] == "person"
    assert triggers.triggered(database) == {"parent"}
    assert triggers.check(database).findings == ()
    assert triggers.install(database).kept == ("parent",), "what was told last time holds"


def found(engine: Engine) -> str:
    return "; ".join(f"{each.table}: {each.what}" for each in triggers.check(engine).findings)


def test_a_changed_schema_is_found_and_mended_with_a_gap(captured: Engine) -> None:
    run(captured, "INSERT INTO parent VALUES (1, 'a', 1)")
    run(captured, "ALTER TABLE parent ADD COLUMN extra TEXT DEFAULT 'e'")
    assert "parent: column extra was added" in found(captured)
    run(captured, "CREATE TABLE late (id INTEGER PRIMARY KEY)", "UPDATE parent SET extra = 'f'")
    assert "late: the table is new" in found(captured)
    done = triggers.install(captured)
    assert (done.made, done.mended, done.kept) == (("late",), ("parent",), ("child",))
    gap, again = rows(captured)[-2:]
    assert (gap["op"], gap["entity_type"], gap["entity_key"]) == ("gap", "parent", None)
    assert "extra was added" in gap["after"]
    assert (again["op"], again["image"], again["origin"]) == ("update", "full", "snapshot")
    assert found(captured) == ""
    same(captured, "parent", "late")


def test_a_missing_trigger_is_found_and_mended(captured: Engine) -> None:
    if captured.dialect.name == "sqlite":
        with captured.connect() as connection:
            query = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'parent'"
            name = connection.exec_driver_sql(query).scalars().first()
        run(captured, f"DROP TRIGGER {name}")
        assert f"trigger {name} is missing" in found(captured)
    else:
        run(captured, "ALTER TABLE parent DISABLE TRIGGER ALL")
        assert "is not enabled always" in found(captured)
    assert triggers.install(captured).mended == ("parent",)
    assert found(captured) == ""


def test_a_dropped_table_and_a_new_key_are_found(captured: Engine) -> None:
    run(captured, "DROP TABLE child")
    assert "child: there is no table" in found(captured)
    run(captured, "DROP TABLE parent", "CREATE TABLE parent (k TEXT PRIMARY KEY, id BIGINT)")
    assert "the key was ('id',) and is ('k',)" in found(captured)
    done = triggers.install(captured)
    assert (done.mended, done.released) == (("parent",), ("child",))
    assert found(captured) == ""


def test_removing_keeps_the_outbox_and_says_what_waits(captured: Engine) -> None:
    run(captured, "INSERT INTO parent VALUES (1, 'a', 1)")
    with pytest.raises(InvalidInput, match="no triggers of ours"):
        triggers.remove(captured, ["nothing"])
    assert triggers.remove(captured, ["child"]).tables == ("child",)
    done = triggers.remove(captured)
    assert (done.tables, done.waiting) == (("parent",), 3)
    run(captured, "UPDATE parent SET name = 'b'")
    assert [row["op"] for row in rows(captured)] == ["create", "gap", "gap"]
    assert triggers.triggered(captured) == frozenset()
    assert triggers.install(captured).made == ("child", "parent")


def test_a_table_without_a_key_is_refused_before_anything_is_changed(database: Engine) -> None:
    run(database, "CREATE TABLE heap (n INTEGER)")
    with pytest.raises(InvalidInput, match=r"heap.*exclude"):
        triggers.install(database)
    assert not any(name.startswith("attestory_") for name in table_names(database))
    triggers.install(database, exclude=["heap"])
    assert triggers.check(database).findings == ()


@pytest.mark.parametrize(
    "name",
    ['a "b" \'c\' `d` [e]', "éè -- ; DROP TABLE x", "select", "%s %(x)s :y {0} \\", "$attestory$",
     "x" * 63, "\u2028", "n", "attestory_c", "DIGEST SCHEMA"],
)  # fmt: skip
def test_hostile_names_are_names(database: Engine, name: str) -> None:
    def quote(word: str) -> str:
        return '"' + word.replace('"', '""') + '"'

    table, column = quote(name), quote(name)
    run(
        database, f"CREATE TABLE {table} ({column} TEXT PRIMARY KEY, {quote('$' + name[:62])} TEXT)"
    )
    triggers.install(database, {name: "thing"})
    run(database, f"INSERT INTO {table} VALUES ('k', 'v')")
    run(database, f"UPDATE {table} SET {quote('$' + name[:62])} = 'w'")
    run(database, f"UPDATE {table} SET {column} = 'l'")
    same(database, name, entity_type="thing")
    run(database, f"DELETE FROM {table}")
    assert len(rows(database)) == 5
    assert triggers.check(database).findings == ()
    triggers.remove(database)


@pytest.mark.parametrize("name", ["Users", "order line", "x" * 129, "_user", "é"])
def test_a_name_that_no_event_can_have_is_refused_at_once(database: Engine, name: str) -> None:
    """And not by the relay, row by row, when the changes are made already."""
    run(database, "CREATE TABLE thing (id INTEGER PRIMARY KEY)")
    with pytest.raises(InvalidInput, match="no entity type") as refused:
        triggers.install(database, {"thing": name})
    assert len(str(refused.value).splitlines()) == 2
    run(database, 'CREATE TABLE "Users" (id INTEGER PRIMARY KEY)')
    with pytest.raises(InvalidInput, match="no entity type"):
        triggers.install(database)
    triggers.install(database, {"Users": "users"})


def test_a_snapshot_has_the_context_of_whoever_takes_it(database: Engine) -> None:
    run(database, "CREATE TABLE thing (id INTEGER PRIMARY KEY)", "INSERT INTO thing VALUES (1)")
    with audit.context(actor="ann", request_id="r1"):
        triggers.install(database)
    run(database, "INSERT INTO thing VALUES (2)")
    told = [(row["entity_key"], row["actor"], row["request_id"]) for row in rows(database)]
    assert told == [("1", "ann", "r1"), ("2", None, None)]


def test_the_snapshot_waits_for_writers_and_misses_none(database: Engine) -> None:
    import threading
    import time

    stop, errors = threading.Event(), []

    def write(offset: int) -> None:
        number = offset
        while not stop.is_set():
            try:
                run(database, f"INSERT INTO parent VALUES ({number}, 'n{number}', 1)",
                    f"UPDATE parent SET amount = 2 WHERE id = {number}")  # fmt: skip
                number += 1
                time.sleep(0.001)
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=write, args=(n * 1_000_000,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        wait_until("there is something", lambda: count(database, "parent") > 0)
        triggers.install(database)
        origins = {"snapshot", "trigger"}
        wait_until("they write on", lambda: {row["origin"] for row in rows(database)} == origins)
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    same(database, "parent")


# SQLite's own


@pytest.fixture(params=[False, True], ids=["plain", "recursive"])
def replacing(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A raw connection to a captured SQLite database, in either setting."""
    engine = opened(new_database("sqlite", request, tmp_path), request)
    run(
        engine,
        PARENT,
        "CREATE TABLE w (k TEXT PRIMARY KEY, u TEXT UNIQUE, v) WITHOUT ROWID",
        "CREATE TABLE tag (k TEXT COLLATE NOCASE PRIMARY KEY, a INT, b INT, UNIQUE (a, b))",
    )
    triggers.install(engine)
    raw = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    raw.execute(f"PRAGMA recursive_triggers = {int(request.param)}")
    request.addfinalizer(raw.close)
    return engine, raw


def test_what_replace_deletes_is_recorded_in_either_setting(replacing: Any) -> None:
    engine, raw = replacing
    raw.execute("INSERT INTO parent VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)")
    raw.execute("INSERT OR REPLACE INTO parent VALUES (1, 'b', 9)")
    assert sorted(row[:2] for row in told(engine, 3)) == [
        ("create", "1"), ("delete", "1"), ("delete", "2"),
    ]  # fmt: skip
    same(engine, "parent")
    raw.execute("UPDATE OR REPLACE parent SET name = 'c' WHERE id = 1")
    raw.execute("INSERT OR IGNORE INTO parent VALUES (1, 'z', 0)")
    raw.execute("REPLACE INTO parent (name) VALUES ('c')")
    raw.execute("UPDATE parent SET id = 50")
    raw.execute("REPLACE INTO parent (id, name) VALUES (60, 'n'), (60, 'm'), (50, 'o')")
    same(engine, "parent")
    raw.execute("INSERT INTO w VALUES ('k', 'u', 1), ('l', 'v', 1.0)")
    raw.execute("REPLACE INTO w VALUES ('m', 'u', 1), ('l', 'z', x'00ff')")
    raw.execute("UPDATE OR REPLACE w SET k = 'l' WHERE k = 'm'")
    raw.execute("UPDATE w SET v = 1.0")
    raw.execute("UPDATE w SET v = 1")
    same(engine, "w")
    raw.execute("INSERT INTO tag VALUES ('A', 1, 1), ('b', 1, 2)")
    raw.execute("REPLACE INTO tag VALUES ('a', 1, 2)")
    raw.execute("UPDATE tag SET k = 'A'")
    same(engine, "tag")
    raw.execute("UPDATE tag SET a = 5 WHERE k = 'a'")
    raw.execute("INSERT INTO tag VALUES ('A', 7, 7) ON CONFLICT (k) DO UPDATE SET a = excluded.a")
    raw.execute("DELETE FROM tag")
    same(engine, "tag")


def test_a_connection_without_the_context_writes_as_before(replacing: Any) -> None:
    engine, raw = replacing
    raw.execute("INSERT INTO parent VALUES (1, 'a', 1)")
    assert raw.execute("SELECT last_insert_rowid(), changes()").fetchone() == (1, 1)
    assert [row["actor"] for row in rows(engine)] == [None]


def test_json_of_sqlite_is_its_value(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    engine = opened(new_database("sqlite", request, tmp_path), request)
    run(engine, "CREATE TABLE j (id INTEGER PRIMARY KEY, d JSON)")
    triggers.install(engine)
    documents: list[Any] = [
        {"$ref": "x", "a": [1, 2.5, None, True, {"$": {}}, []], "b": "a \"$b\": \\u0024"},
        [], {}, 5, "$x", None, [[[{"$y": [[]]}]], 1e300, "é\u2028"], ["\x00", -0.0],
    ]  # fmt: skip
    with engine.begin() as connection:
        for number, document in enumerate(documents):
            connection.execute(
                text("INSERT INTO j VALUES (:n, :d)"), {"n": number, "d": json.dumps(document)}
            )
    run(engine, """INSERT INTO j VALUES (50, '{"a": 1, "b": 2, "a": {"$c": 3}}')""")
    same(engine, "j")
    run(engine, "INSERT INTO j VALUES (51, 'no json'), (52, '[123456789012345678901234567890]')")
    assert folded(engine, "j")["51"]["d"] == "no json"
    assert folded(engine, "j")["52"]["d"] == "[123456789012345678901234567890]"

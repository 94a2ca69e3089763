"""What only PostgreSQL has: TRUNCATE, COPY, MERGE, partitions, roles, triggers among triggers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, text

from audit.errors import InvalidInput
from tests.capture.database.outbox_support import new_database
from tests.capture.database.trigger_support import folded, opened, rows, run, same, told, triggers

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text, n int DEFAULT 0)"


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """An empty database with one table."""
    engine = opened(new_database("postgresql", request, tmp_path), request)
    run(engine, TABLE)
    return engine


@pytest.fixture
def captured(database: Engine) -> Engine:
    """The same with triggers."""
    triggers.install(database)
    return database


def test_truncate_copy_and_merge_are_recorded(captured: Engine) -> None:
    run(captured, "CREATE TABLE of_t (id int PRIMARY KEY, t int REFERENCES t)")
    triggers.install(captured)
    with captured.begin() as connection:
        raw = connection.connection.cursor()
        with raw.copy("COPY t FROM STDIN") as copy:
            copy.write("1\ta\t1\n2\tb\t2\n3\tc\t3\n")
    run(captured, "INSERT INTO of_t VALUES (1, 1)")
    run(
        captured,
        "MERGE INTO t USING (VALUES (1, 'm'), (2, 'd'), (9, 'i')) AS s (id, v) ON t.id = s.id "
        "WHEN MATCHED AND s.v = 'd' THEN DELETE WHEN MATCHED THEN UPDATE SET v = s.v "
        "WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v, 0)",
    )
    assert sorted(row[:2] for row in told(captured, 4)) == [
        ("create", "9"), ("delete", "2"), ("update", "1"),
    ]  # fmt: skip
    same(captured, "t", "of_t")
    run(captured, "TRUNCATE t CASCADE")
    assert sorted((row["op"], row["entity_type"]) for row in rows(captured)[-2:]) == [
        ("truncate", "of_t"), ("truncate", "t"),
    ]  # fmt: skip
    same(captured, "t", "of_t")


def test_keys_that_swap_and_shift_in_one_statement(captured: Engine) -> None:
    run(captured, "ALTER TABLE t DROP CONSTRAINT t_pkey",
        "ALTER TABLE t ADD PRIMARY KEY (id) DEFERRABLE",
        "INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 5) g")  # fmt: skip
    run(captured, "UPDATE t SET id = 6 - id")
    same(captured, "t")
    run(captured, "UPDATE t SET id = id + 1")
    same(captured, "t")
    assert {row[0] for row in told(captured, 9)} == {"create", "delete", "update"}
    with captured.connect() as connection:
        query = text("SELECT transaction_id, count(*) FROM attestory_outbox GROUP BY 1")
        assert len(connection.execute(query).all()) == 3


def test_equal_keys_of_another_text_are_other_keys(database: Engine) -> None:
    run(database, "CREATE TABLE d (k numeric PRIMARY KEY, v numeric)")
    triggers.install(database)
    run(database, "INSERT INTO d VALUES (1.0, 1.0)", "UPDATE d SET v = 1.00", "UPDATE d SET k = 1")
    assert [row[:2] for row in told(database)] == [
        ("create", "1.0"), ("update", "1.0"), ("delete", "1.0"), ("create", "1"),
    ]  # fmt: skip
    same(database, "d")


def test_statements_that_triggers_run_are_corrected(captured: Engine) -> None:
    body = """CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP = 'DELETE' THEN
            IF OLD.v <> 'back' THEN INSERT INTO t VALUES (OLD.id, 'back', OLD.n); END IF;
        ELSIF NEW.n < 3 THEN UPDATE t SET n = n + 1 WHERE id = NEW.id;
        ELSIF NEW.n = 77 THEN DELETE FROM t WHERE id = NEW.id; END IF;
        RETURN NULL; END $$"""
    run(captured, body, "CREATE TRIGGER zz AFTER INSERT OR UPDATE OR DELETE ON t "
        "FOR EACH ROW EXECUTE FUNCTION again()")  # fmt: skip
    run(captured, "INSERT INTO t VALUES (1, 'a', 0), (2, 'b', 5), (3, 'c', 77)")
    run(captured, "UPDATE t SET n = 1 WHERE id = 2")
    run(captured, "DELETE FROM t WHERE id = 1")
    assert folded_leniently(captured) == {
        "1": {"id": 1, "v": "back", "n": 3}, "2": {"id": 2, "v": "b", "n": 3},
    }  # fmt: skip


def folded_leniently(engine: Engine) -> dict[str, dict[str, object]]:
    """As the ledger folds: patches of what is not there make a partial row."""
    import json

    state: dict[str, dict[str, object]] = {}
    for row in rows(engine):
        if row["op"] == "delete":
            state.pop(row["entity_key"], None)
        elif row["op"] == "gap":
            continue
        elif row["op"] == "create":
            state[row["entity_key"]] = json.loads(row["after"])
        else:
            state.setdefault(row["entity_key"], {}).update(json.loads(row["after"]))
    return state


def test_several_statements_in_one_message_and_with_queries(captured: Engine) -> None:
    run(
        captured,
        "DO $$ BEGIN INSERT INTO t VALUES (1, 'a'), (2, 'b'); UPDATE t SET v = 'c'; "
        "DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 'd'); END $$",
        "WITH d AS (DELETE FROM t WHERE id = 2 RETURNING *) "
        "INSERT INTO t SELECT id + 10, v, n FROM d",
        "INSERT INTO t VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET v = excluded.v; "
        "UPDATE t SET id = 20 WHERE id = 1",
    )
    same(captured, "t")


def test_a_role_without_rights_on_the_outbox_writes(
    captured: Engine, request: pytest.FixtureRequest
) -> None:
    schema = captured.url.query["options"].rpartition("=")[2]
    role = f"app_{schema}"
    run(captured, f"CREATE ROLE {role}", f"GRANT USAGE ON SCHEMA {schema} TO {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON t TO {role}")  # fmt: skip
    request.addfinalizer(lambda: run(captured, f"DROP OWNED BY {role}", f"DROP ROLE {role}"))
    with captured.begin() as connection:
        for statement in (
            f"SET LOCAL ROLE {role}", "CREATE TEMP TABLE attestory_outbox (id int) ON COMMIT DROP",
            "SET LOCAL search_path = pg_temp",
        ):  # fmt: skip
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(f"INSERT INTO {schema}.t VALUES (1, 'a')")
        with pytest.raises(Exception, match="permission denied"), connection.begin_nested():
            connection.exec_driver_sql(f"SELECT * FROM {schema}.attestory_outbox")
        with pytest.raises(Exception, match="permission denied"), connection.begin_nested():
            connection.exec_driver_sql(f"SELECT {schema}.attestory_context_v1()")
    assert [row[:2] for row in told(captured)] == [("create", "1")]


def test_replica_role_and_hostile_contexts_lose_nothing(captured: Engine) -> None:
    contexts = [
        "{", "[]", "null", '"x"', '{"actor": 5, "valid_time_us": "x"}', '{"actor": "\\u0000"}',
        '{"actor": {"a": 1}, "valid_time_us": 999999999999999999}',
        f'{{"reason": "{"é" * 9_000}"}}',
    ]  # fmt: skip
    for number, given in enumerate(contexts):
        with captured.begin() as connection:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            connection.execute(
                text("SELECT set_config('attestory.context', :c, true)"), {"c": given}
            )
            connection.exec_driver_sql(f"INSERT INTO t VALUES ({number}, 'a')")
    found = rows(captured)
    assert [row["actor"] for row in found] == [*[None] * 4, "5", None, '{"a": 1}', None]
    assert len(found[-1]["reason"].encode()) <= 4_096
    same(captured, "t")


def test_partitions_are_captured_however_they_are_written(database: Engine) -> None:
    run(
        database,
        "CREATE TABLE p (id int, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
        "CREATE TABLE p2 (v text, day date NOT NULL, id int NOT NULL)",
        "ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')",
        "INSERT INTO p VALUES (1, '2026-01-05', 'a'), (2, '2026-02-05', 'b')",
    )
    done = triggers.install(database)
    assert (done.made, done.taken_in) == (("p", "t"), {"p": 2, "t": 0})
    run(database, "INSERT INTO p1 VALUES (3, '2026-01-06', 'c')")
    run(database, "UPDATE p SET day = '2026-02-07' WHERE id = 1", "UPDATE p2 SET v = 'z'")
    same(database, "p")
    run(database, "TRUNCATE p2")
    same(database, "p")
    assert set(folded(database, "p")) == {'[3,"2026-01-06"]'}
    run(database, "INSERT INTO p VALUES (5, '2026-02-05', 'b')", "TRUNCATE p")
    same(database, "p")
    run(database, "CREATE TABLE p3 PARTITION OF p FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')")
    assert "partition" in triggers.check(database).findings[0].what
    assert triggers.install(database).mended == ("p",)
    run(
        database,
        "INSERT INTO p3 VALUES (7, '2026-03-06', 'c')",
        "ALTER TABLE p DETACH PARTITION p1",
    )
    assert "went" in triggers.check(database).findings[0].what
    assert triggers.install(database).made == ("p1",), "a table of its own now"
    with pytest.raises(InvalidInput, match="is a partition"):
        triggers.install(database, ["p3"])


def test_inheritance_is_refused(database: Engine) -> None:
    run(database, "CREATE TABLE below (PRIMARY KEY (id)) INHERITS (t)")
    with pytest.raises(InvalidInput, match="inherit"):
        triggers.install(database)


def test_a_changed_function_is_found(captured: Engine) -> None:
    with captured.connect() as connection:
        name = connection.execute(
            text("SELECT tgname FROM pg_trigger WHERE tgrelid = 't'::regclass AND tgtype = 4")
        ).scalar_one()
    run(captured, f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql "
        "SECURITY DEFINER AS 'BEGIN RETURN NULL; END'")  # fmt: skip
    assert "was changed" in triggers.check(captured).findings[0].what
    triggers.install(captured)
    assert triggers.check(captured).findings == ()
    run(captured, "ALTER TABLE t ALTER COLUMN v TYPE varchar(9)")
    whats = [each.what for each in triggers.check(captured).findings]
    assert "column v was text and is character varying(9)" in whats


def test_sessions_at_once_keep_the_order_of_each_key(captured: Engine) -> None:
    run(captured, "INSERT INTO t SELECT g, 'v', 0 FROM generate_series(1, 5) g")
    url = captured.url.set(drivername="postgresql").render_as_string(False)

    def work() -> None:
        with psycopg.connect(url) as connection:
            for number in range(40):
                key = number % 5 + 1
                connection.execute(f"UPDATE t SET n = n + 1 WHERE id = {key}".encode())
                connection.rollback() if number % 7 == 0 else connection.commit()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()
    same(captured, "t")


def test_a_large_update_after_small_ones_is_not_quadratic(captured: Engine) -> None:
    for number in range(7):
        run(captured, f"INSERT INTO t VALUES ({number}, 'v', 0)", f"UPDATE t SET n = {number + 1}")
    upsert = "INSERT INTO t SELECT id, v, n FROM t ON CONFLICT (id) DO UPDATE SET v = 'w'"
    # With a nested loop, 400 million comparisons would be made.
    with captured.begin() as connection:
        for statement in (
            "SET LOCAL statement_timeout = '30s'",
            "INSERT INTO t SELECT g, 'v', 0 FROM generate_series(100, 20099) g",
            "UPDATE t SET n = n + 1",
            upsert,
        ):
            connection.exec_driver_sql(statement)
        query = "SELECT count(*) FROM attestory_outbox WHERE entity_key::int >= 100"
        assert connection.exec_driver_sql(query).scalar_one() == 60_000


def test_another_schema_has_its_own_outbox(database: Engine) -> None:
    run(database, 'CREATE SCHEMA "s "" 2"', 'CREATE TABLE "s "" 2".t (id int PRIMARY KEY, v text)')
    name = 's " 2'
    assert triggers.install(database, schema=name).made == ("t",)
    run(database, """INSERT INTO "s "" 2".t VALUES (1, 'a')""", "INSERT INTO t VALUES (5, 'b')")
    with database.connect() as connection:
        query = 'SELECT entity_key FROM "s "" 2".attestory_outbox'
        assert connection.exec_driver_sql(query).scalars().all() == ["1"]
    assert triggers.check(database, name).findings == ()
    assert (triggers.triggered(database, name), triggers.triggered(database)) == ({"t"}, set())
    assert triggers.remove(database, schema=name).triggers == 4
    run(database, 'DROP SCHEMA "s "" 2" CASCADE')


def test_a_dropped_column_stops_writes_until_it_is_mended(captured: Engine) -> None:
    run(captured, "INSERT INTO t VALUES (1, 'a', 1)", "ALTER TABLE t DROP COLUMN n")
    with pytest.raises(Exception, match="does not exist"):
        run(captured, "INSERT INTO t VALUES (2, 'b')")
    assert "column n was dropped" in [each.what for each in triggers.check(captured).findings]
    with captured.begin() as connection:
        # As a migration does it: nobody writes in between.
        connection.exec_driver_sql("ALTER TABLE t DROP COLUMN v")
        triggers.install(connection)
    run(captured, "INSERT INTO t VALUES (2)")
    assert set(folded_leniently(captured)) == {"1", "2"}

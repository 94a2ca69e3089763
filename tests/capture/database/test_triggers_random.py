"""Random statements on both databases: what the outbox tells of is the live table, after each."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.capture.database.outbox_support import DATABASES, new_database
from tests.capture.database.trigger_support import opened, run, same, triggers

KEYS = st.integers(0, 6)
TEXTS = st.sampled_from(["NULL", "'a'", "'b'", "'$x'", "'\"'"])


def _insert(words: str) -> st.SearchStrategy[str]:
    return st.builds(lambda k, u, v: f"{words} VALUES ({k}, {u}, {v}){{}}", KEYS, KEYS, TEXTS)


COMMON = st.one_of(
    _insert("INSERT INTO t").map(lambda s: s.format(" ON CONFLICT DO NOTHING")),
    _insert("INSERT INTO t").map(
        lambda s: s.format(" ON CONFLICT (id) DO UPDATE SET v = excluded.v, n = t.n + 1")
    ),
    st.builds(lambda v, k: f"UPDATE t SET v = {v} WHERE id >= {k}", TEXTS, KEYS),
    st.builds(lambda k, n: f"UPDATE t SET id = id + {n} WHERE id = {k}", KEYS, st.just(10)),
    st.builds(lambda k: f"UPDATE t SET id = id - 10 WHERE id = {k} + 10", KEYS),
    st.builds(lambda k: f"DELETE FROM t WHERE id % 3 = {k} % 3", KEYS),
)
ONLY = {
    "sqlite": st.one_of(
        _insert("INSERT OR REPLACE INTO t").map(lambda s: s.format("")),
        _insert("INSERT OR IGNORE INTO t").map(lambda s: s.format("")),
        st.builds(lambda k, u: f"UPDATE OR REPLACE t SET n = {u} WHERE id = {k}", KEYS, KEYS),
        st.builds(lambda k, u: f"UPDATE OR REPLACE t SET id = {u} WHERE id = {k}", KEYS, KEYS),
        st.builds(lambda k, u: f"UPDATE OR IGNORE t SET id = {u} WHERE id = {k}", KEYS, KEYS),
        st.sampled_from(["PRAGMA recursive_triggers = 1", "PRAGMA recursive_triggers = 0"]),
    ),
    "postgresql": st.one_of(
        st.just("TRUNCATE t"),
        st.just("UPDATE t SET id = 6 - id WHERE id BETWEEN 0 AND 6"),
        st.builds(
            lambda k, v: f"MERGE INTO t USING (SELECT {k} AS id) s ON t.id = s.id WHEN MATCHED "
            f"THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.id + 100, {v})",
            KEYS, TEXTS,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DATABASES)
def test_the_folded_outbox_is_the_live_table(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine = opened(new_database(name, request, tmp_path), request)
    unique = "UNIQUE" if name == "sqlite" else ""
    run(engine, f"CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER {unique}, v TEXT)")
    triggers.install(engine)

    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.lists(st.tuples(st.one_of(COMMON, ONLY[name]), st.booleans()), max_size=12))
    def holds(statements: list[tuple[str, bool]]) -> None:
        with engine.connect() as connection:
            for statement, is_kept in statements:
                try:
                    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
                except Exception as error:
                    assert "UNIQUE" in str(error).upper(), statement
                    connection.rollback()
                    continue
                connection.commit() if is_kept else connection.rollback()
        same(engine, "t")

    holds()

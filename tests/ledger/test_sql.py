"""SQL over a ledger: what the tables say, and that nothing but reading is possible."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

import audit
from audit.errors import InvalidInput, LimitExceeded, NotFound, StoreCorrupt, Unavailable
from audit.ledger.sql.bounds import EVERYTHING, Bounds
from audit.ledger.sql.engine import limits
from audit.ledger.sql.wanted import wanted
from tests.backends import SqliteBackend, new_backend
from tests.ledger.support import HOSTILE, random_history
from tests.replay.conftest import LedgerInTest


@pytest.fixture(scope="module")
def small(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[audit.Ledger]:
    """User 5: created (day 1), moved (day 2), deleted (day 4); user 6, valid from day 1 on."""
    ledger = LedgerInTest(new_backend(SqliteBackend.name, request, tmp_path_factory.mktemp("s")))
    first = "2026-01-01T01:00:00Z"
    ledger.emit("create", 5, {"name": "Eve", "n": 2**62}, at=first, actor="alice")
    ledger.emit("update", 5, {"name": "Eva"}, at="2026-01-02", actor="bob", reason="typo")
    ledger.emit("create", 6, {"name": None}, at="2026-01-03", valid=first)
    ledger.emit("delete", 5, at="2026-01-04")
    ledger.record("note", {"said": "hello"})
    with ledger.store, audit.Ledger(ledger.backend.url, now_us=ledger.now_us) as opened:
        yield opened


@pytest.fixture(scope="module")
def of_many(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[audit.Ledger]:
    """Two logs; an event each second from 2026 on."""
    ledger = LedgerInTest(new_backend(SqliteBackend.name, request, tmp_path_factory.mktemp("m")))
    ledger.now_us = 1_767_225_600_000_000
    ledger.open_log(1)
    random_history(ledger, 4, 35)
    with ledger.store, audit.Ledger(ledger.backend.url) as opened:
        yield opened


def rows(ledger: audit.Ledger, statement: str, **k: Any) -> list[tuple[Any, ...]]:
    with ledger.sql(statement, **k) as answer:
        table = answer.arrow()
    return [tuple(row.values()) for row in table.to_pylist()]


def test_events_say_what_the_log_says(small: audit.Ledger) -> None:
    found = rows(
        small,
        "SELECT op, entity_key, actor, reason, before, after, data FROM events "
        "WHERE kind = 'event' ORDER BY index",
    )
    assert found == [
        ("create", "5", "alice", None, None, '{"n":4611686018427387904,"name":"Eve"}', None),
        ("update", "5", "bob", "typo", None, '{"name":"Eva"}', None),
        ("create", "6", None, None, None, '{"name":null}', None),
        ("delete", "5", None, None, None, None, None),
        (None, None, None, None, None, None, '{"said":"hello"}'),
    ]
    times = rows(small, "SELECT recorded_time, valid_time FROM events WHERE entity_key = '6'")
    assert times == [(datetime(2026, 1, 3, tzinfo=UTC), datetime(2026, 1, 1, 1, tzinfo=UTC))]


def test_every_column_of_events_is_the_same_alone_and_together(
    ledger: LedgerInTest,
) -> None:
    ledger.open_log(1)
    random_history(ledger, 1, 40)
    with audit.Ledger(ledger.backend.url) as opened:
        together = opened.sql("SELECT * FROM events ORDER BY log, index").arrow()
        assert together.num_rows == rows(opened, "SELECT count(*) FROM events")[0][0]
        for name in together.column_names:
            alone = opened.sql(f'SELECT "{name}" FROM events ORDER BY log, index').arrow()
            assert alone.column(0).equals(together.column(name)), name
        hashes = together.column("leaf_hash").to_pylist()
    found = [record.leaf_hash.hex() for log in (0, 1) for record in opened_records(ledger, log)]
    assert hashes == found


def opened_records(ledger: LedgerInTest, log: int) -> Iterator[Any]:
    from audit.log.record import read_record

    for _, leaf in ledger.store.leaves(log):
        yield read_record(log, leaf)


@pytest.mark.parametrize(
    "where",
    [
        *("log = 1", "index BETWEEN 3 AND 9 AND log = 0", "7 < index", "E.INDEX <= 4", "index = 5"),
        *("recorded_time >= '2026-01-01T00:00:20Z'", "recorded_time < '2026-01-01 00:00:31'"),
        *("entity_type = 'user' AND index >= 12", "entity_type = 'nobody'", "index = -1"),
        *("recorded_time = '2026-01-01 00:00:12'", "index > 3 OR log = 1", "NOT index > 3"),
    ],
)
def test_what_where_rules_out_is_not_read_and_not_missing(
    of_many: audit.Ledger, where: str
) -> None:
    columns = "log, index, recorded_time, event_id, entity_type"
    all_rows = f"(SELECT {columns} FROM events UNION ALL SELECT {columns} FROM events WHERE false)"
    found, expected = (
        rows(of_many, f"SELECT {columns} FROM {source} e WHERE {where} ORDER BY log, index")
        for source in ("events", all_rows)
    )
    assert found == expected
    assert bool(found) is not (where.endswith("-1") or "nobody" in where)


@pytest.mark.parametrize(
    ("statement", "meant"),
    [
        ("SELECT op FROM events WHERE log = 1 AND 5 < index", Bounds((1, 1), (6, 2**63 - 1))),
        ("SELECT op FROM events e WHERE e.index <= 5 AND op = 'x'", Bounds(index=(0, 5))),
        *(
            (statement, EVERYTHING)
            for statement in (
                "SELECT op FROM events WHERE index < 5 OR op = 'x'",
                "SELECT op FROM events TABLESAMPLE 5 ROWS WHERE index < 5",
                "SELECT 1 AS index FROM events WHERE index < 5",
                "SELECT op FROM events, events e WHERE e.index < 5",
                "SELECT op FROM events WHERE index < 5 UNION ALL SELECT op FROM events",
                "WITH events AS (SELECT 9 AS index) SELECT * FROM events WHERE index < 5",
                "SELECT op FROM events WHERE index < 5.5",
                "FROM events WHERE index < 5 AND EXISTS (FROM query_table('events'))",
            )
        ),
    ],
)
def test_bounds_are_only_taken_where_they_are_plain(statement: str, meant: Bounds) -> None:
    with duckdb.connect(":memory:") as connection:
        assert wanted(connection, statement).bounds == meant


def test_datasets_as_of_any_point(small: audit.Ledger) -> None:
    assert rows(small, 'SELECT * FROM "user"') == [("6", None, None)]
    assert rows(small, "SELECT * FROM user", as_of="2026-01-02") == [("5", 2**62, "Eva")]
    assert rows(small, "FROM asof('user', '2026-01-01T12:00:00Z')") == [("5", 2**62, "Eve")]
    assert rows(
        small, "SELECT entity_key FROM asof('user', '2026-01-03', '2026-01-01T12:00:00Z')"
    ) == [
        ("5",),
        ("6",),
    ]
    assert rows(
        small, "SELECT entity_key FROM asof('user', v := '2026-01-01T12:00:00Z', t := NULL)"
    ) == [
        ("5",),
        ("6",),
    ]
    index = rows(small, "SELECT min(index) FROM events WHERE op = 'create'")[0][0]
    assert rows(small, f"SELECT name FROM ASOF('user', {index})") == [("Eve",)]
    joined = (
        "WITH old AS (FROM asof('user', '2026-01-01T12:00:00Z')) "
        "SELECT old.name AS a, new.name AS b "
        "FROM old JOIN asof('user', '2026-01-02') new USING (entity_key)"
    )
    assert rows(small, joined) == [("Eve", "Eva")]


def test_an_answer_cites_what_it_stands_on(small: audit.Ledger) -> None:
    with small.sql("SELECT * FROM user u, asof('user', '2026-01-02') o") as answer:
        cited = answer.citation()
        assert json.loads(answer.arrow().schema.metadata[b"audit"]) == cited
    assert [one["what"] for one in cited] == ["HEAD", "user as of 2026-01-02"]
    assert (
        cited[0]["logs"][0]["root_hash"]
        == small.replay("user").attrs["audit"]["logs"][0]["root_hash"]
    )
    assert cited[0]["logs"][0]["size"] > cited[1]["logs"][0]["size"]
    assert small.sql("SELECT 1").citation() == []
    frame = small.sql("SELECT entity_key FROM user").df()
    assert frame.attrs["audit"][0]["what"] == "HEAD" and frame["entity_key"].tolist() == ["6"]


def test_signed_records_says_who_signed(small: audit.Ledger) -> None:
    found = rows(
        small,
        "SELECT s.source, producer_key_id, producer_signature, checkpoint_size > s.index "
        "FROM signed_records s JOIN events e USING (log, index) WHERE e.actor = 'bob'",
    )
    assert found == [("test", None, None, True)]


def test_what_there_is_can_be_listed(small: audit.Ledger) -> None:
    assert rows(small, "SHOW TABLES") == [("events",), ("signed_records",), ("user",)]
    assert ("n", "BIGINT") in [
        row[:2] for row in rows(small, "DESCRIBE FROM asof('user', '2026-01-01T12:00:00Z')")
    ]
    assert rows(small, "EXPLAIN SELECT name FROM user")
    assert rows(small, "SUMMARIZE SELECT entity_key FROM user")


def test_hostile_names_are_only_names(ledger: LedgerInTest) -> None:
    ledger.emit("create", "k'; DROP", dict.fromkeys(HOSTILE, 1) | {"a\0b": "x\0y"}, entity="select")
    ledger.emit("create", 1, {"NAME": 1}, entity="events")
    ledger.emit("create", 1, {"a": 1}, entity="a.b-c")
    with audit.Ledger(ledger.backend.url) as opened:
        table = opened.sql('SELECT * FROM "select"').arrow()
        assert {'quo"te', "it's", "new\nline", "Name", "name_", "entity_key_"} <= set(
            table.column_names
        )
        assert table.column("a\u2400b").to_pylist() == ["x\0y"]
        assert rows(opened, 'SELECT "it\'s", "new\nline" FROM asof(\'select\')') == [(1, 1)]
        assert rows(opened, 'SELECT * FROM "a.b-c"') == [("1", 1)]
        # The view of that name wins; the dataset is there by asof.
        assert rows(opened, "FROM asof('events', 'HEAD')") == [("1", 1)]


@pytest.mark.parametrize(
    "statement",
    [
        *("INSERT INTO events VALUES (1)", "CREATE TABLE x (a INT)", "DROP VIEW events"),
        *("ATTACH '/tmp/x.db'", "COPY (SELECT 1) TO '/tmp/x.csv'", "INSTALL httpfs", "LOAD json"),
        *("EXPORT DATABASE '/tmp/x'", "SET memory_limit = '99GB'", "RESET threads", "CHECKPOINT"),
        *("PRAGMA database_list", "CALL pragma_version()", "SELECT 1; SELECT 2", "", "SELEC 1"),
        *("SELECT * FROM '/etc/passwd'", "SELECT * FROM read_text('/etc/passwd')"),
        *("SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM glob('/*')"),
        *("FROM read_parquet('https://example.com/x')", "FROM sqlite_scan('audit.db', 'entries')"),
        *("FROM query('SELECT * FROM read_text(''/etc/passwd'')')", "FROM nothing"),
        *("EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/x'", "SELECT getenv('HOME')", "BEGIN"),
        *("FROM asof('user', current_date)", "FROM asof('user', 'HEAD', 'x', 'y')", "FROM asof()"),
        *("FROM asof(NULL)", "FROM asof('user', w := '1')", "SELECT * FROM user WHERE (" * 9),
        *("SELECT nope FROM events", "FROM sniff_csv('/etc/passwd')", "FROM duckdb_secrets()"),
    ],
)
def test_nothing_but_reading_is_possible(small: audit.Ledger, statement: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        rows(small, statement)
    assert "\n" not in str(caught.value)


def test_what_a_statement_says_of_the_past_is_judged_as_everywhere(small: audit.Ledger) -> None:
    with pytest.raises(NotFound, match="no dataset nobody; this ledger has user"):
        rows(small, "FROM asof('nobody', 'HEAD')")
    with pytest.raises(NotFound):
        rows(small, "FROM asof('user', 'no such point')")
    with pytest.raises(LimitExceeded, match="100 calls"):
        rows(small, " UNION ALL ".join(["SELECT 1 FROM asof('user', 'HEAD')"] * 101))


def test_memory_and_threads_are_limited(
    small: audit.Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = "SELECT a, count(*) FROM range(30000000) t(a) GROUP BY a ORDER BY a"
    with pytest.raises(LimitExceeded, match="needs more memory than 30MB"):
        rows(small, large, memory="30MB")
    assert rows(small, "SELECT current_setting('threads')", threads=1) == [(1,)]
    monkeypatch.setenv("AUDIT_SQL_MEMORY", "123MB")
    monkeypatch.setenv("AUDIT_SQL_THREADS", "3")
    assert limits() == ("123MB", 3)
    for memory, threads in (("much", 1), ("1", 1), ("1GB", 0), ("1GB", 10_000)):
        with pytest.raises(InvalidInput):
            limits(memory, threads)
    monkeypatch.setenv("AUDIT_SQL_THREADS", "many")
    with pytest.raises(InvalidInput, match="AUDIT_SQL_THREADS"):
        limits()


def test_a_damaged_store_is_said_and_no_answer_given(ledger: LedgerInTest) -> None:
    ledger.emit("create", 1, {"a": 1})
    ledger.backend.drop_guards()
    ledger.backend.sql('UPDATE entries SET leaf = ? WHERE "index" = 3', [b"not a leaf"])
    with audit.Ledger(ledger.backend.url) as opened, pytest.raises(StoreCorrupt, match="0/3"):
        rows(opened, "SELECT type FROM events")


def test_without_duckdb_one_line_says_so(
    small: audit.Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(Unavailable, match=r"pip install 'attestory\[sql\]'"):
        small.sql("SELECT 1")


def test_a_bundle_answers_too(small: audit.Ledger, tmp_path: Path) -> None:
    small.bundle("", tmp_path / "all.zip")
    with audit.Ledger(f"bundle:///{tmp_path}/all.zip") as opened:
        assert rows(opened, "FROM asof('user', '2026-01-02')") == [("5", 2**62, "Eva")]

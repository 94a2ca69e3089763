"""The outbox's tables, writing into them, and what becomes of their rows as events."""

import json
import sqlite3
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, text

import audit
from audit.capture.database import outbox
from audit.capture.database.backlog import Backlog, backlog
from audit.capture.database.connect import open_database
from audit.capture.database.events import Waiting, built, check_source
from audit.capture.database.tables import drift, install, installed, require_installed
from audit.errors import AuditError, InvalidInput, StoreBusy, Unavailable
from audit.event.row import decode_row
from audit.event.valuejson import dumps
from tests.capture.database.outbox_support import (
    DATABASES,
    change,
    count,
    new_database,
    new_outbox,
    put,
)


@pytest.fixture(params=DATABASES)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_database(request.param, request, tmp_path)


@pytest.fixture
def engine(address: str, request: pytest.FixtureRequest) -> Engine:
    return new_outbox(address, request)


def test_install_is_safe_to_repeat_and_tells_drift(address: str) -> None:
    engine = open_database(address)
    assert not installed(engine)
    with pytest.raises(InvalidInput, match="install"):
        require_installed(engine)
    assert len(install(engine)) == 4
    assert install(engine) == [] and drift(engine) == [] and installed(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE attestory_sent"))
    assert install(engine) == ["attestory_sent"]
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE attestory_outbox ADD COLUMN harmless TEXT"))
    assert drift(engine) == []
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE attestory_failed RENAME COLUMN failure TO why"))
    assert drift(engine) == ["attestory_failed has no column failure"]
    for refuse in (install, require_installed):
        with pytest.raises(InvalidInput, match="no column failure"):
            refuse(engine)
    engine.dispose()


def test_ids_kept_back_by_a_session_are_drift(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine = new_outbox(new_database("postgresql", request, tmp_path), request)
    with engine.begin() as connection:
        connection.execute(text("ALTER SEQUENCE attestory_outbox_id_seq CACHE 20"))
    assert "CACHE must be 1" in drift(engine)[0]


def test_a_schema_of_its_own_with_any_name(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    engine = open_database(new_database("postgresql", request, tmp_path))
    name = f'odd "{uuid.uuid4().hex}; DROP'
    quoted = engine.dialect.identifier_preparer.quote(name)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {quoted}"))
    try:
        assert len(install(engine, name)) == 4 and drift(engine, name) == []
        with engine.begin() as connection:
            outbox.write(connection, [change(1, 1), change(1, 2)], name)
        assert not installed(engine)
        assert count(engine, f"{quoted}.attestory_outbox") == 2
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {quoted} CASCADE"))
        engine.dispose()


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "nonsense", "sqlite://", "sqlite:///:memory:", "x" * 10_000]
)
def test_what_is_no_database_for_an_outbox(url: str) -> None:
    with pytest.raises(InvalidInput):
        open_database(url)


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no database"):
        open_database(f"sqlite:///{tmp_path}/app.db")
    assert list(tmp_path.iterdir()) == []


def test_a_schema_is_for_postgresql(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="PostgreSQL"):
        install(create_engine(f"sqlite:///{tmp_path}/x.db"), "crm")


def test_rows_share_the_fate_of_the_transaction(engine: Engine) -> None:
    with engine.begin() as connection:
        assert outbox.write(connection, []) == 0
        assert outbox.write(connection, [change(1, 1)]) == 1
        savepoint = connection.begin_nested()
        outbox.write(connection, [change(n, 2) for n in range(20)])
        savepoint.rollback()
        outbox.write(connection, [change(n, 3) for n in range(3)])
    with engine.connect() as connection:
        outbox.write(connection, [change(9, 9)])
        connection.rollback()
        rows = connection.execute(text('SELECT "after" FROM attestory_outbox ORDER BY id')).all()
    assert [json.loads(after)["n"] for (after,) in rows] == [1, 3, 3, 3]


def test_the_backlog_s_age_is_not_the_change_s_valid_time(engine: Engine) -> None:
    assert backlog(engine) == Backlog(0, None, 0, 0, 0)
    with audit.context(valid_time="2001-01-01"):
        put(engine, change(1, 1), change(1, 2))
    found = backlog(engine)
    assert found.waiting == 2 and found.oldest_s is not None and found.oldest_s < 60


def test_a_row_takes_what_the_context_says(engine: Engine) -> None:
    with audit.context(
        actor="alice", reason="why", request_id="r", trace_id="t", valid_time="2026-01-31"
    ):
        row = outbox.row("delete", "user", [1, "a"], before={"x": b"\xff"}, transaction_id="tx")
    put(engine, row)
    with engine.connect() as connection:
        (stored,) = connection.execute(text("SELECT * FROM attestory_outbox")).mappings()
    assert {name: stored[name] for name in row._fields} == row._asdict()
    assert (row.actor, row.reason, row.request_id, row.trace_id) == ("alice", "why", "r", "t")
    assert (row.entity_key, row.before) == ('[1,"a"]', '{"x":{"$bytes":"/w=="}}')
    assert row.occurred_us == 1_769_817_600_000_000 and row.transaction_id == "tx"
    assert (stored["txid"] is None) == (engine.dialect.name == "sqlite")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.binary(max_size=20)
    | st.decimals(allow_nan=False, allow_infinity=False, places=3).filter(lambda d: d != 0)
    | st.dates(min_value=date(1970, 1, 1))
    | st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "$hex", "$bytes", "$$", "é"]), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.dictionaries(st.sampled_from(["a", "b", "$hex", "$", "ß"]), VALUES, max_size=4)


def waiting(row: outbox.Row) -> Waiting:
    fields = row._asdict()
    del fields["origin"]
    return Waiting(id=1, blocked=False, **fields)


@given(FIELDS, FIELDS)
@settings(max_examples=40)
def test_values_come_out_as_they_went_in(before: dict[str, Any], after: dict[str, Any]) -> None:
    row = outbox.row("update", "user", "k", before=before, after=after, image="full")
    change = decode_row(built(waiting(row), "app").event.payload)
    # The one text of a value tells NaN from null, 1 from true, and 1.50 from 1.5.
    assert dumps(change.before) == dumps(before)
    assert dumps(change.after) == dumps(after)
    assert change.image == "full"


def test_hexadecimal_bytes_at_any_depth() -> None:
    row = outbox.row("create", "user", 1, after={})
    text_ = '{"a": {"$hex": "00fF"}, "b": [{"c": {"$hex": ""}}], "$$hex": "00"}'
    payload = built(waiting(row._replace(after=text_)), "app").event.payload
    found = decode_row(payload).after
    assert found == {"a": b"\x00\xff", "b": [{"c": b""}], "$hex": "00"}


def test_every_column_is_in_the_event() -> None:
    with audit.context(actor="a", reason="b", request_id="c", trace_id="d"):
        row = outbox.row(
            "create", "user", 5, after={"x": Decimal("1.50")}, transaction_id="t", event_id="e"
        )
    event, schemas = built(waiting(row._replace(occurred_us=17)), "crm")
    assert event.type == "data.create" and len(schemas) == 1
    assert event[0] == "e" and event.source == "crm"
    assert (event.entity_type, event.entity_key, event.valid_time_us) == ("user", "5", 17)
    assert (event.actor, event.reason, event.request_id, event.trace_id) == ("a", "b", "c", "d")
    assert event.transaction_id == "t"


@pytest.mark.parametrize(
    ("op", "entity", "key", "type_"),
    [
        ("truncate", "user", None, "data.truncate"),
        ("delete", "user", "1", "data.delete"),
        ("gap", "user", None, "capture.gap"),
        ("invoice.approve", "invoice", "7", "invoice.approve"),
        ("nightly.close", None, None, "nightly.close"),
    ],
)
def test_every_kind_of_row(op: str, entity: str | None, key: str | None, type_: str) -> None:
    row = outbox.row(op, entity, key, after=None if op in ("truncate", "delete") else {"n": 1})
    assert built(waiting(row), "app").event.type == type_


GOOD = outbox.row("update", "user", "1", after={"n": 1}, event_id="e")
HOSTILE: list[dict[str, Any]] = [
    {"after": "not JSON"},
    {"after": "[]"},
    {"after": None},
    {"after": '{"a": {"$decimal": "x"}}'},
    {"after": '{"a": {"$hex": "0"}}'},
    {"after": '{"a": {"$hex": "é"}}'},
    {"after": '{"$hex": "00"}'},
    {"after": '{"a": 1e999}'},
    {"after": '{"a": "\\ud800"}'},
    {"after": '{"a":' * 5_000 + "1" + "}" * 5_000},
    {"after": '{"$hex":' * 500 + "1" + "}" * 500},
    {"after": '{"a": "' + "x" * 70_000 + '"}'},
    {"after": '{"a": "' + "x" * 700_000 + '"}'},
    {"after": b"{}"},
    {"before": 5},
    {"op": 5},
    {"op": ""},
    {"op": "DROP TABLE"},
    {"op": "create", "before": "{}"},
    {"op": "delete"},
    {"op": "truncate", "after": None},
    {"op": "data.update"},
    {"op": "schema"},
    {"op": "key.registered"},
    {"op": "note", "before": "{}"},
    {"entity_type": None},
    {"entity_type": None, "entity_key": None},
    {"entity_type": "model"},
    {"entity_type": "Üser"},
    {"entity_key": None},
    {"entity_key": "k" * 2_000},
    {"image": "half"},
    {"event_id": ""},
    {"event_id": "e" * 200},
    {"actor": "a" * 5_000},
    {"actor": "\ud800"},
    {"actor": b"\xff"},
    {"occurred_us": "yesterday"},
    {"occurred_us": 2**80},
    {"occurred_us": 1.5},
]


@pytest.mark.parametrize("wrong", HOSTILE, ids=lambda wrong: f"{wrong!r:.40}")
def test_what_is_no_event_is_refused(wrong: dict[str, Any]) -> None:
    from audit.event.envelope import encode_event

    with pytest.raises(InvalidInput) as refused:
        encode_event(built(waiting(GOOD)._replace(**wrong), "app").event)
    assert len(str(refused.value)) < 2_000


@given(
    st.sampled_from(Waiting._fields[1:-1]), st.text() | st.binary() | st.integers() | st.floats()
)
def test_no_cell_makes_another_error(name: str, value: object) -> None:
    from audit.event.envelope import encode_event

    try:
        encode_event(built(waiting(GOOD)._replace(**{name: value}), "app").event)
    except AuditError as error:
        assert isinstance(error, InvalidInput)


@pytest.mark.parametrize("source", ["audit", "audit.schema", "", "x" * 200])
def test_a_source_that_no_event_can_have(source: str) -> None:
    with pytest.raises(InvalidInput):
        check_source(source)


def test_an_sqlite_connection_that_is_busy_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "app.db").touch()
    engine = create_engine(f"sqlite:///{tmp_path}/app.db", connect_args={"timeout": 0.05})
    install(engine)
    other = sqlite3.connect(tmp_path / "app.db")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreBusy):
        backlog(engine)
    other.close()

"""Reconcile against live tables on both databases: what fits, what does not, what is under way."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from audit.capture.context import context
from audit.capture.database import outbox
from audit.capture.database.failed import redrive
from audit.capture.database.tables import install
from audit.errors import InvalidInput, Unavailable
from audit.ledger import Ledger
from tests.capture.database.outbox_support import (
    DATABASES,
    insert,
    new_database,
    new_outbox,
    put,
)
from tests.capture.database.reconcile_support import App, counts, reconciled, relayed
from tests.capture.support import events, url

USERS = 'CREATE TABLE "user" (id INTEGER PRIMARY KEY, name VARCHAR(40), amount NUMERIC(10, 2))'


@pytest.fixture(params=DATABASES)
def engine(request: pytest.FixtureRequest, ledger_dir: Path) -> Engine:
    return new_outbox(new_database(request.param, request, ledger_dir), request)


def user(number: int) -> dict[str, Any]:
    return {"id": number, "name": f"n{number}", "amount": number}


def test_missing_extra_and_different(engine: Engine, ledger_dir: Path) -> None:
    app = App(engine, USERS)
    app.insert(*map(user, range(1, 31)))
    app.update({"id": 3}, name="new")
    app.delete({"id": 4})
    relayed(engine, ledger_dir)
    found = reconciled(app, ledger_dir)
    assert found.ok and counts(found) == (0, 0, 0, 0) and found.outbox
    assert (found.counts["log"], found.counts["table"], found.counts["same"]) == (29, 29, 29)
    assert set(found.columns) == {"id", "name", "amount"}
    # Writes that capture did not see.
    app.insert(user(100), silent=True)
    app.delete({"id": 10}, silent=True)
    app.update({"id": 2}, silent=True, amount=99, name=None)
    found = reconciled(app, ledger_dir)
    assert not found.ok and counts(found) == (1, 1, 1, 0)
    assert (found.missing, found.extra) == (("100",), ("10",))
    (one,) = found.different
    assert (one.key, one.fields, one.log, one.table) == ("2", ("name", "amount"), None, None)
    (one,) = reconciled(app, ledger_dir, values=True).different
    assert one.to_json()["log"] == {"name": "n2", "amount": {"$decimal": "2.00"}}
    assert one.to_json()["table"] == {"name": None, "amount": {"$decimal": "99.00"}}
    assert reconciled(app, ledger_dir, limit=0).different == ()
    found = reconciled(app, ledger_dir, columns=["id"])
    assert counts(found) == (1, 1, 0, 0) and found.columns == ("id",)
    with pytest.raises(InvalidInput):
        reconciled(app, ledger_dir, columns=["nothing"])


def test_what_is_under_way_is_pending(engine: Engine, ledger_dir: Path) -> None:
    app = App(engine, USERS)
    app.insert(*map(user, range(1, 6)))
    relayed(engine, ledger_dir)
    app.update({"id": 1}, name="x")
    app.delete({"id": 2})
    app.insert(user(7))
    found = reconciled(app, ledger_dir)
    assert found.ok and counts(found) == (0, 0, 0, 3)
    assert [tuple(one) for one in found.pending] == [(key, "waiting") for key in ("1", "2", "7")]
    relayed(engine, ledger_dir)
    assert counts(reconciled(app, ledger_dir)) == (0, 0, 0, 0)
    # A row set aside, and one behind it.
    insert(engine, entity_type="user", entity_key="3", after="{")
    app.update({"id": 3}, name="behind")
    app.update({"id": 5}, silent=True, name="unseen")
    relayed(engine, ledger_dir)
    found = reconciled(app, ledger_dir)
    assert not found.ok and counts(found) == (0, 0, 1, 1)
    assert [tuple(one) for one in found.pending] == [("3", "failed")]
    assert "audit relay --failed" in found.remarks[-1]
    redrive(engine)
    found = reconciled(app, ledger_dir)
    assert [tuple(one) for one in found.pending] == [("3", "waiting")]
    # A truncate that waits concerns every key.
    with engine.begin() as connection:
        connection.execute(text('DELETE FROM "user"'))
        connection.execute(text("DELETE FROM attestory_outbox"))
        outbox.write(connection, [outbox.row("truncate", "user")])
    assert counts(reconciled(app, ledger_dir)) == (0, 0, 0, 5)
    relayed(engine, ledger_dir)
    found = reconciled(app, ledger_dir)
    assert found.ok and (found.counts["log"], found.counts["table"]) == (0, 0)


def test_what_a_broker_has_excuses_until_it_is_sealed(engine: Engine, ledger_dir: Path) -> None:
    app = App(engine, USERS)
    app.insert(user(1), user(2))
    row = "INSERT INTO attestory_sent ({0}, source, sent_us) SELECT {0}, 'app', 0 FROM "
    row = row.format('id, event_id, op, entity_type, entity_key, "after", image, occurred_us')
    with engine.begin() as connection:
        connection.execute(text(row + "attestory_outbox"))
    relayed(engine, ledger_dir)
    app.update({"id": 1}, silent=True, name="unseen")
    found = reconciled(app, ledger_dir)
    assert counts(found) == (0, 0, 1, 0)  # what was sent is sealed: it excuses nothing
    app.update({"id": 2}, name="x")
    with engine.begin() as connection:
        connection.execute(text(row + "attestory_outbox"))
        connection.execute(text("DELETE FROM attestory_outbox"))
    found = reconciled(app, ledger_dir)
    assert counts(found) == (0, 0, 1, 1)
    assert [tuple(one) for one in found.pending] == [("2", "sent")]


KEYS = {
    "integer": ("id INTEGER PRIMARY KEY", [{"id": n} for n in (-5, 0, 9, 10, 100, 2**31 - 1)]),
    "text": (
        "id VARCHAR(200) PRIMARY KEY",
        [
            {"id": k}
            for k in ("", "a", "B", "é", "e\u0301", "\U0001f600", "a b", "Z\n", '"[1]', "$x")
        ],
    ),
    "composite": (
        "a INTEGER, b VARCHAR(50), PRIMARY KEY (b, a)",
        [{"a": a, "b": b} for a in (1, 10, 2) for b in ("x", '"', "é", "\\")],
    ),
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_every_kind(engine: Engine, ledger_dir: Path, kind: str) -> None:
    columns, keys = KEYS[kind]
    app = App(engine, f'CREATE TABLE "user" (n INTEGER, {columns})')
    app.insert(*({**key, "n": n} for n, key in enumerate(keys)))
    relayed(engine, ledger_dir)
    found = reconciled(app, ledger_dir)
    assert found.ok and found.counts["same"] == len(keys)
    for key in keys:
        app.update(key, silent=True, n=1_000)
    found = reconciled(app, ledger_dir)
    assert counts(found) == (0, 0, len(keys), 0)
    listed = [one.key for one in found.different]
    assert listed == sorted(listed, key=str.encode)
    assert {one.fields for one in found.different} == {("n",)}
    first = reconciled(app, ledger_dir, limit=2)
    assert [one.key for one in first.different] == listed[:2]
    for key in keys:
        app.delete(key, silent=True)
    assert reconciled(app, ledger_dir, limit=3).extra == tuple(listed[:3])


def test_hostile_names(engine: Engine, ledger_dir: Path) -> None:
    table, column = "a \"b'; DROP TABLE x; %s %(y)s :z é", 'sel"ect %s :p\\'
    quoted = [name.replace('"', '""') for name in (table, column)]
    app = App(
        engine,
        f'CREATE TABLE "{quoted[0]}" ("{quoted[1]}" INTEGER PRIMARY KEY, "group" VARCHAR(9))',
        table,
        "odd.name",
    )
    app.insert({column: 1, "group": "g"}, {column: 2, "group": "h"})
    relayed(engine, ledger_dir)
    assert counts(reconciled(app, ledger_dir)) == (0, 0, 0, 0)
    app.update({column: 2}, silent=True, group="x")
    (one,) = reconciled(app, ledger_dir).different
    assert (one.key, one.fields) == ("2", ("group",))
    for name in ("", "x\x00", "no such", "x" * 2_000, "attestory_outbox; --"):
        with pytest.raises(InvalidInput):
            reconciled(app, ledger_dir, table=name)
    with pytest.raises(InvalidInput):
        reconciled(app, ledger_dir, schema="no\x00such")


def test_columns_that_one_side_has(engine: Engine, ledger_dir: Path) -> None:
    app = App(engine, USERS)
    app.insert(user(1), user(2))
    relayed(engine, ledger_dir)
    with engine.begin() as connection:
        connection.execute(text('ALTER TABLE "user" ADD COLUMN later INTEGER'))
        connection.execute(text('ALTER TABLE "user" DROP COLUMN name'))
    found = reconciled(app, ledger_dir)
    assert found.ok and (found.uncaptured, found.gone) == ((), ("name",))
    with engine.begin() as connection:
        connection.execute(text('UPDATE "user" SET later = 1 WHERE id = 2'))
    found = reconciled(app, ledger_dir)
    assert not found.ok and found.uncaptured == ("later",) and counts(found) == (0, 0, 0, 0)
    found = reconciled(app, ledger_dir, leave_out=["later"])
    assert found.ok and found.left_out == ("later",)
    with pytest.raises(InvalidInput):
        reconciled(app, ledger_dir, leave_out=["nothing"])


def test_nothing_recorded_yet_and_no_outbox(
    ledger_dir: Path, request: pytest.FixtureRequest
) -> None:
    engine = create_engine(new_database("sqlite", request, ledger_dir))
    request.addfinalizer(engine.dispose)
    install(engine)
    put(engine, outbox.row("create", "other", 1, after={"id": 1}))
    relayed(engine, ledger_dir)
    app = App(engine, USERS)
    app.insert(user(1), silent=True)
    found = reconciled(app, ledger_dir)
    assert counts(found) == (1, 0, 0, 0) and found.uncaptured == ()
    assert "nothing of this dataset" in found.remarks[0]
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE attestory_outbox"))
    assert "no outbox" in reconciled(app, ledger_dir).remarks[-1]
    with pytest.raises(InvalidInput):
        reconciled(app, ledger_dir, schema="crm")
    with Ledger(url(ledger_dir)) as ledger:
        for against in ("nonsense", 5, "mysql://x/y"):
            with pytest.raises(InvalidInput):
                ledger.reconcile("user", against)  # type: ignore[arg-type]
        with pytest.raises(Unavailable):
            ledger.reconcile("user", "sqlite:///nowhere.db")
        with pytest.raises(InvalidInput):
            ledger.reconcile("prediction", engine)
        with pytest.raises(InvalidInput):
            ledger.reconcile("user", engine, limit=-1)


def test_what_is_found_is_recorded(engine: Engine, ledger_dir: Path) -> None:
    app = App(engine, USERS)
    app.insert({"id": 1, "name": "secret-name", "amount": 1})
    relayed(engine, ledger_dir)
    app.update({"id": 1}, silent=True, name="secret-too")
    with context(actor="auditor"):
        found = reconciled(app, ledger_dir, record=True, values=True)
    last = events(ledger_dir)[-1]
    assert last.type == "capture.reconciled"
    assert (last.entity_type, last.entity_key) == ("review", "user")
    assert last.event_id == found.recorded
    assert b"secret" not in last.payload
    with Ledger(url(ledger_dir)) as ledger:
        record = ledger.entry(f"id:{found.recorded}")
        said: Any = ledger.content(record)
        assert (said["different"], said["same"], said["ok"]) == (1, 0, False)
        size, root = said["logs"][0]["size"], said["logs"][0]["root_hash"]
        assert size <= record.index
        assert len(root) == 32 and said["snapshot_time"] == found.snapshot
        assert ledger.datasets() == ["user"]  # a verdict makes no dataset
        past = ledger.reconcile("user", engine, as_of=str(size - 1), record=False)
        assert past.counts == found.counts


def test_a_dataset_at_a_point_against_a_copy_of_then(engine: Engine, ledger_dir: Path) -> None:
    app = App(engine, USERS)
    app.insert(user(1), user(2))
    relayed(engine, ledger_dir)
    size = len(list(open_all(ledger_dir)))
    app.delete({"id": 1})
    relayed(engine, ledger_dir)
    then = reconciled(app, ledger_dir, as_of=str(size - 1))
    assert counts(then) == (0, 1, 0, 0) and then.extra == ("1",)
    assert reconciled(app, ledger_dir).ok


def open_all(folder: Path) -> Any:
    with Ledger(url(folder)) as ledger:
        yield from ledger.reader.leaves(0)


def test_many_keys_go_to_files(engine: Engine, ledger_dir: Path) -> None:
    from audit.capture.database.reconcile import Asked, reconcile

    app = App(engine, USERS)
    app.insert(*map(user, range(1_000)))
    relayed(engine, ledger_dir)
    for number in (5, 50, 500):
        app.update({"id": number}, silent=True, name="x")
        app.delete({"id": number + 1}, silent=True)
    app.insert(user(5_000), silent=True)
    with Ledger(url(ledger_dir)) as ledger:
        asked = Asked("user", rows_in_memory=100)
        found = reconcile(ledger.reader, engine, asked)
    assert counts(found) == (1, 3, 3, 0) and found.counts["same"] == 994
    assert found.extra == ("501", "51", "6")

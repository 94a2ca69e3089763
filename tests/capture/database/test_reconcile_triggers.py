"""What triggers capture of raw SQL is what reconcile finds in the live table."""

import random
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from audit.capture.database import triggers
from audit.ledger import Ledger
from tests.capture.database.outbox_support import DATABASES, new_database, new_outbox
from tests.capture.database.reconcile_support import counts, relayed
from tests.capture.database.test_reconcile_types import MORE, TYPES
from tests.capture.database.trigger_support import run
from tests.capture.support import url


@pytest.fixture(params=DATABASES)
def engine(request: pytest.FixtureRequest, ledger_dir: Path) -> Engine:
    return new_outbox(new_database(request.param, request, ledger_dir), request)


def test_raw_sql_under_triggers(engine: Engine, ledger_dir: Path) -> None:
    postgresql = engine.dialect.name == "postgresql"
    types = {**TYPES, **MORE} if postgresql else TYPES
    columns = "".join(f', "{n}" {t[0 if postgresql else 1]}' for n, t in types.items())
    run(
        engine,
        f"CREATE TABLE users (id INTEGER PRIMARY KEY{columns}, secret TEXT)",
        "CREATE TABLE notes (a INTEGER REFERENCES users ON DELETE CASCADE, b VARCHAR(9), n INTEGER,"
        " PRIMARY KEY (b, a))",
        "INSERT INTO users (id, t, secret) VALUES (1, 'before', 's'), (2, NULL, 's')",
        "INSERT INTO notes VALUES (1, 'é', 1), (2, '\"', 2)",
    )
    triggers.install(engine, {"users": "user", "notes": "note"}, leave_out={"users": ["secret"]})
    rng = random.Random(7)
    times = "day = '2026-01-{0:02}', at = '2026-01-31 10:00:{0:02}'" if postgresql else "t = 'z'"
    for _ in range(60):
        key = rng.randrange(1, 12)
        run(
            engine,
            rng.choice((
                f"INSERT INTO users (id, t, f, d, i) VALUES ({key}, 'x', {key} / 7.0, {key}.5, 5) "
                "ON CONFLICT (id) DO UPDATE SET t = 'y', b = (1 = 1), secret = 'z'",
                f"UPDATE users SET d = d + 1, f = f * 3 WHERE id >= {key}",
                f"INSERT INTO notes SELECT id, 'n', {key} FROM users WHERE id = {key} "
                "ON CONFLICT DO NOTHING",
                f"UPDATE notes SET b = 'm{key}', n = n + 1 WHERE a = {key} AND b = 'n'",
                f"DELETE FROM notes WHERE a > {key} + 5",
                f"UPDATE users SET {times.format(key)} WHERE id = {key}",
            )),
        )  # fmt: skip
    with engine.begin() as connection:
        pending = connection.execute(text("SELECT count(*) FROM attestory_outbox")).scalar_one()
    relayed(engine, ledger_dir)
    with Ledger(url(ledger_dir)) as ledger:
        for entity in ("user", "note"):
            found = ledger.reconcile(entity, engine, values=True, record=False)
            assert [one.to_json() for one in found.different] == []
            assert found.ok and counts(found) == (0, 0, 0, 0) and pending, found
            assert found.counts["table"] == found.counts["same"] > 0
            assert found.table == f"{entity}s"
            assert found.left_out == (("secret",) if entity == "user" else ())
        run(engine, "ALTER TABLE users DROP COLUMN secret")
        assert ledger.reconcile("user", engine, record=False).left_out == ()
        triggers.remove(engine)
        run(engine, "UPDATE users SET t = 'unseen' WHERE id = (SELECT max(id) FROM users)")
        found = ledger.reconcile("user", engine, table="users", record=False)
        assert counts(found) == (0, 0, 1, 0) and found.different[0].fields == ("t",)


def test_times_that_python_has_not(request: pytest.FixtureRequest, ledger_dir: Path) -> None:
    engine = new_outbox(new_database("postgresql", request, ledger_dir), request)
    run(
        engine,
        "CREATE DOMAIN moment AS timestamptz",
        "CREATE TABLE times (id INTEGER PRIMARY KEY, z timestamptz, d date, t timestamp, "
        "c time, i interval, m moment)",
    )
    triggers.install(engine, ["times"])
    run(
        engine,
        "INSERT INTO times VALUES "
        "(1, 'infinity', '-infinity', 'infinity', '24:00', '1 year 2 mons', '-infinity'), "
        "(2, '0044-03-15 BC', '20000-01-01', '10000-01-01', '23:59', '25:00:00', now()), "
        "(3, now(), '9999-12-31', '9999-12-31 23:59:59.999999', '00:00', '-1 mons 3 days', NULL), "
        "(4, '0001-01-01 00:00+00', '0001-01-01', '0001-01-01', NULL, '-3 days 01:00', now())",
    )
    relayed(engine, ledger_dir)
    with Ledger(url(ledger_dir)) as ledger:
        found = ledger.reconcile("times", engine, record=False, values=True)
        assert [one.to_json() for one in found.different] == [] and found.counts["same"] == 4
        triggers.remove(engine)
        run(engine, "UPDATE times SET z = '-infinity', i = '14 mons 1 day' WHERE id = 1")
        (one,) = ledger.reconcile("times", engine, record=False).different
        assert (one.key, one.fields) == ("1", ("z", "i"))

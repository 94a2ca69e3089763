"""`audit reconcile`: what it shows, what it records, how it ends."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.capture.database.outbox_support import new_database, new_outbox
from tests.capture.database.reconcile_support import App, relayed
from tests.cli.conftest import Cli

ADDRESS = "sqlite:///app.db"
TABLE = 'CREATE TABLE "users" (id INTEGER PRIMARY KEY, name VARCHAR(40), secret TEXT)'


@pytest.fixture
def engine(request: pytest.FixtureRequest, ledger_dir: Path) -> Engine:
    return new_outbox(new_database("sqlite", request, ledger_dir), request)


@pytest.fixture
def app(engine: Engine, ledger_dir: Path) -> App:
    made = App(engine, TABLE, "users", "user")
    made.insert(*({"id": n, "name": f"n{n}"} for n in range(5)))
    relayed(engine, ledger_dir)
    return made


def test_a_complete_capture(app: App, cli: Cli) -> None:
    there = ("reconcile", "user", "--against", ADDRESS, "--table", "users", "--leave-out", "secret")
    done = cli(*there)
    assert done.lines[0].split(":")[0].split() == ["capture", "complete"]
    assert "5 in the log, 5 in the table" in done.out and "left out    secret" in done.out
    found = cli(*there, "--json").json
    assert found["ok"] and found["counts"]["same"] == 5
    assert found["columns"] == ["id", "name"] and len(found["logs"][0]["root_hash"]) == 64
    said = cli("log", "type:capture.reconciled", "--json").json
    assert said[-1]["event_id"] == found["recorded"]
    assert cli(*there, "--json", "--no-record").json["recorded"] is None
    assert len(cli("log", "type:capture.reconciled", "--json").json) == 2
    cli("verify")


def test_what_capture_missed(app: App, cli: Cli) -> None:
    app.insert({"id": 9, "name": "x"}, {"id": 10, "name": "x"}, silent=True)
    app.delete({"id": 0}, silent=True)
    app.update({"id": 1}, silent=True, name="\x1b[31mred")
    app.update({"id": 2}, name="waits")
    there = ("reconcile", "user", "--against", ADDRESS, "--table", "users")
    done = cli(*there, "--limit", "1", code=1)
    assert "NOT COMPLETE" in done.lines[0]
    assert [line.split(maxsplit=1) for line in done.lines[-4:]] == [
        ["missing", "user/10"],
        ["extra", "user/0"],
        ["different", "user/1: name"],
        ["pending", "user/2: a change of it waits in the outbox"],
    ]
    assert done.err == "1 more missing: --limit shows more\n" and "red" not in done.out
    shown = cli(*there, "--values", code=1).out
    assert 'name: "n1" in the log, "' in shown and "\x1b" not in shown
    found = cli(*there, "--json", "--values", code=1).json
    assert found["missing"] == ["10", "9"] and found["extra"] == ["0"]
    (one,) = found["different"]
    assert one == {
        "key": "1", "fields": ["name"], "log": {"name": "n1"}, "table": {"name": "\x1b[31mred"},
    }  # fmt: skip
    assert found["pending"] == [{"key": "2", "why": "waiting"}]
    counts = {"log": 5, "table": 6, "same": 2}
    more = {"missing": 2, "extra": 1, "different": 1, "pending": 1}
    assert found["counts"] == counts | more
    assert cli(*there, "--columns", "id", "--json", code=1).json["counts"]["different"] == 0


def test_what_is_typed_wrongly(app: App, cli: Cli) -> None:
    cli("reconcile", code=2)
    cli("reconcile", "user", code=2)
    cli("reconcile", "user", "--against", ADDRESS, code=2)  # the table is called users
    cli("reconcile", "prediction", "--against", ADDRESS, code=2)
    cli("reconcile", "user", "--against", "nonsense", code=2)
    cli("reconcile", "user", "--against", "sqlite:///nowhere.db", code=3)
    cli("reconcile", "user", "--against", "postgresql://127.0.0.1:1/x", code=3)
    there = ("reconcile", "user", "--against", ADDRESS, "--table", "users")
    cli(*there, "--db-schema", "s", code=2)
    cli(*there, "--columns", "nothing", code=2)
    cli(*there, "--leave-out", "id", code=2)
    cli(*there, "--limit", "-1", code=2)
    cli(*there, "--as-of", "sha256:00000000", code=2)

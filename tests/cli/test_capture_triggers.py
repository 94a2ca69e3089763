"""`audit capture install`, `check` and `remove`, and the way from a raw write into the ledger."""

import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from audit.cli.app import app


def audit_(*args: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, args)
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def url(tmp_path: Path) -> str:
    path = tmp_path / "app.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, secret TEXT)")
        raw.execute("CREATE TABLE note (n INTEGER)")
        raw.execute("INSERT INTO person VALUES (1, 'ann', 'x')")
    raw.close()
    return f"sqlite:///{path}"


def sql(url: str, statement: str) -> None:
    raw = sqlite3.connect(url.removeprefix("sqlite:///"))
    with raw:
        raw.execute(statement)
    raw.close()


def test_install_check_and_remove(url: str, tmp_path: Path) -> None:
    at = ("--database", url)
    assert "no triggers were installed" in audit_("capture", "check", *at, code=2).output
    assert "note" in audit_("capture", "install", *at, code=2).output
    made = audit_(
        "capture", "install", *at, "--exclude", "note", "--leave-out", "person.secret"
    ).stdout
    assert [line.split() for line in made.splitlines()][1] == ["person", "captured", "1"]
    assert "1 table captured, nothing differs" in audit_("capture", "check", *at).stdout
    sql(url, "UPDATE person SET name = 'bob', secret = 'y'")
    sql(url, "ALTER TABLE person ADD COLUMN age INTEGER")
    found = json.loads(audit_("capture", "check", *at, "--json", code=1).stdout)
    assert {"table": "person", "what": "column age was added"} in found["findings"]
    assert "column age was added" in audit_("capture", "check", *at, code=1).stdout
    mended = json.loads(audit_("capture", "install", *at, "--json").stdout)
    assert (mended["mended"], mended["taken_in"]) == (["person"], {"person": 1})
    assert mended["gaps"][0]["table"] == "person"
    audit_("capture", "check", *at)
    store = f"sqlite:///{tmp_path}/audit.db"
    audit_("relay", *at, "--store", store, "--once")
    log = json.loads(audit_("log", "--store", store, "--json").stdout)
    kinds = [each["type"] for each in log]
    assert {"data.create", "data.update", "capture.gap"} <= set(kinds)
    assert "'x'" not in str(log)
    assert "triggers taken off 1 table; 1 row" in audit_("capture", "remove", *at).stdout
    assert json.loads(audit_("capture", "remove", *at, "--json").stdout)["tables"] == []


@pytest.mark.parametrize(
    "options",
    [("--tables", ",a"), ("--tables", "nowhere"), ("--leave-out", "person"),
     ("--leave-out", "person.id"), ("--exclude", "nowhere"), ("--schema", "s")],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_a_line(url: str, options: tuple[str, ...]) -> None:
    done = audit_("capture", "install", "--database", url, "--exclude", "note", *options, code=2)
    assert "Traceback" not in done.output


def test_tables_are_named_with_their_entity_types(url: str) -> None:
    done = audit_("capture", "install", "--database", url, "--tables", "person=human", "--json")
    assert json.loads(done.stdout)["made"] == ["person"]
    raw = sqlite3.connect(url.removeprefix("sqlite:///"))
    assert raw.execute("SELECT entity_type, op FROM attestory_outbox").fetchall() == [
        ("human", "create")
    ]
    raw.close()

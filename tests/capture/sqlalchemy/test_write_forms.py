"""Every way to write, against every way to capture: seen, raised or a gap; never missed."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session, configure_mappers

from audit.capture.database import triggers
from audit.capture.sqlalchemy import install
from audit.errors import UnseenWrite
from tests.capture.database.outbox_support import DATABASES
from tests.capture.sqlalchemy.models import make_models
from tests.capture.sqlalchemy.support import NOT_CAPTURED, Application, changed, folded
from tests.capture.sqlalchemy.write_forms import FORMS, POSTGRESQL_ONLY, SQLITE_ONLY

README = Path(__file__).parents[3] / "README.md"
BEGIN = "<!-- write forms: made by tests/capture/sqlalchemy/test_write_forms.py -->"
END = "<!-- end -->"
pytestmark = pytest.mark.slow
SEEN, RAISED, GAP, MISSED = "seen", "raised", "gap", "**missed**"

Measured = dict[str, str]
"""What became of each form."""


def forms_of(database: str) -> list[str]:
    aside = SQLITE_ONLY if database == "postgresql" else POSTGRESQL_ONLY
    return [name for name in FORMS if name not in aside]


def run_form(app: Application, name: str) -> str:
    """Run one form in an application that captures; what became of it."""
    app.restore()
    before = app.seeded
    try:
        with Session(app.engine) as session, session.begin():
            FORMS[name](session, app.m)
    except UnseenWrite:
        assert app.state() == before and app.rows() == [], name
        return RAISED
    after, rows = app.state(), app.rows()
    truth = changed(before, after)
    app.dirty = {table for table, _ in truth}
    gaps = [row for row in rows if row["op"] == "gap"]
    if gaps:
        return GAP
    told = {(row["entity_type"], row["entity_key"]) for row in rows}
    if told != truth:
        return MISSED if not told else f"**{len(told & truth)} of {len(truth)}**"
    assert folded(before, rows) == after, name
    assert len({row["transaction_id"] for row in rows}) <= 1
    return SEEN


def measure_hooks(app: Application, on_unseen: str) -> Measured:
    installed = install(app.engine, exclude=NOT_CAPTURED, on_unseen=on_unseen)
    found = {name: run_form(app, name) for name in forms_of(app.name)}
    installed.remove()
    return found


def measure_triggers(app: Application) -> Measured:
    triggers.install(app.bare, exclude=NOT_CAPTURED)
    found = {name: run_trigger_form(app, name) for name in forms_of(app.name)}
    triggers.remove(app.bare)
    return found


def run_trigger_form(app: Application, name: str) -> str:
    """As `run_form`; a TRUNCATE is one row about the whole table."""
    app.restore()
    before = app.seeded
    with Session(app.engine) as session, session.begin():
        FORMS[name](session, app.m)
    truth, rows = changed(before, app.state()), app.rows()
    app.dirty = {table for table, _ in truth}
    whole = {row["entity_type"] for row in rows if row["op"] == "truncate"}
    told = {(row["entity_type"], row["entity_key"]) for row in rows}
    missing = {each for each in truth if each not in told and each[0] not in whole}
    return SEEN if not missing else MISSED


def measure_continuum(folders: dict[str, Path], request: Any) -> dict[str, Measured]:
    """By database: how many of the changed rows have a new version."""
    from sqlalchemy_continuum import make_versioned, remove_versioning

    # Its listeners refuse to have the tables filled; those of other classes they leave alone.
    apps = [Application(database, request, folder) for database, folder in folders.items()]
    make_versioned(user_cls=None)
    try:
        models = make_models(versioned=True)
        configure_mappers()
        found = {}
        for app in apps:
            models.Base.metadata.create_all(app.bare)
            app.m = models
            found[app.name] = {name: run_continuum(app, name) for name in forms_of(app.name)}
        return found
    finally:
        remove_versioning()


def run_continuum(app: Application, name: str) -> str:
    versions = [
        table for table in app.m.Base.metadata.tables.values() if table.name.endswith("_version")
    ]
    with app.bare.begin() as connection:
        for table in versions:
            connection.execute(table.delete())
    app.restore()
    before = app.seeded
    try:
        with Session(app.engine) as session, session.begin():
            FORMS[name](session, app.m)
    except Exception as error:
        return f"fails: {type(error).__name__}"
    truth = changed(before, app.state())
    app.dirty = {table for table, _ in truth}
    told = set()
    with app.bare.connect() as connection:
        keys = {each.table: each.key for each, _ in app.captured}
        for table in versions:
            own = table.name.removesuffix("_version")
            columns = [table.c[column] for column in keys[own]]
            for row in connection.execute(table.select().with_only_columns(*columns)):
                told.add((own, *map(_part, row)))
    parts = {(entity, *_parts(key)) for entity, key in truth}
    seen = len(parts & told)
    if seen == len(parts):
        return SEEN
    return f"{MISSED} ({seen} of {len(parts)})"


def _parts(key: str) -> list[str]:
    import json

    return [_part(part) for part in json.loads(key)] if key.startswith("[") else [_part(key)]


def _part(part: object) -> str:
    """A UUID has no dashes in SQLite."""
    return str(part).replace("-", "")


@pytest.fixture(scope="module")
def measured(
    request: pytest.FixtureRequest, tmp_path_factory: Any
) -> dict[str, dict[str, Measured]]:
    """By way of capture and database."""
    found: dict[str, dict[str, Measured]] = {}
    for database in DATABASES:
        app = Application(database, request, tmp_path_factory.mktemp("app"))
        found.setdefault("raise", {})[database] = measure_hooks(app, "raise")
        found.setdefault("gap", {})[database] = measure_hooks(app, "gap")
        found.setdefault("triggers", {})[database] = measure_triggers(app)
    folders = {database: tmp_path_factory.mktemp("continuum") for database in DATABASES}
    found["continuum"] = measure_continuum(folders, request)
    return found


def test_there_are_enough_forms() -> None:
    assert len(FORMS) >= 24


@pytest.mark.parametrize("way", ["raise", "gap", "triggers"])
def test_none_is_silent(measured: Any, way: str) -> None:
    for database in DATABASES:
        silent = {k: v for k, v in measured[way][database].items() if v not in (SEEN, RAISED, GAP)}
        assert silent == {}, database
    assert RAISED not in measured["gap"]["sqlite"].values()
    assert GAP not in measured["raise"]["sqlite"].values()


def table_of(measured: Any) -> str:
    """The table as the README has it."""
    heads = ("raise", "gap", "triggers", "continuum")
    lines = [
        '| write | hooks | hooks, `on_unseen="gap"` | triggers | SQLAlchemy-Continuum |',
        "|---|---|---|---|---|",
    ]
    for name in FORMS:
        cells = []
        for way in heads:
            found = [each.get(name) for each in reversed(measured[way].values())]
            kept = list(dict.fromkeys(each for each in found if each is not None))
            if not kept:
                kept = ["-"]
            cells.append(kept[0] if len(kept) == 1 else f"{kept[0]} (PostgreSQL: {kept[1]})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def test_the_readme_shows_what_was_measured(measured: Any) -> None:
    table, readme = table_of(measured), README.read_text()
    pattern = re.compile(rf"(?<={re.escape(BEGIN)}\n).*?(?=\n{re.escape(END)})", re.DOTALL)
    shown = pattern.search(readme)
    assert shown is not None
    if os.environ.get("UPDATE_README"):
        README.write_text(readme[: shown.start()] + table + readme[shown.end() :])
        return
    assert shown[0] == table

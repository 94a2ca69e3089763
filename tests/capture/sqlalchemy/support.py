"""Applications with hooks on both databases; what is true is read from their tables."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, select, text

from audit.capture.database.captured import Captured, captured_of
from audit.capture.database.cells import key_of, row_cells
from audit.capture.database.connect import open_database
from audit.capture.database.tables import install
from audit.event.normal import key_text
from audit.event.valuejson import dumps, fields_to_json, loads
from tests.capture.sqlalchemy.models import make_models, seed

State = dict[tuple[str, str], dict[str, Any]]
"""Cells by entity type and key."""

NOT_CAPTURED = ("stage",)


def new_engine(name: str, request: pytest.FixtureRequest, folder: Path) -> Engine:
    """An engine of an empty database."""
    if name == "sqlite":
        (folder / "app.db").touch()
        engine = create_engine(f"sqlite:///{folder}/app.db")
    else:
        engine = open_database(request.getfixturevalue("postgres_server").new_database())
    request.addfinalizer(engine.dispose)
    return engine


def _as_documented(raw: Any, _: object) -> None:
    """Foreign keys, and savepoints that work: as SQLAlchemy's documentation of SQLite has it."""
    raw.isolation_level = None
    raw.execute("PRAGMA foreign_keys = ON")


class Application:
    """The models' tables in a database, an engine with hooks and one without."""

    def __init__(self, name: str, request: pytest.FixtureRequest, folder: Path, m: Any = None):
        """Nothing is installed on `engine` yet."""
        self.name = name
        self.m = make_models() if m is None else m
        self.bare = new_engine(name, request, folder)
        """Without hooks, and on SQLite without foreign keys."""
        self.m.Base.metadata.create_all(self.bare)
        if name == "postgresql":
            with self.bare.begin() as connection:
                connection.execute(text("CREATE VIEW author_view AS SELECT id, score FROM author"))
        install(self.bare)
        self.engine = create_engine(self.bare.url)
        if name == "sqlite":
            event.listen(self.engine, "connect", _as_documented)
            event.listen(self.engine, "begin", lambda c: c.exec_driver_sql("BEGIN"))
        request.addfinalizer(self.engine.dispose)
        self.captured = [
            (captured_of(table), table)
            for table in self.m.Base.metadata.tables.values()
            if table.name not in NOT_CAPTURED and not table.name.endswith("_version")
            and table.name != "transaction"
        ]  # fmt: skip

        self.metadata = self.m.Base.metadata
        with self.bare.begin() as connection:
            seed(connection, self.m)
            self._seeds = {
                name: [
                    {
                        key: row[column]
                        for key, column in table.columns.items()
                        if not column.computed
                    }
                    for row in connection.execute(table.select()).mappings()
                ]
                for name, table in self.metadata.tables.items()
            }
        self.seeded = self.state()
        """What `seed` puts into the tables."""
        self.dirty: set[str] = set()
        """Tables that a write form has changed."""

    def restore(self) -> None:
        """The tables as they were seeded, and the outbox empty."""
        with self.bare.begin() as connection:
            if self.name == "postgresql":
                connection.execute(text("SET LOCAL session_replication_role = replica"))
            for name in self.dirty:
                table = self.metadata.tables[name]
                connection.execute(table.delete())
                if self._seeds[name]:
                    connection.execute(table.insert(), self._seeds[name])
            connection.execute(text("DELETE FROM attestory_outbox"))
        self.dirty = set()

    def state(self) -> State:
        """The live tables."""
        found: State = {}
        with self.bare.connect() as connection:
            for captured, table in self.captured:
                found |= live(connection, captured, table)
        return found

    def rows(self) -> list[Any]:
        """The outbox, in order."""
        query = "SELECT * FROM attestory_outbox ORDER BY id"
        with self.bare.connect() as connection:
            return list(connection.execute(text(query)).mappings())


def live(connection: Any, captured: Captured, table: Any) -> State:
    """One table's rows as cells."""
    reflected = _reflected(connection, table.name)
    found: State = {}
    for row in connection.execute(select(reflected)).mappings():
        key = key_text(key_of(row, captured, reflected))
        found[captured.entity_type, key] = _plain(row_cells(row, captured, reflected))
    return found


_REFLECTED: dict[tuple[str, str], Any] = {}


def _reflected(connection: Any, name: str) -> Any:
    from sqlalchemy import MetaData, Table

    where = (connection.dialect.name, name)
    if where not in _REFLECTED:
        _REFLECTED[where] = Table(name, MetaData(), autoload_with=connection)
    return _REFLECTED[where]


def _plain(cells: dict[str, Any]) -> dict[str, Any]:
    return fields_to_json(loads(dumps(cells)))  # type: ignore[arg-type]


def folded(state: State, rows: list[Any]) -> State:
    """The state after the changes in rows of an outbox; asserts that each fits what was there."""
    found = dict(state)
    for row in rows:
        key = (row["entity_type"], row["entity_key"])
        before = None if row["before"] is None else json.loads(row["before"])
        after = None if row["after"] is None else json.loads(row["after"])
        if row["op"] == "create":
            assert key not in found, f"{key} is there already"
            found[key] = after
        elif row["op"] == "update":
            old = found[key]
            assert {name: old[name] for name in before} == before
            assert before != after and before.keys() == after.keys()
            found[key] = old | after
        elif row["op"] == "delete":
            assert found.pop(key) == before
        else:
            assert row["op"] == "gap"
    return found


def changed(before: State, after: State) -> set[tuple[str, str]]:
    """The rows that differ."""
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}

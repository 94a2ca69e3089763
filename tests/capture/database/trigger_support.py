"""Databases captured by triggers, and the state that their outbox tells of."""

import json
import warnings
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, Table, inspect, select, text

from audit.capture.database import triggers
from audit.capture.database.captured import captured_of
from audit.capture.database.cells import key_of, row_cells
from audit.capture.database.connect import open_database
from audit.capture.database.events import Waiting, built
from audit.event.normal import key_text, normalize_fields
from audit.event.row import decode_row

ORDER = "SELECT * FROM attestory_outbox ORDER BY id"


def opened(address: str, request: pytest.FixtureRequest) -> Engine:
    """An engine of the application's database."""
    engine = open_database(address)
    request.addfinalizer(engine.dispose)
    return engine


def run(engine: Engine, *statements: str) -> None:
    """Statements in one transaction, as the driver takes them."""
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def rows(engine: Engine) -> list[dict[str, Any]]:
    """The outbox in order; every row makes an event."""
    with engine.connect() as connection:
        found = [dict(row._mapping) for row in connection.execute(text(ORDER))]
    for row in found:
        built(Waiting(*(row.get(name) for name in Waiting._fields)), "app")
    return found


def told(engine: Engine, since: int = 0) -> list[tuple[Any, ...]]:
    """(op, key, before, after) of each row, images as plain JSON."""
    return [
        (row["op"], row["entity_key"], _plain(row["before"]), _plain(row["after"]))
        for row in rows(engine)[since:]
    ]


def _plain(image: str | None) -> Any:
    return None if image is None else json.loads(image)


def folded(engine: Engine, entity_type: str) -> dict[str, dict[str, Any]]:
    """The dataset that the outbox tells of; asserts that each row fits the state before it."""
    state: dict[str, dict[str, Any]] = {}
    for row in rows(engine):
        if row["entity_type"] != entity_type or row["op"] == "gap":
            continue
        event = built(Waiting(*(row.get(name) for name in Waiting._fields)), "app").event
        data, key = decode_row(event.payload), row["entity_key"]
        before, after = data.before or {}, data.after or {}
        if row["op"] == "truncate":
            state.clear()
        elif row["op"] == "create":
            assert key not in state, f"{key} is created twice"
            state[key] = dict(after)
        elif row["op"] == "delete":
            assert _exact(state.pop(key)) == _exact(before)
        else:
            known = {name: state[key].get(name) for name in before}
            assert _exact(known) == _exact(before)
            state[key].update(after)
    return state


def live(engine: Engine, name: str, schema: str | None = None) -> dict[str, dict[str, Any]]:
    """The table as it is, through SQLAlchemy and `cells`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = Table(name, MetaData(), autoload_with=engine, schema=schema)
    what = captured_of(table, "any")
    with engine.connect() as connection:
        found = [dict(row._mapping) for row in connection.execute(select(table))]
    return {
        key_text(key_of(row, what, table)): normalize_fields(row_cells(row, what, table))
        for row in found
    }


def same(engine: Engine, *names: str, entity_type: str | None = None) -> None:
    """Assert that the outbox tells of just the rows that the tables hold."""
    for name in names:
        told, there = folded(engine, entity_type or name), live(engine, name)
        assert told.keys() == there.keys()
        assert {k: _exact(v) for k, v in told.items()} == {k: _exact(v) for k, v in there.items()}


def _exact(row: dict[str, Any]) -> dict[str, str]:
    """Types and zeros told apart, and NaN the same as itself."""
    return {name: repr(value) for name, value in row.items()}


def table_names(engine: Engine) -> set[str]:
    """All tables."""
    return set(inspect(engine).get_table_names())


__all__ = ["folded", "live", "opened", "rows", "run", "same", "table_names", "told", "triggers"]

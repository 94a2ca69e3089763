"""Outboxes on both databases, filled as applications do, and the ledgers they end in."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from audit.capture.database import outbox
from audit.capture.database.connect import open_database
from audit.capture.database.relay import Relay, Settings
from audit.capture.database.tables import install
from audit.event.envelope import Event
from tests.capture.support import events, url

DATABASES = ("postgresql", "sqlite")


def new_database(name: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """The URL of an empty database for an application."""
    if name == "postgresql":
        return str(request.getfixturevalue("postgres_server").new_database())
    (folder / "app.db").touch()
    return f"sqlite:///{folder}/app.db"


def new_outbox(address: str, request: pytest.FixtureRequest) -> Engine:
    """The database with an outbox in it."""
    engine = open_database(address)
    request.addfinalizer(engine.dispose)
    install(engine)
    return engine


def put(engine: Engine, *rows: outbox.Row) -> None:
    """Rows in one transaction."""
    with engine.begin() as connection:
        outbox.write(connection, rows)


def change(key: object, number: int, entity: str = "user", op: str = "update") -> outbox.Row:
    """The change of a key with a number by which its place in an order is told."""
    return outbox.row(op, entity, key, after={"n": number}, image="full")


def insert(engine: Engine, **columns: Any) -> None:
    """One row, straight into the table, as anybody may."""
    given = {"event_id": f"raw-{columns!r:.40}", "op": "update", **columns}
    names = ", ".join(given)
    marks = ", ".join(f":{name}" for name in given)
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO attestory_outbox ({names}) VALUES ({marks})"), given)


def relay(engine: Engine, folder: Path, **settings: Any) -> Relay:
    """A relay into the ledger of a folder."""
    return Relay(engine, Settings(url(folder), **settings))


@contextmanager
def running(*relays: Relay) -> Iterator[None]:
    """They run on threads of their own; the block ends when they have, and says what they met."""
    errors: list[BaseException] = []

    def run(one: Relay) -> None:
        try:
            one.run()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(one,)) for one in relays]
    for thread in threads:
        thread.start()
    try:
        yield
    except BaseException:
        print(f"relays met {errors}, and {[one.outage for one in relays]}")
        raise
    finally:
        for one in relays:
            one.stop()
        for thread in threads:
            thread.join()
    assert not errors, errors


def count(engine: Engine, table: str) -> int:
    """How many rows a table has."""
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def numbers(folder: Path) -> dict[str, list[int]]:
    """The numbers of each key in log order; asserts that no event is there twice."""
    return by_key(events(folder))


def by_key(found: Iterable[Event]) -> dict[str, list[int]]:
    from audit.event.row import decode_row

    seen: set[str] = set()
    told: dict[str, list[int]] = {}
    for event in found:
        assert event.event_id not in seen
        seen.add(event.event_id)
        is_data = event.type.startswith("data.")
        after = (decode_row(event.payload).after or {}) if is_data else {}
        told.setdefault(f"{event.entity_type}/{event.entity_key}", []).append(after.get("n", -1))
    return told

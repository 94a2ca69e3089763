"""Reconcile while the application writes and a relay runs: no false difference, ever."""

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from audit.capture.database.reconcile import Asked, reconcile
from audit.capture.reconciled import Reconciled
from audit.store import open_reader
from tests.capture.database.outbox_support import DATABASES, new_database, new_outbox, relay
from tests.capture.database.reconcile_support import App, counts, reconciled, relayed
from tests.capture.support import url

USERS = 'CREATE TABLE "user" (id INTEGER PRIMARY KEY, name VARCHAR(40))'
ROUNDS = 8
"""How often is compared while others write."""


@pytest.fixture(params=DATABASES)
def engine(request: pytest.FixtureRequest, ledger_dir: Path) -> Engine:
    made = new_outbox(new_database(request.param, request, ledger_dir), request)
    if request.param == "sqlite":
        with made.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    return made


@pytest.fixture
def app(engine: Engine, ledger_dir: Path) -> App:
    made = App(engine, USERS)
    made.insert(*(user(n) for n in range(20)))
    relayed(engine, ledger_dir)
    return made


def user(number: int) -> dict[str, Any]:
    return {"id": number, "name": f"n{number}"}


def compared(app: App, folder: Path, *moments: Callable[[], object] | None) -> Reconciled:
    """What is found when something happens right before the sizes are read: (1), and again (3)."""
    with open_reader(url(folder)) as reader:
        size, calls = reader.size, iter(moments)

        def sized(log: int) -> int:
            happens = next(calls, None)
            if happens is not None:
                happens()
            return size(log)

        reader.size = sized  # type: ignore[method-assign]
        return reconcile(reader, app.engine, Asked("user"))


def test_what_is_sealed_right_after_the_snapshot_is_pending(app: App, ledger_dir: Path) -> None:
    def change() -> None:
        app.update({"id": 1}, name="x")
        app.delete({"id": 2})
        app.insert(user(30))
        relayed(app.engine, ledger_dir)

    found = compared(app, ledger_dir, None, change)
    assert found.ok and counts(found) == (0, 0, 0, 3)
    assert [tuple(one) for one in found.pending] == [(key, "since") for key in ("1", "2", "30")]
    assert counts(reconciled(app, ledger_dir)) == (0, 0, 0, 0)


def test_what_is_relayed_right_after_the_snapshot_is_no_difference(
    app: App, ledger_dir: Path
) -> None:
    app.update({"id": 1}, name="x")
    app.delete({"id": 2})
    # The table shows these; their rows are in the outbox of the snapshot, and sealed by (3).
    found = compared(app, ledger_dir, None, lambda: relayed(app.engine, ledger_dir))
    assert found.ok and counts(found) == (0, 0, 0, 0)
    # Of one key: one change that the table shows, and one that it does not show yet.
    app.update({"id": 1}, name="y")

    def more() -> None:
        app.update({"id": 1}, name="z")
        relayed(app.engine, ledger_dir)

    found = compared(app, ledger_dir, None, more)
    assert found.ok and counts(found) == (0, 0, 0, 1)


def test_what_waits_while_more_is_written_is_pending(app: App, ledger_dir: Path) -> None:
    app.update({"id": 1}, name="x")
    found = compared(app, ledger_dir, None, lambda: app.update({"id": 1}, name="y"))
    assert found.ok and [tuple(one) for one in found.pending] == [("1", "waiting")]
    app.update({"id": 3}, silent=True, name="unseen")
    relayed(app.engine, ledger_dir)
    found = compared(app, ledger_dir, None, lambda: app.update({"id": 1}, name="z"))
    assert counts(found) == (0, 0, 1, 0)


def test_without_wal_writers_wait_for_no_comparison(
    request: pytest.FixtureRequest, ledger_dir: Path
) -> None:
    engine = new_outbox(new_database("sqlite", request, ledger_dir), request)
    app = App(engine, USERS)
    app.insert(*(user(n) for n in range(20)))
    relayed(engine, ledger_dir)
    app.update({"id": 2}, silent=True, name="unseen")
    told: list[int] = []

    def write(done: int, _: int) -> None:
        told.append(done)
        app.update({"id": 1}, name=f"x{done}")  # would wait, and then fail
        relayed(engine, ledger_dir)

    found = reconciled(app, ledger_dir, progress=write)
    assert counts(found) == (0, 0, 1, 0) and len(told) >= 2
    assert counts(reconciled(app, ledger_dir)) == (0, 0, 1, 0)


@pytest.mark.slow
def test_never_a_false_difference_while_others_write(
    app: App, engine: Engine, ledger_dir: Path
) -> None:
    done = threading.Event()
    failures: list[BaseException] = []
    running = relay(engine, ledger_dir, poll_s=0.0, batch=7)

    def write(seed: int) -> None:
        rng = random.Random(seed)
        live = {n for n in range(20) if n % 2 == seed % 2}
        try:
            while not done.is_set():
                number = rng.choice([n for n in range(30) if n % 2 == seed % 2])
                if number not in live:
                    app.insert(user(number))
                    live.add(number)
                elif rng.random() < 0.3:
                    app.delete({"id": number})
                    live.remove(number)
                else:
                    app.update({"id": number}, name=f"v{rng.random()}")
        except BaseException as error:
            failures.append(error)

    def run() -> None:
        try:
            running.run()
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=write, args=(seed,)) for seed in (0, 1)]
    relaying = threading.Thread(target=run)
    for thread in (*workers, relaying):
        thread.start()
    try:
        found = [reconciled(app, ledger_dir) for _ in range(ROUNDS)]
    finally:
        done.set()
        for thread in workers:
            thread.join()
        running.stop()
        relaying.join()
    assert not failures
    assert [counts(one) for one in found if not one.ok] == []
    assert any(one.counts["pending"] for one in found)  # so there was something to confuse
    relayed(engine, ledger_dir)
    assert counts(reconciled(app, ledger_dir)) == (0, 0, 0, 0)

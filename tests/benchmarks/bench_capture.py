"""Capture in a database: what writing the outbox costs, and how fast the relay empties it."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine

from audit.capture.database import outbox
from audit.capture.database.connect import open_database
from audit.capture.database.relay import Relay, Settings
from audit.capture.database.tables import install
from tests.benchmarks import bench_latency
from tests.benchmarks.bench_emit import ROW, _emit
from tests.benchmarks.common import Result, rate
from tests.services import postgres
from tests.services.process import Unobtainable

KEYS = 1_000
REQUEST_EACH = 30
"""A request of an application takes as long as so many rows."""


def run(count: int = 20_000) -> list[Result]:
    """Rows made, rows written and rows relayed, beside the same events emitted directly."""
    with tempfile.TemporaryDirectory() as folder:
        _, emitted = _emit(f"sqlite:///{folder}/audit.db", folder, count, False)
    found = []
    with _databases() as engines:
        for name, engine in engines:
            found += _measure(name, engine, count, f"emitted directly {emitted}")
    return found + bench_latency.run(count // REQUEST_EACH)


@contextlib.contextmanager
def _databases() -> Iterator[list[tuple[str, Engine]]]:
    with contextlib.ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "app.db"
        path.touch()
        engines = [("SQLite", open_database(f"sqlite:///{path}"))]
        with contextlib.suppress(Unobtainable):
            server = postgres.obtain()
            stack.callback(server.close)
            engines.append(("PostgreSQL", open_database(server.new_database())))
        for _, engine in engines:
            stack.callback(engine.dispose)
        yield engines


def _measure(name: str, engine: Engine, count: int, bare: str) -> list[Result]:
    install(engine)
    start = time.perf_counter()
    rows = [
        outbox.row("create" if n < KEYS else "update", "inquiry", n % KEYS, after=ROW, image="full")
        for n in range(count)
    ]
    made_s = time.perf_counter() - start
    start = time.perf_counter()
    with engine.begin() as connection:
        outbox.write(connection, rows)
    written_s = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        relay = Relay(engine, Settings(f"sqlite:///{folder}/audit.db"))
        start = time.perf_counter()
        relay.run(once=True)
        relayed_s = time.perf_counter() - start
    assert relay.emitted == count
    cost = f"row made {made_s / count * 1e6:.1f} us"
    return [
        Result(f"outbox rows written, {name}", rate(count, written_s), "-", cost),
        Result(f"relay, {name} outbox to SQLite ledger", rate(count, relayed_s), bare, "sealed"),
    ]

"""Triggers: what a captured row costs, beside the same statements on a table without them."""

import time
from collections.abc import Callable

from sqlalchemy import Connection, Engine, text

from audit.capture.database import triggers
from tests.benchmarks.bench_capture import _databases
from tests.benchmarks.common import Result

TABLE = "CREATE TABLE {} (id INTEGER PRIMARY KEY, name TEXT, amount NUMERIC(10, 2), n INTEGER)"
INSERT = "INSERT INTO {} (id, name, amount, n) VALUES (:id, :name, 12.5, 0)"
ROUNDS = 3


def run(count: int = 20_000) -> list[Result]:
    """Single inserts in one transaction, one update and one delete of all rows; the best of 3."""
    found = []
    with _databases() as engines:
        for name, engine in engines:
            with engine.begin() as connection:
                for table in ("bare", "captured"):
                    connection.execute(text(TABLE.format(table)))
            triggers.install(engine, ["captured"])
            found += _measure(name, engine, count)
    return found


def _measure(name: str, engine: Engine, count: int) -> list[Result]:
    best: dict[tuple[str, str], float] = {}
    for _ in range(ROUNDS):
        for table in ("bare", "captured"):
            for what, work in _works(table, count).items():
                took = _timed(engine, work)
                best[what, table] = min(took, best.get((what, table), took))
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM attestory_outbox"))
    results = []
    for what in _works("bare", count):
        bare, ours = best[what, "bare"] / count * 1e6, best[what, "captured"] / count * 1e6
        results.append(
            Result(
                f"triggers on {name}, {count:,} rows: {what}",
                f"{ours:.2f} us a row",
                f"{bare:.2f} us a row",
                f"+{ours - bare:.2f} us a captured row",
            )
        )
    return results


def _works(table: str, count: int) -> dict[str, Callable[[Connection], None]]:
    rows = [{"id": number, "name": f"name {number}"} for number in range(count)]

    def insert(connection: Connection) -> None:
        statement = text(INSERT.format(table))
        for row in rows:
            connection.execute(statement, row)

    def update(connection: Connection) -> None:
        connection.execute(text(f"UPDATE {table} SET n = n + 1"))

    def delete(connection: Connection) -> None:
        connection.execute(text(f"DELETE FROM {table}"))

    return {"single inserts": insert, "one update": update, "one delete": delete}


def _timed(engine: Engine, work: Callable[[Connection], None]) -> float:
    start = time.perf_counter()
    with engine.begin() as connection:
        work(connection)
    return time.perf_counter() - start

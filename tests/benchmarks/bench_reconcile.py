"""`audit reconcile`: rows a second against SQLite and PostgreSQL, and the memory it takes."""

import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from sqlalchemy import Engine, MetaData, Table, text

from audit.capture.database.connect import open_database
from audit.capture.database.tables import install
from audit.event.build import Built, data_event, schema_event
from audit.event.envelope import encode_event
from audit.ledger import Ledger
from audit.log.intake import Message
from tests.benchmarks.common import SIGNER, Result, new_store, rate
from tests.services import postgres
from tests.services.process import Unobtainable

MISSED = 7
"""Rows that capture did not see, so that both sides are read a second time for details."""
TABLE = (
    "CREATE TABLE inquiry (id BIGINT PRIMARY KEY, customer VARCHAR(20), amount NUMERIC(12, 2), "
    "rate DOUBLE PRECISION, note TEXT)"
)


def run(count: int = 100_000) -> list[Result]:
    """Quiet with the read model (built before) and without it; and with differences."""
    found = []
    for name, url, folder in prepared(count):
        for model, missed in (("on", 0), ("off", 0), ("on", MISSED)):
            if missed:
                _miss(url, missed)
            where = "off" if model == "off" else f"{folder}/model"
            ledger = f"sqlite:///{folder}/audit.db"
            wall_s, cpu_s, peak_mb = apart(ledger, url, where, str(missed))
            what = f"reconcile {count:,} rows, {name}, read model {model}"
            what += f", {missed} differ" if missed else ""
            figure = rate(count, wall_s)
            found.append(Result(what, figure, f"{cpu_s:.1f} s of CPU", f"peak {peak_mb:,} MB"))
    return found


def prepared(count: int) -> Iterator[tuple[str, str, Path]]:
    """(name, URL of a table, folder of the ledger that tells of it) for each database."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "app.db").touch()
        urls = [("SQLite", f"sqlite:///{folder}/app.db")]
        with contextlib.suppress(Unobtainable):
            server = postgres.obtain()
            stack.callback(server.close)
            urls.append(("PostgreSQL", server.new_database()))
        _make_ledger(folder, count)
        for name, url in urls:
            engine = open_database(url)
            _make_table(engine, count)
            engine.dispose()
            yield name, url, folder


def _row(number: int) -> dict[str, object]:
    return {
        "id": number,
        "customer": f"{number % 977:05d}",
        "amount": Decimal(number).scaleb(-2),
        "rate": number / 7,
        "note": "the quick brown fox " * 2,
    }


def _make_table(engine: Engine, count: int) -> None:
    install(engine)
    with engine.begin() as connection:
        connection.execute(text(TABLE))
        table = Table("inquiry", MetaData(), autoload_with=connection)
        for start in range(0, count, 10_000):
            rows = [_row(n) for n in range(start, min(count, start + 10_000))]
            connection.execute(table.insert(), rows)


def _make_ledger(folder: Path, count: int) -> None:
    def event(number: int) -> Built:
        return data_event(
            "create", "inquiry", number, event_id=f"e{number}", source="bench",
            after=_row(number), image="full",
        )  # fmt: skip

    with new_store(folder) as store:
        store.append(0, [Message(encode_event(schema_event(t))) for t in event(0)[1]], SIGNER)
        for start in range(0, count, 10_000):
            numbers = range(start, min(count, start + 10_000))
            store.append(0, [Message(encode_event(event(n)[0])) for n in numbers], SIGNER)


def _miss(url: str, count: int) -> None:
    """Change rows behind capture's back."""
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE inquiry SET note = 'x' WHERE id < {count}"))
    engine.dispose()


Figures = tuple[float, float, int]
"""Seconds, seconds of CPU, peak MB of the process."""


def reconciled(url: str, against: str, model: str, missed: str) -> Figures:
    """What it takes in this process."""
    with Ledger(url, read_model=model) as ledger:
        if model != "off":
            ledger.dataset("inquiry")  # builds it
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        found = ledger.reconcile("inquiry", against, record=False)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    assert found.counts["different"] == int(missed), found.counts
    return wall_s, cpu_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


CHILD = (
    "import sys; from tests.benchmarks import bench_reconcile as bench\n"
    "print(*bench.reconciled(*sys.argv[1:]))"
)


def apart(*given: str) -> Figures:
    """The same in a process of its own."""
    child = [sys.executable, "-c", CHILD, *given]
    done = subprocess.run(child, check=True, capture_output=True, text=True)
    wall_s, cpu_s, peak_mb = done.stdout.split()
    return float(wall_s), float(cpu_s), int(peak_mb)


if __name__ == "__main__":
    for result in run(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000):
        print(*result, sep=" | ", flush=True)

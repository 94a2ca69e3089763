"""The read model: what it costs to make, and what it gives to the first answer and to later ones.

    python -m tests.benchmarks.bench_readmodel [EVENTS ...] [--only NAME ...]

Figures of whole processes count from before the first import. Answers are compared with the truth
that the generator of the ledger keeps. The read model is made in a folder of its own each time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from audit.ledger import Ledger
from audit.replay.columnar.kept.model import open_read_model
from audit.replay.columnar.place import READ_MODEL_VARIABLE, read_model_folder
from audit.verify.policy import Policy
from tests.benchmarks import biglog_questions as questions
from tests.benchmarks.bench_asof import Best, line, shown
from tests.benchmarks.biglog import BigLog, copy_to, obtain
from tests.benchmarks.biglog_plan import ENTITY, Plan
from tests.benchmarks.biglog_truth import check, table_of
from tests.benchmarks.common import SIGNER, Result, batches, make_messages, new_store, seconds
from tests.benchmarks.peers import DuckDb, size_bytes
from tests.services import postgres
from tests.services.process import Unobtainable

CHILD = "tests.benchmarks.readmodel_child"
TAIL = 100_000
MAX_VERIFIED = 1_000_000
"""To hash and fold more leaves than that takes minutes, and says nothing new."""
GROWTH_CUTS = 15
"""Cuts not asked before, going backwards, as far apart in the long log as in the short one."""
MAX_COPIED = 100_000
MAX_SEALED = 100_000
POLICY = Policy.from_vkeys([SIGNER.verifier.vkey])


def child(*arguments: str) -> dict[str, Any]:
    """What a process of its own found."""
    command = [sys.executable, "-m", CHILD, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Read models are in this folder, for this process and those it starts."""
    before = os.environ.get(READ_MODEL_VARIABLE)
    os.environ[READ_MODEL_VARIABLE] = str(folder)
    try:
        yield
    finally:
        del os.environ[READ_MODEL_VARIABLE]
        if before is not None:
            os.environ[READ_MODEL_VARIABLE] = before


def _ask_next(ledger: Ledger, made: BigLog, cuts: Iterator[int]) -> Any:
    """The dataset at the next of some cuts."""
    return ledger.replay(ENTITY, as_of=str(made.size(next(cuts)) - 1))


class Bench:
    """One big ledger without a read model; the parts are to be run in their order."""

    def __init__(self, made: BigLog, folder: Path) -> None:
        self.made, self.folder = made, folder
        self.events = made.plan.events
        self.end = str(made.size(self.events) - 1)
        self.what = f"{self.events:,} events"

    def first(self) -> Iterable[Result]:
        """The first answer, from nothing."""
        with tempfile.TemporaryDirectory() as empty, kept_in(Path(empty)):
            found = child("replay", self.made.url, self.end)
        note = f"at most {found['rss_mib']:,.0f} MiB"
        yield line(f"first answer without a read model, {self.what}", found["seconds"], [], note)

    def build(self) -> Iterable[Result]:
        """Making the read model alone."""
        found = child("build", self.made.url, self.end)
        share = found["bytes"] / size_bytes(self.made.path)
        each = f"{found['seconds'] / self.events * 1e6:.1f} us an event"
        note = f"{each}; at most {found['rss_mib']:,.0f} MiB; {share:.0%} of the store's size"
        yield line(f"read model made, {self.what}", found["seconds"], [], note)

    def cold(self) -> Iterable[Result]:
        """A new process that asks once; the second one finds the snapshots of the first."""
        from tests.benchmarks.peers import asof_queries

        child("replay", self.made.url, self.end)
        found = child("replay", self.made.url, self.end)
        peers = [
            Best("DuckDB", form, child("duckdb", str(self.made.parquet), query)["seconds"])
            for form, query in asof_queries(self.events).items()
            if form.startswith("arg_max")
        ]
        peers.sort(key=lambda best: best.time_s)
        what = f"dataset as-of in a new process, {found['rows']:,} rows, {self.what}"
        kept = size_bytes(self.folder) / size_bytes(self.made.path)
        note = f"at most {found['rss_mib']:,.0f} MiB; with snapshots {kept:.0%} of the store's size"
        yield line(what, found["seconds"], peers[:1], note)

    def tail(self) -> Iterable[Result]:
        """From the newest snapshot that is so many events back; each time at a cut before all those
        that were asked, so that no state of an earlier answer helps.
        """
        with Ledger(self.made.url) as ledger:
            ledger.replay(ENTITY, as_of=self.end)
            sizes = self._snapshots(ledger)
            fitting = [size for size in sizes if size + TAIL <= self.made.size(self.events)]
            if not fitting:
                return
            cut = max(fitting) + TAIL - self.made.first

            cuts = iter(range(cut, 0, -1))

            def ours() -> Any:
                return ledger.replay(ENTITY, as_of=str(self.made.size(next(cuts)) - 1))

            truth = table_of(self.made.fold_to(cut))
            check("snapshot and tail", ours(), truth)
            time_s = seconds(ours, 9)
            arrow_s = seconds(lambda: self._arrow(ledger, next(cuts)), 9)
        note = f"to Arrow {shown(arrow_s)}"
        what = f"snapshot of {cut - TAIL:,} and a tail of {TAIL:,} events, {len(truth):,} rows"
        yield line(what, time_s, self._peers(cut), note)

    def _arrow(self, ledger: Ledger, cut: int) -> Any:
        return ledger.replay(ENTITY, as_of=str(self.made.size(cut) - 1), format="arrow")

    def _snapshots(self, ledger: Ledger) -> list[int]:
        folder = read_model_folder(ledger.reader.address, self.made.path)
        return list(open_read_model(ledger.reader, folder).snapshot_sizes(0, ENTITY))

    def _peers(self, cut: int) -> list[Best]:
        forms = DuckDb(self.made).dataset(cut)
        form = "arg_max by number"
        return [Best("DuckDB", form, seconds(forms[form]))]

    def verified(self) -> Iterable[Result]:
        """An answer that is made again from hashed leaves, and compared."""
        if self.events > MAX_VERIFIED:
            return
        with Ledger(self.made.url) as ledger:
            frame = ledger.replay(ENTITY, as_of=self.end, verify=POLICY)
            check("verified", frame, self.made.truth(self.events))
            time_s = seconds(lambda: ledger.replay(ENTITY, as_of=self.end, verify=POLICY), 1)
        each = f"{time_s / self.events * 1e6:.1f} us an event"
        yield line(f"dataset as-of, verified from leaves, {self.what}", time_s, [], each)

    def served(self) -> Iterable[Result]:
        """One row, in PostgreSQL."""
        if self.events > MAX_COPIED:
            return
        cut = self.events // 2
        key, at = questions.a_key(self.made, cut), str(self.made.size(cut) - 1)
        truth = questions.row_truth(self.made, key, cut).drop_columns("entity_key").to_pylist()
        try:
            server = postgres.obtain(durable=True)
        except Unobtainable as error:
            yield Result(f"one row, PostgreSQL: not measured, {error}", "0", "-", "-")
            return
        try:
            url = server.new_database()
            copy_to(self.made, url)
            with Ledger(url) as ledger:
                ref = f"{ENTITY}/{key}"
                found = ledger.replay_row(ref, as_of=at)
                questions.check_same("row in PostgreSQL", [found], truth)
                time_s = seconds(lambda: ledger.replay_row(ref, as_of=at), 9)
        finally:
            server.close()
        yield line(f"one row as-of, of {self.what}, PostgreSQL", time_s, [])

    def growth(self) -> Iterable[Result]:
        """As many rows, out of a hundred times as long a log."""
        live = max(self.events // 1_000, 20)
        times: list[float] = []
        elsewhere: list[float] = []
        apart = max(1, self.events // 100 // 2 // GROWTH_CUTS)
        for events in (max(self.events // 100, live), self.events):
            made = obtain(Plan(events, live=live, revived=1.0))
            with Ledger(made.url) as ledger:
                at = str(made.size(events) - 1)
                rows = ledger.replay(ENTITY, as_of=at)
                check("equal rows", rows, made.truth(events))
                times.append(seconds(partial(ledger.replay, ENTITY, as_of=at), 9))
                cuts = iter(range(events - apart, 0, -apart))
                ask = partial(_ask_next, ledger, made, cuts)
                elsewhere.append(seconds(ask, GROWTH_CUTS))
        what = f"dataset as-of, {len(rows):,} rows of {self.what}"
        note = (
            f"{times[1] / times[0]:.2f} times that of {self.events // 100:,} events; at cuts not "
            f"asked before {shown(elsewhere[1])}, {elsewhere[1] / elsewhere[0]:.2f} times"
        )
        yield line(what, times[1], [], note)

    def sealing(self) -> Iterable[Result]:
        """Appending, while another process asks for the dataset over and over."""
        messages = make_messages(min(self.events, MAX_SEALED))
        with tempfile.TemporaryDirectory() as folder:
            alone = _append(Path(folder), "alone.db", messages, False)
            asked = _append(Path(folder), "asked.db", messages, True)
        note = (
            f"alone {shown(alone)}: {asked / alone:.2f} times as long beside a reader that builds"
        )
        yield line(f"sealing {len(messages):,} events in batches of 5,000", asked, [], note)


_ASK = """
import audit, time, sys
while True:
    with audit.Ledger(sys.argv[1]) as ledger:
        for _ in range(20):
            print(len(ledger.replay("inquiry")), flush=True)
            time.sleep(0.5)
"""


def _asking(store: str) -> subprocess.Popen[str]:
    """A process that has asked once, and goes on."""
    asking = subprocess.Popen(
        [sys.executable, "-c", _ASK, store], stdout=subprocess.PIPE, text=True
    )
    assert asking.stdout is not None
    if not asking.stdout.readline():
        raise SystemExit("the process that asks has ended")
    return asking


def _append(folder: Path, name: str, messages: list[Any], is_asked: bool) -> float:
    with new_store(folder, name) as store:
        store.append(0, messages[:5_000], SIGNER)
        asking = None
        if is_asked:
            asking = _asking(store.address)
        began = time.perf_counter()
        for part in batches(messages[5_000:] or messages, 5_000):
            store.append(0, part, SIGNER)
        took = time.perf_counter() - began
        if asking is not None:
            asking.kill()
            asking.communicate()
        return took


PARTS: dict[str, Callable[[Bench], Iterable[Result]]] = {
    "first": Bench.first,
    "build": Bench.build,
    "cold": Bench.cold,
    "tail": Bench.tail,
    "verified": Bench.verified,
    "served": Bench.served,
    "growth": Bench.growth,
    "sealing": Bench.sealing,
}


def measure(count: int, only: Iterable[str] = PARTS) -> Iterable[Result]:
    """All parts, or some, on a ledger of so many events."""
    with tempfile.TemporaryDirectory() as folder, kept_in(Path(folder)):
        bench = Bench(obtain(Plan(count)), Path(folder))
        for name in only:
            yield from PARTS[name](bench)


def run(count: int = 100_000) -> list[Result]:
    """The quick form, for the table of all benchmarks."""
    return list(measure(count))


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("events", type=int, nargs="*")
    parser.add_argument("--only", nargs="+", choices=[*PARTS])
    given = parser.parse_args(arguments)
    print("| what | ours | others | ratio |\n|---|---|---|---|")
    for count in given.events or (100_000,):
        for result in measure(count, given.only or PARTS):
            print("| " + " | ".join(result) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

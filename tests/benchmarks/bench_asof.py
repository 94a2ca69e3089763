"""Any dataset at any instant: replay, one row, diff, blame, join and search, beside other engines.

    python -m tests.benchmarks.bench_asof [EVENTS ...] [--full] [--only NAME ...]

The ledger is generated (`biglog`), so the right answers are known; every answer, ours and each
peer's, is compared with them before its time counts. DuckDB and Polars read Parquet of the same
events, on all cores, with the best of several queries (`peers`); SQLAlchemy-Continuum and
eventsourcing get as many events as they can bear (`peers_orm`). None of the four hashes, proves or
cites anything. The ratio is the best peer's time by ours: above 1 we are faster. Times are medians
of three; the load is that of the machine when the figure was taken, beside how many cores.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from audit.ledger import Ledger
from tests.benchmarks import biglog_questions as questions
from tests.benchmarks.biglog import BigLog, obtain
from tests.benchmarks.biglog_plan import ENTITY, FIELDS, Plan
from tests.benchmarks.biglog_truth import check
from tests.benchmarks.common import Result, seconds
from tests.benchmarks.peers import JOINED, DuckDb, Forms, Polars

QUICK_ORM = 2_000
FULL_SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
FULL_ORM = (10_000, 100_000)
SPINE_SHARE = 100
"""One row of a spine for so many events; MAX_SPINE of them at most."""
MAX_SPINE = 100_000
SEARCH_LIMIT = 100

Check = Callable[[str, Any], None]


class Best(NamedTuple):
    """The fastest way that a peer was asked."""

    name: str
    form: str
    time_s: float


def shown(time_s: float) -> str:
    """A time with three digits."""
    return f"{time_s:.2f} s" if time_s >= 1 else f"{time_s * 1e3:.3g} ms"


def best_of(asked: Iterable[tuple[str, Forms]], right: Check) -> list[Best]:
    """Of each peer the best form: all are checked, each is timed once, the best one thrice."""
    found = []
    for name, forms in asked:
        once = {}
        for form, action in forms.items():
            right(f"{name}, {form}", action())
            once[form] = seconds(action, 1)
        form = min(once, key=once.__getitem__)
        found.append(Best(name, form, seconds(forms[form])))
    return sorted(found, key=lambda best: best.time_s)


def line(what: str, ours_s: float, peers: list[Best], note: str = "") -> Result:
    """A row of the table; `note` goes behind our time."""
    load = f"load {os.getloadavg()[0]:.1f}/{os.cpu_count()}"
    said = "; ".join(f"{peer.name} {shown(peer.time_s)} ({peer.form})" for peer in peers)
    ratio = f"{peers[0].time_s / ours_s:.2f}" if peers else "-"
    figure = "; ".join(part for part in (shown(ours_s), note, load) if part)
    return Result(what, figure, said or "-", ratio)


class Bench:
    """One big ledger, open, and its peers."""

    def __init__(self, made: BigLog) -> None:
        self.made = made
        self.events = made.plan.events
        self.ledger = Ledger(made.url)
        self.peers = (DuckDb(made), Polars(made))

    def at(self, cut: int) -> str:
        """A cut as a position."""
        return str(self.made.size(cut) - 1)

    def dataset(self) -> Iterable[Result]:
        """The whole dataset, at the end and at the half."""
        for cut in (self.events, self.events // 2):
            truth = self.made.truth(cut)

            def right(name: str, found: Any, truth: pa.Table = truth) -> None:
                check(name, found, truth)

            def ours(cut: int = cut) -> Any:
                return self.ledger.replay(ENTITY, as_of=self.at(cut))

            right("ours", ours())
            peers = best_of([(peer.name, peer.dataset(cut)) for peer in self.peers], right)
            what = f"dataset as-of, {len(truth):,} rows of {cut:,} events"
            yield line(f"{what}, to pandas", seconds(ours), peers, self._otherwise(cut))

    def _otherwise(self, cut: int) -> str:
        """The same to Arrow; and at cuts not asked before, each before all that were."""
        cuts = iter(range(cut - 1, 0, -max(1, cut // 1_000)))
        new_s = seconds(lambda: self.ledger.replay(ENTITY, as_of=self.at(next(cuts))), 9)
        at = self.at(cut)
        arrow_s = seconds(lambda: self.ledger.replay(ENTITY, as_of=at, format="arrow"))
        return f"to Arrow {shown(arrow_s)}; at a cut not asked before {shown(new_s)}"

    def row(self) -> Iterable[Result]:
        """One row, half way."""
        cut = self.events // 2
        key = questions.a_key(self.made, cut)
        truth = questions.row_truth(self.made, key, cut)
        (expected,) = truth.drop_columns("entity_key").to_pylist()

        def ours() -> Any:
            return self.ledger.replay_row(f"{ENTITY}/{key}", as_of=self.at(cut))

        questions.check_same("our row", ours(), expected)
        asked = [(peer.name, peer.row(key, cut)) for peer in self.peers]
        peers = best_of(asked, lambda name, found: check(name, found, truth))
        yield line(f"one row as-of, of {self.events:,} events, SQLite", seconds(ours, 9), peers)

    def diff(self) -> Iterable[Result]:
        """What the last 10, 1,000, 100,000 events changed."""
        duckdb = self.peers[0]
        for tail in (10, 1_000, 100_000):
            start = self.events - tail
            if start not in self.made.cuts:
                continue
            truth = questions.diff_truth(self.made, start, self.events)

            def ours(start: int = start) -> Any:
                return list(self.ledger.diff(ENTITY, self.at(start), self.at(self.events)))

            _check_diff(ours(), truth)
            peers = best_of(
                [(duckdb.name, duckdb.diff(start, self.events))],
                lambda name, found, truth=truth: questions.check_same(
                    name, _differences(found), truth
                ),
            )

            def table(start: int = start) -> Any:
                return self.ledger.diff_frame(
                    ENTITY, self.at(start), self.at(self.events), format="arrow"
                )

            questions.check_same("our table", _differences(table()), truth)
            what = f"diff, {len(truth):,} rows differ, log of {self.events:,} events"
            yield line(f"{what}, to objects", seconds(ours), peers)
            yield line(f"{what}, to Arrow", seconds(table), peers)

    def blame(self) -> Iterable[Result]:
        """Who set the fields of one row."""
        key = questions.a_key(self.made, self.events)
        truth = questions.blame_truth(self.made, key, self.events)

        def ours() -> Any:
            return self.ledger.blame(f"{ENTITY}/{key}", as_of=self.at(self.events))

        def simple(found: pa.Table) -> dict[str, tuple[int, str]]:
            return {row["field"]: (row["number"], row["actor"]) for row in found.to_pylist()}

        _check_blame(ours(), truth, self.made.first)
        duckdb = self.peers[0]
        peers = best_of(
            [(duckdb.name, duckdb.blame(key, self.events))],
            lambda name, found: questions.check_same(name, simple(found), truth),
        )
        yield line(f"blame of one row, of {self.events:,} events", seconds(ours, 9), peers)

    def join(self) -> Iterable[Result]:
        """Values at each row's own time."""
        rows = min(max(self.events // SPINE_SHARE, 100), MAX_SPINE)
        spine, truth = questions.spine_of(self.made, rows)
        frame = spine.table.to_pandas()

        def ours() -> Any:
            return self.ledger.join_asof(frame, ENTITY, list(JOINED), time="at", key="key")

        found = pa.Table.from_pandas(ours(), preserve_index=False)
        questions.check_join("our join", found, truth)
        peers = best_of(
            [(peer.name, peer.join(spine)) for peer in self.peers],
            lambda name, found: questions.check_join(name, found, truth),
        )
        what = f"join_asof, {rows:,} rows x {len(JOINED)} fields, {self.events:,} events"
        yield line(what, seconds(ours), peers)

    def search(self) -> Iterable[Result]:
        """The newest deletes by one actor."""
        actor = "clerk07"
        truth = questions.search_truth(self.made, actor, self.events, SEARCH_LIMIT)

        def ours() -> Any:
            query = f"actor:{actor} op:delete"
            page = self.ledger.page(query, self.at(self.events), limit=SEARCH_LIMIT)
            return [record.index - self.made.first for record in page.records]

        questions.check_same("our search", ours(), truth)
        duckdb = self.peers[0]
        peers = best_of(
            [(duckdb.name, duckdb.search(actor, self.events, SEARCH_LIMIT))],
            lambda name, found: questions.check_same(name, found["number"].to_pylist(), truth),
        )
        what = f"search, {len(truth)} newest deletes by an actor, {self.events:,} events"
        yield line(what, seconds(ours), peers)

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()


def _differences(found: pa.Table) -> dict[str, tuple[Any, ...]]:
    names = ("balance_before", "balance_after", "status_before", "status_after")
    columns = [found[name].to_pylist() for name in names]
    keys = found["entity_key"].to_pylist()
    return dict(zip(keys, zip(*columns, strict=True), strict=True))


def _check_diff(found: list[Any], truth: dict[str, tuple[Any, ...]]) -> None:
    mine = {
        change.entity_key: tuple(
            None if side is None else side[field]
            for field in ("balance", "status")
            for side in (change.before, change.after)
        )
        for change in found
    }
    questions.check_same("our diff", mine, truth)


def _check_blame(found: Any, truth: dict[str, tuple[int, str]], first: int) -> None:
    mine = {cell.field: (cell.index - first, cell.actor) for cell in found.fields}
    questions.check_same("our blame", mine, {name: truth[name] for name in FIELDS})


def orm(count: int) -> Iterable[Result]:
    """The ORMs' histories, at a size that they can be filled with."""
    from tests.benchmarks.peers_orm import Continuum, Eventsourcing

    if not all(map(find_spec, ("eventsourcing", "sqlalchemy_continuum"))):
        yield Result("ORM histories: not measured, pip install 'attestory[bench]'", "0", "-", "-")
        return
    made = obtain(Plan(count))
    bench = Bench(made)
    with tempfile.TemporaryDirectory() as folder:
        peers = [Continuum(made, Path(folder)), Eventsourcing(made, Path(folder))]
        try:
            cut = count // 2
            truth = made.truth(cut)
            found = best_of(
                [(peer.name, peer.dataset(cut)) for peer in peers],
                lambda name, found: check(name, found, truth),
            )
            at = bench.at(cut)
            time_s = seconds(lambda: bench.ledger.replay(ENTITY, as_of=at))
            filled = ", ".join(f"{p.name} {shown(p.filled_s / count)}" for p in peers)
            note = f"to fill, an event: {filled}"
            yield line(f"dataset as-of, {len(truth):,} rows of {cut:,} events", time_s, found, note)
            key = questions.a_key(made, cut)
            one = questions.row_truth(made, key, cut)
            found = best_of(
                [(peer.name, peer.row(key, cut)) for peer in peers],
                lambda name, found: check(name, found, one),
            )
            time_s = seconds(lambda: bench.ledger.replay_row(f"{ENTITY}/{key}", as_of=at), 9)
            yield line(f"one row as-of, of {count:,} events", time_s, found)
        finally:
            for peer in peers:
                peer.close()
            bench.close()


PARTS: dict[str, Callable[[Bench], Iterable[Result]]] = {
    "dataset": Bench.dataset,
    "row": Bench.row,
    "diff": Bench.diff,
    "blame": Bench.blame,
    "join": Bench.join,
    "search": Bench.search,
}


def measure(count: int, only: Iterable[str] = PARTS) -> Iterable[Result]:
    """All parts, or some, on a ledger of so many events."""
    bench = Bench(obtain(Plan(count)))
    try:
        for name in only:
            yield from PARTS[name](bench)
    finally:
        bench.close()


def run(count: int = 100_000) -> list[Result]:
    """The quick form, for the table of all benchmarks."""
    return [*measure(count), *orm(min(QUICK_ORM, count))]


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("events", type=int, nargs="*")
    parser.add_argument("--full", action="store_true", help="10,000 to 10,000,000 events")
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "orm"])
    given = parser.parse_args(arguments)
    sizes = given.events or (FULL_SIZES if given.full else (100_000,))
    parts = [name for name in given.only or PARTS if name in PARTS]
    print("| what | ours | others | ratio |\n|---|---|---|---|")
    for count in sizes:
        for result in measure(count, parts):
            print("| " + " | ".join(result) + " |", flush=True)
    if given.only is None or "orm" in given.only:
        for count in FULL_ORM if given.full else (QUICK_ORM,):
            for result in orm(count):
                print("| " + " | ".join(result) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The web view's pages about predictions, runs and models, over a big ledger that has them.

    python -m tests.benchmarks.bench_web_ml [EVENTS] [--repeats N] [--only NAME]

As `bench_web`, whose functions it uses; the ledger is that of `mlbig`. `first` is a page's first
request in a server that answered others before.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from audit.event.times import format_time
from audit.ledger import Ledger
from tests.benchmarks.bench_web import REPEATS, ROUNDS, Page, each_page, served
from tests.benchmarks.common import Result
from tests.benchmarks.mlbig import MlLog, MlPlan, obtain
from tests.benchmarks.mlbig_events import (
    COMPONENT,
    DAY_US,
    DAYS,
    ENTITY,
    MODEL,
    START_US,
    customer,
)

EVENTS = 1_000_000


def pages(made: MlLog) -> list[Page]:
    """Every screen of machine learning, and the kinds of questions that cost differently."""
    found: list[Page] = []

    def add(title: str, path: str, /, **parameters: Any) -> None:
        found.append(Page(title, path + ("?" + urlencode(parameters) if parameters else "")))

    plan = made.plan
    with Ledger(made.url, read_model="off") as ledger:
        size = ledger.reader.size(0)
        rare = ledger.page(f"key:{customer(5)} type:prediction", None, limit=1).records
        flagged = ledger.page("type:review", None, limit=1, newest_first=False).records
    middle, newest, until = size // 2, plan.events * 7 // 10 - 1, START_US + DAYS * DAY_US
    assert rare[0].event is not None and flagged[0].event is not None
    add("overview", "/")
    add("overview, in the past", "/", as_of=f"0/{middle}")
    add("predictions", "/predictions")
    add("predictions of a customer", "/predictions", q=f"key:{customer(5)}")
    add("predictions of a time", "/predictions", q="recorded:2023-12-05")
    add("predictions: none fits", "/predictions", q="actor:nobody")
    add("predictions, in the past", "/predictions", as_of=f"0/{middle}")
    add("prediction", "/prediction", ref=f"prediction/p{newest:07}")
    add("prediction of a customer", "/prediction", ref=f"prediction/{rare[0].event.event_id}")
    add("prediction with flags and verdicts", "/prediction", ref=flagged[0].event.entity_key)
    add("trace of a prediction", "/trace", ref=f"prediction/p{newest:07}")
    add("trace of an old prediction", "/trace", ref="prediction/p0000007")
    past = f"0/{middle}"
    add("trace of a prediction, in the past", "/trace", ref="prediction/p0000007", as_of=past)
    add("trace of a training", "/trace", ref="run/train-00100")
    add("trace of a component run", "/trace", ref="run/run-0015000")
    add("trace of a row", "/trace", ref=f"{ENTITY}/{customer(5)}")
    add("trace of a model downstream", "/trace", ref=f"model/{MODEL}@2", downstream=1)
    add("trace of a dataset downstream", "/trace", ref="dataset/customers@10", downstream=1)
    add("trace of a row downstream", "/trace", ref=f"{ENTITY}/{customer(5)}", downstream=1)
    add("trace of all rows downstream", "/trace", ref=ENTITY, downstream=1)
    add("trace of a component run downstream", "/trace", ref="run/run-0000010", downstream=1)
    add("runs", "/runs")
    add("runs, as JSON", "/runs.json")
    add("runs of a component", "/runs", component=f"{COMPONENT}-7")
    add("runs that failed", "/runs", status="FAIL")
    add("runs of a rare component that failed", "/runs", component="train", status="FAIL")
    add("runs: none fits", "/runs", component="nothing")
    add("runs of a time", "/runs", since="2023-12-01", until="2023-12-02")
    add("runs, in the past", "/runs", as_of=f"0/{middle}")
    add("run", "/run", ref="run/run-0015000")
    add("run that failed", "/run", ref="run/run-0000049")
    add("models", "/models")
    add("model", "/model", ref=f"model/{MODEL}@2")
    add("model candidate", "/model", ref=f"model/{MODEL}-candidate@100")
    week = {"since": format_time(until - 7 * DAY_US), "until": format_time(until)}
    month = {"since": format_time(until - 28 * DAY_US), "until": format_time(until)}
    add("drift of a week", "/drift", what=MODEL, **week)
    add("drift of four weeks", "/drift", what=MODEL, **month)
    add("drift of four weeks by a feature", "/drift", what=MODEL, by="region", **month)
    add("drift of a version", "/drift", what=f"{MODEL}@3", **month)
    add("drift, in the past", "/drift", what=MODEL, as_of=f"0/{middle}")
    add("drift of a component", "/drift", what=f"{COMPONENT}-7", **month)
    add("flagged", "/review")
    add("flagged, as JSON", "/review.json")
    add("flagged, in the past", "/review", as_of=f"0/{middle}")
    return found


def run(
    events: int = EVENTS, repeats: int = REPEATS, only: str = "", rounds: int = ROUNDS
) -> Iterator[Result]:
    """All figures, one after the other."""
    made = obtain(MlPlan(events), say=True)
    wanted = [page for page in pages(made) if only in page.name]
    folder = os.environ.get("AUDIT_BENCH_READ_MODEL")
    with tempfile.TemporaryDirectory() as own, served(made.url, Path(folder or own)) as web:
        for page in wanted:  # a line as soon as it is known: they are many
            (found,) = each_page(web, [page], repeats, rounds)
            first, p50, p95, cpu = found
            load = f"load {os.getloadavg()[0]:.1f}"
            figure = f"p50 {p50:,.0f} ms, p95 {p95:,.0f} ms"
            yield Result(page.name, figure, f"{cpu:,.0f} ms CPU, first {first:,.0f} ms", load)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("events", type=int, nargs="?", default=EVENTS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="pages whose name has this")
    given = parser.parse_args()
    print("| what | took | of it | load |\n|---|---|---|---|")
    for result in run(given.events, given.repeats, given.only, given.rounds):
        print("| " + " | ".join(result) + " |", flush=True)


if __name__ == "__main__":
    main()

"""The web view over a big ledger: how long every page takes, what many readers at once cost.

    python -m tests.benchmarks.bench_web [EVENTS] [--repeats N] [--readers 50] [--seconds 300]

`audit serve` runs as a process of its own, over SQLite; its read model is in a folder of its own.
Times are from the request to the last byte, on one connection that stays open, of pages that were
asked for once before. Every page is asked for in ROUNDS apart from each other: p50 is of all, p95
the middle one of the rounds', so that a minute in which the machine did something else does not
count. First paint is Chromium's own figure. Each of many readers has a name, as behind a proxy, and
a connection; memory is that of the server process, each second, the files that it maps included.
"""

import argparse
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, linear_regression, median
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from audit.ledger import Ledger
from audit.web.lanes import QUICK, lane_of
from tests.benchmarks import common
from tests.benchmarks.biglog import BigLog, obtain
from tests.benchmarks.biglog_plan import ACTORS, ENTITY, Plan
from tests.benchmarks.common import Result
from tests.web.browser import chromium

EVENTS = 1_000_000
REPEATS = 20
ROUNDS = 3
READERS = 50
SECONDS = 20
SAMPLE_S = 1.0
STEADY_SHARE = 0.6
"""Of a run's end: so much of it tells whether memory still grows."""
ANSWER_S = 120
SLOW_MS = 2_000
PAINTED = ("first paint of the overview", "first paint of the events")
NAME_HEADER = "X-Forwarded-User"
TINY_READERS, TINY_SECONDS = 4, 0.2
"""Where it is to be seen only that the benchmark runs."""


class Page(NamedTuple):
    """An address under a name."""

    name: str
    path: str


def pages(made: BigLog) -> list[Page]:
    """Every screen, and the kinds of questions that cost differently."""
    found: list[Page] = []

    def add(title: str, path: str, /, **parameters: Any) -> None:
        found.append(Page(title, path + ("?" + urlencode(parameters) if parameters else "")))

    size = made.size(made.plan.events)
    middle = made.size(made.plan.events // 2)
    with Ledger(made.url, read_model="off") as ledger:
        record = ledger.entry(f"0/{size - 1}")
        assert record.event is not None
        key, event_id = record.event.entity_key, record.event.event_id
        busy = f"{ENTITY}/{_busy_key(ledger)}"
        deep = ledger.page("", None, limit=1).next
        rare = ledger.page("actor:clerk07 op:delete", None, limit=1).next
    ref = f"{ENTITY}/{key}"
    add("overview", "/")
    add("overview, in the past", "/", as_of=f"0/{middle}")
    add("events", "/events")
    add("events, next page", "/events", after=deep or "")
    add("events, as JSON", "/events.json")
    add("events of an actor", "/events", q=f"actor:{ACTORS[7]}")
    add("events of an actor, deletes", "/events", q=f"actor:{ACTORS[7]} op:delete")
    add("events of an actor, next page", "/events", q="actor:clerk07 op:delete", after=rare or "")
    add("events of a row", "/events", q=f"key:{key}")
    add("events with a reason", "/events", q="has:reason")
    add("events of a reason", "/events", q="reason:correction")
    add("events that set a field", "/events", q="field:status op:update")
    add("events that set no such field", "/events", q="field:nothing")
    add("events but those", "/events", q="-actor:clerk07 -op:update")
    add("events by valid time", "/events", q="valid:<2023-11-15")
    add("events of a time", "/events", q="recorded:>=2023-11-14T23:00:00Z actor:clerk03")
    add("events: none fits", "/events", q="actor:nobody")
    add("events, in the past", "/events", as_of=f"0/{middle}")
    add("live tail, nothing new", "/events.json", since=f"0:{size}")
    add("event", "/event", at=f"0/{size - 1}")
    add("event, in the middle", "/event", at=f"0/{middle}")
    add("event by its id", "/event", at=event_id)
    add("row", "/entity", ref=ref)
    add("row with many versions", "/entity", ref=busy)
    add("row, in the past", "/entity", ref=busy, as_of=f"0/{middle}")
    add("datasets", "/datasets")
    add("dataset", "/dataset", name=ENTITY)
    add("dataset, page 2", "/dataset", name=ENTITY, skip=100)
    add("dataset, deep page", "/dataset", name=ENTITY, skip=90_000)
    add("dataset, two columns", "/dataset", name=ENTITY, columns="balance,status")
    add("dataset with conditions", "/dataset", name=ENTITY, where="status=open")
    add("dataset, in the past", "/dataset", name=ENTITY, as_of=f"0/{middle}")
    add("dataset, valid time", "/dataset", name=ENTITY, valid_at="2023-11-16T00:00:00Z")
    add("compare, 1,000 events", "/diff", what=ENTITY, a=f"0:{max(0, size - 1000)}", b=f"0:{size}")
    far = max(0, size - 100_000)
    add("compare, 100,000 events", "/diff", what=ENTITY, a=f"0:{far}", b=f"0:{size}")
    add("compare a row", "/diff", what=busy, a=f"0:{middle}", b=f"0:{size}")
    add("predictions", "/predictions")
    add("runs", "/runs")
    add("models", "/models")
    add("flagged", "/review")
    add("trace", "/trace", ref=ref)
    add("verification", "/verify")
    add("keys", "/keys")
    add("keys, in the past", "/keys", as_of=f"0/{middle}")
    add("quarantine", "/quarantine")
    add("receipt", "/event/receipt", at=f"0/{middle}")
    return found


def _busy_key(ledger: Ledger) -> str:
    """The key with the most events among the last thousand."""
    counts: dict[str, int] = {}
    for record in ledger.page("", None, limit=1_000).records:
        if record.event is not None and record.event.entity_key is not None:
            counts[record.event.entity_key] = counts.get(record.event.entity_key, 0) + 1
    return max(counts, key=lambda key: (counts[key], key))


class Served:
    """A running `audit serve`."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.netloc = urlsplit(url).netloc
        self.pid = pid
        self.who = {NAME_HEADER: "reader"}

    def connect(self) -> http.client.HTTPConnection:
        """A connection that stays open."""
        return http.client.HTTPConnection(self.netloc, timeout=ANSWER_S)

    @property
    def cpu_ms(self) -> float:
        """Milliseconds that the process has used a processor."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) * 1000 / os.sysconf("SC_CLK_TCK")

    @property
    def memory_mb(self) -> float:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


@contextmanager
def served(store: str, read_model: Path) -> Iterator[Served]:
    """`audit serve` on a free port."""
    words = ["serve", "--port", "0", "--access", "none", "--requests-per-minute", "100000000"]
    words += ["--trusted-proxy", "127.0.0.1", "--proxy-header", NAME_HEADER]
    command = [sys.executable, "-m", "audit", *words, "--store", store]
    environment = {**os.environ, "AUDIT_READ_MODEL": str(read_model)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        if not said.startswith("http"):
            raise SystemExit(said + process.stderr.read())
        yield Served(said.split()[0], process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def asked(connection: http.client.HTTPConnection, path: str, who: str = "reader") -> float:
    """Milliseconds of one answer."""
    start = time.perf_counter()
    connection.request("GET", path, headers={NAME_HEADER: who})
    answer = connection.getresponse()
    body = answer.read()
    taken = (time.perf_counter() - start) * 1000
    if answer.status != 200:
        raise SystemExit(f"{path}: {answer.status} {body[:500].decode(errors='replace')}")
    return taken


def part(times: Sequence[float], share: float) -> float:
    """A quantile, of the times themselves."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


class Times(NamedTuple):
    """Of one page, in milliseconds; `cpu_ms` is the server's processor time of each."""

    first_ms: float
    p50_ms: float
    p95_ms: float
    cpu_ms: float


def each_page(web: Served, wanted: Sequence[Page], repeats: int, rounds: int) -> list[Times]:
    """What each page takes."""
    connection = web.connect()
    first = [asked(connection, page.path) for page in wanted]
    rows: list[list[tuple[list[float], float]]] = [[] for _ in wanted]
    for _ in range(rounds):
        for at, page in enumerate(wanted):
            asked(connection, page.path)
            # A page that takes so long is wrong anyway; the others are to be seen, too.
            few = repeats if first[at] < SLOW_MS else max(2, repeats // 4)
            before_ms = web.cpu_ms
            times = [asked(connection, page.path) for _ in range(few)]
            rows[at].append((times, (web.cpu_ms - before_ms) / few))
    connection.close()
    found = []
    for first_ms, row in zip(first, rows, strict=True):
        every = [taken for times, _ in row for taken in times]
        p95_ms = median(part(times, 0.95) for times, _ in row)
        found.append(Times(first_ms, part(every, 0.5), p95_ms, median(cpu for _, cpu in row)))
    return found


class Crowd(NamedTuple):
    """What many readers at once saw: milliseconds of each page, errors; MB each second."""

    readers: int
    seconds: float
    times: list[tuple[Page, float]]
    wrong: list[str]
    memory: list[float]


def together(web: Served, wanted: Sequence[Page], readers: int, seconds: float) -> Crowd:
    """Readers that ask for one page after the other, each beginning elsewhere."""
    until = time.monotonic() + seconds
    found = Crowd(readers, seconds, [], [], [])

    def read(number: int) -> None:
        connection = web.connect()
        at = number
        while time.monotonic() < until:
            page = wanted[at % len(wanted)]
            try:
                found.times.append((page, asked(connection, page.path, f"reader {number}")))
            except (SystemExit, OSError, http.client.HTTPException) as error:
                found.wrong.append(str(error))
                connection = web.connect()
            at += 1
        connection.close()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(readers)]
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        found.memory.append(web.memory_mb)
        time.sleep(SAMPLE_S)
    for thread in threads:
        thread.join()
    return found


def slope(memory: Sequence[float]) -> float:
    """MB that memory grows in a minute, at the end of a run."""
    steady = memory[int(len(memory) * (1 - STEADY_SHARE)) :]
    if len(steady) < 2:
        return 0.0
    return linear_regression(range(len(steady)), steady).slope * 60 / SAMPLE_S


def painted(web: Served, paths: Sequence[str]) -> list[float]:
    """Milliseconds to the first contentful paint of pages, in a fresh profile each."""
    found = []
    for browser in chromium():
        for path in paths:
            context = browser.new_context(extra_http_headers=web.who)
            page = context.new_page()
            page.goto(web.url + path, wait_until="load")
            page.wait_for_function(
                "() => performance.getEntriesByName('first-contentful-paint').length"
            )
            found.append(
                page.evaluate(
                    "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
                )
            )
            context.close()
    return found


def run(
    events: int = EVENTS,
    repeats: int = REPEATS,
    readers: int = READERS,
    seconds: float = SECONDS,
    only: str = "",
) -> Iterator[Result]:
    """All figures, one after the other."""
    is_tiny = common.most_repeats is not None
    if common.most_repeats is not None:
        repeats, readers, seconds = common.most_repeats, TINY_READERS, TINY_SECONDS
    made = obtain(Plan(events), say=True)
    wanted = [page for page in pages(made) if only in page.name]
    folder = os.environ.get("AUDIT_BENCH_READ_MODEL")
    with tempfile.TemporaryDirectory() as own, served(made.url, Path(folder or own)) as web:
        found = each_page(web, wanted, repeats, 1 if is_tiny else ROUNDS) if repeats else []
        for page, (first, p50, p95, cpu) in zip(wanted, found, strict=bool(repeats)):
            figure = f"p50 {p50:,.0f} ms, p95 {p95:,.0f} ms"
            yield Result(page.name, figure, f"{cpu:,.0f} ms CPU, first {first:,.0f} ms", _load())
        if not only and not is_tiny:
            for name, taken in zip(PAINTED, painted(web, ["/", "/events"]), strict=True):
                yield Result(name, f"{taken:,.0f} ms", "-", _load())
        if seconds:
            yield from _crowd(together(web, wanted, readers, seconds))


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def _crowd(found: Crowd) -> Iterator[Result]:
    memory = found.memory
    yield Result(
        f"{found.readers} readers for {found.seconds:.0f} s",
        _spread([taken for _, taken in found.times]),
        f"{len(found.times) / found.seconds:,.1f} pages/s, {len(found.wrong)} failed",
        _load(),
    )
    quick = {True: "of them quick pages", False: "of them dear pages"}
    for is_quick, name in quick.items():
        times = [taken for page, taken in found.times if _is_quick(page) == is_quick]
        if times:
            yield Result(name, _spread(times), f"longest {max(times):,.0f} ms", "-")
    minute = int(60 / SAMPLE_S)
    second, last = memory[minute : 2 * minute] or memory, memory[-minute:]
    yield Result(
        "memory meanwhile",
        f"{fmean(second):,.0f} MB in the second minute, {fmean(last):,.0f} MB in the last",
        f"{slope(memory):+,.1f} MB/min at the end, most {max(memory):,.0f} MB",
        "; ".join(sorted(set(found.wrong))[:3]) or "-",
    )


def _spread(times: Sequence[float]) -> str:
    return f"p50 {part(times, 0.5):,.0f} ms, p95 {part(times, 0.95):,.0f} ms"


def _is_quick(page: Page) -> bool:
    path, _, query = page.path.partition("?")
    return lane_of(path, query.encode()) == QUICK


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("events", type=int, nargs="?", default=EVENTS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--readers", type=int, default=READERS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--only", default="", help="pages whose name has this")
    given = parser.parse_args()
    print("| what | took | of it | load |\n|---|---|---|---|")
    for result in run(given.events, given.repeats, given.readers, given.seconds, given.only):
        print("| " + " | ".join(result) + " |", flush=True)


if __name__ == "__main__":
    main()

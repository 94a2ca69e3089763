"""Big ledgers, made once: `obtain(Plan(10_000_000))` gives a signed SQLite ledger and the truth.

Everything is what the store's own append would have written, byte by byte (test_biglog.py compares
them), only faster: bytes come from tables, the indexes are made at the end, nothing is synced. One
core makes about 60,000 events a second. Made ledgers stay in the folder AUDIT_BENCH_CACHE (else in
the system's for temporary files); a thousand events take about 0.8 MB, ten million 8 GB.

    python -m tests.benchmarks.biglog 10000000 [--live N] [--skew S] [--check]
"""

import argparse
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from itertools import count as count_up
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from audit.event.build import schema_event
from audit.event.canonical import builtin
from audit.event.envelope import encode_event
from audit.event.wire import encode_run
from audit.log.entry import decode_entry
from audit.log.intake import Message
from audit.log.sequence import Head, empty_head, follow
from audit.store import migrations, open_reader, open_store
from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from tests.benchmarks.biglog_events import LEAF_START, spelled
from tests.benchmarks.biglog_plan import (
    ACTORS,
    FIELDS,
    OPS,
    START_US,
    Block,
    Plan,
    blocks,
    key_texts,
)
from tests.benchmarks.biglog_truth import MOMENT, Fold, column, table_of
from tests.benchmarks.common import ORIGIN, SIGNER

CACHE = "AUDIT_BENCH_CACHE"
FORMAT = 1
"""To be raised when something here writes other bytes than before."""
TAILS = (0, 10, 1_000, 100_000, 120_000)
"""The truth is kept for cuts so many events before the end, and at the middle and the quarter."""
ROW_GROUP = 1_000_000
_INSERT = f"INSERT INTO entries VALUES ({', '.join('?' * 11)})"


class BigLog:
    """A ledger that was made. A cut is a number of events; `size(cut)` entries lie below it."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        self.path = folder / "audit.db"
        self.url = f"sqlite:///{self.path}"
        self.parquet = folder / "events.parquet"
        self.first = int((folder / "first").read_text())
        """Index of the first event; before it the log speaks of itself."""
        self.cuts = sorted(int(path.stem) for path in folder.glob("*.npz"))

    def size(self, cut: int) -> int:
        """The size of the log at a cut."""
        return self.first + cut

    def time_us(self, cut: int) -> int:
        """The recorded time of the last event below a cut."""
        return int(self.plan.recorded_us(np.array([cut - 1]))[0])

    def state(self, cut: int) -> dict[str, Any]:
        """The true rows at a cut, raw; see `biglog_truth.Fold.state`."""
        with np.load(self.folder / f"{cut}.npz") as found:
            return dict(found)

    def truth(self, cut: int) -> pa.Table:
        """The true rows at a cut, as a table."""
        return table_of(self.state(cut))

    def fold_to(self, cut: int) -> dict[str, Any]:
        """The true rows at any cut, raw; draws the events again."""
        fold = Fold()
        for block in blocks(self.plan):
            if block.start >= cut:
                break
            fold.take(block, 0, cut - block.start)
        return fold.state()

    @cached_property
    def events(self) -> pa.Table:
        """All events in memory: number, key, and fields."""
        return pq.read_table(self.parquet)


def obtain(plan: Plan, say: bool = False) -> BigLog:
    """The ledger of a plan: from the cache, or made now (minutes for ten million events)."""
    root = Path(os.environ.get(CACHE) or Path(tempfile.gettempdir()) / "attestory-bench")
    folder = root / f"f{FORMAT}-v{len(migrations.STEPS)}-{plan.name}"
    if not folder.exists():
        root.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix="making-", dir=root))
        try:
            _make(making, plan, say)
            # Whoever comes second throws his away: both are the same.
            if not folder.exists():
                making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return BigLog(folder, plan)


def cuts_of(plan: Plan) -> list[int]:
    """At which numbers of events the truth is kept."""
    found = {plan.events - tail for tail in TAILS} | {plan.events // 2, plan.events // 4}
    return sorted(cut for cut in found if cut > 0)


def _make(folder: Path, plan: Plan, say: bool) -> None:
    began = time.monotonic()
    path = folder / "audit.db"
    head = begin(path)
    (folder / "first").write_text(str(head.size))
    fold, cuts = Fold(), cuts_of(plan)
    with _Parquet(folder / "events.parquet", plan) as parquet, filling(path) as connection:
        for block in blocks(plan):
            head = seal(connection, head, block)
            parquet.add(block)
            taken = 0
            while cuts and cuts[0] <= block.start + len(block):
                fold.take(block, taken, cuts[0] - block.start)
                taken = cuts[0] - block.start
                np.savez(folder / f"{cuts.pop(0)}.npz", **fold.state())
            fold.take(block, taken)
            if say and block.start % 500_000 == 0:
                print(f"{block.start:>12,} {time.monotonic() - began:7.0f} s", flush=True)
    if say:
        print(f"{plan.events:>12,} {time.monotonic() - began:7.0f} s", flush=True)


def begin(path: Path) -> Head:
    """A new ledger that holds what the events need, made by the store itself; its head."""
    clock = count_up(START_US).__next__
    with open_store(f"sqlite:///{path}", create=True, clock=clock) as store:
        store.create(ORIGIN, SIGNER)
        store.append(0, [Message(encode_event(schema_event(builtin("row.v1"))))], SIGNER)
        return follow(empty_head(), [leaf for _, leaf in store.leaves(0)])


@contextmanager
def filling(path: Path) -> Iterator[sqlite3.Connection]:
    """A ledger without indexes and guards, which are put back, as they were, in the end."""
    connection = sqlite3.connect(path, isolation_level=None)
    later = connection.execute(
        "SELECT type, name, sql FROM sqlite_master"
        " WHERE type = 'trigger' OR type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    for kind, name, _ in later:
        connection.execute(f"DROP {kind} {name}")
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -200000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("PRAGMA temp_store = MEMORY")
    yield connection
    for _, _, sql in later:
        connection.execute(sql)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


def seal(connection: sqlite3.Connection, head: Head, block: Block) -> Head:
    """Append a block: entries, full tiles, one checkpoint. What `SqlStore.append` would write."""
    count, first, clock = len(block), head.size, block.clock_us
    recorded = encode_run(clock, count)
    last, hashes, rows = head.last_hash, [], []
    starts = [LEAF_START + index for index in encode_run(first, count)]
    for at, (start, moment, (columns, tail)) in enumerate(
        zip(starts, recorded, spelled(block), strict=True)
    ):
        leaf = start + moment + last + tail
        last = sha256(b"\x00" + leaf).digest()
        hashes.append(last)
        rows.append((0, first + at, clock + at, 0, *columns, None, leaf))
    edge, tiles = head.edge.extend(hashes)
    head = Head(clock + count - 1, last, edge)
    note = sign_checkpoint(Checkpoint(ORIGIN, head.size, edge.root()), SIGNER)
    connection.execute("BEGIN")
    connection.executemany(_INSERT, rows)
    connection.executemany("INSERT INTO tiles VALUES (0, ?, ?, ?, ?)", tiles)
    connection.execute("INSERT INTO checkpoints VALUES (0, ?, ?)", (head.size, note))
    connection.execute("COMMIT")
    return head


def copy_to(made: BigLog, url: str) -> None:
    """Append the events of a ledger to a new one in another store: the same log, byte for byte."""
    now_us = iter(())
    with (
        open_reader(made.url) as reader,
        open_store(url, create=True, clock=lambda: next(now_us)) as store,
    ):
        now_us = count_up(START_US)
        store.create(ORIGIN, SIGNER)
        store.append(0, [Message(encode_event(schema_event(builtin("row.v1"))))], SIGNER)
        leaves = reader.leaves(0, made.first)
        while block := [decode_entry(leaf) for _, leaf in islice(leaves, made.plan.block)]:
            now_us = repeat(block[0].recorded_time_us)
            store.append(0, [Message(entry.event) for entry in block], SIGNER)


class _Parquet:
    """The same events for others: one row an event, null where a field is not given.

    `number` counts from 0; `key` is the text, `key_number` the same as an integer. A null that was
    given is told by `segment_given`: only that field is ever null.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self._path = path
        self._plan = plan
        self._writer: pq.ParquetWriter | None = None
        self._tables: list[pa.Table] = []

    def __enter__(self) -> "_Parquet":
        return self

    def add(self, block: Block) -> None:
        """Take a block."""
        numbers = block.start + np.arange(len(block))
        keys = pa.array(key_texts(block.key).astype(object)).cast(pa.string())
        columns: dict[str, Any] = {
            "number": numbers,
            "recorded": pa.array(self._plan.recorded_us(numbers)).cast(MOMENT),
            "valid": pa.array(block.valid_us).cast(MOMENT),
            "op": pa.DictionaryArray.from_arrays(
                pa.array(block.op, pa.int32()), pa.array(OPS)
            ).cast(pa.string()),
            "key": keys,
            "key_number": block.key,
            "actor": pa.array(ACTORS).take(pa.array(block.actor)),
        }
        for field in FIELDS:
            columns[field] = column(field, block.values[field], ~block.given(field))
        columns["segment_given"] = block.given("segment")
        self._tables.append(pa.table(columns))
        if len(self._tables) * self._plan.block >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        table = pa.concat_tables(self._tables)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table, row_group_size=ROW_GROUP)
        self._tables = []

    def __exit__(self, *_: object) -> None:
        if self._tables:
            self._flush()
        if self._writer is not None:
            self._writer.close()


def main(arguments: list[str] | None = None) -> None:
    """Make a ledger, if it is not there, and say where it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("events", type=int)
    parser.add_argument("--live", type=int)
    parser.add_argument("--skew", type=float, default=0.5)
    parser.add_argument("--revived", type=float, default=0.2)
    parser.add_argument("--check", action="store_true", help="verify all of it")
    given = parser.parse_args(arguments)
    made = obtain(Plan(given.events, given.live, given.skew, given.revived), say=True)
    print(made.path, f"{made.path.stat().st_size:,} bytes")
    if given.check:
        verify(made)


def verify(made: BigLog) -> None:
    """Raise SystemExit unless everything in the ledger verifies."""
    from audit.verify.policy import Policy
    from audit.verify.verifier import verify as verify_reader

    with open_reader(made.url) as reader:
        report = verify_reader(reader, Policy.from_vkeys([SIGNER.verifier.vkey]))
    if not report.ok or report.findings:
        raise SystemExit(f"it does not verify: {report.findings}")
    print("verified")


if __name__ == "__main__":
    main()

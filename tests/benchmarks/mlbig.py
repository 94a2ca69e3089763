"""A big ledger of machine learning, made once: `obtain(MlPlan(1_000_000))`.

About 70% predictions of three model versions, 30% changes of rows, and in between what leaves few
entries and many questions: runs of components and trainings, some failed, dataset and model
versions with transitions, flags and verdicts. The bytes are those that the store's own append would
have written (test_mlbig.py compares them), only faster: see `mlbig_events`. Made ledgers stay in
the folder AUDIT_BENCH_CACHE.

    python -m tests.benchmarks.mlbig 1000000
"""

import argparse
import os
import shutil
import sqlite3
import tempfile
import time
from hashlib import sha256
from itertools import count as count_up
from pathlib import Path
from typing import NamedTuple

from audit.event.build import schema_event
from audit.event.canonical import builtin
from audit.event.envelope import encode_event
from audit.event.envelope_form import EVENT_SCHEMA_HASH
from audit.log.entry import Kind, encode_head, encode_tail
from audit.log.intake import Message
from audit.log.sequence import Head, empty_head, follow
from audit.store import open_store
from audit.tlog.checkpoint import Checkpoint, sign_checkpoint
from tests.benchmarks.biglog import CACHE, filling
from tests.benchmarks.common import ORIGIN, SIGNER
from tests.benchmarks.mlbig_events import SCHEMAS, SOURCE, START_US, MlPlan, Spelled, blocks

__all__ = ["MlLog", "MlPlan", "obtain"]

_INSERT = f"INSERT INTO entries VALUES ({', '.join('?' * 11)})"


class MlLog(NamedTuple):
    """A ledger that was made."""

    folder: Path
    plan: MlPlan

    @property
    def url(self) -> str:
        """Of the store."""
        return f"sqlite:///{self.folder / 'audit.db'}"


def obtain(plan: MlPlan, say: bool = False) -> MlLog:
    """The ledger of a plan: from the cache, or made now."""
    root = Path(os.environ.get(CACHE) or Path(tempfile.gettempdir()) / "attestory-bench")
    folder = root / plan.name
    if not folder.exists():
        root.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix="making-", dir=root))
        try:
            _make(making, plan, say)
            if not folder.exists():
                making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return MlLog(folder, plan)


def _make(folder: Path, plan: MlPlan, say: bool) -> None:
    began, path = time.monotonic(), folder / "audit.db"
    head, done = _begin(path), 0
    with filling(path) as connection:
        for block in blocks(plan):
            head = _seal(connection, head, block, plan)
            done += len(block)
            if say and done % 100_000 < len(block):
                print(f"{done:>12,} {time.monotonic() - began:7.0f} s", flush=True)


def _begin(path: Path) -> Head:
    clock = count_up(START_US).__next__
    with open_store(f"sqlite:///{path}", create=True, clock=clock) as store:
        store.create(ORIGIN, SIGNER)
        given = [Message(encode_event(schema_event(builtin(name)))) for name in SCHEMAS]
        store.append(0, given, SIGNER)
        return follow(empty_head(), [leaf for _, leaf in store.leaves(0)])


def _seal(connection: sqlite3.Connection, head: Head, block: list[Spelled], plan: MlPlan) -> Head:
    """Append a block, each entry a step after the one before."""
    first, at_us = head.size, head.recorded_time_us
    last, hashes, rows = head.last_hash, [], []
    schema, source = EVENT_SCHEMA_HASH, SOURCE.encode()
    for at, (type_, event_id, entity, key, event) in enumerate(block):
        at_us += plan.step_us
        leaf = encode_head(first + at, at_us, last)
        leaf += encode_tail(Kind.EVENT, schema, None, None, None, event)
        last = sha256(b"\x00" + leaf).digest()
        hashes.append(last)
        about = (type_, source, event_id.encode(), entity, key.encode())
        rows.append((0, first + at, at_us, 0, *about, None, leaf))
    edge, tiles = head.edge.extend(hashes)
    head = Head(at_us, last, edge)
    note = sign_checkpoint(Checkpoint(ORIGIN, head.size, edge.root()), SIGNER)
    connection.execute("BEGIN")
    connection.executemany(_INSERT, rows)
    connection.executemany("INSERT INTO tiles VALUES (0, ?, ?, ?, ?)", tiles)
    connection.execute("INSERT INTO checkpoints VALUES (0, ?, ?)", (head.size, note))
    connection.execute("COMMIT")
    return head


def main() -> None:
    """Make a ledger, if it is not there, and say where it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("events", type=int, nargs="?", default=1_000_000)
    made = obtain(MlPlan(parser.parse_args().events), say=True)
    path = made.folder / "audit.db"
    print(path, f"{path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

"""Ledgers in a temporary folder, read back and re-derived; and child processes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from audit.capture.delivery.embedded import open_for_writing
from audit.event.envelope import Event
from audit.log.entry import Kind
from audit.log.record import Record, read_record
from audit.replay.asof import dataset
from audit.replay.fold import Row
from audit.replay.points import resolve
from audit.store import open_reader
from audit.tlog.keys import Verifier
from tests.contract.check import check_log

ROW = {"name": "Christian", "dpt": "SCS", "amount": 12.5, "count": 3, "ok": True}


def url(folder: Path) -> str:
    """Where the ledger of a test is."""
    return f"sqlite:///{folder}/audit.db"


def records(folder: Path) -> list[Record]:
    """All entries, after the whole log was derived again."""
    with open_reader(url(folder)) as reader:
        (info,) = reader.logs()
        leaves = check_log(reader, Verifier.parse(info.vkey))
    return [read_record(0, leaf) for leaf in leaves]


def events(folder: Path) -> list[Event]:
    """What applications said, in log order, after the whole log was derived again."""
    return [
        record.event
        for record in records(folder)
        if record.entry.kind is Kind.EVENT and record.event and record.event.type != "schema"
    ]


def rows(folder: Path, entity: str) -> dict[str, Row]:
    """The dataset as it is now."""
    with open_reader(url(folder)) as reader:
        return dict(dataset(reader, entity, resolve(reader, None, 0)).rows())


def checkpoint_count(folder: Path) -> int:
    """How many checkpoints there are."""
    with open_reader(url(folder)) as reader:
        return len(list(reader.checkpoints(0)))


def require_gapless(found: list[Event]) -> None:
    """Every producer's sequence numbers are 0, 1, 2 ... in log order."""
    by_producer: dict[str, list[int]] = {}
    for event in found:
        if event.producer_id is not None and event.producer_sequence is not None:
            by_producer.setdefault(event.producer_id, []).append(event.producer_sequence)
    for producer, numbers in by_producer.items():
        assert numbers == list(range(len(numbers))), producer


def drain(folder: Path) -> None:
    """What the next writer does."""
    from audit.capture.emitter import Emitter

    Emitter(url(folder)).close()


def spool_files(folder: Path) -> list[Path]:
    """What lies in the spool."""
    spool = folder / "audit-spool"
    return sorted(spool.iterdir()) if spool.exists() else []


def origin_of(folder: Path) -> str:
    """The name of log 0."""
    with open_reader(url(folder)) as reader:
        return reader.logs()[0].origin


def make_ledger(folder: Path) -> None:
    """An empty ledger."""
    open_for_writing(url(folder)).close()


class Done(NamedTuple):
    """How a child process ended."""

    code: int
    out: str
    err: str


def python(code: str, *args: object, timeout_s: float = 240) -> Done:
    """Run a piece of Python in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=os.environ.copy(),
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


DROP_CAPABILITIES = """
import ctypes, os
def drop_capabilities():
    # Root without its capabilities is stopped by permissions like anybody else.
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        head = (ctypes.c_uint32 * 2)(0x20080522, 0)
        data = (ctypes.c_uint32 * 6)()
        assert libc.capset(head, data) == 0, os.strerror(ctypes.get_errno())
"""

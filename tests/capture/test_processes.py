"""Emitters when processes fork, end, or work on one ledger at the same time."""

import os
import subprocess
import sys
from pathlib import Path

from audit.capture.emitter import Emitter
from tests.capture.support import (
    checkpoint_count,
    drain,
    events,
    make_ledger,
    python,
    require_gapless,
    rows,
    spool_files,
    url,
)


def test_the_end_of_a_process_flushes(tmp_path: Path) -> None:
    done = python(
        "import audit, sys\nemit = audit.Emitter(sys.argv[1])\n"
        "for n in range(100): emit.create('user', n, {})",
        url(tmp_path),
    )
    assert (done.code, done.out, done.err) == (0, "", "")
    assert len(events(tmp_path)) == 100
    assert spool_files(tmp_path) == []


def test_emitters_that_nobody_holds_at_the_end(tmp_path: Path) -> None:
    done = python(
        "import audit, gc, logging, sys, time\nlogging.basicConfig()\nkept = []\n"
        "def work(name):\n"
        "    emit = audit.Emitter(sys.argv[1], name)\n"
        "    kept.append(emit._sealer)\n"
        "    for n in range(20): emit.create('user', f'{name}-{n}', {})\n"
        "for n in range(3): work(f's{n}')\n"
        "gc.collect()\ntime.sleep(0.3)\n"
        "work('last')",
        url(tmp_path),
    )
    assert (done.code, done.out, done.err) == (0, "", "")
    assert len(events(tmp_path)) == 80
    assert spool_files(tmp_path) == []


def test_a_process_that_vanishes_leaves_its_events_to_the_next_writer(tmp_path: Path) -> None:
    done = python(
        "import audit, os, sys\nfrom audit.capture.delivery import sealer\n"
        "sealer.GROUP_PAUSE_S = 100\n"
        "emit = audit.Emitter(sys.argv[1])\nemit.create('user', 'first', {})\nemit.flush()\n"
        "for n in range(100): emit.create('user', n, {})\nos._exit(7)",
        url(tmp_path),
    )
    assert done.code == 7
    before = len(events(tmp_path))
    assert before < 101
    assert len(spool_files(tmp_path)) == 1
    drain(tmp_path)
    assert [e.entity_key for e in events(tmp_path)] == ["first", *map(str, range(100))]
    require_gapless(events(tmp_path))
    assert spool_files(tmp_path) == []


def test_the_end_of_a_process_says_what_waits(tmp_path: Path) -> None:
    make_ledger(tmp_path)
    done = python(
        "import audit, sqlite3, sys\nfrom audit.store import sqlite\n"
        "sqlite.BUSY_TIMEOUT_MS = 50\n"
        "emit = audit.Emitter(sys.argv[1])\nemit.flush()\n"
        "other = sqlite3.connect(sys.argv[2], isolation_level=None)\n"
        "other.execute('BEGIN IMMEDIATE')\nemit.create('user', 1, {})",
        url(tmp_path),
        tmp_path / "audit.db",
    )
    assert done.code == 0
    assert "2 events wait in" in done.err and "Traceback" not in done.err
    drain(tmp_path)
    assert len(events(tmp_path)) == 1


def wait(pid: int) -> None:
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_forked_child_is_a_producer_of_its_own(tmp_path: Path) -> None:
    emit = Emitter(url(tmp_path))
    emit.create("user", "parent before", {})
    for child in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                for number in range(20):
                    emit.create("user", f"child {child} {number}", {})
                emit.flush()
                emit.create("user", f"child {child} unflushed", {})
            finally:
                os._exit(0)
        emit.create("user", f"parent {child}", {})
        wait(pid)
    emit.close()
    found = events(tmp_path)
    assert len(found) == len({e.event_id for e in found}) == 1 + 3 * 22
    assert len({e.producer_id for e in found}) == 4
    require_gapless(found)
    assert spool_files(tmp_path) == []


def test_a_fork_in_the_middle_of_sealing(tmp_path: Path) -> None:
    emit = Emitter(url(tmp_path))
    for number in range(2_000):
        emit.create("user", number, {})
        if number in (1, 500, 1_000):
            pid = os.fork()
            if pid == 0:
                try:
                    emit.create("user", f"child of {number}", {})
                    emit.close()
                finally:
                    os._exit(0)
            wait(pid)
    emit.close()
    assert len(rows(tmp_path, "user")) == 2_003
    require_gapless(events(tmp_path))


def test_multiprocessing_and_a_plain_subprocess(tmp_path: Path) -> None:
    code = """
import multiprocessing, subprocess, sys, audit
emit = audit.Emitter(sys.argv[1])
def work(name):
    return emit.create("user", name, {})
if __name__ == "__main__":
    emit.create("user", "parent", {})
    with multiprocessing.get_context("fork").Pool(3) as pool:
        ids = pool.map(work, range(30))
        pool.close()
        pool.join()
    subprocess.run(["true"], check=True)
    emit.close()
    print(len(set(ids)))
"""
    done = python(code, url(tmp_path))
    assert (done.code, done.out, done.err) == (0, "30\n", "")
    drain(tmp_path)
    assert len(events(tmp_path)) == 31
    require_gapless(events(tmp_path))
    assert spool_files(tmp_path) == []


def test_several_processes_emit_into_one_file(tmp_path: Path) -> None:
    code = """
import sys, audit
with audit.Emitter(sys.argv[1], source=sys.argv[2]) as emit:
    for n in range(500):
        emit.create("user", f"{sys.argv[2]}-{n}", {"n": n})
"""
    children = [
        subprocess.Popen([sys.executable, "-c", code, url(tmp_path), f"p{n}"], stderr=-1)
        for n in range(4)
    ]
    assert [child.communicate(timeout=240)[1] for child in children] == [b""] * 4
    found = events(tmp_path)
    assert len(found) == 2_000
    assert len({e.producer_id for e in found}) == 4
    require_gapless(found)
    for source in ("p0", "p1", "p2", "p3"):
        keys = [e.entity_key for e in found if e.source == source]
        assert keys == [f"{source}-{n}" for n in range(500)]
    assert checkpoint_count(tmp_path) < 400
    assert spool_files(tmp_path) == []

"""kill -9 fifty times at random moments, during emit and during import.

Afterwards, once the next writer took what the dead left: the whole log derives again, every event
whose emit returned is there exactly once, and no producer's numbers have a gap.
"""

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from audit.capture.delivery.embedded import open_for_writing
from audit.capture.importer import import_file
from audit.tlog.keyfile import write_key
from tests.capture.support import (
    drain,
    events,
    make_ledger,
    records,
    require_gapless,
    rows,
    spool_files,
    url,
)

EMIT_KILLS = 15
IMPORT_KILLS = 20
LONGEST_S = 0.25


def kill(folder: Path, work: str, count: int, longest_s: float = LONGEST_S, **more: Any) -> int:
    """How many of so many children were really killed, and not too late."""
    spec = {
        "work": work,
        "url": url(folder),
        "acks": str(folder / "acks"),
        "key": None,
        "delays_s": [random.uniform(0.0, longest_s) for _ in range(count)],
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.capture.victims", json.dumps(spec)],
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return int(done.stdout.split()[-1])


def acknowledged_in(folder: Path) -> list[str]:
    """The ids whose emit returned; a kill may cut the last line, which the child itself writes."""
    acks = folder / "acks"
    lines = acks.read_text().split("\n") if acks.exists() else []
    return [line for line in lines if len(line) == 36]


@pytest.mark.parametrize("signed", [False, True])
def test_killed_during_emit(tmp_path: Path, signed: bool) -> None:
    make_ledger(tmp_path)
    key = None
    if signed:
        key = str(tmp_path / "crm.key")
        write_key(key, "crm", bytes(range(32)), None)
    assert kill(tmp_path, "emit", EMIT_KILLS, key=key) == EMIT_KILLS
    longest_s = LONGEST_S
    while not (acknowledged := acknowledged_in(tmp_path)):  # on a slow machine none came so far
        longest_s *= 2
        kill(tmp_path, "emit", 1, longest_s, key=key)
    drain(tmp_path)
    found = events(tmp_path)
    count = Counter(e.event_id for e in found)
    assert [event_id for event_id in acknowledged if count[event_id] != 1] == []
    assert max(count.values()) == 1
    require_gapless(found)
    assert spool_files(tmp_path) == []
    if signed:
        sealed = [r for r in records(tmp_path) if r.event and r.event.type == "data.update"]
        assert all(r.entry.signature is not None for r in sealed)


def test_killed_during_import(tmp_path: Path) -> None:
    make_ledger(tmp_path)
    lines = ["id,name", *(f"{n},Name {n}" for n in range(1500))]
    csv = tmp_path / "items.csv"
    csv.write_text("\n".join(lines))
    kill(tmp_path, "import", IMPORT_KILLS, csv=str(csv))
    longest_s = LONGEST_S
    while not (before := len(events(tmp_path))):  # on a slow machine none came so far
        longest_s *= 2
        kill(tmp_path, "import", 1, longest_s, csv=str(csv))
    with open_for_writing(url(tmp_path)) as ledger:
        result = import_file(ledger, csv, entity="item", key="id")
        assert (result.skipped, result.created) == (before, 1500 - before)
        assert import_file(ledger, csv, entity="item", key="id").skipped == 1500
    found = events(tmp_path)
    assert len({e.event_id for e in found}) == len(found) == 1500
    assert {e.type for e in found} == {"data.create"}
    expected = {str(n): {"id": n, "name": f"Name {n}"} for n in range(1500)}
    assert rows(tmp_path, "item") == expected

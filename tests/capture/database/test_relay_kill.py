"""kill -9 between reading, emitting, flushing and marking: nothing lost, nothing twice."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.capture.database.outbox_support import (
    DATABASES,
    change,
    count,
    new_database,
    new_outbox,
    numbers,
    put,
    relay,
)
from tests.capture.database.relay_victims import POINTS
from tests.capture.support import make_ledger, spool_files, url


@pytest.mark.slow
@pytest.mark.parametrize("database", DATABASES)
def test_killed_between_any_two_steps(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    address = new_database(database, request, tmp_path)
    engine = new_outbox(address, request)
    make_ledger(tmp_path)
    put(engine, *(change(n % 5, n) for n in range(120)))
    points = random.sample(POINTS, len(POINTS))
    spec = {"database": address, "bus": url(tmp_path), "points": points}
    done = subprocess.run(
        [sys.executable, "-m", "tests.capture.database.relay_victims", json.dumps(spec)],
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )
    assert done.returncode == 0, (points, done.stderr)
    assert 0 < count(engine, "attestory_outbox") < 120
    relay(engine, tmp_path).run(once=True)
    assert numbers(tmp_path) == {f"user/{k}": list(range(k, 120, 5)) for k in range(5)}
    assert count(engine, "attestory_outbox") == 0
    assert spool_files(tmp_path) == []

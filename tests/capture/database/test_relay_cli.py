"""`audit relay` and `audit status --database`, and the metrics."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text

from audit.capture.database.metrics import serve
from audit.cli.app import app
from audit.errors import InvalidInput, Unavailable
from tests.capture.database.outbox_support import (
    change,
    count,
    insert,
    new_database,
    new_outbox,
    numbers,
    put,
    relay,
)
from tests.consumers.processes import PATIENCE_S, wait_until


@pytest.fixture
def address(request: pytest.FixtureRequest, ledger_dir: Path) -> str:
    return new_database("sqlite", request, ledger_dir)


@pytest.fixture
def engine(address: str, request: pytest.FixtureRequest) -> Engine:
    return new_outbox(address, request)


def audit_(*args: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(args), catch_exceptions=False)
    assert done.exit_code == code, done.output
    if code in (2, 3):
        assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) <= 2
    return done.stdout


def test_relay_status_and_redrive(engine: Engine, address: str, ledger_dir: Path) -> None:
    put(engine, change(1, 1), change(2, 1))
    there = ("--database", address)
    assert audit_("relay", *there, "--once", "--source", "crm") == "2 rows relayed, 0 set aside\n"
    line = audit_("status", *there).splitlines()[-1]
    assert line.split() == ["outbox", "0", "rows", "wait"]
    insert(engine, entity_type="user", entity_key="1", after="{")
    put(engine, change(1, 2))
    done = json.loads(audit_("relay", *there, "--once", "--json", "--source", "crm", code=1))
    assert done["emitted"] == 0 and (done["failed"], done["behind"]) == (1, 1)
    put(engine, change(2, 2))
    line = audit_("status", *there).splitlines()[-1]
    assert re.search("1 row waits, the oldest [0-9]+ s old; 1 set aside, 1 behind them", line), line
    status = json.loads(audit_("status", *there, "--json"))["outbox"]
    assert (status["waiting"], status["failed"], status["behind"]) == (1, 1, 1)
    (row,) = json.loads(audit_("relay", *there, "--failed", "--json", code=1))
    assert (row["entity_key"], row["behind"]) == ("1", 1)
    assert audit_("relay", *there, "--redrive", "user/1") == "2 rows put back\n"
    assert json.loads(audit_("relay", *there, "--json", "--redrive")) == {"redriven": 0}
    assert audit_("relay", *there, "--failed") == "nothing is set aside\n"
    assert numbers(ledger_dir) == {"user/1": [1], "user/2": [1]}


def test_what_is_typed_wrongly(engine: Engine, address: str, ledger_dir: Path) -> None:
    audit_("relay", code=2)
    audit_("relay", "--database", "nonsense", code=2)
    audit_("relay", "--database", "sqlite:///nowhere.db", code=3)
    audit_("relay", "--database", address, "--failed", "--redrive", code=2)
    audit_("relay", "--database", address, "--once", "--batch", "0", code=2)
    audit_("relay", "--database", address, "--once", "--source", "audit", code=2)
    (ledger_dir / "empty.db").touch()
    audit_("relay", "--database", "sqlite:///empty.db", "--once", code=2)
    audit_("relay", "--database", address, "--once", "--metrics-port", "70000", code=2)


def test_sigterm_ends_it_cleanly(engine: Engine, address: str, ledger_dir: Path) -> None:
    put(engine, *(change(n % 3, n) for n in range(200)))
    command = [sys.executable, "-m", "audit", "relay", "--database", address, "--batch", "20"]
    running = subprocess.Popen(
        [*command, "--metrics-port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(
            "it has relayed all, or ended",
            lambda: not count(engine, "attestory_outbox") or running.poll() is not None,
        )
        assert running.poll() is None, running.communicate()
        assert running.stderr is not None
        where = running.stderr.readline().removeprefix("metrics at ").strip()
        told = urllib.request.urlopen(where, timeout=60).read().decode()
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=PATIENCE_S)
    finally:
        running.kill()
    assert (running.returncode, out, err) == (0, "200 rows relayed, 0 set aside\n", "")
    assert "attestory_relay_waiting_rows 0.0" in told and "attestory_relay_up 1.0" in told
    assert numbers(ledger_dir) == {f"user/{k}": list(range(k, 200, 3)) for k in range(3)}
    with engine.connect() as connection:  # the lease was given back: nobody waits for it
        until = "SELECT max(until_us) FROM attestory_relay"
        assert connection.execute(text(until)).scalar_one() == 0
    put(engine, change(1, 300))
    relay(engine, ledger_dir).run(once=True)
    assert numbers(ledger_dir)["user/1"][-1] == 300


def test_metrics_of_a_relay(engine: Engine, ledger_dir: Path) -> None:
    put(engine, change(1, 1))
    insert(engine, entity_type="user", entity_key="2", after="{")
    insert(engine, entity_type="user", entity_key="2", after="{}")
    running = relay(engine, ledger_dir)
    running.run(once=True)
    put(engine, change(2, 2))
    port = serve(running, 0)
    told = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read().decode()
    lines = dict(line.split() for line in told.splitlines() if not line.startswith("#"))
    found = {name.removeprefix("attestory_relay_"): float(value) for name, value in lines.items()}
    assert found["emitted_total"] == found["failed_total"] == found["behind_total"] == 1
    assert (found["waiting_rows"], found["failed_rows"], found["behind_rows"]) == (1, 1, 1)
    assert 0 <= found["oldest_seconds"] < 60
    with pytest.raises(Unavailable, match="cannot serve"):
        serve(running, port)
    with pytest.raises(InvalidInput):
        serve(running, -1)


def test_help_needs_no_database() -> None:
    assert "--redrive" in audit_("relay", "--help")

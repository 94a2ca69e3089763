"""The shop as processes that are killed and started again, and what must hold of its ledger."""

import json
import os
import signal
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

import audit
from audit.capture.database import database_context, tables, triggers
from audit.capture.database.connect import open_database
from audit.capture.sqlalchemy import install
from audit.event.envelope import Event
from audit.event.row import decode_row
from audit.ledger import Ledger
from audit.log.entry import Kind
from audit.log.record import read_record
from audit.store import open_reader
from audit.tlog.keys import Verifier
from tests.apps.shop.app import DOOMED, UNDONE
from tests.apps.shop.load import NO_EVENT, WRITES, Load, Told, until
from tests.apps.shop.models import CAPTURED, SILENT, Base, seed
from tests.contract.check import check_log
from tests.services.process import Process, free_ports

SEEDER = "seeder"
SOURCE = "shop"
LEASE_S = "1"
EXPECTED = {"", "Doomed", "StaleDataError", "OperationalError", "IntegrityError", "StoreBusy"}
"""What may go wrong in a request: deadlocks, and others who were quicker."""


class Shop:
    """Its database with what it begins with, its server and its relay."""

    def __init__(self, address: str, folder: Path, capture: str, bus: str) -> None:
        """In an empty database. `capture`: hooks or triggers. Nothing runs yet."""
        self.address = address.replace("postgresql:", "postgresql+psycopg:", 1)
        self.folder = folder
        self.capture = capture
        self.bus = bus
        [self.port] = free_ports(1)
        self.engine = open_database(self.address)
        """Not captured by hooks."""
        self._processes: dict[str, Process] = {}
        self._prepare()

    def __enter__(self) -> "Shop":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
        self.engine.dispose()

    def _prepare(self) -> None:
        Base.metadata.create_all(self.engine)
        tables.install(self.engine)
        writing = open_database(self.address)
        if self.capture == "hooks":
            install(writing, exclude=SILENT)
        with audit.context(actor=SEEDER, request_id=SEEDER):
            with Session(writing) as session:
                seed(session)
                session.commit()
            if self.capture == "triggers":
                # What is there already is taken in.
                database_context.install(writing)
                triggers.install(writing, exclude=SILENT)
        writing.dispose()

    # Processes

    def _start(self, name: str, *command: str, **environment: str) -> None:
        self._processes[name] = Process(
            [sys.executable, "-X", "faulthandler", "-m", *command],
            self.folder / f"{name}.log",
            cwd=self.folder,
            environ={**os.environ, **environment},
        )

    def start_app(self) -> None:
        """Serve; returns when it answers."""
        spec = {"database": self.address, "capture": self.capture, "port": self.port}
        self._start("app", "tests.apps.shop.app", json.dumps(spec))
        until(self._answers)

    def _answers(self) -> bool:
        assert self._processes["app"].alive, self.said("app")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=60):
                return True
        except OSError:
            return False

    def start_relay(self) -> None:
        """Returns at once."""
        self._start(
            "relay",
            *("audit", "relay", "--database", self.address, "--source", SOURCE),
            *("--lease", LEASE_S, "--batch", "200"),
            AUDIT_BUS=self.bus,
            AUDIT_SPOOL=str(self.folder / "spool"),
        )

    def kill(self, name: str) -> None:
        """kill -9."""
        assert self._processes[name].alive, self.said(name)
        self._processes[name].kill()

    def end(self, name: str) -> None:
        """In order."""
        assert self._processes[name].alive, self.said(name)
        self._processes[name].end(signal.SIGTERM)

    def said(self, name: str) -> str:
        """What a process printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3_000:]

    # What must hold

    def count(self, table: str) -> int:
        """Rows of a table of the outbox."""
        found = tables.tables_of(self.engine)._asdict()[table]
        with self.engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(found)).scalar_one())

    def drain(self) -> None:
        """Wait until the relay has moved everything on; nothing was set aside."""
        until(lambda: self.count("outbox") == 0)
        assert self.count("failed") == 0

    def reconcile(self, store: str) -> dict[str, Any]:
        """Every dataset compared with its table: nothing is missing, extra or different.

        At any time: what is under way is pending. The counts by dataset.
        """
        counts = {}
        with Ledger(store) as ledger:
            for name in CAPTURED:
                found = ledger.reconcile(name, self.engine, record=False, values=True)
                assert found.ok, (name, found)
                counts[name] = {**found.counts, "columns": len(found.columns)}
        return counts


def said_in(store: str) -> list[Event]:
    """What applications said, log after log, after every log was derived again."""
    found = []
    with open_reader(store) as reader:
        for info in reader.logs():
            if not reader.size(info.log):
                continue
            for leaf in check_log(reader, Verifier.parse(info.vkey), info.log):
                record = read_record(info.log, leaf)
                event = record.event
                if record.entry.kind is Kind.EVENT and event and event.type != "schema":
                    found.append(event)
    return [event for event in found if event.source == SOURCE]


def require_reconciled(counts: dict[str, Any]) -> None:
    """Nothing is even pending, and there was something to compare."""
    for name, found in counts.items():
        assert found["pending"] == 0, (name, found)
        assert found["same"] == found["log"] == found["table"] > 0, (name, found)
        assert found["columns"] == len(Base.metadata.tables[name].columns)


def require_told(found: Iterable[Event], load: Load) -> None:
    """Every event of a request that succeeded, and of no other, with its actor, in one piece."""
    asked = {told.request_id: told for told in load.done}
    transactions: dict[str, set[str | None]] = {}
    for event in found:
        assert event.actor and event.request_id, event
        if event.request_id == SEEDER:
            assert event.actor == SEEDER
            continue
        told = asked[event.request_id]
        assert event.actor == told.actor
        assert told.status in (200, 0), (told, event)
        assert not told.is_doomed
        transactions.setdefault(event.request_id, set()).add(event.transaction_id)
        shown = repr(decode_row(event.payload))
        assert DOOMED not in shown and UNDONE not in shown
    assert all(len(each) == 1 and None not in each for each in transactions.values())
    for told in load.done:
        if told.status == 200:
            assert (told.request_id in transactions) == (told.path not in NO_EVENT), told


def require_busy(done: Iterable[Told], capture: str) -> None:
    """Each form of write succeeded, and failed after it had written, unless it is refused."""
    done = list(done)
    good = Counter(told.path for told in done if told.status == 200)
    refused = {"/raw"} if capture == "hooks" else set()
    assert set(WRITES) - good.keys() == refused, Counter(told[2:-1] for told in done)
    assert any(told.status == 409 for told in done) == bool(refused)
    assert any(told.is_doomed and told.status == 500 for told in done)
    strange = [told for told in done if told.status and told.error not in EXPECTED]
    assert not strange, strange
    assert {told.status for told in done} <= {0, 200, 409, 500}


def require_order(found: Iterable[Event]) -> int:
    """Each key's history is one: every change fits the row before it, its version rises by one.

    How many updates had a version.
    """
    state: dict[tuple[str | None, str | None], dict[str, Any]] = {}
    seen: set[str] = set()
    count = 0
    for event in found:
        if not event.type.startswith("data."):
            raise AssertionError(event)
        assert event.event_id not in seen
        seen.add(event.event_id)
        key = (event.entity_type, event.entity_key)
        data = decode_row(event.payload)
        before, after = data.before or {}, data.after or {}
        if event.type == "data.create":
            assert key not in state, event
            state[key] = dict(after)
        elif event.type == "data.delete":
            assert state.pop(key) == before
        else:
            row = state[key]
            assert {name: row[name] for name in before} == before, (event, row)
            assert before.keys() == after.keys() and before != after
            if "version" in after:
                count += 1
                assert after["version"] == before["version"] + 1
            row.update(after)
    return count

"""A real ledger, made once, and a copy of it for each test to attack."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from audit.event.build import data_event, schema_event
from audit.event.envelope import encode_event
from audit.event.signing import sign_event
from audit.log.intake import Message
from audit.store import open_reader, open_store
from audit.tlog.keys import Ed25519Signer
from audit.verify.findings import Report
from audit.verify.policy import Policy
from audit.verify.verifier import verify
from tests.backends import Backend, PostgresqlBackend, SqliteBackend, new_backend
from tests.services.postgres import PostgresServer
from tests.verify.attacker import Attacker, PostgresqlAttacker, SqliteAttacker

ORIGIN = "example.com/verify"
SIGNER = Ed25519Signer.from_seed(ORIGIN, bytes(range(32)))
STRANGER = Ed25519Signer.from_seed(ORIGIN, bytes(range(1, 33)))
PRODUCER = Ed25519Signer.from_seed("crm", bytes([7]) * 32)
POLICY = Policy.from_text(
    f"log {SIGNER.verifier.vkey}\nquorum none\nproducer crm {PRODUCER.verifier.vkey}\n"
)
FIRST_BATCH = 300
BATCH = 150
SINGLE = 5


def message(number: int, signed: bool = False, **fields: object) -> Message:
    """An event about user `number` % 50; some are signed by the producer crm."""
    options = {"actor": "alice", "after": {"n": number, "name": f"name {number}"}, **fields}
    event, _ = data_event(
        "update",
        "user",
        number % 50,
        event_id=f"event-{number}",
        source="crm",
        valid_time_us=1_700_000_000_000_000 + number,
        producer_id="emitter-1",
        producer_sequence=number,
        **options,
    )
    data = encode_event(event)
    return Message(data, sign_event(data, PRODUCER) if signed else None)


def schema_messages() -> list[Message]:
    """The schema events that `message` needs."""
    _, schemas = data_event("update", "user", 1, event_id="x", source="crm", after={"n": 1})
    return [Message(encode_event(schema_event(text))) for text in schemas]


def fill(url: str) -> None:
    """Make a ledger of two batches and a few single entries: two full tiles, and checkpoints."""
    store = open_store(url, create=True)
    store.create(ORIGIN, SIGNER)
    store.append(0, schema_messages(), SIGNER)
    store.append(0, [message(n, signed=n % 100 == 3) for n in range(FIRST_BATCH)], SIGNER)
    store.append(0, [message(n) for n in range(FIRST_BATCH, FIRST_BATCH + BATCH)], SIGNER)
    for n in range(FIRST_BATCH + BATCH, FIRST_BATCH + BATCH + BATCH // 2, BATCH // 2):
        store.append(0, [message(m) for m in range(n, n + BATCH // 2)], SIGNER)
    # Same id, other bytes: sealed as QUARANTINED.
    store.append(0, [message(0, actor="mallory")], SIGNER)
    for n in range(SINGLE):
        store.append(0, [message(10_000 + n)], SIGNER)
    store.close()


@pytest.fixture(scope="session")
def ledger_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger in an SQLite file."""
    path = tmp_path_factory.mktemp("ledger") / "audit.db"
    fill(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def ledger_schema(postgres_server: PostgresServer) -> str:
    """The ledger in a schema of a PostgreSQL server; its name."""
    backend = PostgresqlBackend(postgres_server.new_database())
    fill(backend.url)
    backend.close()
    return backend.schema


class Ledger:
    """A copy of the ledger that may be attacked."""

    def __init__(self, backend: Backend, attacker: Attacker) -> None:
        self.backend = backend
        self.url = backend.url
        self.attacker = attacker
        self.size = attacker.size()

    @property
    def path(self) -> Path:
        """The file, of an SQLite ledger."""
        assert isinstance(self.backend, SqliteBackend)
        return self.backend.path

    def verify(
        self,
        checkpoints: Sequence[bytes] = (),
        policy: Policy | None = POLICY,
        from_index: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Report:
        with open_reader(self.url) as reader:
            return verify(reader, policy, checkpoints, from_index, progress)


def in_file(ledger_file: Path, folder: Path) -> Ledger:
    """A copy of the SQLite ledger."""
    backend = SqliteBackend(folder)
    shutil.copy(ledger_file, backend.path)
    return Ledger(backend, SqliteAttacker(backend.path))


def in_schema(ledger_schema: str, request: pytest.FixtureRequest, folder: Path) -> Ledger:
    """A copy of the PostgreSQL ledger."""
    backend = new_backend(PostgresqlBackend.name, request, folder)
    assert isinstance(backend, PostgresqlBackend)
    backend.copy(ledger_schema)
    return Ledger(backend, PostgresqlAttacker(backend))


@pytest.fixture
def ledger(ledger_file: Path, tmp_path: Path) -> Ledger:
    """An untouched copy, guards included."""
    return in_file(ledger_file, tmp_path)


@pytest.fixture
def attacked(ledger: Ledger) -> Ledger:
    """A copy whose guards are gone: the attacker's first step."""
    ledger.attacker.drop_guards()
    return ledger


def codes(report: Report) -> set[str]:
    """The codes of all findings."""
    return {finding.code for finding in report.findings}


def first(report: Report, code: str) -> int | None:
    """The index of the first finding with this code."""
    return next(finding.index for finding in report.findings if finding.code == code)


def first_bad(report: Report) -> int | None:
    """The lowest index that any finding names."""
    return min((f.index for f in report.findings if f.index is not None), default=None)

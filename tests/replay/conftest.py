"""The `ledger` fixture: a real store with a clock that tests set, on every backend."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from audit.event.build import data_event, record_event, schema_event
from audit.event.envelope import Event, encode_event
from audit.event.times import format_time, parse_rfc3339
from audit.replay.asof import dataset
from audit.replay.asof import row as row_at
from audit.replay.fastpath import FastPath, attach
from audit.replay.fold import Position, Row
from audit.replay.points import AsOf, Cut, resolve, time_of
from audit.replay.refs import parse_ref
from audit.store.contract import LOG_OF_THE_LEDGER, Message, Outcome, Reader, Status
from audit.store.sql_store import SqlStore
from tests.backends import BACKENDS, Backend, SqliteBackend, new_backend, signer_of

if TYPE_CHECKING:
    from audit.replay.columnar.kept.model import ReadModel

ORIGIN = "example.com/replay"
START_US = parse_rfc3339("2026-01-01T00:00:00Z")
"""What the clock shows first."""
DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
SECOND_US = 1_000_000


def us(text: str) -> int:
    """Microseconds of a date or RFC 3339 time."""
    return time_of(text, START_US)


class LedgerInTest:
    """Emits events as told into a real store, and reads them back at a point."""

    def __init__(self, backend: Backend) -> None:
        self.now_us = START_US
        self.backend = backend
        self.store: SqlStore = backend.new_ledger(ORIGIN, clock=lambda: self.now_us)
        self.opened_size = self.store.size(0)
        self._ids = 0
        self._sent_schemas: dict[int, set[bytes]] = {}
        self._signers = {LOG_OF_THE_LEDGER: signer_of(ORIGIN)}

    def open_log(self, log: int) -> None:
        """A second log. Until consumers open logs this goes past the public interface."""
        origin = f"{ORIGIN}/{log}"
        self._signers[log] = signer_of(origin, bytes([log]) * 32)
        with self.store._writing() as connection:
            self.store._open_log(connection, log, origin, self._signers[log])

    def next_id(self) -> str:
        """A fresh event id."""
        self._ids += 1
        return f"e{self._ids}"

    def event(
        self,
        op: str,
        key: object,
        after: Mapping[str, Any] | None = None,
        *,
        entity: str = "user",
        event_id: str | None = None,
        source: str = "test",
        valid: str | int | None = None,
        **options: Any,
    ) -> tuple[Event, tuple[bytes, ...]]:
        """A data event; options are those of `data_event`."""
        if isinstance(valid, str):
            valid = us(valid)
        return data_event(
            op,
            entity,
            key,
            event_id=event_id or self.next_id(),
            source=source,
            after=None if after is None else dict(after),
            valid_time_us=valid,
            **options,
        )

    def emit(
        self,
        op: str,
        key: object,
        after: Mapping[str, Any] | None = None,
        *,
        at: str | int | None = None,
        log: int = 0,
        schemas: bool = True,
        **options: Any,
    ) -> Position:
        """Seal one event when the clock shows `at`; gives its position."""
        event, needed = self.event(op, key, after, **options)
        return self.seal([event], needed if schemas else (), at=at, log=log)[0]

    def record(
        self,
        type_: str,
        data: Mapping[str, Any],
        *,
        log: int = 0,
        at: str | int | None = None,
        **k: Any,
    ) -> Position:
        """Seal a record that is no change of a row."""
        k.setdefault("event_id", self.next_id())
        event, needed = record_event(type_, dict(data), source="test", **k)
        return self.seal([event], needed, at=at, log=log)[0]

    def seal(
        self,
        events: Sequence[Event],
        schemas: Sequence[bytes] = (),
        *,
        at: str | int | None = None,
        log: int = 0,
    ) -> list[Position]:
        """Seal events in one batch; each must become an entry of its own."""
        outcomes = self.append(events, schemas, at=at, log=log)
        assert [outcome.status for outcome in outcomes] == [Status.SEALED] * len(events)
        return [(outcome.log, outcome.index) for outcome in outcomes]

    def append(
        self,
        events: Sequence[Event],
        schemas: Sequence[bytes] = (),
        *,
        at: str | int | None = None,
        log: int = 0,
    ) -> list[Outcome]:
        """Append events in one batch, whatever becomes of them; the schemas go first."""
        at_us = us(at) if isinstance(at, str) else at
        sent = self._sent_schemas.setdefault(log, set())
        fresh = [schema for schema in schemas if schema not in sent]
        sent.update(fresh)
        if fresh:
            messages = [Message(encode_event(schema_event(schema))) for schema in fresh]
            # Just before the events, so that these get the very time that is asked for.
            now_us = self.now_us
            self.now_us = (now_us if at_us is None else at_us) - len(fresh)
            self.store.append(log, messages, self._signers[log])
            self.now_us = now_us
        if at_us is not None:
            self.now_us = at_us
        messages = [Message(encode_event(event)) for event in events]
        return self.store.append(log, messages, self._signers[log]).outcomes

    def recorded_us(self, position: Position) -> int:
        """The recorded time of an entry."""
        from audit.log.record import read_record

        log, index = position
        return read_record(log, self.store.leaf(log, index)).recorded_time_us

    @staticmethod
    def at_us(time_us: int) -> str:
        """A time as text."""
        return format_time(time_us)

    def cut(self, as_of: AsOf = None) -> Cut:
        """A cut; "now" is what the clock shows."""
        return resolve(self.store, as_of, self.now_us)

    def rows(
        self,
        as_of: AsOf | Cut = None,
        valid_at: str | int | None = None,
        entity: str = "user",
        **k: Any,
    ) -> dict[str, Row]:
        """Key -> row, in the order they come."""
        cut = as_of if isinstance(as_of, Cut) else self.cut(as_of)
        valid_at_us = us(valid_at) if isinstance(valid_at, str) else valid_at
        return dict(dataset(self.store, entity, cut, valid_at_us, **k).rows())

    def row(self, ref: str, as_of: AsOf = None, valid_at: str | int | None = None) -> Row | None:
        """One row."""
        valid_at_us = us(valid_at) if isinstance(valid_at, str) else valid_at
        return row_at(self.store, parse_ref(ref), self.cut(as_of), valid_at_us).row


ON_EVERY_BACKEND = {
    "by_name",
    "cases_state",
    "citation",
    "events",
    "history",
    "one_row",
    "points",
}
"""Tests that ask a store in many ways; what the others fold is the same bytes from any store."""


FROM_READ_MODEL = {"by_name", "cases_schema", "cases_state", "cases_time", "cases_types"}
"""Tests that run twice: replayed plainly, and from a read model however small the ledger is."""
FAST = "fast"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the backends of the fixture `ledger`, and the ways to replay."""
    if "ledger" in metafunc.fixturenames:
        module = metafunc.module.__name__.rpartition("test_")[2]
        backends = BACKENDS if module in ON_EVERY_BACKEND else [SqliteBackend.name]
        if module in FROM_READ_MODEL:
            backends = [*backends, f"{SqliteBackend.name}-{FAST}"]
        metafunc.parametrize("ledger", backends, indirect=True)


@pytest.fixture
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerInTest]:
    """A new ledger, on the chosen backends."""
    name, _, way = request.param.partition("-")
    made = LedgerInTest(new_backend(name, request, tmp_path))
    path = FastPath(lambda: open_columns(made.store, tmp_path / "columns"), from_entries=0)
    if way == FAST:
        attach(made.store, path)
    with made.store:
        yield made


def open_columns(reader: Reader, folder: Path | None) -> "ReadModel":
    """The read model of a ledger."""
    from audit.replay.columnar.kept.model import open_read_model

    return open_read_model(reader, folder)

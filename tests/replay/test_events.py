"""Events by query at a cut: what fits, in which order, and that little is read for little."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from audit.event.row import Change
from audit.log.record import Record
from audit.replay.books import Books
from audit.replay.events import events
from audit.replay.query import parse_query
from tests.replay.conftest import LedgerInTest


def found(
    ledger: LedgerInTest, query: str = "", as_of: str | None = None, **options: Any
) -> list[str]:
    """The event ids that match, in the order they come."""
    parsed = parse_query(query, ledger.now_us)
    records = events(ledger.store, parsed, ledger.cut(as_of), **options)
    return [record.event.event_id for record in records if record.event]


@pytest.fixture
def busy(ledger: LedgerInTest) -> LedgerInTest:
    """Two datasets, three actors, a run, a conflict."""
    ledger.emit("create", 5, {"name": "x"}, event_id="u5", actor="alice", at="2026-01-02")
    ledger.emit("create", 6, {"dpt": 1}, event_id="u6", actor="bob smith", at="2026-01-03")
    ledger.emit("create", 5, {"n": 1}, event_id="o5", entity="order", at="2026-01-04")
    ledger.emit("update", 5, {"dpt": 2}, event_id="u5b", actor="alice", at="2026-01-05")
    ledger.emit("delete", 6, event_id="u6b", actor="bot", at="2026-01-06", transaction_id="t1")
    ledger.record("component.run", {"status": "START"}, event_id="r1", at="2026-01-07")
    conflict, _ = ledger.event("create", 5, {"name": "y"}, event_id="u5")
    ledger.append([conflict], at="2026-01-08")
    return ledger


ALL = ["u5", "u6", "o5", "u5b", "u6b", "r1"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ALL),
        ("actor:alice", ["u5", "u5b"]),
        ('actor:"bob smith"', ["u6"]),
        ("-actor:alice", ["u6", "o5", "u6b", "r1"]),
        ("op:create", ["u5", "u6", "o5"]),
        ("op:update op:delete", ["u5b", "u6b"]),
        ("entity:user", ["u5", "u6", "u5b", "u6b"]),
        ("entity:user entity:order", ["u5", "u6", "o5", "u5b", "u6b"]),
        ("entity:user key:5", ["u5", "u5b"]),
        ("key:5", ["u5", "o5", "u5b"]),
        ("key:5 key:6", ["u5", "u6", "o5", "u5b", "u6b"]),
        ("field:dpt", ["u6", "u5b"]),
        ("field:status", ["r1"]),
        ("type:component.run", ["r1"]),
        ("type:component.run type:data.delete", ["u6b", "r1"]),
        ("recorded:2026-01-03", ["u6"]),
        ("recorded:>=2026-01-06", ["u6b", "r1"]),
        ("recorded:>2026-01-06 recorded:<=2026-01-07", ["r1"]),
        ("recorded:<2026-01-03", ["u5"]),
        ("-recorded:>=2026-01-03", ["u5"]),
        ("recorded:>=2026-01-03 key:5", ["o5", "u5b"]),
        ("valid:2026-01-04", ["o5"]),
        ("id:u6", ["u6"]),
        ("id:test:u6 id:r1", ["u6", "r1"]),
        ("id:u6 actor:alice", []),
        ("transaction:t1", ["u6b"]),
        ("source:test log:0", ALL),
        ("log:7", []),
        ("entity:nothing", []),
        ("type:log.opened", ["log.opened:example.com/replay"]),
        ("kind:control", ["log.opened:example.com/replay"]),
        ("kind:quarantined", []),
    ],
)
def test_what_a_query_finds_in_both_orders(
    busy: LedgerInTest, query: str, expected: list[str]
) -> None:
    assert found(busy, query) == expected
    assert found(busy, query, newest_first=True) == expected[::-1]
    assert found(busy, query, limit=2) == expected[:2]
    assert found(busy, query, newest_first=True, limit=1) == expected[::-1][:1]


def test_schemas_and_quarantined_entries_are_found_when_asked_for(busy: LedgerInTest) -> None:
    query = parse_query("kind:schema kind:quarantined", 0)
    records = list(events(busy.store, query, busy.cut()))
    types = Counter(record.event.type if record.event else "quarantined" for record in records)
    assert types["quarantined"] == 1
    assert types["schema"] == busy.store.counts(0).schemas
    assert len(found(busy, "type:schema")) == types["schema"]


def test_events_at_an_earlier_point(busy: LedgerInTest) -> None:
    assert found(busy, as_of="2026-01-03") == ["u5", "u6"]
    assert found(busy, "entity:user", as_of="2026-01-05", newest_first=True) == ["u5b", "u6", "u5"]
    assert found(busy, "id:u6b", as_of="2026-01-03") == []


def test_events_since_sizes(busy: LedgerInTest) -> None:
    since = busy.cut("2026-01-05").sizes
    assert found(busy, since=since) == ["u6b", "r1"]
    assert found(busy, "entity:user", since=since) == ["u6b"]
    assert found(busy, "id:u5 id:r1", since=since) == ["r1"]
    assert found(busy, since=busy.cut().sizes) == []


def test_events_of_several_logs_come_by_recorded_time(ledger: LedgerInTest) -> None:
    ledger.open_log(1)
    for day, log in ((2, 1), (3, 0), (4, 1), (5, 0)):
        ledger.emit("create", day, {"n": 1}, event_id=f"d{day}", at=f"2026-01-0{day}", log=log)
    assert found(ledger) == ["d2", "d3", "d4", "d5"]
    assert found(ledger, newest_first=True) == ["d5", "d4", "d3", "d2"]
    assert found(ledger, "log:1") == ["d2", "d4"]
    assert found(ledger, "entity:user", newest_first=True, limit=3) == ["d5", "d4", "d3"]


class CountingReader:
    """A reader that counts the leaves it gives."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.leaves_read = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._reader, name)
        if name not in ("leaves", "leaves_at", "entity", "keyless", "special"):
            return method

        def counted(*args: Any, **named: Any) -> Iterator[Any]:
            for located in method(*args, **named):
                self.leaves_read += 1
                yield located

        return counted


@pytest.fixture
def large(ledger: LedgerInTest) -> LedgerInTest:
    """3,000 events of 100 keys in two datasets."""
    made = [
        ledger.event("create", n % 100, {"n": n}, entity="user" if n % 3 else "order")
        for n in range(3_000)
    ]
    ledger.seal([event for event, _ in made], made[0][1], at="2026-01-02")
    return ledger


@pytest.mark.parametrize(
    ("query", "newest_first", "at_most"),
    [
        ("", True, 300),
        ("entity:user", True, 500),
        ("entity:user key:7", False, 30),
        ("entity:user key:7", True, 30),
        ("key:7", True, 30),
        ("kind:control", True, 20),
        ("type:schema", False, 20),
    ],
)
def test_little_is_read_for_little(
    large: LedgerInTest, query: str, newest_first: bool, at_most: int
) -> None:
    reader: Any = CountingReader(large.store)
    parsed = parse_query(query, 0)
    records: list[Record] = list(events(reader, parsed, large.cut(), newest_first, 10))
    assert records
    assert reader.leaves_read <= at_most


def test_one_row_reads_its_own_entries_alone(large: LedgerInTest) -> None:
    from audit.replay.asof import row
    from audit.replay.blame import blame
    from audit.replay.diff import diff
    from audit.replay.history import history
    from audit.replay.refs import parse_ref

    schemas = large.store.counts(0).schemas
    own = 20
    for read in (row, history, blame):
        reader: Any = CountingReader(large.store)
        read(reader, parse_ref("user/7"), large.cut())
        assert reader.leaves_read <= own + schemas
    size = large.store.size(0)
    reader = CountingReader(large.store)
    changes = list(diff(reader, "user", large.cut(size - 3), large.cut(size - 1)))
    assert 1 <= len(changes) <= 2
    assert reader.leaves_read <= 2 * len(changes) * own + 2 * schemas + 2


def test_books_without_a_cut_read_what_comes_later(ledger: LedgerInTest) -> None:
    books = Books(ledger.store, None)
    event, schemas = ledger.event("create", 5, {"a": 1})
    ledger.seal([event], schemas)
    (record,) = events(ledger.store, parse_query("", 0), ledger.cut())
    assert books.decode(record) == Change("patch", None, {"a": 1})
    assert schemas

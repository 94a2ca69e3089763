"""What one row costs and stands on: few statements, one state of the store, nothing stale."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from audit.errors import StoreCorrupt
from audit.ledger import Ledger
from audit.replay import schemas
from tests.backends import statements_of
from tests.replay.conftest import LedgerInTest
from tests.replay.test_cases_schema import FIRST, REMOVED, RENAMED

Question = Callable[[Ledger], Any]
STATEMENTS: dict[str, tuple[int, Question]] = {
    "at HEAD": (3, lambda ledger: ledger.replay_row("user/5")),
    "at an index": (5, lambda ledger: ledger.replay_row("user/5", as_of=20)),
    "in a log": (5, lambda ledger: ledger.replay_row("user/5", as_of="0/20")),
    "at a time": (5, lambda ledger: ledger.replay_row("user/5", as_of="2026-01-03")),
    "valid at": (5, lambda ledger: ledger.replay_row("user/5", "2026-01-03", "2026-01-02")),
    "blame": (5, lambda ledger: ledger.blame("user/5", as_of="2026-01-03")),
    "history": (5, lambda ledger: ledger.history("user/5", as_of="2026-01-03")),
}
"""Name -> (statements on a store with one log, question). Beside them a transaction begins."""


@pytest.fixture
def opened(ledger: LedgerInTest) -> Iterator[Ledger]:
    """A ledger with some history of 9 users, opened by somebody else than who writes it."""
    for day in (2, 3, 4):
        op = "create" if day == 2 else "update"
        made = [ledger.event(op, key, {"day": day}) for key in range(1, 10)]
        ledger.append([event for event, _ in made], made[0][1], at=f"2026-01-0{day}")
    with Ledger(ledger.backend.url, ledger.now_us, read_model="off") as opened:
        yield opened


def statements(opened: Ledger, ask: Question) -> list[str]:
    """The statements of a question."""
    with statements_of(opened.reader) as seen:
        ask(opened)
    return [text for text, _ in seen if text not in ("COMMIT", "ROLLBACK")]


def test_a_row_takes_so_many_statements(opened: Ledger) -> None:
    for name, (most, ask) in STATEMENTS.items():
        ask(opened)
        seen = statements(opened, ask)
        assert len(seen) - seen.count("BEGIN") == most, name
        assert seen.count("BEGIN") <= 1, name


def test_more_history_takes_no_more_statements(ledger: LedgerInTest, opened: Ledger) -> None:
    for number in range(20):
        ledger.emit("update", 5, {"n": number})
        ledger.emit("create", f"other {number}", {"n": number})
    seen = statements(opened, lambda ledger: ledger.replay_row("user/5"))
    assert len(seen) - seen.count("BEGIN") == 3
    assert opened.replay_row("user/5") == {"day": 4, "n": 19}


def test_what_others_append_is_seen_at_once(ledger: LedgerInTest, opened: Ledger) -> None:
    for number in range(3):
        ledger.emit("update", 5, {"n": number})
        assert opened.replay_row("user/5") == {"day": 4, "n": number}
    ledger.emit("truncate", None)
    assert opened.replay_row("user/5") is None


def test_a_schema_that_others_record_is_seen_at_once_and_not_before_it(
    ledger: LedgerInTest, opened: Ledger
) -> None:
    first = {"name": "a", "dpt": "SCS", "age": 1}
    ledger.emit("create", 70, first, declared=FIRST, at="2026-02-01")
    assert opened.replay_row("user/70") == first
    ledger.emit(
        "create", 71, {"name": "b", "department": "X", "age": 2}, declared=RENAMED, at="2026-02-02"
    )
    assert opened.replay_row("user/70") == {"name": "a", "department": "SCS", "age": 1}
    ledger.emit(
        "create", 72, {"name": "c", "unit": "Y", "mail": "m"}, declared=REMOVED, at="2026-02-03"
    )
    assert opened.replay_row("user/70") == {"name": "a", "unit": "SCS", "age": 1}
    assert opened.replay_row("user/70", as_of="2026-02-01T12:00:00Z") == first
    late = opened.replay_row("user/70", as_of="2026-02-02T12:00:00Z")
    assert late == {"name": "a", "department": "SCS", "age": 1}


def test_a_schema_recorded_after_its_event_is_used_when_it_is_there(
    ledger: LedgerInTest, opened: Ledger
) -> None:
    row = {"name": "a", "dpt": "SCS", "age": 1}
    event_, needed = ledger.event("create", 80, row, declared=FIRST)
    position = ledger.seal([event_], at="2026-02-01")[0]
    assert opened.replay_row("user/80") == {}
    ledger.append([ledger.event("create", 81, {"a": 1})[0]], needed, at="2026-02-02")
    assert opened.replay_row("user/80") == row
    assert opened.replay_row("user/80", as_of=position[1]) == {}


def test_a_changed_leaf_is_noticed_after_it_was_read_well(
    ledger: LedgerInTest, opened: Ledger
) -> None:
    assert opened.replay_row("user/5") == {"day": 4}
    own = opened.history("user/5")[-1].index
    described = next(iter(ledger.store.special(0, None, 0)))
    for index in (own, described.index):
        leaf = ledger.store.leaf(0, index)
        other = ledger.store.leaf(0, index + 1)
        for changed in (other, leaf[:-1], b"no leaf"):
            replace(ledger, index, changed)
            with pytest.raises(StoreCorrupt, match=f"entry 0/{index}"):
                opened.replay_row("user/5")
        replace(ledger, index, leaf)
        assert opened.replay_row("user/5") == {"day": 4}


def replace(ledger: LedgerInTest, index: int, leaf: bytes) -> None:
    with ledger.backend.unguarded():
        ledger.backend.sql(f"UPDATE entries SET leaf = x'{leaf.hex()}' WHERE \"index\" = {index}")


def test_threads_share_a_ledger_while_it_grows(ledger: LedgerInTest, opened: Ledger) -> None:
    last = opened.reader.size(0) - 1

    def ask(number: int) -> None:
        key = number % 9 + 1
        assert opened.replay_row(f"user/{key}", as_of=last) == {"day": 4}
        now = opened.replay_row(f"user/{key}")
        assert now is not None and now["day"] in (4, 5)

    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ask, number) for number in range(160)]
        for key in range(1, 10):
            ledger.emit("update", key, {"day": 5})
        for one in asked:
            one.result()
    assert opened.replay_row("user/9") == {"day": 5}


def test_decoded_schemas_are_kept_up_to_a_limit(opened: Ledger) -> None:
    schemas._read.cache_clear()
    for _ in range(3):
        opened.replay_row("user/5")
    kept = schemas._read.cache_info()
    assert kept.maxsize == schemas.KEPT_SCHEMA_LEAVES
    assert kept.hits == 2 * kept.misses
    assert kept.currsize == kept.misses

"""Pages: together they are the one answer of the first, whatever is written in between."""

import base64
from itertools import pairwise
from typing import Any

import pytest

from audit.errors import InvalidInput, LimitExceeded
from audit.replay.events import events
from audit.replay.paging import MAX_PAGE_RECORDS, Page, page
from audit.replay.query import parse_query
from tests.replay.columns_made import ColumnsMade
from tests.replay.conftest import LedgerInTest


@pytest.fixture
def two_logs(ledger: LedgerInTest) -> LedgerInTest:
    """40 events in two logs, some at equal recorded times."""
    ledger.open_log(1)
    for number in range(20):
        at = f"2026-01-02T00:{number:02}:00Z"
        for log in (0, 1):
            actor = "alice" if number % 3 else "bob"
            ledger.emit("create", number, {"n": number}, at=at, log=log, actor=actor)
    return ledger


def all_pages(ledger: LedgerInTest, query: str, limit: int, **options: Any) -> list[list[str]]:
    """The event ids of page after page, while events go on being sealed."""
    found: list[list[str]] = []
    after = None
    while True:
        part = page(ledger.store, query, ledger.cut(), ledger.now_us, after, limit, **options)
        found.append([record.event.event_id for record in part.records if record.event])
        after = part.next
        if after is None:
            return found
        ledger.now_us += 1_000_000
        ledger.emit("create", 99, {"n": 0}, actor="alice", log=len(found) % 2)


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("query", ["", "actor:alice", "recorded:>=-1d", "key:7 key:8", "id:e1"])
@pytest.mark.parametrize("limit", [1, 7, 40, 1000])
def test_pages_are_the_whole_answer_of_the_moment_of_the_first(
    two_logs: LedgerInTest, query: str, limit: int, newest_first: bool
) -> None:
    cut = two_logs.cut()
    parsed = parse_query(query, two_logs.now_us)
    whole = [
        record.event.event_id
        for record in events(two_logs.store, parsed, cut, newest_first)
        if record.event
    ]
    columns = ColumnsMade(two_logs.store, (10, 20), 30) if limit == 7 else None
    pages = all_pages(two_logs, query, limit, newest_first=newest_first, columns=lambda _: columns)
    assert [one for part in pages for one in part] == whole
    assert all(len(part) == limit for part in pages[:-1])
    assert pages[-1]


def test_no_token_where_nothing_follows(two_logs: LedgerInTest) -> None:
    def pages(limit: int, query: str = "") -> Any:
        return page(two_logs.store, query, two_logs.cut(), two_logs.now_us, None, limit)

    assert pages(40).next is None and pages(39).next is not None
    assert pages(5, "actor:nobody") == Page([], None)


def token(ledger: LedgerInTest, query: str = "actor:alice", as_of: Any = None) -> str:
    found = page(ledger.store, query, ledger.cut(as_of), ledger.now_us, None, 3).next
    assert found is not None
    return found


def test_a_token_of_something_else_is_refused(two_logs: LedgerInTest) -> None:
    given = token(two_logs)

    def ask(
        query: str = "actor:alice", as_of: Any = None, after: str = given, **options: Any
    ) -> Any:
        cut = two_logs.cut(as_of)
        return page(two_logs.store, query, cut, two_logs.now_us, after, 3, **options)

    assert len(ask().records) == 3
    assert len(ask(" actor:alice ").records) == 3
    for wrong in (
        {"query": "actor:bob"},
        {"query": 'actor:"alice"'},
        {"as_of": "2026-01-05"},
        {"newest_first": False},
    ):
        with pytest.raises(InvalidInput, match="another query, order"):
            ask(**wrong)
    at = token(two_logs, as_of="2026-01-02T00:10:00Z")
    assert ask(as_of="2026-01-02T00:10:00Z", after=at).records
    with pytest.raises(InvalidInput, match="another query"):
        ask(after=at)


def test_a_broken_token_is_refused(two_logs: LedgerInTest) -> None:
    given = token(two_logs)
    sealed = base64.urlsafe_b64decode(given + "=" * (-len(given) % 4))
    broken = ["", "x", "é", given[:-1], given + "A", given[:10], "A" * 9_000, " " + given]
    broken += [
        base64.urlsafe_b64encode(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])
        .rstrip(b"=")
        .decode()
        for at in range(0, len(sealed), 5)
    ]
    for one in broken:
        with pytest.raises(InvalidInput, match="--after"):
            page(two_logs.store, "actor:alice", two_logs.cut(), two_logs.now_us, one, 3)


def test_a_token_that_says_the_impossible_is_refused(two_logs: LedgerInTest) -> None:
    from audit.replay import paging

    cut = two_logs.cut()
    asked = paging._digest(two_logs.store, "", cut.asked, True)
    size = cut.sizes[0]
    places = [
        (0, 0, 3, {0: size + 1}),
        (0, 0, 3, {7: 1}),
        (0, 0, size, {0: size}),
        (0, 5, 3, {0: size}),
        (0, 0, 3, {}),
    ]
    for place in places:
        made = paging._token(asked, paging._Place(*place))
        with pytest.raises(InvalidInput, match="--after"):
            page(two_logs.store, "", cut, two_logs.now_us, made, 3)
    for content in (b"", b"\x80" * 30, b"\xff" * 40 + b"\x01", b"\x00\x00\x00\x05", b"\x01\x01"):
        sealed = paging._VERSION + asked + content
        sealed += paging.sha256(sealed).digest()[:8]
        made = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
        with pytest.raises(InvalidInput, match="--after"):
            page(two_logs.store, "", cut, two_logs.now_us, made, 3)


def test_a_page_has_limits(two_logs: LedgerInTest) -> None:
    for limit in (0, -1, MAX_PAGE_RECORDS + 1):
        with pytest.raises(LimitExceeded):
            page(two_logs.store, "", two_logs.cut(), two_logs.now_us, None, limit)


def test_relative_times_stay_those_of_the_first_page(ledger: LedgerInTest) -> None:
    for day in range(2, 8):
        ledger.emit("create", day, {"n": 1}, at=f"2026-01-0{day}")
    ledger.now_us += 3_600_000_000
    first = page(ledger.store, "recorded:>=-3d", ledger.cut(), ledger.now_us, None, 2)
    ledger.now_us += 5 * 86_400_000_000
    rest = page(ledger.store, "recorded:>=-3d", ledger.cut(), ledger.now_us, first.next, 9)
    days = [record.event.entity_key for record in (*first.records, *rest.records) if record.event]
    assert days == ["7", "6", "5"]
    assert all(int(one) > int(other) for one, other in pairwise(days) if one and other)

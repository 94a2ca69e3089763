"""Searching by columns finds what the plain path finds, and reads little for it."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import StoreCorrupt
from audit.replay.columnar.kept.search import FIRST_STRETCH, matching
from audit.replay.events import Counted, count_events, events, no_columns
from audit.replay.query import OPTIONAL, SORTS, parse_query
from audit.replay.rows import UNAVAILABLE
from tests.backends import SqliteBackend, new_backend
from tests.replay.columns_made import ColumnsMade
from tests.replay.conftest import DAY_US, START_US, LedgerInTest
from tests.replay.test_events import CountingReader

ACTORS = ("alice", "bob smith", "", "é", None)
FIELDS = ("dpt", "name", "n", "status")
DAYS = 8


def fill(ledger: LedgerInTest, seed: int) -> None:
    """Some 150 events of every sort in two logs."""
    rng = random.Random(seed)
    ledger.open_log(1)
    seen: list[tuple[int, str, str, Any]] = []
    unsealed: list[Any] = []
    for number in range(150):
        ledger.now_us += rng.randrange(DAY_US // 8)
        log = rng.randrange(2)
        options = {
            "actor": rng.choice(ACTORS),
            "reason": rng.choice(("moved", "UNDECODABLE", None)),
            "transaction_id": rng.choice(("t1", "t2", None)),
        }
        kind = rng.randrange(12)
        if kind == 0:
            ledger.record("component.run", {"status": "START"}, log=log, **options)
            continue
        if kind == 1 and seen:
            # Another event under an id that is taken: quarantined.
            event, _ = ledger.event("create", 9, {"n": number}, event_id=seen[-1][2])
            ledger.append([event], log=seen[-1][0])
            continue
        op = rng.choice(("create", "update", "update", "delete", "truncate"))
        key = None if op == "truncate" else rng.randrange(4)
        entity = rng.choice(("user", "order"))
        fields = {name: rng.choice((number, "x", None, UNAVAILABLE)) for name in FIELDS[:3]}
        after = dict(rng.sample(sorted(fields.items()), 2)) if op in ("create", "update") else None
        earlier = [one for one in seen if one[0] == log and one[1] == entity and one[3] == key]
        event, schemas = ledger.event(
            op,
            key,
            after,
            entity=entity,
            valid=rng.choice((None, START_US + rng.randrange(DAYS) * DAY_US)),
            source=rng.choice(("crm", "test")),
            supersedes=rng.choice(earlier)[2]
            if earlier and kind == 2 and key is not None
            else None,
            image=rng.choice(("full", "patch")) if op == "update" else "patch",
            **options,
        )
        unsealed += schemas
        # The first schema comes after the first events, which are read with it all the same.
        known = unsealed if number > 20 else ()
        ledger.seal([event], known, log=log)
        seen.append((log, entity, event.event_id, key))


@pytest.fixture(scope="module", params=(1, 2))
def filled(request: Any, tmp_path_factory: Any) -> Iterator[LedgerInTest]:
    made = LedgerInTest(new_backend(SqliteBackend.name, request, tmp_path_factory.mktemp("log")))
    fill(made, request.param)
    with made.store:
        yield made


def texts(name: str, *values: str) -> st.SearchStrategy[str]:
    return st.sampled_from(values).map(lambda value: f'{name}:"{value}"')


def times(name: str) -> st.SearchStrategy[str]:
    return st.tuples(
        st.sampled_from(("", ">", ">=", "<", "<=")), st.integers(1, DAYS), st.booleans()
    ).map(lambda one: f"{name}:{one[0]}2026-01-0{one[1]}" + ("T12:00:00Z" if one[2] else ""))


TERMS = st.one_of(
    texts("actor", "alice", "bob smith", "", "é", "nobody", "\ud800"),
    texts("op", "create", "update", "delete", "truncate"),
    texts("entity", "user", "order", "nothing"),
    texts("key", "1", "2", "77"),
    texts("type", "data.update", "component.run", "schema", "log.opened"),
    texts("field", *FIELDS, "nothing"),
    texts("source", "crm", "test", "audit"),
    texts("log", "0", "1", "2"),
    texts("id", "e5", "test:e7"),
    texts("transaction", "t1", "t2"),
    texts("reason", "moved", "UNDECODABLE", "EVENT_ID_CONFLICT"),
    texts("kind", *sorted(SORTS)),
    texts("has", *sorted(OPTIONAL)),
    times("recorded"),
    times("valid"),
)
QUERIES = st.lists(
    st.tuples(st.booleans(), TERMS).map(lambda one: ("-" if one[0] else "") + one[1]), max_size=4
).map(" ".join)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=QUERIES,
    cuts=st.lists(st.integers(1, 120), max_size=3),
    covered=st.none() | st.integers(0, 90),
    holes=st.lists(st.integers(0, 3), max_size=1),
    newest_first=st.booleans(),
    size=st.none() | st.integers(0, 100),
    stretch=st.sampled_from((1, 3, FIRST_STRETCH)),
    limit=st.none() | st.integers(1, 9),
)
def test_the_columns_find_what_the_plain_path_finds(
    filled: LedgerInTest,
    text: str,
    cuts: list[int],
    covered: int | None,
    holes: list[int],
    newest_first: bool,
    size: int | None,
    stretch: int,
    limit: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("audit.replay.columnar.kept.search.FIRST_STRETCH", stretch)
    query = parse_query(text, filled.now_us)
    cut = filled.cut()
    if size is not None:
        cut = cut._replace(sizes={log: min(size, all_) for log, all_ in cut.sizes.items()})
    columns = ColumnsMade(filled.store, cuts, covered, holes)
    plain = list(events(filled.store, query, cut, newest_first, scan=True))
    marked = list(events(filled.store, query, cut, newest_first))
    quick = list(events(filled.store, query, cut, newest_first, columns=lambda _: columns))
    assert marked == plain
    assert quick == plain
    for ask in (no_columns, lambda _: columns):
        some = events(filled.store, query, cut, newest_first, limit, columns=ask)
        assert list(some) == plain[:limit]
    assert count_events(filled.store, query, cut, lambda _: columns).number == len(plain)
    assert count_events(filled.store, query, cut, scan=True) == Counted(len(plain), 0)


@pytest.mark.parametrize("newest_first", [False, True])
def test_what_no_part_covers_is_not_left_out(filled: LedgerInTest, newest_first: bool) -> None:
    query = parse_query("actor:alice", 0)
    size = filled.store.size(0)
    whole = range(size)
    for cuts, covered, holes in (((), 0, ()), ((20, 40), 60, (1,)), ((10,), None, (0,))):
        parts = ColumnsMade(filled.store, cuts, covered, holes).events_parts(0, size)
        for start, stop in ((0, size), (5, 50), (25, 30), (70, size), (7, 7)):
            found = list(matching(parts, query, start, stop, newest_first))
            given_out = [int(index) for piece in found for index in piece.indexes]
            assert given_out == sorted(given_out, reverse=newest_first)
            within = [index for index in whole[start:stop] if _covers(parts, index)]
            assert set(whole[start:stop]) - set(within) <= set(given_out)
            assert all(
                not sure or _covers(parts, int(index))
                for piece in found
                for index, sure in zip(piece.indexes, piece.sure, strict=True)
            )


def _covers(parts: Any, index: int) -> bool:
    return any(part.start <= index < part.stop for part in parts)


@pytest.fixture(scope="module")
def rare(request: Any, tmp_path_factory: Any) -> Iterator[LedgerInTest]:
    """3,000 events, of which every hundredth is alice's; field `rare` in every 300th."""
    folder = tmp_path_factory.mktemp("rare")
    made = LedgerInTest(new_backend(SqliteBackend.name, request, folder))
    built = [
        made.event(
            "create",
            n,
            {"n": n} if n % 300 else {"rare": n},
            actor="bob" if n % 100 else "alice",
            transaction_id=f"t{n}",
        )
        for n in range(3_000)
    ]
    made.seal([event for event, _ in built], built[0][1])
    with made.store:
        yield made


@pytest.mark.parametrize(
    ("text", "limit", "at_most"),
    [
        ("actor:alice", None, 30),
        ("actor:alice", 5, 64),
        ("transaction:t77", None, 1),
        ("field:rare", None, 10),
        ("field:rare actor:bob", None, 0),
        ("actor:nobody", None, 0),
        ("actor:bob", 50, 128),
        ("-actor:bob", None, 30),
        ("valid:>2030-01-01", None, 0),
        ("op:delete", None, 0),
        ("-has:actor", None, 0),
    ],
)
def test_the_columns_read_few_leaves_for_few(
    rare: LedgerInTest, text: str, limit: int | None, at_most: int
) -> None:
    reader: Any = CountingReader(rare.store)
    columns = ColumnsMade(rare.store, range(0, 3_000, 500))
    query = parse_query(text, 0)
    found = list(events(reader, query, rare.cut(), True, limit, columns=lambda _: columns))
    plain = list(events(rare.store, query, rare.cut(), True, limit, scan=True))
    assert found == plain
    assert reader.leaves_read <= at_most


def test_a_count_reads_no_leaves_where_the_columns_are_sure(rare: LedgerInTest) -> None:
    reader: Any = CountingReader(rare.store)
    columns = ColumnsMade(rare.store)
    for text, number in (("actor:alice", 30), ("field:rare", 10), ("-has:actor", 0)):
        query = parse_query(text, 0)
        assert count_events(reader, query, rare.cut(), lambda _: columns) == Counted(number, number)
    assert reader.leaves_read == 0
    assert count_events(reader, query, rare.cut(), lambda _: columns, scan=True) == Counted(0, 0)
    assert reader.leaves_read > 3_000


def test_without_a_read_model_only_leaves_with_the_bytes_are_decoded(
    rare: LedgerInTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audit.replay import events as module

    decoded: list[int] = []

    def counting(log: int, index: int, leaf: bytes) -> Any:
        decoded.append(index)
        return trusted(log, index, leaf)

    trusted = module.trusted_record
    monkeypatch.setattr(module, "trusted_record", counting)
    assert len(list(events(rare.store, parse_query("actor:alice", 0), rare.cut()))) == 30
    assert len(decoded) == 30
    assert len(list(events(rare.store, parse_query("actor:alice", 0), rare.cut(), scan=True))) == 30
    assert len(decoded) > 3_000


def test_a_question_that_columns_do_not_help_asks_for_none(filled: LedgerInTest) -> None:
    def columns(_: Any) -> Any:
        raise AssertionError

    for text in ("", "recorded:>=2026-01-02", "log:1", "-log:0", "entity:user key:1", "id:e5"):
        list(events(filled.store, parse_query(text, 0), filled.cut(), columns=columns))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=QUERIES, newest_first=st.booleans(), size=st.none() | st.integers(0, 100))
def test_the_real_read_model_finds_what_the_plain_path_finds(
    filled: LedgerInTest, model: Any, text: str, newest_first: bool, size: int | None
) -> None:
    query = parse_query(text, filled.now_us)
    cut = filled.cut()
    if size is not None:
        cut = cut._replace(sizes={log: min(size, all_) for log, all_ in cut.sizes.items()})
    plain = list(events(filled.store, query, cut, newest_first, scan=True))
    assert list(events(filled.store, query, cut, newest_first, columns=lambda _: model)) == plain
    assert count_events(filled.store, query, cut, lambda _: model).number == len(plain)


@pytest.fixture(scope="module")
def model(filled: LedgerInTest) -> Any:
    from audit.replay.columnar.kept.model import open_read_model

    return open_read_model(filled.store, None)


def test_a_read_model_that_fails_hides_nothing(rare: LedgerInTest) -> None:
    class Broken:
        def events_parts(self, *_: Any) -> Any:
            raise StoreCorrupt("gone")

        parts = events_parts

    query = parse_query("actor:alice", 0)
    for newest_first in (True, False):
        found = events(rare.store, query, rare.cut(), newest_first, columns=lambda _: Broken())
        assert len(list(found)) == 30

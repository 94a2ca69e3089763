"""The query language: what terms say, and what is refused."""

import pytest

from audit.errors import InvalidInput, LimitExceeded
from audit.event.envelope import EVENT_SCHEMA_HASH, Event
from audit.event.row import Change
from audit.log.entry import NO_HASH, Entry, Kind
from audit.log.record import Record
from audit.replay.points import parse_time
from audit.replay.query import parse_query

NOW = parse_time("2026-01-10T12:00:00Z", 0)
RECORDED = parse_time("2026-01-05T10:00:00Z", 0)
EVENT = Event(
    "e1",
    "data.update",
    "crm",
    "user",
    "5",
    valid_time_us=parse_time("2026-01-02", 0),
    actor="alice smith",
    transaction_id="t1",
)
CHANGE = Change("patch", {"age": 1}, {"dpt": "ISR"})


def record(event: Event | None = EVENT, kind: Kind = Kind.EVENT, log: int = 0) -> Record:
    entry = Entry(7, RECORDED, NO_HASH, kind, EVENT_SCHEMA_HASH, None, None, None, b"")
    return Record(log, 7, b"", entry, event)


def matches(text: str, found: Record | None = None) -> bool:
    return parse_query(text, NOW).matches(found or record(), lambda _: CHANGE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n ",
        'actor:"alice smith"',
        "op:update",
        "op:create op:update",
        "entity:user key:5",
        "type:data.update",
        "field:dpt",
        "source:crm log:0 id:e1 transaction:t1",
        "id:crm:e1",
        "recorded:2026-01-05",
        "recorded:2026-01-05T10:00:00Z",
        "recorded:>=2026-01-05T10:00:00Z",
        "recorded:<=2026-01-05T10:00:00Z",
        "recorded:>2026-01-05 recorded:<2026-01-06",
        "recorded:>=-7d",
        "recorded:<now",
        "valid:2026-01-02",
        "valid:<2026-01-03",
        "-actor:bot",
        "-recorded:2026-01-06",
        "-op:delete -field:age",
        "kind:event",
        "kind:event kind:control",
    ],
)
def test_a_query_that_fits(text: str) -> None:
    assert matches(text)


@pytest.mark.parametrize(
    "text",
    [
        "actor:alice",
        "op:create",
        "op:create op:delete",
        "entity:user key:6",
        "type:prediction",
        "field:age",
        "source:erp",
        "log:1",
        "id:e2",
        "transaction:t2",
        "recorded:2026-01-06",
        "recorded:yesterday",
        "recorded:>2026-01-05T10:00:00Z",
        "recorded:<2026-01-05T10:00:00Z",
        "valid:2026-01-05",
        '-actor:"alice smith"',
        "-recorded:2026-01-05",
        "op:update -field:dpt",
        "kind:control",
        "kind:schema",
    ],
)
def test_a_query_that_does_not_fit(text: str) -> None:
    assert not matches(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('key:""', ""),
        (r'key:"a \"b\" \\ c"', 'a "b" \\ c'),
        ('key:["a",1]', '["a",1]'),
        ("key:a:b:c", "a:b:c"),
        ('key:"two\nlines"', "two\nlines"),
        ("key:'; DROP", "'; DROP"),
    ],
)
def test_values_may_hold_anything(text: str, value: str) -> None:
    query = parse_query(text if value != "'; DROP" else 'key:"\'; DROP"', NOW)
    assert query.wanted == {"key": frozenset((value,))}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("actr:alice", "did you mean actor:"),
        ("alice", "is no QUALIFIER:VALUE"),
        ("user/5", "entity:user key:5"),
        ("op:updaet", "op:updaet is none of"),
        ("kind:x", "kind:x is none of"),
        ("log:x", "no log's number"),
        ("log:-1", "no log's number"),
        ("key:", "no value"),
        ("recorded:>=", "no time"),
        ("recorded:soon", "no time"),
        ("recorded:-7d", "recorded:>=-7d"),
        ("recorded:2026-02-30", "2026-02-30"),
        ('actor:"alice', "quote"),
        ('actor:"alice"bob', "quote"),
        (r'actor:"a\n"', "quote"),
    ],
)
def test_what_is_no_query_is_refused_in_a_line_that_helps(text: str, word: str) -> None:
    with pytest.raises(InvalidInput, match=word.replace("(", r"\(")):
        parse_query(text, NOW)


def test_a_query_has_limits() -> None:
    with pytest.raises(LimitExceeded):
        parse_query("a" * 100_001, NOW)
    with pytest.raises(LimitExceeded):
        parse_query("op:create " * 1_001, NOW)


@pytest.mark.parametrize(
    ("found", "sort"),
    [
        (record(), "event"),
        (record(Event("s", "schema", "audit.schema")), "schema"),
        (record(Event("o", "log.opened", "audit"), Kind.CONTROL), "control"),
        (record(None, Kind.QUARANTINED), "quarantined"),
    ],
)
def test_what_applications_did_not_say_is_hidden_until_asked_for(found: Record, sort: str) -> None:
    assert matches("", found) == (sort == "event")
    assert matches(f"kind:{sort}", found)
    assert matches("-kind:event", found) is False
    others = {"event", "schema", "control", "quarantined"} - {sort}
    assert not any(matches(f"kind:{other}", found) for other in others)


def test_asking_for_a_type_shows_entries_of_the_log_itself() -> None:
    assert matches("type:log.opened", record(Event("o", "log.opened", "audit"), Kind.CONTROL))


def test_an_event_without_valid_time_is_valid_from_its_recorded_time() -> None:
    assert matches("valid:2026-01-05", record(EVENT._replace(valid_time_us=None)))


def test_a_payload_that_cannot_be_read_has_no_fields() -> None:
    query = parse_query("field:dpt", NOW)
    assert not query.matches(record(), lambda _: None)


def test_bounds_are_pushed_down() -> None:
    query = parse_query("recorded:>=2026-01-01 recorded:<2026-01-03 log:1 log:2", NOW)
    day_us = 86_400_000_000
    assert query.recorded.last_us - query.recorded.first_us == 2 * day_us - 1
    assert query.logs == {1, 2}
    assert parse_query("", NOW).logs is None
    assert parse_query("kind:control kind:quarantined", NOW).only_special
    assert parse_query("type:schema", NOW).only_special
    assert not parse_query("type:schema type:prediction", NOW).only_special

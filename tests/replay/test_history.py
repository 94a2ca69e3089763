"""History, blame and differences, in words a user would use."""

import json

import pytest

from audit.errors import InvalidInput, NotFound
from audit.replay.blame import blame
from audit.replay.diff import diff, diff_row
from audit.replay.fold import ABSENT
from audit.replay.history import flagged, history
from audit.replay.refs import parse_ref
from tests.replay.conftest import LedgerInTest, us

USER = parse_ref("user/5")


@pytest.fixture
def story(ledger: LedgerInTest) -> LedgerInTest:
    """createUser(5, Christian, SCS), updateUser(5, ISR), deleteUser(5)."""
    ledger.emit("create", 5, {"name": "Christian", "dpt": "SCS"}, at="2026-01-02", actor="alice")
    ledger.emit("update", 5, {"dpt": "ISR"}, at="2026-01-03", actor="bob", reason="ticket 4711")
    ledger.emit("delete", 5, at="2026-01-04", actor="carol", before={"dpt": "ISR"})
    return ledger


def test_all_versions_of_a_row(story: LedgerInTest) -> None:
    versions = history(story.store, USER, story.cut())
    assert [(v.op, v.actor, v.reason) for v in versions] == [
        ("create", "alice", None),
        ("update", "bob", "ticket 4711"),
        ("delete", "carol", None),
    ]
    assert [v.changed for v in versions] == [
        {"dpt": (ABSENT, "SCS"), "name": (ABSENT, "Christian")},
        {"dpt": ("SCS", "ISR")},
        {"dpt": ("ISR", ABSENT), "name": ("Christian", ABSENT)},
    ]
    assert [v.row for v in versions] == [
        {"name": "Christian", "dpt": "SCS"},
        {"name": "Christian", "dpt": "ISR"},
        None,
    ]
    assert flagged(versions) == []
    assert [v.recorded_time_us for v in versions] == [us(f"2026-01-0{day}") for day in (2, 3, 4)]


def test_a_version_as_json(story: LedgerInTest) -> None:
    version = history(story.store, USER, story.cut())[1].to_dict()
    assert json.loads(json.dumps(version)) == version
    assert version["changed"] == {"dpt": {"old": "SCS", "new": "ISR"}}
    assert version["recorded_time"] == "2026-01-03T00:00:00.000000Z"
    assert version["row"] == {"name": "Christian", "dpt": "ISR"}
    first = history(story.store, USER, story.cut())[0].to_dict()
    assert first["changed"]["dpt"] == {"new": "SCS"}


def test_history_at_an_earlier_point_ends_there(story: LedgerInTest) -> None:
    assert [v.op for v in history(story.store, USER, story.cut("2026-01-03"))] == [
        "create",
        "update",
    ]


def test_a_superseded_version_names_what_took_it_out(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1}, at="2026-01-02")
    ledger.emit("update", 5, {"a": 2}, at="2026-01-03", event_id="bad")
    place = ledger.emit("update", 5, {"b": 1}, at="2026-01-04", supersedes="bad")
    versions = history(ledger.store, USER, ledger.cut())
    assert [v.superseded_by for v in versions] == [None, place, None]
    assert versions[2].changed == {"a": (2, 1), "b": (ABSENT, 1)}
    early = history(ledger.store, USER, ledger.cut("2026-01-03"))
    assert [v.superseded_by for v in early] == [None, None]
    assert versions[1].row == early[1].row == {"a": 2}


def test_a_long_chain_of_corrections_is_read_in_linear_time(ledger: LedgerInTest) -> None:
    count = 2_000
    made = [ledger.event("create", 5, {"a": -1}, event_id="c0")]
    made += [
        ledger.event("update", 5, {"a": n}, event_id=f"c{n}", supersedes=f"c{n - 1}")
        for n in range(1, count)
    ]
    ledger.seal([event for event, _ in made], made[0][1])
    assert ledger.row("user/5") == {"a": count - 1}
    versions = history(ledger.store, USER, ledger.cut())
    assert [v.row for v in versions[-2:]] == [{"a": count - 2}, {"a": count - 1}]
    assert sum(v.superseded_by is not None for v in versions) == count - 1


def test_history_of_records(ledger: LedgerInTest) -> None:
    run = {"entity_type": "run", "entity_key": "r1"}
    ledger.record("component.run", {"status": "START"}, **run)
    ledger.record("component.run", {"status": "COMPLETE", "rows": 3}, **run)
    versions = history(ledger.store, parse_ref("run/r1"), ledger.cut())
    assert [v.op for v in versions] == ["component.run", "component.run"]
    assert [v.row for v in versions] == [{"status": "START"}, {"status": "COMPLETE", "rows": 3}]
    with pytest.raises(NotFound):
        history(ledger.store, parse_ref("run/r2"), ledger.cut())


def test_history_of_a_prediction_is_found_by_its_event_id(ledger: LedgerInTest) -> None:
    about = {"entity_type": "prediction", "entity_key": "003"}
    ledger.record("ground_truth", {"label": 1}, event_id="p1", **about)
    ledger.record("ground_truth", {"label": 2}, event_id="p2", **about)
    place = ledger.record("ground_truth", {"label": 0}, event_id="p3", supersedes="p1", **about)
    versions = history(ledger.store, parse_ref("prediction/p1"), ledger.cut())
    assert [v.event_id for v in versions] == ["p1", "p3"]
    assert versions[0].superseded_by == place
    with pytest.raises(NotFound):
        history(ledger.store, parse_ref("prediction/p9"), ledger.cut())


def test_who_set_each_field(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"name": "Christian", "dpt": "SCS"}, at="2026-01-02", actor="alice")
    ledger.emit("update", 5, {"dpt": "ISR"}, at="2026-01-03", actor="bob", reason="moved")
    ledger.emit("update", 5, {"name": "Christian", "dpt": "ISR"}, image="full", actor="sync")
    fields = blame(ledger.store, USER, ledger.cut()).fields
    assert [(f.field, f.value, f.said.actor, f.said.reason) for f in fields] == [
        ("dpt", "ISR", "bob", "moved"),
        ("name", "Christian", "alice", None),
    ]
    early = blame(ledger.store, USER, ledger.cut("2026-01-02")).fields
    assert [f.said.actor for f in early] == ["alice", "alice"]


def test_blame_on_the_valid_axis(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1}, valid="2025-01-01", actor="alice")
    ledger.emit("update", 5, {"a": 3}, valid="2025-03-01", actor="carol")
    ledger.emit("update", 5, {"a": 2}, valid="2025-02-01", actor="bob")

    def actors(valid_at: str) -> list[str | None]:
        found = blame(ledger.store, USER, ledger.cut(), us(valid_at))
        return [field.said.actor for field in found.fields]

    assert [actors(f"2025-0{month}-15") for month in (1, 2, 3)] == [["alice"], ["bob"], ["carol"]]
    assert actors("2024-01-01") == []


def test_blame_of_a_row_that_is_gone_says_who_took_it_away(story: LedgerInTest) -> None:
    found = blame(story.store, USER, story.cut())
    assert found.fields == ()
    assert found.gone is not None
    assert (found.gone.op, found.gone.actor) == ("delete", "carol")
    assert json.dumps(found.to_dict())


def test_blame_forgets_what_was_before_a_delete(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1}, actor="alice")
    ledger.emit("delete", 5)
    ledger.emit("create", 5, {"a": 1}, actor="bob")
    assert [f.said.actor for f in blame(ledger.store, USER, ledger.cut()).fields] == ["bob"]


def test_blame_is_for_rows_that_were_recorded(story: LedgerInTest) -> None:
    with pytest.raises(InvalidInput, match="no row"):
        blame(story.store, parse_ref("run/r1"), story.cut())
    with pytest.raises(NotFound):
        blame(story.store, parse_ref("user/6"), story.cut())
    assert blame(story.store, USER, story.cut("2026-01-01")).gone is None


def test_differences_cover_what_is_after_the_first_point_up_to_the_second(
    ledger: LedgerInTest,
) -> None:
    for day in (2, 3, 4):
        ledger.emit("create", day, {"n": day}, at=f"2026-01-0{day}")
    ledger.emit("update", 2, {"n": 0, "m": None}, at="2026-01-05")
    ledger.emit("delete", 3, at="2026-01-05")
    changes = list(diff(ledger.store, "user", ledger.cut("2026-01-03"), ledger.cut("2026-01-05")))
    assert [(c.entity_key, c.kind) for c in changes] == [("2", "changed"), ("4", "added")]
    changes = list(diff(ledger.store, "user", ledger.cut("2026-01-03"), ledger.cut()))
    assert [(c.entity_key, c.kind, c.fields) for c in changes] == [
        ("2", "changed", {"m": (ABSENT, None), "n": (2, 0)}),
        ("3", "removed", {"n": (3, ABSENT)}),
        ("4", "added", {"n": (ABSENT, 4)}),
    ]
    assert changes[0].to_dict()["fields"] == {"m": {"new": None}, "n": {"old": 2, "new": 0}}
    back = list(diff(ledger.store, "user", ledger.cut(), ledger.cut("2026-01-03")))
    assert [(c.entity_key, c.kind) for c in back] == [
        ("2", "changed"),
        ("3", "added"),
        ("4", "removed"),
    ]


def test_a_change_that_was_taken_back_is_no_difference(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1}, at="2026-01-02")
    ledger.emit("update", 5, {"a": 2}, at="2026-01-03")
    ledger.emit("update", 5, {"a": 1}, at="2026-01-04")
    points = ledger.cut("2026-01-02"), ledger.cut("2026-01-04")
    assert list(diff(ledger.store, "user", *points)) == []
    assert diff_row(ledger.store, USER, *points) is None
    with pytest.raises(NotFound):
        diff_row(ledger.store, parse_ref("user/6"), *points)


def test_differences_between_valid_times(ledger: LedgerInTest) -> None:
    ledger.emit("create", 1, {"n": 1}, valid="2025-01-01")
    ledger.emit("create", 2, {"n": 2}, valid="2025-02-01")
    head = ledger.cut()
    changes = list(diff(ledger.store, "user", head, head, us("2025-01-15"), us("2025-02-15")))
    assert [(c.entity_key, c.kind) for c in changes] == [("2", "added")]


def test_many_touched_keys_give_the_same_differences(ledger: LedgerInTest) -> None:
    made = [ledger.event("create", n, {"n": n}) for n in range(400)]
    ledger.seal([event for event, _ in made], made[0][1], at="2026-01-02")
    made = [ledger.event("update", n, {"n": -n}) for n in range(0, 400, 2)]
    made += [ledger.event("delete", n) for n in range(1, 400, 4)]
    ledger.seal([event for event, _ in made], at="2026-01-03")
    points = ledger.cut("2026-01-02T12:00:00Z"), ledger.cut()
    changes = list(diff(ledger.store, "user", *points))
    assert len([c for c in changes if c.kind == "removed"]) == 100
    assert len([c for c in changes if c.kind == "changed"]) == 199
    keys = [c.entity_key for c in changes]
    assert keys == sorted(keys)


def test_a_schema_in_between_makes_rows_readable_that_were_not(ledger: LedgerInTest) -> None:
    from audit.event.build import schema_event

    ledger.emit("create", 5, {"a": 1}, at="2026-01-02", schemas=False)
    _, schemas = ledger.event("update", 6, {"b": 1})
    ledger.seal([schema_event(schemas[0])], at="2026-01-03")
    changes = list(diff(ledger.store, "user", ledger.cut("2026-01-02"), ledger.cut()))
    assert [(c.entity_key, c.before, c.after) for c in changes] == [("5", {}, {"a": 1})]

"""What an event does to a row, and what is odd about one that does not fit."""

import unicodedata

import pytest

from audit.errors import LimitExceeded, NotFound
from audit.event.build import schema_event
from audit.event.envelope import Encryption
from audit.replay.asof import dataset
from audit.replay.asof import row as row_at
from audit.replay.events import events
from audit.replay.fold import ABSENT, UNAVAILABLE, Flag
from audit.replay.history import history
from audit.replay.lint import lookalikes, odd_events
from audit.replay.query import parse_query
from audit.replay.refs import Ref, parse_ref
from audit.store.contract import Status
from tests.replay.conftest import LedgerInTest


def flags(ledger: LedgerInTest, ref: str = "user/5") -> list[list[str]]:
    """The flags of each version of a row."""
    found = history(ledger.store, parse_ref(ref), ledger.cut())
    return [[str(flag) for flag in version.flags] for version in found]


def test_create_update_delete(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"name": "Christian", "dpt": "SCS"}, at="2026-01-02")
    ledger.emit("update", 5, {"dpt": "ISR"}, at="2026-01-03")
    ledger.emit("delete", 5, at="2026-01-04")
    assert ledger.row("user/5", "2026-01-02") == {"name": "Christian", "dpt": "SCS"}
    assert ledger.row("user/5", "2026-01-03") == {"name": "Christian", "dpt": "ISR"}
    assert ledger.row("user/5", "2026-01-04") is None
    assert flags(ledger) == [[], [], []]


def test_an_update_with_a_full_image_takes_away_what_it_does_not_hold(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1, "b": 2})
    ledger.emit("update", 5, {"b": 3}, image="full")
    assert ledger.row("user/5") == {"b": 3}


def test_null_is_a_value_and_absent_is_unchanged(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1, "b": None})
    ledger.emit("update", 5, {"a": None})
    ledger.emit("update", 5, {"c": 1})
    assert ledger.row("user/5") == {"a": None, "b": None, "c": 1}


def test_a_delete_of_what_is_not_there_is_flagged(ledger: LedgerInTest) -> None:
    ledger.emit("delete", 5)
    assert ledger.row("user/5") is None
    assert flags(ledger) == [["delete_of_unknown"]]


def test_a_second_create_replaces_the_row_and_is_flagged(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1, "b": 2})
    ledger.emit("create", 5, {"a": 3})
    assert ledger.row("user/5") == {"a": 3}
    assert flags(ledger) == [[], ["double_create"]]


def test_a_second_delete_is_flagged(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1})
    ledger.emit("delete", 5)
    ledger.emit("delete", 5)
    assert flags(ledger) == [[], [], ["delete_of_unknown"]]


def test_an_update_after_delete_makes_a_partial_row_and_is_flagged(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1, "b": 2})
    ledger.emit("delete", 5)
    ledger.emit("update", 5, {"b": 3})
    assert ledger.row("user/5") == {"b": 3}
    assert flags(ledger) == [[], [], ["update_of_unknown"]]


def test_a_patch_before_its_create(ledger: LedgerInTest) -> None:
    ledger.emit("update", 5, {"b": 3}, at="2026-01-02", valid="2025-06-01")
    assert ledger.row("user/5") == {"b": 3}
    ledger.emit("create", 5, {"a": 1, "b": 2}, at="2026-01-03", valid="2025-01-01")
    assert ledger.row("user/5") == {"a": 1, "b": 2}
    assert ledger.row("user/5", "HEAD", "2025-12-31") == {"a": 1, "b": 3}
    assert flags(ledger) == [["update_of_unknown"], ["double_create"]]


def test_the_same_bytes_again_are_dropped(ledger: LedgerInTest) -> None:
    event, schemas = ledger.event("create", 5, {"a": 1}, event_id="x")
    first = ledger.append([event], schemas)
    again = ledger.append([event])
    assert (first[0].status, again[0].status) == (Status.SEALED, Status.DUPLICATE)
    assert first[0].index == again[0].index
    assert flags(ledger) == [[]]


def test_the_same_id_with_other_bytes_is_quarantined_and_never_folded(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1}, event_id="x")
    other, _ = ledger.event("update", 5, {"a": 2}, event_id="x")
    assert [outcome.status for outcome in ledger.append([other])] == [Status.CONFLICT]
    assert ledger.row("user/5") == {"a": 1}
    assert ledger.rows() == {"5": {"a": 1}}
    found = list(events(ledger.store, parse_query("kind:quarantined", 0), ledger.cut()))
    assert [(record.entry.reason or "").split(":")[0] for record in found] == ["EVENT_ID_CONFLICT"]


def test_the_same_id_of_two_sources_is_two_events(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1}, event_id="x", source="crm")
    ledger.emit("update", 5, {"b": 2}, event_id="x", source="erp")
    assert ledger.row("user/5") == {"a": 1, "b": 2}


def test_superseding_an_id_of_two_sources_means_the_own_one(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1}, event_id="x", source="crm")
    ledger.emit("update", 5, {"b": 2}, event_id="x", source="erp")
    ledger.emit("update", 5, {"c": 3}, source="erp", supersedes="x")
    assert ledger.row("user/5") == {"a": 1, "c": 3}
    assert ledger.rows() == {"5": {"a": 1, "c": 3}}


def test_superseding_what_cannot_be_told_apart_is_flagged(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1}, event_id="x", source="crm")
    ledger.emit("update", 5, {"b": 2}, event_id="x", source="erp")
    ledger.emit("update", 5, {"c": 3}, source="third", supersedes="x")
    assert ledger.row("user/5") == {"a": 1, "b": 2, "c": 3}
    assert flags(ledger) == [[], [], ["supersedes_unknown"]]


@pytest.mark.parametrize("named", ["later", "other-key", "nothing"])
def test_superseding_what_is_no_earlier_event_of_the_key_does_nothing(
    ledger: LedgerInTest, named: str
) -> None:
    ledger.emit("create", 6, {"a": 0}, event_id="other-key")
    ledger.emit("create", 5, {"a": 1})
    ledger.emit("update", 5, {"b": 2}, supersedes=named)
    ledger.emit("update", 5, {"c": 3}, event_id="later")
    assert ledger.rows() == {"5": {"a": 1, "b": 2, "c": 3}, "6": {"a": 0}}
    assert flags(ledger) == [[], ["supersedes_unknown"], []]


def test_superseding_in_another_log_does_nothing(ledger: LedgerInTest) -> None:
    ledger.open_log(1)
    ledger.emit("create", 5, {"a": 1}, event_id="x", at="2026-01-02")
    ledger.emit("update", 5, {"b": 2}, supersedes="x", at="2026-01-03", log=1)
    assert ledger.row("user/5") == {"a": 1, "b": 2}


def test_truncate_then_create(ledger: LedgerInTest) -> None:
    ledger.emit("create", 1, {"n": 1}, at="2026-01-02")
    ledger.emit("create", 2, {"n": 2}, at="2026-01-03")
    ledger.emit("create", 1, {"n": 9}, entity="other", at="2026-01-03")
    ledger.emit("truncate", None, at="2026-01-04")
    ledger.emit("create", 2, {"m": 3}, at="2026-01-05")
    assert ledger.rows("2026-01-03") == {"1": {"n": 1}, "2": {"n": 2}}
    assert ledger.rows("2026-01-04") == {}
    assert ledger.rows() == {"2": {"m": 3}}
    assert ledger.rows(entity="other") == {"1": {"n": 9}}
    assert ledger.row("user/1") is None
    assert ledger.row("user/2") == {"m": 3}
    assert flags(ledger, "user/2") == [[], [], []]
    ops = [v.op for v in history(ledger.store, parse_ref("user/1"), ledger.cut())]
    assert ops == ["create", "truncate"]


def test_a_truncate_takes_what_its_own_log_knows(ledger: LedgerInTest) -> None:
    ledger.open_log(1)
    ledger.emit("create", "a", {"n": 1}, at="2026-01-02", log=0)
    ledger.emit("create", "b", {"n": 2}, at="2026-01-02", log=1)
    ledger.emit("update", "b", {"n": 3}, at="2026-01-03", log=0)
    ledger.emit("create", "c", {"n": 4}, at="2026-01-03", log=1)
    ledger.emit("truncate", None, at="2026-01-04", log=0)
    assert ledger.rows() == {"c": {"n": 4}}
    assert [ledger.row(f"user/{key}") for key in "abc"] == [None, None, {"n": 4}]


def test_a_superseded_truncate_never_was(ledger: LedgerInTest) -> None:
    ledger.emit("create", 1, {"n": 1})
    ledger.emit("truncate", None, event_id="oops")
    ledger.emit("create", 2, {"n": 2})
    ledger.emit("truncate", None, supersedes="oops", event_id="really")
    assert ledger.rows() == {}
    ledger.emit("create", 3, {"n": 3})
    assert ledger.rows() == {"3": {"n": 3}}
    assert ledger.row("user/1", ledger.cut().size(0) - 2) is None


def test_a_key_change_is_a_delete_and_a_create_in_one_transaction(ledger: LedgerInTest) -> None:
    ledger.emit("create", "old", {"n": 1}, at="2026-01-02")
    made = [
        ledger.event("delete", "old", before={"n": 1}, transaction_id="move"),
        ledger.event("create", "new", {"n": 1}, transaction_id="move"),
    ]
    ledger.seal([event for event, _ in made], at="2026-01-03")
    assert ledger.rows("2026-01-02") == {"old": {"n": 1}}
    assert ledger.rows() == {"new": {"n": 1}}


STRANGE_KEYS = [
    '["a",1]',
    "",
    "k" * 1024,
    unicodedata.normalize("NFC", "é"),
    unicodedata.normalize("NFD", "é"),
    "it's",
    'say "x"',
    "two\nlines\r\n",
    "\x00\x01\x1f\x7f",
    "'; DROP TABLE entries; --",
    "1",
    "01",
    "1.0",
    "a/b",
    " ",
    "\u2028",
    "😀",
    "\uffff",
]


def test_keys_are_compared_byte_by_byte(ledger: LedgerInTest) -> None:
    made = [ledger.event("create", key, {"n": n}) for n, key in enumerate(STRANGE_KEYS)]
    ledger.seal([event for event, _ in made], made[0][1])
    expected = sorted(STRANGE_KEYS, key=lambda key: key.encode())
    rows = ledger.rows()
    assert list(rows) == expected
    assert {key: row["n"] for key, row in rows.items()} == {
        k: n for n, k in enumerate(STRANGE_KEYS)
    }
    assert list(ledger.rows(rows_in_memory=0)) == expected
    for number, key in enumerate(STRANGE_KEYS):
        assert row_at(ledger.store, Ref("user", key), ledger.cut()).row == {"n": number}


def test_composite_keys_are_compact_json(ledger: LedgerInTest) -> None:
    ledger.emit("create", ["a", 1], {"n": 1})
    ledger.emit("update", '["a",1]', {"m": 2})
    assert ledger.rows() == {'["a",1]': {"n": 1, "m": 2}}


def test_a_key_over_1024_bytes_is_refused(ledger: LedgerInTest) -> None:
    with pytest.raises(LimitExceeded):
        ledger.emit("create", "k" * 1025, {"n": 1})


def test_look_alike_keys_are_listed_and_not_merged(ledger: LedgerInTest) -> None:
    keys = ["1", "01", "1.0", "é", "e\u0301", "Bob", "bob ", "two", "2", "x"]
    made = [ledger.event("create", key, {"n": 1}) for key in keys]
    ledger.seal([event for event, _ in made], made[0][1])
    assert set(lookalikes(ledger.store, "user", ledger.cut())) == {
        ("01", "1", "1.0"),
        ("e\u0301", "é"),
        ("Bob", "bob "),
    }
    assert len(ledger.rows()) == len(keys)


def test_a_before_image_that_does_not_match_is_drift(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1, "b": 1})
    ledger.emit("update", 5, {"a": 2}, before={"a": 1})
    ledger.emit("update", 5, {"a": 4}, before={"a": 3, "b": 1, "c": 7})
    ledger.emit("delete", 5, before={"a": 4})
    versions = history(ledger.store, parse_ref("user/5"), ledger.cut())
    assert [version.flags for version in versions] == [(), (), (Flag.DRIFT,), ()]
    assert versions[2].drift == {"a": (2, 3), "c": (ABSENT, 7)}
    odd = list(odd_events(ledger.store, "user", ledger.cut()))
    assert [(o.flag, o.entity_key, o.position[1]) for o in odd] == [
        (Flag.DRIFT, "5", versions[2].index)
    ]
    assert "before differs in a, c" in odd[0].message


def test_a_null_before_a_field_that_was_never_set_is_no_drift(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1})
    ledger.emit("update", 5, {"b": 1}, before={"b": None})
    assert flags(ledger) == [[], []]


@pytest.mark.parametrize(
    ("held", "said"), [(1, 1.0), (0.0, -0.0), (1, True), ("1", 1), (None, 0), ([1], [1.0])]
)
def test_drift_is_told_by_exact_values(ledger: LedgerInTest, held: object, said: object) -> None:
    ledger.emit("create", 5, {"a": held})
    ledger.emit("update", 5, {"a": held}, before={"a": held})
    ledger.emit("update", 5, {"a": held}, before={"a": said})
    assert flags(ledger) == [[], [], ["drift"]]


def test_not_a_number_is_no_drift_from_itself(ledger: LedgerInTest) -> None:
    nan = float("nan")
    ledger.emit("create", 5, {"a": nan, "l": [nan]})
    ledger.emit("update", 5, {"a": 1}, before={"a": nan, "l": [nan]})
    assert flags(ledger) == [[], []]


def test_a_correction_may_give_the_row_before_with_or_without_what_it_corrects(
    ledger: LedgerInTest,
) -> None:
    for key, said in ((1, 9), (2, 1), (3, 5)):
        ledger.emit("create", key, {"a": 1})
        ledger.emit("update", key, {"a": 9}, event_id=f"bad{key}")
        ledger.emit("update", key, {"a": 2}, before={"a": said}, supersedes=f"bad{key}")
    assert flags(ledger, "user/1")[2] == []
    assert flags(ledger, "user/2")[2] == []
    assert flags(ledger, "user/3")[2] == ["drift"]


def test_flags_do_not_change_when_an_event_is_superseded_later(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1})
    ledger.emit("update", 5, {"a": 2}, event_id="x", before={"a": 1})
    ledger.emit("update", 5, {"a": 3}, before={"a": 2})
    before = flags(ledger)
    ledger.emit("update", 5, {"b": 1}, supersedes="x")
    assert flags(ledger) == [*before, []]
    assert before == [[], [], []]


@pytest.mark.parametrize("placeholder", [UNAVAILABLE, UNAVAILABLE.encode()])
def test_debeziums_placeholder_means_unchanged(ledger: LedgerInTest, placeholder: object) -> None:
    ledger.emit("create", 5, {"a": 1, "toast": placeholder})
    assert ledger.row("user/5") == {"a": 1}
    ledger.emit("update", 5, {"toast": "long"})
    ledger.emit("update", 5, {"a": 2, "toast": placeholder}, image="full")
    ledger.emit("update", 5, {"toast": placeholder}, before={"toast": placeholder})
    assert ledger.row("user/5") == {"a": 2, "toast": "long"}
    assert flags(ledger) == [[], [], [], []]


def test_a_payload_without_its_schema_is_undecodable_until_the_schema_comes(
    ledger: LedgerInTest,
) -> None:
    ledger.emit("create", 5, {"a": 1}, at="2026-01-02", schemas=False)
    event, schemas = ledger.event("update", 6, {"b": 1})
    found = dataset(ledger.store, "user", ledger.cut())
    assert list(found.rows()) == [("5", {})]
    assert found.undecodable == 1
    assert flags(ledger) == [["undecodable"]]
    before = ledger.rows("2026-01-02")
    ledger.now_us += 1
    ledger.seal([schema_event(schemas[0]), event])
    assert ledger.rows() == {"5": {"a": 1}, "6": {"b": 1}}
    assert flags(ledger) == [[]]
    assert ledger.rows("2026-01-02") == before


def test_an_encrypted_event_shows_as_undecodable(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1})
    event, _ = ledger.event("update", 5, {"secret": 1})
    sealed = event._replace(payload=b"\x00" * 40, encryption=Encryption("subject-5", b"n" * 12))
    ledger.seal([sealed])
    ledger.emit("update", 5, {"b": 2}, before={"secret": 5})
    assert ledger.row("user/5") == {"a": 1, "b": 2}
    versions = history(ledger.store, parse_ref("user/5"), ledger.cut())
    assert [version.flags for version in versions] == [(), (Flag.UNDECODABLE,), ()]
    assert "encrypted" in (versions[1].problem or "")
    assert row_at(ledger.store, parse_ref("user/5"), ledger.cut()).undecodable == 1


def test_an_undecodable_delete_still_deletes(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1})
    event, _ = ledger.event("delete", 5, before={"a": 1})
    ledger.seal([event._replace(payload=b"\xff\xff")])
    assert ledger.row("user/5") is None
    assert flags(ledger)[1] == ["undecodable"]


def test_an_unknown_dataset_is_an_error_that_lists_the_known_ones(ledger: LedgerInTest) -> None:
    with pytest.raises(NotFound, match="none yet"):
        ledger.rows()
    ledger.emit("create", 5, {"a": 1})
    ledger.emit("create", 1, {"a": 1}, entity="order")
    with pytest.raises(NotFound, match="this ledger has order, user"):
        ledger.rows(entity="usr")
    with pytest.raises(NotFound, match="order, user"):
        ledger.row("usr/5")


def test_a_key_that_was_never_recorded_is_an_error_and_a_later_one_is_none(
    ledger: LedgerInTest,
) -> None:
    ledger.emit("create", 5, {"a": 1}, at="2026-01-05")
    assert ledger.row("user/5", "2026-01-04") is None
    assert history(ledger.store, parse_ref("user/5"), ledger.cut("2026-01-04")) == []
    with pytest.raises(NotFound, match="user/6"):
        ledger.row("user/6")
    with pytest.raises(NotFound, match="user/6"):
        history(ledger.store, parse_ref("user/6"), ledger.cut())


def test_records_about_an_entity_do_not_change_its_row(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1})
    ledger.record("review", {"verdict": "wrong"}, entity_type="user", entity_key="5")
    assert ledger.rows() == {"5": {"a": 1}}
    assert [v.op for v in history(ledger.store, parse_ref("user/5"), ledger.cut())] == ["create"]

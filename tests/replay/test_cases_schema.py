"""Schemas that change over time: add, remove, rename, widen across an as-of."""

from typing import Any

import pytest

from audit.event.row import Change
from audit.replay.asof import dataset
from audit.replay.blame import blame
from audit.replay.columns import ColumnMode
from audit.replay.diff import diff
from audit.replay.history import history
from audit.replay.refs import parse_ref
from tests.replay.conftest import LedgerInTest

USER = parse_ref("user/1")


def schema(*fields: dict[str, Any], name: str = "User") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def column(name: str, kind: Any = "string", aliases: list[str] | None = None) -> dict[str, Any]:
    field: dict[str, Any] = {"name": name, "type": ["null", kind]}
    if aliases:
        field["aliases"] = aliases
    return field


FIRST = schema(column("name"), column("dpt"), column("age", "int"))
RENAMED = schema(column("name"), column("department", aliases=["dpt"]), column("age", "long"))
REMOVED = schema(column("name"), column("unit", aliases=["department"]), column("mail"))


@pytest.fixture
def changing(ledger: LedgerInTest) -> LedgerInTest:
    """Three versions of a declared schema, a day each, a row each."""
    ledger.emit("create", 1, {"name": "a", "dpt": "SCS", "age": 1}, declared=FIRST, at="2026-01-02")
    ledger.emit(
        "create",
        2,
        {"name": "b", "department": "ISR", "age": 2**40},
        declared=RENAMED,
        at="2026-01-03",
    )
    ledger.emit(
        "create",
        3,
        {"name": "c", "unit": "HQ", "mail": "m"},
        declared=REMOVED,
        at="2026-01-05",
    )
    return ledger


def columns(ledger: LedgerInTest, as_of: str, mode: ColumnMode) -> tuple[str, ...]:
    return dataset(ledger.store, "user", ledger.cut(as_of), mode=mode).columns


def test_columns_as_of_then_latest_and_their_union(changing: LedgerInTest) -> None:
    first, head = "2026-01-02", "HEAD"
    assert columns(changing, first, ColumnMode.UNION) == ("age", "dpt", "name")
    assert columns(changing, first, ColumnMode.THEN) == ("age", "dpt", "name")
    assert columns(changing, first, ColumnMode.LATEST) == ("mail", "name", "unit")
    assert columns(changing, head, ColumnMode.THEN) == ("mail", "name", "unit")
    assert columns(changing, head, ColumnMode.UNION) == ("age", "mail", "name", "unit")


def test_a_renamed_field_shows_under_its_name_at_the_point(changing: LedgerInTest) -> None:
    assert changing.rows("2026-01-02") == {"1": {"name": "a", "dpt": "SCS", "age": 1}}
    assert changing.rows("2026-01-04") == {
        "1": {"name": "a", "department": "SCS", "age": 1},
        "2": {"name": "b", "department": "ISR", "age": 2**40},
    }
    assert changing.rows("HEAD") == {
        "1": {"name": "a", "unit": "SCS", "age": 1},
        "2": {"name": "b", "unit": "ISR", "age": 2**40},
        "3": {"name": "c", "unit": "HQ", "mail": "m"},
    }
    assert changing.rows("2026-01-02", mode=ColumnMode.LATEST) == {
        "1": {"name": "a", "unit": "SCS"}
    }
    for key in "123":
        assert changing.row(f"user/{key}") == changing.rows()[key]


def test_a_removed_column_stays_readable(changing: LedgerInTest) -> None:
    assert changing.rows("HEAD")["2"]["age"] == 2**40
    assert "age" not in changing.rows("HEAD", mode=ColumnMode.THEN)["2"]


def test_an_earlier_answer_does_not_change_with_the_schema(ledger: LedgerInTest) -> None:
    row = {"name": "a", "dpt": "SCS", "age": 1}
    ledger.emit("create", 1, row, declared=FIRST, at="2026-01-02")
    before = ledger.rows("2026-01-02"), columns(ledger, "2026-01-02", ColumnMode.UNION)
    ledger.emit("create", 2, {"name": "b", "department": "X", "age": 2}, declared=RENAMED)
    after = ledger.rows("2026-01-02"), columns(ledger, "2026-01-02", ColumnMode.UNION)
    assert before == after == ({"1": row}, ("age", "dpt", "name"))


def test_patches_fold_across_a_rename(changing: LedgerInTest) -> None:
    changing.emit("update", 1, {"unit": "NEW"}, declared=REMOVED, before={"unit": "SCS"})
    assert changing.row("user/1") == {"name": "a", "unit": "NEW", "age": 1}
    changing.emit("update", 1, {"dpt": "OLD"}, declared=FIRST)
    assert changing.row("user/1") == {"name": "a", "unit": "OLD", "age": 1}
    assert changing.rows()["1"] == changing.row("user/1")
    versions = history(changing.store, USER, changing.cut())
    assert [version.flags for version in versions] == [(), (), ()]
    blamed = {
        field.field: field.said.index for field in blame(changing.store, USER, changing.cut())[0]
    }
    assert blamed["unit"] == versions[2].index
    assert blamed["name"] == versions[0].index


def test_a_row_of_patches_alone_is_named_as_the_dataset_is(changing: LedgerInTest) -> None:
    changing.emit("update", 9, {"dpt": "X"})
    assert changing.row("user/9") == {"unit": "X"} == changing.rows()["9"]


def test_a_rename_is_no_difference(changing: LedgerInTest) -> None:
    points = changing.cut("2026-01-02"), changing.cut("2026-01-04")
    changes = list(diff(changing.store, "user", *points))
    assert [(change.entity_key, change.kind) for change in changes] == [("2", "added")]


def test_an_old_name_that_is_used_again_is_a_field_of_its_own(changing: LedgerInTest) -> None:
    again = schema(column("name"), column("unit", aliases=["department"]), column("dpt"))
    changing.emit("create", 4, {"name": "d", "unit": "U", "dpt": "D"}, declared=again)
    assert changing.row("user/4") == {"name": "d", "unit": "U", "dpt": "D"}
    assert changing.row("user/1") == {"name": "a", "unit": "SCS", "age": 1}
    assert changing.rows()["4"] == changing.row("user/4")


def test_other_datasets_are_not_renamed(changing: LedgerInTest) -> None:
    changing.emit("create", 1, {"dpt": "keep"}, entity="order")
    other = schema(column("dpt"), name="Item")
    changing.emit("create", 1, {"dpt": "keep"}, entity="item", declared=other)
    assert changing.rows(entity="order") == {"1": {"dpt": "keep"}}
    assert changing.rows(entity="item") == {"1": {"dpt": "keep"}}
    assert changing.row("order/1") == {"dpt": "keep"}


def test_a_widened_column_keeps_each_value_as_it_was_written(ledger: LedgerInTest) -> None:
    ledger.emit("create", 1, {"x": 1}, declared=schema(column("x", "int")))
    ledger.emit("create", 2, {"x": 2**40}, declared=schema(column("x", "long")))
    ledger.emit("create", 3, {"x": 0.5}, declared=schema(column("x", "double")))
    rows = ledger.rows()
    assert [type(row["x"]) for row in rows.values()] == [int, int, float]
    assert [row["x"] for row in rows.values()] == [1, 2**40, 0.5]


def test_an_added_column_is_absent_in_rows_before_it(ledger: LedgerInTest) -> None:
    ledger.emit("create", 1, {"a": "x"}, declared=schema(column("a")))
    ledger.emit("create", 2, {"a": "y", "b": "z"}, declared=schema(column("a"), column("b")))
    assert ledger.rows() == {"1": {"a": "x"}, "2": {"a": "y", "b": "z"}}


def test_without_a_declared_schema_columns_then_are_those_that_rows_hold(
    ledger: LedgerInTest,
) -> None:
    ledger.emit("create", 1, {"a": 1, "gone": 1}, at="2026-01-02")
    ledger.emit("update", 1, {"a": 2, "b": 1}, image="full", at="2026-01-03")
    assert columns(ledger, "HEAD", ColumnMode.UNION) == ("a", "b", "gone")
    assert columns(ledger, "HEAD", ColumnMode.THEN) == ("a", "b")
    assert columns(ledger, "2026-01-02", ColumnMode.LATEST) == ("a", "b")
    assert columns(ledger, "2026-01-02", ColumnMode.THEN) == ("a", "gone")


def test_a_change_is_read_with_the_image_it_was_written_with(ledger: LedgerInTest) -> None:
    from audit.log.record import read_record
    from audit.replay.books import Books

    declared = schema(column("a"), column("b"))
    place = ledger.emit("create", 1, {"a": "x", "b": None}, declared=declared)
    record = read_record(0, ledger.store.leaf(*place))
    said = Books(ledger.store, ledger.cut()).decode(record)
    assert said == Change("full", None, {"a": "x", "b": None})

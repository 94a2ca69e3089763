"""Parts of a dataset: columns by name, keys, and rows that conditions fit; and their outputs."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import audit.replay.select
from audit.errors import InvalidInput, NotFound, Unavailable
from audit.replay.asof import dataset
from audit.replay.conditions import Condition, fits, parse_filters, parse_where, parse_wheres
from audit.replay.fold import ABSENT
from audit.replay.outputs import to_arrow, to_duckdb, to_pandas, to_polars
from audit.replay.select import Selected, select, selection
from tests.oracle import Oracle
from tests.replay.conftest import LedgerInTest
from tests.replay.test_model import KEYS, build, fresh, operation

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAN = float("nan")


def chosen(ledger: LedgerInTest, as_of: Any = None, valid: Any = None, **wanted: Any) -> Selected:
    return select(ledger.store, "user", ledger.cut(as_of), valid, selection(**wanted))


@pytest.fixture
def filled(ledger: LedgerInTest) -> LedgerInTest:
    rows: dict[str, dict[str, Any]] = {
        "1": {"n": 1, "t": "a", "d": Decimal("1.50"), "entity_key": "own"},
        "2": {"n": 2.5, "t": None, "when": NOON, "list": [1, {"a": 2}]},
        "3": {"n": -7, "t": "5", "b": b"\0x", "day": date(2026, 1, 31), "yes": True},
        "4": {"n": NAN, "t": "z"},
        "5": {},
    }
    for key, row in rows.items():
        ledger.emit("create", key, row, at=f"2026-01-0{key}")
    return ledger


def test_columns_come_in_the_order_asked_for(filled: LedgerInTest) -> None:
    found = chosen(filled, columns=["t", "n", "entity_key_"])
    assert list(to_pandas(found, {}).columns) == ["t", "n", "entity_key_"]
    assert to_arrow(chosen(filled, columns=["t"]), {}).column_names == ["entity_key", "t"]
    assert next(iter(found.rows())) == ("1", {"t": "a", "n": 1, "entity_key": "own"})
    assert list(to_pandas(chosen(filled, columns=["entity_key"]), {}).columns) == []


def test_an_unknown_column_is_an_error_that_helps(filled: LedgerInTest) -> None:
    for wanted in ({"columns": ["whem"]}, {"filters": [("whem", "==", 1)]}):
        with pytest.raises(
            InvalidInput, match=r"no column 'whem'; did you mean when.*\nit has b, d"
        ):
            chosen(filled, **wanted)
    with pytest.raises(InvalidInput, match="twice"):
        chosen(filled, columns=["n", "n"])
    with pytest.raises(InvalidInput, match="then, latest or union, or a list"):
        chosen(filled, columns="n")
    with pytest.raises(InvalidInput, match="string"):
        chosen(filled, columns=[5])


def test_a_column_of_today_is_there_before_its_time(filled: LedgerInTest) -> None:
    frame = to_pandas(chosen(filled, as_of="2026-01-01T01:00:00Z", columns=["day", "n"]), {})
    assert frame["day"].tolist() == [pd.NA] and frame["n"].tolist() == [1]
    assert list(to_pandas(chosen(filled, as_of="2025-01-01", keys=["1"]), {}).columns) != []


@pytest.mark.parametrize("limit", [0, 50])
def test_keys_are_read_alone(
    filled: LedgerInTest, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit.replay.select, "MAX_SINGLE_KEYS", limit)
    found = chosen(filled, keys=[3, "1", "nobody"])
    assert [key for key, _ in found.rows()] == ["1", "3"]
    assert found.events == 2 and found.columns == ("b", "d", "day", "entity_key", "n", "t", "yes")
    frame = to_pandas(found, {})
    assert frame["n"].dtype == "Int64" and list(frame.index) == ["1", "3"]
    assert list(chosen(filled, keys=[]).rows()) == []
    assert [k for k, _ in chosen(filled, columns="then", keys=["4", "5"]).rows()] == ["4", "5"]
    for bad in ("5", 5, [1.5], [None]):
        with pytest.raises(InvalidInput):
            chosen(filled, keys=bad)


def test_a_condition_on_the_key_asks_for_keys(filled: LedgerInTest) -> None:
    both = [[("entity_key", "in", ["1", "2"]), ("n", ">", 1)], [("entity_key", "==", "3")]]
    found = chosen(filled, filters=both)
    assert found.events == 3 and [key for key, _ in found.rows()] == ["2", "3"]
    assert [k for k, _ in chosen(filled, filters=[("entity_key", ">=", "4")]).rows()] == ["4", "5"]
    assert [k for k, _ in chosen(filled, filters=[("entity_key_", "==", "own")]).rows()] == ["1"]


CASES: list[tuple[tuple[Any, ...], str]] = [
    (("n", "==", 1), "1"),
    (("n", "=", 1.0), "1"),
    (("n", "==", "1"), ""),
    (("n", "==", True), ""),
    (("n", "!=", 1), "234"),
    (("n", "!=", "1"), "1234"),
    (("n", ">", -8), "123"),
    (("n", "<=", Decimal("2.5")), "123"),
    (("n", "<", NAN), ""),
    (("n", "==", NAN), ""),
    (("n", "in", [1, 2.5, "x"]), "12"),
    (("n", "not in", [1, 2.5]), "34"),
    (("n", "is null"), "5"),
    (("n", "is not null", None), "1234"),
    (("t", "is null"), "25"),
    (("t", "!=", "a"), "34"),
    (("t", "==", 5), ""),
    (("t", ">", "5"), "14"),
    (("d", "==", Decimal("1.5")), "1"),
    (("d", ">=", 1.5), "1"),
    (("d", "<", NAN), ""),
    (("when", "==", NOON), "2"),
    (("when", "<", datetime(2026, 1, 2, tzinfo=UTC)), "2"),
    (("when", ">", date(2000, 1, 1)), ""),
    (("day", ">", date(2000, 1, 1)), "3"),
    (("b", "==", b"\0x"), "3"),
    (("yes", "==", True), "3"),
    (("yes", "==", 1), ""),
    (("yes", "!=", 1), "3"),
    (("list", "==", [1, {"a": 2}]), "2"),
    (("list", "==", [1.0, {"a": 2}]), ""),
    (("list", "<", [2]), ""),
    (("n", ">=", np.int64(1)), "12"),
    (("when", "==", pd.Timestamp(NOON)), "2"),
]


@pytest.mark.parametrize(("condition", "keys"), CASES, ids=lambda case: repr(case)[:40])
def test_what_fits(filled: LedgerInTest, condition: tuple[Any, ...], keys: str) -> None:
    found = chosen(filled, filters=[condition])
    assert "".join(key for key, _ in found.rows()) == keys
    frame = to_pandas(found, {})
    assert "".join(frame.index) == keys
    assert to_arrow(found, {}).column("entity_key").to_pylist() == list(keys)
    whole = to_pandas(chosen(filled), {})
    pd.testing.assert_frame_equal(frame, whole.loc[list(keys)])


def test_filters_choose_rows_and_change_nothing_else(filled: LedgerInTest) -> None:
    either = [[("n", "==", 1)], [("t", "==", "z"), ("n", "is not null")]]
    assert [key for key, _ in chosen(filled, filters=either).rows()] == ["1", "4"]
    found = chosen(filled, columns=["t"], filters=[("n", "<", 2)])
    assert list(found.rows()) == [("1", {"t": "a"}), ("3", {"t": "5"})]
    frame = to_pandas(found, {})
    assert list(frame.columns) == ["t"] and list(frame["t"]) == ["a", "5"]
    then = chosen(filled, columns="then", filters=[("day", "is not null")])
    assert [key for key, _ in then.rows()] == ["3"]


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ("n > 1", "filters are a list"),
        ([5], "filters are a list"),
        ([[]], "filters are a list"),
        ([("n", "~", 1)], "no operator"),
        ([("n", "==")], "needs a value"),
        ([("n", "==", None)], "'is null'"),
        ([("n", "!=", None)], "'is not null'"),
        ([("n", "is null", 5)], "takes no value"),
        ([("n", "in", "abc")], "takes a list"),
        ([("n", "in", 5)], "takes a list"),
        ([("n", "==", datetime(2026, 1, 1))], "naive|zone"),
        ([("n", "==", object())], "object"),
        ([("n", "==", 2**70)], "64 bits"),
    ],
)
def test_bad_filters_are_refused(filters: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse_filters(filters)


WORDS: list[tuple[str, Any, bool]] = [
    ("n>=100", 100, True),
    ("n>=100", 99, False),
    ("n >= 100", "99", True),
    ('n="100"', 100, False),
    ('n="100"', "100", True),
    ("n=100", "100", True),
    ("n=100", 100.0, True),
    ("n=0.1", 0.1, True),
    ("n=0.1", Decimal("0.10"), True),
    ("n=003", 3, False),
    ("n=003", "003", True),
    ("n=true", True, True),
    ("n=1", True, False),
    ("n=Paid Off", "Paid Off", True),
    ("n!=Paid Off", None, False),
    ("n==a=b", "a=b", True),
    ("n>2026-01-30", date(2026, 1, 31), True),
    ("n>2026-01-01", NOON, True),
    ("n<2026-01-01T13:00:00+01:00", NOON, False),
    ("n in 1,b, 2026-01-31", date(2026, 1, 31), True),
    ('n in "a,b",c', "a,b", True),
    ("n not in 1,2", 3, True),
    ("n not in 1,2", 2, False),
    ("n is null", ABSENT, True),
    ("n  is  not  null", 0, True),
    ("n=who is in town", "who is in town", True),
    ('"a=b"=1', ABSENT, False),
    ("n=", "", True),
]


@pytest.mark.parametrize(("text", "value", "fitting"), WORDS)
def test_conditions_of_a_command_line(text: str, value: Any, fitting: bool) -> None:
    assert parse_where(text).fits(value) is fitting


@pytest.mark.parametrize(
    "text",
    ["", "n", "=5", " >1", "n in", "n in ,", '"x=1', 'n="1', 'n in "a,b', 'n="a\\q"', "n" * 5000],
)
def test_no_conditions(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_where(text)
    assert len(str(caught.value).splitlines()) == 1


@given(st.text(max_size=30))
def test_a_condition_is_read_or_refused(text: str) -> None:
    try:
        found = parse_where(text)
    except InvalidInput:
        return
    assert isinstance(found, Condition)
    for value in (None, 1, 1.5, "x", True, NOON, Decimal("1.5"), [1], b""):
        assert found.fits(value) in (True, False)


def test_a_quoted_name_and_no_condition() -> None:
    assert parse_where('"a>b" >= 2') == parse_where('"a>b">=2')
    assert parse_where('"a>b" >= 2').field == "a>b"
    assert parse_wheres(()) == () and fits((), "k", {})


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    operations=st.lists(operation, min_size=1, max_size=12),
    keys=st.sets(st.sampled_from(KEYS)),
    limit=st.sampled_from((0, 50)),
)
def test_keys_alone_are_those_of_the_whole(
    operations: list[dict[str, Any]], keys: set[str], limit: int
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit.replay.select, "MAX_SINGLE_KEYS", limit)
        ledger = fresh(folder, 2)
        with ledger.store:
            oracle: Oracle = build(ledger, operations, 2)
            for valid in (None, min(event.valid_time for event in oracle.said) + 3):
                cut = ledger.cut()
                found = select(ledger.store, "thing", cut, valid, selection(keys=keys))
                whole = dict(dataset(ledger.store, "thing", cut, valid).rows())
                assert list(found.rows()) == [(k, whole[k]) for k in sorted(keys) if k in whole]


def test_arrow_carries_types_and_citation(filled: LedgerInTest) -> None:
    table = to_arrow(chosen(filled), {"entity": "user"})
    assert json.loads(table.schema.metadata[b"audit"]) == {"entity": "user"}
    assert table.column_names[0] == "entity_key" and "entity_key_" in table.column_names
    types = {field.name: field.type for field in table.schema}
    assert types["d"] == pa.decimal128(3, 2) and types["when"] == pa.timestamp("us", "UTC")
    assert types["b"] == pa.binary() and types["day"] == pa.date32() and types["yes"] == pa.bool_()
    assert table.schema.field("n").metadata == {b"audit.encoding": b"json"}
    assert table.column("t").to_pylist() == ["a", None, "5", "z", None]


def test_polars_and_duckdb_read_the_same(filled: LedgerInTest) -> None:
    filled.emit("create", "6", {"wide": Decimal("1" * 50)}, at="2026-01-06")
    found = chosen(filled)
    frame = to_polars(found, {})
    assert isinstance(frame, pl.DataFrame) and frame["d"].to_list()[0] == Decimal("1.50")
    assert frame["wide"].to_list()[5] == "1" * 50
    relation = to_duckdb(found, {"entity": "it's"})
    assert relation.filter("t > '5'").project("entity_key").fetchall() == [("1",), ("4",)]
    connection = duckdb.connect()
    to_duckdb(found, {"entity": "it's"}, connection, 'odd "name"')
    assert connection.sql('SELECT count(*) FROM "odd ""name"""').fetchall() == [(6,)]
    comment = connection.sql("SELECT comment FROM duckdb_views() WHERE view_name LIKE 'odd%'")
    assert comment.fetchall() == [('{"entity": "it\'s"}',)]


def test_a_library_that_is_not_there_is_named(
    filled: LedgerInTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, extra, convert in (("polars", "polars", to_polars), ("duckdb", "sql", to_duckdb)):
        monkeypatch.setitem(__import__("sys").modules, name, None)
        with pytest.raises(Unavailable, match=rf"attestory\[{extra}\]"):
            convert(chosen(filled), {})


def test_an_unknown_dataset_is_one_with_keys_too(filled: LedgerInTest) -> None:
    with pytest.raises(NotFound, match="no dataset invoice"):
        select(filled.store, "invoice", filled.cut(), None, selection(keys=["1"]))

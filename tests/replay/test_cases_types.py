"""Types survive exactly: through the store, the fold, and every output."""

import csv
import io
import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.event.values import from_json
from audit.replay.asof import dataset
from audit.replay.citation import cite
from audit.replay.fold import same_value
from audit.replay.frame import build_frame
from audit.replay.rows_out import json_row, write_csv, write_jsonl, write_parquet
from tests.replay.conftest import LedgerInTest

VALUES: list[Any] = [
    None,
    True,
    0,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    0.0,
    -0.0,
    5e-324,
    1e308,
    math.nan,
    math.inf,
    -math.inf,
    "",
    "a\x00b",
    "line\u2028sep\u2029\x85",
    "é",
    "e\u0301",
    "😀",
    "'; DROP TABLE entries; --",
    b"",
    b"\x00\xff",
    Decimal("1.50"),
    Decimal("1.5"),
    Decimal("-0.001"),
    Decimal("12345678901234567890.123456789"),
    date(1, 1, 1),
    date(9999, 12, 31),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    [],
    {},
    [1, 1.0, "1", None, [True, {"k": Decimal("2.0")}]],
    {"$decimal": "x", "a": {"b": [b"\x01"]}},
]


def frame(ledger: LedgerInTest, **options: Any) -> pd.DataFrame:
    cut = ledger.cut()
    found = dataset(ledger.store, "user", cut, **options)
    return build_frame(found.rows(), found.columns, cite(ledger.store, cut).to_dict())


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_a_value_comes_back_as_it_was(ledger: LedgerInTest, value: Any) -> None:
    ledger.emit("create", 5, {"v": value})
    row = ledger.row("user/5")
    assert row is not None
    assert same_value(row["v"], value)
    assert type(row["v"]) is type(value)
    line = json.loads(json_row("5", row))
    assert same_value(from_json(line["v"]), value)
    assert "\n" not in json_row("5", row)
    assert len(json_row("5", row).splitlines()) == 1
    held = frame(ledger)["v"].iloc[0]
    if value is None:
        assert held is None
    elif isinstance(value, float):
        assert same_value(float(held), value)
    else:
        assert held == value


def test_timestamps_keep_their_instant(ledger: LedgerInTest) -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    ledger.emit("create", 5, {"t": datetime(2026, 1, 2, 8, 30, 0, 1, tzinfo=zone)})
    assert ledger.row("user/5") == {"t": datetime(2026, 1, 2, 3, 0, 0, 1, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2**53 + 1, None], "Int64"),
        ([0.5, -0.0, math.nan, None], "Float64"),
        ([True, False, None], "boolean"),
        ([datetime(2026, 1, 2, tzinfo=UTC), None], "datetime64[us, UTC]"),
        (["a", "", None], "object"),
        ([Decimal("1.50"), Decimal("1.5"), None], "object"),
        ([date(2026, 1, 2), None], "object"),
        ([b"\x00", None], "object"),
        ([1, 1.5, None], "object"),
        ([1, True], "object"),
        ([[1], None], "object"),
        ([None, None], "object"),
    ],
)
def test_the_dtype_of_a_column_follows_from_its_values(
    ledger: LedgerInTest, values: list[Any], dtype: str
) -> None:
    made = [ledger.event("create", n, {"v": value}) for n, value in enumerate(values)]
    made.append(ledger.event("create", "zz", {"other": 1}))
    ledger.seal([event for event, _ in made], made[0][1])
    column = frame(ledger)["v"]
    assert str(column.dtype) == dtype
    for held, value in zip(column, values, strict=False):
        if value is not None:
            assert same_value(held.item() if hasattr(held, "item") else _plain(held), value)
    absent = column.iloc[-1]
    assert absent is pd.NA or absent is pd.NaT
    null = [held for held, value in zip(column, values, strict=False) if value is None]
    if dtype == "object":
        assert all(held is None for held in null)
    else:
        assert all(held is pd.NA or held is pd.NaT for held in null)


def _plain(value: Any) -> Any:
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


def test_missing_values_do_not_turn_integers_into_floats(ledger: LedgerInTest) -> None:
    big = 2**53 + 1
    ledger.emit("create", 1, {"n": big})
    ledger.emit("create", 2, {"m": 1})
    column = frame(ledger)["n"]
    assert str(column.dtype) == "Int64"
    assert column.tolist() == [big, pd.NA]


def test_the_frame_has_keys_as_index_and_columns_by_name(ledger: LedgerInTest) -> None:
    ledger.emit("create", 10, {"b": 1, "a": "x"})
    ledger.emit("create", 9, {"a": "y", "entity_key": "own", "entity_key_": "other"})
    found = frame(ledger)
    assert found.index.name == "entity_key"
    assert found.index.tolist() == ["10", "9"]
    assert found.columns.tolist() == ["a", "b", "entity_key_", "entity_key__"]
    assert found.loc["9", "entity_key_"] == "own"
    assert found.loc["9", "entity_key__"] == "other"
    assert found.attrs["audit"]["logs"][0]["size"] == ledger.cut().size(0)


def test_an_empty_frame_has_the_columns_of_the_dataset(ledger: LedgerInTest) -> None:
    ledger.emit("create", 5, {"a": 1, "b": "x"}, at="2026-01-02")
    cut = ledger.cut("2025-01-01")
    found = dataset(ledger.store, "user", cut)
    empty = build_frame(found.rows(), found.columns, cite(ledger.store, cut).to_dict())
    assert empty.shape == (0, 2)
    assert empty.columns.tolist() == ["a", "b"]
    assert empty.attrs["audit"]["logs"][0]["size"] == 0


def test_a_jsonl_row_is_as_documented() -> None:
    assert json_row("5", {"name": "Christian", "dpt": "ISR"}) == (
        '{"entity_key": "5", "dpt": "ISR", "name": "Christian"}'
    )
    assert json_row("5", {"entity_key": 1, "$x": None}) == (
        '{"entity_key": "5", "$$x": null, "entity_key_": 1}'
    )


def test_null_and_absent_in_jsonl_and_csv(ledger: LedgerInTest) -> None:
    ledger.emit("create", "1", {"a": None, "b": ""})
    ledger.emit("create", "2", {"b": 'say "hi", you\n'})
    ledger.emit("create", "", {"b": " x"})
    found = dataset(ledger.store, "user", ledger.cut())
    out = io.StringIO()
    assert write_jsonl(found.rows(), out) == 3
    assert [json.loads(line) for line in out.getvalue().split("\n")[:-1]] == [
        {"entity_key": "", "b": " x"},
        {"entity_key": "1", "a": None, "b": ""},
        {"entity_key": "2", "b": 'say "hi", you\n'},
    ]
    out = io.StringIO()
    assert write_csv(found.rows(), found.columns, out) == 3
    text = out.getvalue()
    assert text == 'entity_key,a,b\n"",," x"\n1,,""\n2,,"say ""hi"", you\n"\n'
    assert list(csv.reader(io.StringIO(text)))[3] == ["2", "", 'say "hi", you\n']


def test_csv_spells_each_type_plainly(ledger: LedgerInTest) -> None:
    row = {
        "bool": True,
        "bytes": b"\x01",
        "date": date(2026, 1, 2),
        "dec": Decimal("1.50"),
        "int": 2**53 + 1,
        "list": [1, "x"],
        "nan": math.nan,
        "neg": -0.0,
        "time": datetime(2026, 1, 2, tzinfo=UTC),
    }
    ledger.emit("create", 5, row)
    found = dataset(ledger.store, "user", ledger.cut())
    out = io.StringIO()
    write_csv(found.rows(), found.columns, out)
    assert list(csv.reader(io.StringIO(out.getvalue())))[1] == [
        "5",
        "true",
        '{"$bytes":"AQ=="}',
        "2026-01-02",
        "1.50",
        "9007199254740993",
        '[1,"x"]',
        "NaN",
        "-0.0",
        "2026-01-02T00:00:00.000000Z",
    ]


def test_parquet_keeps_types(ledger: LedgerInTest) -> None:
    first = {
        "bin": b"\x00\xff",
        "bool": True,
        "date": date(2026, 1, 2),
        "dec": Decimal("1.50"),
        "decs": Decimal("1.5"),
        "f": math.nan,
        "i": 2**53 + 1,
        "mixed": 1,
        "nested": {"a": [1]},
        "s": "a\x00b",
        "t": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    }
    second = {"dec": Decimal("-123456.75"), "decs": Decimal("1.50"), "mixed": "1", "f": -0.0}
    ledger.emit("create", 1, first)
    ledger.emit("create", 2, second)
    ledger.emit("create", 3, {"void": None})
    found = dataset(ledger.store, "user", ledger.cut())
    out = io.BytesIO()
    assert write_parquet(found.rows, found.columns, out, {"asked": "HEAD"}) == 3
    table = pq.read_table(io.BytesIO(out.getvalue()))
    types = {field.name: field.type for field in table.schema}
    assert types == {
        "entity_key": pa.string(),
        "bin": pa.binary(),
        "bool": pa.bool_(),
        "date": pa.date32(),
        "dec": pa.decimal128(8, 2),
        "decs": pa.string(),
        "f": pa.float64(),
        "i": pa.int64(),
        "mixed": pa.string(),
        "nested": pa.string(),
        "s": pa.string(),
        "t": pa.timestamp("us", "UTC"),
        "void": pa.string(),
    }
    rows = table.to_pylist()
    for name in ("bin", "bool", "date", "dec", "i", "s", "t"):
        assert rows[0][name] == first[name]
    assert math.isnan(rows[0]["f"])
    assert math.copysign(1, rows[1]["f"]) == -1
    assert rows[2]["f"] is None
    assert [row["decs"] for row in rows] == ['{"$decimal":"1.5"}', '{"$decimal":"1.50"}', None]
    assert [row["mixed"] for row in rows] == ["1", '"1"', None]
    assert rows[0]["nested"] == '{"a":[1]}'
    assert json.loads(table.schema.metadata[b"audit"]) == {"asked": "HEAD"}
    assert table.schema.field("mixed").metadata == {b"audit.encoding": b"json"}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Decimal("1E+3"), pa.string()),
        (Decimal("0.05"), pa.decimal128(2, 2)),
        (Decimal("0"), pa.decimal128(1, 0)),
        (Decimal("1" * 39), pa.decimal256(39, 0)),
        (Decimal("1" * 77), pa.string()),
    ],
)
def test_parquet_decimals(value: Decimal, kind: pa.DataType) -> None:
    out = io.BytesIO()
    write_parquet(lambda: [("1", {"d": value})], ["d"], out)
    table = pq.read_table(io.BytesIO(out.getvalue()))
    assert table.schema.field("d").type == kind
    found = table.to_pylist()[0]["d"]
    assert (from_json(json.loads(found)) if isinstance(found, str) else found) == value


def test_parquet_of_many_rows_and_of_none() -> None:
    count = 45_000
    out = io.BytesIO()
    written = write_parquet(lambda: ((str(n), {"n": n}) for n in range(count)), ["n"], out)
    assert written == count
    table = pq.read_table(io.BytesIO(out.getvalue()))
    assert table["n"].to_pylist() == list(range(count))
    out = io.BytesIO()
    assert write_parquet(lambda: [], ["n"], out) == 0
    assert pq.read_table(io.BytesIO(out.getvalue())).column_names == ["entity_key", "n"]

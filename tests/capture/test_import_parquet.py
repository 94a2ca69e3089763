"""Parquet into events: exact types, and what has no exact counterpart is refused by name."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from audit.capture.delivery.embedded import open_for_writing
from audit.capture.importer import ImportResult, import_file
from audit.errors import InvalidInput
from tests.capture.support import events, rows, url


def load(folder: Path, table: pa.Table | bytes, **options: Any) -> ImportResult:
    path = folder / "data.parquet"
    if isinstance(table, bytes):
        path.write_bytes(table)
    else:
        pq.write_table(table, path, row_group_size=3)
    with open_for_writing(url(folder)) as ledger:
        return import_file(ledger, path, **{"entity": "item", "key": "id", **options})


def test_exact_types(tmp_path: Path) -> None:
    when = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    columns = {
        "id": pa.array([1, 2], pa.int16()),
        "big": pa.array([2**63 - 1, None], pa.int64()),
        "u": pa.array([2**53 + 1, 0], pa.uint64()),
        "f": pa.array([-0.0, float("nan")], pa.float64()),
        "f4": pa.array([0.5, None], pa.float32()),
        "b": pa.array([True, False]),
        "s": pa.array(["x\u2028", ""]),
        "raw": pa.array([b"\x00\xff", b""]),
        "dec": pa.array([Decimal("1.50"), Decimal("-0.01")], pa.decimal128(38, 2)),
        "wide": pa.array([Decimal(10**60), None], pa.decimal256(70, 0)),
        "day": pa.array([date(1, 1, 1), date(9999, 12, 31)], pa.date32()),
        "t": pa.array([when, None], pa.timestamp("us", "Europe/Rome")),
        "ns": pa.array([1_000, None], pa.timestamp("ns", "UTC")),
        "s_": pa.array([1, None], pa.timestamp("s", "UTC")),
        "list": pa.array([[1, 2], []], pa.list_(pa.int32())),
        "struct": pa.array([{"a": 1, "b": None}, None], pa.struct({"a": pa.int8(), "b": "string"})),
        "cat": pa.array(["x", "y"]).dictionary_encode(),
        "null": pa.nulls(2),
    }
    assert load(tmp_path, pa.table(columns), valid_time="t").created == 2
    found = rows(tmp_path, "item")
    assert found["1"] == {
        **{"id": 1, "big": 2**63 - 1, "u": 2**53 + 1, "f": 0.0, "f4": 0.5, "b": True},
        **{"s": "x\u2028", "raw": b"\x00\xff", "dec": Decimal("1.50"), "wide": Decimal(10**60)},
        **{"day": date(1, 1, 1), "t": when, "ns": datetime(1970, 1, 1, microsecond=1, tzinfo=UTC)},
        **{"s_": datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), "list": [1, 2]},
        **{"struct": {"a": 1, "b": None}, "cat": "x", "null": None},
    }
    assert str(found["1"]["f"]) == "-0.0" and str(found["2"]["f"]) == "nan"
    assert str(found["1"]["dec"]) == "1.50"
    assert [e.valid_time_us is None for e in events(tmp_path)] == [False, True]
    assert load(tmp_path, pa.table(columns), valid_time="t").skipped == 2
    assert load(tmp_path, pa.table(columns), snapshot=True).unchanged == 2


def test_many_rows_in_several_groups(tmp_path: Path) -> None:
    table = pa.table({"id": pa.array([f"{n:03}" for n in range(10)])})
    seen: list[tuple[int, int]] = []
    assert load(tmp_path, table, progress=lambda *at: seen.append(at)).created == 10
    assert seen[-1][0] == seen[-1][1]
    assert sorted(rows(tmp_path, "item")) == [f"{n:03}" for n in range(10)]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([1], pa.timestamp("us")), "column x have no time zone"),
        (pa.array([1], pa.timestamp("ns", "UTC")), "column x has times finer than a microsecond"),
        (pa.array([[("a", 1)]], pa.map_("string", "int32")), "column x holds maps"),
        (pa.array([2**63], pa.uint64()), "row 1: field 'x'"),
        (pa.array([1], pa.time64("us")), "row 1: field 'x'"),
        (pa.array([1], pa.duration("us")), "row 1: field 'x'"),
    ],
)
def test_what_has_no_exact_counterpart(tmp_path: Path, column: pa.Array, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        load(tmp_path, pa.table({"id": [1], "x": column}))
    assert events(tmp_path) == []


def test_keys(tmp_path: Path) -> None:
    for table, words in (
        (pa.table({"n": [1]}), "has no column 'id'"),
        (pa.table({"id": pa.array([None, 1])}), "row 1: the key column id is null"),
        (pa.table({"id": [1.5]}), "row 1: "),
        (pa.table([pa.array([1]), pa.array([2])], names=["id", "id"]), "two columns"),
    ):
        with pytest.raises(InvalidInput, match=words):
            load(tmp_path, table)
    with pytest.raises(InvalidInput, match="no column 'when'"):
        load(tmp_path, pa.table({"id": [1]}), valid_time="when")
    assert events(tmp_path) == []


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"id\n1\n" * 99])
def test_what_is_no_parquet_file(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InvalidInput, match="is no Parquet file"):
        load(tmp_path, data)


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"id": [str(n) for n in range(1000)]}), path, compression="NONE")
    data = bytearray(path.read_bytes())
    data[4:2000] = bytes(1996)
    with pytest.raises(InvalidInput, match=r"damaged|Parquet|row|column"):
        load(tmp_path, bytes(data))
    assert events(tmp_path) == []


def test_integer_parts_of_a_key_stay_integers(tmp_path: Path) -> None:
    table = pa.table({"a": ["x", "1"], "b": pa.array([1, 2], pa.int8()), "f": [0.5, 1.0]})
    load(tmp_path, table, key="a,b")
    assert sorted(rows(tmp_path, "item")) == ['["1",2]', '["x",1]']
    with pytest.raises(InvalidInput, match="row 1"):
        load(tmp_path, table, key="a,f")

"""Point-in-time joins: each row of a spine gets what a replay of its key at its time gives."""

from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import audit.replay.join
import audit.replay.pointwise
from audit.errors import InvalidInput, NotFound
from audit.event.times import time_of_us
from audit.replay.asof import row as row_at
from audit.replay.citation import cite
from audit.replay.columns import Naming
from audit.replay.fastpath import FastPath, attach
from audit.replay.join import join_asof, join_of
from audit.replay.pointwise import rows_at
from audit.replay.refs import Ref
from audit.replay.steps import Steps
from tests.replay.columnar.compare import same_frames, same_tables
from tests.replay.conftest import SECOND_US, START_US, LedgerInTest, open_columns
from tests.replay.test_model import KEYS, build, fresh, operation


def joined(
    ledger: LedgerInTest, spine: Any, entity: str = "user", as_of: Any = None, **options: Any
) -> Any:
    cut = ledger.cut(as_of)
    options.setdefault("time", "when")
    cited = {"entity": entity, **cite(ledger.store, cut).to_dict()}
    return join_asof(ledger.store, spine, entity, cut, join_of(**options), ledger.now_us, cited)


@pytest.fixture
def filled(ledger: LedgerInTest) -> LedgerInTest:
    """User 5 came on day 2, moved on day 3, left on day 4; user 6 came on day 3."""
    ledger.emit("create", 5, {"dpt": "SCS", "age": 2**53 + 1}, at="2026-01-02", valid="2025-12-01")
    ledger.emit("update", 5, {"dpt": "ISR"}, at="2026-01-03", valid="2025-11-01")
    ledger.emit("create", 6, {"dpt": None}, at="2026-01-03", valid="2025-12-15")
    ledger.emit("delete", 5, at="2026-01-04")
    ledger.now_us += SECOND_US
    return ledger


def spine_of(*rows: tuple[Any, str | None]) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "customer": np.array([key for key, _ in rows], dtype=object),
            "when": pd.to_datetime([when for _, when in rows], utc=True, format="ISO8601"),
            "label": np.arange(len(rows), dtype="int8"),
        },
        index=pd.Index([f"r{n % 2}" for n in range(len(rows))], name="which"),
    )
    frame.attrs["mine"] = 1
    return frame


ROWS = (
    ("5", "2026-01-03T00:00:00Z"),
    ("5", "2026-01-02T23:59:59.999999Z"),
    ("6", "2026-01-02"),
    ("5", "2026-01-01"),
    (6, "2027-01-01"),
    ("5", "2026-02-01"),
    ("nobody", "2026-02-01"),
    (None, "2026-02-01"),
    ("5", None),
    ("5", "2026-01-03T00:00:00Z"),
)


def test_each_row_gets_what_was_known_at_its_time(filled: LedgerInTest) -> None:
    spine = spine_of(*ROWS)
    kept = spine.copy()
    found = joined(filled, spine, key="customer")
    assert list(found.columns) == ["customer", "when", "label", "age", "dpt"]
    gone = pd.NA
    assert list(found["dpt"]) == ["ISR", "SCS", gone, gone, None, gone, gone, gone, gone, "ISR"]
    assert found["age"].dtype == "Int64" and found["age"].iloc[1] == 2**53 + 1
    pd.testing.assert_frame_equal(found[["customer", "when", "label"]], kept)
    pd.testing.assert_frame_equal(spine, kept)
    assert found.attrs["mine"] == 1 and "audit" not in spine.attrs
    (said,) = found.attrs["audit_joins"]
    assert said["entity"] == "user" and len(said["logs"][0]["root_hash"]) == 64
    assert said["join"]["axis"] == "recorded" and found.attrs["audit"] == said


def test_nothing_above_the_point_is_read(filled: LedgerInTest) -> None:
    found = joined(filled, spine_of(*ROWS), key="customer", as_of="2026-01-02")
    assert list(found["dpt"].dropna()) == ["SCS", "SCS", "SCS", "SCS"]


def test_the_valid_axis(filled: LedgerInTest) -> None:
    spine = spine_of(
        ("5", "2025-11-15"), ("5", "2025-12-02"), ("6", "2025-12-31"), ("5", "2025-10-01")
    )
    found = joined(filled, spine, key="customer", axis="valid", columns=["dpt"])
    assert list(found["dpt"]) == ["ISR", "SCS", None, pd.NA]


def test_several_datasets_one_after_the_other(filled: LedgerInTest) -> None:
    filled.emit("create", "6", {"dpt": "Z", "total": 1.5}, entity="order", at="2026-01-05")
    spine = spine_of(("6", "2026-02-01")).set_index("customer")
    once = joined(filled, spine)
    with pytest.raises(InvalidInput, match="has a column 'dpt' already"):
        joined(filled, once, "order", columns=["dpt"])
    both = joined(filled, once, "order", prefix="order_", columns=["total", "dpt"])
    assert list(both.columns) == ["when", "label", "dpt", "order_total", "order_dpt"]
    assert both.iloc[0][["dpt", "order_dpt", "order_total"]].tolist() == [None, "Z", 1.5]
    assert [one["entity"] for one in both.attrs["audit_joins"]] == ["user", "order"]
    assert len(once.attrs["audit_joins"]) == 1 and both.attrs["audit"]["entity"] == "user"


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_in_every_unit(filled: LedgerInTest, unit: str) -> None:
    times = pd.DatetimeIndex(["2026-01-03T01:00:00+01:00", None]).as_unit(unit)
    spine = pd.DataFrame({"when": times.tz_convert("Asia/Tokyo")}, index=["5", "5"])
    assert list(joined(filled, spine)["dpt"]) == ["ISR", pd.NA]


def test_a_nanosecond_before_is_before(filled: LedgerInTest) -> None:
    before = pd.Timestamp("2026-01-03T00:00:00Z") - pd.Timedelta(1, "ns")
    spine = pd.DataFrame({"when": pd.DatetimeIndex([before])}, index=["5"])
    assert list(joined(filled, spine)["dpt"]) == ["SCS"]


def test_times_as_people_write_them(filled: LedgerInTest) -> None:
    moments = ["2026-01-03", date(2026, 1, 3), datetime(2026, 1, 3, tzinfo=UTC), None, "-1d"]
    spine = pd.DataFrame({"when": pd.Series(moments, dtype=object), "entity_key": [5] * 5})
    filled.now_us = START_US + 2 * 86_400 * SECOND_US + 86_400 * SECOND_US
    assert list(joined(filled, spine)["dpt"]) == ["ISR", "ISR", "ISR", pd.NA, "ISR"]


def test_arrow_and_polars_stay_what_they_are(filled: LedgerInTest) -> None:
    spine = spine_of(*ROWS[:4]).reset_index(drop=True)
    spine["customer"] = spine["customer"].astype(str)
    table = pa.Table.from_pandas(spine, preserve_index=False)
    found = joined(filled, table, key="customer")
    assert isinstance(found, pa.Table)
    assert found.column("dpt").to_pylist() == ["ISR", "SCS", None, None]
    assert found.column("age").type == pa.int64() and b"audit_joins" in found.schema.metadata
    assert found.select(["customer", "when", "label"]).equals(table)
    frame = joined(filled, pl.from_arrow(table), key="customer", suffix="_then")
    assert isinstance(frame, pl.DataFrame)
    assert frame["dpt_then"].to_list() == ["ISR", "SCS", None, None]


def test_what_does_not_fit_is_said(filled: LedgerInTest) -> None:
    spine = spine_of(*ROWS)
    naive = spine.assign(when=spine["when"].dt.tz_localize(None))
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (spine, {"time": "then", "key": "customer"}, "no column 'then'; it has customer, when"),
        (spine, {"key": "client"}, "no column 'client'"),
        (naive, {"key": "customer"}, "naive datetimes"),
        (spine.reset_index(), {}, "say with key="),
        (spine, {"key": "customer", "columns": ["dtp"]}, "did you mean dpt"),
        (spine, {"key": "customer", "columns": "dpt"}, "list of names"),
        (spine, {"key": "customer", "axis": "both"}, "recorded or valid"),
        (spine, {"time": "label", "key": "customer"}, "no time"),
        ([1, 2], {}, "a spine is"),
        (spine.assign(customer=1.5), {"key": "customer"}, "key"),
    ]
    for frame, options, words in cases:
        with pytest.raises(InvalidInput, match=words):
            joined(filled, frame, **options)
    with pytest.raises(NotFound, match="no dataset invoice"):
        joined(filled, spine, "invoice", key="customer")


def test_an_empty_spine_stays_empty(filled: LedgerInTest) -> None:
    found = joined(filled, spine_of(*ROWS).iloc[:0], key="customer", columns=["dpt", "age"])
    assert len(found) == 0 and list(found.columns)[-2:] == ["dpt", "age"]


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("logs", [1, 2])
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    operations=st.lists(operation, min_size=1, max_size=12),
    picked=st.lists(st.tuples(st.sampled_from(KEYS), st.integers(-7, 14)), min_size=1, max_size=9),
)
def test_a_join_is_a_replay_of_each_row(
    many: bool,
    logs: int,
    operations: list[dict[str, Any]],
    picked: list[tuple[str, int]],
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if many:
            patch.setattr(audit.replay.pointwise, "MAX_SINGLE_KEYS", 0)
        ledger = fresh(folder, logs)
        with ledger.store:
            build(ledger, operations, logs)
            compare(ledger, picked)


def compare(ledger: LedgerInTest, picked: list[tuple[str, int]]) -> None:
    """Each key at its moments, on both axes, against the replay of one row."""
    store, cut = ledger.store, ledger.cut()
    steps = Steps(store, "thing", cut, Naming(store, "thing", cut))
    moments: dict[str, list[int]] = {}
    for key, offset in sorted(picked):
        moments.setdefault(key, []).append(START_US + offset)
    recorded, valid = (rows_at(steps, moments, axis).rows for axis in (False, True))
    for key, times in moments.items():
        for at, time_us in enumerate(times):
            then = ledger.cut(time_of_us(time_us))
            if any(
                e is not None
                for e in [next(iter(store.entity(log, "thing", key)), None) for log in cut.sizes]
            ):
                assert recorded[key][at] == row_at(store, Ref("thing", key), then).row
                assert valid[key][at] == row_at(store, Ref("thing", key), cut, time_us).row
            else:
                assert recorded[key][at] is None and valid[key][at] is None


@pytest.mark.parametrize("many", [False, True])
def test_what_only_a_later_schema_explains_is_not_known_before_it(
    ledger: LedgerInTest, many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if many:
        monkeypatch.setattr(audit.replay.pointwise, "MAX_SINGLE_KEYS", 0)
    ledger.emit("create", "x", {"a": 1}, at="2026-01-02", schemas=False)
    ledger.emit("create", "y", {"a": 2}, at="2026-01-03")
    times = [START_US + hours * 3_600 * SECOND_US for hours in (1, 30, 60)]
    cut = ledger.cut()
    steps = Steps(ledger.store, "user", cut, Naming(ledger.store, "user", cut))
    found = rows_at(steps, {"x": times, "y": times}, False)
    assert found.rows == {"x": [None, {}, {"a": 1}], "y": [None, None, {"a": 2}]}
    for at, time_us in enumerate(times):
        then = ledger.cut(time_of_us(time_us))
        assert row_at(ledger.store, Ref("user", "x"), then).row == found.rows["x"][at]


def test_citations_that_are_none_are_refused(filled: LedgerInTest) -> None:
    spine = spine_of(("a", "2026-01-02"))
    spine.attrs["audit_joins"] = 5
    with pytest.raises(InvalidInput, match="audit_joins"):
        joined(filled, spine)
    for text in (b"{}", b"\xff", b"[" * 100_000):
        table = pa.Table.from_pandas(spine_of(("a", "2026-01-02")))
        with pytest.raises(InvalidInput, match="audit_joins"):
            told = table.replace_schema_metadata({"audit_joins": text})
            joined(filled, told, key="customer")


@pytest.mark.parametrize("axis", ["recorded", "valid"])
@pytest.mark.parametrize("columns", [None, ["age", "entity_key_"]])
def test_a_join_from_columns_is_the_plain_one(
    ledger: LedgerInTest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    axis: str,
    columns: list[str] | None,
) -> None:
    for number in range(6):
        fields = {"age": number, "t": None if number % 2 else "x", "entity_key": 0.5}
        ledger.emit("create", number, fields, valid=f"2025-12-{number + 1:02}")
    ledger.emit("truncate", None)
    ledger.emit("create", 1, {"mixed": [1, {"a": b"x"}]})
    ledger.emit("update", 2, {"age": 7, "mixed": 1.5}, event_id="wrong")
    ledger.emit("update", 2, {"age": 8}, supersedes="wrong")
    times = [time_of_us(START_US - SECOND_US), time_of_us(ledger.now_us + SECOND_US)]
    times += [time_of_us(ledger.recorded_us((0, i))) for i in range(ledger.store.size(0))]
    rows = [(str(key), when) for key in range(8) for when in times]
    frame = pd.DataFrame({"entity_key": [k for k, _ in rows], "when": [w for _, w in rows]})
    frame.loc[len(frame)] = [None, pd.NaT]
    asked = {"axis": axis, "columns": columns}
    table = pa.Table.from_pandas(frame, preserve_index=False)
    plain = joined(ledger, frame, **asked), joined(ledger, table, **asked)
    source = open_columns(ledger.store, tmp_path / "own")
    path = FastPath(lambda: source, from_entries=0)
    attach(ledger.store, path)
    monkeypatch.setattr(audit.replay.join, "MAX_SINGLE_KEYS", 0)
    monkeypatch.setattr(audit.replay.join, "RowValues", None)  # nobody makes the rows one by one
    same_frames(joined(ledger, frame, **asked), plain[0])
    same_tables(joined(ledger, table, **asked), plain[1])

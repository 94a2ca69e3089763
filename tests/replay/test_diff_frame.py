"""A difference as a table: the same from columns and from rows, in every form."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import audit.replay.diff
from audit.replay.diff import compared, diff
from audit.replay.diff_frame import ChangedRows, diff_frame
from audit.replay.fastpath import FastPath, attach
from audit.replay.rows import same_value
from tests.replay.columnar.compare import same_frames, same_tables
from tests.replay.conftest import LedgerInTest, open_columns


@pytest.fixture
def changed(ledger: LedgerInTest) -> tuple[LedgerInTest, Any, Any]:
    ledger.emit("create", "a", {"n": 1, "t": "x", "entity_key": 5})
    ledger.emit("create", "b", {"n": 2, "mixed": [1]})
    ledger.emit("create", "gone", {"n": 3})
    first = ledger.cut()
    ledger.emit("update", "a", {"n": None, "t": "y"})
    ledger.emit("update", "b", {"mixed": Decimal("1.50"), "n": 2})
    ledger.emit("delete", "gone")
    ledger.emit("create", "new", {"n": 2**62, "f": 0.5})
    return ledger, first, ledger.cut()


def test_a_table_says_what_the_rows_say(changed: tuple[LedgerInTest, Any, Any]) -> None:
    ledger, a, b = changed
    frame = diff_frame(ledger.store, "user", a, b)
    assert list(frame.index) == ["a", "b", "gone", "new"]
    assert list(frame["change"]) == ["changed", "changed", "removed", "added"]
    assert list(frame["fields"]) == [("n", "t"), ("mixed",), ("n",), ("f", "n")]
    assert list(frame.columns[2:6]) == [
        "entity_key__before",
        "entity_key__after",
        "f_before",
        "f_after",
    ]
    assert frame["n_before"].dtype == frame["n_after"].dtype == pd.Int64Dtype()
    assert frame["n_after"].isna().tolist() == [True, False, True, False]
    assert frame.loc["b", "mixed_after"] == Decimal("1.50")
    assert frame.attrs["audit"]["entity"] == "user"
    assert frame.attrs["audit"]["from"] != frame.attrs["audit"]


@pytest.mark.parametrize("format", ["arrow", "polars", "duckdb"])
def test_every_form_has_the_same_rows(changed: tuple[LedgerInTest, Any, Any], format: str) -> None:
    ledger, a, b = changed
    found = diff_frame(ledger.store, "user", a, b, None, format)  # type: ignore[arg-type]
    table = found.to_arrow_table() if format == "duckdb" else found
    table = table.to_arrow() if format == "polars" else table
    assert table.column("entity_key").to_pylist() == ["a", "b", "gone", "new"]
    assert table.column("fields").to_pylist()[3] == ["f", "n"]
    assert table.column("n_after").to_pylist() == [None, 2, None, 2**62]


def test_columns_and_rows_give_the_same_table(
    changed: tuple[LedgerInTest, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, a, b = changed
    plain = ChangedRows("user", diff(ledger.store, "user", a, b))
    source = open_columns(ledger.store, tmp_path / "own")
    path = FastPath(lambda: source, from_entries=0)
    attach(ledger.store, path)
    monkeypatch.setattr(audit.replay.diff, "FAST_DIFF_ENTRIES", 0)
    found = compared(ledger.store, "user", a, b, None, None).differences
    assert found is not None
    fast = ChangedRows("user", found.whole())
    for _ in range(2):  # what is given out belongs to who gets it
        frame = fast.frame({"x": 1})
        same_frames(frame, plain.frame({"x": 1}))
        frame["n_before"] = 0
        same_tables(fast.arrow(), plain.arrow())


def test_nothing_differs(ledger: LedgerInTest) -> None:
    ledger.emit("create", "a", {"n": 1})
    cut = ledger.cut()
    assert len(diff_frame(ledger.store, "user", cut, cut)) == 0
    table = diff_frame(ledger.store, "user", cut, cut, None, "arrow")
    assert isinstance(table, pa.Table)
    assert table.column_names == ["entity_key", "change", "fields"]
    assert same_value(table.to_pylist(), [])


def test_a_column_without_a_value_has_no_type_of_rows_that_are_not_shown(
    ledger: LedgerInTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.emit("create", "a", {"n": 0.5, "t": "x"})
    ledger.emit("create", "b", {"n": None, "t": "y"})
    a = ledger.cut()
    ledger.emit("update", "b", {"t": "z"})
    plain = ChangedRows("user", diff(ledger.store, "user", a, ledger.cut()))
    source = open_columns(ledger.store, tmp_path / "own")
    path = FastPath(lambda: source, from_entries=0)
    # A new schema between, or other valid times: all rows are compared.
    monkeypatch.setattr("audit.replay.columnar.fold.among.pair", lambda *_: None)
    monkeypatch.setattr(audit.replay.diff, "FAST_DIFF_ENTRIES", 0)
    attach(ledger.store, path)
    found = compared(ledger.store, "user", a, ledger.cut(), None, None).differences
    assert found is not None
    fast = ChangedRows("user", found.whole())
    assert fast.frame({})["n_before"].dtype == object
    same_frames(fast.frame({}), plain.frame({}))
    same_tables(fast.arrow(), plain.arrow())

"""Conditions on whole columns say what they say of each value."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.errors import InvalidInput
from audit.replay.columnar.fold.fast import FastReplay
from audit.replay.conditions import OPERATORS, Condition, Word, fits, parse_filters
from audit.replay.masks import mask_of
from audit.replay.rows_out import build_table
from audit.replay.select import Columnar, Selected, select, selection
from audit.replay.steps import Steps
from tests.replay.conftest import LedgerInTest, open_columns

INTS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3) | st.sampled_from([2**53, 2**53 + 1])
FLOATS = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0**53, 2.0**63, math.nan, math.inf])
TIMES = st.datetimes(timezones=st.just(UTC)) | st.just(datetime(2026, 1, 31, tzinfo=UTC))
DAYS = st.dates() | st.just(date(2026, 1, 31))
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=2) | st.just(Decimal("1E+400"))
COLUMNS = (INTS, FLOATS, st.text(max_size=3), st.binary(max_size=3), st.booleans(), TIMES, DAYS)
WORDS = st.sampled_from(["1", "1.5", "-0", "1e400", "2026-01-31", "true", "x", "9007199254740993"])
LIMITS = st.one_of(*COLUMNS, DECIMALS, WORDS.map(Word))


@st.composite
def columns(draw: st.DrawFn) -> list[Any]:
    """The cells of a column of one type, or of several."""
    kind = draw(st.sampled_from((*COLUMNS, DECIMALS, st.one_of(*COLUMNS))))
    return draw(st.lists(st.none() | kind, max_size=6))


@settings(max_examples=150, deadline=None)
@given(
    cells=columns(), limits=st.lists(LIMITS, min_size=1, max_size=3), op=st.sampled_from(OPERATORS)
)
def test_a_mask_is_what_fits_each_row(cells: list[Any], limits: list[Any], op: str) -> None:
    # The very values of the column are worth comparing with, too.
    limits = [*limits, *(cell for cell in cells[:2] if cell is not None and not _is_wide(cell))]
    given_: tuple[Any, ...] = (
        ("f", op) if "null" in op else ("f", op, limits if "in" in op else limits[-1])
    )
    try:
        filters = parse_filters([given_])
    except InvalidInput:
        return
    rows = [(f"{n}", {"f": cell}) for n, cell in enumerate(cells)]
    mask = mask_of(build_table(rows, ["f"]), filters)
    if mask is not None:
        assert mask.tolist() == [fits(filters, key, row) for key, row in rows]


def _is_wide(value: Any) -> bool:
    return isinstance(value, Decimal) and len(str(value)) > 100


def test_several_conditions_and_columns() -> None:
    rows = [(str(n), {"a": n, "t": "xy"[n % 2]}) for n in range(6)]
    table = build_table(rows, ["a", "t"])
    either = parse_filters([[("a", ">", 3), ("t", "==", "x")], [("entity_key", "==", "1")]])
    mask = mask_of(table, either)
    assert mask is not None and mask.nonzero()[0].tolist() == [1, 4]
    absent = mask_of(table, parse_filters([("gone", "is null")]))
    assert absent is not None and absent.all()
    none = mask_of(table, ((Condition("gone", "!=", {}),),))
    assert none is not None and not none.any()


@pytest.mark.parametrize(
    "filters",
    [[("a", ">=", 2)], [("m", "==", 1)], [("m", "is null")], [("t", "!=", "x"), ("a", "<", 3)]],
)
@pytest.mark.parametrize("columns", [["t"], "union", "then"])
def test_a_dataset_of_columns_is_filtered_the_same(
    ledger: LedgerInTest, filters: Any, columns: Any
) -> None:
    for n in range(5):
        row = {"a": n, "t": "xy"[n % 2], "m": n if n % 2 else str(n)}
        ledger.emit("create", n, row if n else {"a": None})
    wanted = selection(columns, None, filters)
    plain = select(ledger.store, "user", ledger.cut(), None, wanted)
    replay = FastReplay(open_columns(ledger.store, None))
    found = replay.dataset(Steps(ledger.store, "user", ledger.cut()))
    assert isinstance(found, Columnar)
    found.show(plain.found.columns)
    fast = Selected(found, plain.wanted, plain.columns)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(fast.frame({}), plain.frame({}))
    assert fast.arrow().equals(plain.arrow())
    assert list(fast.rows()) == list(plain.rows())
    assert list(fast.rows_between(1, 3)) == list(plain.rows_between(1, 3))

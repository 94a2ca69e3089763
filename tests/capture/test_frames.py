"""A DataFrame against the dataset: only differences are emitted, with exact types."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.capture.differences import difference
from audit.capture.emitter import Emitter
from audit.capture.frames import FrameResult
from audit.errors import InvalidInput
from tests.capture.support import events, rows, url


def test_create_update_delete_and_nothing(tmp_path: Path) -> None:
    first = pd.DataFrame({"id": [1, 2, 3], "name": ["a", "b", "c"], "n": [1, 2, 3]})
    second = pd.DataFrame({"id": [1, 2, 4], "name": ["a", "B", "d"], "n": [1, 2, 4]})
    with Emitter(url(tmp_path)) as emit:
        assert emit.frame("item", first, key="id") == FrameResult(3, 0, 0, 0)
        assert emit.frame("item", first, key="id") == FrameResult(0, 0, 0, 3)
        result = emit.frame("item", second, key="id", actor="alice", reason="sync")
        assert result == FrameResult(1, 1, 1, 1)
    last = events(tmp_path)[3:]
    assert [(e.type, e.entity_key, e.actor) for e in last] == [
        ("data.update", "2", "alice"),
        ("data.create", "4", "alice"),
        ("data.delete", "3", "alice"),
    ]
    assert len({e.transaction_id for e in last}) == 1
    assert last[0].transaction_id not in (None, events(tmp_path)[0].transaction_id)
    assert rows(tmp_path, "item") == {
        "1": {"id": 1, "name": "a", "n": 1},
        "2": {"id": 2, "name": "B", "n": 2},
        "4": {"id": 4, "name": "d", "n": 4},
    }


def test_missing_cells_are_null_and_keep_their_neighbours_types(tmp_path: Path) -> None:
    df = pd.DataFrame(
        {
            "s": ["x", None],
            "i": pd.array([2**60 + 1, None], dtype="Int64"),
            "f": [1.5, np.nan],
            "t": pd.to_datetime(["2026-01-01T00:00:00Z", None]),
            "o": [{"a": [1]}, pd.NA],
        },
        index=["k1", "k2"],
    )
    with Emitter(url(tmp_path)) as emit:
        emit.frame("item", df)
        assert emit.frame("item", df) == FrameResult(0, 0, 0, 2)
    found = rows(tmp_path, "item")
    assert found["k1"] == {
        "s": "x",
        "i": 2**60 + 1,
        "f": 1.5,
        "t": datetime(2026, 1, 1, tzinfo=UTC),
        "o": {"a": [1]},
    }
    assert found["k2"] == dict.fromkeys("sifto")


def test_a_missing_cell_is_no_difference_where_the_field_never_was(tmp_path: Path) -> None:
    with Emitter(url(tmp_path)) as emit:
        emit.create("item", 1, {"a": 1})
        emit.create("item", 2, {"a": 2, "b": 3})
        df = pd.DataFrame({"a": [1, 2], "b": [None, 3]}, index=[1, 2]).astype("Int64")
        assert emit.frame("item", df) == FrameResult(0, 0, 0, 2)


def test_a_column_that_is_gone_makes_a_full_image(tmp_path: Path) -> None:
    with Emitter(url(tmp_path)) as emit:
        emit.create("item", 1, {"a": 1, "b": 2})
        assert emit.frame("item", pd.DataFrame({"a": [1]}, index=[1])).updated == 1
    assert rows(tmp_path, "item") == {"1": {"a": 1}}


def test_composite_keys(tmp_path: Path) -> None:
    df = pd.DataFrame({"a": ["x", "y"], "b": [1, 2]})
    with Emitter(url(tmp_path)) as emit:
        emit.create("item", ["x", 1], {"a": "x", "b": 1})
        assert emit.frame("item", df, key=["a", "b"]) == FrameResult(1, 0, 0, 1)
        for parts in ([1.5, 2.5], [1, None]):
            with pytest.raises(InvalidInput, match=r"row \d of the frame"):
                emit.frame("item", pd.DataFrame({"a": ["x", "y"], "b": parts}), key=["a", "b"])
    assert sorted(rows(tmp_path, "item")) == ['["x",1]', '["y",2]']


def test_a_frame_in_a_given_transaction(tmp_path: Path) -> None:
    with Emitter(url(tmp_path)) as emit:
        emit.frame("item", pd.DataFrame({"a": [1]}), transaction_id="t1")
    assert [event.transaction_id for event in events(tmp_path)] == ["t1"]


@pytest.mark.parametrize(
    ("df", "key", "words"),
    [
        (pd.DataFrame({"a": [1, 1]}), "a", "second time"),
        (pd.DataFrame({"a": [1]}), "b", "no column 'b'; it has a"),
        (pd.DataFrame({"a": [1]}), [], "at least one column"),
        (pd.DataFrame({"a": [1.5]}), "a", "row 0"),
        (pd.DataFrame({"a": [None]}), "a", "row 0"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), None, "two columns"),
        (pd.DataFrame({"a": [1, 2**70]}), None, "row 1.*field 'a'"),
        (pd.DataFrame({"t": pd.to_datetime(["2026-01-01"])}), None, "naive"),
        (pd.DataFrame({5: [1]}), None, "string"),
    ],
)
def test_a_frame_that_is_refused_emits_nothing(
    tmp_path: Path, df: pd.DataFrame, key: Any, words: str
) -> None:
    with Emitter(url(tmp_path)) as emit, pytest.raises(InvalidInput, match=words):
        emit.frame("item", df, key=key)
    assert events(tmp_path) == []


values = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, -0.0, 1.0, "1", ""])
some_rows = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


@given(some_rows, some_rows)
def test_a_difference_leads_from_old_to_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    found = difference(old, new, missing_is_null=False)
    if found is None:
        result = dict(old)
    else:
        result = dict(found.after) if found.image == "full" else {**old, **found.after}
    assert [(k, repr(v)) for k, v in sorted(result.items())] == [
        (k, repr(v)) for k, v in sorted(new.items())
    ]
    assert difference(new, dict(new), missing_is_null=False) is None
    assert difference(None, new, missing_is_null=True) == ("create", "full", new)

"""Fast against plain: everything that an answer about a dataset says."""

from typing import Any

import pandas as pd
import pyarrow as pa

from audit.replay.asof import Dataset
from audit.replay.columnar.fold.fast import FastDataset, FastReplay
from audit.replay.frame import build_frame
from audit.replay.points import Cut
from audit.replay.rows import same_value
from audit.replay.rows_out import build_table
from audit.replay.steps import Steps
from audit.store.contract import Reader

ROWS = 1_000


def same_answers(
    reader: Reader, fast: FastReplay, entity: str, cut: Cut, valid_us: int | None
) -> FastDataset | None:
    """Compare the two; gives the fast one, or None where it left the answer to the plain one."""
    plain = Dataset(Steps(reader, entity, cut), valid_us, ROWS)
    found = fast.dataset(Steps(reader, entity, cut), valid_us)
    if found is None:
        return None
    assert found.events == plain.events
    assert found.undecodable == plain.undecodable
    assert found.columns == plain.columns
    same_rows(list(found.rows()), list(plain.rows()))
    same_frames(found.frame({"x": 1}), build_frame(plain.rows(), plain.columns, {"x": 1}))
    same_tables(found.arrow(), build_table(plain.rows(), plain.columns))
    return found


def same_rows(left: list[Any], right: list[Any]) -> None:
    """The same keys in the same order, with rows that are stored alike."""
    assert [key for key, _ in left] == [key for key, _ in right]
    for (key, one), (_, other) in zip(left, right, strict=True):
        assert same_value(one, other), (key, one, other)
        assert list(one) == list(other), (key, one, other)


def same_tables(left: pa.Table, right: pa.Table) -> None:
    """The same schema with its metadata, and the same values."""
    assert left.schema.equals(right.schema, check_metadata=True), (left.schema, right.schema)
    assert same_value(left.to_pylist(), right.to_pylist())


def same_frames(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """The same types, index, columns, attrs, and in every cell the same object or an equal one."""
    assert left.attrs == right.attrs
    assert list(left.index) == list(right.index)
    assert left.index.dtype == right.index.dtype
    assert left.index.name == right.index.name
    assert list(left.columns) == list(right.columns)
    assert left.columns.dtype == right.columns.dtype
    assert list(left.dtypes) == list(right.dtypes)
    for name in left.columns:
        one, other = left[name].array, right[name].array
        for a, b in zip(one, other, strict=True):
            assert a is b or (type(a) is type(b) and (same_value(a, b) or a == b)), (name, a, b)
        assert (left[name].isna() == right[name].isna()).all()
